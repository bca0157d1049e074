"""A learner's journey. A method checks, changes, and returns what has happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from bus.message import Event
from domain.errors import FieldError, Invalid, Stale
from domain.onboarding.commands import (
    Answers,
    ChosenPartner,
    ChosenRole,
    ChosenSituation,
    Gap,
    JourneyState,
    LearningGoals,
    NativeLanguage,
    Status,
    Void,
)
from domain.onboarding.errors import AlreadyCompleted, Incomplete, StepNotReached, UnknownPartner
from domain.onboarding.events import (
    AnswerChanged,
    CustomRoleDescribed,
    JourneyAbandoned,
    JourneyBegun,
    JourneyPaused,
    JourneyReset,
    JourneyResumed,
    LearnerReminded,
    OnboardingCompleted,
    RemindersChanged,
    StepAnswered,
)
from domain.onboarding.steps import ANSWERED, LADDER, MINUTES, Step
from domain.types import AccountId

IDLE = timedelta(hours=24)
ABANDONED = timedelta(days=14)
Expected = tuple[int, ...] | None


@dataclass(eq=False, repr=False, kw_only=True)
class Journey:
    """`version` is counted by the mapper, one for every change that is stored; it begins with 1, also where nothing is stored yet.

    `active_at` is when the learner last answered, paused or reset, `created_at` when there was a journey first. `reminded_at` is None
    until a reminder was sent after the last of these.
    """

    account: AccountId
    answers: Answers = field(default_factory=Answers)
    void: tuple[Void, ...] = ()
    reminders: bool = True
    created_at: datetime
    started_at: datetime | None = None
    active_at: datetime | None = None
    reminded_at: datetime | None = None
    paused_at: datetime | None = None
    abandoned_at: datetime | None = None
    completed_at: datetime | None = None
    version: int = 1

    def begin(self) -> tuple[Event, ...]:
        return (JourneyBegun(account=self.account),)

    def choose_native_language(self, answer: NativeLanguage, *, expected: Expected, now: datetime) -> tuple[Event, ...]:
        return self._answer("native_language", msgspec.structs.replace(self.answers, native_language=answer), expected=expected, now=now)

    def set_learning_goals(self, answer: LearningGoals, *, expected: Expected, now: datetime) -> tuple[Event, ...]:
        return self._answer("learning_goals", msgspec.structs.replace(self.answers, learning_goals=answer), expected=expected, now=now)

    def choose_industry(self, industry: UUID, *, expected: Expected, now: datetime) -> tuple[Event, ...]:
        """Roles are those of an industry, so a new one voids the role."""
        changed = msgspec.structs.replace(self.answers, industry=industry)
        if self.answers.industry != industry:
            changed = msgspec.structs.replace(changed, role=None)
        return self._answer("industry", changed, expected=expected, now=now)

    def choose_role(self, role: ChosenRole, *, industry: UUID | None, expected: Expected, now: datetime) -> tuple[Event, ...]:
        """`industry` is that of a role of the catalogue, which must be the learner's. Raises `Invalid` when it is another."""
        if industry is not None and self.answers.industry is not None and industry != self.answers.industry:
            raise Invalid(errors=(FieldError("/role", "other_industry", "This role is of another industry than the one you chose."),))
        described = role.custom and self.answers.role != role
        events = self._answer("role", msgspec.structs.replace(self.answers, role=role), expected=expected, now=now)
        if not described or self.answers.industry is None:
            return events
        level = role.hierarchy_level or ""
        return (*events, CustomRoleDescribed(account=self.account, role=role.id, industry=self.answers.industry, hierarchy_level=level))

    def choose_partners(self, partners: Sequence[ChosenPartner], *, expected: Expected, now: datetime) -> tuple[Event, ...]:
        """Those who stay keep their situations."""
        before = {partner.id: partner.situations for partner in self.answers.partners}
        kept = tuple(msgspec.structs.replace(partner, situations=before.get(partner.id, ())) for partner in partners)
        return self._answer("partners", msgspec.structs.replace(self.answers, partners=kept), expected=expected, now=now)

    def choose_situations(
        self, situations: Mapping[UUID, tuple[ChosenSituation, ...]], *, every: bool, expected: Expected, now: datetime
    ) -> tuple[Event, ...]:
        """Raises `UnknownPartner`; with `every` `Invalid`, also for partners that are not named."""
        own = {partner.id for partner in self.answers.partners}
        strangers = [n for n, partner in enumerate(situations) if partner not in own]
        if strangers and not own:
            self._require_reached("situations")
        if strangers and not every:
            raise UnknownPartner
        if strangers:
            raise Invalid(errors=tuple(FieldError(f"/partners/{n}/partner", "unknown", UnknownPartner.title) for n in strangers))
        left = [partner for partner in self.answers.partners if partner.id not in situations]
        if every and left:
            message = f"Name every partner; {len(left)} of yours are missing: {', '.join(str(partner.id) for partner in left)}."
            raise Invalid(errors=(FieldError("/partners", "missing", message),))
        partners = tuple(
            msgspec.structs.replace(partner, situations=situations.get(partner.id, partner.situations)) for partner in self.answers.partners
        )
        return self._answer("situations", msgspec.structs.replace(self.answers, partners=partners), expected=expected, now=now)

    def switch_reminders(self, *, enabled: bool, expected: Expected) -> tuple[Event, ...]:
        self._require(expected)
        if self.reminders == enabled:
            return ()
        self.reminders = enabled
        return (RemindersChanged(account=self.account, enabled=enabled),)

    def pause(self, *, now: datetime) -> tuple[Event, ...]:
        """Quiet when it is paused already. Raises `AlreadyCompleted`."""
        if self.completed_at is not None:
            raise AlreadyCompleted
        if self.paused_at is not None:
            return ()
        self.paused_at = self.active_at = now
        return (JourneyPaused(account=self.account),)

    def reset(self, *, now: datetime) -> tuple[Event, ...]:
        """Quiet when there is nothing to take back."""
        if self.started_at is None and self.paused_at is None and self.abandoned_at is None:
            return ()
        self.answers, self.void = Answers(), ()
        self.started_at = self.reminded_at = self.paused_at = self.abandoned_at = self.completed_at = None
        self.active_at = now
        return (JourneyReset(account=self.account),)

    def complete(self, *, now: datetime) -> tuple[Event, ...]:
        """Quiet when it is complete already. Raises `Incomplete`, naming everything that is missing."""
        if gaps := self.gaps():
            raise Incomplete(errors=tuple(_missing(gap) for gap in gaps))
        if self.completed_at is not None or self.answers.industry is None or self.answers.role is None:
            return ()
        resumed = self._resume()
        self.completed_at = self.active_at = now
        partners = tuple(partner.id for partner in self.answers.partners)
        return (
            *resumed,
            OnboardingCompleted(account=self.account, industry=self.answers.industry, role=self.answers.role.id, partners=partners),
        )

    def should_be_reminded(self, now: datetime) -> bool:
        """Once for each stretch of a day without an answer; not who paused, has done it all, or wants none."""
        return self.reminders and self.reminded_at is None and not self._rests() and now - self.last_active >= IDLE

    def remind(self, *, now: datetime) -> tuple[Event, ...]:
        if not self.should_be_reminded(now):
            return ()
        self.reminded_at = now
        return (LearnerReminded(account=self.account),)

    def abandon(self, *, now: datetime) -> tuple[Event, ...]:
        """Quiet before its time, and when it is over anyway."""
        if self.completed_at is not None or self.abandoned_at is not None or now - self.last_active < ABANDONED:
            return ()
        self.abandoned_at = now
        return (JourneyAbandoned(account=self.account),)

    @property
    def last_active(self) -> datetime:
        return self.active_at or self.created_at

    def gaps(self) -> tuple[Gap, ...]:
        """What is not answered, in the order of the ladder."""
        found = [Gap(step=step) for step in ANSWERED if step != "situations" and not self._has(step)]
        if not self.answers.partners:
            return (*found, Gap(step="situations"))
        return (*found, *(Gap(step="situations", partner=partner.id) for partner in self.answers.partners if not partner.situations))

    def state(self) -> JourneyState:
        open_steps = {gap.step for gap in self.gaps()}
        completed = self.completed_at is not None
        done: tuple[Step, ...] = tuple(step for step in LADDER[:-1] if (completed if step == "summary" else step not in open_steps))
        current: Step = "completed" if completed else next(step for step in LADDER if step not in done)
        left: list[Step] = [step for step in LADDER[:-1] if step not in done]
        return JourneyState(
            status=self._status(),
            current_step=current,
            next_step=None if completed else LADDER[LADDER.index(current) + 1],
            done=done,
            missing=self.gaps(),
            percent=100 * len(done) // len(LADDER[:-1]),
            minutes_left=sum(MINUTES[step] for step in left),
            answers=self.answers,
            void=self.void,
            reminders=self.reminders,
            started_at=self.started_at,
            active_at=self.active_at,
            completed_at=self.completed_at,
            version=self.version,
        )

    def _status(self) -> Status:
        if self.completed_at is not None:
            return "completed"
        if self.abandoned_at is not None:
            return "abandoned"
        if self.paused_at is not None:
            return "paused"
        return "not_started" if self.started_at is None else "in_progress"

    def _answer(self, step: Step, answers: Answers, *, expected: Expected, now: datetime) -> tuple[Event, ...]:
        """The same answer is quiet, but for going on with what rested. Raises `StepNotReached`, then `Stale` (RFC 9110, 13.2.1)."""
        self._require_reached(step)
        self._require(expected)
        if answers == self.answers:
            if resumed := self._resume():
                self.active_at, self.reminded_at = now, None
            return resumed
        first = not self._has(step)
        before, self.answers = self.answers, answers
        made = self._made_void(step, before)
        self.void = tuple(void for void in (*self.void, *made) if not self._is_answered(void))
        resumed = self._resume()
        self.started_at, self.active_at, self.reminded_at = self.started_at or now, now, None
        if first:
            return (*resumed, StepAnswered(account=self.account, step=step))
        names = tuple(void.step if void.partner is None else f"{void.step}/{void.partner}" for void in made)
        return (*resumed, AnswerChanged(account=self.account, step=step, void=names))

    def _made_void(self, step: Step, before: Answers) -> tuple[Void, ...]:
        if step == "industry" and before.role is not None and self.answers.role is None:
            return (Void(step="role", because="industry"),)
        if step == "partners":
            stay = {partner.id for partner in self.answers.partners}
            gone = [partner for partner in before.partners if partner.situations and partner.id not in stay]
            return tuple(Void(step="situations", partner=partner.id, because="partners") for partner in gone)
        return ()

    def _is_answered(self, void: Void) -> bool:
        """Answered again, or of no account any more: the situations of a partner who left can be answered only when they are back."""
        if void.step == "role":
            return self.answers.role is not None
        return any(partner.id == void.partner and partner.situations for partner in self.answers.partners)

    def _resume(self) -> tuple[Event, ...]:
        if self.paused_at is None and self.abandoned_at is None:
            return ()
        self.paused_at = self.abandoned_at = None
        return (JourneyResumed(account=self.account),)

    def _rests(self) -> bool:
        return self.completed_at is not None or self.abandoned_at is not None or self.paused_at is not None

    def _has(self, step: Step) -> bool:
        """Whether there is any answer; for situations, of any partner."""
        if step == "situations":
            return any(partner.situations for partner in self.answers.partners)
        return bool(getattr(self.answers, step))

    def _require(self, expected: Expected) -> None:
        if expected is not None and self.version not in expected:
            raise Stale

    def _require_reached(self, step: Step) -> None:
        """What was answered before may be answered again; what was not needs all that comes before it."""
        if step == "learning_goals" or self._has(step):
            return
        earlier = [gap for gap in self.gaps() if gap.step in ANSWERED[: ANSWERED.index(step)]]
        if earlier:
            raise StepNotReached(errors=tuple(_missing(gap) for gap in earlier))


def _missing(gap: Gap) -> FieldError:
    if gap.partner is not None:
        return FieldError(f"/partners/{gap.partner}/situations", "missing", "Choose the situations in which you meet this partner.")
    return FieldError(f"/{gap.step}", "missing", f"PUT /api/v2/onboarding/{gap.step.replace('_', '-')} answers this step.")
