"""Workers, of a conversation whose learner's texts were erased meanwhile; and keys that clocks do not agree about."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.bootstrap import House
from db.session import unit
from domain.practice.commands import CoachTurn, SummariseConversation, WriteReport
from tests.conversing import GOOD, HaltingModel, Learner, house, learner, model
from tests.scenes import SCENARIO
from tests.support import HandClock, rows, value

__all__ = ["house", "learner", "model"]


@pytest.fixture(params=[False, True], ids=["without a key", "with another key"])
def anew(request: pytest.FixtureRequest) -> bool:
    """Whether they begin anew after it."""
    return request.param


async def erase(learner: Learner, clock: HandClock, *, anew: bool) -> None:
    await rows(learner.house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.account)
    clock.move(seconds=1)
    if anew:
        await learner.starts()


async def test_an_answer_that_is_being_given_ends_quietly(
    learner: Learner, house: House, model: HaltingModel, clock: HandClock, *, anew: bool
) -> None:
    scene = await learner.starts(while_busy="queue")
    await learner.says(scene)
    await learner.says(scene, GOOD[1])
    worker = await learner.is_being_answered(scene)
    await erase(learner, clock, anew=anew)
    with capture_logs() as logs:
        model.gates[-1].set()
        await asyncio.wait_for(worker, 15)
        await learner.is_answered(scene)
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []
    failed = (
        "SELECT data->>'code' AS code FROM events WHERE stream = $1 AND name LIKE 'practice.turn_%' AND name <> 'practice.turn_accepted'"
    )
    assert [row["code"] for row in await rows(house, failed, f"practice-{scene}")] == ["practice.erased"] * 2
    assert await house.log.waiting(10, now=clock()) == []


async def test_one_whose_worker_died_is_not_taken_over(
    learner: Learner, house: House, model: HaltingModel, clock: HandClock, *, anew: bool
) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    worker = await learner.is_being_answered(scene)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await erase(learner, clock, anew=anew)
    clock.move(seconds=10)
    with capture_logs() as logs:
        await learner.is_answered(scene)
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []
    assert (model.calls, await house.log.waiting(10, now=clock())) == (1, [])


async def test_the_coach_has_nothing_to_say_of_it(learner: Learner, house: House, clock: HandClock, *, anew: bool) -> None:
    scene = await learner.starts()
    for text in GOOD[:7]:
        await learner.talks(scene, text)
    turn = (await learner.sees(scene)).turns[0].id
    await learner.ends(scene)
    await erase(learner, clock, anew=anew)
    happened = await value(house, "SELECT count(*) FROM events WHERE stream = $1", f"practice-{scene}")
    for command in (
        CoachTurn(account=learner.account, conversation=scene, turn=turn),
        SummariseConversation(account=learner.account, conversation=scene),
        WriteReport(account=learner.account, conversation=scene),
    ):
        await learner.harness.execute(command)
    assert await value(house, "SELECT count(*) FROM events WHERE stream = $1", f"practice-{scene}") == happened


async def test_a_scenario_that_was_played_before_is_recommended_like_one_that_never_was(
    learner: Learner, house: House, clock: HandClock, *, anew: bool
) -> None:
    async def done() -> list[str]:
        async with unit(house.database) as work:
            return [one.slug for one in await work.scenarios.candidates(learner.account) if one.done]

    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    await learner.ends(scene)
    assert await done() == [SCENARIO.slug]
    await erase(learner, clock, anew=anew)
    assert await done() == []


async def test_what_another_machine_begins_whose_clock_is_behind_is_not_taken_for_erased(
    learner: Learner, house: House, clock: HandClock
) -> None:
    await rows(house, "UPDATE personal_keys SET created_at = created_at + interval '3 seconds' RETURNING account")
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    assert [turn.status for turn in (await learner.sees(scene)).turns] == ["answered"]
    clock.move(seconds=1)
    assert (await learner.forks(await learner.starts(), 1)).version == 2
