"""Seeding: the catalogue as the files of this build have it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from bus.registry import handles, prepares
from db.session import Work
from domain.catalogue.commands import SeedCatalogue, Seeded
from domain.catalogue.events import CatalogueSeeded
from domain.catalogue.identity import Kind, entry_id
from domain.catalogue.model import Entry, Offered, Role
from domain.catalogue.rules import tidy
from domain.catalogue.seeds import RoleFile, Seeds
from handlers.ports import Clock, SeedSource


class _Count:
    """What a seeding has touched so far."""

    def __init__(self) -> None:
        self.added = self.changed = self.retired = 0

    def retire(self, known: Sequence[Offered], kept: set[UUID], *, now: datetime) -> None:
        for one in known:
            if one.id not in kept and not one.edited:
                self.retired += bool(one.retire(now=now, by_seed=True))

    def change(self, found: Offered, values: Mapping[str, Any], *, now: datetime) -> None:
        if not found.edited:
            self.changed += bool(found.change({**values, "available": True}, now=now, by_seed=True))


@prepares(SeedCatalogue)
async def load_seeds(cmd: SeedCatalogue, source: SeedSource) -> Seeds:  # noqa: ARG001 - the files are the build's
    return await asyncio.to_thread(source)


@handles(SeedCatalogue)
async def seed_catalogue(cmd: SeedCatalogue, work: Work, seeds: Seeds, clock: Clock) -> Seeded:  # noqa: ARG001 - the same
    """Kind by kind; industries come before the roles that name them."""
    now = clock()
    applied = await work.seed_files.applied()
    count = _Count()
    for kind, file in seeds.entries.items():
        if _is_due(applied, kind, file.version, seeds):
            await _seed_entries(work, kind, [tidy(msgspec.structs.asdict(entry)) for entry in file.entries], count, now)
            await work.seed_files.keep(kind, file.version, seeds.digests[kind], now=now)
    await work.flush()
    names = {f"roles/{file.industry}": file for file in seeds.roles}
    industries_due = _is_due(applied, "industry", seeds.entries["industry"].version, seeds)
    if industries_due or any(_is_due(applied, name, file.version, seeds) for name, file in names.items()):
        current = {name: file for name, file in names.items() if not _is_older(applied, name, file.version)}
        await _seed_roles(work, seeds, list(current.values()), count, now, every_industry=industries_due)
        for name, file in current.items():
            await work.seed_files.keep(name, file.version, seeds.digests[name], now=now)
    if count.added or count.changed or count.retired:
        work.record(CatalogueSeeded(added=count.added, changed=count.changed, retired=count.retired))
    return Seeded(added=count.added, changed=count.changed, retired=count.retired)


def _is_due(applied: Mapping[str, tuple[int, bytes]], name: str, version: int, seeds: Seeds) -> bool:
    """While a build is being made its files change under one version; those of an older build are never applied over a newer's."""
    return not _is_older(applied, name, version) and applied.get(name, (0, b""))[1] != seeds.digests[name]


def _is_older(applied: Mapping[str, tuple[int, bytes]], name: str, version: int) -> bool:
    return name in applied and version < applied[name][0]


async def _seed_entries(work: Work, kind: Kind, rows: Sequence[dict[str, Any]], count: _Count, now: datetime) -> None:
    known = {entry.slug: entry for entry in await work.entries.of(kind)}
    for position, row in enumerate(rows):
        values: dict[str, Any] = {**row, "position": position}
        if (found := known.get(row["slug"])) is None:
            work.entries.add(Entry(id=entry_id(kind, row["slug"]), kind=kind, **values, created_at=now, updated_at=now))
            count.added += 1
        else:
            count.change(found, values, now=now)
    count.retire(list(known.values()), {entry_id(kind, row["slug"]) for row in rows}, now=now)


async def _seed_roles(work: Work, seeds: Seeds, current: Sequence[RoleFile], count: _Count, now: datetime, *, every_industry: bool) -> None:
    """`current` are the files that may be applied: roles of other files stay, unless `every_industry` and theirs is gone."""
    known = {role.slug: role for role in await work.roles.with_slugs()}
    places = {role.slug: position for position, role in enumerate(role for file in seeds.roles for role in file.roles)}
    for file in current:
        for role in file.roles:
            row = tidy(msgspec.structs.asdict(role))
            values: dict[str, Any] = {**row, "industry": entry_id("industry", file.industry), "position": places[role.slug]}
            if (found := known.get(role.slug)) is None:
                work.roles.add(Role(id=entry_id("role", role.slug), **values, created_at=now, updated_at=now))
                count.added += 1
            else:
                count.change(found, values, now=now)
    ruled = {entry_id("industry", file.industry) for file in current}
    of_build = {entry_id("industry", entry.slug) for entry in seeds.entries["industry"].entries}
    judged = [role for role in known.values() if role.industry in ruled or (every_industry and role.industry not in of_build)]
    count.retire(judged, {entry_id("role", slug) for slug in places}, now=now)
