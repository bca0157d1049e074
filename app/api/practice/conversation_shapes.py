"""What requests about conversations send, and what lists of them answer."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from db.reads.practice import Call, ConversationHead
from domain.practice.commands import Accepted
from domain.practice.events import Difficulty, FeedbackMode, Redone, Settings, Undone, WhileBusy
from domain.practice.state import Recorded

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=120, examples=["Freight rates with Ms Tam"])]
Said = Annotated[str, msgspec.Meta(min_length=1, max_length=2000, examples=["Could we look at the rate for the second quarter?"])]
Tag = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)",
        max_length=35,
        description="A BCP 47 tag. Left out, it is that of your onboarding.",
        examples=["zh-Hant"],
    ),
]


class SettingsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    feedback: Annotated[FeedbackMode, msgspec.Meta(description="When the coach speaks: never, after each turn, or after the scene.")] = (
        "after_turn"
    )
    difficulty: Difficulty = "normal"
    explanation_language: Tag | None = None
    while_busy: Annotated[
        WhileBusy, msgspec.Meta(description="What becomes of a turn that is sent while the partner is still answering.")
    ] = "refuse"

    def chosen(self) -> Settings:
        return Settings(
            feedback=self.feedback,
            difficulty=self.difficulty,
            explanation_language=self.explanation_language or "",
            while_busy=self.while_busy,
        )


class ConversationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    scenario: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=120, description="The id or the slug of a scenario.", examples=["real_estate_negotiations"]),
    ]
    settings: SettingsRequest = SettingsRequest()


class ChangeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    title: Title | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    support: Annotated[bool, msgspec.Meta(description="Whether those who operate this installation may read it.")] | UnsetType = UNSET


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Said


class ForkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at_version: Annotated[int, msgspec.Meta(ge=1, description="A version of the conversation; `GET …/versions` lists them.")]


class TurnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The partner's answer comes over `stream`."""

    turn_id: UUID
    version: int
    queued: bool
    stream: Annotated[str, msgspec.Meta(examples=["/api/v2/conversations/0199a8a0-0000-7000-8000-000000000000/events"])]

    @classmethod
    def of(cls, accepted: Accepted, stream: str) -> "TurnAnswer":
        return cls(turn_id=accepted.turn, version=accepted.version, queued=accepted.queued, stream=stream)


class ConversationItem(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    scenario: UUID
    title: Title | None
    turns: int
    phase: Annotated[str, msgspec.Meta(examples=["idle"])]
    ended: bool
    score: int | None
    archived: bool
    support: bool
    parent: UUID | None
    parent_version: int | None
    version: int
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, head: ConversationHead, title: str | None) -> "ConversationItem":
        known: dict[str, Any] = {name: getattr(head, name) for name in cls.__struct_fields__ if name != "title"}
        return cls(**known, title=title)


class VersionItem(msgspec.Struct, frozen=True, kw_only=True):
    """`to` is where undo, redo or a fork has taken the scene."""

    version: int
    type: Annotated[str, msgspec.Meta(examples=["practice.turn_accepted"])]
    at: Instant
    turn: UUID | None
    to: int | None

    @classmethod
    def of(cls, recorded: Recorded) -> "VersionItem":
        event = recorded.event
        to = event.to if isinstance(event, Undone | Redone) else None
        return cls(version=event.version, type=event.wire.name, at=recorded.at, turn=getattr(event, "turn", None), to=to)


class AttemptItem(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a model: `outcome` is reserved, running, answered, stopped, failed or orphaned.

    `purpose` is whose it was. `text` is what was shown of the partner's answer; what the coach said is the `feedback` of the turn.
    """

    purpose: Literal["partner", "coach"]
    attempt: int
    model: Annotated[str, msgspec.Meta(examples=["scripted/1"])]
    outcome: Annotated[str, msgspec.Meta(examples=["answered"])]
    error: Annotated[str, msgspec.Meta(examples=["service.nothing_said"])] | None
    tokens_in: int | None
    tokens_out: int | None
    begun_at: Instant
    ended_at: Instant | None
    text: Annotated[str, msgspec.Meta(examples=["Certainly. What volume do you expect?"])]

    @classmethod
    def of(cls, call: Call, text: str) -> "AttemptItem":
        known: dict[str, Any] = {name: getattr(call, name) for name in cls.__struct_fields__ if name != "text"}
        return cls(**known, text=text)
