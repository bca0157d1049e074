"""A person's feed as server-sent events, from web processes as they ship, with the relay in this process."""

import asyncio
import fcntl
import os
import re
import signal
import socket
import struct
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from redis import Redis

from app.bootstrap import House, Ports, open_house
from app.data_folder import claim
from app.embedded import Server, bring_up, free_port, prepared
from app.settings import Settings
from app.streaming import Hub, PersonalFeed, Resumption
from bus.harness import HandedOver, Harness
from bus.message import ANONYMOUS, SYSTEM, Actor, Envelope
from bus.transport import Streams, StreamsDown
from db.reads import Reads
from db.reads.feed import FeedReads
from domain.accounts.commands import ChangeProfile, EnsureSigningKey, RegisterAccount
from domain.types import AccountId, Secret
from tests.app.client import FEED, LOG_IN, ME, PASSWORD, Feed, Person, Sent, Web, eventually, feed_of, sign_up, web
from tests.app.processes import room
from tests.factories import Registrations
from tests.support import HandClock, ScriptedMailer, rows, value


@asynccontextmanager
async def relaying(settings: Settings) -> AsyncGenerator[House]:
    """A house with a signing key, whose relay runs."""
    async with open_house(settings, Ports(mailer=ScriptedMailer())) as house, house.bell.listening():
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        running = asyncio.create_task(house.relay(HandedOver()).run())
        try:
            yield house
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def source(settings: Settings) -> AsyncGenerator[House]:
    async with relaying(settings) as house:
        yield house


@pytest.fixture
async def process(settings: Settings, source: House) -> AsyncGenerator[Web]:  # noqa: ARG001 - there must be a key
    async with web(settings) as process:
        yield process


@pytest.fixture
async def client(process: Web) -> AsyncGenerator[httpx.AsyncClient]:
    async with process.client() as client:
        yield client


async def positions(house: House, subject: UUID) -> list[int]:
    """Of everything that this person is to see, in order."""
    query = (
        "SELECT position FROM feed f JOIN events e ON e.id = f.event WHERE f.subject = $1 AND e.name = ANY($2::text[]) ORDER BY position"
    )
    return [row["position"] for row in await rows(house, query, subject, list(house.bus.catalog.seen))]


async def published(house: House, subject: UUID, number: int) -> list[int]:
    """The positions of this person's events, once there are so many."""

    async def found() -> list[int]:
        there = await positions(house, subject)
        return there if len(there) >= number else []

    return await eventually(found, f"{number} events have their positions")


async def change(house: House, account: UUID, name: str) -> None:
    command = ChangeProfile(account=AccountId(account), expected=None, full_name=name)
    await house.bus.execute(command, by=Actor(kind="person", id=account))


async def received(feed: Feed, number: int, seconds: float = 10) -> list[int]:
    """The ids of so many events."""
    events = [await feed.event(seconds) for _ in range(number)]
    return [event.id for event in events if event is not None and event.id is not None]


async def test_the_stream_is_as_the_contract_says_to_the_letter(client: httpx.AsyncClient, source: House) -> None:
    ada = await sign_up(client)
    [first] = await published(source, ada.id, 1)
    async with feed_of(client, ada) as feed:
        assert feed.response.headers["content-type"].startswith("text/event-stream")
        assert feed.response.headers["cache-control"] == "no-store"
        assert feed.response.headers["x-accel-buffering"] == "no"
        assert (await taken(feed)).lines == ("retry: 3000",)
        changed = await client.patch(
            ME, json={"timezone": "Asia/Hong_Kong"}, headers={**ada.headers, "If-Match": '"1"', "X-Request-ID": "change.1"}
        )
        event = await taken(feed)
    [recorded] = await rows(source, "SELECT id, at FROM events WHERE name = 'accounts.profile_changed'")
    assert [line.split(": ")[0] for line in event.lines] == ["id", "event", "data"]
    assert event.lines[:2] == (f"id: {first + 1}", "event: accounts.profile_changed")
    assert list(event.data) == ["id", "type", "version", "occurred_at", "subject", "correlation_id", "data"]
    assert event.data == {
        "id": str(recorded["id"]),
        "type": "accounts.profile_changed",
        "version": 1,
        "occurred_at": recorded["at"].isoformat().replace("+00:00", "Z"),
        "subject": str(ada.id),
        "correlation_id": changed.headers["x-request-id"],
        "data": {"account": str(ada.id), "fields": ["timezone"]},
    }


