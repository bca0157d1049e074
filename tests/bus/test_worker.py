"""The worker over real streams and queues: who reads what, who takes over, and who runs the sent commands."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from faststream.redis import RedisBroker
from saq import Job

from app.bootstrap import House, Ports, open_house
from bus.harness import HandedOver
from bus.inbox import Inbox, InboxSettings
from bus.message import Envelope, Unavailable
from bus.transport import PREFIX, UNREADABLE, Reader, Streams
from bus.work import Jobs, Leader
from bus.worker import Worker
from db.connection import DatabaseDown
from db.ledger.postgres import PostgresLedger
from db.session import unit
from tasks.queue import OUTAGE, PatientQueue, QueueDown, SaqJobs, close_queue, make_queue
from tasks.worker import make_worker
from tests.bus import sample
from tests.bus.sample import Batch, Follow, Hidden, Script
from tests.bus.support import PERSON, lose_redis, note, seen, until
from tests.support import HandClock, ScriptedMailer, rows, value

STREAM = PREFIX + "sample"
LEASE = 0.5


@asynccontextmanager
async def in_background(*work: Awaitable[None]) -> AsyncGenerator[None, None]:
    running = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@asynccontextmanager
async def working(house: House, mailer: ScriptedMailer, *, reclaim_idle: float = 0.2) -> AsyncGenerator[House, None]:
    """A worker of its own, with a house of its own, beside the given one."""
    settings = msgspec.structs.replace(house.settings, relay_lease=LEASE, reclaim_idle=reclaim_idle)
    async with (
        open_house(settings, Ports(clock=house.clock, mailer=mailer), modules=(sample,)) as other,
        in_background(other.worker().run()),
    ):
        yield other


async def led(house: House, jobs: Jobs) -> tuple[Leader, Callable[[], Awaitable[int]]]:
    """A relay that leads, and one step of it."""
    relay = house.relay(jobs)
    leader = await relay.lead()
    assert leader is not None

    async def step() -> int:
        return await relay.step(leader)

    return leader, step


async def confirmed_up_to(house: House, position: int) -> bool:
    return await house.streams.confirmed("sample") == {"sample.keep": position, "sample.follow": position}


async def test_entries_are_read_by_every_reaction_and_confirmed(house: House, mailer: ScriptedMailer) -> None:
    _, step = await led(house, HandedOver())
    async with working(house, mailer):
        await house.bus.execute(Batch(texts=["a", "b"]), by=PERSON)
        await step()
        await until(lambda: confirmed_up_to(house, 3))
        assert sorted(await seen(house, "keep")) == ["a", "b"]
        assert await seen(house, "follow") == ["a", "b"]
        await until(lambda: value(house, "SELECT count(*) = 6 FROM done"))
        assert sorted(mail.text for mail in mailer.sent) == ["a", "b"]


async def test_what_waits_is_tried_again_by_the_worker(house: House, mailer: ScriptedMailer, clock: HandClock, script: Script) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake")]
    _, step = await led(house, HandedOver())
    async with working(house, mailer):
        await note(house, "a")
        await step()
        await until(lambda: value(house, "SELECT count(*) FROM deliveries"))
        clock.move(seconds=house.settings.backoff_first)
        await until(lambda: seen(house, "keep"))


async def test_an_entry_of_a_reader_that_died_is_taken_over(house: House, mailer: ScriptedMailer) -> None:
    _, step = await led(house, HandedOver())
    await note(house, "a")
    await step()
    await house.streams.create_group("sample", "sample.keep", 0)
    assert len(await house.streams.read("sample", "sample.keep", "worker-that-died")) == 1
    async with working(house, mailer):
        await until(lambda: confirmed_up_to(house, 1))
        assert await seen(house, "keep") == ["a"]


async def test_a_reader_begins_again_when_its_group_or_stream_was_deleted(house: House, mailer: ScriptedMailer, clock: HandClock) -> None:
    _, step = await led(house, HandedOver())
    async with working(house, mailer):
        await note(house, "a")
        await step()
        await until(lambda: confirmed_up_to(house, 1))
        clock.move(seconds=1)
        await step()
        await (await house.streams.redis()).xgroup_destroy(STREAM, "sample.keep")
        await note(house, "b")
        await step()
        await until(lambda: confirmed_up_to(house, 2))
        clock.move(seconds=1)
        await step()
        await lose_redis(house)
        await note(house, "c")
        clock.move(seconds=1)
        await step()
        await step()
        await until(lambda: confirmed_up_to(house, 3))
        assert await seen(house, "keep") == ["a", "b", "c"]
        assert await seen(house, "follow") == ["a", "b", "c"]


class Losing(Streams):
    """Loses a group between its making and the start of those who read for it."""

    async def forget_consumers(self, area: str, group: str, *, idle_ms: int) -> None:
        await super().forget_consumers(area, group, idle_ms=idle_ms)
        await (await self.redis()).xgroup_destroy(PREFIX + area, group)


async def test_a_group_that_is_lost_while_its_reader_starts_begins_where_it_stood(house: House) -> None:
    _, step = await led(house, HandedOver())
    await note(house, "a", "b", "c")
    await step()
    texts: list[str] = []

    async def receive(envelope: Envelope) -> None:
        texts.append(sample.text_in(bytes(envelope.data)))

    reader = Reader(Losing(house.broker), "sample", "sample.keep", receive, consumer="one", reclaim_idle=60)
    await reader.start(position=1, alone=False)

    async def all_had() -> bool:
        return texts == ["b", "c"]

    await until(all_had)
    await reader.stop()


async def test_an_ordered_reaction_is_taken_over_once_its_lease_passes_and_what_was_pending_comes_first(
    house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    _, step = await led(house, HandedOver())
    gone = await house.ledger.lead("reaction:sample.follow", uuid4(), now=clock(), until=clock() + timedelta(seconds=LEASE))
    assert gone is not None
    await note(house, "a", "b")
    await step()
    await house.streams.create_group("sample", "sample.follow", 0)
    assert len(await house.streams.read("sample", "sample.follow", "worker-that-died")) == 2
    await note(house, "c")
    await step()
    async with working(house, mailer), working(house, mailer):
        await until(lambda: value(house, "SELECT count(*) = 3 FROM sample_seen WHERE reaction = 'keep'"))
        assert await seen(house, "follow") == []
        clock.move(seconds=LEASE)
        await until(lambda: confirmed_up_to(house, 3))
        assert await seen(house, "follow") == ["a", "b", "c"]
        active = await rows(house, "SELECT holder, until > $1 AS held FROM leases WHERE name = 'reaction:sample.follow'", clock())
        assert [row["held"] for row in active] == [True]


async def test_an_ordered_reaction_keeps_its_lease_while_it_takes_over(
    house: House, mailer: ScriptedMailer, clock: HandClock, script: Script
) -> None:
    _, step = await led(house, HandedOver())
    await note(house, "a")
    await step()
    await house.streams.create_group("sample", "sample.follow", 0)
    await house.streams.read("sample", "sample.follow", "worker-that-died")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    script.gates["follow"] = wait
    async with working(house, mailer):
        await reached.wait()
        clock.move(seconds=LEASE)
        renewed = "SELECT count(*) FROM leases WHERE name = 'reaction:sample.follow' AND until > $1"
        await until(lambda: value(house, renewed, clock()))
        go_on.set()
        await until(lambda: seen(house, "follow"))


async def test_what_was_trimmed_before_an_ordered_reaction_had_it_comes_in_its_order(
    house: House, mailer: ScriptedMailer, script: Script
) -> None:
    _, step = await led(house, HandedOver())
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    script.gates["follow"] = wait
    async with working(house, mailer):
        await note(house, "a")
        await step()
        await reached.wait()
        await note(house, "b", "c", "d", topic="other")
        await note(house, "e")
        await step()
        await (await house.streams.redis()).xtrim(STREAM, maxlen=1, approximate=False)
        go_on.set()
        await until(lambda: confirmed_up_to(house, 5))
    assert await seen(house, "follow") == ["a", "b", "c", "d", "e"]


async def test_a_worker_that_stops_finishes_what_it_is_doing_and_leaves_the_lease(
    house: House, mailer: ScriptedMailer, clock: HandClock, script: Script
) -> None:
    _, step = await led(house, HandedOver())
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await asyncio.sleep(0.05)

    script.gates["follow"] = wait
    async with working(house, mailer):
        await note(house, "a")
        await step()
        await reached.wait()
    assert await seen(house, "follow") == ["a"]
    assert await value(house, "SELECT until <= $1 FROM leases WHERE name = 'reaction:sample.follow'", clock())


@asynccontextmanager
async def saq(house: House, *, cron: str | None = None) -> AsyncGenerator[SaqJobs, None]:
    """A worker of the queue, beside the given house."""
    queue = make_queue(house.settings.redis_url)
    worker = make_worker(queue, house.bus, house.inbox, {cron: Hidden()} if cron else {})
    try:
        async with in_background(worker.start()):
            yield SaqJobs(queue)
            await worker.stop()
    finally:
        await close_queue(queue)


async def test_a_sent_command_goes_through_the_queue(house: House, script: Script) -> None:
    async with saq(house) as jobs:
        _, step = await led(house, jobs)
        await house.bus.execute(Follow(text="a"), by=PERSON)
        await step()
        await until(lambda: value(house, "SELECT count(*) FROM sample_notes"))
        assert script.ran("count") == ["a"]
        assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 0


class Deaf(PatientQueue):
    """Loses the first cancellation of its sweep, as a connection does that is made in that moment."""

    sweeping = False

    async def sweep(self, *_: object, **__: object) -> list[str]:
        self.sweeping = True
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return []


async def test_a_worker_stops_in_time_though_a_cancellation_was_lost(house: House) -> None:
    queue = make_queue(house.settings.redis_url, Deaf)
    worker = make_worker(queue, house.bus, house.inbox, {})
    began = time.monotonic()
    async with in_background(worker.start()):
        while not queue.sweeping:  # noqa: ASYNC110 - SAQ calls it, and tells nobody
            await asyncio.sleep(0.01)
        await worker.stop()
    await close_queue(queue)
    assert time.monotonic() - began < 5


async def test_a_job_whose_worker_vanished_is_handed_over_again(house: House, script: Script, clock: HandClock) -> None:
    queue = make_queue(house.settings.redis_url)
    _, step = await led(house, SaqJobs(queue))
    await house.bus.execute(Follow(text="a"), by=PERSON)
    await step()
    # Taken by a worker that is then gone: SAQ alone would not give it to another for an hour.
    taken = await queue.dequeue(timeout=5)
    assert taken is not None
    async with saq(house):
        await step()
        assert script.ran("count") == []
        clock.move(seconds=house.settings.job_lease)
        await step()
        await until(lambda: value(house, "SELECT count(*) FROM sample_notes"))
    assert script.ran("count") == ["a"]
    await close_queue(queue)


async def test_while_no_worker_runs_the_queue_stays_bounded_and_afterwards_everything_runs_once(
    house: House, script: Script, clock: HandClock
) -> None:
    queue = make_queue(house.settings.redis_url)
    _, step = await led(house, SaqJobs(queue, most=5))
    texts = [f"{n}" for n in range(7)]
    for text in texts:
        await house.bus.execute(Follow(text=text), by=PERSON)
    for _ in range(10):
        await step()
        clock.move(seconds=house.settings.job_lease)
    assert await queue.count("queued") == 5
    async with saq(house):

        async def all_ran() -> bool:
            await step()
            return sorted(script.ran("count")) == texts and await queue.count("incomplete") == 0

        await until(all_ran)
    assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 0
    await close_queue(queue)


class Interrupted(PostgresLedger):
    """PostgreSQL is away when a lease is to be renewed for the first time."""

    away = True

    async def renew(self, message: UUID, fence: int, *, until: datetime) -> bool:
        if self.away:
            self.away = False
            raise DatabaseDown
        return await super().renew(message, fence, until=until)


async def test_a_lease_is_renewed_again_after_an_outage(house: House, script: Script, clock: HandClock) -> None:
    jobs = HandedOver()
    _, step = await led(house, jobs)
    await house.bus.execute(Follow(text="a"), by=PERSON)
    await step()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    script.gates["prepare"] = wait
    ledger = Interrupted(house.database, house.bell, unit)
    inbox = Inbox(house.bus, ledger, clock=clock, settings=InboxSettings(lease=0.3))
    running = asyncio.create_task(inbox.run_sent(*jobs.waiting.pop()))
    await reached.wait()
    clock.move(seconds=0.3)
    try:
        await until(lambda: value(house, "SELECT count(*) FROM outbox WHERE lease > $1", clock()), seconds=5)
    finally:
        go_on.set()
        await running
    assert script.ran("count") == ["a"]


async def test_a_lease_is_renewed_while_its_command_runs(house: House, script: Script, clock: HandClock) -> None:
    settings = msgspec.structs.replace(house.settings, job_lease=0.3)
    jobs = HandedOver()
    async with open_house(settings, Ports(clock=clock, mailer=ScriptedMailer()), modules=(sample,)) as brief:
        _, step = await led(brief, jobs)
        await brief.bus.execute(Follow(text="a"), by=PERSON)
        await step()
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reached.set()
            await go_on.wait()

        script.gates["prepare"] = wait
        running = asyncio.create_task(brief.inbox.run_sent(*jobs.waiting.pop()))
        await reached.wait()
        clock.move(seconds=0.3)
        await until(lambda: value(house, "SELECT count(*) FROM outbox WHERE lease > $1", clock()))
        await step()
        assert jobs.waiting == []
        go_on.set()
        await running
    assert await value(house, "SELECT count(*) FROM sample_notes") == 1


async def test_a_schedule_counts_once_however_many_workers_there_are(house: House) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(saq(house, cron="* * * * * */1"))
        await until(lambda: value(house, "SELECT count(*) >= 2 FROM outbox"))
    sent = await rows(house, "SELECT envelope->>'name' AS name, envelope->'actor'->>'kind' AS kind FROM outbox")
    assert {(row["name"], row["kind"]) for row in sent} == {("bus.hidden", "system")}
    assert len(sent) == await value(house, "SELECT count(*) FROM idempotency WHERE caller = 'schedule' AND answer IS NOT NULL")


async def test_a_queue_that_does_not_answer_is_an_outage_and_the_command_is_kept(house: House, clock: HandClock) -> None:
    queue = make_queue("redis://127.0.0.1:1/0")
    jobs = SaqJobs(queue)
    await house.bus.execute(Follow(text="a"), by=PERSON)
    relay = house.relay(jobs)
    leader = await relay.lead()
    assert leader is not None
    with pytest.raises(QueueDown):
        await relay.hand_over(leader)
    await relay.step(leader)
    clock.move(seconds=house.settings.job_lease)
    assert [handover.fence for handover in await house.ledger.hand_over(leader, now=clock(), until=clock(), limit=5)] == [1]
    assert issubclass(QueueDown, Unavailable)
    await close_queue(queue)


async def test_an_unreadable_entry_that_takes_long_is_not_taken_for_a_stranded_one(house: House) -> None:
    redis = await house.streams.redis()
    await redis.xadd(STREAM, {"junk": "1"}, id="1-0")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def receive(envelope: Envelope) -> None:
        assert envelope.name == UNREADABLE
        reached.set()
        await go_on.wait()

    reader = Reader(house.streams, "sample", "sample.follow", receive, consumer="one", reclaim_idle=0.1)

    async def idle() -> bool:
        [pending] = await redis.xpending_range(STREAM, "sample.follow", "-", "+", 1)
        return pending["time_since_delivered"] > 100

    try:
        await reader.start(position=0, alone=True)
        await reached.wait()
        await until(idle)
        await reader.hold()
        assert reader.running
    finally:
        go_on.set()
        await reader.stop()


class Swallowing(Streams):
    """Loses a cancellation, as `asyncio.wait_for` does before Python 3.12 when it comes together with the answer."""

    def __init__(self, broker: RedisBroker) -> None:
        super().__init__(broker)
        self.asked = asyncio.Event()

    async def hold(self, area: str, group: str, consumer: str, entries: Collection[str] | None = None) -> None:  # noqa: ARG002 - whatever it is asked to hold
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


async def test_a_cancellation_that_a_library_swallows_still_stops_the_worker(house: House) -> None:
    streams = Swallowing(house.broker)
    worker = Worker(
        house.bus.registry,
        house.inbox,
        house.ledger,
        streams,
        clock=house.clock,
        holder=house.new_id(),
        lease=LEASE,
        reclaim_idle=0.2,
    )
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(15):
        await streams.asked.wait()
    running.cancel()
    _, unfinished = await asyncio.wait([running], timeout=10)
    assert unfinished == set()


# A row decides, because taking a trigger away would wait for the transactions that it refuses, and they for it.
REFUSE = """
CREATE TABLE refused AS SELECT;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF TG_TABLE_NAME = 'deliveries' OR EXISTS (SELECT FROM refused) THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON done FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION refuse();
"""
ALLOW = "DELETE FROM refused"


async def test_an_entry_that_could_neither_be_done_nor_kept_is_not_acknowledged(
    house: House, mailer: ScriptedMailer, script: Script
) -> None:
    _, step = await led(house, HandedOver())
    async with house.database.driver() as driver:
        await driver.execute(REFUSE)
    try:
        async with working(house, mailer):
            await note(house, "a")
            await step()

            async def tried() -> bool:
                return len(script.ran("keep")) > 0

            await until(tried)
            async with house.database.driver() as driver:
                await driver.execute(ALLOW)
            await until(lambda: confirmed_up_to(house, 1))
    finally:
        async with house.database.driver() as driver:
            await driver.execute("DROP FUNCTION refuse() CASCADE; DROP TABLE refused")
    assert await seen(house, "keep") == ["a"]


async def test_what_a_living_worker_is_slow_to_handle_is_not_taken_over(house: House, mailer: ScriptedMailer, script: Script) -> None:
    _, step = await led(house, HandedOver())

    async def slowly() -> None:
        await asyncio.sleep(2.5)

    script.gates["mail"] = slowly
    # On a busy machine a living worker may say so a second late.
    async with working(house, mailer, reclaim_idle=2), working(house, mailer, reclaim_idle=2):
        await house.bus.execute(Batch(texts=list("abcdefghijklmnopqrstuvwxyz")), by=PERSON)
        await step()

        async def all_confirmed() -> bool:
            return set((await house.streams.confirmed("archive")).values()) == {52}

        await until(all_confirmed, seconds=30)
    assert sorted(mail.text for mail in mailer.sent) == list("abcdefghijklmnopqrstuvwxyz")


class Counting(PatientQueue):
    asked = 0

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:  # noqa: ASYNC109 - the signature is SAQ's
        self.asked += 1
        return await super().dequeue(timeout, poll_interval)


async def test_a_worker_asks_a_queue_that_is_away_once_a_second_and_no_oftener(house: House) -> None:
    queue = make_queue("redis://127.0.0.1:1/0", Counting)
    worker = make_worker(queue, house.bus, house.inbox, {}, concurrency=1)
    began = time.monotonic()

    async def asked_again() -> bool:
        return queue.asked >= 3

    async with in_background(worker.start()):
        await until(asked_again)
        took = time.monotonic() - began
        await worker.stop()
    await close_queue(queue)
    assert queue.asked <= 2 + took / OUTAGE
