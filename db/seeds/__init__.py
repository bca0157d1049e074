"""The seed files of this build: the catalogue and the scenarios that every installation begins with.

Each has a version, raised with every change of it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from domain.catalogue.identity import Kind
from domain.catalogue.seeds import EntryFile, RoleFile, Seeds, problems_of
from domain.practice.scenario import Scenario
from domain.practice.seeds import PLACES, Known, ScenarioSeeds, problems_with

T = TypeVar("T")
FOLDER = Path(__file__).parent
FILES: dict[Kind, str] = {
    "language": "languages",
    "industry": "industries",
    "hierarchy_level": "hierarchy_levels",
    "partner": "partners",
    "situation": "situations",
}


class BadSeeds(ValueError):
    """The seed files cannot be used; the message has a line for every problem."""


@cache
def load(folder: Path = FOLDER) -> Seeds:
    """Raises `BadSeeds`."""
    problems: list[str] = []
    digests: dict[str, bytes] = {}

    def read(path: Path, shape: type[T], name: str) -> T | None:
        try:
            data = path.read_bytes()
            digests[name] = hashlib.sha256(data).digest()
            return msgspec.json.decode(data, type=shape)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{path.relative_to(folder)}: {error.strerror if isinstance(error, OSError) else error}")
            return None

    entries: dict[Kind, EntryFile] = {
        kind: file for kind, name in FILES.items() if (file := read(folder / f"{name}.json", EntryFile, kind)) is not None
    }
    roles: list[RoleFile] = []
    for path in sorted((folder / "roles").glob("*.json")):
        if (file := read(path, RoleFile, f"roles/{path.stem}")) is not None:
            roles.append(file)
            if file.industry != path.stem:
                problems.append(f"{path.relative_to(folder)}: it must be named after its industry, {file.industry}")
    seeds = Seeds(entries=entries, roles=tuple(roles), digests=digests)
    if problems := [*problems, *problems_of(seeds)]:
        raise BadSeeds("\n".join(problems))
    return seeds


@cache
def load_scenarios(folder: Path = FOLDER) -> ScenarioSeeds:
    """From `scenarios/<industry>/<situation>.json`, judged by the catalogue of the same build. Raises `BadSeeds`."""
    known: Known = {kind: {entry.slug for entry in load(folder).entries[kind].entries} for kind in PLACES}
    problems: list[str] = []
    scenarios: list[Scenario] = []
    digests: dict[str, bytes] = {}
    for path in sorted((folder / "scenarios").glob("*/*.json")):
        name = path.relative_to(folder)
        try:
            data = path.read_bytes()
            scenario = msgspec.json.decode(data, type=Scenario)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{name}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        if (scenario.industry, scenario.situation) != (path.parent.name, path.stem):
            problems.append(f"{name}: it must lie where its industry and its situation say")
        scenarios.append(scenario)
        digests[scenario.slug] = hashlib.sha256(data).digest()
    if problems := [*problems, *problems_with(scenarios, known)]:
        raise BadSeeds("\n".join(problems))
    return ScenarioSeeds(scenarios=tuple(scenarios), digests=digests)
