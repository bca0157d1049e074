"""The repositories of the catalogue."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select

from db.catalogue.tables import entries, roles
from db.connection import Driver
from db.repository import Repository
from domain.catalogue.errors import SlugTaken, UnknownEntry
from domain.catalogue.identity import Kind, identity_of
from domain.catalogue.model import Entry, Role

CONSTRAINTS = dict.fromkeys(("uq_catalogue_entries_kind_slug", "pk_catalogue_entries", "uq_roles_slug", "pk_roles"), SlugTaken)


class Entries(Repository[Entry]):
    aggregate = Entry
    missing = UnknownEntry

    async def of(self, kind: Kind) -> Sequence[Entry]:
        """All of a kind, retired ones too."""
        found = await self._session.execute(select(Entry).where(entries.c.kind == kind).order_by(entries.c.position, entries.c.slug))
        return found.scalars().all()

    async def named(self, kind: Kind, ref: str) -> Entry:
        """By its id or its slug, retired or not. Raises `UnknownEntry`."""
        found = await self.find(id=identity_of(kind, ref), kind=kind)
        if found is None:
            raise UnknownEntry
        return found

    async def ids(self, kind: Kind) -> dict[str, UUID]:
        """Slug -> id of all of a kind, retired ones too."""
        found = await self._session.execute(select(entries.c.slug, entries.c.id).where(entries.c.kind == kind))
        return {row.slug: row.id for row in found}

    async def next_position(self, kind: Kind) -> int:
        """Behind all others of the kind."""
        last = await self._session.scalar(select(func.max(entries.c.position)).where(entries.c.kind == kind))
        return 0 if last is None else last + 1


class Roles(Repository[Role]):
    aggregate = Role
    missing = UnknownEntry

    async def with_slugs(self) -> Sequence[Role]:
        """The catalogue's own, retired ones too."""
        found = await self._session.execute(select(Role).where(roles.c.slug.is_not(None)).order_by(roles.c.position, roles.c.slug))
        return found.scalars().all()

    async def named(self, ref: str) -> Role:
        """One of the catalogue's own by its id or its slug, retired or not. Raises `UnknownEntry`."""
        found = await self.find(id=identity_of("role", ref))
        if found is None or found.slug is None:
            raise UnknownEntry
        return found

    async def next_position(self) -> int:
        """Behind all others of the catalogue's own."""
        last = await self._session.scalar(select(func.max(roles.c.position)).where(roles.c.slug.is_not(None)))
        return 0 if last is None else last + 1


class SeedFiles:
    """Which seed files have been applied."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def applied(self) -> dict[str, tuple[int, bytes]]:
        """Name -> version and digest. Locked until the end of the transaction: two that seed at once would add the same entries."""
        await self._driver.execute("LOCK TABLE seed_files IN SHARE ROW EXCLUSIVE MODE")
        found = await self._driver.fetch("SELECT name, version, digest FROM seed_files")
        return {row["name"]: (row["version"], row["digest"]) for row in found}

    async def keep(self, name: str, version: int, digest: bytes, *, now: datetime) -> None:
        await self._driver.execute(_KEEP, name, version, digest, now)


_KEEP = """
INSERT INTO seed_files (name, version, digest, applied_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET version = excluded.version, digest = excluded.digest, applied_at = excluded.applied_at
"""
