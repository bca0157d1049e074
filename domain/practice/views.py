"""A conversation as its learner sees it: opened, and without what only the fold needs."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from bus.message import Personal
from domain.practice.coach import Span
from domain.practice.events import Settings
from domain.practice.model import Conversation
from domain.practice.report import Recommendation, Report
from domain.practice.state import Phase, Status, Turn

Open = Callable[[Personal], str]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Met = Annotated[tuple[str, ...], msgspec.Meta(examples=[["offer"]])]


class TurnView(msgspec.Struct, frozen=True, kw_only=True):
    """What the learner said, and the partner's answer. `feedback` is None until the coach has looked, and empty when there was nothing."""

    id: UUID
    number: int
    text: Annotated[str, msgspec.Meta(examples=["Could we look at the rate for the second quarter?"])]
    said_at: Instant
    status: Status
    attempt: int
    answer: Annotated[str, msgspec.Meta(examples=["Certainly. What volume do you expect?"])] | None
    answered_at: Instant | None
    model: Annotated[str, msgspec.Meta(examples=["scripted/1"])] | None
    error: Annotated[str, msgspec.Meta(examples=["service.nothing_said"])] | None
    met: Met
    feedback: tuple[Span, ...] | None


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    report: Report
    recommended: tuple[Recommendation, ...]


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """As of `version`: the scene is as of version `head`, which undo and redo move. `met` are ids of the scenario's success criteria."""

    id: UUID
    scenario: UUID
    scenario_version: int
    title: Annotated[str, msgspec.Meta(examples=["Freight rates with Ms Tam"])] | None
    settings: Settings
    level: Annotated[str, msgspec.Meta(examples=["B1"])]
    phase: Phase
    ended: Literal["partner", "learner"] | None
    turns: tuple[TurnView, ...]
    met: Met
    mistakes: int
    score: int | None
    report: Report | None
    recommended: tuple[Recommendation, ...]
    summary: Annotated[str, msgspec.Meta(examples=["They spoke about the rate for the second quarter."])] | None
    archived: bool
    support: bool
    parent: UUID | None
    parent_version: int | None
    version: int
    head: int
    can_undo: bool
    can_redo: bool
    tokens_in: int
    tokens_out: int
    created_at: Instant
    updated_at: Instant


_SPANS = msgspec.json.Decoder(tuple[Span, ...])
_REPORT = msgspec.json.Decoder(ReportView)


def viewed(conversation: Conversation, opened: Open) -> ConversationView:
    state, content = conversation.state, conversation.content
    written = None if content.report is None else _REPORT.decode(opened(content.report))
    return ConversationView(
        id=state.id,
        scenario=state.scenario,
        scenario_version=state.scenario_version,
        title=None if state.title is None else opened(state.title),
        settings=state.settings,
        level=state.level,
        phase=conversation.phase,
        ended=content.ended,
        turns=tuple(_turn(turn, number, opened) for number, turn in enumerate(content.turns, 1)),
        met=content.met,
        mistakes=content.mistakes,
        score=content.score,
        report=None if written is None else written.report,
        recommended=() if written is None else written.recommended,
        summary=None if content.summary is None else opened(content.summary),
        archived=state.archived,
        support=state.support,
        parent=state.parent,
        parent_version=state.parent_version,
        version=state.version,
        head=state.head,
        can_undo=bool(state.undo),
        can_redo=bool(state.redo),
        tokens_in=state.tokens_in,
        tokens_out=state.tokens_out,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


def spans_of(turn: Turn, opened: Open) -> tuple[Span, ...] | None:
    return None if turn.feedback is None else _SPANS.decode(opened(turn.feedback))


def _turn(turn: Turn, number: int, opened: Open) -> TurnView:
    return TurnView(
        id=turn.id,
        number=number,
        text=opened(turn.text),
        said_at=turn.at,
        status=turn.status,
        attempt=turn.attempt,
        answer=None if turn.answer is None else opened(turn.answer),
        answered_at=turn.answered_at,
        model=turn.model,
        error=turn.error,
        met=turn.met,
        feedback=spans_of(turn, opened),
    )
