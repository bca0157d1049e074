"""A command, from `execute` to what is committed, or is not."""

import asyncio
from typing import Any

import asyncpg
import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Trace, TryAgain
from db.connection import DatabaseDown, connect
from domain.errors import Denied
from domain.types import Secret
from tests.bus.sample import Batch, Cancel, Count, Depart, Follow, Forbid, Forbidden, Hidden, Overreach, Renames, Script, Twice, Whisper
from tests.bus.support import PERSON
from tests.factories import Registrations
from tests.support import HandClock, rows, value

LEDGER = ("events", "outbox", "sample_notes", "sample_seen", "sample_unique")


async def left(house: House) -> dict[str, int]:
    """What there is in the tables that a command of the sample can change, where there is anything."""
    counts = {table: await value(house, f"SELECT count(*) FROM {table}") for table in LEDGER}  # noqa: S608 - names of this module
    return {table: count for table, count in counts.items() if count}


async def test_a_command_answers_with_its_result_once_its_effects_are_committed(house: House) -> None:
    assert await house.bus.execute(Count(text="one"), by=PERSON) == 1
    assert await house.bus.execute(Count(text="two"), by=PERSON) == 2
    assert await left(house) == {"events": 2, "outbox": 2, "sample_notes": 2, "sample_seen": 2}


async def test_the_policy_line_refuses_before_anything_is_done(house: House) -> None:
    with pytest.raises(Denied):
        await house.bus.execute(Hidden(), by=PERSON)
    assert await left(house) == {}
    await house.bus.execute(Hidden(), by=SYSTEM)
    assert await left(house) == {"events": 1, "outbox": 1}


async def test_a_handler_that_raises_leaves_nothing(house: House, script: Script) -> None:
    script.failures["count"] = [ZeroDivisionError("a mistake")]
    with pytest.raises(ZeroDivisionError):
        await house.bus.execute(Count(text="lost"), by=PERSON)
    assert script.ran("count") == ["lost"]
    assert await left(house) == {}


async def test_a_refusal_that_is_a_fact_keeps_what_was_recorded(house: House) -> None:
    with pytest.raises(Forbidden, match="smoking is forbidden"):
        await house.bus.execute(Forbid(text="smoking"), by=PERSON)
    assert await left(house) == {"events": 1, "outbox": 1, "sample_seen": 1}


async def test_a_lost_race_runs_the_whole_handler_again_with_what_was_prepared_once(house: House, script: Script) -> None:
    script.failures["count"] = [TryAgain(), TryAgain()]
    assert await house.bus.execute(Count(text="raced"), by=PERSON) == 1
    assert script.runs[:4] == [("prepare", "raced"), ("count", "raced"), ("count", "raced"), ("count", "raced")]
    assert await left(house) == {"events": 1, "outbox": 1, "sample_notes": 1, "sample_seen": 1}


async def test_after_three_lost_races_the_caller_is_told_to_try_again(house: House, script: Script) -> None:
    script.failures["count"] = [TryAgain(), TryAgain(), TryAgain()]
    with pytest.raises(TryAgain):
        await house.bus.execute(Count(text="raced"), by=PERSON)
    assert len(script.ran("count")) == 3
    assert await left(house) == {}


async def test_an_aggregate_that_somebody_else_changed_meanwhile_is_read_again(harness: Harness, house: House, script: Script) -> None:
    account = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id

    async def interfere() -> None:
        script.gates.clear()
        await house.bus.execute(Renames(account=account, name="First"), by=PERSON)

    script.gates["renames"] = interfere
    assert await house.bus.execute(Renames(account=account, name="Second"), by=PERSON) == 3
    assert script.ran("renames") == ["Second", "First", "Second"]
    assert await value(house, "SELECT full_name FROM accounts") == "Second"


async def test_projections_also_see_what_projections_record(house: House) -> None:
    await house.bus.execute(Count(text="hello!"), by=PERSON)
    assert [row["name"] for row in await rows(house, "SELECT name FROM events ORDER BY id")] == ["sample.noted", "sample.echoed"]
    assert await value(house, "SELECT count(*) FROM sample_seen WHERE reaction = 'inline'") == 2


