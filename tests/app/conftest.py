"""The front door, for the tests beside this file."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from app.bootstrap import Ports
from app.settings import Settings
from tests.app import client as clients
from tests.conftest import Seed
from tests.support import HandClock, ScriptedMailer


@pytest.fixture
async def door(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> AsyncGenerator[clients.Door]:
    """The shipped application in this process, with a signing key; only the ports are scripted."""
    async with clients.door(settings, Ports(clock=clock, mailer=mailer)) as door:
        yield door


@pytest.fixture
def client(door: clients.Door) -> httpx.AsyncClient:
    return door.client


@pytest.fixture
async def catalogued(door: clients.Door, seed: Seed) -> clients.Door:
    """With the catalogue that a new installation has."""
    await seed(door.house)
    return door
