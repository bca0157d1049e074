"""What may be asked of a journey, and what is answered. Text is as it was typed; the rules normalise it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from bus.message import Command
from domain.onboarding.steps import Step
from domain.types import AccountId

Proficiency = Literal["A1", "A2", "B1", "B2", "C1", "C2"]
"""A level of the Common European Framework of Reference for Languages."""

Timeline = Literal["1_month", "3_months", "6_months", "1_year"]
Status = Literal["not_started", "in_progress", "paused", "abandoned", "completed"]


class NativeLanguage(msgspec.Struct, frozen=True, kw_only=True):
    """Slugs of the catalogue, that is BCP 47 tags. Explanations are in `explanation_language`, whatever the screens are in."""

    language: str
    proficiency: Proficiency
    target_language: str
    explanation_language: str


class LearningGoals(msgspec.Struct, frozen=True, kw_only=True):
    goals: tuple[str, ...]
    minutes_a_day: int
    timeline: Timeline


class ChosenRole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A role of the catalogue, or, with a title, one that the learner described."""

    id: UUID
    title: str | None = None
    description: str | None = None
    hierarchy_level: str | None = None

    @property
    def custom(self) -> bool:
        return self.title is not None


class ChosenSituation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A situation of the catalogue, or, with a name, one of the learner's own."""

    id: UUID
    name: str | None = None
    description: str | None = None


class ChosenPartner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A partner of the catalogue, or, with a name, one of the learner's own; and the situations they meet in, the most important first."""

    id: UUID
    name: str | None = None
    description: str | None = None
    situations: tuple[ChosenSituation, ...] = ()


class Answers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a learner has said; partners by priority."""

    native_language: NativeLanguage | None = None
    learning_goals: LearningGoals | None = None
    industry: UUID | None = None
    role: ChosenRole | None = None
    partners: tuple[ChosenPartner, ...] = ()


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step without an answer; for situations, of which partner, unless there is none yet."""

    step: Step
    partner: UUID | None = None


class Void(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer that does not hold any more, and the step whose new answer made it void."""

    step: Step
    partner: UUID | None = None
    because: Step


class JourneyState(msgspec.Struct, frozen=True, kw_only=True):
    """A journey as its learner sees it; `minutes_left` are those that most people take."""

    status: Status
    current_step: Step
    next_step: Step | None
    done: tuple[Step, ...]
    missing: tuple[Gap, ...]
    percent: int
    minutes_left: int
    answers: Answers
    void: tuple[Void, ...]
    reminders: bool
    started_at: datetime | None
    active_at: datetime | None
    completed_at: datetime | None
    version: int


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """One of the catalogue, by id or slug, or one's own, by its name."""

    ref: str | None = None
    name: str | None = None
    description: str | None = None


class Partner(Situation, frozen=True, kw_only=True):
    """The same for a partner."""


class SituationsOf(msgspec.Struct, frozen=True, kw_only=True):
    """`partner` is an id, or the slug of one of the catalogue."""

    partner: str
    situations: tuple[Situation, ...]


class ChooseNativeLanguage(Command[JourneyState], frozen=True, kw_only=True):
    """`expected` are the versions that the client would change, here and below; None is any."""

    account: AccountId
    expected: tuple[int, ...] | None
    language: str
    proficiency: Proficiency
    target_language: str
    explanation_language: str | None


class SetLearningGoals(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId
    expected: tuple[int, ...] | None
    goals: tuple[str, ...]
    minutes_a_day: int
    timeline: Timeline


class ChooseIndustry(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId
    expected: tuple[int, ...] | None
    industry: str


class ChooseRole(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId
    expected: tuple[int, ...] | None
    role: str


class DescribeRole(Command[JourneyState], frozen=True, kw_only=True):
    """A role that the catalogue lacks."""

    account: AccountId
    expected: tuple[int, ...] | None
    title: str
    description: str
    hierarchy_level: str


class ChoosePartners(Command[JourneyState], frozen=True, kw_only=True):
    """All of them, the most important first."""

    account: AccountId
    expected: tuple[int, ...] | None
    partners: tuple[Partner, ...]


class ChooseSituations(Command[JourneyState], frozen=True, kw_only=True):
    """For each partner that is named all of its situations. `every` says that all partners must be."""

    account: AccountId
    expected: tuple[int, ...] | None
    partners: tuple[SituationsOf, ...]
    every: bool


class SwitchReminders(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId
    expected: tuple[int, ...] | None
    enabled: bool


class PauseJourney(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId


class ResetJourney(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId


class CompleteOnboarding(Command[JourneyState], frozen=True, kw_only=True):
    account: AccountId


class NoticeIdleJourneys(Command[None], frozen=True, kw_only=True):
    """On a schedule: send a reminder to those who have stopped for a day, and give up those who have for two weeks."""


class RemindLearner(Command[None], frozen=True, kw_only=True):
    """Looks again whether it still should, and whether it may at this hour."""

    account: AccountId


class AbandonJourney(Command[None], frozen=True, kw_only=True):
    """Looks again too."""

    account: AccountId
