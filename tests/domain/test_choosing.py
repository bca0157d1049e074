"""Which scenarios a learner is given, in which order, and why."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.practice.choosing import Because, Choice, Learner, Meeting, Offered, Reason, choose
from domain.practice.scenario import LEVELS, Level, Range, scenario_id

SITUATIONS = ("meetings", "interviews", "phone_calls")
PARTNERS = ("clients", "colleagues", "suppliers")
HOME, AWAY = "banking_finance", "real_estate"


def offered(
    slug: str,
    situation: str | None = "meetings",
    partner: str | None = "clients",
    *,
    industry: str | None = HOME,
    levels: tuple[Level, Level] = ("A1", "C2"),
) -> Offered:
    cefr = Range(lowest=levels[0], highest=levels[1])
    return Offered(id=scenario_id(slug), slug=slug, industry=industry, situation=situation, partner=partner, cefr=cefr)


def learner(*meetings: tuple[str | None, Sequence[str | None]], industry: str | None = HOME, level: Level = "B1") -> Learner:
    found = tuple(Meeting(partner=partner, situations=tuple(situations)) for partner, situations in meetings)
    return Learner(industry=industry, meetings=found, level=level)


def chosen(one: Learner, scenarios: Sequence[Offered], count: int = 10) -> list[str]:
    slugs = {scenario.id: scenario.slug for scenario in scenarios}
    return [slugs[choice.scenario] for choice in choose(one, scenarios, count)]


def reasons(one: Learner, scenarios: Sequence[Offered], count: int = 10) -> list[tuple[str | None, str | None, Because]]:
    return [(found.reason.situation, found.reason.partner, found.reason.because) for found in choose(one, scenarios, count)]


def test_the_industry_comes_before_everything_else() -> None:
    scenarios = [offered("away", industry=AWAY), offered("home", "interviews", "suppliers")]
    assert chosen(learner(("clients", ["meetings"])), scenarios) == ["home", "away"]


def test_partners_and_their_situations_come_in_the_order_of_the_learner() -> None:
    scenarios = [offered(f"{situation}_{partner}", situation, partner) for situation in SITUATIONS for partner in PARTNERS]
    one = learner(("suppliers", ["phone_calls", "meetings"]), ("clients", ["interviews"]))
    assert chosen(one, scenarios, 3) == ["phone_calls_suppliers", "meetings_suppliers", "interviews_clients"]
    assert reasons(one, scenarios, 3) == [
        ("phone_calls", "suppliers", "partner_and_situation"),
        ("meetings", "suppliers", "partner_and_situation"),
        ("interviews", "clients", "partner_and_situation"),
    ]


def test_without_that_partner_the_situation_decides_before_the_next_wish_does() -> None:
    scenarios = [offered("a", "interviews", "clients"), offered("b", "meetings", "suppliers")]
    one = learner(("clients", ["meetings", "interviews"]))
    assert chosen(one, scenarios) == ["b", "a"]
    assert reasons(one, scenarios) == [("meetings", None, "situation"), ("interviews", "clients", "partner_and_situation")]


def test_for_a_partner_of_ones_own_the_situation_decides() -> None:
    scenarios = [offered("a", "interviews"), offered("b", "meetings", "suppliers")]
    assert chosen(learner((None, ["meetings"])), scenarios) == ["b", "a"]
    assert reasons(learner((None, ["meetings"])), scenarios)[0] == ("meetings", None, "situation")


def test_for_a_situation_of_ones_own_the_partner_decides() -> None:
    scenarios = [offered("a", "meetings", "clients"), offered("b", "interviews", "suppliers")]
    assert chosen(learner(("suppliers", [None])), scenarios) == ["b", "a"]
    assert reasons(learner(("suppliers", [None])), scenarios)[0] == (None, "suppliers", "partner")


def test_where_both_are_ones_own_the_next_in_order_takes_its_place() -> None:
    scenarios = [offered("a", "meetings"), offered("b", "interviews")]
    assert chosen(learner((None, [None, "interviews"])), scenarios) == ["b", "a"]


def test_of_two_that_fit_equally_the_one_at_the_level_is_taken_and_then_the_nearest() -> None:
    scenarios = [
        offered("far", levels=("C2", "C2")),
        offered("near", levels=("A1", "A2")),
        offered("right", levels=("B1", "B2")),
    ]
    one = learner(("clients", ["meetings"]), level="B1")
    assert chosen(one, scenarios) == ["right", "near", "far"]
    assert [because for *_, because in reasons(one, scenarios)] == ["partner_and_situation", "industry", "industry"]


def test_what_fits_anything_fits() -> None:
    scenarios = [offered("any", None, None, industry=None), offered("exact", "meetings", "colleagues", industry=AWAY)]
    assert reasons(learner(("colleagues", ["meetings"])), scenarios) == [
        ("meetings", "colleagues", "partner_and_situation"),
        ("meetings", "colleagues", "partner_and_situation"),
    ]
    assert chosen(learner(("colleagues", ["meetings"])), scenarios) == ["any", "exact"]


def test_when_the_industry_has_no_more_the_others_follow_by_the_same_wishes_and_then_the_rest() -> None:
    scenarios = [offered("a", "interviews", industry=AWAY), offered("b", "phone_calls", industry=AWAY), offered("c")]
    assert reasons(learner(("clients", ["phone_calls"])), scenarios) == [
        (None, None, "industry"),
        ("phone_calls", "clients", "partner_and_situation"),
        (None, None, "variety"),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_never_more_than_asked_for_and_no_more_than_there_is(count: int) -> None:
    assert len(chosen(learner(("clients", ["meetings"])), [offered("a"), offered("b")], count)) == min(count, 2)


def test_without_any_scenario_nothing_is_chosen() -> None:
    assert choose(learner(("clients", ["meetings"])), [], 5) == []


slugs_of_situations = st.sampled_from((*SITUATIONS, None))
slugs_of_partners = st.sampled_from((*PARTNERS, None))
learners = st.builds(
    Learner,
    industry=st.sampled_from((HOME, AWAY, None)),
    meetings=st.lists(
        st.builds(Meeting, partner=slugs_of_partners, situations=st.lists(slugs_of_situations, max_size=4).map(tuple)), max_size=4
    ).map(tuple),
    level=st.sampled_from(LEVELS),
)
shelves = st.lists(
    st.tuples(st.sampled_from((HOME, AWAY, None)), slugs_of_situations, slugs_of_partners, st.sampled_from(LEVELS)), max_size=12
).map(
    lambda rows: [
        offered(f"s{number}", situation, partner, industry=industry, levels=(level, level))
        for number, (industry, situation, partner, level) in enumerate(rows)
    ]
)


@given(learners, shelves, st.randoms())
def test_whoever_they_are_everything_is_given_once_and_always_in_the_same_order(one: Learner, shelf: list[Offered], chance: Any) -> None:
    found = choose(one, shelf, len(shelf))
    assert sorted(choice.scenario for choice in found) == sorted(scenario.id for scenario in shelf)
    chance.shuffle(shelf)
    assert choose(one, shelf, len(shelf)) == found
    assert choose(one, shelf, 3) == found[:3]


@given(learners, shelves)
def test_no_reason_says_what_the_learner_has_not_said(one: Learner, shelf: list[Offered]) -> None:
    said = {(meeting.partner, situation) for meeting in one.meetings for situation in meeting.situations}
    for choice in choose(one, shelf, len(shelf)):
        assert _holds(choice, {scenario.id: scenario for scenario in shelf}[choice.scenario], said)


def _holds(choice: Choice, scenario: Offered, said: set[tuple[str | None, str | None]]) -> bool:
    match choice.reason:
        case Reason(situation=situation, partner=partner, because="partner_and_situation"):
            fits = scenario.partner in (None, partner) and scenario.situation in (None, situation)
            return (partner, situation) in said and None not in (partner, situation) and fits
        case Reason(situation=situation, partner=None, because="situation"):
            return situation in {one for _, one in said} and scenario.situation in (None, situation)
        case Reason(situation=None, partner=partner, because="partner"):
            return (partner, None) in said and scenario.partner in (None, partner)
        case reason:
            return (reason.situation, reason.partner) == (None, None)
