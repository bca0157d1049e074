"""A scenario: who meets whom, about what, and how the meeting may go. The shape of the seed files, of imports and of a learner's own."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal, get_args
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

Level = Literal["A1", "A2", "B1", "B2", "C1", "C2"]
"""A level of the Common European Framework of Reference for Languages."""
LEVELS: tuple[Level, ...] = get_args(Level)

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Line = Annotated[str, msgspec.Meta(min_length=2, max_length=600)]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(?:_[a-z0-9]+)*$", max_length=100)]

NAMESPACE = uuid5(NAMESPACE_URL, "https://fluentpro.app/scenarios")

LEAST_PARTNER_TURNS = 8
LEAST_BRANCHES = 4


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything here is exact: a misspelt field is refused, not dropped."""


class Persona(Shape, frozen=True, kw_only=True):
    """The partner whom the model plays."""

    name: Short
    role: Short
    mood: Short
    speech_style: Short


class LearnerPart(Shape, frozen=True, kw_only=True):
    role: Short
    goal: Line


class Criterion(Shape, frozen=True, kw_only=True):
    """Met once the learner has said any of these words or phrases."""

    id: Slug
    text: Line
    any: Annotated[tuple[Short, ...], msgspec.Meta(min_length=2, max_length=20)]


class Range(Shape, frozen=True, kw_only=True):
    """For whom this is neither too easy nor too hard; both ends included."""

    lowest: Level
    highest: Level


class Beat(Shape, frozen=True, kw_only=True):
    """What the partner says next: when the learner answered to the point (`expects` names words of such an answer, `example` is one),
    when they said hardly anything, and when they spoke about something else.
    """

    expects: Annotated[tuple[Short, ...], msgspec.Meta(min_length=4, max_length=20)]
    example: Line
    say: Line
    short: Line
    astray: Line


class Branch(Shape, frozen=True, kw_only=True):
    """Said once, before a beat's `say`, when the learner's answer to the point also has one of these words or phrases."""

    when: Annotated[tuple[Short, ...], msgspec.Meta(min_length=1, max_length=12)]
    say: Line


class Closing(Shape, frozen=True, kw_only=True):
    """The partner's last words: with all criteria met, with some, with none. `example` is how a learner may take leave before them."""

    example: Line
    reached: Line
    partly: Line
    missed: Line


class Script(Shape, frozen=True, kw_only=True):
    beats: Annotated[tuple[Beat, ...], msgspec.Meta(min_length=1, max_length=20)]
    branches: Annotated[tuple[Branch, ...], msgspec.Meta(max_length=20)]
    closing: Closing


class Scenario(Shape, frozen=True, kw_only=True):
    """`industry`, `situation` and `partner` are slugs of the catalogue, or None where any will do. `version` grows with every change.

    The partner opens; every beat answers one turn of the learner, and the closing the last. Without a script a language model plays it.
    """

    slug: Slug
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    title: Short
    industry: Slug | None
    situation: Slug | None
    partner: Slug | None
    persona: Persona
    learner: LearnerPart
    constraints: Annotated[tuple[Line, ...], msgspec.Meta(max_length=10)]
    success_criteria: Annotated[tuple[Criterion, ...], msgspec.Meta(min_length=1, max_length=8)]
    cefr: Range
    opening: Line
    useful_phrases: Annotated[tuple[Line, ...], msgspec.Meta(max_length=20)]
    cultural_notes: Annotated[tuple[Line, ...], msgspec.Meta(max_length=10)]
    script: Script | None = None

    @property
    def length(self) -> int:
        """How many turns the learner has, the last of them answered by the closing."""
        return len(self.script.beats) + 1 if self.script is not None else LEAST_PARTNER_TURNS

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that the partner may say."""
        if self.script is None:
            return (self.opening,)
        beats = [line for beat in self.script.beats for line in (beat.say, beat.short, beat.astray)]
        closing = self.script.closing
        return (self.opening, *beats, *(branch.say for branch in self.script.branches), closing.reached, closing.partly, closing.missed)


def scenario_id(slug: str) -> UUID:
    """The id of one that everybody has: the same in every installation."""
    return uuid5(NAMESPACE, slug)


def normal(text: str) -> str:
    """Words in lower case, one space between them, and nothing else: how scripts compare what was said."""
    return " ".join(re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower().replace("\u2019", "'")))


def is_heard(phrase: str) -> bool:
    """Whether there is anything in it to compare with what was said: signs and other scripts are passed over."""
    return bool(normal(phrase))


def says(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether the text has any of the words or phrases, whole, in any case."""
    return saying(phrases)(text)


