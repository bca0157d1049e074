"""The relay: one order, nothing lost and nothing twice, whatever happens to it or to Redis."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from app.bootstrap import House, Ports, open_house
from bus.harness import HandedOver, Harness
from bus.relay import Relay
from bus.transport import PREFIX, StreamsDown
from bus.work import Leader, LostLease
from db.connection import connect
from db.ledger import PostgresLedger
from db.session import unit
from tests.bus import sample
from tests.bus.sample import Batch, Follow, Script
from tests.bus.support import PERSON, lose_redis, note, until
from tests.support import HandClock, ScriptedMailer, rows, value

ARCHIVE, SAMPLE = PREFIX + "archive", PREFIX + "sample"


async def entries(house: House, stream: str = SAMPLE) -> list[tuple[str, str]]:
    """Ids of a stream's entries, with the text in them."""
    redis = await house.streams.redis()
    found: list[Any] = await redis.xrange(stream)
    return [(entry.decode(), sample.text_in(fields[b"data"])) for entry, fields in found]


def relay_of(house: House) -> tuple[Relay, HandedOver]:
    jobs = HandedOver()
    return house.relay(jobs), jobs


async def leading(relay: Relay) -> Leader:
    leader = await relay.lead()
    assert leader is not None
    return leader


async def test_positions_have_no_gaps_and_follow_the_outbox(house: House) -> None:
    await asyncio.gather(*(note(house, f"{topic}{n}", topic=topic) for topic in "ab" for n in range(5)))
    relay, _ = relay_of(house)
    await relay.step(await leading(relay))
    recorded = [row["id"] for row in await rows(house, "SELECT id FROM events")]
    feed = await rows(house, "SELECT position, event FROM feed ORDER BY position")
    assert [row["position"] for row in feed] == list(range(1, 11))
    assert {row["event"] for row in feed} == set(recorded)
    assert await value(house, "SELECT count(*) FROM outbox") == 0


async def test_entries_of_one_key_are_in_the_order_of_their_commands(house: House) -> None:
    await note(house, "1", "2", "3")
    relay, _ = relay_of(house)
    await relay.step(await leading(relay))
    assert await entries(house) == [("1-0", "1"), ("2-0", "2"), ("3-0", "3")]


async def test_a_transaction_that_began_earlier_and_commits_later_is_not_skipped(house: House, script: Script) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        if script.ran("project")[-1] == "early":
            reached.set()
            await go_on.wait()

    script.gates["project"] = wait
    late = asyncio.create_task(note(house, "early"))
    await reached.wait()
    await note(house, "late")
    relay, _ = relay_of(house)
    leader = await leading(relay)
    await relay.step(leader)
    go_on.set()
    await late
    await relay.step(leader)
    assert await entries(house) == [("1-0", "late"), ("2-0", "early")]


async def test_what_was_rolled_back_takes_no_position(house: House, script: Script) -> None:
    script.failures["project"] = [ZeroDivisionError("a mistake")]
    with pytest.raises(ZeroDivisionError):
        await note(house, "lost")
    await note(house, "kept")
    relay, _ = relay_of(house)
    await relay.step(await leading(relay))
    assert await entries(house) == [("1-0", "kept")]


async def test_a_batch_is_appended_to_all_streams_or_to_none(house: House) -> None:
    await house.bus.execute(Batch(texts=["a"]), by=PERSON)
    relay, _ = relay_of(house)
    leader = await leading(relay)
    await house.ledger.sequence(leader, 10)
    envelopes = await house.ledger.unpublished(10)
    assert await house.streams.append({"sample": 0, "archive": 5}, envelopes) == {"archive": 0}
    assert await entries(house) == []
    assert await house.streams.append({"sample": 0, "archive": 0}, envelopes) == {}
    assert [len(await entries(house, stream)) for stream in (SAMPLE, ARCHIVE)] == [1, 1]


async def test_a_relay_that_died_after_publishing_publishes_nothing_twice(house: House) -> None:
    await house.bus.execute(Batch(texts=["a", "b"]), by=PERSON)
    first, _ = relay_of(house)
    leader = await leading(first)
    await house.ledger.sequence(leader, 10)
    await house.streams.append({"sample": 0, "archive": 0}, await house.ledger.unpublished(10))
    await house.ledger.leave(leader, now=house.clock())
    second, _ = relay_of(house)
    leader = await leading(second)
    await second.step(leader)
    await note(house, "c")
    await second.step(leader)
    assert await entries(house) == [("1-0", "a"), ("3-0", "b"), ("5-0", "c")]
    assert await entries(house, ARCHIVE) == [("2-0", "a"), ("4-0", "b")]
    assert await house.ledger.watermarks() == {"sample": 5, "archive": 4}