async def taken(feed: Feed, seconds: float = 10) -> Sent:
    sent = await feed.next(seconds)
    assert sent is not None, "the stream has ended"
    return sent


async def test_a_person_sees_their_own_events_and_no_refusals(client: httpx.AsyncClient, source: House) -> None:
    ada, bob = await sign_up(client), await sign_up(client, email="bob@example.com")
    assert (await client.post(LOG_IN, json={"email": "ada@example.com", "password": "wrong"})).status_code == 401
    await change(source, bob.id, "Bob Bobson")
    await change(source, ada.id, "Ada King")
    await published(source, ada.id, 2)
    async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
        events = [await feed.event(), await feed.event()]
        await change(source, bob.id, "Bob Bobson the Second")
        await change(source, ada.id, "Ada Lovelace")
        events.append(await feed.event())
    assert [event and event.event for event in events] == [
        "accounts.registered", "accounts.profile_changed", "accounts.profile_changed",
    ]  # fmt: skip
    assert all(event is not None and event.data["subject"] == str(ada.id) for event in events)
    assert await value(source, "SELECT count(*) FROM feed") == 7


async def test_a_stream_resumes_after_the_id_in_the_header_or_in_the_query(client: httpx.AsyncClient, source: House) -> None:
    ada = await sign_up(client)
    for name in ("Ada One", "Ada Two", "Ada Three"):
        await change(source, ada.id, name)
    every = await published(source, ada.id, 4)
    options: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"Last-Event-ID": str(every[1])}, {}),
        ({}, {"last_event_id": str(every[1])}),
        ({"Last-Event-ID": str(every[1])}, {"last_event_id": "0"}),
    ]
    for headers, params in options:
        async with feed_of(client, ada, headers, params=params) as feed:
            assert await received(feed, 2) == every[2:]
    async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
        assert await received(feed, 4) == every


async def test_an_id_that_cannot_be_resumed_gives_one_reset_and_goes_on_from_now(client: httpx.AsyncClient, source: House) -> None:
    ada = await sign_up(client)
    [head] = await published(source, ada.id, 1)
    for n, last in enumerate(("abc", "-1", "1.5", "2000000", "9" * 40, "٣", "0x1", " "), 1):
        async with feed_of(client, ada, params={"last_event_id": last}) as feed:
            assert (await taken(feed)).lines == ("retry: 3000",)
            reset = await taken(feed)
            assert (reset.event, reset.id) == ("stream.reset", None)
            assert reset.data["read"] == ME
            await change(source, ada.id, f"Ada {n}")
            assert await received(feed, 1) == [head + n]


async def test_what_is_no_longer_kept_is_never_a_silent_gap(
    client: httpx.AsyncClient, source: House, house: House, harness: Harness, clock: HandClock
) -> None:
    clock.move(days=-31)
    command = RegisterAccount(
        email="ada@example.com", password=Secret(PASSWORD), full_name="Ada", date_of_birth=date(1990, 1, 1), accept_terms=True
    )
    account = (await harness.execute(command, by=ANONYMOUS)).profile.id
    await change(house, account, "Ada of long ago")
    await change(source, account, "Ada of today")
    old, older, kept = await published(source, account, 3)
    signed_in = await client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})
    ada = Person(id=account, token=signed_in.json()["data"]["tokens"]["access_token"])
    newest = (await published(source, account, 4))[-1]
    for last, expected in ((str(older), [kept, newest]), ("0", [kept, newest])):
        async with feed_of(client, ada, {"Last-Event-ID": last}) as feed:
            assert await received(feed, 2) == expected
    async with feed_of(client, ada, {"Last-Event-ID": str(old)}) as feed:
        reset = await feed.event()
        assert reset is not None
        assert (reset.event, reset.id) == ("stream.reset", None)


