"""What is read of the catalogue. An entry is asked for by its id or by its slug."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from db.connection import Database
from db.metadata import lines_of
from domain.catalogue.errors import UnknownEntry
from domain.catalogue.identity import Kind, same_slug
from domain.types import AccountId

ENGLISH = "en"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: str
    name: str
    available: bool


class FoundRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role as those see it who may; `slug` is None for one that a learner described."""

    id: UUID
    slug: str | None
    title: str
    description: str
    industry: UUID
    hierarchy_level: str
    available: bool
    status: str


class Name(msgspec.Struct, frozen=True, kw_only=True):
    slug: str
    name: str


class RoleTitle(msgspec.Struct, frozen=True, kw_only=True):
    slug: str | None
    title: str
    hierarchy_level: str


class EntryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Those of a kind that are offered, or those that are not; `search` is a part of any name, in any language.

    `after` is the place of the last one of the page before.
    """

    kind: Kind
    available: bool = True
    search: str = ""
    after: tuple[int, str] | None = None
    limit: int


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`language` is that of the name; English where there is no label in any that was asked for."""

    id: UUID
    slug: str
    name: str
    description: str
    icon: str | None
    autonym: str | None
    direction: str | None
    available: bool
    position: int
    language: str

    @property
    def place(self) -> tuple[int, str]:
        return self.position, self.slug


class RoleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is offered to everybody, and to the viewer alone. `search` is any words of a role, the last ones possibly not yet whole.

    `industry` and `hierarchy_level` are an id and a slug. `after` is the place of the last one of the page before, for the same search.
    """

    viewer: AccountId | None
    search: str = ""
    industry: UUID | None = None
    hierarchy_level: str | None = None
    after: tuple[float, int, UUID] | None = None
    limit: int


class ListedRole(msgspec.Struct, frozen=True, kw_only=True):
    """`languages` are those of its title and of its industry's name. `rank` is lower for what fits a search better."""

    id: UUID
    slug: str | None
    title: str
    description: str
    industry: UUID
    industry_slug: str
    industry_name: str
    hierarchy_level: str
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    aliases: tuple[str, ...]
    available: bool
    position: int
    rank: float
    languages: tuple[str, ...]

    @property
    def place(self) -> tuple[float, int, UUID]:
        return self.rank, self.position, self.id


class CatalogueReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def resolve(self, kind: Kind, refs: Collection[str]) -> dict[str, Found]:
        """Each id or slug that is one of this kind, retired or not, by how it was given; others are left out."""
        refs = [ref for ref in refs if "\0" not in ref]  # PostgreSQL has no such text.
        slugs = {ref: same_slug(kind, ref) for ref in refs}
        ids = {ref: identity for ref in refs if (identity := _uuid(ref)) is not None}
        async with self._database.driver() as driver:
            rows = await driver.fetch(_RESOLVE, kind, list(set(slugs.values())), list(set(ids.values())))
        found = [msgspec.convert(dict(row), Found) for row in rows]
        by_slug, by_id = {one.slug.lower(): one for one in found}, {one.id: one for one in found}
        matches = {ref: by_id.get(ids[ref]) if ref in ids else by_slug.get(slugs[ref]) for ref in refs}
        return {ref: match for ref, match in matches.items() if match is not None}

    async def role(self, ref: str, *, viewer: AccountId | None) -> FoundRole | None:
        """One of the catalogue's own, one that was published, or the viewer's own; retired or not."""
        if "\0" in ref:
            return None
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_ROLE, _uuid(ref), same_slug("role", ref), viewer)
        return None if row is None else msgspec.convert(dict(row), FoundRole)

    async def entries(self, query: EntryQuery, languages: Sequence[str] = ()) -> list[ListedEntry]:
        """In the order of the catalogue, with texts in the first of these languages that has them, else in English."""
        search = query.search.strip()
        position, slug = query.after or (None, None)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_ENTRIES, query.kind, query.available, search, _like(search), position, slug, query.limit)
        return [_listed_entry(dict(row), languages) for row in rows]

    async def roles(self, query: RoleQuery, languages: Sequence[str] = ()) -> list[ListedRole]:
        """The best first, else in the order of the catalogue; texts as with entries."""
        search = query.search.strip()
        arguments = (query.viewer, search, _like(search), rf"\m{re.escape(search)}", query.industry, query.hierarchy_level)
        rank, position, identity = query.after or (None, None, None)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_ROLES, *arguments, rank, position, identity, query.limit)
        return [_listed_role(dict(row), languages) for row in rows]

    async def listed_role(self, ref: str, *, viewer: AccountId | None, languages: Sequence[str] = ()) -> ListedRole:
        """One that the viewer may see, retired or not. Raises `UnknownEntry`."""
        if "\0" in ref:
            raise UnknownEntry
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_LISTED_ROLE, _uuid(ref), same_slug("role", ref), viewer)
        if row is None:
            raise UnknownEntry
        return _listed_role(dict(row), languages)

    async def role_title(self, role: UUID, languages: Sequence[str] = ()) -> RoleTitle:
        """In the first of these languages that has a label, else in English. Raises `UnknownEntry`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow("SELECT slug, title, hierarchy_level, labels FROM roles WHERE id = $1", role)
        if row is None:
            raise UnknownEntry
        return RoleTitle(slug=row["slug"], title=_named(row["title"], row["labels"], languages), hierarchy_level=row["hierarchy_level"])

    async def names(self, kind: Kind, ids: Collection[UUID], languages: Sequence[str] = ()) -> dict[UUID, Name]:
        """Names in the first of these languages (BCP 47 tags) that an entry has a label in, else in English."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_NAMES, kind, list(ids))
        return {row["id"]: Name(slug=row["slug"], name=_named(row["name"], row["labels"], languages)) for row in rows}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _named(name: str, labels: Mapping[str, Mapping[str, str]], languages: Sequence[str]) -> str:
    return next((labels[tag]["name"] for tag in languages if "name" in labels.get(tag, {})), name)


