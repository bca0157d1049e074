"""What has happened in practice. Text is Personal: sealed, kept beside the event, and in no stream.

The events of a conversation are numbered by `version`; a conversation is the fold of its own (`domain.practice.model`). The numbers of
a fork go on where its parent's version was. An action, that is a turn of the learner, a retry or the end of a scene, is what undo takes
back.
"""

from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from bus.message import WITHHELD, Event, Personal, Wire
from domain.types import AccountId

FeedbackMode = Literal["silent", "after_turn", "after_scene"]
Difficulty = Literal["easier", "normal", "harder"]
WhileBusy = Literal["refuse", "queue"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a conversation is practised. `explanation_language` is a BCP 47 tag. `while_busy`: what becomes of a turn that is sent while the
    partner still answers another.
    """

    feedback: FeedbackMode = "after_turn"
    difficulty: Difficulty = "normal"
    explanation_language: str = "en"
    while_busy: WhileBusy = "refuse"


class Recommended(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario to practise next, and why: `reason` is one of `domain.practice.report`."""

    scenario: UUID
    reason: str


class ConversationEvent(Event, frozen=True, kw_only=True):
    """What all events of a conversation have."""

    abstract: ClassVar[bool] = True
    conversation: UUID
    account: AccountId
    version: int


def _wire(name: str, *, seen: bool = False) -> Wire:
    return Wire(name=f"practice.{name}", key="conversation", subject="account", number="version", seen=seen)


class ConversationStarted(ConversationEvent, frozen=True, kw_only=True):
    """`seed` decides what the scripted model draws; `level` is the learner's by the Common European Framework (CEFR)."""

    wire: ClassVar[Wire] = _wire("conversation_started", seen=True)
    scenario: UUID
    scenario_version: int
    settings: Settings
    level: str
    seed: int


class ConversationForked(ConversationEvent, frozen=True, kw_only=True):
    """It begins as its parent was at `parent_version`; what happens to the parent later does not concern it."""

    wire: ClassVar[Wire] = _wire("conversation_forked", seen=True)
    scenario: UUID
    parent: UUID
    parent_version: int


class ConversationRenamed(ConversationEvent, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = _wire("conversation_renamed", seen=True)
    title: Personal = WITHHELD


class ConversationArchived(ConversationEvent, frozen=True, kw_only=True):
    """Or taken out of the archive again."""

    wire: ClassVar[Wire] = _wire("conversation_archived", seen=True)
    archived: bool


class SupportAllowed(ConversationEvent, frozen=True, kw_only=True):
    """Whether those who operate this installation may read the text of the conversation."""

    wire: ClassVar[Wire] = _wire("support_allowed", seen=True)
    allowed: bool


class ConversationDeleted(ConversationEvent, frozen=True, kw_only=True):
    """Nobody reads it any more; forks of it stay."""

    wire: ClassVar[Wire] = _wire("conversation_deleted", seen=True)


class TurnAccepted(ConversationEvent, frozen=True, kw_only=True):
    """An action. `queued`: it waits until the partner has answered the turns before."""

    wire: ClassVar[Wire] = _wire("turn_accepted")
    turn: UUID
    queued: bool = False
    text: Personal = WITHHELD


class RetryRequested(ConversationEvent, frozen=True, kw_only=True):
    """An action: the partner is to answer the last turn again."""

    wire: ClassVar[Wire] = _wire("retry_requested")
    turn: UUID


class AttemptStarted(ConversationEvent, frozen=True, kw_only=True):
    """A call of a model begins; `attempt` counts those of a turn, from 1."""

    wire: ClassVar[Wire] = _wire("attempt_started")
    turn: UUID
    attempt: int
    model: str


class AttemptRestarted(ConversationEvent, frozen=True, kw_only=True):
    """Another one begins, whose text takes the place of what was shown of the attempt before."""

    wire: ClassVar[Wire] = _wire("attempt_restarted")
    turn: UUID
    attempt: int
    model: str
    reason: Literal["worker_lost", "provider_failed", "retry"]


class TurnCompleted(ConversationEvent, frozen=True, kw_only=True):
    """The partner's answer, whole. `met` are the success criteria that the learner has met by now; `tokens` are of this attempt."""

    wire: ClassVar[Wire] = _wire("turn_completed", seen=True)
    turn: UUID
    attempt: int
    model: str
    tokens_in: int
    tokens_out: int
    met: tuple[str, ...]
    text: Personal = WITHHELD


class TurnStopped(ConversationEvent, frozen=True, kw_only=True):
    """By the learner, or because they went on otherwise; `text` is what had been shown by then."""

    wire: ClassVar[Wire] = _wire("turn_stopped", seen=True)
    turn: UUID
    attempt: int
    text: Personal = WITHHELD


class TurnFailed(ConversationEvent, frozen=True, kw_only=True):
    """No model answered, and none is asked again by itself; `code` says why."""

    wire: ClassVar[Wire] = _wire("turn_failed", seen=True)
    turn: UUID
    attempt: int
    code: str


class FeedbackGiven(ConversationEvent, frozen=True, kw_only=True):
    """What the coach says to a turn of the learner; `spans` is a list of `domain.practice.coach.Span`, as JSON."""

    wire: ClassVar[Wire] = _wire("feedback_given")
    turn: UUID
    mistakes: int
    spans: Personal = WITHHELD


class ConversationSummarised(ConversationEvent, frozen=True, kw_only=True):
    """`summary` stands for the first `turns` exchanges when the partner's model is asked."""

    wire: ClassVar[Wire] = _wire("conversation_summarised")
    turns: int
    summary: Personal = WITHHELD


class SceneEnded(ConversationEvent, frozen=True, kw_only=True):
    """By the partner's last words, or by the learner, which is an action."""

    wire: ClassVar[Wire] = _wire("scene_ended", seen=True)
    by: Literal["partner", "learner"]


class ReportWritten(ConversationEvent, frozen=True, kw_only=True):
    """`report` is a `domain.practice.report.Report`, as JSON."""

    wire: ClassVar[Wire] = _wire("report_written", seen=True)
    goal_reached: bool
    score: int
    recommended: tuple[Recommended, ...]
    report: Personal = WITHHELD


class Undone(ConversationEvent, frozen=True, kw_only=True):
    """The conversation is again as it was at version `to`."""

    wire: ClassVar[Wire] = _wire("undone", seen=True)
    to: int


class Redone(ConversationEvent, frozen=True, kw_only=True):
    """What was undone last holds again: the conversation is as it was at version `to`."""

    wire: ClassVar[Wire] = _wire("redone", seen=True)
    to: int


class ConversationInspected(Event, frozen=True, kw_only=True):
    """Somebody who operates this installation was shown what was said, as its learner allows. It is not part of the conversation."""

    wire: ClassVar[Wire] = Wire(name="practice.conversation_inspected", key="conversation", subject="account", seen=True)
    conversation: UUID
    account: AccountId


class StreamsRestored(Event, frozen=True, kw_only=True):
    """The database was restored from a backup; ids of streams begin with `generation` from now on."""

    wire: ClassVar[Wire] = Wire(name="practice.streams_restored")
    generation: int


class ScenarioWritten(Event, frozen=True, kw_only=True):
    """A learner wrote a scenario of their own, or wrote it anew."""

    wire: ClassVar[Wire] = Wire(name="practice.scenario_written", key="scenario", subject="account", seen=True)
    scenario: UUID
    account: AccountId
    version: int


class ScenariosRequested(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="practice.scenarios_requested", key="account", subject="account", seen=True)
    account: AccountId
    request: UUID
    count: int


class ScenariosGiven(Event, frozen=True, kw_only=True):
    """A learner has these scenarios more; `request` is that of the event before; the `first` set has one of its own, always the same."""

    wire: ClassVar[Wire] = Wire(name="practice.scenarios_given", key="account", subject="account", seen=True)
    account: AccountId
    request: UUID
    scenarios: tuple[UUID, ...]
    first: bool


class ScenariosSeeded(Event, frozen=True, kw_only=True):
    """The scenarios of this build were brought into the database; the numbers of those added, changed and withdrawn."""

    wire: ClassVar[Wire] = Wire(name="practice.scenarios_seeded")
    added: int
    changed: int
    withdrawn: int


class ScenariosImported(Event, frozen=True, kw_only=True):
    """An admin brought scenarios in from a file, for everybody; the numbers of those added and changed."""

    wire: ClassVar[Wire] = Wire(name="practice.scenarios_imported")
    added: int
    changed: int
