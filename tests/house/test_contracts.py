"""Each import contract breaks when it is violated, and only then."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.house.copies import REPOSITORY, Copy

CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}

# What is imported where, and which contracts that breaks.
VIOLATIONS = [
    ("db/operations.py", "import handlers.ports", {"staircase"}),
    ("domain/types.py", "import db.metadata", {"staircase", "domain-is-pure"}),
    ("handlers/ports.py", "import app.sealing", {"staircase"}),
    ("handlers/ports.py", "import tasks.crontab", {"staircase"}),
    ("domain/accounts/rules.py", "import bus.work", {"domain-is-pure"}),
    ("domain/accounts/rules.py", "import sqlalchemy", {"domain-is-pure", "only-db-speaks-sql"}),
    ("domain/types.py", "import litestar", {"domain-is-pure", "only-app-speaks-http"}),
    ("domain/types.py", "import faststream", {"domain-is-pure", "few-speak-redis"}),
    ("domain/types.py", "import saq", {"domain-is-pure", "few-speak-redis"}),
    ("domain/types.py", "from redis.asyncio import Redis", {"domain-is-pure", "few-speak-redis"}),
    ("bus/work.py", "import domain.types", {"bus-knows-nobody"}),
    ("bus/harness.py", "import app.settings", {"bus-knows-nobody"}),
    ("handlers/accounts.py", "import handlers.operations", {"areas"}),
    ("handlers/accounts.py", "import domain.operations.commands", {"areas"}),
    ("domain/accounts/rules.py", "import domain.operations.commands", {"areas"}),
    ("domain/practice/model.py", "import domain.accounts.model", {"areas"}),
    ("handlers/operations.py", "import domain.practice.model", {"areas"}),
    ("tasks/crontab.py", "import domain.accounts.events", {"tasks"}),
    ("tasks/queue.py", "import db.bell", {"tasks"}),
    ("tasks/crontab.py", "import httpx", {"only-app-speaks-http"}),
    ("handlers/accounts.py", "import litestar", {"only-app-speaks-http"}),
    ("bus/harness.py", "import uvicorn", {"only-app-speaks-http"}),
    ("handlers/accounts.py", "import sqlalchemy", {"only-db-speaks-sql"}),
    ("bus/relay.py", "import asyncpg", {"only-db-speaks-sql"}),
    ("app/logs.py", "import alembic", {"only-db-speaks-sql"}),
    ("app/logs.py", "import advanced_alchemy", {"only-db-speaks-sql"}),
    ("bus/relay.py", "import redis", {"few-speak-redis"}),
    ("handlers/ports.py", "import saq", {"few-speak-redis"}),
    ("db/bell.py", "import faststream.redis", {"few-speak-redis"}),
    ("bus/message.py", "import bus.catalog", {"no-cycles"}),
    ("app/settings.py", "import app.cli", {"no-cycles"}),
]
ALLOWED = [
    ("domain/practice/model.py", "import domain.accounts.events"),
    ("handlers/practice.py", "import domain.accounts.events, domain.practice.events, db.session"),
    ("tasks/crontab.py", "import domain.practice.commands"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """With an area more than the house has, for contracts hold for those to come."""
    copy = Copy(tmp_path)
    for name in ("__init__", "commands", "events", "model"):
        copy.add(f"domain/practice/{name}.py", "")
    copy.add("handlers/practice.py", "")
    return copy


def broken(copy: Copy) -> set[str]:
    """The contracts that import-linter calls broken; every other one it must call kept."""
    run = copy.run(
        "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo", "--no-cache", COLUMNS="500"
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", run.stdout, re.MULTILINE))
    assert set(found) == set(NAMES.values()), run.stdout + run.stderr
    named = {contract for contract, name in NAMES.items() if found[name] == "BROKEN"}
    assert run.returncode == (1 if named else 0)
    return named


def test_every_contract_is_kept(copy: Copy) -> None:
    assert broken(copy) == set()


@pytest.mark.parametrize(("module", "line", "contracts"), VIOLATIONS, ids=[f"{module}: {line}" for module, line, _ in VIOLATIONS])
def test_a_violation_breaks_its_contract_and_no_other(copy: Copy, module: str, line: str, contracts: set[str]) -> None:
    copy.add(module, line)
    assert broken(copy) == contracts


@pytest.mark.parametrize(("module", "line"), ALLOWED, ids=[f"{module}: {line}" for module, line in ALLOWED])
def test_areas_meet_through_messages(copy: Copy, module: str, line: str) -> None:
    copy.add(module, line)
    assert broken(copy) == set()


def test_every_contract_has_a_violation_of_its_own() -> None:
    assert {contract for _, _, contracts in VIOLATIONS if len(contracts) == 1 for contract in contracts} == set(NAMES)
