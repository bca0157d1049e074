"""The state of a conversation, and what each of its events makes of it: see `domain.practice.model`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from bus.message import Personal
from domain.practice import events as e
from domain.types import AccountId

Status = Literal["waiting", "running", "answered", "stopped", "failed"]
Phase = Literal["idle", "pending", "running"]


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the learner said, and the partner's answer: of `attempt`, or of none yet."""

    id: UUID
    text: Personal
    at: datetime
    status: Status = "waiting"
    attempt: int = 0
    model: str | None = None
    answer: Personal | None = None
    answered_at: datetime | None = None
    error: str | None = None
    met: tuple[str, ...] = ()
    mistakes: int | None = None
    feedback: Personal | None = None

    @property
    def settled(self) -> bool:
        return self.status not in ("waiting", "running")


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scene: what undo and redo move. `summary` stands for the first `summarised` turns when a model is asked."""

    turns: tuple[Turn, ...] = ()
    summary: Personal | None = None
    summarised: int = 0
    ended: Literal["partner", "learner"] | None = None
    report: Personal | None = None
    goal_reached: bool | None = None
    score: int | None = None
    recommended: tuple[e.Recommended, ...] = ()

    @property
    def met(self) -> tuple[str, ...]:
        """Ids of the success criteria that the learner has met."""
        return next((turn.met for turn in reversed(self.turns) if turn.status == "answered"), ())

    @property
    def mistakes(self) -> int:
        return sum(turn.mistakes or 0 for turn in self.turns)

    def turn(self, identity: UUID) -> Turn | None:
        return next((turn for turn in self.turns if turn.id == identity), None)


class Mark(msgspec.Struct, frozen=True):
    """An action: the head before it, and, once it is undone, the head that it had led to."""

    before: int
    after: int = 0


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Everything of a conversation at one version. `head` is the version of the event that `content` is as of."""

    id: UUID
    account: AccountId
    scenario: UUID
    scenario_version: int
    settings: e.Settings
    level: str
    seed: int
    created_at: datetime
    updated_at: datetime
    version: int
    head: int
    parent: UUID | None = None
    parent_version: int | None = None
    title: Personal | None = None
    archived: bool = False
    support: bool = False
    deleted: bool = False
    content: Content = Content()
    undo: tuple[Mark, ...] = ()
    redo: tuple[Mark, ...] = ()
    attempts: dict[UUID, int] = {}
    tokens_in: int = 0
    tokens_out: int = 0


class Recorded(msgspec.Struct, frozen=True):
    """An event and when it happened."""

    event: e.ConversationEvent
    at: datetime


class LostHistory(Exception):
    """An earlier content is needed than the fold began with: fold again from the first event."""


def started(recorded: Recorded) -> State:
    event, at = recorded.event, recorded.at
    if not isinstance(event, e.ConversationStarted):
        raise LostHistory
    return State(
        id=event.conversation,
        account=event.account,
        scenario=event.scenario,
        scenario_version=event.scenario_version,
        settings=event.settings,
        level=event.level,
        seed=event.seed,
        created_at=at,
        updated_at=at,
        version=event.version,
        head=event.version,
    )


def settled(content: Content, left: Content) -> Content:
    """Nothing runs after the head has moved: a turn that was being answered is as it was left, and so is the scene if that ended it."""
    turns = tuple(turn if turn.settled else left.turn(turn.id) or turn for turn in content.turns)
    turns = tuple(turn if turn.settled else msgspec.structs.replace(turn, status="stopped") for turn in turns)
    if turns == content.turns:
        return content
    left_so = msgspec.structs.replace(content, turns=turns)
    answered = [turn.id for turn in left.turns if turn.status == "answered"]
    if left.ended != "partner" or answered[-1:] != [turns[-1].id]:
        return left_so
    return msgspec.structs.replace(
        left_so, ended=left.ended, report=left.report, goal_reached=left.goal_reached, score=left.score, recommended=left.recommended
    )


def count(state: State, event: e.ConversationEvent) -> None:
    if isinstance(event, e.AttemptStarted | e.AttemptRestarted | e.TurnStopped | e.TurnFailed):
        state.attempts = {**state.attempts, event.turn: event.attempt}
    elif isinstance(event, e.TurnCompleted):
        state.tokens_in += event.tokens_in
        state.tokens_out += event.tokens_out