async def changing(house: House, account: UUID, number: int) -> None:
    for n in range(number):
        await change(house, account, f"Ada number {n}")
        await asyncio.sleep(0.01)


async def following(client: httpx.AsyncClient, ada: Person, seen: list[int], cut: list[str]) -> None:
    """As a browser does it: for ever, beginning again after the last id whenever the stream ends."""
    while True:
        try:
            async with feed_of(client, ada, {"Last-Event-ID": str(seen[-1]) if seen else "0"}) as feed:
                while (event := await feed.event(60)) is not None:
                    if event.id is not None:
                        seen.append(event.id)
                    else:
                        cut.append(event.event or "")
        except httpx.TransportError as error:
            cut.append(type(error).__name__)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_of_the_web_process_leaves_no_gap_and_no_duplicate(
    settings: Settings, source: House, number: signal.Signals
) -> None:
    own = msgspec.structs.replace(settings, port=free_port())
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(web(own))
        client = await stack.enter_async_context(before.client(timeout=60))
        ada = await sign_up(client)
        seen: list[int] = []
        cut: list[str] = []
        follower = asyncio.create_task(following(client, ada, seen, cut))
        producer = asyncio.create_task(changing(source, ada.id, 150))
        await eventually(lambda: len(seen) > 10, "the stream is under way")
        await before.stop(number=number)
        at_the_cut = len(seen)
        await stack.enter_async_context(web(own))
        await producer
        every = await published(source, ada.id, 151)
        await eventually(lambda: len(seen) >= len(every) or follower.done(), "everything has arrived")
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
    assert seen == every
    assert 10 < at_the_cut < len(every)
    assert cut
    assert "stream.reset" not in cut


@pytest.fixture
def valkey() -> Generator[Server]:
    """A server of the test's own, that may be killed, frozen, and started again at the same place."""
    with (
        room() as folder,
        claim(folder / "data") as lifeline,
        prepared(folder / "data", lifeline, postgres=False, durable=False) as servers,
    ):
        bring_up(folder / "data", servers)
        yield servers[0]
        servers[0].child.kill()


@pytest.fixture
def lone_settings(settings: Settings, valkey: Server) -> Settings:
    return msgspec.structs.replace(settings, redis_url=valkey.url)


async def restarted(valkey: Server) -> None:
    valkey.start()
    await eventually(valkey.ready, "Redis is back")


async def test_events_arrive_while_redis_is_down_and_after_it_is_back(lone_settings: Settings, valkey: Server) -> None:
    async with relaying(lone_settings) as house, web(lone_settings) as process, process.client() as client:
        ada = await sign_up(client)
        [first] = await published(house, ada.id, 1)
        async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
            assert await received(feed, 1) == [first]
            valkey.child.kill()
            for n in range(1, 4):
                await change(house, ada.id, f"Ada {n} without Redis")
                assert await received(feed, 1, seconds=3) == [first + n]
            await restarted(valkey)
            await process.says("streams_up")
            for n in range(4, 7):
                await change(house, ada.id, f"Ada {n} with Redis")
                assert await received(feed, 1, seconds=3) == [first + n]


async def test_events_arrive_while_redis_is_frozen(source: House, lone_settings: Settings, valkey: Server) -> None:
    """The relay has another Redis, so only the web process meets the one that does not answer."""
    async with web(lone_settings) as process, process.client() as client:
        ada = await sign_up(client)
        [first] = await published(source, ada.id, 1)
        async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
            assert await received(feed, 1) == [first]
            os.kill(valkey.child.pid, signal.SIGSTOP)
            try:
                await process.says("streams_down")
                await change(source, ada.id, "Ada in the ice")
                assert await received(feed, 1, seconds=3) == [first + 1]
            finally:
                os.kill(valkey.child.pid, signal.SIGCONT)


