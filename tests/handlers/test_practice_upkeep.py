"""What is done for conversations on a schedule, and how many answers a worker gives at once."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from uuid import UUID

import pytest

from app.bootstrap import House, open_house
from app.settings import Settings
from bus.message import SYSTEM
from domain.practice.commands import KeepStreams
from tasks.turns import TurnQueue
from tests.handlers.test_answering import Talk, Told, house, model, shows, talk, talking, until
from tests.support import HandClock, harness_of, rows, value

__all__ = ["house", "model", "talk"]

PARTITIONS = "SELECT relname AS name FROM pg_class WHERE relname ~ '^conversation_log_[0-9]{8}$' AND relkind = 'r' ORDER BY relname"


async def days(house: House) -> list[str]:
    return [row["name"].removeprefix("conversation_log_") for row in await rows(house, PARTITIONS)]


@pytest.fixture(autouse=True)
async def todays_partitions(settings: Settings) -> AsyncGenerator[None]:
    """What these tests drop in the future of their clock is there again for those that come after them."""
    yield
    async with open_house(settings) as house:
        await house.bus.execute(KeepStreams(), by=SYSTEM)


async def test_the_log_has_a_partition_for_each_day_for_thirty_days(talk: Talk, model: Told, clock: HandClock) -> None:
    house = talk.house
    model.calls = [["Then."], ["Now."]]
    await house.bus.execute(KeepStreams(), by=SYSTEM)
    first = clock()
    turn = await talk.say()
    await talk.answer()
    assert await value(house, "SELECT count(*) FROM conversation_log_other") == 0
    clock.move(days=29)
    await house.bus.execute(KeepStreams(), by=SYSTEM)
    assert f"{first:%Y%m%d}" in await days(house)
    assert {f"{clock() + timedelta(days=n):%Y%m%d}" for n in range(3)} <= set(await days(house))
    assert await talk.shown(turn, 1) == "Then."
    clock.move(days=2)
    await house.bus.execute(KeepStreams(), by=SYSTEM)
    assert f"{first:%Y%m%d}" not in await days(house)
    assert await talk.shown(turn, 1) == ""
    place = await house.reads.practice.place(talk.conversation, talk.account)
    assert place.gone == place.n
    # What was said stays, and the numbers go on.
    assert [shown.answer for shown in (await talk.view()).turns] == ["Then."]
    await talk.say()
    await talk.answer()
    numbers = await rows(house, "SELECT n FROM conversation_log ORDER BY n")
    assert [row["n"] for row in numbers] == list(range(place.n + 1, place.n + 1 + len(numbers)))


async def test_rows_that_came_before_their_partition_move_into_it(talk: Talk, model: Told, clock: HandClock) -> None:
    model.calls = [["Early."]]
    clock.move(days=100)
    turn = await talk.say()
    await talk.answer()
    assert await value(talk.house, "SELECT count(*) FROM conversation_log_other") > 0
    await talk.house.bus.execute(KeepStreams(), by=SYSTEM)
    assert await value(talk.house, "SELECT count(*) FROM conversation_log_other") == 0
    assert await talk.shown(turn, 1) == "Early."


async def test_budgets_of_days_are_forgotten_and_those_of_conversations_stay(talk: Talk, model: Told, clock: HandClock) -> None:
    model.calls = [["Yes."]]
    await talk.say()
    await talk.answer()
    clock.move(days=3)
    await talk.house.bus.execute(KeepStreams(), by=SYSTEM)
    assert [row["scope"] for row in await rows(talk.house, "SELECT scope FROM token_budgets")] == [f"conversation:{talk.conversation}"]


async def test_what_was_said_long_ago_is_told_as_a_summary(talk: Talk, model: Told) -> None:
    model.calls = [[f"Answer {n}."] for n in range(8)]
    for n in range(8):
        await talk.say(f"Question number {n} about the price of the flat, please.")
        await talk.answer()
        await settled(talk)
    view = await talk.view()
    assert view.summary is not None
    assert view.summary.splitlines()[0] == "1. Learner: Question number 0 about the price of the flat, please. Partner: Answer 0."
    _, scene = model.asked[-1]
    assert scene.summary == view.summary
    assert (scene.skipped, len(scene.exchanges), len(scene.said)) == (4, 4, 8)


async def settled(talk: Talk) -> None:
    await harness_of(talk.house).settle()


async def test_a_worker_gives_only_so_many_answers_at_once(talk: Talk, model: Told) -> None:
    """The others wait in the database, where another worker finds them."""
    gate = asyncio.Event()
    model.calls = [["One moment, ", gate, "please."] for _ in range(3)]
    turns = {talk.conversation: await talk.say()}
    talks = [talk, *[await talking(talk.house) for _ in range(2)]]
    for other in talks[1:]:
        turns[other.conversation] = await other.say()

    async def waiting(most: int) -> list[UUID]:
        return await talk.house.log.waiting(most, now=talk.house.clock())

    async def heard(_: float) -> None:
        await asyncio.sleep(0.01)

    queue = TurnQueue(talk.house.bus, waiting, heard, talk.house.writer.let_go, most=2)
    running = asyncio.create_task(queue.run())
    for other in talks[:2]:
        await until(lambda other=other: shows(other, turns[other.conversation], 1, "One moment, "))
    assert await value(talk.house, "SELECT count(*) FROM conversations WHERE phase = 'pending'") == 1
    gate.set()
    await until(lambda: idle(talk.house))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [[turn.answer for turn in (await other.view()).turns] for other in talks] == [["One moment, please."]] * 3


async def idle(house: House) -> bool:
    return await value(house, "SELECT count(*) = 0 FROM conversations WHERE phase <> 'idle'")
