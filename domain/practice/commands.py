"""What may be asked of practice, and what is answered. Text is as it was typed: it is sealed before it is kept, and no answer has any."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from bus.message import Command, FieldError
from domain.practice.coach import Span
from domain.practice.events import Settings
from domain.practice.prompt import Scene
from domain.practice.scenario import Scenario
from domain.practice.state import Phase
from domain.types import AccountId


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A new conversation. The partner has said the opening line of the scenario."""

    conversation: UUID
    version: int
    scenario: UUID
    opening: Annotated[str, msgspec.Meta(examples=["Good morning. You wanted to speak about our rates?"])]
    settings: Settings
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    parent: UUID | None = None
    parent_version: int | None = None


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Where a conversation stands: its scene is as of version `head`, and `phase` says whether an answer is on its way."""

    conversation: UUID
    version: int
    head: int
    phase: Phase
    can_undo: bool
    can_redo: bool


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    turn: UUID
    version: int
    queued: bool


class StartConversation(Command[Started], frozen=True, kw_only=True):
    """`scenario` is an id, or the slug of one that everybody has."""

    account: AccountId
    scenario: str
    settings: Settings


class ChangeConversation(Command[Moved], frozen=True, kw_only=True):
    """What is left out stays. `expected` are the versions that the client would change; None is any."""

    account: AccountId
    conversation: UUID
    expected: tuple[int, ...] | None
    title: str | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    support: bool | UnsetType = UNSET


class DeleteConversation(Command[None], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID
    expected: tuple[int, ...] | None


class SubmitTurn(Command[Accepted], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID
    text: str


class StopAnswer(Command[Moved], frozen=True, kw_only=True):
    """What is being answered, and whatever waits for an answer."""

    account: AccountId
    conversation: UUID


class RetryTurn(Command[Accepted], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID


class EndScene(Command[Moved], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID


class UndoAction(Command[Moved], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID


class RedoAction(Command[Moved], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID


class ForkConversation(Command[Started], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID
    at_version: int


class AnswerTurn(Command[None], frozen=True, kw_only=True):
    """Have the partner answer what waits in a conversation, or what another worker has left; quiet when there is nothing."""

    conversation: UUID


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt: `fence` is what every write of its text must show, `key` the learner's, wrapped."""

    turn: UUID
    attempt: int
    fence: int
    scene: Scene
    key: bytes


class BeginAttempt(Command[Begun | None], frozen=True, kw_only=True):
    """None when there is nothing to answer, or another worker holds it. With a `fence` it follows one's own attempt that failed."""

    conversation: UUID
    fence: int | None
    model: str


class CompleteAttempt(Command[bool], frozen=True, kw_only=True):
    """Whether it still counted: the turn may have been stopped or taken over. `last`: the scene has ended with it."""

    conversation: UUID
    fence: int
    text: str
    model: str
    tokens_in: int
    tokens_out: int
    met: tuple[str, ...]
    last: bool


class FailAttempt(Command[bool], frozen=True, kw_only=True):
    """Whether it still counted. `final`: no other attempt follows. Without a fence the turn that waits fails, before anybody was asked."""

    conversation: UUID
    fence: int | None
    code: str
    tokens_out: int
    final: bool


class CoachTurn(Command[None], frozen=True, kw_only=True):
    """Have the coach say what was wrong in a turn; quiet when it has."""

    account: AccountId
    conversation: UUID
    turn: UUID


class Coaching(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the coach's model; `question` is its user message."""

    call: UUID
    attempt: int
    question: str


class BeginCoaching(Command[Coaching | None], frozen=True, kw_only=True):
    """None when there is nothing to ask: the turn is gone, or has its feedback, be it that which is given now without the model."""

    account: AccountId
    conversation: UUID
    turn: UUID
    model: str


class GiveFeedback(Command[None], frozen=True, kw_only=True):
    """What the coach finds by itself, and of `spans`, which are a model's, what applies. Nothing when the `call` does not count any more.

    The tokens are those of the call; None are as many as we counted. `error` is why it failed.
    """

    account: AccountId
    conversation: UUID
    turn: UUID
    call: UUID | None = None
    spans: tuple[Span, ...] = ()
    tokens_in: int | None = None
    tokens_out: int = 0
    error: str | None = None


class SummariseConversation(Command[None], frozen=True, kw_only=True):
    account: AccountId
    conversation: UUID


class WriteReport(Command[None], frozen=True, kw_only=True):
    """After the scene: what the coach has kept back until then, and the report."""

    account: AccountId
    conversation: UUID


class ComposeReport(Command[None], frozen=True, kw_only=True):
    """The report, of what the coach has found; to a turn that has no feedback yet it says now what it finds by itself."""

    account: AccountId
    conversation: UUID


class KeepStreams(Command[None], frozen=True, kw_only=True):
    """On a schedule: room for the streamed text of the coming days, and none for what is older than is kept; and an end for calls of the
    coach that nobody has come back to.
    """


class InspectConversation(Command[bool], frozen=True, kw_only=True):
    """Whether its text may be shown to those who operate this installation; if so, its learner is told that it was."""

    conversation: UUID


class RestoreStreams(Command[int], frozen=True, kw_only=True):
    """After the database was restored from a backup: a new generation, by which every reader learns to begin anew."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    scenario: UUID
    version: int
    created_at: datetime
    updated_at: datetime


class WriteScenario(Command[Written], frozen=True, kw_only=True):
    """One's own: a new one, or with an id that one anew."""

    account: AccountId
    scenario: UUID | None
    expected: tuple[int, ...] | None
    written: Scenario


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    request: UUID
    count: int


class RequestScenarios(Command[Requested], frozen=True, kw_only=True):
    """More of them, chosen for the learner's work profile; those come later, and are told of on the feed."""

    account: AccountId
    count: int


class GiveScenarios(Command[None], frozen=True, kw_only=True):
    """What a request asked for, or the `first` set of a learner; a request is answered once, however often this runs."""

    account: AccountId
    request: UUID
    count: int
    first: bool = False


class SeedScenarios(Command[None], frozen=True, kw_only=True):
    """Bring the scenarios of this build into the database; a repetition changes nothing."""


class ScenarioRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a file, counted from 1. `wrong` is what could not be read, by its place in the row; there is no scenario then."""

    number: int
    scenario: Scenario | None
    wrong: tuple[FieldError, ...] = ()


class ScenariosBrought(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were added, changed something, and changed nothing."""

    added: int
    changed: int
    unchanged: int


class ImportScenarios(Command[ScenariosBrought], frozen=True, kw_only=True):
    """All of them, or none when one is wrong."""

    rows: tuple[ScenarioRow, ...]
