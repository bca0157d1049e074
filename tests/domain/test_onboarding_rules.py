"""How text that learners type is kept and refused, and when they may be disturbed."""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.onboarding.rules import NAME, NOTE, TITLE, duplicates, may_disturb, normalised, own_id, shown, text_problems
from domain.types import AccountId

LEARNER, OTHER = (AccountId(UUID(int=n)) for n in (1, 2))


def codes(text: str, bounds: tuple[int, int] = NAME) -> list[str]:
    return [problem.code for problem in text_problems("/name", text, bounds)]


@pytest.mark.parametrize(
    "text", ["ab", "x" * 100, "  ab  ", "a\tb", "two\r\nlines", "審計師", "e\u0301" * 100, "👩‍💻 devs", "a" + " " * 200 + "b"]
)
def test_text_is_counted_as_it_is_shown(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize("text", ["", "x", " x ", "\t\n", "x" * 101, "e\u0301", "x" * 100_000])
def test_text_of_another_length_is_refused(text: str) -> None:
    assert codes(text) == ["length"]


def test_text_that_takes_long_to_normalise_is_refused_before_it_is() -> None:
    """Normalised, it would be three characters long and welcome."""
    assert codes("a" + " " * 100_000 + "b") == ["length"]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud800"])
def test_characters_that_control_are_refused(character: str) -> None:
    assert codes(f"a{character}b") == ["not_allowed"]


def test_bounds_belong_to_what_they_bound() -> None:
    assert (codes("ab", TITLE), codes("", NOTE), codes("x" * 501, NOTE)) == (["length"], [], ["length"])


def test_everything_after_the_first_is_a_duplicate() -> None:
    found = list(duplicates([("/0", "a"), ("/1", "b"), ("/2", "a"), ("/3", "a")]))
    assert [(one.field, one.code) for one in found] == [("/2", "duplicate"), ("/3", "duplicate")]


@given(st.text(max_size=60))
def test_what_is_shown_is_the_same_when_it_is_typed_again(text: str) -> None:
    assert shown(shown(text)) == shown(text)
    assert normalised(shown(text)) == normalised(text)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=40))
def test_an_own_id_does_not_depend_on_case_or_white_space(name: str) -> None:
    identity = own_id(LEARNER, "partner", name)
    assert identity == own_id(LEARNER, "partner", f"  {name.upper()}\t")
    assert identity not in (own_id(OTHER, "partner", name), own_id(LEARNER, "situation", name))


@pytest.mark.parametrize("timezone", ["Asia/Hong_Kong", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
def test_every_minute_of_two_years_is_day_or_night_by_the_clock_on_the_wall(timezone: str) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for instant in (begin + timedelta(minutes=29 * n) for n in range(2 * 365 * 24 * 60 // 29)):
        assert may_disturb(instant, timezone) is (8 <= instant.astimezone(ZoneInfo(timezone)).hour < 21)


@pytest.mark.parametrize(("wall", "may"), [(time(7, 59, 59), False), (time(8), True), (time(20, 59, 59), True), (time(21), False)])
@pytest.mark.parametrize(("month", "day"), [(3, 7), (3, 8), (3, 9), (10, 31), (11, 1), (11, 2)])
def test_the_day_in_new_york_begins_and_ends_on_the_second_also_when_the_clocks_change(wall: time, may: bool, month: int, day: int) -> None:  # noqa: FBT001 - one of the cases
    instant = datetime.combine(date(2026, month, day), wall, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    assert may_disturb(instant, "America/New_York") is may
