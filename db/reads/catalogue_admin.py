"""The catalogue as admins read it: with what is retired, and in no language but its own."""

from collections.abc import Mapping
from typing import Any

import msgspec

from db.connection import Database
from db.metadata import lines_of
from domain.catalogue.commands import EntryDetails, RoleDetails
from domain.catalogue.errors import UnknownEntry
from domain.catalogue.identity import EntryKind, identity_of

Place = tuple[int, str]


class CatalogueAdminReads:
    """Lists are in the order in which they are offered. `after` is position and slug of the last one of the page before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(
        self, kind: EntryKind, *, available: bool | None = None, search: str = "", after: Place | None = None, limit: int | None = None
    ) -> list[EntryDetails]:
        """`search` is a part of the name or of the slug, in any case."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_ENTRIES, kind, available, search.strip().lower(), *(after or (None, None)), limit)
        return [_entry(row) for row in rows]

    async def entry(self, kind: EntryKind, ref: str) -> EntryDetails:
        """By its id or its slug. Raises `UnknownEntry`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(f"{_ENTRY} WHERE kind = $1 AND id = $2", kind, identity_of(kind, ref))
        if row is None:
            raise UnknownEntry
        return _entry(row)

    async def roles(
        self,
        *,
        industry: str | None = None,
        available: bool | None = None,
        search: str = "",
        after: Place | None = None,
        limit: int | None = None,
    ) -> list[RoleDetails]:
        """The catalogue's own. `industry` is an id or a slug, `search` a part of the title, an alias or the slug."""
        wanted = None if industry is None else identity_of("industry", industry)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_ROLES, wanted, available, search.strip().lower(), *(after or (None, None)), limit)
        return [_role(row) for row in rows]

    async def role(self, ref: str) -> RoleDetails:
        """By its id or its slug. Raises `UnknownEntry`, also for a role that a learner described."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(f"{_ROLE} AND roles.id = $1", identity_of("role", ref))
        if row is None:
            raise UnknownEntry
        return _role(row)


def _entry(row: Mapping[str, Any]) -> EntryDetails:
    return msgspec.convert(dict(row), EntryDetails)


def _role(row: Mapping[str, Any]) -> RoleDetails:
    lines = {name: lines_of(row[name]) for name in ("keywords", "duties", "aliases")}
    return msgspec.convert({**row, **lines}, RoleDetails)


_ENTRY = """
SELECT id, slug, name, description, icon, autonym, direction, labels, position, available, edited, created_at, updated_at, version
FROM catalogue_entries
"""

_ENTRIES = f"""
{_ENTRY} WHERE kind = $1 AND ($2::boolean IS NULL OR available = $2) AND strpos(lower(name || ' ' || slug), $3) > 0
    AND ($4::integer IS NULL OR (position, slug) > ($4, $5::text))
ORDER BY position, slug LIMIT $6
"""

_ROLE = """
SELECT roles.id, roles.slug, roles.title, roles.description, industries.slug AS industry, roles.hierarchy_level, roles.keywords,
    roles.duties, roles.aliases, roles.labels, roles.position, roles.available, roles.edited, roles.created_at, roles.updated_at,
    roles.version
FROM roles JOIN catalogue_entries AS industries ON industries.id = roles.industry WHERE roles.slug IS NOT NULL
"""

_ROLES = f"""
{_ROLE} AND ($1::uuid IS NULL OR roles.industry = $1) AND ($2::boolean IS NULL OR roles.available = $2)
    AND strpos(lower(roles.title || ' ' || roles.aliases || ' ' || roles.slug), $3) > 0
    AND ($4::integer IS NULL OR (roles.position, roles.slug) > ($4, $5::text))
ORDER BY roles.position, roles.slug LIMIT $6
"""
