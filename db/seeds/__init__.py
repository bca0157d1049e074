"""The seed files of this build: what every installation's catalogue begins with. Each has a version, raised with every change of it."""

import hashlib
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from domain.catalogue.identity import Kind
from domain.catalogue.seeds import EntryFile, RoleFile, Seeds, problems_of

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
