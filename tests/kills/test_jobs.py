"""Commands for later and schedules, while the workers that run them are killed or paused."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime

import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.kills import area
from tests.kills.support import PATIENCE, PERSON, Desk, Stranger, Target, at_rest, eventually, notes, plan, reported_once, target
from tests.support import rows, value


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield await relay.ready()


@pytest.fixture(scope="module")
async def one(town: Settings, relay: Target) -> AsyncGenerator[Target]:  # noqa: ARG001 - runs as well
    async with target("clock", town) as clock:
        yield clock


@pytest.fixture(scope="module")
async def other(town: Settings, relay: Target) -> AsyncGenerator[Target]:  # noqa: ARG001 - runs as well
    async with target("clock", town) as clock:
        yield clock


async def test_a_job_whose_worker_is_killed_runs_again(one: Target, house: House, stranger: Stranger, reception: Desk) -> None:
    reception.open.clear()
    await plan(house, "killed", "a", desk=reception.port)
    await eventually(lambda: reception.asked == ["a"], "the job has begun")
    await one.kill()
    reception.open.set()
    assert await notes(house, "killed") == []
    await one.start_again()
    await at_rest(house, stranger)
    assert len(reception.asked) > 1
    await reported_once(house, stranger, "killed", ["a"])


async def test_a_paused_worker_that_wakes_up_cannot_write_over_its_successor(
    one: Target, other: Target, house: House, stranger: Stranger
) -> None:
    """It is paused with the effect written and the command not yet taken out of the outbox, for twice its lease and more."""
    await one.ready()
    held = [worker.database.hold("DELETE FROM outbox WHERE id") for worker in (one, other)]
    await plan(house, "paused", "a")
    caught = [asyncio.create_task(trap.reached()) for trap in held]
    await asyncio.wait(caught, return_when=asyncio.FIRST_COMPLETED)
    first = 0 if caught[0].done() else 1
    paused = (one, other)[first]
    paused.pause()
    held[1 - first].release()
    await eventually(lambda: notes(house, "paused"), "the successor has done it")
    paused.wake()
    held[first].release()
    await paused.process.says("overtaken", PATIENCE)
    await asyncio.gather(*caught)
    await at_rest(house, stranger)
    await reported_once(house, stranger, "paused", ["a"])


async def test_what_was_replaced_or_cancelled_by_its_key_never_runs(one: Target, house: House, stranger: Stranger) -> None:
    await one.ready()
    await plan(house, "keys", "first", after=60, key="replaced")
    await plan(house, "keys", "cancelled", after=60, key="cancelled")
    await plan(house, "keys", "second", after=0.5, key="replaced")
    await house.bus.execute(area.Cancel(key="cancelled"), by=PERSON)
    await eventually(lambda: notes(house, "keys"), "the one that replaced it has run")
    await at_rest(house, stranger)
    assert await notes(house, "keys") == ["second"]
    assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 0


# As of one moment: how often the schedule has counted, and what came of it.
COUNTED = "SELECT count(*) FROM idempotency WHERE caller = 'schedule' AND answer IS NOT NULL"
CAME = """
SELECT (SELECT count(*) FROM kills_notes WHERE topic = 'tick') + (SELECT count(*) FROM outbox WHERE envelope->>'name' = 'kills.tick')
"""
ONCE = f"SELECT ({COUNTED}) = ({CAME})"


async def test_a_schedule_counts_once_at_three_workers_of_which_one_is_killed_in_it(
    town: Settings, one: Target, other: Target, house: House
) -> None:
    began = await value(house, "SELECT clock_timestamp()")

    async def ticks(least: int) -> list[datetime]:
        found = await rows(house, "SELECT at FROM kills_notes WHERE topic = 'tick' AND at > $1 ORDER BY at", began)
        return [row["at"] for row in found] if len(found) >= least else []

    async with target("clock", town) as third:
        clocks = [await clock.ready() for clock in (one, other, third)]
        held = [clock.database.hold_answer("VALUES ('tick'") for clock in clocks]
        caught = [asyncio.create_task(trap.reached()) for trap in held]
        await asyncio.wait(caught, return_when=asyncio.FIRST_COMPLETED)
        killed = clocks[[task.done() for task in caught].index(True)]
        await killed.kill()
        for trap in held:
            trap.release()
        lost = "SELECT count(*) = 0 FROM outbox WHERE envelope->>'name' = 'kills.tick' AND due < $1"
        died = await value(house, "SELECT clock_timestamp()")
        before = len(await ticks(0))
        await eventually(lambda: ticks(before + 4), "the schedule goes on")
        await eventually(lambda: value(house, lost, died), "what died with its worker has run")
        for task in caught:
            task.cancel()
        await asyncio.gather(*caught, return_exceptions=True)
        assert await value(house, ONCE)
        if killed is not third:
            await killed.start_again()
    claimed = await rows(house, "SELECT at FROM idempotency WHERE caller = 'schedule' AND at > $1", began)
    times = Counter(int(row["at"].timestamp()) // area.CRONTAB_SECONDS for row in claimed)
    assert set(times.values()) == {1}, claimed
