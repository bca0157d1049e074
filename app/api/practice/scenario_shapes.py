"""What requests and answers about scenarios look like."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta as Shape

from bus.message import FieldError
from db.reads.scenarios import ListedScenario
from domain.practice.choosing import Because
from domain.practice.scenario import Level, Scenario
from domain.practice.seeds import own_problems

VISIBLE = r"\S"
SHORT, LINE = "1 to 120 characters, not only spaces.", "2 to 600 characters, not only spaces."
LINE_EXAMPLE = "I was told the room would be ready at three."

Instant = Annotated[datetime, Shape(tz=True)]
Version = Annotated[int, Shape(examples=[1], description="Grows with every change.")]
Line = Annotated[str, Shape(min_length=2, max_length=600, pattern=VISIBLE, examples=[LINE_EXAMPLE], description=LINE)]
Phrase = Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["upgrade"], description=SHORT)]
ScenarioSlug = Annotated[
    str | None,
    Shape(examples=["hotels_hospitality_conflict_resolution"], description="Null for one that a learner wrote."),
]
Title = Annotated[
    str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["A guest whose room is not ready"], description=SHORT)
]
Industry = Annotated[str | None, Shape(examples=["hotels_hospitality"], description="A slug of the catalogue; null for any.")]
Situation = Annotated[str | None, Shape(examples=["conflict_resolution"], description="A slug of the catalogue; null for any.")]
Partner = Annotated[str | None, Shape(examples=["clients"], description="A slug of the catalogue; null for any.")]
IndustryRef = Annotated[str, Shape(examples=["hotels_hospitality"], max_length=100, description="The id or the slug of one.")]
SituationRef = Annotated[str, Shape(examples=["conflict_resolution"], max_length=100, description="The id or the slug of one.")]
PartnerRef = Annotated[str, Shape(examples=["clients"], max_length=100, description="The id or the slug of one.")]
Opening = Annotated[
    str,
    Shape(
        min_length=2,
        max_length=600,
        pattern=VISIBLE,
        examples=["Excuse me. My room was to be ready at three."],
        description=LINE,
    ),
]
Constraints = Annotated[tuple[Line, ...], Shape(max_length=10, description="What the learner may not do, or must work with.")]
UsefulPhrases = Annotated[tuple[Line, ...], Shape(max_length=20, description="What the learner may say.")]
CulturalNotes = Annotated[tuple[Line, ...], Shape(max_length=10, description="What is different where the partner comes from.")]


class PersonaShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The partner."""

    name: Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["Laura Bennett"], description=SHORT)]
    role: Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["A guest on business"], description=SHORT)]
    mood: Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["Tired and impatient"], description=SHORT)]
    speech_style: Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["Short and direct"], description=SHORT)]


class LearnerShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the learner plays, and what they want to reach."""

    role: Annotated[str, Shape(min_length=1, max_length=120, pattern=VISIBLE, examples=["Front desk agent"], description=SHORT)]
    goal: Annotated[
        str, Shape(min_length=2, max_length=600, pattern=VISIBLE, examples=["Keep the guest, without promising a room."], description=LINE)
    ]


class CriterionShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Met once the learner has said any of these words or phrases."""

    id: Annotated[
        str,
        Shape(
            pattern=r"^[a-z0-9]+(?:_[a-z0-9]+)*$(?!\n)",
            max_length=100,
            examples=["offers"],
            description="Lower-case words joined by underscores. Your own are kept as `c1`, `c2` and so on, in their order.",
        ),
    ]
    text: Annotated[
        str, Shape(min_length=2, max_length=600, pattern=VISIBLE, examples=["Offers something in place of the room."], description=LINE)
    ]
    any: Annotated[
        tuple[Phrase, ...],
        Shape(min_length=2, max_length=20, examples=[["upgrade", "drink in the bar"]], description="With letters from a to z, or digits."),
    ]


class RangeShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Levels of the Common European Framework for which this is neither too easy nor too hard; both ends included."""

    lowest: Annotated[Level, Shape(examples=["B1"])]
    highest: Annotated[Level, Shape(examples=["B2"])]


class ReasonShape(msgspec.Struct, frozen=True, kw_only=True):
    """Slugs of what the learner has named in onboarding; null is their own name for it, or what does not fit."""

    situation: Annotated[str | None, Shape(examples=["conflict_resolution"])]
    partner: Annotated[str | None, Shape(examples=["clients"])]
    because: Annotated[
        Because, Shape(description="What of it the scenario fits; `industry` and `variety` are for when nothing nearer is left.")
    ]


class GivenShape(msgspec.Struct, frozen=True, kw_only=True):
    position: Annotated[int, Shape(examples=[1], description="From 1, in the order in which they are to be practised.")]
    reason: ReasonShape


class ScenarioItem(msgspec.Struct, frozen=True, kw_only=True):
    """`given` is null for what was not chosen for the learner."""

    id: UUID
    slug: ScenarioSlug
    title: Title
    industry: Industry
    situation: Situation
    partner: Partner
    persona: PersonaShape
    learner: LearnerShape
    cefr: RangeShape
    own: Annotated[bool, Shape(description="Whether the learner wrote it.")]
    given: GivenShape | None
    version: Version

    @classmethod
    def of(cls, found: ListedScenario, scenario: Scenario) -> "ScenarioItem":
        given = None if found.position is None else {"position": found.position, "reason": msgspec.to_builtins(found.reason)}
        return msgspec.convert(_told(scenario) | _kept(found) | {"given": given}, cls)


class ScenarioDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, but for how it is played."""

    id: UUID
    slug: ScenarioSlug
    title: Title
    industry: Industry
    situation: Situation
    partner: Partner
    persona: PersonaShape
    learner: LearnerShape
    constraints: Constraints
    success_criteria: tuple[CriterionShape, ...]
    cefr: RangeShape
    opening: Opening
    useful_phrases: UsefulPhrases
    cultural_notes: CulturalNotes
    own: Annotated[bool, Shape(description="Whether the learner wrote it.")]
    version: Version
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, found: ListedScenario, scenario: Scenario) -> "ScenarioDetail":
        times = {"created_at": found.created_at, "updated_at": found.updated_at}
        return msgspec.convert(_told(scenario) | _kept(found) | times, cls)


class ScenarioRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The partner opens, and a language model plays them by what is written here. Null is any industry, situation or partner."""

    title: Title
    industry: IndustryRef | None = None
    situation: SituationRef | None = None
    partner: PartnerRef | None = None
    persona: PersonaShape
    learner: LearnerShape
    constraints: Constraints = ()
    success_criteria: Annotated[tuple[CriterionShape, ...], Shape(min_length=1, max_length=8)]
    cefr: RangeShape
    opening: Opening
    useful_phrases: UsefulPhrases = ()
    cultural_notes: CulturalNotes = ()

    @staticmethod
    def rules(values: Mapping[str, Any], now: datetime) -> list[FieldError]:  # noqa: ARG004 - nothing here depends on the time
        cefr: RangeShape | None = values.get("cefr")
        criteria: tuple[CriterionShape, ...] = values.get("success_criteria", ())
        return list(own_problems(None if cefr is None else (cefr.lowest, cefr.highest), [(one.id, one.any) for one in criteria]))

    def scenario(self) -> Scenario:
        """Whoever keeps it gives it a slug and a version."""
        places = {"industry": self.industry, "situation": self.situation, "partner": self.partner}
        told = msgspec.convert(msgspec.to_builtins(self) | dict.fromkeys(places) | {"slug": "own"}, Scenario)
        return msgspec.structs.replace(told, **places)  # Which may be ids, and so no slugs yet.


class ScenarioWrittenShape(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    version: Version
    created_at: Instant
    updated_at: Instant


class ScenariosRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Shape(ge=1, le=10, examples=[3], description="How many, at most.")] = 3


class ScenariosRequested(msgspec.Struct, frozen=True, kw_only=True):
    """They come later: `practice.scenarios_given` with this `request` says which, on the stream."""

    request: UUID
    count: Annotated[int, Shape(examples=[3])]
    stream: Annotated[str, Shape(examples=["/api/v2/events"])]


def _told(scenario: Scenario) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(scenario)
    return told


def _kept(found: ListedScenario) -> dict[str, Any]:
    return {"id": found.id, "slug": found.slug, "own": found.owner is not None, "version": found.version}
