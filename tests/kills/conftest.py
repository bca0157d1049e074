"""One place for the tests of a file: a database and a Redis with short leases, and the house of this process in it."""

from collections.abc import AsyncGenerator, Generator

import msgspec
import pytest

from app.bootstrap import House, open_house
from app.settings import Settings
from bus.message import SYSTEM
from db.connection import connect
from domain.accounts.commands import EnsureSigningKey
from tests.app.test_mail import SmtpServer, smtp_server
from tests.kills import area
from tests.kills.support import SHORT, Desk, Stranger, desk
from tests.support import TABLES


@pytest.fixture(scope="module")
async def smtp() -> AsyncGenerator[SmtpServer]:
    async with smtp_server() as server:
        yield server


@pytest.fixture(scope="module")
async def town(place: Settings, smtp: SmtpServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Emptied, with a signing key and the tables of the area."""
    town = msgspec.structs.replace(
        place,
        **SHORT,
        data_dir=str(tmp_path_factory.mktemp("town")),
        smtp_url=f"smtp://127.0.0.1:{smtp.port}",
        auth_rate_burst=1000,
    )
    await prepare(town)
    Stranger(town.redis_url).redis.flushdb()
    return town


async def prepare(town: Settings) -> None:
    connection = await connect(town.database_url)
    try:
        await connection.execute(f"TRUNCATE {TABLES}")
        await connection.execute(area.TABLES)
    finally:
        await connection.close()
    async with open_house(town) as house:
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)


@pytest.fixture(scope="module")
async def house(town: Settings) -> AsyncGenerator[House]:
    async with open_house(town, modules=(area,)) as house:
        yield house


@pytest.fixture(scope="module")
def stranger(town: Settings) -> Generator[Stranger]:
    there = Stranger(town.redis_url)
    yield there
    there.redis.close()


@pytest.fixture
async def reception() -> AsyncGenerator[Desk]:
    async with desk() as there:
        yield there