def saying(phrases: tuple[str, ...]) -> Callable[[str], bool]:
    """The same for many texts. Nothing says a phrase that cannot be heard."""
    wanted = [f" {normal(phrase)} " for phrase in phrases if is_heard(phrase)]

    def is_said(text: str) -> bool:
        said = f" {normal(text)} "
        return any(phrase in said for phrase in wanted)

    return is_said


def problems_of(scenario: Scenario) -> Iterator[str]:
    """What is wrong with one that is to be played by its script, a line for each."""
    if LEVELS.index(scenario.cefr.lowest) > LEVELS.index(scenario.cefr.highest):
        yield "cefr: `lowest` is above `highest`"
    yield from (f"the line {line!r} occurs more than once" for line in _repeated(scenario.lines))
    yield from (f"success_criteria: the id {one!r} occurs more than once" for one in _repeated(one.id for one in scenario.success_criteria))
    yield from (
        f"{place}: {phrase!r} has no letter from a to z and no digit, and is never heard"
        for place, phrase in _phrases(scenario)
        if not is_heard(phrase)
    )
    if scenario.script is None:
        yield "script: missing"
    else:
        yield from _problems_of_script(scenario.script, scenario.success_criteria)


UNHEARD = "Send a word or phrase with letters from a to z, or digits: nothing else is listened for."
LEAST_WORDS = 4
"""What has fewer words counts as hardly anything."""


def _problems_of_script(script: Script, criteria: tuple[Criterion, ...]) -> Iterator[str]:
    if len(script.beats) + 2 < LEAST_PARTNER_TURNS:
        yield f"script.beats: with the opening and the closing there must be at least {LEAST_PARTNER_TURNS} turns of the partner"
    if len(script.branches) < LEAST_BRANCHES:
        yield f"script.branches: there must be at least {LEAST_BRANCHES}"
    for number, beat in enumerate(script.beats):
        if not says(beat.example, beat.expects):
            yield f"script.beats[{number}]: its `example` has none of the words that it `expects`"
        if len(normal(beat.example).split()) < LEAST_WORDS:
            yield f"script.beats[{number}]: its `example` counts as too short"
    examples = " ".join([*(beat.example for beat in script.beats), script.closing.example])
    for criterion in criteria:
        if not says(examples, criterion.any):
            yield f"success_criteria: no example of the script meets {criterion.id!r}"
    for number, branch in enumerate(script.branches):
        if not any(says(text, branch.when) for text in _examples(script)):
            yield f"script.branches[{number}]: nothing that a learner is expected to say leads to it"


def _phrases(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """All that is listened for, and where it stands."""
    beats, branches = (scenario.script.beats, scenario.script.branches) if scenario.script is not None else ((), ())
    lists = [
        *((f"success_criteria[{number}].any", criterion.any) for number, criterion in enumerate(scenario.success_criteria)),
        *((f"script.beats[{number}].expects", beat.expects) for number, beat in enumerate(beats)),
        *((f"script.branches[{number}].when", branch.when) for number, branch in enumerate(branches)),
    ]
    return ((f"{place}[{number}]", phrase) for place, phrases in lists for number, phrase in enumerate(phrases))


def _examples(script: Script) -> Iterator[str]:
    """What learners may say: the examples, and every word or phrase that is expected of them."""
    for beat in script.beats:
        yield beat.example
        yield from beat.expects


def _repeated(texts: Iterable[str]) -> list[str]:
    counted = Counter(normal(text) for text in texts)
    return [text for text, count in counted.items() if count > 1]
