"""Server-sent events: one Redis reader for each process, a bounded queue for each stream, the database for whatever either misses."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog
from redis.exceptions import RedisError

from app.backlog import Backlog
from bus.message import Envelope, Unavailable
from bus.transport import PREFIX, Streams, envelope_from
from bus.work import stopping
from db.reads import Reads
from handlers.ports import Clock

log = structlog.get_logger("streaming")

# The ASGI extension in which our server hands over the transport of a request.
CONNECTION = "fluentpro.connection"

QUEUE = 100
PAGE = 100
PING = 15.0
RETRY_MS = 3000
LIFE = 600.0
DOWN_POLL = 1.0
CHECK_EVERY = 0.4
# A Redis that has frozen is noticed after `PATIENCE`, which leaves a read time to come back empty.
BLOCK_MS = 1000
PATIENCE = 2.0
# How long a client that does not read may hold up the end of its stream.
STALLED = 0.5


class Subscription(Backlog[Envelope]):
    """What is new for one stream."""

    def __init__(self, subject: UUID, session: UUID, *, ends_at: float, connection: asyncio.WriteTransport | None) -> None:
        super().__init__(QUEUE)
        self.subject, self.session, self.ends_at, self.connection = subject, session, ends_at, connection
        self.ended_by: Callable[[], None] | None = None

    def end(self) -> None:
        super().end()
        if self.ended_by is not None:
            self.ended_by()


class ForeignEntry(Exception):
    """Somebody else wrote to a stream. Ids past ours would hide what follows, until the relay has rebuilt the stream."""


class Hub:
    """Wakes the streams of this process. Positions have no gaps, so a missing one is noticed, and the database asked."""

    def __init__(self, streams: Streams, reads: Reads, *, areas: Sequence[str], seen: Collection[str], clock: Clock) -> None:
        self._streams, self._reads, self._areas, self._seen, self._clock = streams, reads, areas, frozenset(seen), clock
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        self.down = True
        self._looked: int | None = None
        self.closing = False
        self.heard: list[Callable[[Envelope], None]] = []
        self.missed: list[Callable[[], None]] = []

    @contextmanager
    def subscribed(
        self, subject: UUID, session: UUID, *, ends_at: float, connection: asyncio.WriteTransport | None
    ) -> Generator[Subscription, None, None]:
        subscription = Subscription(subject, session, ends_at=ends_at, connection=connection)
        self._subscriptions.setdefault(subject, set()).add(subscription)
        try:
            yield subscription
        finally:
            others = self._subscriptions[subject]
            others.discard(subscription)
            if not others:
                del self._subscriptions[subject]

    def close(self) -> None:
        """The process stops: every stream ends, also one whose client does not read."""
        self.closing = True
        everyone = self._everyone()
        for subscription in everyone:
            subscription.end()
        asyncio.get_running_loop().call_later(STALLED, self._cut, everyone)

    def _cut(self, ended: list[Subscription]) -> None:
        """Drop the connections of those who have not read the end of their stream: no other way out of a full one is left."""
        for subscription in ended:
            unread = self.closing and subscription.connection is not None and subscription.connection.get_write_buffer_size() > 0
            if subscription.connection is not None and (unread or subscription in self._subscriptions.get(subscription.subject, ())):
                subscription.connection.abort()

    def _everyone(self) -> list[Subscription]:
        return [subscription for group in self._subscriptions.values() for subscription in group]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        tasks = [asyncio.create_task(self._read_for_ever()), asyncio.create_task(self._check_for_ever())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_for_ever(self) -> None:
        while not stopping():
            try:
                await self._read()
            except Exception as error:
                if not isinstance(error, (RedisError, OSError, TimeoutError, Unavailable, ForeignEntry)):
                    log.exception("hub_failed")
                if not self.down:
                    log.warning("streams_down", error=type(error).__name__, hint="The database is asked every second meanwhile.")
                    self.down, self._looked = True, None
                await self._look()
                await asyncio.sleep(DOWN_POLL)

    async def _look(self) -> None:
        """Who has missed something while nobody tells: one question for all streams, of which most have not."""
        try:
            if self._looked is None:
                self._looked = await self._reads.feed.head()
                self._all_behind()
                return
            found = await self._reads.feed.last_of(list(self._subscriptions), past=self._looked)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("feeds_not_read")
            self._all_behind()
            return
        for subject, position in found.items():
            self._looked = max(self._looked, position)
            for subscription in self._subscriptions.get(subject, ()):
                subscription.fall_behind()

    async def _read(self) -> None:
        async with asyncio.timeout(PATIENCE):
            ends = await self._streams.ends(self._areas)
            redis = await self._streams.redis()
        last = max(ends.values(), default=0)
        if last > await self._reads.feed.head():
            raise ForeignEntry
        at = {PREFIX + area: f"{end}-0" for area, end in ends.items()}
        self.down = False
        log.info("streams_up")
        self._all_behind()
        while not stopping():
            async with asyncio.timeout(PATIENCE):
                answer: Any = await redis.xread(cast("Any", at), count=PAGE, block=BLOCK_MS)
            found: list[tuple[int, Envelope]] = []
            for stream, entries in answer or ():
                for entry, fields in entries:
                    envelope = envelope_from(fields, entry.decode())
                    if envelope.position is None or entry != b"%d-0" % envelope.position:
                        raise ForeignEntry
                    found.append((envelope.position, envelope))
                at[stream.decode()] = entries[-1][0].decode()
            for position, envelope in sorted(found, key=itemgetter(0)):
                if position == last + 1:
                    self._offer(envelope)
                else:
                    self._all_behind()
                last = max(last, position)

    def _offer(self, envelope: Envelope) -> None:
        for listener in self.heard:
            listener(envelope)
        if envelope.subject is not None and envelope.name in self._seen:
            for subscription in self._subscriptions.get(envelope.subject, ()):
                subscription.offer((envelope,))

    def _all_behind(self) -> None:
        for missed in self.missed:
            missed()
        for subscription in self._everyone():
            subscription.fall_behind()

    async def _check_for_ever(self) -> None:
        """A session that has ended ends its streams within a second, and a client that does not read outlives no stream."""
        while not stopping():
            await asyncio.sleep(CHECK_EVERY)
            everyone = self._everyone()
            if not everyone:
                continue
            try:
                sessions = list({subscription.session for subscription in everyone})
                still_open = await self._reads.accounts.open_sessions(sessions, now=self._clock())
            except Unavailable:
                continue
            except Exception:
                log.exception("sessions_not_checked")
                continue
            gone = [subscription for subscription in everyone if subscription.session not in still_open]
            for subscription in gone:
                subscription.end()
            asyncio.get_running_loop().call_later(STALLED, self._cut, gone)
            self._cut([subscription for subscription in everyone if subscription.ends_at + STALLED < time.monotonic()])


class Resumption(msgspec.Struct, frozen=True):
    """Where a stream begins, and whether its client has to be told that something may be missing."""

    position: int
    reset: bool = False


class PersonalFeed:
    """A person's own events, by position: from the database until it has caught up, then as they happen."""

    def __init__(
        self, hub: Hub, reads: Reads, *, seen: Collection[str], clock: Clock, kept_days: int, ping: float = PING, life: float = LIFE
    ) -> None:
        self.hub, self._reads, self._seen, self._clock = hub, reads, frozenset(seen), clock
        self._kept_days, self._ping, self._life = kept_days, ping, life

    async def resumption(self, subject: UUID, last_event_id: str | None) -> Resumption:
        """Without an id a stream begins now; `0` is everything that is kept."""
        head = await self._reads.feed.head()
        if last_event_id is None:
            return Resumption(head)
        if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > len(str(head)) or int(last_event_id) > head:
            return Resumption(head, reset=True)
        position = int(last_event_id)
        if position and await self._reads.feed.has_older(subject, position, names=self._seen, than=self._since()):
            return Resumption(head, reset=True)
        return Resumption(position)

    def _since(self) -> datetime:
        return self._clock() - timedelta(days=self._kept_days)

    async def stream(
        self, subject: UUID, session: UUID, start: Resumption, *, until: datetime, connection: asyncio.WriteTransport | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body of the answer, for its life or until the token expires; it ends with `stream.reconnect` unless the session has.

        The `connection` is dropped when its client does not read the end.
        """
        yield b"retry: %d\n\n" % RETRY_MS
        if start.reset:
            yield control("stream.reset", {"read": "/api/v2/users/me", "position": start.position})
        ends_at = time.monotonic() + min(self._life, (until - self._clock()).total_seconds())
        position = start.position
        ping_at = time.monotonic() + self._ping
        with self.hub.subscribed(subject, session, ends_at=ends_at, connection=connection) as subscription:
            while not subscription.ended and not self.hub.closing and time.monotonic() < ends_at:
                found = await self.past(position, subscription)
                for envelope in found:
                    if (envelope.position or 0) > position:
                        position = envelope.position or 0
                        yield frame(envelope)
                if found:
                    ping_at = time.monotonic() + self._ping
                    if subscription.behind:
                        continue
                elif time.monotonic() >= ping_at:
                    yield b": ping\n\n"
                    ping_at = time.monotonic() + self._ping
                due = min(ping_at, ends_at) - time.monotonic()
                await subscription.news(min(due, DOWN_POLL) if subscription.behind else due)
            if not subscription.ended or self.hub.closing:
                yield control("stream.reconnect", {})

    async def past(self, position: int, subscription: Subscription) -> list[Envelope]:
        """What was queued; from the database what was missed."""
        if not subscription.behind:
            return subscription.taken()
        subscription.catching_up()
        try:
            found = await self._reads.feed.after(subscription.subject, position, names=self._seen, since=self._since(), limit=PAGE)
        except Unavailable:
            subscription.behind = True
            return []
        subscription.behind |= len(found) == PAGE
        return found


def frame(envelope: Envelope) -> bytes:
    """One event: its position is the id, its wire name the type."""
    data = msgspec.json.encode(document(envelope))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (envelope.position or 0, envelope.name.encode(), data)


def document(envelope: Envelope) -> dict[str, Any]:
    """An event as it is told to the person whom it concerns."""
    return {
        "id": envelope.id,
        "type": envelope.name,
        "version": envelope.version,
        "occurred_at": envelope.at,
        "subject": envelope.subject,
        "correlation_id": envelope.trace.correlation_id,
        "data": envelope.data,
    }


def control(name: str, data: dict[str, object]) -> bytes:
    """About the stream itself, so without an id."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