async def test_a_foreign_entry_in_the_stream_hides_no_event(client: httpx.AsyncClient, source: House, settings: Settings) -> None:
    ada = await sign_up(client)
    [first] = await published(source, ada.id, 1)
    async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
        assert await received(feed, 1) == [first]
        redis: Any = Redis
        with redis.from_url(settings.redis_url) as stranger:
            stranger.xadd("events.accounts", {"hello": "world"})
        for n in range(1, 5):
            await change(source, ada.id, f"Ada {n}")
            assert await received(feed, 1, seconds=5) == [first + n]


async def many(house: House, subject: UUID, number: int) -> list[int]:
    """So many large events of this person more, recorded at once; the positions of all there are."""
    before = len(await positions(house, subject))
    await value(
        house,
        "WITH new AS (INSERT INTO events (id, name, v, key, subject, data, meta, at) "
        "SELECT gen_random_uuid(), name, v, key, subject, json_build_object('account', subject, 'locale', repeat('x', 5000)), meta, at "
        "FROM (SELECT * FROM events WHERE subject = $1 LIMIT 1), generate_series(1, $2) RETURNING id) "
        "INSERT INTO outbox (id, kind) SELECT id, 'event' FROM new",
        subject,
        number,
    )
    return await published(house, subject, before + number)


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Stalled:
    """A client that asks for the stream and does not read it until it is told to."""

    def __init__(self, process: Web, ada: Person, last: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", process.settings.port))
        request = f"GET {FEED} HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer {ada.token}\r\nLast-Event-ID: {last}\r\n\r\n"
        self._socket.sendall(request.encode())
        self._socket.setblocking(False)

    async def full(self) -> None:
        """Until the server cannot send any more: what has arrived stays the same for a while, and is less than there is."""
        last = 0
        while last == 0 or last != self.waiting():
            last = self.waiting()
            await asyncio.sleep(0.3)

    def waiting(self) -> int:
        """Bytes that have arrived and were not read."""
        answer = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    async def ids(self, last: int) -> list[int]:
        """Everything, until this id."""
        text = b""
        async with asyncio.timeout(30):
            while b"id: %d\n" % last not in text[-50_000:]:
                text += await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20)
        return [int(found) for found in re.findall(rb"^id: (\d+)$", text, re.MULTILINE)]

    def close(self) -> None:
        self._socket.close()


Stall = Callable[..., Stalled]


@pytest.fixture
def stall(process: Web) -> Generator[Stall]:
    stalled: list[Stalled] = []

    def stall(ada: Person, last: str = "0") -> Stalled:
        stalled.append(Stalled(process, ada, last))
        return stalled[-1]

    yield stall
    for one in stalled:
        one.close()


async def test_a_slow_reader_does_not_grow_the_server_and_catches_up_without_a_gap(
    client: httpx.AsyncClient, process: Web, source: House, stall: Stall
) -> None:
    ada = await sign_up(client)
    every = await published(source, ada.id, 1)
    # The first begin now and fall behind, the others are behind from the start.
    slow = [stall(ada, last) for last in ("", "", "0", "0")]
    async with feed_of(client, ada, {"Last-Event-ID": "0"}) as reader:
        await received(reader, len(every))
        await many(source, ada.id, 2000)
        await received(reader, 2000, seconds=30)
        for one in slow:
            await one.full()
        before = resident(process.pid)
        for _ in range(2):
            every = await many(source, ada.id, 3000)
            await received(reader, 3000, seconds=30)
        grown = resident(process.pid) - before
    # 32 MB went to whoever reads; none of it may wait in memory for those who do not.
    assert grown < 10_000_000, f"grown by {grown} bytes"
    for one, expected in zip(slow, (every[1:], every[1:], every, every), strict=True):
        assert await one.ids(every[-1]) == expected


