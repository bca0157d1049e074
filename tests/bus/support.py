"""What the tests of the bus do again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from app.bootstrap import House
from bus.message import Actor
from tests.bus.sample import Count
from tests.support import rows

PERSON = Actor(kind="person", id=UUID(int=7))


async def note(house: House, *texts: str, topic: str = "general") -> None:
    for text in texts:
        await house.bus.execute(Count(text=text, topic=topic), by=PERSON)


async def seen(house: House, reaction: str) -> list[str]:
    """What a reaction wrote down, in the order of its commits."""
    return [row["text"] for row in await rows(house, "SELECT text FROM sample_seen WHERE reaction = $1 ORDER BY n", reaction)]


async def lose_redis(house: House) -> None:
    redis: Any = await house.streams.redis()
    await redis.flushdb()


async def until(true: Callable[[], Awaitable[object]], *, seconds: float = 15) -> None:
    """Poll until it is true; a `TimeoutError` when it does not become so."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - what is awaited is in another process
            await asyncio.sleep(0.02)


class Wire:
    """A way to a server that can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._ends: list[asyncio.StreamWriter] = []
        self._cut = False

    async def open(self, stack: AsyncExitStack) -> str:
        """The URL of this end."""
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        stack.callback(server.close)
        stack.callback(self.cut)
        port = server.sockets[0].getsockname()[1]
        place = self._target.netloc.rpartition(":")[0]
        return urlunsplit(self._target._replace(netloc=f"{place}:{port}"))

    def cut(self) -> None:
        self._cut = True
        for end in self._ends:
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        self._cut = False

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._ends += [writer, far_writer]
        await asyncio.gather(_carried(reader, far_writer), _carried(far_reader, writer))


async def _carried(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
