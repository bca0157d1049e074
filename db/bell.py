"""LISTEN and NOTIFY on a connection of their own: they only save waiting, so a lost ring costs no more than the next poll."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

import asyncpg
import structlog

from bus.work import ended, stopping
from db.connection import LOST, Database, connect

log = structlog.get_logger("bell")

CHANNEL = "outbox"
# Commits that follow one another closely are one ring, which is at most this late.
_PAUSE = 0.005
_RECONNECT = 1.0


class Bell:
    """Rings after commits, many at once as one; NOTIFY inside a transaction would make all commits wait for each other."""

    def __init__(self, database: Database) -> None:
        self._url = database.direct_url
        self._wanted = asyncio.Event()
        self._heard = asyncio.Event()

    def ring(self) -> None:
        self._wanted.set()

    async def heard(self, timeout: float) -> None:  # noqa: ASYNC109 - returning early or late is the same to the caller
        """Until somebody rings, or the time is over."""
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the ring.
            async with asyncio.timeout(timeout):
                await self._heard.wait()
        except TimeoutError:
            return
        self._heard.clear()

    @asynccontextmanager
    async def ringing(self) -> AsyncGenerator[None, None]:
        async with _background(self._ring_for_ever()):
            yield

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None, None]:
        async with _background(self._listen_for_ever()):
            yield

    async def _ring_for_ever(self) -> None:
        while not stopping():
            await self._wanted.wait()
            try:
                connection = await connect(self._url)
                try:
                    while not stopping():
                        await self._wanted.wait()
                        self._wanted.clear()
                        await connection.execute(f"NOTIFY {CHANNEL}")
                        await asyncio.sleep(_PAUSE)
                finally:
                    await connection.close(timeout=1)
            except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
                log.warning("bell_lost", error=type(error).__name__)
                await asyncio.sleep(_RECONNECT)

    async def _listen_for_ever(self) -> None:
        while not stopping():
            try:
                connection = await connect(self._url)
                lost = asyncio.Event()
                connection.add_termination_listener(_setting(lost))
                try:
                    await connection.add_listener(CHANNEL, _setting(self._heard))
                    await lost.wait()
                finally:
                    await connection.close(timeout=1)
            except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
                log.warning("bell_lost", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT)


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncGenerator[None, None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await ended([task], patience=2.0)


def _setting(event: asyncio.Event) -> Callable[..., None]:
    def listener(*_: object) -> None:
        event.set()

    return listener
