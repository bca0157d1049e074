"""What is new for one reader: a bounded queue that says when it was too short, for then the database knows what was missed."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """At most `most` things wait. When `behind`, something was missed and has to be read."""

    def __init__(self, most: int) -> None:
        self.behind = True
        self.ended = False
        self._most = most
        self._waiting: deque[T] = deque()
        self._news = asyncio.Event()

    def offer(self, new: Sequence[T]) -> None:
        if self.behind:
            self._news.set()
        elif len(self._waiting) + len(new) > self._most:
            self.fall_behind()
        else:
            self._waiting.extend(new)
            self._news.set()

    def fall_behind(self) -> None:
        self._waiting.clear()
        self.behind = True
        self._news.set()

    def end(self) -> None:
        self.ended = True
        self._news.set()

    def catching_up(self) -> None:
        """Call before reading the database: what arrives from now on is queued again."""
        self.behind = False

    def taken(self) -> list[T]:
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    async def news(self, timeout: float) -> None:  # noqa: ASYNC109 - no time limit: it returns normally when a ping is due
        """Returns when there is something to do, or the time is over."""
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the news.
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