async def test_a_projection_that_fails_rolls_everything_back(house: House, script: Script) -> None:
    script.failures["project"] = [ZeroDivisionError("a mistake")]
    with pytest.raises(ZeroDivisionError):
        await house.bus.execute(Count(text="lost"), by=PERSON)
    assert await left(house) == {}


async def test_what_is_prepared_holds_no_connection(house: House, script: Script) -> None:
    waiting, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait() -> None:
        waiting.release()
        await go_on.wait()

    script.gates["prepare"] = wait
    many = house.settings.database_pool + 2
    running = [asyncio.create_task(house.bus.execute(Count(text=str(n)), by=PERSON)) for n in range(many)]
    for _ in running:
        await waiting.acquire()
    assert await value(house, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state ~ 'in transaction'") == 0
    assert await left(house) == {}
    go_on.set()
    assert max(await asyncio.gather(*running)) <= many
    assert await value(house, "SELECT count(*) FROM sample_notes") == many


async def test_a_commit_that_fails_is_raised_and_leaves_nothing(house: House) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.bus.execute(Twice(text="same"), by=PERSON)
    assert await left(house) == {}
    assert await house.bus.execute(Count(text="next"), by=PERSON) == 1


async def test_a_connection_that_is_lost_inside_a_command_is_an_outage_and_the_next_command_works(house: House, script: Script) -> None:
    async def cut() -> None:
        script.gates.clear()
        connection = await connect(house.settings.database_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state ~ 'in transaction'"
        )
        await connection.close()

    script.gates["count"] = cut
    with pytest.raises(DatabaseDown):
        await house.bus.execute(Count(text="cut"), by=PERSON)
    assert await left(house) == {}
    assert await house.bus.execute(Count(text="next"), by=PERSON) == 1


async def test_a_command_that_is_cancelled_leaves_nothing_and_its_connection_is_clean(house: House, script: Script) -> None:
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await asyncio.Event().wait()

    for _ in range(house.settings.database_pool):
        reached.clear()
        script.gates["count"] = wait
        task = asyncio.create_task(house.bus.execute(Count(text="gone"), by=PERSON))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    script.gates.clear()
    assert await left(house) == {}
    answers = await asyncio.gather(*(house.bus.execute(Count(text="next"), by=PERSON) for _ in range(house.settings.database_pool)))
    assert len(answers) == await value(house, "SELECT count(*) FROM sample_notes")


async def meta_of(house: House, name: str) -> dict[str, Any]:
    [found] = await rows(
        house,
        """SELECT meta->'actor'->>'kind' AS kind, meta->'actor'->>'on_behalf_of' AS on_behalf_of,
            meta->'trace'->>'correlation_id' AS correlation, meta->'trace'->>'causation_id' AS causation
            FROM events WHERE name = $1""",
        name,
    )
    return dict(found)


async def test_a_sent_command_runs_as_the_system_on_behalf_of_whoever_sent_it(harness: Harness, house: House) -> None:
    await harness.execute(Follow(text="later"), by=PERSON, trace=Trace(correlation_id="request-1"))
    sent = await value(house, "SELECT id FROM outbox")
    await harness.settle()
    assert await meta_of(house, "sample.noted") == {
        "kind": "system",
        "on_behalf_of": str(PERSON.id),
        "correlation": "request-1",
        "causation": str(sent),
    }
    assert await value(house, "SELECT count(*) FROM outbox") == 0


async def test_what_one_command_records_and_sends_has_one_cause(harness: Harness, house: House) -> None:
    await harness.execute(Count(text="a!"), by=PERSON)
    await harness.execute(Count(text="b!"), by=PERSON)
    found = await rows(house, "SELECT data->>'text' AS text, meta->'trace'->>'causation_id' AS cause FROM events")
    causes = {(row["text"], row["cause"]) for row in found}
    assert len(found) == 4
    assert len(causes) == len({cause for _, cause in causes if cause}) == 2


async def test_a_command_for_later_waits_for_its_time(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    at = clock.now.replace(microsecond=0)
    clock.move(hours=-1)
    await harness.execute(Follow(text="later", at=at), by=PERSON)
    clock.move(minutes=59, seconds=59)
    await harness.settle()
    assert script.ran("count") == []
    clock.move(seconds=1)
    await harness.settle()
    assert script.ran("count") == ["later"]
    assert await value(house, "SELECT count(*) FROM outbox") == 0


async def test_the_same_key_replaces_what_was_sent_before(harness: Harness, script: Script) -> None:
    await harness.execute(Follow(text="first", key="k"), by=PERSON)
    await harness.execute(Follow(text="other", key="l"), by=PERSON)
    await harness.execute(Follow(text="second", key="k"), by=PERSON)
    await harness.settle()
    assert sorted(script.ran("count")) == ["other", "second"]


async def test_what_is_replaced_while_it_runs_is_rolled_back(harness: Harness, house: House, script: Script) -> None:
    async def replace() -> None:
        script.gates.clear()
        await harness.execute(Follow(text="second", key="k"), by=PERSON)

    script.gates["count"] = replace
    await harness.execute(Follow(text="first", key="k"), by=PERSON)
    await harness.settle()
    assert script.ran("count") == ["first", "second"]
    assert [row["text"] for row in await rows(house, "SELECT text FROM sample_notes")] == ["second"]


async def test_what_is_cancelled_does_not_run(harness: Harness, house: House, script: Script) -> None:
    await harness.execute(Follow(text="first", key="k"), by=PERSON)
    await harness.execute(Cancel(key="k"), by=PERSON)
    await harness.settle()
    assert script.ran("count") == []
    assert await left(house) == {}


async def test_what_the_system_may_not_run_is_refused_when_it_is_sent(house: House) -> None:
    with pytest.raises(TypeError, match=r"cancel was sent, but its policy line"):
        await house.bus.execute(Overreach(), by=PERSON)
    assert await left(house) == {}


async def test_a_secret_waits_sealed_and_reaches_its_handler(harness: Harness, house: House, script: Script) -> None:
    await harness.execute(Whisper(secret=Secret("xyzzy-plugh")), by=ANONYMOUS)
    assert "xyzzy" not in await value(house, "SELECT envelope::text FROM outbox")
    await harness.settle()
    assert script.ran("listen") == ["xyzzy-plugh"]


async def test_a_batch_is_recorded_in_the_order_in_which_it_was_said(harness: Harness, house: House) -> None:
    await harness.execute(Batch(texts=["a", "b"]), by=PERSON)
    await harness.settle()
    found = await rows(house, "SELECT f.position, e.name, e.data->>'text' AS text FROM feed f JOIN events e ON e.id = f.event ORDER BY 1")
    assert [(row["position"], row["name"], row["text"]) for row in found] == [
        (1, "sample.noted", "a"),
        (2, "archive.filed", "a"),
        (3, "sample.noted", "b"),
        (4, "archive.filed", "b"),
    ]


async def test_a_drive_takes_its_steps_on_behalf_of_whoever_asked(harness: Harness, house: House, script: Script) -> None:
    await harness.execute(Depart(stops=["Rome", "Oslo"]), by=PERSON, trace=Trace(correlation_id="journey"))
    await harness.settle()
    assert script.ran("travel") == ["Rome", "Oslo"]
    found = await rows(
        house, "SELECT meta->'actor'->>'on_behalf_of' AS whom, meta->'trace'->>'correlation_id' AS trace FROM events ORDER BY id"
    )
    assert [dict(row) for row in found] == [{"whom": str(PERSON.id), "trace": "journey"}] * 2
    assert await value(house, "SELECT count(*) FROM outbox") == 0


async def test_a_drive_that_fails_is_run_again_from_the_start(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    await harness.execute(Depart(stops=["Rome", "Oslo"]), by=PERSON)

    async def derail() -> None:
        if script.ran("travel")[-1] == "Oslo":
            script.gates.clear()
            raise ZeroDivisionError("derailed")

    script.gates["travel"] = derail
    await harness.settle()
    assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 1
    clock.move(seconds=2)
    await harness.settle()
    assert script.ran("travel") == ["Rome", "Oslo", "Rome", "Oslo"]
    assert await value(house, "SELECT count(*) FROM outbox") == 0
