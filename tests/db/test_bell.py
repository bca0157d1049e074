"""The bell between processes: it saves waiting, and comes back by itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from app.bootstrap import House
from db.bell import CHANNEL, Bell
from db.connection import Database
from tests.support import value

LONG = 10.0


async def until_listening(house: House, *, but: int = 0) -> int:
    """The server process of the one connection that listens."""
    async with asyncio.timeout(LONG):
        while True:
            pid = await value(
                house,
                """SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle' AND pid <> $1""",
                but,
            )
            if pid is not None:
                return pid
            await asyncio.sleep(0.02)


async def heard_soon(bell: Bell) -> bool:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await bell.heard(LONG)
    return loop.time() - started < LONG


async def test_a_ring_wakes_another_process(house: House) -> None:
    other = Bell(house.database)
    async with other.listening():
        await until_listening(house)
        house.bell.ring()
        assert await heard_soon(other)


async def test_many_rings_are_few_notifications(house: House) -> None:
    heard = 0

    def count(*_: object) -> None:
        nonlocal heard
        heard += 1

    async with house.database.driver() as driver:
        listener: object = driver
        await listener.add_listener(CHANNEL, count)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - the driver's own method
        for _ in range(100):
            house.bell.ring()
        async with asyncio.timeout(LONG):
            while not heard:
                await driver.execute("SELECT 1")
        await listener.remove_listener(CHANNEL, count)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - the same
    assert heard < 5


async def test_a_listener_that_lost_its_connection_listens_again(house: House) -> None:
    other = Bell(house.database)
    async with other.listening():
        first = await until_listening(house)
        await value(house, "SELECT pg_terminate_backend($1)", first)
        await until_listening(house, but=first)
        house.bell.ring()
        assert await heard_soon(other)


async def test_silence_is_no_longer_than_was_asked_for(house: House) -> None:
    await house.bell.heard(0.01)


async def test_a_cancellation_that_comes_together_with_a_ring_is_not_lost(house: House) -> None:
    bell = Bell(house.database)
    waiting = asyncio.create_task(bell.heard(10))
    await asyncio.sleep(0)
    bell._heard.set()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the same moment cannot be hit from outside
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


@asynccontextmanager
async def falling_silent(url: str, silent: asyncio.Event) -> AsyncGenerator[str]:
    """A way to PostgreSQL that stays open and carries nothing any more once `silent` is set."""
    target = urlsplit(url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not silent.is_set():
                writer.write(data)
        writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    async with server:
        place = target.netloc.rpartition(":")[0]
        yield target._replace(netloc=f"{place}:{server.sockets[0].getsockname()[1]}").geturl()


@pytest.mark.parametrize("side", ["ringing", "listening"])
async def test_it_ends_though_postgresql_has_fallen_silent(house: House, side: str) -> None:
    silent = asyncio.Event()
    async with falling_silent(house.settings.database_url, silent) as url:
        database = Database(url)
        bell = Bell(database)

        async def live() -> None:
            async with bell.ringing() if side == "ringing" else bell.listening():
                await silent.wait()

        async with house.database.driver() as driver:
            heard = asyncio.Event()
            listener: object = driver
            await listener.add_listener(CHANNEL, lambda *_: heard.set())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType] - the driver's own method
            living = asyncio.create_task(live())
            bell.ring()
            if side == "ringing":
                async with asyncio.timeout(LONG):
                    while not heard.is_set():
                        await driver.execute("SELECT 1")
            else:
                await until_listening(house)
            silent.set()
            _, unfinished = await asyncio.wait([living], timeout=LONG)
            assert unfinished == set()
        await database.close()
