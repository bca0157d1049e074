"""Words as people type them."""

import pytest

from domain.onboarding.words import Spelling, plain, stem, stems, tokens


@pytest.mark.parametrize(
    ("typed", "plainly"),
    [
        ("Réceptionniste", "receptionniste"),
        ("F&B", "fb"),
        ("f & b", "fb"),
        ("A/R", "ar"),
        ("G.M.", "gm"),
        ("\uff26\uff22", "fb"),
        ("Straße", "strasse"),
    ],
)
def test_case_accents_and_signs_make_no_other_word(typed: str, plainly: str) -> None:
    assert plain(typed) == plainly


def test_inflections_are_one_word() -> None:
    assert {stem(word) for word in ("manager", "managers", "managing", "management", "manages")} == {"manag"}


def test_short_words_stay_as_they_are() -> None:
    assert [stem(word) for word in ("bar", "fees", "user", "spa")] == ["bar", "fees", "user", "spa"]


def test_short_forms_are_written_out_and_kept() -> None:
    assert tokens("Asst mgr, cust svc") == ["assistant", "asst", "manager", "mgr", "customer", "cust", "service", "svc"]


def test_common_words_say_nothing() -> None:
    assert stems("I am responsible for the and of with my team") == []


def test_scripts_without_spaces_are_read_by_twos() -> None:
    assert tokens("客戶經理") == ["客戶", "戶經", "經理"]


def test_a_slip_of_the_finger_is_alike_and_another_word_is_not() -> None:
    known = Spelling(["receptionist", "manager", "chef", "reception"])
    assert [word for word, _ in known.alike("receptionnist", 0.5)] == ["receptionist", "reception"]
    assert known.alike("manager", 0.5) == [("manager", 1.0)]
    assert known.alike("clerk", 0.3) == []
    assert known.alike("", 0.1) == []