async def test_a_stream_ends_within_a_second_of_its_session_also_for_whoever_does_not_read(
    client: httpx.AsyncClient, process: Web, source: House, stall: Stall
) -> None:
    ada = await sign_up(client)
    await published(source, ada.id, 1)
    every = await many(source, ada.id, 2000)
    await stall(ada).full()
    signed_in = await client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})
    other = Person(id=ada.id, token=signed_in.json()["data"]["tokens"]["access_token"])
    await published(source, ada.id, len(every) + 1)
    async with feed_of(client, ada) as feed, feed_of(client, other) as spared:
        assert (await taken(feed)).lines == ("retry: 3000",)
        assert (await taken(spared)).lines == ("retry: 3000",)
        await value(
            source,
            "UPDATE sessions SET ended_at = now() WHERE id = (SELECT id FROM sessions WHERE account = $1 ORDER BY started_at LIMIT 1)",
            ada.id,
        )
        assert await feed.next(seconds=1) is None
        await change(source, ada.id, "Ada signed in elsewhere")
        assert len(await received(spared, 1)) == 1
    await eventually(lambda: process.said().count(f"path={FEED} ") == 3, "no stream of the session is left", seconds=1)
    assert (await client.get(FEED, headers=ada.headers)).json()["code"] == "accounts.session_ended"


async def test_open_streams_do_not_delay_a_stop(client: httpx.AsyncClient, process: Web, source: House, stall: Stall) -> None:
    ada = await sign_up(client)
    await published(source, ada.id, 1)
    await many(source, ada.id, 2000)
    await stall(ada).full()
    async with feed_of(client, ada) as feed:
        assert (await taken(feed)).lines == ("retry: 3000",)
        stopping = asyncio.create_task(process.stop())
        last = await feed.event()
        assert last is not None
        assert (last.event, last.id) == ("stream.reconnect", None)
        assert await feed.next() is None
        assert await stopping < 2
    assert "Traceback" not in process.said()


async def test_a_stream_ends_with_its_token(settings: Settings) -> None:
    short = msgspec.structs.replace(settings, access_token_seconds=2)
    async with relaying(settings), web(short) as process, process.client() as client:
        ada = await sign_up(client)
        async with feed_of(client, ada, {"Last-Event-ID": "0"}) as feed:
            events = [await feed.event(), await feed.event(5)]
            assert await feed.next() is None
        assert [event and (event.event, event.id is None) for event in events] == [
            ("accounts.registered", False), ("stream.reconnect", True),
        ]  # fmt: skip
        assert (await client.get(FEED, headers=ada.headers)).json()["code"] == "auth.token_expired"


@pytest.mark.parametrize("down", [False, True])
async def test_a_quiet_stream_is_pinged_until_its_life_is_over(source: House, *, down: bool) -> None:
    """Redis that is down is no reason to leave out a ping: what lies between would close the connection."""
    seen, areas = source.bus.catalog.seen, source.bus.catalog.areas
    hub = Hub(source.streams, source.reads, areas=areas, seen=seen, clock=source.clock)
    hub.down = down
    feed = PersonalFeed(hub, source.reads, seen=seen, clock=source.clock, kept_days=30, ping=0.2, life=0.9)
    somebody = source.new_id()
    until = datetime.now(UTC) + timedelta(minutes=15)
    blocks = [block async for block in feed.stream(somebody, source.new_id(), Resumption(0), until=until)]
    assert (blocks[0], blocks[-1]) == (b"retry: 3000\n\n", b"event: stream.reconnect\ndata: {}\n\n")
    assert set(blocks[1:-1]) == {b": ping\n\n"}
    assert 2 <= len(blocks[1:-1]) <= 4


class Away(Streams):
    """Those of a Redis that is away."""

    async def ends(self, areas: Sequence[str]) -> dict[str, int]:  # noqa: ARG002 - an override, which answers for no area
        raise StreamsDown


