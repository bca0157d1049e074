"""What requests and answers about a journey look like."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta as Shape

from domain.onboarding.commands import (
    Proficiency,
    Status,
    Timeline,
)
from domain.onboarding.steps import Step

Language = Annotated[str, Shape(examples=["zh-Hant"], description="The id or the slug (a BCP 47 tag) of an entry of GET /languages.")]
Ref = Annotated[str, Shape(examples=["banking_finance"], description="The id or the slug of an entry of the catalogue.", max_length=100)]
Instant = Annotated[datetime, Shape(tz=True)]
OwnName = Annotated[str, Shape(examples=["Auditors of the head office"], description="2 to 100 characters.")]
Note = Annotated[str, Shape(examples=["They visit twice a year."], description="At most 500 characters.")]


class NativeLanguageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`explanation_language` is that in which things are explained; the native one when it is left out."""

    language: Language
    proficiency: Annotated[Proficiency, Shape(description="How well the target language is spoken already: a CEFR level.")]
    target_language: Language = "en"
    explanation_language: Language | None = None


class LearningGoalsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    goals: Annotated[
        tuple[Annotated[str, Shape(examples=["Lead a meeting"])], ...],
        Shape(min_length=1, max_length=10, examples=[["Lead a meeting"]], description="1 to 10 of them, each of 1 to 200 characters."),
    ]
    minutes_a_day: Annotated[int, Shape(ge=5, le=240, examples=[15])]
    timeline: Timeline


class IndustryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    industry: Ref


class CustomRoleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: Annotated[str, Shape(examples=["Ship chandler"], description="3 to 100 characters.")]
    description: Annotated[str, Shape(examples=["I supply ships with food and spare parts."], description="10 to 1000 characters.")]
    hierarchy_level: Annotated[str, Shape(examples=["associate"], description="A slug of GET /hierarchy-levels.", max_length=100)]


class RoleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of the two: a role of the catalogue, or one that it lacks."""

    role: Ref | None = None
    custom: CustomRoleRequest | None = None


class CustomName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: OwnName
    description: Note | None = None


class PartnerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of the two: a partner of the catalogue, or one of your own."""

    partner: Ref | None = None
    custom: CustomName | None = None


class PartnersRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    partners: Annotated[
        tuple[PartnerRequest, ...], Shape(min_length=1, max_length=10, description="All of them, the most important first.")
    ]


class SituationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of the two: a situation of the catalogue, or one of your own."""

    situation: Ref | None = None
    custom: CustomName | None = None


Situations = Annotated[
    tuple[SituationRequest, ...], Shape(min_length=1, max_length=20, description="All of them, the most important first.")
]


class SituationsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    situations: Situations


class PartnerSituationsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    partner: Ref
    situations: Situations


class AllSituationsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    partners: Annotated[
        tuple[PartnerSituationsRequest, ...], Shape(min_length=1, max_length=10, description="Each of your partners, in any order.")
    ]


class RemindersRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Annotated[str, Shape(examples=["banking_finance"])]
    name: Annotated[str, Shape(examples=["Banking & Finance"])]


class NativeLanguageShown(msgspec.Struct, frozen=True, kw_only=True):
    language: EntryShown
    proficiency: Proficiency
    target_language: EntryShown
    explanation_language: EntryShown


class LearningGoalsShown(msgspec.Struct, frozen=True, kw_only=True):
    goals: Annotated[list[str], Shape(examples=[["Lead a meeting"]])]
    minutes_a_day: Annotated[int, Shape(examples=[15])]
    timeline: Timeline


class RoleShown(msgspec.Struct, frozen=True, kw_only=True):
    """`slug` is null for one of your own, and so is `description` for one of the catalogue."""

    id: UUID
    slug: Annotated[str | None, Shape(examples=["relationship_manager"])]
    title: Annotated[str, Shape(examples=["Relationship Manager"])]
    description: Annotated[str | None, Shape(examples=["I supply ships with food and spare parts."])]
    hierarchy_level: Annotated[str | None, Shape(examples=["manager"])]
    custom: bool


class SituationShown(msgspec.Struct, frozen=True, kw_only=True):
    """`slug` is null for one of your own. Priority 1 is the most important."""

    id: UUID
    slug: Annotated[str | None, Shape(examples=["meetings"])]
    name: Annotated[str, Shape(examples=["Meetings"])]
    description: Annotated[str | None, Shape(examples=["They visit twice a year."])]
    custom: bool
    priority: Annotated[int, Shape(examples=[1])]


class PartnerShown(SituationShown, frozen=True, kw_only=True):
    situations: list[SituationShown]


class AnswersShown(msgspec.Struct, frozen=True, kw_only=True):
    """What has not been answered is null, or an empty list."""

    native_language: NativeLanguageShown | None
    learning_goals: LearningGoalsShown | None
    industry: EntryShown | None
    role: RoleShown | None
    partners: list[PartnerShown]


class GapShown(msgspec.Struct, frozen=True, kw_only=True):
    step: Step
    partner: UUID | None


class VoidShown(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that does not hold any more, because another step was answered anew, and that has not been given again."""

    step: Step
    partner: UUID | None
    because: Step


class RemindersShown(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool


class Onboarding(msgspec.Struct, frozen=True, kw_only=True):
    """`minutes_left` are what most people take. After completion `missing` may name what was made void since."""

    status: Status
    current_step: Step
    next_step: Step | None
    done: list[Step]
    missing: list[GapShown]
    percent: Annotated[int, Shape(examples=[50])]
    minutes_left: Annotated[int, Shape(examples=[6])]
    answers: AnswersShown
    void: list[VoidShown]
    reminders: RemindersShown
    started_at: Instant | None
    active_at: Instant | None
    completed_at: Instant | None
