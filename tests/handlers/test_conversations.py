"""Conversations through the bus and PostgreSQL: what a learner does, what a worker does, and both at once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from app.bootstrap import House
from app.settings import Settings
from bus.message import Actor, Unavailable
from db.practice.log import pieces_of
from db.session import unit
from domain.errors import Denied, Invalid, Stale
from domain.practice.commands import (
    AnswerTurn,
    ChangeConversation,
    DeleteConversation,
    StopAnswer,
    SubmitTurn,
    SummariseConversation,
)
from domain.practice.errors import (
    BudgetSpent,
    NothingToStop,
    TurnRunning,
    UnknownConversation,
    UnknownVersion,
)
from domain.types import AccountId
from handlers.ports import ContentRefused
from tests.bus.support import until
from tests.conversing import ASTRAY, GOOD, TERSE, HaltingModel, Learner, house, model, scene_of, signed_up, unsettled
from tests.support import HandClock, rows, value

__all__ = ["house", "model"]


@pytest.fixture
async def learner(house: House, model: HaltingModel) -> AsyncGenerator[Learner]:
    """Whatever they do, the ledger of calls and the budgets agree afterwards, and no log has a gap."""
    learner = await signed_up(house, model)
    yield learner
    assert await unsettled(house) == []
    gaps = "SELECT conversation FROM conversation_log GROUP BY conversation HAVING min(n) <> 1 OR max(n) <> count(*)"
    assert await rows(house, gaps) == []


async def over(worker: asyncio.Task[None], model: HaltingModel) -> None:
    """Let a worker that holds its breath go on, until it has nothing more to do."""
    model.gates[-1].set()
    await asyncio.wait_for(worker, 15)


async def dies(worker: asyncio.Task[None]) -> None:
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def test_a_turn_is_answered_and_every_word_is_in_the_log_before_the_answer_is(learner: Learner, house: House) -> None:
    scene = await learner.starts()
    accepted = await learner.says(scene)
    await learner.is_answered(scene)
    view = await learner.sees(scene)
    [turn] = view.turns
    assert (turn.id, turn.text, turn.status, turn.attempt, turn.model) == (accepted.turn, GOOD[0], "answered", 1, "scripted/1")
    log = await rows(house, "SELECT n, name, data FROM conversation_log WHERE conversation = $1 ORDER BY n", scene)
    names = [row["name"].removeprefix("practice.") for row in log]
    assert [name for name in names if name != "delta"] == ["conversation_started", "turn_accepted", "attempt_started", "turn_completed"]
    assert names[-1] == "turn_completed"
    key = learner.key
    said = [key.open(type(key.seal(""))(row["data"])) for row in log if row["name"] == "practice.delta"]
    assert len(said) > 5
    assert "".join(said) == turn.answer
    assert await learner.calls(scene) == [(1, "answered")]


async def test_no_word_of_anybody_is_readable_in_the_database(learner: Learner, house: House) -> None:
    scene = await learner.starts()
    await learner.talks(scene, ASTRAY)
    await learner.harness.settle()
    await learner.asks(ChangeConversation(account=learner.account, conversation=scene, expected=None, title="My secret title"))
    await learner.ends(scene)
    await learner.harness.settle()
    view = await learner.sees(scene)
    assert view.turns[0].feedback
    assert view.report is not None
    kept = ""
    for table in ("events", "conversation_log", "conversations", "outbox"):
        for row in await rows(house, f"SELECT t::text AS row, * FROM {table} t"):  # noqa: S608 - names of our tables
            kept += "".join(str(part) for part in row.values())
    for word in ("cinema", "informations", "secret title", str(view.turns[0].answer)[:20]):
        assert word not in kept


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 2001, "a\0b"], ids=["nothing", "blanks", "too long", "with a NUL"])
async def test_what_is_no_turn_is_refused(learner: Learner, text: str) -> None:
    scene = await learner.starts()
    with pytest.raises(Invalid) as refused:
        await learner.says(scene, text)
    assert [error.field for error in refused.value.errors] == ["/text"]
    assert (await learner.sees(scene)).version == 1


async def test_a_conversation_is_its_learners_alone(learner: Learner, house: House, model: HaltingModel) -> None:
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    stranger = await signed_up(house, model)
    with pytest.raises(UnknownConversation):
        await stranger.asks(SubmitTurn(account=stranger.account, conversation=scene, text="Hello"))
    with pytest.raises(UnknownConversation):
        await stranger.asks(DeleteConversation(account=stranger.account, conversation=scene, expected=None))
    with pytest.raises(UnknownConversation):
        await stranger.forks(scene, 1)
    with pytest.raises(UnknownConversation):
        await stranger.sees(scene)
    with pytest.raises(Denied):
        await stranger.asks(StopAnswer(account=learner.account, conversation=scene))
    with pytest.raises(Denied):
        await learner.harness.execute(AnswerTurn(conversation=scene), by=Actor(kind="person", id=learner.account))


async def test_stopping_keeps_exactly_what_was_shown_and_nothing_more_is_said(learner: Learner, model: HaltingModel) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    worker = await learner.is_being_answered(scene, 4)
    moved = await learner.stops(scene)
    assert moved.phase == "idle"
    await over(worker, model)
    [turn] = (await learner.sees(scene)).turns
    assert (turn.status, await learner.deltas(scene)) == ("stopped", 4)
    assert turn.answer is not None
    assert len(turn.answer.split()) == 4
    assert await learner.calls(scene) == [(1, "stopped")]
    with pytest.raises(NothingToStop):
        await learner.stops(scene)


@pytest.mark.parametrize("act", ["undoes", "ends", "deletes", "forks"])
async def test_whatever_moves_the_scene_stops_the_answer_first(learner: Learner, house: House, model: HaltingModel, act: str) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    worker = await learner.is_being_answered(scene)
    acts: dict[str, Any] = {
        "undoes": lambda: learner.undoes(scene),
        "ends": lambda: learner.ends(scene),
        "deletes": lambda: learner.asks(DeleteConversation(account=learner.account, conversation=scene, expected=None)),
        "forks": lambda: learner.forks(scene, 1),
    }
    await acts[act]()
    await over(worker, model)
    assert await learner.deltas(scene) == 3
    assert await learner.calls(scene) == [(1, "stopped")]
    names = [row["name"] for row in await rows(house, "SELECT name FROM conversation_log WHERE conversation = $1 ORDER BY n", scene)]
    assert "practice.turn_stopped" in names
    assert "practice.turn_completed" not in names


async def test_a_turn_that_was_stopped_before_anybody_answered_may_be_tried_again(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    await learner.stops(scene)
    await learner.retries(scene)
    await learner.is_answered(scene)
    assert [turn.status for turn in (await learner.sees(scene)).turns] == ["answered"]
    assert await learner.calls(scene) == [(1, "orphaned"), (2, "answered")]


async def test_a_turn_undone_and_redone_before_anybody_answered_may_be_tried_again(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    await learner.undoes(scene)
    await learner.redoes(scene)
    await learner.retries(scene)
    await learner.is_answered(scene)
    assert [turn.status for turn in (await learner.sees(scene)).turns] == ["answered"]


async def test_the_turn_of_a_worker_that_is_gone_is_taken_over_once_its_lease_is(
    learner: Learner, house: House, model: HaltingModel, clock: HandClock
) -> None:
    scene = await learner.starts()
    accepted = await learner.says(scene)
    await dies(await learner.is_being_answered(scene))
    await learner.is_answered(scene)
    assert model.calls == 1, "nobody takes over what is leased"
    clock.move(seconds=5)
    await learner.is_answered(scene)
    [turn] = (await learner.sees(scene)).turns
    assert (turn.status, turn.attempt) == ("answered", 2)
    assert await learner.calls(scene) == [(1, "orphaned"), (2, "answered")]
    async with house.database.driver() as driver:
        assert len(await pieces_of(driver, scene, accepted.turn, 1)) == 3
    reasons = "SELECT data->>'reason' FROM events WHERE name = 'practice.attempt_restarted'"
    assert await value(house, reasons) == "worker_lost"


async def test_two_workers_answer_once(learner: Learner, model: HaltingModel) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    await asyncio.gather(learner.is_answered(scene), learner.is_answered(scene), learner.is_answered(scene))
    assert model.calls == 1
    assert await learner.calls(scene) == [(1, "answered")]


@pytest.mark.parametrize("change", ["rename", "queue", "coach"])
async def test_what_else_happens_meanwhile_takes_the_turn_from_nobody(
    learner: Learner, house: House, model: HaltingModel, clock: HandClock, change: str
) -> None:
    scene = await learner.starts(while_busy="queue")
    await learner.talks(scene, ASTRAY)
    await learner.says(scene, GOOD[1])
    worker = await learner.is_being_answered(scene)
    before = await value(house, "SELECT lease FROM conversations WHERE id = $1", scene)
    if change == "rename":
        await learner.asks(ChangeConversation(account=learner.account, conversation=scene, expected=None, title="Mine"))
    elif change == "queue":
        await learner.says(scene, GOOD[2])
    else:
        await learner.harness.settle()
        assert (await learner.sees(scene)).turns[0].feedback
    assert await value(house, "SELECT lease FROM conversations WHERE id = $1", scene) == before == clock() + house.limits.lease
    await learner.is_answered(scene)
    await over(worker, model)
    view = await learner.sees(scene)
    assert all((turn.status, turn.attempt) == ("answered", 1) for turn in view.turns)


async def test_a_worker_that_is_gone_is_found_also_after_something_else_has_happened(
    learner: Learner, house: House, clock: HandClock
) -> None:
    scene = await learner.starts()
    await learner.says(scene)
    await dies(await learner.is_being_answered(scene))
    await learner.asks(ChangeConversation(account=learner.account, conversation=scene, expected=None, title="Mine"))
    clock.move(seconds=5)
    assert await house.log.waiting(10, now=clock()) == [scene]


async def test_a_failed_call_is_followed_by_another_and_the_last_one_fails_the_turn(learner: Learner, model: HaltingModel) -> None:
    scene = await learner.starts()
    model.failures = [Unavailable()]
    await learner.talks(scene, GOOD[0])
    model.failures = [Unavailable(), Unavailable(), Unavailable()]
    await learner.talks(scene, GOOD[1])
    first, second = (await learner.sees(scene)).turns
    assert (first.status, first.attempt) == ("answered", 2)
    assert (second.status, second.attempt, second.error) == ("failed", 3, "service.unavailable")
    assert await learner.calls(scene) == [(1, "failed"), (1, "failed"), (2, "answered"), (2, "failed"), (3, "failed")]
    await learner.retries(scene)
    await learner.is_answered(scene)
    assert [(turn.status, turn.attempt) for turn in (await learner.sees(scene)).turns] == [("answered", 2), ("answered", 4)]


async def test_what_the_provider_refuses_is_not_asked_again(learner: Learner, model: HaltingModel) -> None:
    scene = await learner.starts()
    model.failures = [ContentRefused()]
    await learner.talks(scene, GOOD[0])
    [turn] = (await learner.sees(scene)).turns
    assert (turn.status, turn.error, model.calls) == ("failed", "service.content_refused", 1)


async def test_turns_at_the_same_time_are_refused_or_queued_and_never_interleaved(learner: Learner, model: HaltingModel) -> None:
    one, other = await learner.starts(), await learner.starts(while_busy="queue")
    refused = await asyncio.gather(*(learner.says(one, text) for text in GOOD[:3]), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in refused) == ["Accepted", "TurnRunning", "TurnRunning"]
    assert any(isinstance(answer, TurnRunning) for answer in refused)
    queued = await asyncio.gather(*(learner.says(other, text) for text in GOOD[:3]))
    assert sorted(answer.queued for answer in queued) == [False, True, True]
    await learner.is_answered(other)
    order = [answer.turn for answer in sorted(queued, key=lambda answer: answer.version)]
    view = await learner.sees(other)
    assert [(turn.id, turn.status) for turn in view.turns] == [(turn, "answered") for turn in order]
    assert [turn.answered_at for turn in view.turns] == sorted(turn.answered_at for turn in view.turns if turn.answered_at is not None)
    assert model.calls == 3


async def test_the_last_answer_ends_the_scene_and_what_waits_behind_it_is_not_answered(learner: Learner) -> None:
    scene = await learner.starts(while_busy="queue")
    await learner.talks(scene, *GOOD[:-1])
    await learner.says(scene, GOOD[-1])
    await learner.says(scene, "One more thing before you go.")
    await learner.is_answered(scene)
    view = await learner.sees(scene)
    assert (view.ended, view.phase) == ("partner", "idle")
    assert [turn.status for turn in view.turns] == ["answered"] * len(GOOD) + ["stopped"]
    assert (await learner.calls(scene))[-1] == (1, "orphaned")
    await learner.harness.settle()
    view = await learner.sees(scene)
    assert view.report is not None
    assert (view.score, len(view.met)) == (view.report.score, 4)


async def test_undo_and_redo_move_score_report_feedback_and_recommendations(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, ASTRAY)
    await learner.harness.settle()
    before = scene_of(await learner.sees(scene))
    assert before["mistakes"] > 0
    await learner.talks(scene, *GOOD[1:])
    await learner.harness.settle()
    after = scene_of(await learner.sees(scene))
    assert after["ended"] == "partner"
    assert after["recommended"]
    for _ in GOOD[1:]:
        await learner.undoes(scene)
    assert scene_of(await learner.sees(scene)) == before
    for _ in GOOD[1:]:
        await learner.redoes(scene)
    await learner.harness.settle()
    assert scene_of(await learner.sees(scene)) == after


async def test_a_report_that_was_asked_for_while_the_end_was_undone_is_written_after_the_redo(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    await learner.ends(scene)
    await learner.undoes(scene)
    await learner.harness.settle()
    assert (await learner.sees(scene)).report is None
    await learner.redoes(scene)
    await learner.harness.settle()
    assert (await learner.sees(scene)).report is not None


async def test_feedback_that_came_after_the_next_turn_is_given_again_once_that_is_undone(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, ASTRAY, GOOD[1])
    await learner.harness.settle()
    given = (await learner.sees(scene)).turns[0].feedback
    assert given
    await learner.undoes(scene)
    assert (await learner.sees(scene)).turns[0].feedback is None
    await learner.harness.settle()
    assert (await learner.sees(scene)).turns[0].feedback == given


async def test_a_fork_of_an_ended_scene_gets_its_own_report(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    ended = await learner.ends(scene)
    await learner.harness.settle()
    fork = await learner.forks(scene, ended.version)
    assert (await learner.sees(fork.conversation)).report is None
    await learner.harness.settle()
    assert (await learner.sees(fork.conversation)).report is not None


async def test_the_coach_of_a_silent_scene_says_nothing_but_the_report(learner: Learner) -> None:
    scene = await learner.starts(feedback="silent")
    await learner.talks(scene, ASTRAY)
    await learner.ends(scene)
    await learner.harness.settle()
    view = await learner.sees(scene)
    assert (view.turns[0].feedback, view.mistakes, view.report is not None) == (None, 0, True)


async def test_a_fork_goes_its_own_way(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0], GOOD[1])
    await learner.harness.settle()
    parent = [scene_of(await learner.sees(scene, at)) for at in range(1, (await learner.sees(scene)).version + 1)]
    version = next(at for at, one in enumerate(parent, 1) if one["turns"] and one["turns"][0].status == "answered")
    fork = await learner.forks(scene, version)
    assert (fork.parent, fork.parent_version, fork.version) == (scene, version, version + 1)
    assert scene_of(await learner.sees(fork.conversation)) == parent[version - 1]
    await learner.talks(fork.conversation, TERSE)
    await learner.harness.settle()
    child = await learner.sees(fork.conversation)
    assert child.turns[1].answer != (await learner.sees(scene)).turns[1].answer
    await learner.undoes(scene)
    assert await learner.sees(fork.conversation) == child
    assert [scene_of(await learner.sees(scene, at)) for at in range(1, len(parent) + 1)] == parent
    again = await learner.forks(fork.conversation, 2)
    assert (again.parent, again.version) == (fork.conversation, 3)
    await learner.undoes(again.conversation)
    assert (await learner.sees(again.conversation)).turns == ()
    with pytest.raises(UnknownVersion):
        await learner.forks(scene, 1000)


async def test_what_is_deleted_is_gone_and_its_forks_are_not(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, GOOD[0])
    fork = (await learner.forks(scene, 4)).conversation
    await learner.asks(DeleteConversation(account=learner.account, conversation=scene, expected=None))
    with pytest.raises(UnknownConversation):
        await learner.says(scene)
    with pytest.raises(UnknownConversation):
        await learner.sees(scene)
    await learner.harness.settle()
    await learner.talks(fork, GOOD[1])
    assert len((await learner.sees(fork)).turns) == 2


async def test_a_change_is_made_for_the_version_that_was_seen_or_not_at_all(learner: Learner) -> None:
    scene = await learner.starts()

    def change(expected: int, **changes: Any) -> ChangeConversation:
        return ChangeConversation(account=learner.account, conversation=scene, expected=(expected,), **changes)

    moved = await learner.asks(change(1, title="  My   first\tscene ", archived=True, support=True))
    view = await learner.sees(scene)
    assert (moved.version, view.title, view.archived, view.support) == (4, "My first scene", True, True)
    assert (await learner.asks(change(4, archived=True))).version == 4
    with pytest.raises(Stale):
        await learner.asks(change(1, archived=False))
    with pytest.raises(Invalid):
        await learner.asks(change(4, title="x" * 121))


async def test_older_turns_are_summarised_and_undo_takes_the_summary_back(learner: Learner) -> None:
    scene = await learner.starts()
    await learner.talks(scene, *GOOD[:7])
    await learner.harness.settle()
    before = scene_of(await learner.sees(scene))
    await learner.harness.execute(SummariseConversation(account=learner.account, conversation=scene))
    view = await learner.sees(scene)
    assert view.summary is not None
    assert view.summary.startswith("1. Learner: I understand your frustration")
    await learner.harness.execute(SummariseConversation(account=learner.account, conversation=scene))
    assert (await learner.sees(scene)).version == view.version
    await learner.undoes(scene)
    assert (await learner.sees(scene)).summary is None
    await learner.redoes(scene)
    assert scene_of(await learner.sees(scene)) == {**before, "summary": view.summary}


class TestBudgets:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Room for one call a day, and for one more once a call has been settled."""
        return msgspec.structs.replace(settings, tokens_per_day=9000, tokens_per_conversation=20_000)

    async def test_what_is_spent_is_refused_and_there_is_more_at_midnight(self, learner: Learner, house: House, clock: HandClock) -> None:
        scene = await learner.starts()
        await learner.says(scene)
        spend = "UPDATE token_budgets SET spent = spent + $1 WHERE scope LIKE 'day:%' RETURNING 1"
        await rows(house, spend, 1000)
        with pytest.raises(BudgetSpent) as refused:
            await learner.says(await learner.starts())
        await rows(house, spend, -1000)
        assert refused.value.retry_after is not None
        clock.move(seconds=refused.value.retry_after)
        await learner.says(await learner.starts())
        await learner.stops(scene)

    async def test_two_at_the_same_time_never_overspend(self, learner: Learner) -> None:
        scenes = [await learner.starts() for _ in range(4)]
        answers = await asyncio.gather(*(learner.says(scene) for scene in scenes), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["Accepted", "BudgetSpent", "BudgetSpent", "BudgetSpent"]

    async def test_a_turn_whose_next_attempt_cannot_be_paid_fails_and_keeps_nothing_reserved(
        self, learner: Learner, house: House, clock: HandClock
    ) -> None:
        scene = await learner.starts()
        await learner.says(scene)
        await dies(await learner.is_being_answered(scene))
        clock.move(seconds=5)
        await learner.is_answered(scene)
        [turn] = (await learner.sees(scene)).turns
        assert (turn.status, turn.error) == ("failed", "practice.budget_spent")
        assert await value(house, "SELECT sum(reserved) FROM token_budgets") == 0


async def test_people_who_say_something_first_at_the_same_time_have_one_key(house: House, learner: Learner) -> None:
    async def key() -> bytes:
        async with unit(house.database) as work:
            return await work.keys.of(AccountId(learner.account), house.vault.wrapped_key, now=house.clock())

    await rows(house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.account)
    assert len(set(await asyncio.gather(*(key() for _ in range(5))))) == 1


async def test_the_queue_of_a_worker_answers_all_that_waits(learner: Learner, house: House) -> None:
    scenes = [await learner.starts(while_busy="queue") for _ in range(3)]
    for scene in scenes:
        await learner.says(scene, GOOD[0])
        await learner.says(scene, GOOD[1])
    await house.turns().settled()

    async def answered() -> bool:
        return await house.log.waiting(10, now=house.clock()) == []

    await until(answered)
    for scene in scenes:
        assert [turn.status for turn in (await learner.sees(scene)).turns] == ["answered", "answered"]
