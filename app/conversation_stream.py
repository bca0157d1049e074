"""A conversation as it happens: its log, from wherever a reader left it.

Rows are announced once they are written, and come through one subscription of this process to Redis; numbers have no gaps, so whatever was
missed is noticed, and read from PostgreSQL. Facts also come through the streams of the bus, so one whose announcement was lost with
its process is noticed too. Text is sealed until it is shown.
"""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.backlog import Backlog
from bus.message import Envelope, Personal, Unavailable
from bus.transport import AWAY
from bus.work import stopping
from db.practice.log import CHANNEL, DELTA, LogRow, news_in
from db.reads import Reads
from domain.practice.state import EVENTS
from handlers.ports import PersonKey

log = structlog.get_logger("conversations")

QUEUE = 200
PAGE = 500
DOWN_POLL = 1.0
# In the middle of an answer a stream that is told of nothing looks by itself so often: a piece whose announcement was lost is followed by
# no fact that would tell of it until the answer is over.
LOOK = 5.0
ANSWERING = (DELTA, "practice.attempt_started", "practice.attempt_restarted")
PATIENCE = 2.0
PERSONAL: Mapping[str, tuple[str, ...]] = {
    event.wire.name: tuple(field.encode_name for field in msgspec.structs.fields(event) if field.type is Personal) for event in EVENTS
}
"""Which fields of which event are sealed."""
DOCUMENTS = {"practice.feedback_given": "spans", "practice.report_written": "report"}
"""Of which event what was sealed is JSON, and in which field."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the log, opened: what a reader is shown. `id` is `generation.n`."""

    id: str
    type: str
    occurred_at: Any
    conversation: UUID
    version: int | None
    data: dict[str, Any]


class Listener(Backlog[LogRow]):
    """What is new for one reader, who has had everything up to `n`, and every fact up to `version`."""

    def __init__(self) -> None:
        super().__init__(QUEUE)
        self.n = 0
        self.version = 0


class ConversationHub:
    """The readers of this process, by conversation, and its one subscription."""

    def __init__(self, url: str, reads: Reads) -> None:
        redis: Any = Redis
        self._redis: Redis = redis.from_url(url, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))
        self._reads = reads
        self._listeners: dict[UUID, set[Listener]] = {}
        self.down = True

    @contextmanager
    def listening(self, conversation: UUID) -> Generator[Listener, None, None]:
        listener = Listener()
        others = self._listeners.setdefault(conversation, set())
        others.add(listener)
        try:
            yield listener
        finally:
            others.discard(listener)
            if not others and self._listeners.get(conversation) is others:
                del self._listeners[conversation]

    def heard(self, envelope: Envelope) -> None:
        """An event came over the streams of the bus: whoever reads along has been told of it by now, or is behind."""
        if envelope.key is None or not envelope.name.startswith("practice.") or envelope.name not in PERSONAL:
            return
        version = msgspec.json.decode(envelope.data, type=_Versioned).version
        for listener in self._listeners.get(UUID(envelope.key), ()):
            if listener.version < version:
                listener.fall_behind()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        task = asyncio.create_task(self._for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._redis.aclose()

    async def _for_ever(self) -> None:
        while not stopping():
            try:
                await self._listen()
            except AWAY as error:
                if not self.down:
                    log.warning("announcements_down", error=type(error).__name__, hint="The database is asked every second meanwhile.")
            except Exception:
                log.exception("announcements_failed")
            self.down = True
            await self._look()
            await asyncio.sleep(DOWN_POLL)

    async def _listen(self) -> None:
        pubsub: Any = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
        try:
            async with asyncio.timeout(PATIENCE):
                await pubsub.subscribe(CHANNEL)
            asking = asyncio.create_task(self._ask(pubsub))
            try:
                await self._hear(pubsub)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        finally:
            await pubsub.aclose()

    async def _ask(self, pubsub: Any) -> None:
        """A Redis that has frozen answers no ping, and is noticed by that."""
        while not stopping():
            await asyncio.sleep(LOOK)
            await pubsub.ping()

    async def _hear(self, pubsub: Any) -> None:
        while not stopping():
            async with asyncio.timeout(LOOK + PATIENCE):
                message = await pubsub.get_message(timeout=None)
            if self.down:
                # The subscription was confirmed. What was said before it was said to nobody.
                self.down = False
                await self._look()
            if message is not None and message["type"] == "message":
                for news in news_in(message["data"]):
                    for listener in self._listeners.get(news.conversation, ()):
                        listener.offer(news.rows)

    async def _look(self) -> None:
        """Who has missed something: one question for all readers, of whom most have not."""
        try:
            heads = await self._reads.practice.heads(list(self._listeners))
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("heads_not_read")
            self.all_behind()
            return
        for conversation, n in heads.items():
            for listener in self._listeners.get(conversation, ()):
                if listener.n < n:
                    listener.fall_behind()

    def all_behind(self) -> None:
        """Something was missed, and the database knows what."""
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.fall_behind()


class _Versioned(msgspec.Struct):
    version: int


class Reader:
    """Yields what is new in a conversation past a number, in order, each once; an empty list when the wait was over."""

    def __init__(self, reads: Reads, listener: Listener, conversation: UUID, n: int) -> None:
        self._reads, self._listener, self._conversation = reads, listener, conversation
        listener.n = n
        self._answering = False
        self._looked = time.monotonic()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - as of the listener
        soon = DOWN_POLL if self._listener.behind else LOOK if self._answering else timeout
        await self._listener.news(min(timeout, soon))

    async def rows(self) -> list[LogRow]:
        listener = self._listener
        overdue = self._answering and time.monotonic() - self._looked >= LOOK
        if not listener.behind and not overdue:
            rows = [row for row in listener.taken() if row.n > listener.n]
            if all(row.n == listener.n + number for number, row in enumerate(rows, 1)):
                return self._had(rows)
        # A gap: the announcements of two processes crossed, or one was lost. What is queued by now is read as well.
        listener.catching_up()
        listener.taken()
        try:
            found = await self._reads.practice.log_after(self._conversation, listener.n, PAGE)
        except Unavailable:
            listener.behind = True
            return []
        self._looked = time.monotonic()
        listener.behind |= len(found) == PAGE
        return self._had(found)

    def _had(self, rows: list[LogRow]) -> list[LogRow]:
        if rows:
            self._listener.n = rows[-1].n
            self._answering = rows[-1].name in ANSWERING
            self._listener.version = max([self._listener.version, *(row.version for row in rows if row.version is not None)])
            self._looked = time.monotonic()
        return rows


def told(row: LogRow, conversation: UUID, generation: int, key: PersonKey) -> Told:
    """Opened."""
    if row.name == DELTA:
        data: dict[str, Any] = {"turn": row.turn, "attempt": row.attempt, "text": key.open(Personal(row.data))}
    else:
        data = _fact(row, key)
    return Told(id=f"{generation}.{row.n}", type=row.name, occurred_at=row.at, conversation=conversation, version=row.version, data=data)


def _fact(row: LogRow, key: PersonKey) -> dict[str, Any]:
    data = msgspec.json.decode(row.data, type=dict[str, Any])
    for field in PERSONAL.get(row.name, ()):
        sealed = base64.b64decode(data.get(field) or "")
        text = key.open(Personal(sealed)) if sealed else None
        data[field] = msgspec.json.decode(text) if text is not None and DOCUMENTS.get(row.name) == field else text
    for name in ("conversation", "account", "version"):
        data.pop(name, None)
    return data
