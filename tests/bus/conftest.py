"""The house with the area of `tests.bus.sample` in it."""

from collections.abc import AsyncGenerator, Generator

import pytest
import structlog

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from db.connection import connect
from tests.bus import sample
from tests.support import HandClock, ScriptedMailer


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> Generator[None, None, None]:  # pyright: ignore[reportUnusedFunction] - used by pytest
    """Errors are logged by the hundred here, and the default rendering of one takes a quarter of a second."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def script() -> sample.Script:
    sample.script.clear()
    return sample.script


@pytest.fixture
async def house(settings: Settings, clock: HandClock, mailer: ScriptedMailer, script: sample.Script) -> AsyncGenerator[House, None]:  # noqa: ARG001 - cleared first
    connection = await connect(settings.database_url)
    await connection.execute(sample.TABLES)
    await connection.close()
    async with open_house(settings, Ports(clock=clock, mailer=mailer), modules=(sample,)) as house:
        yield house