async def test_after_a_loss_of_redis_the_streams_are_as_before_and_nothing_runs_twice(
    harness: Harness, house: House, script: Script, clock: HandClock
) -> None:
    await note(house, "a", "b")
    await house.bus.execute(Batch(texts=["c"]), by=PERSON)
    await harness.settle()
    before = [await entries(house, stream) for stream in (SAMPLE, ARCHIVE)]
    ran = list(script.runs)
    await lose_redis(house)
    clock.move(seconds=2)
    await harness.settle()
    assert [await entries(house, stream) for stream in (SAMPLE, ARCHIVE)] == before
    assert script.runs == ran
    assert await house.streams.confirmed("sample") == {"sample.keep": 3, "sample.follow": 3}
    await note(house, "d")
    await harness.settle()
    assert script.ran("keep") == ["a", "b", "c", "d"]


async def test_what_was_published_and_not_confirmed_is_delivered_after_a_loss_of_redis(
    harness: Harness, house: House, script: Script
) -> None:
    await note(house, "a")
    await harness.settle()
    await note(house, "b")
    relay, _ = relay_of(house)
    leader = await leading(relay)
    await relay.step(leader)
    await house.ledger.leave(leader, now=house.clock())
    await lose_redis(house)
    await harness.settle()
    assert script.ran("keep") == ["a", "b"]


async def test_one_stream_that_was_deleted_is_rebuilt_before_anything_newer(harness: Harness, house: House) -> None:
    await house.bus.execute(Batch(texts=["a", "b"]), by=PERSON)
    await harness.settle()
    await (await house.streams.redis()).delete(SAMPLE)
    await house.bus.execute(Batch(texts=["c"]), by=PERSON)
    await harness.settle()
    assert await entries(house) == [("1-0", "a"), ("3-0", "b"), ("5-0", "c")]
    assert await entries(house, ARCHIVE) == [("2-0", "a"), ("4-0", "b"), ("6-0", "c")]


async def test_a_stream_that_is_lost_while_the_relay_had_not_moved_the_watermark_misses_nothing(harness: Harness, house: House) -> None:
    await house.bus.execute(Batch(texts=["a"]), by=PERSON)
    await harness.settle()
    await house.bus.execute(Batch(texts=["b"]), by=PERSON)
    leader = await harness.relay.lead()
    assert leader is not None
    await house.ledger.sequence(leader, 10)
    await house.streams.append({"sample": 1, "archive": 2}, await house.ledger.unpublished(10))
    await (await house.streams.redis()).delete(SAMPLE)
    await house.ledger.leave(leader, now=house.clock())
    await house.bus.execute(Batch(texts=["c"]), by=PERSON)
    await harness.settle()
    assert await entries(house) == [("1-0", "a"), ("3-0", "b"), ("5-0", "c")]
    assert await entries(house, ARCHIVE) == [("2-0", "a"), ("4-0", "b"), ("6-0", "c")]


async def test_the_last_entries_that_redis_lost_are_written_again(harness: Harness, house: House, script: Script) -> None:
    await note(house, "a", "b", "c")
    await harness.settle()
    redis = await house.streams.redis()
    found: list[Any] = await redis.xrange(SAMPLE)
    await redis.delete(SAMPLE)
    await redis.xadd(SAMPLE, found[0][1], found[0][0])
    await note(house, "d")
    await harness.settle()
    assert await entries(house) == [("1-0", "a"), ("2-0", "b"), ("3-0", "c"), ("4-0", "d")]
    assert script.ran("keep") == ["a", "b", "c", "d"]


@pytest.mark.parametrize("identity", ["*", "2-1", "9-0"])
async def test_a_stream_with_entries_of_somebody_else_is_rebuilt(
    harness: Harness, house: House, script: Script, clock: HandClock, identity: str
) -> None:
    await note(house, "a", "b")
    await harness.settle()
    await (await house.streams.redis()).xadd(SAMPLE, {"what": "ever"}, identity)
    clock.move(seconds=2)
    await harness.settle()
    assert await entries(house) == [("1-0", "a"), ("2-0", "b")]
    await note(house, "c")
    await harness.settle()
    assert await entries(house) == [("1-0", "a"), ("2-0", "b"), ("3-0", "c")]
    assert script.ran("keep") == ["a", "b", "c"]


