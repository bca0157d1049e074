"""The inbox: what happens to an entry that arrives, arrives again, fails, waits, or can never succeed."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.inbox import BATCH
from bus.message import Envelope, Unavailable
from bus.transport import PREFIX, fields_of
from bus.work import Dead, Done
from tests.bus.sample import Batch, Follow, Script
from tests.bus.support import PERSON, note, seen
from tests.support import HandClock, ScriptedMailer, rows, value

HOUR = 3600


async def file(harness: Harness, *texts: str) -> None:
    await harness.execute(Batch(texts=list(texts)), by=PERSON)


async def deliveries(house: House, reaction: str) -> list[tuple[str, int, str]]:
    """What a reaction owes: state, tries, and the text of the event."""
    found = await rows(
        house,
        "SELECT state, tries, envelope->'data'->>'text' AS text FROM deliveries WHERE reaction = $1 ORDER BY position NULLS LAST",
        reaction,
    )
    return [(row["state"], row["tries"], row["text"]) for row in found]


async def again(house: House, reaction: str) -> None:
    """Deliver every entry of the reaction's stream once more, as after a loss of Redis."""
    plan = house.bus.registry.reactions[reaction]
    for envelope in await house.ledger.stretch("sample", 0, await house.ledger.head(), 100):
        await house.inbox.receive(plan, envelope)


async def test_an_entry_that_is_delivered_twice_is_reacted_to_once(harness: Harness, house: House, script: Script) -> None:
    await note(house, "a", "b")
    await harness.settle()
    await again(house, "sample.keep")
    assert script.ran("keep") == ["a", "b"]
    assert await seen(house, "keep") == ["a", "b"]


async def test_of_two_runs_at_once_only_one_has_an_effect(harness: Harness, house: House, script: Script) -> None:
    await note(house, "a")
    leader = await harness.relay.lead()
    assert leader is not None
    await harness.relay.step(leader)
    [envelope] = await house.ledger.stretch("sample", 0, 1, 1)
    barrier = asyncio.Barrier(2)

    async def meet() -> None:
        await barrier.wait()

    script.gates["keep"] = meet
    plan = house.bus.registry.reactions["sample.keep"]
    await asyncio.gather(house.inbox.receive(plan, envelope), house.inbox.receive(plan, envelope))
    assert script.ran("keep") == ["a", "a"]
    assert await seen(house, "keep") == ["a"]
    assert await deliveries(house, "sample.keep") == []


async def test_a_reaction_that_fails_leaves_nothing_and_is_tried_again_later(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake")]
    await note(house, "a")
    await harness.settle()
    assert await seen(house, "keep") == []
    assert await deliveries(house, "sample.keep") == [("waiting", 1, "a")]
    assert await value(house, "SELECT error FROM deliveries") == "ZeroDivisionError: a mistake"
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert await seen(house, "keep") == ["a"]
    assert await deliveries(house, "sample.keep") == []


async def test_pauses_between_tries_double_up_to_an_hour_with_jitter(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake") for _ in range(house.settings.reaction_tries)]
    await note(house, "a")
    await harness.settle()
    for tries in range(1, house.settings.reaction_tries):
        due = await value(house, "SELECT due FROM deliveries")
        assert 0 <= (due - clock.now).total_seconds() <= min(HOUR, 2 ** (tries - 1))
        clock.now = due
        await harness.settle()
    assert await deliveries(house, "sample.keep") == [("dead", house.settings.reaction_tries, "a")]
    assert await value(house, "SELECT error FROM deliveries") == "ZeroDivisionError: a mistake"
    clock.move(days=1)
    await harness.settle()
    assert len(script.ran("keep")) == house.settings.reaction_tries


async def test_what_waits_is_not_tried_again_because_it_is_delivered_again(harness: Harness, house: House, script: Script) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake")]
    await note(house, "a")
    await harness.settle()
    await again(house, "sample.keep")
    assert script.ran("keep") == ["a"]
    assert await deliveries(house, "sample.keep") == [("waiting", 1, "a")]


async def test_a_dead_letter_stays_dead_when_it_is_delivered_again(harness: Harness, house: House, script: Script) -> None:
    script.failures["keep"] = [Dead("never")]
    await note(house, "a")
    await harness.settle()
    await again(house, "sample.keep")
    assert script.ran("keep") == ["a"]
    assert await deliveries(house, "sample.keep") == [("dead", 1, "a")]


async def add(house: House, stream: str, fields: dict[str, str]) -> None:
    """An entry at the stream's end, whose position the feed does not know."""
    redis = await house.streams.redis()
    entry: Any = fields
    await redis.xadd(PREFIX + stream, entry)


async def receive_new(harness: Harness, reaction: str, area: str) -> None:
    """Read what is new for one reaction and acknowledge it, as a worker does."""
    plan = harness.bus.registry.reactions[reaction]
    for entry, envelope in await harness.streams.read(area, reaction, "harness"):
        await harness.inbox.receive(plan, envelope)
        await harness.streams.acknowledge(area, reaction, entry)


async def last_envelope(house: House) -> Envelope:
    head = await house.ledger.head()
    return (await house.ledger.stretch("sample", head - 1, head, 1))[0]


async def test_an_entry_that_cannot_be_read_is_a_dead_letter_at_once(harness: Harness, house: House, script: Script) -> None:
    await note(house, "a")
    await harness.settle()
    await add(house, "sample", {"who": "knows"})
    await receive_new(harness, "sample.keep", "sample")
    [dead] = await rows(house, "SELECT state, error, envelope->'data' AS data FROM deliveries")
    assert (dead["state"], dead["error"]) == ("dead", "unreadable: the entry is not an event of ours")
    assert dead["data"] == {"who": "knows"}
    assert script.ran("keep") == ["a"]
    assert (await house.streams.confirmed("sample"))["sample.keep"] > 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 2}, "unreadable: sample.noted is known up to version 1, not 2; replay it on a newer build"),
        ({"data": msgspec.Raw(b'{"topic": 1}')}, "unreadable: sample.noted v1 does not have the expected shape"),
    ],
)
async def test_an_event_of_another_shape_is_a_dead_letter_at_once(
    harness: Harness, house: House, change: dict[str, Any], error: str
) -> None:
    await note(house, "a")
    await harness.settle()
    strange = msgspec.structs.replace(await last_envelope(house), id=house.new_id(), **change)
    await house.inbox.receive(house.bus.registry.reactions["sample.keep"], strange)
    assert await value(house, "SELECT error FROM deliveries WHERE state = 'dead'") == error


