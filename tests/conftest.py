"""Real PostgreSQL and Redis: started here unless the environment names them, and never those of `.data/`.

One migrated template database is made for the run and copied for each worker of pytest-xdist, which also has a Redis database of its own.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import msgspec
import pytest
from redis import Redis

from app.bootstrap import House, Ports, open_house
from app.embedded import serving
from app.settings import Settings
from bus.harness import Harness
from bus.message import SYSTEM
from db import migrate
from db.connection import connect
from domain.catalogue.commands import SeedCatalogue
from tests.support import TABLES, HandClock, ScriptedMailer, harness_of

SERVERS = pytest.StashKey[ExitStack]()
DATABASE, REDIS = "FLUENTPRO_TEST_TEMPLATE_URL", "FLUENTPRO_TEST_REDIS_URL"
FIRST_REDIS_DATABASE = 8


def pytest_configure(config: pytest.Config) -> None:
    """In the process that starts the workers, or is alone: servers, and the template database."""
    if hasattr(config, "workerinput"):
        return
    stack = config.stash[SERVERS] = ExitStack()
    database_url, redis_url = os.environ.get("FLUENTPRO_DATABASE_URL", ""), os.environ.get("FLUENTPRO_REDIS_URL", "")
    if not database_url or not redis_url:
        folder = Path(tempfile.mkdtemp(prefix="fluentpro-tests-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = stack.enter_context(serving(folder, durable=False))
        database_url, redis_url = database_url or servers.database_url, redis_url or servers.redis_url
    template = f"fluentpro_test_{uuid4().hex[:8]}"
    asyncio.run(_command(database_url, f"CREATE DATABASE {template}"))
    stack.callback(lambda: asyncio.run(_command(database_url, f"DROP DATABASE {template} WITH (FORCE)")))
    os.environ[DATABASE] = _named(database_url, template)
    os.environ[REDIS] = redis_url
    asyncio.run(migrate.upgrade(os.environ[DATABASE]))
    for name in [name for name in os.environ if name.startswith("FLUENTPRO_") and not name.startswith("FLUENTPRO_TEST_")]:
        del os.environ[name]


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVERS in config.stash:
        config.stash[SERVERS].close()


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def _command(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Generator[Settings, None, None]:
    """Settings of a database copied from the template and of a Redis database, both for this worker alone."""
    template = os.environ[DATABASE]
    copy = f"{urlsplit(template).path.strip('/')}_{worker_id}"
    asyncio.run(_command(_named(template, "postgres"), f"CREATE DATABASE {copy} TEMPLATE {urlsplit(template).path.strip('/')}"))
    number = FIRST_REDIS_DATABASE + int(worker_id.removeprefix("gw") if worker_id.startswith("gw") else 0)
    yield Settings(
        env="testing",
        data_dir=str(tmp_path_factory.mktemp("data")),
        database_url=_named(template, copy),
        redis_url=_named(os.environ[REDIS], str(number)),
        secret_key=uuid4().hex + uuid4().hex,
        hash_concurrency=2,
    )
    asyncio.run(_command(_named(template, "postgres"), f"DROP DATABASE {copy} WITH (FORCE)"))


@pytest.fixture
async def settings(place: Settings, tmp_path: Path) -> Settings:
    """As `place`, emptied, with a data folder of its own."""
    await _command(place.database_url, f"TRUNCATE {TABLES}")
    redis: Any = Redis
    with redis.from_url(place.redis_url) as connection:
        connection.flushdb()
    return msgspec.structs.replace(place, data_dir=str(tmp_path / "data"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def mailer() -> ScriptedMailer:
    return ScriptedMailer()


@pytest.fixture
async def house(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> AsyncGenerator[House, None]:
    """The shipped house; only the ports are scripted."""
    async with open_house(settings, Ports(clock=clock, mailer=mailer)) as house:
        yield house


@pytest.fixture
def harness(house: House) -> Harness:
    return harness_of(house)


@pytest.fixture
async def catalogued(house: House) -> House:
    """With the catalogue that a new installation has."""
    await house.bus.execute(SeedCatalogue(), by=SYSTEM)
    return house
