"""What a report says of a scene, and what is recommended after it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.practice.coach import Span, coach
from domain.practice.report import Candidate, Report, Said, recommend, write_report
from domain.practice.scenario import Beat, Branch, Closing, Criterion, LearnerPart, Persona, Range, Scenario, Script

LONG = 0.7
"""Seconds: several times what ten of the longest answers take."""
LANGUAGES = ["en", "zh-Hant", "zh-Hans", "es", "fr", "ja"]
FILES = sorted((Path(__file__).parents[2] / "db" / "seeds" / "scenarios").glob("*/*.json"))

BEATS = [
    ("sorry", "I am very sorry that your room was not ready."),
    ("breakfast", "We can offer you a free breakfast tomorrow."),
    ("manager", "I will tell the manager about the noise tonight."),
]
SCENE = Scenario(
    slug="late_room",
    title="The late room",
    industry="hotels_hospitality",
    situation="conflict_resolution",
    partner="clients",
    persona=Persona(name="Ann Lee", role="Guest", mood="Cross", speech_style="Short"),
    learner=LearnerPart(role="Receptionist", goal="Calm her."),
    constraints=(),
    success_criteria=(
        Criterion(id="apologise", text="Apologise for the wait.", any=("sorry", "apologise")),
        Criterion(id="offer", text="Offer something in return.", any=("breakfast", "discount")),
        Criterion(id="promise", text="Promise to pass it on.", any=("manager", "director")),
    ),
    cefr=Range(lowest="B1", highest="B2"),
    opening="Where is my room?",
    useful_phrases=("What can I do for you?",),
    cultural_notes=(),
    script=Script(
        beats=tuple(
            Beat(
                expects=(word, "wait", "offer", "promise"),
                example=example,
                say=f"Go on {word}.",
                short=f"Well {word}?",
                astray=f"No {word}!",
            )
            for word, example in BEATS
        ),
        branches=(Branch(when=("angry",), say="I am not angry."),),
        closing=Closing(example="Thank you for your patience.", reached="Fine.", partly="Hm.", missed="I shall complain."),
    ),
)


def identity(number: int) -> UUID:
    return UUID(int=number)


def said(*texts: str, language: str = "en", examples: bool = True) -> list[Said]:
    return [
        Said(
            turn=identity(number),
            text=text,
            spans=coach(text, language),
            example=BEATS[number][1] if examples and number < len(BEATS) else None,
        )
        for number, text in enumerate(texts)
    ]


def reported(*texts: str, language: str = "en") -> Report:
    return write_report(SCENE, said(*texts, language=language), language)


GOOD = [*(example for _, example in BEATS), "Thank you for your patience."]


def test_a_good_learner_reaches_the_goal_and_has_nothing_to_work_on() -> None:
    report = reported(*GOOD)
    assert (report.goal_reached, report.score, report.met, report.missed) == (True, 100, ("apologise", "offer", "promise"), ())
    assert report.to_work_on == ()
    assert [(point.turn, point.quote) for point in report.went_well] == [
        (identity(0), GOOD[0]),
        (identity(1), GOOD[1]),
        (identity(0), GOOD[0]),
    ]
    assert report.went_well[0].text == "This met one of your goals: “Apologise for the wait”."


def test_what_went_well_quotes_the_sentence_that_did_it() -> None:
    report = reported("Good evening, Ms. Lee. I am so sorry! What can I do for you? Please sit down.")
    assert [point.quote for point in report.went_well[:2]] == ["I am so sorry!", "What can I do for you?"]


def test_mistakes_come_by_kind_the_most_frequent_first_and_each_with_its_sentence_corrected() -> None:
    report = reported(
        "I am sorry. He go to the the room.",
        "We offer a egg for breakfast, and a apple.",
        "I tell the manager that it take time, and she have a hour. I very like it.",
    )
    assert [(point.turn, point.quote, point.better) for point in report.to_work_on] == [
        (identity(1), "We offer a egg for breakfast, and a apple.", "We offer an egg for breakfast, and an apple."),
        (identity(0), "He go to the the room.", "He goes to the room."),
        (identity(0), "He go to the the room.", "He goes to the room."),
    ]
    kinds = [point.text.split(".")[0] for point in report.to_work_on]
    assert kinds == ["Articles (\u00d73)", "Agreement of subject and verb (\u00d72)", "Doubled words"]


def test_a_mistake_that_runs_over_two_lines_is_quoted_by_itself() -> None:
    report = reported("Sorry, the manager will discuss\nabout the breakfast with you.")
    assert [(point.quote, point.better) for point in report.to_work_on] == [("discuss\nabout", "discuss")]


def test_two_kinds_of_mistake_leave_room_for_what_is_missing_of_the_goal() -> None:
    report = reported("I am sorry sorry. He go to the the room for a hour.", "The bar is open.", "I shall tell the manager.")
    assert (report.goal_reached, report.missed) == (False, ("offer",))
    point = report.to_work_on[2]
    assert (point.turn, point.quote, point.better) == (identity(1), "The bar is open.", BEATS[1][1])
    assert point.text == "Still missing: “Offer something in return”. It could have been said here."


def test_what_is_missing_quotes_the_shortest_answer_when_its_place_never_came() -> None:
    report = reported("Good evening to you, dear guest.", "Hello.")
    assert [(point.turn, point.quote, point.better) for point in report.to_work_on] == [
        (identity(0), "Good evening to you, dear guest.", BEATS[0][1]),
        (identity(1), "Hello.", BEATS[1][1]),
        (identity(1), "Hello.", BEATS[2][1]),
    ]


def test_answers_of_hardly_any_words_and_off_the_point_are_things_to_work_on_too() -> None:
    report = reported("Sorry, ask the manager about the breakfast.", "Okay.", "My green bicycle sings quietly.")
    assert report.goal_reached
    assert [(point.quote, point.text.split(".")[0], point.better) for point in report.to_work_on] == [
        ("Okay.", "This answer is very short", BEATS[1][1]),
        ("My green bicycle sings quietly.", "This does not answer what your partner had asked", BEATS[2][1]),
    ]


def test_a_phrase_that_cannot_be_heard_is_met_by_nothing() -> None:
    criterion = Criterion(id="thank", text="Thank her.", any=("谢谢", "..."))
    scene = msgspec.structs.replace(SCENE, success_criteria=(criterion,))
    assert [write_report(scene, said(text), "en").met for text in ("!!! ???", "谢谢", "Nothing, I fear")] == [()] * 3
    either = msgspec.structs.replace(scene, success_criteria=(msgspec.structs.replace(criterion, any=("谢谢", "thank you")),))
    assert write_report(either, said("Thank you, 谢谢!"), "en").met == ("thank",)


def test_without_a_word_there_is_nothing_to_say() -> None:
    for report in (write_report(SCENE, [], "en"), reported("  ")):
        assert (report.goal_reached, report.score, report.met, report.went_well, report.to_work_on) == (False, 0, (), (), ())


def test_a_terse_learner_earns_nothing_for_language() -> None:
    assert reported("Okay.", "Okay.", "Okay.").score == 0


def test_mistakes_cost_points_by_how_frequent_they_are() -> None:
    wordy = "We talked about the weather in the town. " * 20
    assert reported(*GOOD[:3]).score == 100
    assert reported(*GOOD[:2], "I tell the manager in a hour.").score == 94
    assert reported(*GOOD[:2], f"I tell the manager in a hour. {wordy}").score == 98


def test_spans_that_do_not_apply_are_not_counted() -> None:
    false = Span(start=0, end=3, original="xyz", correction="abc", kind="other", explanation="No.", confidence=1)
    turns = [msgspec.structs.replace(one, spans=(false,)) for one in said(*GOOD)]
    assert write_report(SCENE, turns, "en") == reported(*GOOD)


@pytest.mark.parametrize(
    "text",
    [
        "a. " * 600 + "sorry breakfast manager",
        "he go," * 150 + "!" * 900 + "x sorry breakfast manager",
        "he go," * 330 + "sorry breakfast manager",
        "many informations " * 80 + "." * 400 + "x sorry breakfast manager",
        "!" * 900 + '"' * 900 + "x sorry breakfast manager",
    ],
)
def test_no_answer_is_looked_through_again_and_again(text: str) -> None:
    """A worker does nothing else meanwhile."""
    began = time.process_time()
    assert reported(*[text] * 10).met == ("apologise", "offer", "promise")
    assert time.process_time() - began < LONG


def test_a_long_answer_is_quoted_in_part() -> None:
    text = "The bar is open for all of our guests " * 12
    report = reported(text, examples_of(2))
    assert all(0 < len(point.quote) <= 200 and point.quote in text for point in report.to_work_on if point.turn == identity(0))


def examples_of(number: int) -> str:
    return BEATS[number][1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_is_in_the_language_of_the_learner(language: str) -> None:
    texts = ("I am sorry that he go home.", "Okay.", "My green bicycle sings quietly.")
    report = reported(*texts, language=language)
    points = [point.text for point in (*report.went_well, *report.to_work_on)]
    assert len(points) == 4
    assert not any("{" in text for text in points)
    others = [reported(*texts, language=other) for other in LANGUAGES if other != language]
    assert not {text for other in others for point in (*other.went_well, *other.to_work_on) for text in [point.text]} & set(points)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_scenarios_of_the_seeds_are_reported_on(path: Path) -> None:
    scenario = msgspec.json.decode(path.read_bytes(), type=Scenario)
    assert scenario.script is not None
    good = [*(beat.example for beat in scenario.script.beats), scenario.script.closing.example]
    for texts, points in ((good, 0), (["Okay."] * len(good), 3)):
        turns = [
            Said(turn=identity(number), text=text, spans=coach(text, "en"), example=example)
            for number, (text, example) in enumerate(zip(texts, good, strict=True))
        ]
        report = write_report(scenario, turns, "en")
        assert (report.goal_reached, len(report.to_work_on), len(report.went_well)) == (not points, points, 0 if points else 3)


anything = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from([*GOOD, "Okay.", "He go to the the port. It is a egg.", "Many informations are here", "Ms. An go to a hour\n\nno"]),
        st.lists(st.sampled_from([*GOOD, "It take a hour.", "sorry", "We is late!"]), max_size=12).map(" ".join),
    ),
    max_size=6,
)


@given(anything, st.sampled_from([*LANGUAGES, "ko", ""]))
def test_every_quote_is_part_of_what_was_said_in_its_turn(texts: list[str], language: str) -> None:
    report = write_report(SCENE, said(*texts, language=language), language)
    for point in (*report.went_well, *report.to_work_on):
        assert point.quote.strip()
        assert point.quote in texts[point.turn.int]
        assert point.better != point.quote
    assert len(report.went_well) <= 3
    assert len(report.to_work_on) <= 3
    assert 0 <= report.score <= 100
    assert sorted([*report.met, *report.missed]) == ["apologise", "offer", "promise"]
    assert report.goal_reached == (not report.missed)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


@given(anything)
def test_a_mistake_never_raises_the_score(texts: list[str]) -> None:
    turns = said(*texts)
    flawless: Sequence[Said] = [msgspec.structs.replace(one, spans=()) for one in turns]
    assert write_report(SCENE, turns, "en").score <= write_report(SCENE, flawless, "en").score


# ---------------------------------------------------------------------- what to practise next


def candidate(number: int, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "id": identity(number),
        "slug": f"scene_{number}",
        "industry": "hotels_hospitality",
        "situation": "phone_calls",
        "partner": "suppliers",
        "cefr": Range(lowest="B1", highest="B2"),
        "done": False,
    }
    return Candidate(**{**values, **changes})


JUST_DONE = candidate(0, slug="late_room", situation="conflict_resolution", partner="clients", done=True)


def outcome(*, reached: bool, score: int) -> Report:
    return Report(goal_reached=reached, score=score, met=(), missed=(), went_well=(), to_work_on=())


WELL, SO_SO, UNFINISHED, BADLY = (
    outcome(reached=True, score=95),
    outcome(reached=True, score=72),
    outcome(reached=False, score=60),
    outcome(reached=False, score=10),
)
CHOICE = [
    JUST_DONE,
    candidate(1),
    candidate(2, situation="conflict_resolution"),
    candidate(3, partner="clients"),
    candidate(4, cefr=Range(lowest="B2", highest="C1")),
    candidate(5, cefr=Range(lowest="A2", highest="B1")),
    candidate(6, industry="real_estate"),
]


def advice(report: Report, candidates: Sequence[Candidate] = CHOICE, language: str = "en") -> list[tuple[int, str]]:
    return [(one.scenario.int, one.reason) for one in recommend(candidates, of=SCENE, report=report, language=language)]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (WELL, [(4, "harder"), (3, "same_partner"), (1, "next")]),
        (SO_SO, [(3, "same_partner"), (1, "next"), (2, "next")]),
        (UNFINISHED, [(2, "same_situation_again"), (3, "same_partner"), (1, "next")]),
        (BADLY, [(5, "easier"), (2, "same_situation_again"), (1, "next")]),
    ],
    ids=["well", "so so", "unfinished", "badly"],
)
def test_what_comes_next_follows_from_how_it_went(report: Report, expected: list[tuple[int, str]]) -> None:
    assert advice(report) == expected


def test_the_scene_just_done_is_recommended_only_when_there_is_no_other() -> None:
    assert advice(UNFINISHED, [JUST_DONE]) == [(0, "once_more")]
    assert advice(UNFINISHED, [JUST_DONE, candidate(1, done=True)]) == [(1, "next")]
    assert advice(UNFINISHED, []) == []


def test_what_is_new_comes_before_what_was_done() -> None:
    done = candidate(1, situation="conflict_resolution", done=True)
    assert advice(UNFINISHED, [JUST_DONE, done, candidate(2)]) == [(2, "next"), (1, "next")]
    assert advice(UNFINISHED, [JUST_DONE, done]) == [(1, "same_situation_again")]


@pytest.mark.parametrize("report", [WELL, SO_SO, UNFINISHED, BADLY])
def test_every_reason_is_given_in_every_language(report: Report) -> None:
    details = [[one.detail for one in recommend(CHOICE, of=SCENE, report=report, language=language)] for language in LANGUAGES]
    for said_of_one in zip(*details, strict=True):
        assert len(set(said_of_one)) == len(LANGUAGES)


slugs = st.sampled_from([None, "phone_calls", "conflict_resolution"])
candidates_of = st.builds(
    candidate,
    st.integers(1, 8),
    slug=st.sampled_from(["late_room", "a", "b", "c"]),
    industry=st.sampled_from([None, "hotels_hospitality", "real_estate"]),
    situation=slugs,
    partner=st.sampled_from([None, "clients", "suppliers"]),
    cefr=st.sampled_from([Range(lowest="A1", highest="B1"), Range(lowest="B1", highest="B2"), Range(lowest="C1", highest="C2")]),
    done=st.booleans(),
)


@given(st.lists(candidates_of, max_size=8, unique_by=lambda one: one.id), st.sampled_from([WELL, SO_SO, UNFINISHED, BADLY]), st.randoms())
def test_recommendations_are_few_different_and_the_same_in_any_order(candidates: list[Candidate], report: Report, chance: Any) -> None:
    found = advice(report, candidates)
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert found == advice(report, shuffled)
    assert len({one for one, _ in found}) == len(found)
    others = {one.id.int for one in candidates if one.slug != "late_room"}
    assert len(found) == min(3, len(others)) or not others
    assert {one for one, _ in found} <= others or not others
    fresh = {one.id.int for one in candidates if one.slug != "late_room" and not one.done}
    assert not fresh or found[0][0] in fresh
