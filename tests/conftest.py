"""Real PostgreSQL and Redis: started here unless the environment names them, and never those of `.data/`.

One migrated template database is made for the run and copied for each worker of pytest-xdist, which also has a Redis database of its own.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import msgspec
import pytest
from redis import Redis

from app.bootstrap import House, Ports, open_house
from app.embedded import serving
from app.processes import keep_what_is_loaded
from app.settings import Settings
from bus.harness import Harness
from bus.message import SYSTEM, Command
from db import migrate
from db.connection import Driver, connect
from domain.catalogue.commands import SeedCatalogue
from domain.practice.commands import SeedScenarios
from tests.support import TABLES, HandClock, ScriptedMailer, harness_of

SERVERS = pytest.StashKey[ExitStack]()
DATABASE, REDIS = "FLUENTPRO_TEST_TEMPLATE_URL", "FLUENTPRO_TEST_REDIS_URL"
FIRST_REDIS_DATABASE = 8
# What a new installation executes, in this order.
SEEDING: tuple[Command[Any], ...] = (SeedCatalogue(), SeedScenarios())
KEPT = "kept"
NAMES = TABLES.split(", ")
# Every table and partition that has pages; one that was vacuumed while it was empty has none.
FILLED = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE oid = ANY($1::text[]::regclass[]) OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = ANY($1::text[]::regclass[]))
GROUP BY oid HAVING pg_relation_size(oid) > 0
"""
# Names of columns, and what is kept in them with each time moved by $1; what PostgreSQL computes itself is not inserted.
COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ') AS names,
    string_agg(quote_ident(attname) || CASE atttypid WHEN 'timestamptz'::regtype THEN ' + $1::interval' ELSE '' END, ', ') AS kept
FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
Seed = Callable[[House], Awaitable[None]]


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
    keep_what_is_loaded()
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
        scripted_pace=0.0,
    )
    asyncio.run(_command(_named(template, "postgres"), f"DROP DATABASE {copy} WITH (FORCE)"))


@asynccontextmanager
async def connected(place: Settings) -> AsyncGenerator[Driver]:
    connection = await connect(place.database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def empty(driver: Driver) -> None:
    """As TRUNCATE leaves the tables, in a third of its time: new files for all of them and their indexes cost 100 ms.

    VACUUM makes a table that has become empty a file without pages, so that rows come to lie in the order in which they are inserted.
    """
    async with driver.transaction():
        await driver.execute(f"LOCK {TABLES}")
        filled = [row["name"] for row in await driver.fetch(FILLED, NAMES)]
        if filled:
            await driver.execute(_together(f"DELETE FROM {name}" for name in filled))  # noqa: S608 - names of our tables
    if filled:
        await driver.execute(f"VACUUM (PROCESS_TOAST false) {', '.join(filled)}")


def _together(statements: Iterable[str]) -> str:
    """One statement, at whose end rows have to agree with each other: in between they need not."""
    return f"WITH {', '.join(f'_{n} AS ({statement})' for n, statement in enumerate(statements))} SELECT"


@pytest.fixture
async def settings(place: Settings, tmp_path: Path) -> Settings:
    """As `place`, emptied, with a data folder of its own."""
    async with connected(place) as driver:
        await empty(driver)
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


@pytest.fixture(scope="session")
async def seed(place: Settings) -> Seed:
    """Seeds a house with the rows that the shipped commands have left once in this database, their times moved to those of its clock."""
    clock = HandClock()
    inserts: list[str] = []
    async with open_house(place, Ports(clock=clock)) as house, house.database.driver() as driver:
        await empty(driver)
        for command in SEEDING:
            await house.bus.execute(command, by=SYSTEM)
        await driver.execute(f"CREATE SCHEMA {KEPT}")
        for name in NAMES:
            await driver.execute(f"CREATE TABLE {KEPT}.{name} AS TABLE {name}")
            if not await driver.fetchval(f"SELECT count(*) FROM {KEPT}.{name}"):  # noqa: S608 - names of our tables
                continue
            columns = dict(await driver.fetchrow(COLUMNS, name) or {})
            values = f"OVERRIDING SYSTEM VALUE SELECT {columns['kept']} FROM {KEPT}.{name}"  # noqa: S608 - the same
            inserts.append(f"INSERT INTO {name} ({columns['names']}) {values}")
        await empty(driver)

    async def seed(house: House) -> None:
        async with house.database.driver() as driver:
            await driver.execute(_together(inserts), house.clock() - clock())

    return seed


@pytest.fixture
async def catalogued(house: House, seed: Seed) -> House:
    """With the catalogue that a new installation has."""
    await seed(house)
    return house
