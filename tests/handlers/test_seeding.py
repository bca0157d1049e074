"""Seeding: what a new installation's catalogue begins with, and what a later build changes of it."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
import pytest

from app.bootstrap import House, Ports, open_house
from app.settings import Settings, as_environ
from bus.message import SYSTEM, Actor
from db import seeds as files
from db.connection import Row, connect
from domain.catalogue.commands import SeedCatalogue, Seeded
from domain.catalogue.identity import Kind
from domain.catalogue.seeds import EntrySeed, RoleSeed, Seeds
from domain.errors import Denied
from tests.app.client import empty_database, fluentpro
from tests.conftest import SEEDING, Seed, connected, empty
from tests.house.copies import Copy
from tests.support import TABLES, HandClock, rows, value

QUIET = Seeded()
NAMESPACE = uuid5(NAMESPACE_URL, "https://fluentpro.app/catalogue")
COUNTS: dict[Kind, int] = {"industry": 4, "partner": 7, "situation": 15, "hierarchy_level": 5}
ALL = sum(len(file.entries) for file in files.load().entries.values()) + sum(len(file.roles) for file in files.load().roles)


class Build:
    """A build whose seed files are `seeds`, as the bus of a house has it."""

    house: House

    def __init__(self) -> None:
        self.seeds = files.load()

    def __call__(self) -> Seeds:
        return self.seeds

    async def seed(self) -> Seeded:
        return await self.house.bus.execute(SeedCatalogue(), by=SYSTEM)

    def with_entries(self, kind: Kind, entries: Sequence[EntrySeed], *, version: int) -> None:
        """From now on."""
        file = msgspec.structs.replace(self.seeds.entries[kind], entries=tuple(entries), version=version)
        self._replace(kind, file, entries={**self.seeds.entries, kind: file})

    def with_roles(self, industry: str, roles: Sequence[RoleSeed], *, version: int) -> None:
        changed = {
            file.industry: msgspec.structs.replace(file, roles=tuple(roles), version=version) if file.industry == industry else file
            for file in self.seeds.roles
        }
        self._replace(f"roles/{industry}", changed[industry], roles=tuple(changed.values()))

    def entries(self, kind: Kind) -> tuple[EntrySeed, ...]:
        return self.seeds.entries[kind].entries

    def roles(self, industry: str) -> tuple[RoleSeed, ...]:
        return next(file.roles for file in self.seeds.roles if file.industry == industry)

    def _replace(self, name: str, file: msgspec.Struct, **changes: Any) -> None:
        digests = {**self.seeds.digests, name: msgspec.json.encode(file)}
        self.seeds = msgspec.structs.replace(self.seeds, digests=digests, **changes)


@pytest.fixture
async def build(settings: Settings, clock: HandClock) -> AsyncGenerator[Build]:
    """The shipped build, until a test changes it."""
    build = Build()
    async with open_house(settings, Ports(clock=clock, seeds=build)) as build.house:
        yield build


async def kept(house: House) -> tuple[list[Row], list[Row], list[Row]]:
    entries = await rows(house, "SELECT * FROM catalogue_entries ORDER BY id")
    return entries, await rows(house, "SELECT * FROM roles ORDER BY id"), await rows(house, "SELECT * FROM seed_files ORDER BY name")


async def recorded(house: House) -> list[dict[str, int]]:
    return [row["data"] for row in await rows(house, "SELECT data FROM events WHERE name = 'catalogue.seeded' ORDER BY id")]


async def entry(house: House, slug: str) -> Row:
    [found] = await rows(house, "SELECT * FROM catalogue_entries WHERE slug = $1", slug)
    return found


async def role(house: House, slug: str) -> Row:
    [found] = await rows(house, "SELECT * FROM roles WHERE slug = $1", slug)
    return found


def test_the_seed_is_what_was_promised() -> None:
    seeds = files.load()
    assert {kind: len(seeds.entries[kind].entries) for kind in COUNTS} == COUNTS
    languages = seeds.entries["language"].entries
    assert len(languages) >= 40
    assert all(one.autonym and one.direction in ("ltr", "rtl") for one in languages)
    assert {one.slug for one in languages if one.direction == "rtl"} == {"ar", "he", "fa", "ur"}
    assert {file.industry for file in seeds.roles} == {one.slug for one in seeds.entries["industry"].entries}
    for file in seeds.roles:
        assert len(file.roles) >= 15, file.industry
        for one in file.roles:
            assert 5 <= len(one.keywords) <= 10, one.slug
            assert one.description, one.slug
            assert one.duties, one.slug
            assert one.aliases, one.slug
    for kind in COUNTS:
        assert all(one.icon and one.description and {"zh-Hant", "zh-Hans"} <= one.labels.keys() for one in seeds.entries[kind].entries)


async def test_a_new_installation_has_all_of_it_under_ids_made_of_kind_and_slug(house: House, build: Build) -> None:
    assert await build.seed() == Seeded(added=ALL)
    entries, roles, _ = await kept(house)
    assert Counter(row["kind"] for row in entries) == {**COUNTS, "language": len(build.entries("language"))}
    assert all(row["id"] == uuid5(NAMESPACE, f"{row['kind']}/{row['slug']}") for row in entries)
    assert all(row["id"] == uuid5(NAMESPACE, f"role/{row['slug']}") for row in roles)
    assert len(entries) + len(roles) == ALL
    assert str((await entry(house, "banking_finance"))["id"]) == "79bca22d-b99a-5901-ace5-e8c461ff4663"
    assert await recorded(house) == [{"added": ALL, "changed": 0, "retired": 0}]


async def test_seeding_again_changes_and_records_nothing(house: House, build: Build, clock: HandClock) -> None:
    await build.seed()
    before = await kept(house)
    clock.move(days=1)
    assert await build.seed() == QUIET
    assert await kept(house) == before
    assert len(await recorded(house)) == 1


async def test_a_changed_file_changes_its_rows_and_no_other(house: House, build: Build, clock: HandClock) -> None:
    await build.seed()
    before = await kept(house)
    first, *others = build.entries("partner")
    new = msgspec.structs.replace(first, slug="regulators", name="Regulators")
    build.with_entries("partner", [msgspec.structs.replace(first, name="Our clients"), *others, new], version=2)
    clock.move(days=1)
    assert await build.seed() == Seeded(added=1, changed=1)
    changed = await entry(house, first.slug)
    assert (changed["name"], changed["version"], changed["updated_at"]) == ("Our clients", 2, clock())
    assert (await entry(house, "regulators"))["id"] == uuid5(NAMESPACE, "partner/regulators")
    entries, roles, _ = await kept(house)
    assert [row for row in entries if row["slug"] not in (first.slug, "regulators")] == [
        row for row in before[0] if row["slug"] != first.slug
    ]
    assert roles == before[1]
    assert (await recorded(house))[1:] == [{"added": 1, "changed": 1, "retired": 0}]
    assert await build.seed() == QUIET


async def test_a_changed_role_is_changed_and_found_by_its_new_words(house: House, build: Build) -> None:
    await build.seed()
    first, *others = build.roles("real_estate")
    build.with_roles("real_estate", [msgspec.structs.replace(first, aliases=("Zookeeper",)), *others], version=2)
    assert await build.seed() == Seeded(changed=1)
    assert await value(house, "SELECT slug FROM roles WHERE search @@ to_tsquery('english', 'zookeeper')") == first.slug


async def test_a_file_that_changes_under_one_version_is_applied_too(house: House, build: Build) -> None:
    await build.seed()
    first, *others = build.entries("industry")
    build.with_entries("industry", [msgspec.structs.replace(first, icon="coins"), *others], version=1)
    assert await build.seed() == Seeded(changed=1)
    assert (await entry(house, first.slug))["icon"] == "coins"


async def test_the_order_of_a_file_is_the_order_of_the_catalogue(house: House, build: Build) -> None:
    await build.seed()
    build.with_entries("industry", list(reversed(build.entries("industry"))), version=2)
    await build.seed()
    ordered = await rows(house, "SELECT slug FROM catalogue_entries WHERE kind = 'industry' ORDER BY position")
    assert [row["slug"] for row in ordered] == [one.slug for one in build.entries("industry")]


async def test_what_an_admin_edited_is_left_alone(house: House, build: Build) -> None:
    await build.seed()
    first, second, *_ = build.entries("situation")
    of_banking = build.roles("banking_finance")[0]
    await rows(house, "UPDATE catalogue_entries SET name = 'Ours', edited = true WHERE slug = ANY($1)", [first.slug, second.slug])
    await rows(house, "UPDATE roles SET title = 'Ours', edited = true WHERE slug = $1", of_banking.slug)
    renamed = [msgspec.structs.replace(one, name=f"{one.name} 2") for one in build.entries("situation")]
    build.with_entries("situation", [one for one in renamed if one.slug != second.slug], version=2)
    retitled = [msgspec.structs.replace(one, title=f"{one.title} II") for one in build.roles("banking_finance")]
    build.with_roles("banking_finance", retitled, version=2)
    assert await build.seed() == Seeded(changed=len(renamed) - 2 + len(retitled) - 1)
    for found in (await entry(house, first.slug), await entry(house, second.slug)):
        assert (found["name"], found["available"]) == ("Ours", True)
    assert (await role(house, of_banking.slug))["title"] == "Ours"


async def test_what_an_admin_retired_does_not_come_back(house: House, build: Build) -> None:
    await build.seed()
    first = build.entries("situation")[0]
    await rows(house, "UPDATE catalogue_entries SET available = false, edited = true WHERE slug = $1", first.slug)
    build.with_entries("situation", build.entries("situation"), version=2)
    assert await build.seed() == QUIET
    assert (await entry(house, first.slug))["available"] is False


async def test_what_vanishes_from_a_file_is_retired_and_what_returns_is_offered_again(house: House, build: Build) -> None:
    await build.seed()
    entries, of_banking = build.entries("partner"), build.roles("banking_finance")
    gone, *others = entries
    build.with_entries("partner", others, version=2)
    build.with_roles("banking_finance", of_banking[1:], version=2)
    seeded = await build.seed()
    assert (seeded.added, seeded.retired) == (0, 2)
    identity = (await entry(house, gone.slug))["id"]
    assert (await entry(house, gone.slug))["available"] is (await role(house, of_banking[0].slug))["available"] is False
    assert (await build.seed()) == QUIET
    build.with_entries("partner", entries, version=3)
    build.with_roles("banking_finance", of_banking, version=3)
    assert (await build.seed()).added == 0
    back = await entry(house, gone.slug)
    assert (back["id"], back["available"], back["edited"]) == (identity, True, False)
    assert (await role(house, of_banking[0].slug))["available"] is True
    assert (await recorded(house))[1]["retired"] == 2


async def test_an_older_build_takes_nothing_back(house: House, build: Build) -> None:
    older = build.seeds
    first, *others = build.entries("partner")
    build.with_entries("partner", [msgspec.structs.replace(first, name="Newer"), *others], version=2)
    banker, *bankers = build.roles("banking_finance")
    build.with_roles("banking_finance", [msgspec.structs.replace(banker, title="Newer"), *bankers], version=2)
    await build.seed()
    newest = await kept(house)
    build.seeds = older
    assert await build.seed() == QUIET
    assert await kept(house) == newest


async def test_a_role_of_a_learner_is_no_seeds_business(house: House, build: Build) -> None:
    await build.seed()
    await rows(
        house,
        "UPDATE roles SET slug = NULL, status = 'submitted' WHERE slug = $1",
        build.roles("real_estate")[0].slug,
    )
    build.with_roles("real_estate", build.roles("real_estate")[1:], version=2)
    assert (await build.seed()).retired == 0
    assert await value(house, "SELECT available FROM roles WHERE slug IS NULL") is True


async def test_two_who_seed_at_once_add_everything_once(house: House, build: Build) -> None:
    done = await asyncio.gather(build.seed(), build.seed())
    assert sorted(one.added for one in done) == [0, ALL]
    entries, roles, _ = await kept(house)
    assert len(entries) + len(roles) == ALL
    assert len(await recorded(house)) == 1


async def test_what_the_tests_are_given_is_what_a_seeding_leaves(house: House, clock: HandClock, seed: Seed) -> None:
    drawn = {"events": " - 'id' - 'meta'", "outbox": " - 'id' - 'n'"}

    async def left() -> dict[str, list[Row]]:
        """Every row, but for the ids of the events and their numbers in the outbox."""
        there = {name: f"SELECT to_jsonb(t){drawn.get(name, '')} AS row FROM {name} t" for name in TABLES.split(", ")}  # noqa: S608 - names of ours
        return {name: await rows(house, query) for name, query in there.items()}

    clock.move(days=400)
    await seed(house)
    given = await left()
    async with connected(house.settings) as driver:
        await empty(driver)
    assert not any((await left()).values())
    for command in SEEDING:
        await house.bus.execute(command, by=SYSTEM)
    assert given == await left()
    assert [len(given[name]) for name in ("events", "outbox")] == [len(SEEDING)] * 2


@pytest.mark.parametrize("actor", [Actor(kind="anonymous"), Actor(kind="person", id=NAMESPACE, flags=("admin",))])
async def test_nobody_seeds_over_the_network(house: House, actor: Actor) -> None:
    with pytest.raises(Denied):
        await house.bus.execute(SeedCatalogue(), by=actor)


async def test_seeding_twice_at_the_command_line_adds_everything_once(settings: Settings) -> None:
    async with empty_database(settings) as empty:
        for arguments in (("migrate",), ("seed",), ("seed",)):
            done = await fluentpro(empty, *arguments)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert await counted(empty) == (ALL, 1)


async def test_a_build_with_bad_files_says_so_at_the_command_line_and_seeds_nothing(
    settings: Settings, house: House, tmp_path: Path
) -> None:
    copy = Copy(tmp_path / "copy")
    spoil(copy.folder / "db" / "seeds" / "partners.json", lambda document: document["entries"][0].update(name=""))
    (copy.folder / "db" / "seeds" / "situations.json").unlink()
    done = await asyncio.to_thread(copy.run, "-m", "app.cli", "seed", **as_environ(settings))
    assert done.returncode == 1
    assert "situations.json: No such file or directory" in done.stderr
    assert "partner clients: /name Send 1 to 100 characters." in done.stderr
    assert "Traceback" not in done.stderr
    assert await kept(house) == ([], [], [])


async def counted(settings: Settings) -> tuple[int, int]:
    """How many entries and roles a database has, and how many seedings it recorded."""
    connection = await connect(settings.database_url)
    try:
        return await connection.fetchval("SELECT (SELECT count(*) FROM catalogue_entries) + (SELECT count(*) FROM roles)"), (
            await connection.fetchval("SELECT count(*) FROM events WHERE name = 'catalogue.seeded'")
        )
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the seed files, to be spoilt."""
    return Path(shutil.copytree(files.FOLDER, tmp_path / "seeds"))


