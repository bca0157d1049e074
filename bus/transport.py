"""Redis: one stream per area, one consumer group per reaction, over the connection of a FastStream broker."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError, WatchError

from bus.message import Actor, Envelope, Trace, Unavailable

log = structlog.get_logger("transport")

PREFIX = "events."
FIELDS = (
    "id",
    "position",
    "type",
    "version",
    "occurred_at",
    "subject",
    "key",
    "correlation_id",
    "causation_id",
    "traceparent",
    "actor",
    "data",
)
UNREADABLE = "unreadable.entry"
BEYOND = 2**63
# How many entries one reader of an unordered reaction handles at once.
WORKERS = 8
# Longer than any read blocks; a Redis that has frozen is noticed by it.
SOCKET_TIMEOUT = 2.5

Receive = Callable[[Envelope], Awaitable[None]]


class StreamsDown(Unavailable):
    code = "service.streams_unavailable"
    title = "The event streams do not answer at the moment; events are kept and delivered later."


class NotAfter(Exception):
    """A stream ends beyond what was to be appended, or its name belongs to something that is no stream."""


# What a Redis that is away looks like. The last is uvloop's, for a connection that was closed while a command was on its way into it.
AWAY = (RedisError, OSError, TimeoutError, RuntimeError)
# Answers that say that Redis lost something between two of our commands, or cannot write at the moment.
_PASSING = ("NOGROUP", "no such key", "MISCONF")


@contextmanager
def translated() -> Any:
    try:
        yield
    except ResponseError as error:
        if isinstance(error, (OutOfMemoryError, ReadOnlyError)) or any(words in str(error) for words in _PASSING):
            raise StreamsDown(retry_after=1) from error
        raise
    except AWAY as error:
        raise StreamsDown(retry_after=1) from error


def fields_of(envelope: Envelope) -> dict[str, str]:
    """An event as the flat fields of a stream entry."""
    return dict(zip(FIELDS, _values_of(envelope), strict=True))


def _values_of(envelope: Envelope) -> tuple[str, ...]:
    """In the order of `FIELDS`; what is absent is empty."""
    return (
        str(envelope.id),
        str(envelope.position),
        envelope.name,
        str(envelope.version),
        msgspec.json.encode(envelope.at.astimezone(UTC)).decode().strip('"'),
        "" if envelope.subject is None else str(envelope.subject),
        envelope.key or "",
        envelope.trace.correlation_id,
        envelope.trace.causation_id or "",
        envelope.trace.traceparent or "",
        msgspec.json.encode(envelope.actor).decode(),
        bytes(envelope.data).decode(),
    )


def envelope_from(raw: Mapping[bytes, bytes], entry: str) -> Envelope:
    """The event of a stream entry; one that is not an event of ours comes as `unreadable.entry`, with what was found as its data."""
    fields = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in raw.items()}
    try:
        return Envelope(
            id=UUID(fields["id"]),
            name=fields["type"],
            version=int(fields["version"]),
            at=msgspec.convert(fields["occurred_at"], datetime),
            actor=msgspec.json.decode(fields["actor"], type=Actor),
            trace=Trace(
                correlation_id=fields["correlation_id"],
                causation_id=fields["causation_id"] or None,
                traceparent=fields["traceparent"] or None,
            ),
            data=msgspec.json.decode(fields["data"], type=msgspec.Raw),
            key=fields["key"] or None,
            subject=UUID(fields["subject"]) if fields["subject"] else None,
            position=int(fields["position"]),
        )
    except (KeyError, ValueError, msgspec.MsgspecError):
        return Envelope(
            id=uuid5(NAMESPACE_URL, f"{entry}/{fields.get('id', '')}"),
            name=UNREADABLE,
            version=1,
            at=datetime.fromtimestamp(0, UTC),
            actor=Actor(kind="system"),
            trace=Trace(correlation_id=fields.get("correlation_id", "")),
            data=msgspec.Raw(json.dumps(fields).encode()),
        )


class Entry(msgspec.Struct, frozen=True):
    """An envelope as it was read. Its `id` is that of Redis: an unreadable one has no position."""

    id: str
    envelope: Envelope


# Appends only to streams whose last id is the expected one, all of them or none; answers with the last ids that are not.
_APPEND = """
local different = {}
for i, key in ipairs(KEYS) do
    local last = '0-0'
    if redis.call('EXISTS', key) == 1 then
        local info = redis.call('XINFO', 'STREAM', key)
        for j = 1, #info, 2 do if info[j] == 'last-generated-id' then last = info[j + 1] end end
    end
    if last ~= ARGV[i] then table.insert(different, {key, last}) end
