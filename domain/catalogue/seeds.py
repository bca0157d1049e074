"""What seed files hold, and what is wrong with them."""

from collections.abc import Iterator, Sequence

import msgspec

from domain.catalogue.identity import Kind
from domain.catalogue.rules import entry_problems, role_problems


class EntrySeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slug: str
    name: str
    description: str = ""
    icon: str | None = None
    autonym: str | None = None
    direction: str | None = None
    labels: dict[str, dict[str, str]] = {}


class RoleSeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slug: str
    title: str
    hierarchy_level: str
    description: str
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    aliases: tuple[str, ...]
    labels: dict[str, dict[str, str]] = {}


class EntryFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    entries: tuple[EntrySeed, ...]


class RoleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    industry: str
    roles: tuple[RoleSeed, ...]


class Seeds(msgspec.Struct, frozen=True, kw_only=True):
    """All seed files of a build. `digests` has the SHA-256 of each by its name: a kind, or `roles/<industry>`."""

    entries: dict[Kind, EntryFile]
    roles: tuple[RoleFile, ...]
    digests: dict[str, bytes]


def problems_of(seeds: Seeds) -> Iterator[str]:
    """Everything that is wrong, each as one line that names file, entry and field.

    When the industries or the levels themselves could not be read, roles are not judged: every one of them would name one that is missing.
    """
    for kind, file in seeds.entries.items():
        yield from _twice(kind, [entry.slug for entry in file.entries])
        for entry in file.entries:
            values = msgspec.structs.asdict(entry)
            yield from (f"{kind} {entry.slug}: {found.field} {found.message}" for found in entry_problems(kind, values))
    if not {"industry", "hierarchy_level"} <= seeds.entries.keys():
        return
    industries = {entry.slug for entry in seeds.entries["industry"].entries}
    levels = {entry.slug for entry in seeds.entries["hierarchy_level"].entries}
    yield from _twice("role", [role.slug for file in seeds.roles for role in file.roles])
    for file in seeds.roles:
        for role in file.roles:
            values = {**msgspec.structs.asdict(role), "industry": file.industry}
            found = role_problems(values, industries=industries, levels=levels)
            yield from (f"role {role.slug}: {problem.field} {problem.message}" for problem in found)


def _twice(kind: str, slugs: Sequence[str]) -> Iterator[str]:
    yield from (f"{kind} {slug}: is there twice" for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}))