class Counting(FeedReads):
    """Counts how often feeds are read, and how often it is asked who has missed something."""

    read = 0
    looked = 0

    async def after(self, subject: UUID, position: int, *, names: Collection[str], since: datetime, limit: int) -> list[Envelope]:
        self.read += 1
        return await super().after(subject, position, names=names, since=since, limit=limit)

    async def last_of(self, subjects: Collection[UUID], *, past: int) -> dict[UUID, int]:
        found = await super().last_of(subjects, past=past)
        self.looked += 1
        return found


async def test_without_redis_one_question_a_second_is_asked_for_all_streams_and_only_who_missed_something_reads(source: House) -> None:
    seen, areas = source.bus.catalog.seen, source.bus.catalog.areas
    reads = Reads(source.database)
    reads.feed = counting = Counting(source.database)
    hub = Hub(Away(source.streams.broker), reads, areas=areas, seen=seen, clock=source.clock)
    feed = PersonalFeed(hub, reads, seen=seen, clock=source.clock, kept_days=30)
    registered = await source.bus.execute(Registrations.build(), by=ANONYMOUS)
    account, session, until = registered.profile.id, registered.session, datetime.now(UTC) + timedelta(minutes=15)
    told: list[bytes] = []
    others = 20

    async def follow(subject: UUID) -> None:
        async for block in feed.stream(subject, session, Resumption(0), until=until):
            told.extend([block] if block.startswith(b"id: ") else [])

    async with hub.running():
        following = [asyncio.create_task(follow(subject)) for subject in (account, *(source.new_id() for _ in range(others)))]
        try:
            await eventually(lambda: counting.looked >= 3, "it is asked again and again")
            await change(source, account, "Ada King")
            await eventually(lambda: len(told) == 2, "who missed something reads")
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
    assert [block.splitlines()[1] for block in told] == [b"event: accounts.registered", b"event: accounts.profile_changed"]
    assert counting.read < 3 * others


class LateReads(FeedReads):
    """Reads only after something more has happened, and has come to whoever follows already."""

    def __init__(self, house: House, happening: Callable[[], Awaitable[None]]) -> None:
        super().__init__(house.database)
        self._happening = happening

    async def after(self, subject: UUID, position: int, *, names: Collection[str], since: datetime, limit: int) -> list[Envelope]:
        if not position:
            await self._happening()
        return await super().after(subject, position, names=names, since=since, limit=limit)


async def test_what_is_read_and_queued_at_the_same_time_comes_once_and_in_order(source: House) -> None:
    seen, areas = source.bus.catalog.seen, source.bus.catalog.areas
    hub = Hub(source.streams, source.reads, areas=areas, seen=seen, clock=source.clock)
    command = RegisterAccount(
        email="ada@example.com", password=Secret(PASSWORD), full_name="Ada", date_of_birth=date(1990, 1, 1), accept_terms=True
    )
    signed_in = await source.bus.execute(command, by=ANONYMOUS)
    account, session, until = signed_in.profile.id, signed_in.session, datetime.now(UTC) + timedelta(minutes=15)
    async with hub.running():
        await eventually(lambda: not hub.down, "Redis is read")
        follower = PersonalFeed(hub, source.reads, seen=seen, clock=source.clock, kept_days=30)
        following = follower.stream(account, session, Resumption(0), until=until)
        first = [await anext(following), await anext(following)]

        async def happening() -> None:
            await change(source, account, "Ada King")
            first.append(await anext(following))

        reads = Reads(source.database)
        reads.feed = LateReads(source, happening)
        late = PersonalFeed(hub, reads, seen=seen, clock=source.clock, kept_days=30, life=1)
        blocks = [block async for block in late.stream(account, session, Resumption(0), until=until)]
        await following.aclose()
    assert blocks == [*first, b"event: stream.reconnect\ndata: {}\n\n"]


async def test_a_feed_is_only_read_and_nothing_lies_below_it(client: httpx.AsyncClient) -> None:
    for method in ("HEAD", "POST", "DELETE"):
        answer = await client.request(method, FEED)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]
    answer = await client.get(f"{FEED}/1")
    assert (answer.status_code, answer.json()["code"]) == (404, "request.not_found")
