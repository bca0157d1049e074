"""The rules of a journey, without weather."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest

from bus.message import Event
from domain.errors import DomainError, Invalid, Stale
from domain.onboarding.commands import ChosenPartner, ChosenRole, ChosenSituation, LearningGoals, NativeLanguage, Void
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
from domain.onboarding.model import Journey
from domain.onboarding.rules import may_disturb, own_id, shown
from domain.types import AccountId

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LEARNER = AccountId(UUID("0199a8a0-0000-7000-8000-000000000001"))
BANKING, SHIPPING = uuid5(LEARNER, "banking"), uuid5(LEARNER, "shipping")
TELLER = ChosenRole(id=uuid5(LEARNER, "teller"))
CHANDLER = ChosenRole(id=uuid5(LEARNER, "chandler"), title="Ship chandler", description="Supplies ships.", hierarchy_level="associate")
CLIENTS, BOSSES = ChosenPartner(id=uuid5(LEARNER, "clients")), ChosenPartner(id=uuid5(LEARNER, "bosses"))
MEETINGS, CALLS = ChosenSituation(id=uuid5(LEARNER, "meetings")), ChosenSituation(id=uuid5(LEARNER, "calls"))
CANTONESE = NativeLanguage(language="zh-Hant", proficiency="B1", target_language="en", explanation_language="zh-Hant")
GOALS = LearningGoals(goals=("Lead a meeting",), minutes_a_day=15, timeline="3_months")

LADDER: tuple[Callable[[Journey], tuple[Event, ...]], ...] = (
    lambda journey: journey.choose_native_language(CANTONESE, expected=None, now=NOW),
    lambda journey: journey.choose_industry(BANKING, expected=None, now=NOW),
    lambda journey: journey.choose_role(TELLER, industry=BANKING, expected=None, now=NOW),
    lambda journey: journey.choose_partners([CLIENTS, BOSSES], expected=None, now=NOW),
    lambda journey: journey.choose_situations({CLIENTS.id: (MEETINGS,), BOSSES.id: (CALLS,)}, every=True, expected=None, now=NOW),
)


def begun(steps: int = 0, *, completed: bool = False) -> Journey:
    """A journey on which this many steps are answered."""
    journey = Journey(account=LEARNER, created_at=NOW)
    for step in LADDER[: 5 if completed else steps]:
        step(journey)
    if completed:
        journey.complete(now=NOW)
    return journey


def missing(error: DomainError) -> list[str]:
    return [problem.field for problem in error.errors]


def test_a_journey_begins_with_nothing_answered() -> None:
    journey = begun()
    assert journey.begin() == (JourneyBegun(account=LEARNER),)
    state = journey.state()
    assert (state.status, state.current_step, state.next_step, state.percent, state.version) == (
        "not_started",
        "native_language",
        "industry",
        0,
        1,
    )
    assert [gap.step for gap in state.missing] == ["native_language", "industry", "role", "partners", "situations"]


@pytest.mark.parametrize("steps", range(5))
def test_each_step_is_answered_in_its_turn(steps: int) -> None:
    journey = begun(steps)
    current = journey.state().current_step
    assert LADDER[steps](journey) == (StepAnswered(account=LEARNER, step=current),)
    state = journey.state()
    assert state.done[-1] == current
    assert len(state.done) == steps + 1
    assert (state.status, state.started_at, state.active_at) == ("in_progress", NOW, NOW)


@pytest.mark.parametrize("steps", range(5))
def test_the_same_answer_again_is_quiet(steps: int) -> None:
    journey = begun(5)
    journey.active_at = NOW - timedelta(hours=1)
    assert LADDER[steps](journey) == ()
    assert journey.active_at == NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("reached", "step", "pointers"),
    [
        (0, 1, ["/native_language"]),
        (0, 3, ["/native_language", "/industry", "/role"]),
        (1, 2, ["/industry"]),
        (3, 4, ["/partners"]),
    ],
)
def test_no_step_is_skipped(reached: int, step: int, pointers: list[str]) -> None:
    journey = begun(reached)
    with pytest.raises(StepNotReached) as refused:
        LADDER[step](journey)
    assert missing(refused.value) == pointers
    assert len(journey.state().done) == reached


def test_each_step_takes_its_minutes_and_its_share() -> None:
    states = [begun(steps).state() for steps in range(6)] + [begun(completed=True).state()]
    assert [(state.percent, state.minutes_left) for state in states] == [(0, 10), (16, 9), (33, 8), (50, 6), (66, 4), (83, 1), (100, 0)]


def test_goals_are_a_step_that_nobody_must_take() -> None:
    journey = begun()
    assert journey.set_learning_goals(GOALS, expected=None, now=NOW) == (StepAnswered(account=LEARNER, step="learning_goals"),)
    assert journey.set_learning_goals(GOALS, expected=None, now=NOW) == ()
    assert (journey.state().current_step, journey.state().percent) == ("native_language", 0)


def test_a_new_industry_voids_the_role_and_nothing_else() -> None:
    journey = begun(5)
    events = journey.choose_industry(SHIPPING, expected=None, now=NOW)
    assert events == (AnswerChanged(account=LEARNER, step="industry", void=("role",)),)
    state = journey.state()
    assert state.void == (Void(step="role", because="industry"),)
    assert [gap.step for gap in state.missing] == ["role"]
    assert [partner.situations for partner in state.answers.partners] == [(MEETINGS,), (CALLS,)]
    journey.choose_role(CHANDLER, industry=None, expected=None, now=NOW)
    assert journey.state().void == ()


def test_a_role_of_another_industry_is_refused() -> None:
    journey = begun(2)
    with pytest.raises(Invalid) as refused:
        journey.choose_role(TELLER, industry=SHIPPING, expected=None, now=NOW)
    assert [(error.field, error.code) for error in refused.value.errors] == [("/role", "other_industry")]


def test_a_role_of_ones_own_is_told_once() -> None:
    journey = begun(2)
    events = journey.choose_role(CHANDLER, industry=None, expected=None, now=NOW)
    described = CustomRoleDescribed(account=LEARNER, role=CHANDLER.id, industry=BANKING, hierarchy_level="associate")
    assert events == (StepAnswered(account=LEARNER, step="role"), described)
    assert journey.choose_role(CHANDLER, industry=None, expected=None, now=NOW) == ()


def test_partners_who_stay_keep_their_situations_and_those_of_the_others_are_void() -> None:
    journey = begun(5)
    events = journey.choose_partners([BOSSES], expected=None, now=NOW)
    assert events == (AnswerChanged(account=LEARNER, step="partners", void=(f"situations/{CLIENTS.id}",)),)
    assert [(partner.id, partner.situations) for partner in journey.answers.partners] == [(BOSSES.id, (CALLS,))]
    assert journey.state().void == (Void(step="situations", partner=CLIENTS.id, because="partners"),)
    journey.choose_partners([CLIENTS, BOSSES], expected=None, now=NOW)
    assert [gap.partner for gap in journey.state().missing] == [CLIENTS.id]
    journey.choose_situations({CLIENTS.id: (CALLS,)}, every=False, expected=None, now=NOW)
    assert (journey.state().void, journey.state().missing) == ((), ())


def test_another_order_is_another_answer_and_voids_nothing() -> None:
    journey = begun(5)
    assert journey.choose_partners([BOSSES, CLIENTS], expected=None, now=NOW) == (AnswerChanged(account=LEARNER, step="partners", void=()),)
    assert journey.state().missing == ()


def test_a_stranger_has_no_situations() -> None:
    with pytest.raises(UnknownPartner):
        begun(5).choose_situations({LEARNER: (CALLS,)}, every=False, expected=None, now=NOW)


def test_strangers_among_all_partners_are_each_named() -> None:
    with pytest.raises(Invalid) as refused:
        begun(4).choose_situations({BANKING: (CALLS,), CLIENTS.id: (CALLS,), SHIPPING: (CALLS,)}, every=True, expected=None, now=NOW)
    assert missing(refused.value) == ["/partners/0/partner", "/partners/2/partner"]


@pytest.mark.parametrize("every", [True, False])
def test_who_has_no_partners_yet_is_told_to_choose_them_first(every: bool) -> None:  # noqa: FBT001 - one of the cases
    with pytest.raises(StepNotReached) as refused:
        begun(2).choose_situations({CLIENTS.id: (CALLS,)}, every=every, expected=None, now=NOW)
    assert missing(refused.value) == ["/role", "/partners"]


def test_all_at_once_means_every_partner() -> None:
    with pytest.raises(Invalid) as refused:
        begun(4).choose_situations({CLIENTS.id: (CALLS,)}, every=True, expected=None, now=NOW)
    assert missing(refused.value) == ["/partners"]


def test_an_answer_to_another_version_is_stale() -> None:
    journey = begun(5)
    journey.version = 7
    with pytest.raises(Stale):
        journey.choose_industry(SHIPPING, expected=(6,), now=NOW)
    assert journey.answers.industry == BANKING
    assert journey.choose_industry(SHIPPING, expected=(6, 7), now=NOW)


def test_what_would_be_refused_anyway_is_refused_before_it_is_stale() -> None:
    with pytest.raises(StepNotReached):
        begun(1).choose_role(TELLER, industry=BANKING, expected=(9,), now=NOW)


def test_completing_names_everything_that_is_missing() -> None:
    journey = begun(4)
    journey.choose_situations({CLIENTS.id: (CALLS,)}, every=False, expected=None, now=NOW)
    journey.choose_industry(SHIPPING, expected=None, now=NOW)
    with pytest.raises(Incomplete) as refused:
        journey.complete(now=NOW)
    assert missing(refused.value) == ["/role", f"/partners/{BOSSES.id}/situations"]


def test_completing_is_once() -> None:
    journey = begun(5)
    completed = OnboardingCompleted(account=LEARNER, industry=BANKING, role=TELLER.id, partners=(CLIENTS.id, BOSSES.id))
    assert journey.complete(now=NOW) == (completed,)
    assert journey.complete(now=NOW + timedelta(days=1)) == ()
    state = journey.state()
    assert (state.status, state.current_step, state.next_step, state.percent, state.completed_at) == (
        "completed",
        "completed",
        None,
        100,
        NOW,
    )


def test_what_is_answered_anew_after_completion_does_not_undo_it() -> None:
    journey = begun(completed=True)
    journey.choose_industry(SHIPPING, expected=None, now=NOW + timedelta(days=1))
    state = journey.state()
    assert (state.status, state.current_step, state.completed_at) == ("completed", "completed", NOW)
    assert [gap.step for gap in state.missing] == ["role"]
    assert state.percent < 100


def test_a_pause_ends_with_the_same_answer_again() -> None:
    journey = begun(1)
    journey.pause(now=NOW)
    assert journey.choose_native_language(CANTONESE, expected=None, now=LATER) == (JourneyResumed(account=LEARNER),)
    assert (journey.state().status, journey.active_at) == ("in_progress", LATER)


def test_a_pause_ends_with_the_next_answer() -> None:
    journey = begun(1)
    assert journey.pause(now=NOW) == (JourneyPaused(account=LEARNER),)
    assert journey.pause(now=NOW) == ()
    assert journey.state().status == "paused"
    resumed = LADDER[1](journey)
    assert resumed == (JourneyResumed(account=LEARNER), StepAnswered(account=LEARNER, step="industry"))
    assert journey.state().status == "in_progress"


def test_what_is_complete_is_not_paused() -> None:
    with pytest.raises(AlreadyCompleted):
        begun(completed=True).pause(now=NOW)


def test_a_reset_takes_everything_back_and_is_quiet_when_there_is_nothing() -> None:
    journey = begun(completed=True)
    assert journey.reset(now=NOW) == (JourneyReset(account=LEARNER),)
    assert (journey.state().status, journey.state().done, journey.state().completed_at) == ("not_started", (), None)
    assert journey.reset(now=NOW) == ()


def test_a_reset_of_an_old_journey_is_not_given_up_at_once() -> None:
    journey = begun(5)
    later = NOW + timedelta(days=30)
    journey.reset(now=later)
    assert journey.abandon(now=later + timedelta(minutes=5)) == ()
    assert not journey.should_be_reminded(later + timedelta(hours=23))
    assert journey.should_be_reminded(later + timedelta(hours=24))


def test_reminders_are_switched_once() -> None:
    journey = begun()
    assert journey.switch_reminders(enabled=True, expected=None) == ()
    assert journey.switch_reminders(enabled=False, expected=None) == (RemindersChanged(account=LEARNER, enabled=False),)
    with pytest.raises(Stale):
        journey.switch_reminders(enabled=True, expected=(9,))


def test_a_learner_is_reminded_once_for_each_day_without_an_answer() -> None:
    journey = begun(1)
    assert journey.remind(now=NOW + timedelta(hours=24, seconds=-1)) == ()
    assert journey.remind(now=NOW + timedelta(hours=24)) == (LearnerReminded(account=LEARNER),)
    assert journey.remind(now=NOW + timedelta(hours=48)) == ()
    journey.choose_industry(BANKING, expected=None, now=NOW + timedelta(hours=50))
    assert journey.remind(now=NOW + timedelta(hours=73)) == ()
    assert journey.remind(now=NOW + timedelta(hours=74)) == (LearnerReminded(account=LEARNER),)


@pytest.mark.parametrize("rests", ["paused", "completed", "abandoned", "switched off"])
def test_those_who_rest_are_not_reminded(rests: str) -> None:
    journey = begun(completed=rests == "completed", steps=2)
    if rests == "paused":
        journey.pause(now=NOW)
    elif rests == "abandoned":
        journey.abandon(now=NOW + timedelta(days=14))
    elif rests == "switched off":
        journey.switch_reminders(enabled=False, expected=None)
    assert journey.remind(now=NOW + timedelta(days=15)) == ()


def test_a_journey_is_given_up_after_two_weeks_and_resumed_by_an_answer() -> None:
    journey = begun(1)
    assert journey.abandon(now=NOW + timedelta(days=14, seconds=-1)) == ()
    assert journey.abandon(now=NOW + timedelta(days=14)) == (JourneyAbandoned(account=LEARNER),)
    assert journey.abandon(now=NOW + timedelta(days=15)) == ()
    assert journey.state().status == "abandoned"
    assert LADDER[1](journey)[0] == JourneyResumed(account=LEARNER)
    assert begun(completed=True).abandon(now=NOW + timedelta(days=99)) == ()


@pytest.mark.parametrize(
    ("instant", "timezone", "may"),
    [
        ("2026-01-15T00:00:00Z", "Asia/Hong_Kong", True),
        ("2026-01-14T23:59:59Z", "Asia/Hong_Kong", False),
        ("2026-01-15T12:59:59Z", "Asia/Hong_Kong", True),
        ("2026-01-15T13:00:00Z", "Asia/Hong_Kong", False),
        ("2026-03-07T12:59:59Z", "America/New_York", False),
        ("2026-03-07T13:00:00Z", "America/New_York", True),
        ("2026-03-08T11:59:59Z", "America/New_York", False),
        ("2026-03-08T12:00:00Z", "America/New_York", True),
        ("2026-10-31T12:00:00Z", "America/New_York", True),
        ("2026-11-01T12:30:00Z", "America/New_York", False),
        ("2026-11-01T13:00:00Z", "America/New_York", True),
        ("2026-11-01T05:30:00Z", "America/New_York", False),
        ("2026-11-01T06:30:00Z", "America/New_York", False),
    ],
)
def test_nobody_is_disturbed_at_night_where_they_live_also_when_the_clocks_change(instant: str, timezone: str, may: bool) -> None:  # noqa: FBT001 - one of the cases
    assert may_disturb(datetime.fromisoformat(instant), timezone) is may


def test_an_own_name_is_the_same_in_any_case_width_and_spacing() -> None:
    assert own_id(LEARNER, "partner", "Head  office\tauditors ") == own_id(LEARNER, "partner", "\uff28EAD office AUDITORS")
    assert own_id(LEARNER, "partner", "Auditors") != own_id(LEARNER, "situation", "Auditors")
    assert shown("  Cafe\u0301  bar ") == "Café bar"
