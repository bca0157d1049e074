"""Levels, reasons and confidence of a match."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.onboarding.matching import (
    BY_MEANING,
    BY_WORDS,
    FEATURES,
    MEANING,
    WORDS,
    Candidate,
    features_of,
    judge,
    level_in,
    match_problems,
    reasons,
)


def candidate(title: str = "Bank Teller", **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "id": uuid4(),
        "slug": "bank_teller",
        "title": title,
        "description": "Serves customers at the counter of a bank.",
        "hierarchy_level": "associate",
        "aliases": ("Cashier",),
        "keywords": ("cash counter", "withdrawals"),
        "duties": ("count and balance the cash drawer", "answer questions about accounts"),
        "cosine": 0.8,
        "cosine_mean": 0.2,
        "elsewhere": 0.3,
        "rank": 0.5,
    }
    return Candidate(**{**values, **changes})


@pytest.mark.parametrize(
    ("title", "level"),
    [
        ("Head of Risk", "director"),
        ("Senior Vice President, Trade", "director"),
        ("CFO", "executive"),
        ("Branch Mgr", "manager"),
        ("Asst. Manager", "supervisor"),
        ("Team lead warehouse", "supervisor"),
        ("Jr Analyst", "associate"),
        ("Trainee", "associate"),
        ("Baker", None),
        ("", None),
    ],
)
def test_a_title_names_its_level(title: str, level: str | None) -> None:
    assert level_in(title) == level


def test_the_reasons_are_the_persons_words_and_the_roles_duties() -> None:
    [why] = reasons("Withdrawls", "I count the cash in my drawer every evening and love football", [candidate()])
    assert set(why.words) == {"withdrawls", "count", "cash", "drawer"}
    assert why.duties == ("count and balance the cash drawer",)
    assert why.title_share == 1.0
    assert 0 < why.all_share < 1


def test_nothing_in_common_is_no_reason() -> None:
    [why] = reasons("Nurse", "I look after patients", [candidate()])
    assert (why.words, why.duties, why.title_share, why.all_share) == ((), (), 0.0, 0.0)


def test_a_question_of_common_words_is_no_reason_either() -> None:
    [why] = reasons("of the", "and so on and so forth with my", [candidate()])
    assert (why.title_share, why.words) == (0.0, ())


def test_without_candidates_none_fits() -> None:
    judged = judge("Teller", "cash counter", None, [])
    assert (judged.matches, judged.none_fits) == ((), True)


def test_the_surest_comes_first_whatever_the_search_said() -> None:
    weak, strong = candidate("Baker", cosine=0.1, keywords=(), duties=(), aliases=(), description="Bakes."), candidate()
    judged = judge("Cashier", "count cash at the bank counter", None, [weak, strong])
    assert [match.title for match in judged.matches] == ["Bank Teller", "Baker"]
    assert judged.matches[0].confidence > judged.matches[1].confidence
    assert not judged.none_fits


def test_nothing_alike_means_that_none_fits() -> None:
    judged = judge("Nurse", "patients in a ward", None, [candidate(cosine=0.05, rank=0.0, elsewhere=0.1)])
    assert judged.none_fits
    assert judged.matches[0].confidence < BY_MEANING.threshold


def test_a_role_that_fits_better_elsewhere_is_less_likely_here() -> None:
    here, elsewhere = (judge("Baker", "count bread", None, [candidate(cosine=0.5, elsewhere=other)]) for other in (0.1, 0.95))
    assert here.matches[0].confidence > elsewhere.matches[0].confidence


def test_the_level_that_was_named_makes_its_roles_likelier() -> None:
    roles = [candidate(hierarchy_level=level, slug=level) for level in ("associate", "director")]
    assert [match.slug for match in judge("Cashier", "count cash", "director", roles).matches] == ["director", "associate"]
    assert [match.slug for match in judge("Cashier", "count cash", "associate", roles).matches] == ["associate", "director"]


def test_by_words_alone_there_is_a_confidence_as_well() -> None:
    words: dict[str, Any] = {"cosine": None, "cosine_mean": None, "elsewhere": None}
    judged = judge("Cashier", "count cash at the bank counter", None, [candidate(**words), candidate("Baker", rank=0.0, **words)])
    assert not judged.none_fits
    assert BY_WORDS.threshold <= judged.matches[0].confidence <= 1


def test_a_role_without_a_vector_is_taken_for_an_average_one() -> None:
    roles = [candidate(), candidate(cosine=None)]
    [_, (cosine, lead)] = features_of(roles, reasons("x", "y", roles), None, ("cosine", "cosine_lead"))
    assert (cosine, lead) == (0.2, pytest.approx(-0.6))


def test_every_calibration_has_a_weight_for_each_of_its_features() -> None:
    assert (len(BY_MEANING.weights), len(BY_WORDS.weights)) == (len(MEANING), len(WORDS))
    assert {*MEANING, *WORDS} <= {*FEATURES}


def test_lengths_are_those_of_what_was_written() -> None:
    assert match_problems({"job_title": "RM", "job_description": "x" * 1000}) == []
    problems = match_problems({"job_title": "  x  ", "job_description": "x" * 1001})
    assert [problem.field for problem in problems] == ["/job_title", "/job_description"]
    assert match_problems({"job_title": UUID(int=0), "job_description": None}) == []
