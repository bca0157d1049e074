"""Processes that are killed and started again, a desk outside of the house, and what must be so once everything has settled."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import msgspec
from redis import Redis

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from bus.catalog import wire_of
from bus.message import Actor
from tests.app import client
from tests.app.client import Process, Web
from tests.app.test_mail import SmtpServer
from tests.kills import area
from tests.kills.wire import Wire
from tests.support import rows, value

PERSON = Actor(kind="person", id=UUID(int=7))
SHORT: dict[str, Any] = {
    "relay_lease": 1.5,
    "job_lease": 1.5,
    "claim_lease": 1.5,
    "reclaim_idle": 1.5,
    "backoff_first": 0.1,
    "backoff_most": 0.2,
}
"""Leases that tests can wait for, and no longer pauses between tries than a test needs."""


PATIENCE = 60.0
"""Seconds. A process needs two to start, and ten on a machine that has much else to do."""


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    return await client.eventually(condition, what, PATIENCE)


class Target:
    """A process that is killed at a chosen point and started again. All that it says goes over wires of its own."""

    def __init__(self, name: str, settings: Settings, database: Wire, redis: Wire) -> None:
        self.name, self.database, self.redis = name, database, redis
        self._settings = msgspec.structs.replace(settings, database_url=database.url, redis_url=redis.url, port=free_port())
        self._starts = 0
        self.process = self._started()

    def _started(self) -> Process:
        self._starts += 1
        log = self._settings.data_path / "logs" / f"{self.name}-{self._settings.port}-{self._starts}.log"
        if self.name == "web":
            return Web(self._settings, log)
        return Process(self.name, self._settings, log, module="tests.kills.process")

    @property
    def web(self) -> Web:
        assert isinstance(self.process, Web)
        return self.process

    async def ready(self) -> Self:
        if isinstance(self.process, Web):
            await self.process.answering()
        else:
            await self.process.says("leading" if self.name == "relay" else "reading", PATIENCE)
        return self

    async def kill(self) -> None:
        await self.process.kill()

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    async def start_again(self) -> Self:
        """A new one of the same kind; this one's must have ended."""
        self.process = self._started()
        return await self.ready()


@asynccontextmanager
async def target(name: str, settings: Settings) -> AsyncGenerator[Target]:
    async with Wire(settings.database_url).laid() as database, Wire(settings.redis_url).laid() as redis:
        started = Target(name, settings, database, redis)
        try:
            yield started
        finally:
            if started.process.exit_code is None:
                started.wake()
            await started.process.stop()


