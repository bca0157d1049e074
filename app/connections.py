"""Who is connected, over all web processes: in Redis, for as long as the process that holds a connection says so.

A person's connections are a hash. Each is written again every third of its life, so those of a process that was killed end by
themselves; nothing else depends on what is written here, and while Redis is away nobody is seen to be connected.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bus.message import Unavailable
from bus.transport import AWAY
from bus.work import stopping
from handlers.ports import Clock, NewId

log = structlog.get_logger("connections")

PEOPLE = "connections"
"""A sorted set of accounts, by when one of their connections was last written."""
CHANGED = "connections.changed"
"""The channel on which an account is named whose connections have changed."""
PATIENCE = 2.0
AT_ONCE = 500
LOOK = 5.0

# Redis' own clock, which all processes share. ARGV: milliseconds of life, account, id, document.
_WRITE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[3], string.format('%.0f', now) .. ' ' .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[2])
"""
_REMOVE = """
redis.call('HDEL', KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
"""

Kind = Literal["sse", "websocket"]


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """One connection. `last_activity` is when its person last sent something over it, as of the last time that it was written."""

    id: UUID
    account: UUID
    session: UUID
    kind: Kind
    conversation: UUID | None
    process: str
    connected_at: datetime
    last_activity: datetime


class Connection:
    """One of this process, from its beginning to its end."""

    def __init__(self, seen: Connected, clock: Clock) -> None:
        self.seen, self._clock = seen, clock

    def active(self) -> None:
        self.seen = msgspec.structs.replace(self.seen, last_activity=self._clock())


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody who is connected, by account."""

    people: dict[UUID, list[Connected]]

    @property
    def total(self) -> int:
        return sum(map(len, self.people.values()))

    @property
    def most(self) -> int:
        return max(map(len, self.people.values()), default=0)

    @property
    def average(self) -> float:
        return round(self.total / len(self.people), 2) if self.people else 0.0


class Registry:
    """Reads and writes what is in Redis. Raises what redis-py does while that is away; `ttl` is in seconds."""

    def __init__(self, url: str, ttl: float) -> None:
        self._redis: Any = cast("Any", Redis).from_url(url, socket_connect_timeout=1, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0))
        self._write, self._remove = self._redis.register_script(_WRITE), self._redis.register_script(_REMOVE)
        self._life = round(ttl * 1000)

    async def close(self) -> None:
        await self._redis.aclose()

    async def write(self, connections: Iterable[Connected]) -> None:
        waiting = list(connections)
        for begin in range(0, len(waiting), AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for one in waiting[begin : begin + AT_ONCE]:
                arguments = [self._life, str(one.account), str(one.id), msgspec.json.encode(one)]
                await self._write(keys=[_key(one.account), PEOPLE], args=arguments, client=pipeline)
            await pipeline.execute()

    async def remove(self, connections: Iterable[Connected]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for one in connections:
            await self._remove(keys=[_key(one.account), PEOPLE], args=[str(one.account), str(one.id)], client=pipeline)
        await pipeline.execute()

    async def announce(self, accounts: Iterable[UUID]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for account in accounts:
            pipeline.publish(CHANGED, str(account))
        await pipeline.execute()

    async def of(self, account: UUID) -> list[Connected]:
        """The first one first."""
        return (await self._read([account])).get(account, [])

    async def everyone(self) -> Census:
        """All of them are read: for those who operate an installation, and not on every request. Raises `Unavailable`."""
        try:
            accounts = [UUID(name.decode()) for name in await self._redis.zrangebyscore(PEOPLE, await self._since(), "+inf")]
            people: dict[UUID, list[Connected]] = {}
            for begin in range(0, len(accounts), AT_ONCE):
                people |= await self._read(accounts[begin : begin + AT_ONCE])
            await self._redis.zremrangebyscore(PEOPLE, "-inf", f"({await self._since()}")
        except AWAY as error:
            raise Unavailable("Redis does not answer, so it is not known who is connected.", retry_after=1) from error
        return Census(people=dict(sorted(people.items())))

    async def _read(self, accounts: list[UUID]) -> dict[UUID, list[Connected]]:
        since = await self._since()
        pipeline = self._redis.pipeline(transaction=False)
        for account in accounts:
            pipeline.hvals(_key(account))
        found: dict[UUID, list[Connected]] = {}
        for account, values in zip(accounts, await pipeline.execute(), strict=True):
            parts = [value.split(b" ", 1) for value in values]
            alive = [msgspec.json.decode(document, type=Connected) for written, document in parts if int(written) >= since]
            if alive:
                found[account] = sorted(alive, key=lambda one: (one.connected_at, one.id))
        return found

    async def _since(self) -> int:
        """What was written before has ended without a word."""
        seconds, micros = await self._redis.time()
        return seconds * 1000 + micros // 1000 - self._life

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Any, None]:
        pubsub: Any = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(CHANGED)
            yield pubsub
        finally:
            await pubsub.aclose()


def _key(account: UUID) -> str:
    return f"connections:{account}"


class Connections:
    """The connections of this process, which it keeps written, and who wants to know of those of a person."""

    def __init__(self, url: str, *, ttl: float, clock: Clock, new_id: NewId) -> None:
        self.registry = Registry(url, ttl)
        self._every, self._clock, self._new_id = ttl / 3, clock, new_id
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._open: dict[UUID, Connection] = {}
        self._new: list[Connection] = []
        self._again = False
        self._closed: list[Connected] = []
        self._changed = asyncio.Event()
        self._watching: dict[UUID, set[asyncio.Event]] = {}
        self.down = False

    @contextmanager
    def open(self, account: UUID, session: UUID, kind: Kind, conversation: UUID | None) -> Generator[Connection, None, None]:
        now = self._clock()
        seen = Connected(
            id=self._new_id(),
            account=account,
            session=session,
            kind=kind,
            conversation=conversation,
            process=self._process,
            connected_at=now,
            last_activity=now,
        )
        connection = self._open[seen.id] = Connection(seen, self._clock)
        self._new.append(connection)
        self._changed.set()
        try:
            yield connection
        finally:
            del self._open[seen.id]
            self._closed.append(seen)
            self._changed.set()

    @contextmanager
    def watching(self, account: UUID) -> Generator[asyncio.Event, None, None]:
        """The event is set when the connections of the account may have changed."""
        event = asyncio.Event()
        others = self._watching.setdefault(account, set())
        others.add(event)
        try:
            yield event
        finally:
            others.discard(event)
            if not others and self._watching.get(account) is others:
                del self._watching[account]

    async def counted(
        self, stream: AsyncGenerator[bytes, None], account: UUID, session: UUID, conversation: UUID | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body of an answer that is a stream of events, seen to be connected as long as it is open."""
        with self.open(account, session, "sse", conversation):
            async with aclosing(stream):
                async for block in stream:
                    yield block

    async def of(self, account: UUID) -> list[Connected] | None:
        """The first one first; None while Redis is away."""
        try:
            return await self.registry.of(account)
        except AWAY:
            return None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """At the end none of them are left, if Redis takes it at once."""
        tasks = [asyncio.create_task(self._write_for_ever()), asyncio.create_task(self._listen_for_ever())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._closed += [connection.seen for connection in self._open.values()]
            try:
                await self._write()
            except AWAY as error:
                log.debug("connections_not_removed", error=type(error).__name__)
            await self.registry.close()

    async def _write_for_ever(self) -> None:
        all_at = time.monotonic() + self._every
        while not stopping():
            try:
                async with asyncio.timeout(max(0.0, all_at - time.monotonic())):
                    await self._changed.wait()
            except TimeoutError:
                all_at = time.monotonic() + self._every
                self._again = True
                # Those of a killed process end without a word.
                self._wake(list(self._watching))
            self._changed.clear()
            try:
                await self._write()
                self.down = False
            except AWAY as error:
                # All that are open are written again soon; those that are not end by themselves.
                if not self.down:
                    log.warning("connections_unknown", error=type(error).__name__, hint="Nobody is seen to be connected meanwhile.")
                self.down = True
            except Exception:
                log.exception("connections_not_written")

    async def _write(self) -> None:
        new, self._new = [one.seen for one in self._new if one.seen.id in self._open], []
        closed, self._closed = self._closed, []
        again, self._again = self._again, False
        await self.registry.write([one.seen for one in self._open.values()] if again else new)
        if closed:
            await self.registry.remove(closed)
        if new or closed:
            await self.registry.announce({one.account for one in (*new, *closed)})

    async def _listen_for_ever(self) -> None:
        while not stopping():
            try:
                async with self.registry.listening() as pubsub:
                    self._wake(list(self._watching))
                    while not stopping():
                        message = await pubsub.get_message(timeout=LOOK)
                        if message is not None:
                            self._wake([UUID(message["data"].decode())])
            except AWAY:
                log.debug("connections_not_heard")
            except Exception:
                log.exception("connections_not_heard")
            await asyncio.sleep(1)

    def _wake(self, accounts: Iterable[UUID]) -> None:
        for account in accounts:
            for event in self._watching.get(account, ()):
                event.set()
