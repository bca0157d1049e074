"""The scenarios that a build ships, and what is wrong with scenarios: with those of files, and with those that learners write."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from domain.errors import FieldError
from domain.practice.commands import ScenarioRow
from domain.practice.scenario import LEVELS, UNHEARD, Level, Scenario, is_heard, problems_of

Place = Literal["industry", "situation", "partner"]
PLACES: tuple[Place, ...] = get_args(Place)
"""Where a scenario belongs: each is a field of it with a slug of the catalogue."""

Known = Mapping[Place, Collection[str]]
PATH = re.compile(r"[a-z_]+(?:\.[a-z_]+|\[[0-9]+\])*")


class ScenarioSeeds(msgspec.Struct, frozen=True, kw_only=True):
    """All scenario files of a build. `digests` has the SHA-256 of each by the slug."""

    scenarios: tuple[Scenario, ...]
    digests: dict[str, bytes]


def strangers(scenario: Scenario, known: Known) -> Iterator[tuple[Place, str]]:
    """Where it names what the catalogue does not know: field and slug."""
    for place in PLACES:
        slug: str | None = getattr(scenario, place)
        if slug is not None and slug not in known[place]:
            yield place, slug


def problems_with(scenarios: Sequence[Scenario], known: Known) -> Iterator[str]:
    """Everything that is wrong, each as one line that names the scenario."""
    slugs = [scenario.slug for scenario in scenarios]
    yield from (f"scenario {slug}: is there twice" for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}))
    for scenario in scenarios:
        yield from (f"scenario {scenario.slug}: {problem}" for problem in problems_of(scenario))
        yield from (f"scenario {scenario.slug}: {place}: the catalogue has no {slug!r}" for place, slug in strangers(scenario, known))


def own_problems(cefr: tuple[Level, Level] | None, criteria: Sequence[tuple[str, Sequence[str]]]) -> Iterator[FieldError]:
    """What is wrong with one that a learner writes, beyond its shape: its lowest and highest level, and of each criterion the id and the
    phrases.
    """
    if cefr is not None and LEVELS.index(cefr[0]) > LEVELS.index(cefr[1]):
        yield FieldError("/cefr/lowest", "not_allowed", "Send a level that is not above the highest.")
    for number, (identity, phrases) in enumerate(criteria):
        if identity in (one for one, _ in criteria[:number]):
            yield FieldError(f"/success_criteria/{number}/id", "duplicate", "Give each criterion an id of its own.")
        for place, phrase in enumerate(phrases):
            if not is_heard(phrase):
                yield FieldError(f"/success_criteria/{number}/any/{place}", "not_allowed", UNHEARD)


def row_problems(row: ScenarioRow, known: Known, *, version: int | None, first: bool) -> Iterator[FieldError]:
    """What is wrong with a row of a file, by pointers such as `/rows/3/cefr`. `version` is that which a changed scenario must exceed;
    `first` says whether no row above has its slug.
    """
    home, scenario = f"/rows/{row.number}", row.scenario
    yield from (FieldError(home + error.field, error.code, error.message) for error in row.wrong)
    if scenario is None:
        return
    if not first:
        yield FieldError(f"{home}/slug", "duplicate", "A row above has this slug.")
    if version is not None and scenario.version <= version:
        yield FieldError(f"{home}/version", "out_of_range", f"It differs from version {version}, so it needs a higher one.")
    for place, _ in strangers(scenario, known):
        yield FieldError(f"{home}/{place}", "unknown", "Send the slug of one that is in the catalogue.")
    for problem in problems_of(scenario):
        place, colon, text = problem.partition(": ")
        pointer = "/" + re.sub(r"[.\[]", "/", place.replace("]", "")) if colon and PATH.fullmatch(place) else ""
        yield FieldError(home + pointer, "invalid", text if pointer else problem)
