"""Publish-subscribe: saying at once, to whoever listens, what can be read in PostgreSQL anyway. What nobody hears is not said again."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bus.transport import AWAY
from bus.work import Notice, stopping

log = structlog.get_logger("announcing")

MOST = 10_000
PATIENCE = 2.0


class Announcer:
    """One connection, one order. While Redis is away, what would be said is dropped: readers are behind then, and read the database."""

    def __init__(self, url: str) -> None:
        redis: Any = Redis
        self._redis: Redis = redis.from_url(url, socket_connect_timeout=1, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0))
        self._waiting: deque[Notice] = deque(maxlen=MOST)
        self._news = asyncio.Event()

    def __call__(self, notices: Sequence[Notice]) -> None:
        self._waiting.extend(notices)
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """What is waiting at the end is said first, if Redis takes it at once."""
        task = asyncio.create_task(self._say_for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._say()
            await self._redis.aclose()

    async def _say_for_ever(self) -> None:
        while not stopping():
            await self._news.wait()
            self._news.clear()
            await self._say()

    async def _say(self) -> None:
        saying, self._waiting = self._waiting, deque[Notice](maxlen=MOST)
        if not saying:
            return
        pipeline = cast("Any", self._redis).pipeline(transaction=False)
        for notice in saying:
            pipeline.publish(notice.channel, notice.data)
        try:
            await pipeline.execute()
        except AWAY as error:
            log.debug("not_announced", error=type(error).__name__, notices=len(saying))