end
if #different > 0 then return different end
local names, entries = unpack(cmsgpack.unpack(ARGV[#KEYS + 1]))
local command = {'XADD'}
for i, name in ipairs(names) do command[2 + 2 * i] = name end
for _, entry in ipairs(entries) do
    command[2], command[3] = KEYS[entry[1]], entry[2]
    for i, value in ipairs(entry[3]) do command[3 + 2 * i] = value end
    redis.call(unpack(command))
end
return {}
"""


class Streams:
    """What the relay does with Redis. Positions are integers; a stream that is not there ends at 0."""

    def __init__(self, broker: RedisBroker) -> None:
        self.broker = broker

    async def redis(self) -> Redis:
        return await self.broker.connect()

    async def append(self, after: Mapping[str, int], envelopes: Sequence[Envelope]) -> dict[str, int]:
        """Append if every stream ends where `after` says; else nothing is written and the areas that end elsewhere are answered."""
        areas = list(after)
        number = {area: n for n, area in enumerate(areas, 1)}
        entries = [(number[envelope.area], f"{envelope.position}-0", _values_of(envelope)) for envelope in envelopes]
        arguments = (*(PREFIX + area for area in areas), *(f"{after[area]}-0" for area in areas))
        # All of it in one argument: one for each field takes the client longer than everything else that it does.
        batch = msgspec.msgpack.encode((FIELDS, entries))
        with translated():
            redis = await self.redis()
            found = await cast("Awaitable[list[Any]]", redis.eval(_APPEND, len(areas), *arguments, batch))
        return {key.decode().removeprefix(PREFIX): _position(last) for key, last in found}

    async def ends(self, areas: Sequence[str]) -> dict[str, int]:
        """The last position of each stream; one that ends with an id that is not of ours ends beyond every position."""
        with translated():
            return {area: await self._end(await self.redis(), area) for area in areas}

    async def _end(self, redis: Redis, area: str) -> int:
        if not await redis.exists(PREFIX + area):
            return 0
        info = cast("dict[str, Any]", await redis.xinfo_stream(PREFIX + area))
        last = cast("bytes", info["last-generated-id"])
        return _position(last) if last.endswith(b"-0") else BEYOND

    async def first(self, area: str) -> int | None:
        """The position of the oldest entry."""
        with translated():
            found = cast("list[tuple[bytes, Any]]", await (await self.redis()).xrange(PREFIX + area, count=1))
        return _position(found[0][0]) if found else None

    async def drop(self, area: str) -> None:
        with translated():
            await (await self.redis()).delete(PREFIX + area)

    async def copy(self, name: str, envelopes: Sequence[Envelope]) -> None:
        """Append to a stream of any other name, all or, raising `NotAfter` when it goes further already, none."""
        with translated():
            async with (await self.redis()).pipeline(transaction=True) as pipeline:
                await pipeline.watch(name)
                if await pipeline.type(name) not in (b"none", b"stream"):
                    raise NotAfter
                if await pipeline.exists(name):
                    info = cast("dict[str, Any]", await pipeline.xinfo_stream(name))
                    if _parts(info["last-generated-id"]) >= (envelopes[0].position or 0, 0):
                        raise NotAfter
                pipeline.multi()
                for envelope in envelopes:
                    pipeline.xadd(name, cast("Any", fields_of(envelope)), id=f"{envelope.position}-0")
                try:
                    await pipeline.execute()
                except WatchError as error:
                    raise NotAfter from error

    async def trim(self, area: str, below: int) -> None:
        """Forget entries with positions below this."""
        with translated():
            await (await self.redis()).xtrim(PREFIX + area, minid=f"{below}-0", approximate=False)

    async def create_group(self, area: str, group: str, position: int) -> bool:
        """Whether it was not there."""
        with translated():
            try:
                await (await self.redis()).xgroup_create(PREFIX + area, group, f"{position}-0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" in str(error):
                    return False
                raise
        return True

    async def confirmed(self, area: str) -> dict[str, int]:
        """Of each group: just before its oldest pending entry, else its last delivered one."""
        with translated():
            redis = await self.redis()
            if not await redis.exists(PREFIX + area):
                return {}
            found: dict[str, int] = {}
            for group in cast("list[dict[str, Any]]", await redis.xinfo_groups(PREFIX + area)):
                name = cast("bytes", group["name"]).decode()
                pending = cast("dict[str, Any]", await redis.xpending(PREFIX + area, name)) if group["pending"] else {"min": None}
                oldest = pending["min"]
                found[name] = _position(group["last-delivered-id"]) if oldest is None else _position(oldest) - 1
            return found

    async def pending(self, area: str, group: str, consumer: str) -> list[tuple[str, Envelope]]:
        """Take over every entry that somebody read and did not acknowledge, in order."""
        with translated():
            redis = await self.redis()
            found: list[tuple[str, Envelope]] = []
            cursor = "0-0"
            while True:
                answer: Any = await redis.xautoclaim(PREFIX + area, group, consumer, min_idle_time=0, start_id=cursor, count=100)
                found += [(entry.decode(), envelope_from(fields, entry.decode())) for entry, fields in answer[1] if fields]
                cursor = answer[0].decode()
                if cursor == "0-0":
                    return found

    async def read(self, area: str, group: str, consumer: str) -> list[tuple[str, Envelope]]:
        """What is new for a group, at once."""
        with translated():
            answer: Any = await (await self.redis()).xreadgroup(group, consumer, {PREFIX + area: ">"}, count=100)
        return [(entry.decode(), envelope_from(fields, entry.decode())) for _, entries in answer for entry, fields in entries]

    async def hold(self, area: str, group: str, consumer: str, entries: Collection[str] | None = None) -> None:
        """Say that this consumer lives and is at work on `entries`, or on all that it has pending, so that nobody takes them over."""
        with translated():
            redis: Any = await self.redis()
            mine = await redis.xpending_range(PREFIX + area, group, "-", "+", 1000, consumername=consumer)
            held = [entry["message_id"] for entry in mine if entries is None or entry["message_id"].decode() in entries]
            if held:
                await redis.xclaim(PREFIX + area, group, consumer, min_idle_time=0, message_ids=held, justid=True)

    async def stranded(self, area: str, group: str, entries: Collection[str], *, idle_ms: int) -> bool:
        """Whether anything but `entries` has been pending for so long."""
        with translated():
            redis: Any = await self.redis()
            pending = await redis.xpending_range(PREFIX + area, group, "-", "+", len(entries) + 1, idle=idle_ms)
        return any(entry["message_id"].decode() not in entries for entry in pending)

    async def acknowledge(self, area: str, group: str, entry: str) -> None:
        with translated():
            await (await self.redis()).xack(PREFIX + area, group, entry)

    async def forget_consumers(self, area: str, group: str, *, idle_ms: int) -> None:
        """Names of processes that are long gone and owe nothing."""
        with translated():
            redis = await self.redis()
            for consumer in cast("list[dict[str, Any]]", await redis.xinfo_consumers(PREFIX + area, group)):
                if consumer["pending"] == 0 and consumer["idle"] > idle_ms:
                    await redis.xgroup_delconsumer(PREFIX + area, group, consumer["name"])


def _position(entry: bytes | str) -> int:
    return _parts(entry)[0]


def _parts(entry: bytes | str) -> tuple[int, int]:
    first, _, second = (entry.decode() if isinstance(entry, bytes) else entry).partition("-")
    return int(first), int(second or 0)


def make_broker(url: str) -> RedisBroker:
    """A broker that reads flat entries: the body that a subscriber gets is an `Entry`."""

    async def parse(message: Any, original: Callable[[Any], Awaitable[Any]]) -> Any:
        return await original(message)

    async def decode(message: Any) -> Entry:
        raw = message.raw_message
        entry = raw["message_ids"][0].decode()
        return Entry(entry, envelope_from(raw["data"], entry))

    make: Any = RedisBroker
    return make(
        url,
        parser=parse,
        decoder=decode,
        apply_types=False,
        logger=None,
        graceful_timeout=10.0,
        socket_connect_timeout=3,
        socket_timeout=SOCKET_TIMEOUT,
        # At once and once, for a pooled connection that a restart of Redis has cut; whoever is waiting is told soon, and knows what to do.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        health_check_interval=15,
    )


class Reader:
    """One reaction's place in its stream, for as long as it runs: group, subscriber, reclaimer.

    An unordered reaction reads new entries and takes over those of consumers that died. An ordered one reads alone: whoever holds its lease
    first takes over everything pending, then reads on.
    """

    def __init__(self, streams: Streams, area: str, group: str, receive: Receive, *, consumer: str, reclaim_idle: float) -> None:
        self._streams, self._area, self._group, self._receive, self._consumer = streams, area, group, receive, consumer
        self._reclaim_idle = reclaim_idle
        self._subscribers: list[Any] = []
        self._handling: list[str] = []
        self._alone = self._stranded = False
        self._position = 0

    async def start(self, *, position: int, alone: bool) -> None:
        """Begin at `position` when the group is not there yet."""
        self._alone, self._position = alone, position
        await self._streams.create_group(self._area, self._group, position)
        await self._streams.forget_consumers(self._area, self._group, idle_ms=24 * 3600 * 1000)
        if alone:
            for entry, envelope in await self._streams.pending(self._area, self._group, self._consumer):
                await self._receive(envelope)
                await self._streams.acknowledge(self._area, self._group, entry)
        await self._subscribe(workers=1 if alone else WORKERS)
        if not alone:
            await self._subscribe(min_idle_time=int(self._reclaim_idle * 1000))

    async def _subscribe(self, *, workers: int = 1, min_idle_time: int | None = None) -> None:
        stream = StreamSub(
            PREFIX + self._area,
            group=self._group,
            consumer=self._consumer,
            polling_interval=1000,
            max_records=workers,
            min_idle_time=min_idle_time,
        )
        subscribe: Any = self._streams.broker.subscriber
        subscriber = subscribe(stream=stream, ack_policy=AckPolicy.ACK, no_reply=True, max_workers=workers)
        subscriber(self._handle)
        # Should the group have been lost since we made it, FastStream makes it, and would do so at the end of the stream.
        subscriber.last_id = f"{self._position}-0"
        self._subscribers.append(subscriber)
        with translated():
            await subscriber.start()

    async def _handle(self, entry: Entry) -> None:
        self._handling.append(entry.id)
        try:
            await self._receive(entry.envelope)
        finally:
            self._handling.remove(entry.id)

    async def hold(self) -> None:
        """Call it more often than every `reclaim_idle` seconds: pending then means that its consumer died, or never got the answer."""
        if self._alone:
            idle_ms = int(self._reclaim_idle * 1000)
            self._stranded = await self._streams.stranded(self._area, self._group, self._handling, idle_ms=idle_ms)
        else:
            # While all are busy, what was read besides waits in memory for its turn.
            held = self._handling if len(self._handling) < WORKERS else None
            await self._streams.hold(self._area, self._group, self._consumer, held)

    @property
    def running(self) -> bool:
        """False once the group or the stream was deleted, for FastStream then stops in silence, or when it must begin again."""
        return bool(self._subscribers) and not self._stranded and all(subscriber.running for subscriber in self._subscribers)

    async def stop(self) -> None:
        """Finish what is being handled; what was read and not begun stays pending. Afterwards nothing of it uses the connection."""
        subscribers, self._subscribers = self._subscribers, []
        # FastStream cancels its tasks, but does not wait for their end.
        tasks = [task for subscriber in subscribers for task in subscriber.tasks]
        await asyncio.gather(*(subscriber.stop() for subscriber in subscribers))
        await asyncio.gather(*tasks, return_exceptions=True)