def _forked(state: State, event: e.ConversationForked) -> None:
    state.id, state.parent, state.parent_version = event.conversation, event.parent, event.parent_version
    state.content = settled(state.content, Content())
    state.redo, state.archived, state.support, state.deleted = (), False, False, False
    state.tokens_in = state.tokens_out = 0


def _renamed(state: State, event: e.ConversationRenamed) -> None:
    state.title = event.title


def _archived(state: State, event: e.ConversationArchived) -> None:
    state.archived = event.archived


def _support(state: State, event: e.SupportAllowed) -> None:
    state.support = event.allowed


def _deleted(state: State, _: e.ConversationDeleted) -> None:
    state.deleted = True


ABOUT: Mapping[type[e.ConversationEvent], Callable[[State, Any], None]] = {
    e.ConversationForked: _forked,
    e.ConversationRenamed: _renamed,
    e.ConversationArchived: _archived,
    e.SupportAllowed: _support,
    e.ConversationDeleted: _deleted,
}


def _with_turn(content: Content, turn: UUID, **changes: Any) -> Content:
    turns = tuple(msgspec.structs.replace(one, **changes) if one.id == turn else one for one in content.turns)
    return msgspec.structs.replace(content, turns=turns)


def _accepted(content: Content, event: e.TurnAccepted, at: datetime) -> Content:
    return msgspec.structs.replace(content, turns=(*content.turns, Turn(id=event.turn, text=event.text, at=at)))


def _retried(content: Content, event: e.RetryRequested, _: datetime) -> Content:
    again = _with_turn(content, event.turn, status="waiting", answer=None, answered_at=None, error=None, model=None, met=())
    return msgspec.structs.replace(again, ended=None, report=None, goal_reached=None, score=None, recommended=())


def _begun(content: Content, event: e.AttemptStarted | e.AttemptRestarted, _: datetime) -> Content:
    return _with_turn(content, event.turn, status="running", attempt=event.attempt, model=event.model)


def _completed(content: Content, event: e.TurnCompleted, at: datetime) -> Content:
    return _with_turn(content, event.turn, status="answered", answer=event.text, answered_at=at, model=event.model, met=event.met)


def _ended_early(content: Content, event: e.TurnStopped, at: datetime) -> Content:
    return _with_turn(content, event.turn, status="stopped", answer=event.text if event.text.sealed else None, answered_at=at)


def _failed(content: Content, event: e.TurnFailed, at: datetime) -> Content:
    return _with_turn(content, event.turn, status="failed", error=event.code, answered_at=at)


def _coached(content: Content, event: e.FeedbackGiven, _: datetime) -> Content:
    return _with_turn(content, event.turn, mistakes=event.mistakes, feedback=event.spans)


def _summarised(content: Content, event: e.ConversationSummarised, _: datetime) -> Content:
    return msgspec.structs.replace(content, summary=event.summary, summarised=event.turns)


def _over(content: Content, event: e.SceneEnded, _: datetime) -> Content:
    return msgspec.structs.replace(content, ended=event.by)


def _reported(content: Content, event: e.ReportWritten, _: datetime) -> Content:
    return msgspec.structs.replace(
        content, report=event.report, goal_reached=event.goal_reached, score=event.score, recommended=event.recommended
    )


TOLD: Mapping[type[e.ConversationEvent], Callable[[Content, Any, datetime], Content]] = {
    e.TurnAccepted: _accepted,
    e.RetryRequested: _retried,
    e.AttemptStarted: _begun,
    e.AttemptRestarted: _begun,
    e.TurnCompleted: _completed,
    e.TurnStopped: _ended_early,
    e.TurnFailed: _failed,
    e.FeedbackGiven: _coached,
    e.ConversationSummarised: _summarised,
    e.SceneEnded: _over,
    e.ReportWritten: _reported,
}
EVENTS: tuple[type[e.ConversationEvent], ...] = (e.ConversationStarted, *ABOUT, *TOLD, e.Undone, e.Redone)
"""All that a conversation is folded from."""