async def test_an_event_that_a_reaction_does_not_handle_is_passed_over(harness: Harness, house: House, script: Script) -> None:
    await note(house, "a!")
    await harness.settle()
    assert await value(house, "SELECT count(*) FROM events WHERE name = 'sample.echoed'") == 1
    assert script.ran("keep") == ["a!"]
    assert await value(house, "SELECT count(*) FROM done WHERE reaction = 'sample.keep'") == 1
    assert await house.streams.confirmed("sample") == {"sample.keep": 2, "sample.follow": 2}


async def test_an_event_older_than_the_memory_of_the_inbox_is_never_run(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    await note(house, "a")
    clock.move(days=house.settings.done_days, seconds=1)
    await harness.settle()
    assert script.ran("keep") == []
    assert await deliveries(house, "sample.keep") == [("dead", 0, "a")]
    assert (await value(house, "SELECT error FROM deliveries LIMIT 1")).startswith("too_old:")


async def test_what_is_kept_of_an_entry_is_what_was_sent(harness: Harness, house: House, script: Script) -> None:
    script.failures["keep"] = [Dead("never")]
    await note(house, "a")
    await harness.settle()
    sent = await last_envelope(house)
    kept = msgspec.json.decode(await value(house, "SELECT envelope::text FROM deliveries"), type=Envelope)
    assert fields_of(kept) == fields_of(sent)


async def test_a_port_that_does_not_answer_pauses_its_reaction_and_spends_no_tries(
    harness: Harness, house: House, clock: HandClock, script: Script, mailer: ScriptedMailer
) -> None:
    mailer.failures = [Unavailable(retry_after=60)]
    await file(harness, "a", "b")
    await harness.settle()
    assert harness.inbox.paused == ["archive.mail"]
    assert script.ran("keep") == ["a", "b"]
    assert script.ran("mail") == ["a"]
    assert mailer.sent == []
    assert await deliveries(house, "archive.mail") == [("waiting", 0, "a"), ("waiting", 0, "b")]
    clock.move(seconds=61)
    await harness.settle()
    assert sorted(mail.text for mail in mailer.sent) == ["a", "b"]
    assert await deliveries(house, "archive.mail") == []


async def test_a_port_that_fails_is_tried_again_with_the_same_message_id(
    harness: Harness, house: House, clock: HandClock, script: Script, mailer: ScriptedMailer
) -> None:
    mailer.failures = [ZeroDivisionError("a mistake")]
    await file(harness, "a")
    await harness.settle()
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert script.ran("mail") == ["a", "a"]
    [mail] = mailer.sent
    assert mail.message_id == str(await value(house, "SELECT id FROM events WHERE name = 'archive.filed'"))
    assert await value(house, "SELECT count(*) FROM done WHERE reaction = 'archive.mail'") == 1


async def test_later_entries_of_a_key_wait_behind_one_that_waits_and_others_go_on(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["follow"] = [ZeroDivisionError("a mistake")]
    await note(house, "a1", "a2", "a3", topic="a")
    await note(house, "b1", "b2", topic="b")
    await harness.settle()
    assert await seen(house, "follow") == ["b1", "b2"]
    assert await deliveries(house, "sample.follow") == [("waiting", 1, "a1"), ("parked", 0, "a2"), ("parked", 0, "a3")]
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert await seen(house, "follow") == ["b1", "b2", "a1", "a2", "a3"]
    assert await deliveries(house, "sample.follow") == []


async def test_a_parked_entry_that_is_delivered_again_stays_in_its_place(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["follow"] = [ZeroDivisionError("a mistake")]
    await note(house, "a1", "a2", "a3", topic="a")
    await harness.settle()
    await again(house, "sample.follow")
    assert script.ran("follow") == ["a1"]
    assert await deliveries(house, "sample.follow") == [("waiting", 1, "a1"), ("parked", 0, "a2"), ("parked", 0, "a3")]
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert await seen(house, "follow") == ["a1", "a2", "a3"]


async def test_later_entries_of_a_key_wait_behind_a_dead_one_until_it_is_settled(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["follow"] = [Dead("never")]
    await note(house, "a1", "a2", topic="a")
    await harness.settle()
    clock.move(days=1)
    await note(house, "a3", topic="a")
    await harness.settle()
    assert await deliveries(house, "sample.follow") == [("dead", 1, "a1"), ("parked", 0, "a2"), ("parked", 0, "a3")]
    [first] = await house.ledger.stretch("sample", 0, 1, 1)
    await house.ledger.settled(Done(reaction="sample.follow", envelope=first, owed=True, ordered=True, now=clock()))
    await harness.settle()
    assert await seen(house, "follow") == ["a2", "a3"]
    assert await deliveries(house, "sample.follow") == []


async def test_a_released_entry_that_fails_holds_back_the_next(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    script.failures["follow"] = [ZeroDivisionError("first"), ZeroDivisionError("first again"), ZeroDivisionError("first once more")]
    await note(house, "a1", "a2", topic="a")
    await harness.settle()
    for _ in range(3):
        clock.move(seconds=10)
        script.gates.clear()
        await harness.settle()
    assert await seen(house, "follow") == ["a1", "a2"]
    assert script.ran("follow") == ["a1"] * 4 + ["a2"]


async def test_what_is_due_is_leased_so_that_two_workers_do_not_both_try_it(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake") for _ in range(3)]
    await note(house, "a", "b", "c")
    await harness.settle()
    clock.move(seconds=house.settings.backoff_first)
    tried = await asyncio.gather(*(house.inbox.retry() for _ in range(3)))
    assert sum(tried) == 3
    assert sorted(await seen(house, "keep")) == ["a", "b", "c"]
    assert sorted(script.ran("keep")) == ["a", "a", "b", "b", "c", "c"]


async def test_what_another_worker_is_just_taking_is_not_waited_for(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake") for _ in range(2)]
    await note(house, "a", "b")
    await harness.settle()
    clock.move(seconds=house.settings.backoff_first)
    async with house.database.transaction() as other:
        await other.exec_driver_sql("SELECT 1 FROM deliveries WHERE envelope->'data'->>'text' = 'a' FOR UPDATE")
        async with asyncio.timeout(5):
            assert await house.inbox.retry() == 1
        assert await seen(house, "keep") == ["b"]
    assert await house.inbox.retry() == 1
    assert await seen(house, "keep") == ["b", "a"]


async def test_what_a_worker_took_and_never_finished_is_due_again_when_its_lease_passes(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [ZeroDivisionError("a mistake")]
    await note(house, "a")
    await harness.settle()
    clock.move(seconds=house.settings.backoff_first)
    lost = await house.ledger.due(now=clock(), until=clock() + timedelta(seconds=60), limit=BATCH, paused=[])
    assert [owed.reaction for owed in lost] == ["sample.keep"]
    clock.move(seconds=59)
    await harness.settle()
    assert await seen(house, "keep") == []
    clock.move(seconds=1)
    await harness.settle()
    assert await seen(house, "keep") == ["a"]


async def test_more_than_one_batch_that_is_due_is_tried_at_once(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    many = BATCH + 3
    script.failures["keep"] = [ZeroDivisionError("a mistake") for _ in range(many)]
    await note(house, *(str(n) for n in range(many)))
    await harness.settle()
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert len(await seen(house, "keep")) == many


async def test_what_a_reaction_that_is_gone_still_owes_is_a_dead_letter(harness: Harness, house: House, clock: HandClock) -> None:
    await note(house, "a")
    await harness.settle()
    connection_rows = await rows(house, "SELECT id FROM events")
    async with house.database.driver() as driver:
        await driver.execute(
            """INSERT INTO deliveries (id, at, reaction, message, state, tries, due, envelope)
               VALUES ($1, $2, 'sample.renamed', $1, 'waiting', 1, $2, $3::text::json)""",
            connection_rows[0]["id"],
            clock(),
            msgspec.json.encode(await last_envelope(house)).decode(),
        )
    await harness.settle()
    assert await value(house, "SELECT error FROM deliveries WHERE state = 'dead'") == "no reaction has this name any more"


async def test_a_sent_command_that_fails_is_tried_again_and_then_a_dead_letter(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["count"] = [ZeroDivisionError("a mistake") for _ in range(house.settings.reaction_tries)]
    await harness.execute(Follow(text="a", key="k"), by=PERSON)
    await harness.settle()
    for tries in range(1, house.settings.reaction_tries):
        assert await value(house, "SELECT tries FROM outbox") == tries
        clock.now = await value(house, "SELECT due FROM outbox")
        await harness.settle()
    assert await value(house, "SELECT count(*) FROM outbox") == 0
    [dead] = await rows(house, "SELECT reaction, state, tries, error FROM deliveries")
    assert dead == {"reaction": "bus.count", "state": "dead", "tries": 8, "error": "ZeroDivisionError: a mistake"}
    assert await value(house, "SELECT count(*) FROM sample_notes") == 0


async def test_a_sent_command_whose_port_does_not_answer_spends_no_tries(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    outages = house.settings.reaction_tries + 2
    script.failures["prepare"] = [Unavailable(retry_after=30) for _ in range(outages)]
    await harness.execute(Follow(text="a"), by=PERSON)
    for _ in range(outages):
        await harness.settle()
        assert await value(house, "SELECT tries FROM outbox") == 0
        clock.move(seconds=30)
    await harness.settle()
    assert await value(house, "SELECT count(*) FROM sample_notes") == 1


async def test_a_sent_command_in_which_the_process_dies_each_time_is_a_dead_letter_in_the_end(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    await harness.execute(Follow(text="a"), by=PERSON)
    leader = await harness.relay.lead()
    assert leader is not None
    for _ in range(house.settings.reaction_tries):
        await harness.relay.hand_over(leader)
        assert await house.ledger.begin(*harness.jobs.waiting.pop(), until=clock())
        clock.move(seconds=house.settings.job_lease)
    await house.ledger.leave(leader, now=clock())
    await harness.settle()
    assert script.ran("count") == []
    assert await value(house, "SELECT error FROM deliveries WHERE state = 'dead'") == "its process died in every try"
    assert await value(house, "SELECT count(*) FROM outbox") == 0


async def test_a_sent_command_that_refuses_with_a_fact_is_done(harness: Harness, house: House, script: Script) -> None:
    await harness.execute(Follow(text="a", forbidden=True), by=PERSON)
    await harness.settle()
    assert script.ran("forbid") == ["a"]
    assert await value(house, "SELECT count(*) FROM events") == 1
    assert await value(house, "SELECT count(*) FROM outbox") == 0
    assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_an_overtaken_run_of_a_command_is_rolled_back(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    await harness.execute(Follow(text="a"), by=PERSON)
    leader = await harness.relay.lead()
    assert leader is not None
    await harness.relay.hand_over(leader)
    [(message, fence)] = harness.jobs.waiting
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        script.gates.clear()
        reached.set()
        await go_on.wait()

    script.gates["count"] = wait
    slow = asyncio.create_task(house.inbox.run_sent(message, fence))
    await reached.wait()
    clock.move(seconds=house.settings.job_lease)
    await harness.relay.hand_over(leader)
    go_on.set()
    await slow
    assert await value(house, "SELECT count(*) FROM sample_notes") == 0
    assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 1
    await house.inbox.run_sent(*harness.jobs.waiting[-1])
    assert await value(house, "SELECT count(*) FROM sample_notes") == 1
    await house.ledger.leave(leader, now=clock())