def spoil(path: Path, change: Callable[[Any], object]) -> None:
    document = msgspec.json.decode(path.read_bytes())
    change(document)
    path.write_bytes(msgspec.json.encode(document))


def complaints(folder: Path) -> list[str]:
    with pytest.raises(files.BadSeeds) as found:
        files.load(folder)
    return str(found.value).splitlines()


def test_a_copy_of_the_files_is_read_like_themselves(folder: Path) -> None:
    assert files.load(folder) == files.load()


def test_everything_that_is_wrong_with_the_files_is_named_at_once(folder: Path) -> None:
    def spoil_roles(document: Any) -> None:
        document["roles"][0] |= {"keywords": ["one", "two", "three", "four"], "hierarchy_level": "deity"}
        document["roles"][1] |= {"keywords": [f"word {n}" for n in range(11)], "slug": document["roles"][2]["slug"]}
        document["roles"][3] |= {"description": "short", "labels": {"Chinese": {"name": "x"}}}

    spoil(folder / "roles" / "real_estate.json", spoil_roles)
    spoil(folder / "languages.json", lambda document: document["entries"][0].update(autonym=None, direction="up"))
    spoil(folder / "partners.json", lambda document: document["entries"][0].update(slug="Senior Clients", name=""))
    spoil(folder / "situations.json", lambda document: document["entries"].append(document["entries"][0]))
    first, second, third, fourth, *_ = next(file for file in files.load().roles if file.industry == "real_estate").roles
    twice = files.load().entries["situation"].entries[0].slug
    assert [complaint.partition(" Send")[0].partition(" A ")[0] for complaint in complaints(folder)] == [
        "language en: /direction",
        "language en: /autonym",
        "partner Senior Clients: /slug",
        "partner Senior Clients: /name",
        f"situation {twice}: is there twice",
        f"role {third.slug}: is there twice",
        f"role {first.slug}: /keywords",
        f"role {first.slug}: /hierarchy_level",
        f"role {third.slug}: /keywords",
        f"role {fourth.slug}: /description",
        f"role {fourth.slug}: /labels/Chinese Name the language by its BCP 47 tag, such as zh-Hant.",
    ]
    assert second.slug != third.slug


def test_files_that_cannot_be_read_are_all_named(folder: Path) -> None:
    (folder / "industries.json").unlink()
    (folder / "partners.json").write_text('{"version": 1, "entries": [')
    (folder / "situations.json").write_bytes(b'{"version": 1, "entries": [{"slug": "\xff"}]}')
    spoil(folder / "languages.json", lambda document: document.pop("version"))
    spoil(folder / "roles" / "real_estate.json", lambda document: document["roles"][0].update(salary=1))
    (folder / "roles" / "banking_finance.json").rename(folder / "roles" / "banks.json")
    named = [complaint.partition(":")[0] for complaint in complaints(folder)]
    assert named == [
        "languages.json",
        "industries.json",
        "partners.json",
        "situations.json",
        "roles/banks.json",
        "roles/real_estate.json",
    ]


def test_roles_of_an_industry_that_is_not_in_the_catalogue_are_named(folder: Path) -> None:
    spoil(folder / "industries.json", lambda document: document["entries"].pop(0))
    found = complaints(folder)
    assert len(found) == len(next(file for file in files.load().roles if file.industry == "banking_finance").roles)
    assert all("/industry" in complaint for complaint in found)
