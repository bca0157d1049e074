"""The text of all answers that this process is giving, written into their logs together: see `handlers.ports.StreamLog`.

One statement every few milliseconds, however many answers there are, so that the cost does not grow with their number. What is written
is then announced with the text in it; nobody is told of what is not written.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import structlog

from app.announcing import Announcer
from bus.message import Unavailable
from bus.work import LostLease, stopping
from db.practice.log import DELTA, Batch, LogAppender, LogRow, News, Writing, noticed
from handlers.ports import Clock, PersonKey

log = structlog.get_logger("stream_log")

EVERY = 0.025
AGAIN = 0.1
# Pieces of one answer that may wait to be written; a model that is faster waits.
MOST_WAITING = 500


class Pen:
    """See `handlers.ports.Pen`."""

    def __init__(self, conversation: UUID, turn: UUID, attempt: int, fence: int, key: PersonKey, waking: "Waking") -> None:
        self.conversation, self.turn, self.attempt, self.fence = conversation, turn, attempt, fence
        self._key, self._waking = key, waking
        self.pieces: list[bytes] = []
        self.count = 0
        self.lost = False
        self._changed = asyncio.Event()

    async def write(self, text: str) -> None:
        while len(self.pieces) >= MOST_WAITING and not self.lost:
            await self._change()
        if self.lost:
            raise LostLease
        self.pieces.append(self._key.seal(text).sealed)
        self._waking.wake(urgent=not self.count)

    async def written(self) -> None:
        while self.pieces and not self.lost:
            self._waking.wake(urgent=True)
            await self._change()
        if self.lost:
            raise LostLease

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def done(self, count: int) -> None:
        """So many have been written."""
        del self.pieces[:count]
        self.count += count
        self._changed.set()

    def lose(self) -> None:
        self.lost = True
        self._changed.set()


class Waking:
    """Wakes the writer: soon, or at once."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.urgently = asyncio.Event()

    def wake(self, *, urgent: bool) -> None:
        self.wanted.set()
        if urgent:
            self.urgently.set()


class StreamWriter:
    def __init__(self, appender: LogAppender, announce: Announcer, *, clock: Clock, lease: timedelta) -> None:
        self._appender, self._announce, self._clock, self._lease = appender, announce, clock, lease
        self._pens: dict[Writing, tuple[Pen, asyncio.Timeout]] = {}
        self._left: list[Writing] = []
        self._waking = Waking()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        tasks = [asyncio.create_task(self._write_for_ever()), asyncio.create_task(self._renew_for_ever())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def writing(self, conversation: UUID, turn: UUID, attempt: int, fence: int, key: PersonKey) -> AsyncGenerator[Pen, None]:
        pen = Pen(conversation, turn, attempt, fence, key, self._waking)
        try:
            async with asyncio.timeout(None) as scope:
                self._pens[conversation, fence] = (pen, scope)
                yield pen
        except asyncio.CancelledError:
            self._left.append((conversation, fence))
            raise
        except TimeoutError:
            # Ours ends the block when the lease is lost; another one's, of the model say, goes on as it is.
            if not pen.lost:
                raise
            raise LostLease from None
        finally:
            self._pens.pop((conversation, fence), None)

    async def let_go(self) -> None:
        """Let another worker take over at once what was cancelled here, because this process stops."""
        left, self._left = self._left, []
        if left:
            await self._appender.let_go(left, now=self._clock())

    async def _write_for_ever(self) -> None:
        last = 0.0
        while not stopping():
            await self._waking.wanted.wait()
            rest = last + EVERY - time.monotonic()
            if rest > 0:
                try:
                    async with asyncio.timeout(rest):
                        await self._waking.urgently.wait()
                except TimeoutError:
                    pass
            self._waking.wanted.clear()
            self._waking.urgently.clear()
            last = time.monotonic()
            try:
                await self._write()
            except Unavailable as outage:
                log.warning("waiting", reason=outage.code)
                await asyncio.sleep(AGAIN)
                self._waking.wanted.set()
            except Exception:
                log.exception("not_written")
                await asyncio.sleep(AGAIN)
                self._waking.wanted.set()

    async def _write(self) -> None:
        """Everything that waits, in one statement."""
        batches = [
            Batch(
                conversation=pen.conversation,
                turn=pen.turn,
                attempt=pen.attempt,
                fence=pen.fence,
                count=pen.count,
                pieces=tuple(pen.pieces),
            )
            for pen, _ in self._pens.values()
            if pen.pieces and not pen.lost
        ]
        if not batches:
            return
        now = self._clock()
        appended = await self._appender.append(batches, now=now)
        news: list[News] = []
        for batch in batches:
            writing = (batch.conversation, batch.fence)
            first = appended.written.get(writing)
            if first is not None:
                rows = [LogRow(first + n, now, DELTA, None, batch.turn, batch.attempt, piece) for n, piece in enumerate(batch.pieces)]
                news.append(News(batch.conversation, rows))
                self._done(writing, len(batch.pieces))
            elif writing in appended.held:
                # Somebody changes the conversation; or a statement that was taken for lost has arrived, whose pieces nobody was told of:
                # readers find them as they find whatever was not announced.
                self._done(writing, appended.held[writing] - batch.count)
                self._waking.wanted.set()
            else:
                self._lose(writing)
        if news:
            self._announce((noticed(*news),))

    def _done(self, writing: Writing, count: int) -> None:
        if writing in self._pens:
            self._pens[writing][0].done(count)

    async def _renew_for_ever(self) -> None:
        while not stopping():
            await asyncio.sleep(min(1.0, self._lease.total_seconds() / 4))
            held = [(pen.conversation, pen.fence) for pen, _ in self._pens.values() if not pen.lost]
            if not held:
                continue
            try:
                kept = await self._appender.renew(held, until=self._clock() + self._lease)
            except Unavailable as outage:
                log.warning("waiting", reason=outage.code)
                continue
            except Exception:
                log.exception("not_renewed")
                continue
            for writing in held:
                if writing not in kept:
                    self._lose(writing)

    def _lose(self, writing: Writing) -> None:
        """Somebody else has the turn now, or nobody: what is awaited for it ends."""
        pen, scope = self._pens.get(writing, (None, None))
        if pen is not None and scope is not None and not pen.lost:
            pen.lose()
            if not scope.expired():
                scope.reschedule(asyncio.get_running_loop().time())
