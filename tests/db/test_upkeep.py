"""The memory of the inbox: weeks that come and go."""

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM
from domain.operations.commands import PruneLedger
from tests.factories import Registrations
from tests.support import HandClock, rows, value

REACTIONS = 2
"""To a registration: a welcome, and the beginning of a journey."""


async def parts(house: House) -> set[str]:
    """The partitions that hold marks."""
    return {row["part"] for row in await rows(house, "SELECT tableoid::regclass::text AS part FROM done")}


async def weeks(house: House) -> set[str]:
    found = await rows(house, "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'done'::regclass")
    return {row["name"] for row in found} - {"done_other"}


async def welcome(harness: Harness) -> None:
    """One event, and a mark of each reaction to it."""
    await harness.execute(Registrations.build(), by=ANONYMOUS)
    await harness.settle()


async def test_this_week_and_the_next_two_have_partitions(harness: Harness, house: House, clock: HandClock) -> None:
    clock.move(weeks=20)
    before = await weeks(house)
    await harness.execute(PruneLedger(), by=SYSTEM)
    assert len(await weeks(house) - before) == 3
    await harness.execute(PruneLedger(), by=SYSTEM)
    await welcome(harness)
    assert (await parts(house)) < (await weeks(house) - before)


async def test_marks_of_a_week_that_had_no_partition_are_moved_into_it(harness: Harness, house: House, clock: HandClock) -> None:
    clock.move(weeks=30)
    await welcome(harness)
    assert await parts(house) == {"done_other"}
    await harness.execute(PruneLedger(), by=SYSTEM)
    assert await parts(house) < await weeks(house)
    assert await value(house, "SELECT count(*) FROM done") == REACTIONS


async def test_weeks_are_dropped_once_nothing_in_them_is_needed(harness: Harness, house: House, clock: HandClock) -> None:
    clock.move(weeks=40)
    await harness.execute(PruneLedger(), by=SYSTEM)
    await welcome(harness)
    [week] = await parts(house)
    clock.move(days=house.settings.done_days)
    await harness.execute(PruneLedger(), by=SYSTEM)
    assert await value(house, "SELECT count(*) FROM done") == REACTIONS
    clock.move(weeks=1)
    await harness.execute(PruneLedger(), by=SYSTEM)
    assert week not in await weeks(house)


async def test_marks_older_than_every_partition_go_as_well(harness: Harness, house: House, clock: HandClock) -> None:
    clock.move(weeks=-3)
    await welcome(harness)
    assert await parts(house) == {"done_other"}
    clock.move(days=house.settings.done_days, seconds=1)
    await harness.execute(PruneLedger(), by=SYSTEM)
    assert await value(house, "SELECT count(*) FROM done") == 0
