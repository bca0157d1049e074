"""The rules of a conversation, without weather: what its methods say happens, and what its events fold to."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest

from bus.message import WITHHELD, Personal
from domain.errors import DomainError
from domain.practice import events as e
from domain.practice.errors import (
    Archived,
    NothingToEnd,
    NothingToRedo,
    NothingToRetry,
    NothingToStop,
    NothingToUndo,
    QueueFull,
    SceneOver,
    TurnRunning,
    UnknownConversation,
    UnknownTurn,
    UnknownVersion,
)
from domain.practice.model import Conversation
from domain.practice.state import Content, LostHistory, Recorded
from domain.types import AccountId

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LEARNER = AccountId(UUID("0199a8a0-0000-7000-8000-000000000001"))
ONE, OTHER, SCENARIO = uuid5(LEARNER, "one"), uuid5(LEARNER, "other"), uuid5(LEARNER, "scenario")
MODEL = "scripted/1"
TITLE, ANSWER, SHOWN = Personal(b"title"), Personal(b"answer"), Personal(b"shown")
SPANS, SUMMARY, REPORT = Personal(b"spans"), Personal(b"summary"), Personal(b"report")
NEXT = (e.Recommended(scenario=uuid5(LEARNER, "next"), reason="harder"),)
_ticks = count()


def recorded(event: e.ConversationEvent) -> Recorded:
    return Recorded(event, NOW + timedelta(seconds=next(_ticks)))


class Told:
    """A conversation and everything that has happened to it."""

    def __init__(self, **settings: Any) -> None:
        started = e.ConversationStarted(
            conversation=ONE,
            account=LEARNER,
            version=1,
            scenario=SCENARIO,
            scenario_version=1,
            settings=e.Settings(**settings),
            level="B1",
            seed=7,
        )
        self.history = [recorded(started)]
        self.conversation = Conversation.folded(self.history)

    def does(self, events: Sequence[e.ConversationEvent]) -> "Told":
        for event in events:
            self.history.append(recorded(event))
            self.conversation.apply(self.history[-1])
        return self

    @property
    def content(self) -> Content:
        return self.conversation.content

    def says(self, text: str = "Good morning.") -> UUID:
        turn = uuid5(ONE, str(next(_ticks)))
        self.does(self.conversation.submit(turn, Personal(text.encode())))
        return turn

    def begins(self) -> "Told":
        return self.does(self.conversation.begin(MODEL, "worker_lost"))

    def completes(self, *, last: bool = False, met: tuple[str, ...] = ()) -> "Told":
        return self.does(self.conversation.complete(ANSWER, tokens_in=30, tokens_out=5, model=MODEL, met=met, last=last))

    def answered(self, *, last: bool = False, met: tuple[str, ...] = ()) -> UUID:
        turn = self.says()
        self.begins().completes(last=last, met=met)
        return turn

    def reports(self) -> "Told":
        return self.does(self.conversation.report(REPORT, goal_reached=True, score=80, recommended=NEXT))

    def undoes(self) -> "Told":
        return self.does(self.conversation.undo(SHOWN))

    def redoes(self) -> "Told":
        return self.does(self.conversation.redo())

    def forks(self, at: int) -> "Told":
        """What a handler does: the fold up to there, and the first event of the child."""
        child = Told()
        child.history = self.history[:at]
        child.conversation = Conversation.folded(child.history)
        return child.does(child.conversation.fork(OTHER))


def names(events: Sequence[e.ConversationEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def statuses(told: Told) -> list[str]:
    return [turn.status for turn in told.content.turns]


# What a learner may be refused, by how they came there.


def archived() -> Told:
    told = Told()
    told.answered()
    return told.does(told.conversation.archive(True))


def deleted() -> Told:
    told = Told()
    told.answered()
    return told.does(told.conversation.delete(SHOWN))


def ended() -> Told:
    told = Told()
    told.answered()
    return told.does(told.conversation.end(SHOWN))


def running() -> Told:
    told = Told()
    told.says()
    return told.begins()


def queueing(waiting: int) -> Told:
    """With one turn that is being answered, and this many behind it."""
    told = Told(while_busy="queue")
    told.says()
    told.begins()
    for _ in range(waiting):
        told.says()
    return told


ACTIONS: dict[str, Callable[[Conversation], Any]] = {
    "submit": lambda one: one.submit(OTHER, TITLE),
    "retry": lambda one: one.retry(),
    "end": lambda one: one.end(SHOWN),
    "undo": lambda one: one.undo(SHOWN),
    "redo": lambda one: one.redo(),
    "stop": lambda one: one.stop(SHOWN),
    "fork": lambda one: one.stop_to_fork(1, SHOWN),
    "rename": lambda one: one.rename(TITLE),
    "archive": lambda one: one.archive(True),
    "support": lambda one: one.allow_support(True),
    "delete": lambda one: one.delete(SHOWN),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_does_anything_in_a_deleted_conversation(action: str) -> None:
    with pytest.raises(UnknownConversation):
        ACTIONS[action](deleted().conversation)


@pytest.mark.parametrize("action", ["submit", "retry", "end", "undo", "redo"])
def test_a_scene_in_the_archive_stays_as_it_is(action: str) -> None:
    with pytest.raises(Archived):
        ACTIONS[action](archived().conversation)


@pytest.mark.parametrize(
    ("action", "told", "refusal"),
    [
        ("submit", ended, SceneOver),
        ("submit", running, TurnRunning),
        ("submit", lambda: queueing(3), QueueFull),
        ("retry", Told, NothingToRetry),
        ("retry", ended, SceneOver),
        ("retry", running, TurnRunning),
        ("stop", Told, NothingToStop),
        ("stop", ended, NothingToStop),
        ("end", Told, NothingToEnd),
        ("end", ended, SceneOver),
        ("undo", Told, NothingToUndo),
        ("redo", Told, NothingToRedo),
        ("redo", running, NothingToRedo),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(action: str, told: Callable[[], Told], refusal: type[DomainError]) -> None:
    with pytest.raises(refusal):
        ACTIONS[action](told().conversation)


@pytest.mark.parametrize("version", [0, -1, 5])
def test_a_version_that_there_is_not_cannot_be_forked(version: int) -> None:
    told = Told()
    told.answered()
    assert told.conversation.version == 4
    with pytest.raises(UnknownVersion):
        told.conversation.stop_to_fork(version, SHOWN)
    assert told.conversation.stop_to_fork(4, SHOWN) == ()


def test_a_turn_waits_is_answered_and_counts_what_it_cost() -> None:
    told = Told()
    turn = told.says("Hello")
    assert (told.conversation.phase, told.content.turns[0].text) == ("pending", Personal(b"Hello"))
    told.begins()
    assert (told.conversation.phase, told.content.turns[0].attempt) == ("running", 1)
    told.completes(met=("greeted",))
    [answered] = told.content.turns
    assert (answered.id, answered.answer, answered.status, answered.model) == (turn, ANSWER, "answered", MODEL)
    assert (told.conversation.phase, told.content.met, told.content.ended) == ("idle", ("greeted",), None)
    assert (told.conversation.state.tokens_in, told.conversation.state.tokens_out) == (30, 5)


def test_turns_that_are_queued_are_answered_in_their_order_and_are_never_mixed() -> None:
    told = queueing(2)
    assert [one.event.queued for one in told.history if isinstance(one.event, e.TurnAccepted)] == [False, True, True]
    told.completes().begins()
    assert statuses(told) == ["answered", "running", "waiting"]


def test_the_last_answer_ends_the_scene_and_nothing_behind_it_is_answered() -> None:
    told = queueing(2)
    told.completes(last=True)
    assert names([one.event for one in told.history[-4:]]) == ["TurnCompleted", "TurnStopped", "TurnStopped", "SceneEnded"]
    assert [one.event.version for one in told.history] == list(range(1, len(told.history) + 1))
    assert (statuses(told), told.content.ended, told.conversation.phase) == (["answered", "stopped", "stopped"], "partner", "idle")


def test_what_is_stopped_keeps_what_was_shown_and_what_waits_behind_it_stops_too() -> None:
    told = queueing(1)
    told.does(told.conversation.stop(SHOWN))
    first, second = told.content.turns
    assert (first.status, first.answer) == ("stopped", SHOWN)
    assert (second.status, second.answer) == ("stopped", None)


def test_a_learner_who_ends_the_scene_stops_the_answer_first() -> None:
    told = running()
    told.does(told.conversation.end(SHOWN))
    assert names([one.event for one in told.history[-2:]]) == ["TurnStopped", "SceneEnded"]
    assert (statuses(told), told.content.ended) == (["stopped"], "learner")


def test_a_retry_asks_for_another_answer_to_the_same_words() -> None:
    told = Told()
    told.answered(last=True)
    told.reports()
    told.does(told.conversation.retry())
    [turn] = told.content.turns
    assert (turn.status, turn.answer, turn.met, told.content.ended) == ("waiting", None, (), None)
    assert (told.content.report, told.content.score, told.content.goal_reached, told.content.recommended) == (None, None, None, ())
    [again] = told.conversation.begin(MODEL, "worker_lost")
    assert isinstance(again, e.AttemptRestarted)
    assert (again.attempt, again.reason) == (2, "retry")


def test_a_worker_that_takes_over_begins_another_attempt_and_says_why() -> None:
    told = running()
    [lost] = told.conversation.begin(MODEL, "worker_lost")
    [failed] = told.conversation.begin("another", "provider_failed")
    assert isinstance(lost, e.AttemptRestarted)
    assert isinstance(failed, e.AttemptRestarted)
    assert (lost.attempt, lost.reason) == (2, "worker_lost")
    assert (failed.model, failed.reason) == ("another", "provider_failed")
    told.does([lost])
    assert (statuses(told), told.content.turns[0].attempt) == (["running"], 2)


def test_the_number_of_an_attempt_is_never_given_twice_even_when_there_was_no_call() -> None:
    told = Told()
    told.says()
    told.does(told.conversation.stop(SHOWN))
    told.does(told.conversation.retry())
    told.does(told.conversation.fail("practice.budget_spent"))
    told.does(told.conversation.retry())
    told.begins()
    attempts = [one.event.attempt for one in told.history if isinstance(one.event, e.TurnStopped | e.TurnFailed | e.AttemptRestarted)]
    assert attempts == [1, 2, 3]


def test_a_turn_that_fails_says_why_and_may_be_tried_again() -> None:
    told = running()
    told.does(told.conversation.fail("service.unavailable"))
    assert (statuses(told), told.content.turns[0].error, told.conversation.phase) == (["failed"], "service.unavailable", "idle")
    told.does(told.conversation.retry()).begins()
    assert (statuses(told), told.content.turns[0].error) == (["running"], None)


def test_nothing_begins_where_nothing_waits() -> None:
    assert Told().conversation.begin(MODEL, "worker_lost") == ()
    assert ended().conversation.begin(MODEL, "worker_lost") == ()
    with pytest.raises(UnknownTurn):
        Told().completes()
    with pytest.raises(UnknownTurn):
        Told().conversation.fail("service.unavailable")


def test_feedback_is_given_once_and_counts_the_mistakes() -> None:
    told = Told()
    first, second = told.answered(), told.answered()
    told.does(told.conversation.give_feedback(first, SPANS, 2)).does(told.conversation.give_feedback(second, SPANS, 1))
    assert (told.content.mistakes, told.content.turns[0].feedback) == (3, SPANS)
    assert told.conversation.give_feedback(first, SPANS, 2) == ()


def test_the_coach_is_quiet_about_what_is_not_there_any_more() -> None:
    told = Told()
    turn = told.answered(last=True)
    told.undoes()
    assert told.conversation.give_feedback(turn, SPANS, 2) == ()
    assert told.conversation.report(REPORT, goal_reached=True, score=80, recommended=()) == ()
    assert told.conversation.summarise(1, SUMMARY) == ()


def test_a_summary_stands_for_more_turns_each_time() -> None:
    told = Told()
    told.answered()
    told.answered()
    assert told.conversation.summarise(3, SUMMARY) == ()
    told.does(told.conversation.summarise(2, SUMMARY))
    assert (told.content.summary, told.content.summarised) == (SUMMARY, 2)
    assert told.conversation.summarise(2, SUMMARY) == ()


def test_a_report_is_written_once_and_only_of_a_scene_that_is_over() -> None:
    told = Told()
    told.answered()
    assert told.conversation.report(REPORT, goal_reached=True, score=80, recommended=NEXT) == ()
    told.does(told.conversation.end(SHOWN)).reports()
    content = told.content
    assert (content.report, content.goal_reached, content.score, content.recommended) == (REPORT, True, 80, NEXT)
    assert told.conversation.report(REPORT, goal_reached=False, score=1, recommended=()) == ()


def test_names_archive_and_leave_to_read_change_once_and_are_not_of_the_scene() -> None:
    told = Told()
    told.answered()
    before = told.content
    told.does(told.conversation.rename(TITLE)).does(told.conversation.archive(True)).does(told.conversation.allow_support(True))
    state = told.conversation.state
    assert (state.title, state.archived, state.support) == (TITLE, True, True)
    assert told.conversation.archive(True) == told.conversation.allow_support(True) == ()
    assert (told.content, state.head, len(state.undo)) == (before, 4, 1)


def test_undoing_a_turn_takes_back_all_that_came_of_it_and_redoing_brings_it_back() -> None:
    told = Told()
    first = told.answered(met=("greeted",))
    told.does(told.conversation.give_feedback(first, SPANS, 1))
    before = told.content
    second = told.answered(last=True, met=("greeted", "agreed"))
    told.does(told.conversation.give_feedback(second, SPANS, 3)).does(told.conversation.summarise(1, SUMMARY)).reports()
    after = told.content
    told.undoes()
    assert told.content == before
    assert (told.content.met, told.content.mistakes, told.content.score, told.content.summary) == (("greeted",), 1, None, None)
    told.redoes()
    assert told.content == after
    assert (told.content.mistakes, told.content.score, told.content.ended) == (4, 80, "partner")


def test_what_was_spent_counts_on_whatever_is_undone() -> None:
    told = Told()
    turn = told.answered()
    told.undoes()
    state = told.conversation.state
    assert (state.tokens_in, state.tokens_out, state.attempts, state.version) == (30, 5, {turn: 1}, 5)


def test_actions_are_undone_one_by_one_down_to_the_first_and_redone_up_to_the_last() -> None:
    told = Told()
    contents = [told.content]
    told.answered()
    contents.append(told.content)
    told.does(told.conversation.retry())
    told.begins().completes()
    contents.append(told.content)
    told.does(told.conversation.end(SHOWN)).reports()
    contents.append(told.content)
    for content in reversed(contents[:-1]):
        assert told.undoes().content == content
    with pytest.raises(NothingToUndo):
        told.conversation.undo(SHOWN)
    for content in contents[1:]:
        assert told.redoes().content == content
    with pytest.raises(NothingToRedo):
        told.conversation.redo()


@pytest.mark.parametrize("action", ["submit", "retry", "end"])
def test_a_new_action_leaves_nothing_to_redo(action: str) -> None:
    told = Told()
    told.answered()
    told.answered()
    told.undoes()
    assert told.conversation.state.redo
    told.does(ACTIONS[action](told.conversation))
    assert told.conversation.state.redo == ()


def test_what_the_coach_says_in_between_leaves_what_was_undone_to_be_redone() -> None:
    told = Told()
    first = told.answered()
    told.answered()
    after = told.content
    told.undoes().does(told.conversation.give_feedback(first, SPANS, 1))
    coached = told.content
    assert told.redoes().content == after
    assert told.undoes().content == coached


def test_undo_stops_what_runs_and_gives_back_what_was_before_it() -> None:
    told = Told()
    told.answered()
    before = told.content
    told.says()
    told.begins().undoes()
    assert names([one.event for one in told.history[-2:]]) == ["TurnStopped", "Undone"]
    assert (told.content, told.conversation.phase) == (before, "idle")
    told.redoes()
    assert (statuses(told), told.content.turns[1].answer, told.conversation.phase) == (["answered", "stopped"], SHOWN, "idle")


def test_a_turn_that_waited_then_is_after_an_undo_as_it_was_left() -> None:
    told = Told(while_busy="queue")
    told.says()
    told.says()
    told.begins().completes().begins().undoes()
    assert (statuses(told), told.content.turns[0].answer, told.conversation.phase) == (["answered"], ANSWER, "idle")
    told.redoes()
    assert statuses(told) == ["answered", "stopped"]


def test_a_scene_that_ended_while_a_turn_was_queued_is_over_without_that_turn_too() -> None:
    told = queueing(1)
    told.completes(last=True).reports()
    told.undoes()
    assert (statuses(told), told.content.ended, told.content.score) == (["answered"], "partner", 80)
    told.undoes()
    assert (statuses(told), told.content.ended, told.content.score) == ([], None, None)


def test_versions_are_never_given_twice() -> None:
    told = Told()
    told.answered()
    told.undoes().redoes().undoes()
    told.answered()
    assert [one.event.version for one in told.history] == list(range(1, len(told.history) + 1))
    assert told.conversation.version == len(told.history)


def lived() -> Told:
    """Somebody has done everything there is to do."""
    told = Told(while_busy="queue")
    turn = told.answered(met=("greeted",))
    told.does(told.conversation.give_feedback(turn, SPANS, 1)).does(told.conversation.rename(TITLE))
    told.says()
    told.says()
    told.begins().undoes().redoes()
    told.does(told.conversation.retry()).begins()
    told.does(told.conversation.fail("service.unavailable"))
    told.does(told.conversation.summarise(1, SUMMARY)).undoes().undoes()
    told.answered(last=True)
    told.reports().does(told.conversation.archive(True)).does(told.conversation.archive(False))
    return told.undoes().redoes()


def test_a_fork_begins_as_its_parent_was_and_has_its_own_past_to_undo() -> None:
    told = lived()
    for version in range(1, told.conversation.version + 1):
        parent, child = Conversation.folded(told.history[:version]), told.forks(version).conversation
        settled = [turn.id for turn in parent.content.turns if turn.settled]
        assert [child.content.turn(turn) for turn in settled] == [parent.content.turn(turn) for turn in settled]
        assert (child.phase, len(child.content.turns)) == ("idle", len(parent.content.turns))
        assert (child.content.ended, child.content.score, child.content.report, child.content.summary) == (
            parent.content.ended,
            parent.content.score,
            parent.content.report,
            parent.content.summary,
        )
        state = child.state
        assert (state.id, state.parent, state.parent_version, state.version) == (OTHER, ONE, version, version + 1)
        assert (state.undo, state.redo, state.attempts) == (parent.state.undo, (), parent.state.attempts)
        assert (state.archived, state.support, state.tokens_in, state.tokens_out) == (False, False, 0, 0)


def test_a_fork_of_what_is_undone_has_nothing_to_redo_and_does_not_touch_its_parent() -> None:
    told = Told()
    told.answered()
    told.answered()
    told.undoes()
    before = msgspec.structs.asdict(told.conversation.state)
    child = told.forks(told.conversation.version)
    with pytest.raises(NothingToRedo):
        child.conversation.redo()
    child.undoes()
    child.answered()
    assert msgspec.structs.asdict(told.conversation.state) == before
    assert [one.event.version for one in child.history] == list(range(1, len(child.history) + 1))


def test_a_turn_that_runs_when_it_is_forked_is_stopped_in_the_fork_and_may_be_tried_again_there() -> None:
    told = running()
    child = told.forks(told.conversation.version)
    assert (statuses(child), child.conversation.phase, statuses(told)) == (["stopped"], "idle", ["running"])
    child.does(child.conversation.retry()).begins()
    assert child.content.turns[0].attempt == 2


def test_the_fold_of_the_first_events_is_what_it_was_then() -> None:
    told = lived()
    lived_through: list[dict[str, Any]] = []
    again = Conversation.folded(told.history[:1])
    for version, one in enumerate(told.history, 1):
        if version > 1:
            again.apply(one)
        lived_through.append(msgspec.structs.asdict(again.state))
    for version, state in enumerate(lived_through, 1):
        assert msgspec.structs.asdict(Conversation.folded(told.history[:version]).state) == state
    assert msgspec.structs.asdict(told.conversation.state) == lived_through[-1]


def test_a_fold_that_begins_too_late_says_so_and_goes_on_once_it_recalls_what_was_before() -> None:
    told = Told()
    told.answered()
    late = Conversation(msgspec.structs.replace(told.conversation.state))
    [undone] = told.conversation.undo(SHOWN)
    assert not late.remembers(undone)
    with pytest.raises(LostHistory):
        late.apply(recorded(undone))
    late = Conversation(msgspec.structs.replace(told.conversation.state))
    late.recall(Conversation.folded(told.history))
    assert late.remembers(undone)
    late.apply(recorded(undone))
    assert late.content == Content()


def test_no_events_are_no_conversation_and_a_history_begins_with_its_start() -> None:
    with pytest.raises(UnknownConversation):
        Conversation.folded([])
    told = Told()
    told.answered()
    with pytest.raises(LostHistory):
        Conversation.folded(told.history[1:])


def test_a_fold_from_any_version_on_is_the_same_or_says_that_it_begins_too_late() -> None:
    told = lived()
    whole = msgspec.structs.asdict(told.conversation.state)
    late = 0
    for version in range(1, len(told.history)):
        begun = Conversation.folded(told.history[:version])
        try:
            folded = Conversation.folded(told.history[version:], Conversation(begun.state))
        except LostHistory:
            late += 1
        else:
            assert msgspec.structs.asdict(folded.state) == whole
    assert 0 < late < len(told.history)


def test_what_is_withheld_is_no_answer() -> None:
    told = running()
    told.does(told.conversation.stop(WITHHELD))
    assert told.content.turns[0].answer is None
