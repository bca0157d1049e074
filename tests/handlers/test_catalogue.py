"""Builds that do not agree about the catalogue, and two who add the same to it."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import msgspec
import pytest

from app.bootstrap import House
from db.seeds import load
from db.session import unit
from domain.catalogue.commands import SeedCatalogue, Seeded
from domain.catalogue.errors import SlugTaken
from domain.catalogue.identity import entry_id
from domain.catalogue.model import Role
from domain.catalogue.rules import entry_problems
from domain.catalogue.seeds import RoleFile, Seeds
from handlers.catalogue.seeding import seed_catalogue
from tests.support import HandClock, value

SHIPPED = load()
BANKING, HOTELS = (next(file for file in SHIPPED.roles if file.industry == name) for name in ("banking_finance", "hotels_hospitality"))
TELLER, CONCIERGE = BANKING.roles[0], HOTELS.roles[0]


def build(*files: RoleFile, industries: Sequence[str] = (), industries_version: int = 1) -> Seeds:
    """The shipped seeds with these files of roles, and with these industries only when they are named."""
    entries, digests = dict(SHIPPED.entries), dict(SHIPPED.digests)
    if industries:
        kept = tuple(entry for entry in entries["industry"].entries if entry.slug in industries)
        entries["industry"] = msgspec.structs.replace(entries["industry"], version=industries_version, entries=kept)
        digests["industry"] = msgspec.json.encode(entries["industry"])
    digests |= {f"roles/{file.industry}": msgspec.json.encode(file) for file in files}
    return Seeds(entries=entries, roles=files, digests=digests)


def banking(version: int, description: str) -> RoleFile:
    return RoleFile(version=version, industry="banking_finance", roles=(msgspec.structs.replace(TELLER, description=description),))


def hotels(version: int, description: str) -> RoleFile:
    return RoleFile(version=version, industry="hotels_hospitality", roles=(msgspec.structs.replace(CONCIERGE, description=description),))


async def seed(house: House, seeds: Seeds, clock: HandClock) -> Seeded:
    async with unit(house.database) as work:
        seeded = await seed_catalogue(SeedCatalogue(), work, seeds, clock)
        await work.flush()
        return seeded


async def described(house: House, slug: str) -> str:
    return await value(house, "SELECT description FROM roles WHERE slug = $1", slug)


async def offered(house: House, slug: str) -> bool:
    return await value(house, "SELECT available FROM roles WHERE slug = $1", slug)


async def test_a_build_with_one_newer_and_one_older_file_applies_the_newer_alone(house: House, clock: HandClock) -> None:
    await seed(house, build(banking(1, "What banking had first."), hotels(2, "What hotels have since.")), clock)
    seeded = await seed(house, build(banking(2, "What banking has since."), hotels(1, "What hotels had first.")), clock)
    assert seeded == Seeded(changed=1)
    assert await described(house, TELLER.slug) == "What banking has since."
    assert await described(house, CONCIERGE.slug) == "What hotels have since."
    assert await value(house, "SELECT version FROM seed_files WHERE name = 'roles/hotels_hospitality'") == 2


async def test_an_older_file_does_not_retire_what_a_newer_one_brought(house: House, clock: HandClock) -> None:
    newer = RoleFile(version=2, industry="hotels_hospitality", roles=HOTELS.roles[:2])
    await seed(house, build(banking(1, "What banking had first."), newer), clock)
    seeded = await seed(house, build(banking(2, "What banking has since."), hotels(1, "What hotels had first.")), clock)
    assert seeded == Seeded(changed=1)
    assert await offered(house, HOTELS.roles[1].slug)


async def test_the_roles_of_an_industry_that_is_gone_are_retired_with_it(house: House, clock: HandClock) -> None:
    both = build(banking(1, "What banking had first."), hotels(1, "What hotels had first."))
    await seed(house, both, clock)
    banks = build(banking(1, "What banking had first."), industries=("banking_finance",), industries_version=2)
    seeded = await seed(house, banks, clock)
    assert seeded.retired == len(SHIPPED.entries["industry"].entries) - 1 + 1
    assert await offered(house, TELLER.slug)
    assert not await offered(house, CONCIERGE.slug)
    assert await seed(house, banks, clock) == Seeded()


async def test_an_older_build_that_lacks_an_industry_leaves_its_roles_alone(house: House, clock: HandClock) -> None:
    newer = build(
        banking(1, "What banking had first."),
        hotels(1, "What hotels had first."),
        industries=("banking_finance", "hotels_hospitality"),
        industries_version=2,
    )
    await seed(house, newer, clock)
    older = build(banking(1, "The same version, while it is being made."), industries=("banking_finance",), industries_version=1)
    assert await seed(house, older, clock) == Seeded(changed=1)
    assert await offered(house, CONCIERGE.slug)


async def test_of_two_who_add_the_same_role_one_is_told_that_it_is_there(catalogued: House, clock: HandClock) -> None:
    slug, both = f"role_{uuid4().hex}", asyncio.Barrier(2)

    async def add() -> None:
        async with unit(catalogued.database) as work:
            role = Role(
                id=entry_id("role", slug),
                slug=slug,
                industry=entry_id("industry", "banking_finance"),
                hierarchy_level="associate",
                title="Added twice",
                description="The same, by two at once.",
                created_at=clock(),
                updated_at=clock(),
            )
            assert await work.roles.find(slug=slug) is None
            await both.wait()
            work.roles.add(role)
            await work.flush()

    answers = await asyncio.gather(add(), add(), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [SlugTaken]
    assert await value(catalogued, "SELECT count(*) FROM roles WHERE slug = $1", slug) == 1


@pytest.mark.parametrize(
    ("labels", "pointer", "code"),
    [
        ({"zh-Hant": {"name": "長" * 101}}, "/labels/zh-Hant/name", "length"),
        ({"zh/Hant": {"name": "長"}}, "/labels/zh~1Hant", "malformed"),
        ({"zh-Hant": {"a~b": "長"}}, "/labels/zh-Hant/a~0b", "unknown"),
    ],
)
def test_a_wrong_label_is_named_by_its_json_pointer(labels: dict[str, dict[str, str]], pointer: str, code: str) -> None:
    assert [(found.field, found.code) for found in entry_problems("partner", {"labels": labels})] == [(pointer, code)]