async def test_trimming_keeps_what_is_young_or_not_confirmed_by_every_group(harness: Harness, house: House, clock: HandClock) -> None:
    await note(house, "a", "b")
    await harness.settle()
    clock.move(days=3)
    redis = await house.streams.redis()
    await redis.xgroup_create(SAMPLE, "partner", "1-0")
    await note(house, "c")
    await harness.settle()
    clock.move(days=house.settings.stream_days - 3, seconds=-1)
    relay, _ = relay_of(house)
    leader = await leading(relay)
    await relay.check(leader)
    await relay.trim()
    assert [text for _, text in await entries(house)] == ["a", "b", "c"]
    clock.move(seconds=2)
    await redis.xreadgroup("partner", "reader", {SAMPLE: ">"}, count=1)
    await relay.check(leader)
    await relay.trim()
    assert [text for _, text in await entries(house)] == ["b", "c"]
    await redis.xack(SAMPLE, "partner", "2-0")
    await relay.check(leader)
    await relay.trim()
    assert [text for _, text in await entries(house)] == ["c"]


async def test_a_group_that_stands_still_for_a_week_no_longer_holds_back_trimming(harness: Harness, house: House, clock: HandClock) -> None:
    await note(house, "a")
    await harness.settle()
    await (await house.streams.redis()).xgroup_create(SAMPLE, "partner", "0-0")
    await note(house, "b")
    await harness.settle()
    relay, _ = relay_of(house)
    clock.move(days=7, seconds=2)
    await note(house, "c")
    await harness.settle()
    await relay.trim()
    assert [text for _, text in await entries(house)] == ["c"]


async def test_a_stream_that_was_trimmed_empty_goes_on(harness: Harness, house: House, clock: HandClock) -> None:
    await note(house, "a")
    await harness.settle()
    clock.move(days=8)
    relay, _ = relay_of(house)
    await relay.trim()
    assert await entries(house) == []
    await note(house, "b")
    await harness.settle()
    assert await entries(house) == [("2-0", "b")]
    await lose_redis(house)
    clock.move(days=8)
    await harness.settle()
    await note(house, "c")
    await harness.settle()
    assert [text for _, text in await entries(house)][-1] == "c"


async def test_of_two_relays_one_leads_until_its_lease_passes(house: House, clock: HandClock) -> None:
    (first, _), (second, _) = relay_of(house), relay_of(house)
    leader = await leading(first)
    assert await second.lead() is None
    clock.move(seconds=house.settings.relay_lease - 1)
    await first.step(leader)
    clock.move(seconds=2)
    assert await second.lead() is None
    clock.move(seconds=house.settings.relay_lease)
    assert (await leading(second)).epoch == leader.epoch + 1


async def test_a_leader_that_was_paused_too_long_can_change_nothing(house: House, clock: HandClock) -> None:
    (first, _), (second, _) = relay_of(house), relay_of(house)
    paused = await leading(first)
    await note(house, "a")
    clock.move(seconds=house.settings.relay_lease)
    leader = await leading(second)
    for attempt in (
        house.ledger.sequence(paused, 10),
        house.ledger.advance(paused, {"sample": 99}),
        house.ledger.confirm(paused, [], now=clock()),
        house.ledger.hand_over(paused, now=clock(), until=clock(), limit=10),
        house.ledger.stay(paused, until=clock()),
        first.step(paused),
    ):
        with pytest.raises(LostLease):
            await attempt
    assert await house.ledger.head() == 0
    await second.step(leader)
    assert await entries(house) == [("1-0", "a")]


class Overtaken(PostgresLedger):
    """Something happens before the watermarks are read next."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def watermarks(self) -> dict[str, int]:
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        return await super().watermarks()


async def test_a_leader_that_is_paused_while_it_publishes_leaves_alone_what_the_next_has_published(house: House, clock: HandClock) -> None:
    ledger = Overtaken(house.database, house.bell, unit)
    (first, _), (second, _) = relay_of(msgspec.structs.replace(house, ledger=ledger)), relay_of(house)
    paused = await leading(first)
    await note(house, "a")
    await ledger.sequence(paused, 10)

    async def overtake() -> None:
        clock.move(seconds=house.settings.relay_lease)
        leader = await leading(second)
        await second.publish(leader)
        await note(house, "b")
        await ledger.sequence(leader, 10)

    ledger.meanwhile = overtake
    assert await first.publish(paused) == 0
    assert await entries(house) == [("1-0", "a")]
    with pytest.raises(LostLease):
        await first.step(paused)
    assert await entries(house) == [("1-0", "a")]


async def test_a_sequence_that_the_next_leader_finds_running_ends_first(house: House, clock: HandClock) -> None:
    first, _ = relay_of(house)
    leader = await leading(first)
    connection = await connect(house.settings.database_url)
    async with connection.transaction():
        await connection.fetchval("SELECT 1 FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE", leader.name, leader.epoch)
        clock.move(seconds=house.settings.relay_lease)
        second, _ = relay_of(house)
        taking = asyncio.create_task(second.lead())
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await until(lambda: value(house, waiting))
        assert not taking.done()
    await connection.close()
    assert (await taking) is not None


@asynccontextmanager
async def without_redis(house: House) -> AsyncGenerator[House, None]:
    """The same house, but where its Redis should be nobody listens."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    settings = msgspec.structs.replace(house.settings, redis_url=f"redis://127.0.0.1:{port}/0")
    async with open_house(settings, Ports(clock=house.clock, mailer=ScriptedMailer()), modules=(sample,)) as deaf:
        yield deaf


