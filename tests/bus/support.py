"""What the tests of the bus do again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
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