class Desk:
    """Somebody outside of the house who is asked, and answers while the desk is open; while it is not, whoever asks waits."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()
        self._server: asyncio.Server | None = None

    async def serve(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Nobody is there any more: connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            self.asked.append(line.decode().rstrip())
            await self.open.wait()
            writer.write(b"yes\n")
            await writer.drain()
        except OSError:
            return  # Whoever asked was killed.
        finally:
            writer.close()


@asynccontextmanager
async def desk() -> AsyncGenerator[Desk]:
    there = Desk()
    await there.serve()
    try:
        yield there
    finally:
        there.open.set()
        await there.close()


class Stranger:
    """Redis as any client sees it."""

    def __init__(self, url: str) -> None:
        redis: Any = Redis
        self.redis: Any = redis.from_url(url, decode_responses=True)

    def entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        return self.redis.xrange(stream)

    def pending(self, stream: str) -> int:
        return sum(group["pending"] for group in self.redis.xinfo_groups(stream))

    def has_confirmed(self, stream: str, group: str, position: int) -> bool:
        found: list[dict[str, Any]] = self.redis.xinfo_groups(stream) if self.redis.exists(stream) else []
        known = next((one for one in found if one["name"] == group), None)
        return known is not None and not known["pending"] and known["last-delivered-id"] == f"{position}-0"


async def seen(house: House, reaction: str, topic: str) -> list[str]:
    """What a reaction wrote down, in the order of its commits."""
    found = await rows(house, "SELECT text FROM kills_seen WHERE reaction = $1 AND topic = $2 ORDER BY n", reaction, topic)
    return [row["text"] for row in found]


async def notes(house: House, topic: str) -> list[str]:
    return [row["text"] for row in await rows(house, "SELECT text FROM kills_notes WHERE topic = $1 ORDER BY n", topic)]


OWING = """
SELECT (SELECT count(*) FROM outbox WHERE kind = 'event' OR due <= now()) + (SELECT count(*) FROM deliveries WHERE state <> 'dead')
"""


async def at_rest(house: House, stranger: Stranger) -> None:
    """Until nothing of ours is on its way any more: all is published, confirmed and done."""

    async def quiet() -> bool:
        if await value(house, OWING) or (await house.ledger.lag())[0]:
            return False
        marks = await house.ledger.watermarks()
        reactions = [(wire_of(plan.messages[0]).area, name) for name, plan in house.bus.registry.reactions.items()]
        return all(stranger.has_confirmed(f"events.{stream}", group, marks[stream]) for stream, group in reactions if stream in marks)

    await eventually(quiet, "everything is at rest")


async def nothing_lost_and_nothing_twice(house: House, stranger: Stranger, name: str, key: str, *, reactions: dict[str, int]) -> list[UUID]:
    """The events of one key in every place where they must be, as often as they must; `reactions` says how many marks each has left."""
    stored = await rows(house, "SELECT id FROM events WHERE name = $1 AND key = $2 ORDER BY id", name, key)
    ids = [row["id"] for row in stored]
    placed = await rows(house, "SELECT event, position FROM feed WHERE event = ANY($1::uuid[]) ORDER BY position", ids)
    assert Counter(row["event"] for row in placed) == dict.fromkeys(ids, 1), placed
    entries = [(entry, fields) for entry, fields in stranger.entries(f"events.{name.partition('.')[0]}") if fields["key"] == key]
    assert [(entry, fields["id"]) for entry, fields in entries] == [(f"{row['position']}-0", str(row["event"])) for row in placed], entries
    marks = await rows(house, "SELECT reaction FROM done WHERE message = ANY($1::uuid[])", ids)
    assert Counter(row["reaction"] for row in marks) == reactions, marks
    assert await value(house, "SELECT count(*) FROM deliveries WHERE message = ANY($1::uuid[])", ids) == 0
    assert await value(house, "SELECT count(*) FROM outbox WHERE id = ANY($1::uuid[])", ids) == 0
    assert await value(house, "SELECT max(position) - count(*) FROM feed") == 0, "the feed has a gap"
    return ids


async def one_account_and_one_welcome(house: House, stranger: Stranger, smtp: SmtpServer, email: str) -> int:
    """Exactly one account with its one event everywhere, and one mail, as its Message-ID says; how often that was sent."""
    [account] = await rows(house, "SELECT id FROM accounts WHERE email = $1", email)
    reactions = {"accounts.send_welcome": 1, "onboarding.begin_journey": 1}
    [event] = await nothing_lost_and_nothing_twice(house, stranger, "accounts.registered", str(account["id"]), reactions=reactions)
    taken = [str(mail["Message-ID"]) for mail in smtp.mails if email in str(mail["To"])]
    assert set(taken) == {f"<welcome.{event}@fluentpro>"}, taken
    return len(taken)


async def reported_once(house: House, stranger: Stranger, topic: str, texts: list[str]) -> None:
    """Exactly these notes, in this order where order is promised, and each event once in every place."""
    noted, followed, kept = await notes(house, topic), await seen(house, "follow", topic), await seen(house, "keep", topic)
    assert (noted, followed, sorted(kept)) == (texts, texts, sorted(texts)), (noted, followed, kept)
    reactions = {name: len(texts) for name in ("kills.keep", "kills.follow", "kills.call")}
    await nothing_lost_and_nothing_twice(house, stranger, "kills.reported", topic, reactions=reactions)


async def tell(house: House, topic: str, *texts: str, **how: int) -> None:
    for text in texts:
        await house.bus.execute(area.Report(topic=topic, text=text, **how), by=PERSON)


async def plan(house: House, topic: str, text: str, *, desk: int = 0, after: float = 0, key: str | None = None) -> None:
    at = datetime.now(UTC) + timedelta(seconds=after) if after else None
    await house.bus.execute(area.Plan(report=area.Report(topic=topic, text=text, desk=desk), at=at, key=key), by=PERSON)