async def test_without_redis_commands_are_taken_and_events_get_their_positions(house: House) -> None:
    async with without_redis(house) as deaf:
        relay, _ = relay_of(deaf)
        leader = await leading(relay)
        await note(deaf, "a", "b")
        assert await relay.step(leader) == 2
        assert await house.ledger.head() == 2
        with pytest.raises(StreamsDown):
            await relay.check(leader)
        await house.ledger.leave(leader, now=house.clock())
    relay, _ = relay_of(house)
    await relay.step(await leading(relay))
    assert await entries(house) == [("1-0", "a"), ("2-0", "b")]


async def test_a_command_is_handed_over_once_until_its_lease_passes(house: House, clock: HandClock) -> None:
    await house.bus.execute(Follow(text="a"), by=PERSON)
    relay, jobs = relay_of(house)
    leader = await leading(relay)
    await relay.hand_over(leader)
    await relay.hand_over(leader)
    [(message, fence)] = jobs.waiting
    assert fence == 1
    clock.move(seconds=house.settings.job_lease)
    await relay.hand_over(leader)
    assert jobs.waiting == [(message, 1), (message, 2)]


async def test_a_command_whose_jobs_wait_longer_than_its_lease_is_run_by_the_first_of_them(house: House, clock: HandClock) -> None:
    await house.bus.execute(Follow(text="a"), by=PERSON)
    relay, jobs = relay_of(house)
    leader = await leading(relay)
    for _ in range(3):
        await relay.hand_over(leader)
        clock.move(seconds=house.settings.job_lease)
    assert [fence for _, fence in jobs.waiting] == [1, 2, 3]
    for message, fence in jobs.waiting:
        await house.inbox.run_sent(message, fence)
    assert await value(house, "SELECT count(*) FROM sample_notes") == 1


async def test_a_job_that_waits_in_the_queue_does_not_run_a_command_that_runs_or_is_put_off(
    house: House, clock: HandClock, script: Script
) -> None:
    await house.bus.execute(Follow(text="a"), by=PERSON)
    relay, jobs = relay_of(house)
    leader = await leading(relay)
    await relay.hand_over(leader)
    clock.move(seconds=house.settings.job_lease)
    await relay.hand_over(leader)
    [(message, _), _] = jobs.waiting

    async def meanwhile() -> None:
        script.gates.clear()
        await house.inbox.run_sent(message, 1)

    script.gates["count"] = meanwhile
    script.failures["count"] = [ZeroDivisionError("a mistake")]
    await house.inbox.run_sent(message, 2)
    await house.inbox.run_sent(message, 1)
    assert script.ran("count") == ["a"]
    assert await value(house, "SELECT count(*) FROM sample_notes") == 0


async def test_a_queue_that_forgets_costs_a_command_no_try(house: House, clock: HandClock, script: Script) -> None:
    await house.bus.execute(Follow(text="a"), by=PERSON)
    relay, jobs = relay_of(house)
    for _ in range(house.settings.reaction_tries + 1):
        await relay.hand_over(await leading(relay))
        clock.move(seconds=house.settings.job_lease)
    script.failures["count"] = [ZeroDivisionError("a mistake")]
    await house.inbox.run_sent(*jobs.waiting[-1])
    assert await value(house, "SELECT count(*) FROM deliveries") == 0
    assert await value(house, "SELECT tries FROM outbox WHERE kind = 'command'") == 1
    clock.move(seconds=house.settings.job_lease)
    await relay.hand_over(await leading(relay))
    await house.inbox.run_sent(*jobs.waiting[-1])
    assert await value(house, "SELECT count(*) FROM sample_notes") == 1


async def test_the_harness_needs_the_relay_for_itself(harness: Harness, house: House) -> None:
    relay, _ = relay_of(house)
    await leading(relay)
    with pytest.raises(AssertionError, match="another relay leads"):
        await harness.settle()
