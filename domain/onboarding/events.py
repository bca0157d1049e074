"""What has happened on a learner's journey. Ids and facts only: what somebody wrote is read from the journey, by those who may."""

from typing import ClassVar
from uuid import UUID

from bus.message import Event, Wire
from domain.onboarding.steps import Step
from domain.types import AccountId


class JourneyBegun(Event, frozen=True, kw_only=True):
    """There is a journey now; nothing need have been answered."""

    wire: ClassVar[Wire] = Wire(name="onboarding.begun", key="account", subject="account", seen=True)
    account: AccountId


class StepAnswered(Event, frozen=True, kw_only=True):
    """A step that had no answer has one. `learning_goals` is a step that nobody must take."""

    wire: ClassVar[Wire] = Wire(name="onboarding.step_answered", key="account", subject="account", seen=True)
    account: AccountId
    step: Step


class AnswerChanged(Event, frozen=True, kw_only=True):
    """`void` names the answers that do not hold any more because of it: `role`, or `situations/<id of the partner>`."""

    wire: ClassVar[Wire] = Wire(name="onboarding.answer_changed", key="account", subject="account", seen=True)
    account: AccountId
    step: Step
    void: tuple[str, ...]


class CustomRoleDescribed(Event, frozen=True, kw_only=True):
    """A learner described a role that the catalogue lacks, or described it anew. `hierarchy_level` is a slug of the catalogue."""

    wire: ClassVar[Wire] = Wire(name="onboarding.custom_role_described", key="account", subject="account", seen=True)
    account: AccountId
    role: UUID
    industry: UUID
    hierarchy_level: str


class JourneyPaused(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="onboarding.paused", key="account", subject="account", seen=True)
    account: AccountId


class JourneyResumed(Event, frozen=True, kw_only=True):
    """By an answer, after a pause or after it had been given up for abandoned."""

    wire: ClassVar[Wire] = Wire(name="onboarding.resumed", key="account", subject="account", seen=True)
    account: AccountId


class JourneyReset(Event, frozen=True, kw_only=True):
    """Every answer is gone, and with them that it had been completed."""

    wire: ClassVar[Wire] = Wire(name="onboarding.reset", key="account", subject="account", seen=True)
    account: AccountId


class RemindersChanged(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="onboarding.reminders_changed", key="account", subject="account", seen=True)
    account: AccountId
    enabled: bool


class LearnerReminded(Event, frozen=True, kw_only=True):
    """A reminder was handed to the mail server."""

    wire: ClassVar[Wire] = Wire(name="onboarding.reminded", key="account", subject="account", seen=True)
    account: AccountId


class JourneyAbandoned(Event, frozen=True, kw_only=True):
    """Nothing was answered for two weeks. The answers stay."""

    wire: ClassVar[Wire] = Wire(name="onboarding.abandoned", key="account", subject="account", seen=True)
    account: AccountId


class OnboardingCompleted(Event, frozen=True, kw_only=True):
    """The work profile is whole: read it by `db.reads.onboarding.work_profile`. Once for each journey, unless it is reset."""

    wire: ClassVar[Wire] = Wire(name="onboarding.completed", key="account", subject="account", seen=True)
    account: AccountId
    industry: UUID
    role: UUID
    partners: tuple[UUID, ...]
