# One image; `web` (unless told otherwise), `worker`, `relay`, `migrate` and `seed` are its commands.
FROM python:3.13-slim AS build
WORKDIR /srv/fluentpro
RUN python -m venv .venv
COPY requirements.lock ./
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY app app
COPY bus bus
COPY db db
COPY domain domain
COPY handlers handlers
COPY tasks tasks
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && .venv/bin/python -m compileall -q app bus db domain handlers tasks

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin fluentpro \
    && install --directory --owner fluentpro --mode 0700 /var/lib/fluentpro
COPY --from=build /srv/fluentpro /srv/fluentpro
WORKDIR /srv/fluentpro
ENV PATH=/srv/fluentpro/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FLUENTPRO_ENV=production \
    FLUENTPRO_HOST=0.0.0.0 \
    FLUENTPRO_PORT=8000 \
    FLUENTPRO_DATA_DIR=/var/lib/fluentpro
USER 10001
EXPOSE 8000
# Of the web process; whoever runs another command turns it off, as compose.yaml does.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"FLUENTPRO_PORT\"]}/health/live', timeout=2)"]
# The exec form: signals reach the process itself.
ENTRYPOINT ["fluentpro"]
CMD ["web"]