def _label(labels: Mapping[str, Mapping[str, str]], languages: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The language, and what there is in it beside English."""
    tag = next((tag for tag in languages if "name" in labels.get(tag, {})), None)
    return (ENGLISH, {}) if tag is None else (tag, labels[tag])


def _listed_entry(row: dict[str, Any], languages: Sequence[str]) -> ListedEntry:
    language, label = _label(row.pop("labels"), languages)
    return msgspec.convert({**row, **label, "language": language}, ListedEntry)


def _listed_role(row: dict[str, Any], languages: Sequence[str]) -> ListedRole:
    language, label = _label(row.pop("labels"), languages)
    of_industry, industry = _label(row.pop("industry_labels"), languages)
    changed = {
        "title": label.get("name", row["title"]),
        "description": label.get("description", row["description"]),
        "industry_name": industry.get("name", row["industry_name"]),
        "languages": tuple(dict.fromkeys((language, of_industry))),
        **{name: lines_of(row[name]) for name in ("keywords", "duties", "aliases")},
    }
    return msgspec.convert({**row, **changed}, ListedRole)


def _like(text: str) -> str:
    """A pattern of what has this text anywhere."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


_LABELLED = "EXISTS (SELECT FROM jsonb_each({labels}) label WHERE label.value ->> 'name' ILIKE {pattern})"

_ENTRIES = f"""
SELECT id, slug, name, description, icon, autonym, direction, available, position, labels FROM catalogue_entries
WHERE kind = $1 AND available = $2
    AND ($3 = '' OR name ILIKE $4 OR slug ILIKE $4 OR autonym ILIKE $4 OR {_LABELLED.format(labels="labels", pattern="$4")})
    AND ($5::int IS NULL OR (position, slug) > ($5, $6::text))
ORDER BY position, slug LIMIT $7
"""

_SHOWN = """
role.id, role.slug, role.title, role.description, role.industry, role.hierarchy_level, role.keywords, role.duties, role.aliases,
    role.available, role.position, role.labels, industry.slug AS industry_slug, industry.name AS industry_name,
    industry.labels AS industry_labels
"""

# Words as they are stemmed, whole or not; and the beginning of a word as it was typed, which a stem need not begin with.
_ROLES = f"""
WITH asked AS MATERIALIZED (
    SELECT coalesce(string_agg(quote_literal(word) || ':*', ' & '), '')::tsquery AS words
    FROM unnest(tsvector_to_array(to_tsvector('english', $2))) word
), found AS (
    SELECT roles.*, CASE WHEN $2 = '' THEN 0 ELSE -ts_rank(search, words)::float8 - (title ~* $4)::int END AS rank
    FROM asked, roles
    WHERE available AND (status = 'published' OR owner = $1)
        AND ($5::uuid IS NULL OR industry = $5) AND ($6::text IS NULL OR hierarchy_level = $6)
        AND ($2 = '' OR search @@ words OR concat_ws(E'\n', title, aliases, keywords) ~* $4
            OR {_LABELLED.format(labels="labels", pattern="$3")})
)
SELECT {_SHOWN}, role.rank::float8 AS rank FROM found role JOIN catalogue_entries industry ON industry.id = role.industry
WHERE $7::float8 IS NULL OR (role.rank, role.position, role.id) > ($7, $8::int, $9::uuid)
ORDER BY role.rank, role.position, role.id LIMIT $10
"""

_LISTED_ROLE = f"""
SELECT {_SHOWN}, 0::float8 AS rank FROM roles role JOIN catalogue_entries industry ON industry.id = role.industry
WHERE (role.id = $1 OR role.slug = $2) AND (role.status = 'published' OR role.owner = $3)
"""

_RESOLVE = """
SELECT id, slug, name, available FROM catalogue_entries
WHERE kind = $1 AND (lower(slug) = ANY($2::text[]) OR id = ANY($3::uuid[]))
"""

_ROLE = """
SELECT id, slug, title, description, industry, hierarchy_level, available, status FROM roles
WHERE (id = $1 OR slug = $2) AND (status = 'published' OR owner = $3)
"""

_NAMES = "SELECT id, slug, name, labels FROM catalogue_entries WHERE kind = $1 AND id = ANY($2::uuid[])"
