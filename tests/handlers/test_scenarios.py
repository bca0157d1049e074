"""Scenarios, from the command to what is stored, recorded and given to learners."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Actor, Personal
from db import seeds
from db.reads.scenarios import ScenarioQuery
from db.session import Work, unit
from domain.catalogue.identity import entry_id
from domain.errors import Denied, Invalid, Stale
from domain.onboarding.commands import CompleteOnboarding, Partner, ResetJourney, Situation
from domain.practice.choosing import FIRST_SET, first_request
from domain.practice.commands import GiveScenarios, ImportScenarios, RequestScenarios, ScenarioRow, SeedScenarios, WriteScenario
from domain.practice.errors import ProfileMissing, UnknownScenario
from domain.practice.scenario import Criterion, LearnerPart, Persona, Range, Scenario, scenario_id
from domain.practice.seeds import ScenarioSeeds
from domain.types import AccountId
from handlers.practice.giving import give_scenarios, read_profile
from tests.factories import Registrations
from tests.handlers.test_journey import industry, native_language, own_role, partners, situations, take
from tests.support import HandClock, rows, value

SITUATIONS, INDUSTRIES = 15, 4
SECRET_WORDS = ("Quentin Okonkwo-Baptiste", "my raise was refused twice", "He never answers on Fridays")


def person(account: AccountId) -> Actor:
    return Actor(kind="person", id=account)


async def registered(harness: Harness) -> AccountId:
    found = await harness.execute(Registrations.build(), by=ANONYMOUS)
    await harness.settle()
    return found.profile.id


@pytest.fixture
async def account(harness: Harness, catalogued: House) -> AccountId:  # noqa: ARG001 - there are a catalogue and scenarios
    return await registered(harness)


async def complete(harness: Harness, account: AccountId, *, where: str = "hotels_hospitality") -> None:
    """They meet clients on the phone and in negotiations, and auditors, whom the catalogue does not know, at tea and in interviews."""
    await take(harness, native_language(account), account)
    await take(harness, industry(account, where), account)
    await take(harness, own_role(account), account)
    state = await take(harness, partners(account, Partner(ref="clients"), Partner(name="Auditors", description="From outside.")), account)
    auditors = str(state.answers.partners[1].id)
    chosen = {
        "clients": [Situation(ref="phone_calls"), Situation(ref="negotiations")],
        auditors: [Situation(name="At tea"), Situation(ref="interviews")],
    }
    await take(harness, situations(account, chosen), account)
    await take(harness, CompleteOnboarding(account=account), account)


async def given(house: House, account: AccountId) -> list[dict[str, Any]]:
    query = "SELECT s.slug, g.position, g.request, g.reason FROM learner_scenarios g JOIN scenarios s ON s.id = g.scenario"
    return [dict(row) for row in await rows(house, f"{query} WHERE g.account = $1 ORDER BY g.position", account)]


async def happened(house: House, name: str) -> list[dict[str, Any]]:
    found = await rows(house, "SELECT data FROM events WHERE name = $1 ORDER BY id", f"practice.{name}")
    return [row["data"] for row in found]


async def test_every_situation_of_every_industry_is_seeded_and_a_repetition_changes_nothing(harness: Harness, house: House) -> None:
    await harness.execute(SeedScenarios(), by=SYSTEM)
    kept = await rows(house, "SELECT * FROM scenarios ORDER BY slug")
    assert len(kept) == len({(row["industry"], row["situation"]) for row in kept}) == SITUATIONS * INDUSTRIES
    assert all(row["id"] == scenario_id(row["slug"]) and row["available"] and row["owner"] is None for row in kept)
    assert await happened(house, "scenarios_seeded") == [{"added": SITUATIONS * INDUSTRIES, "changed": 0, "withdrawn": 0}]
    applied = await rows(house, "SELECT * FROM seed_files ORDER BY name")
    await asyncio.gather(*(harness.execute(SeedScenarios(), by=SYSTEM) for _ in range(3)))
    assert await rows(house, "SELECT * FROM scenarios ORDER BY slug") == kept
    assert await rows(house, "SELECT * FROM seed_files ORDER BY name") == applied
    assert len(await happened(house, "scenarios_seeded")) == 1


async def test_what_is_kept_is_what_the_files_say(harness: Harness, house: House) -> None:
    await harness.execute(SeedScenarios(), by=SYSTEM)
    shipped = sorted(seeds.load_scenarios().scenarios, key=lambda one: one.slug)
    assert await house.reads.scenarios.all() == shipped
    async with unit(house.database) as work:
        found = [await work.scenarios.find(scenario_id(one.slug), one.version) for one in shipped]
    assert [one and one.body for one in found] == shipped


class Build:
    """A build whose scenarios are `scenarios`."""

    house: House

    def __init__(self) -> None:
        self.scenarios = list(seeds.load_scenarios().scenarios[:3])

    def __call__(self) -> ScenarioSeeds:
        digests = {one.slug: msgspec.json.encode(one) for one in self.scenarios}
        return ScenarioSeeds(scenarios=tuple(self.scenarios), digests=digests)

    async def seed(self) -> dict[str, tuple[int, bool, str]]:
        await self.house.bus.execute(SeedScenarios(), by=SYSTEM)
        found = await rows(self.house, "SELECT slug, version, available, body ->> 'title' AS title FROM scenarios ORDER BY slug")
        return {row["slug"]: (row["version"], row["available"], row["title"]) for row in found}

    def change(self, number: int, **changes: object) -> str:
        self.scenarios[number] = msgspec.structs.replace(self.scenarios[number], **changes)
        return self.scenarios[number].slug


@pytest.fixture
async def build(settings: Settings, clock: HandClock) -> AsyncGenerator[Build]:
    build = Build()
    async with open_house(settings, Ports(clock=clock, scenarios=build)) as build.house:
        yield build


async def test_what_a_build_has_changed_is_changed_and_what_it_dropped_is_withdrawn_until_it_comes_back(build: Build) -> None:
    before = await build.seed()
    slug, dropped = build.change(0, title="Another title", version=2), build.scenarios.pop()
    after = await build.seed()
    assert after == before | {slug: (2, True, "Another title"), dropped.slug: (1, False, dropped.title)}
    assert (await happened(build.house, "scenarios_seeded"))[1:] == [{"added": 0, "changed": 1, "withdrawn": 1}]
    build.scenarios.append(dropped)
    assert (await build.seed())[dropped.slug] == (1, True, dropped.title)


async def test_an_older_build_puts_nothing_back(build: Build) -> None:
    older = list(build.scenarios)
    build.change(0, title="Another title", version=2)
    newer = await build.seed()
    applied = await rows(build.house, "SELECT * FROM seed_files ORDER BY name")
    build.scenarios = older
    assert await build.seed() == newer
    assert await rows(build.house, "SELECT * FROM seed_files ORDER BY name") == applied
    assert len(await happened(build.house, "scenarios_seeded")) == 1


async def test_what_an_admin_imported_is_no_seeds_business_until_a_build_has_a_higher_version(build: Build) -> None:
    await build.seed()
    imported = msgspec.structs.replace(build.scenarios[0], title="Imported", version=2)
    added = msgspec.structs.replace(build.scenarios[1], slug="another_one", title="Added")
    async with unit(build.house.database) as work:
        await work.scenarios.keep([imported, added], now=build.house.clock())
    build.change(0, title="A corrected title")
    after = await build.seed()
    assert (after[imported.slug], after["another_one"]) == ((2, True, "Imported"), (1, True, "Added"))
    build.change(0, title="Of the build", version=3)
    assert (await build.seed())[imported.slug] == (3, True, "Of the build")


async def test_bad_files_are_named_and_nothing_is_seeded(settings: Settings, tmp_path: Path) -> None:
    folder = Path(copytree(seeds.FOLDER, tmp_path / "seeds"))
    home = folder / "scenarios" / "real_estate"
    (home / "interviews.json").write_text("{")
    (home / "meetings.json").rename(home / "client_meals.json")
    stranger = msgspec.json.decode((home / "phone_calls.json").read_bytes())
    (home / "phone_calls.json").write_bytes(msgspec.json.encode({**stranger, "partner": "martians"}))
    async with open_house(settings, Ports(scenarios=lambda: seeds.load_scenarios(folder))) as house:
        with pytest.raises(seeds.BadSeeds) as refused:
            await house.bus.execute(SeedScenarios(), by=SYSTEM)
        assert await value(house, "SELECT count(*) FROM scenarios") == 0
    lines = sorted(str(refused.value).splitlines())
    assert [line.partition(":")[0] for line in lines] == [
        "scenario real_estate_phone_calls",
        "scenarios/real_estate/client_meals.json",
        "scenarios/real_estate/interviews.json",
    ]
    assert "martians" in lines[0]


@pytest.mark.parametrize("actor", [ANONYMOUS, Actor(kind="person", id=uuid4(), flags=("admin",))], ids=["anybody", "an admin"])
async def test_nobody_seeds_or_gives_over_the_network(house: House, actor: Actor) -> None:
    account = AccountId(uuid4())
    for command in (SeedScenarios(), GiveScenarios(account=account, request=uuid4(), count=1)):
        with pytest.raises(Denied):
            await house.bus.execute(command, by=actor)


async def test_a_learner_who_completes_onboarding_is_given_a_first_set_for_whom_they_meet(
    harness: Harness, house: House, account: AccountId
) -> None:
    await complete(harness, account)
    await harness.settle()
    found = await given(house, account)
    assert [row["position"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["slug"].removeprefix("hotels_hospitality_") for row in found[:3]] == ["phone_calls", "negotiations", "interviews"]
    assert all(row["slug"].startswith("hotels_hospitality_") for row in found)
    assert [row["reason"]["situation"] for row in found] == ["phone_calls", "negotiations", "interviews", None, None]
    assert found[2]["reason"] == {"situation": "interviews", "partner": None, "because": "situation"}
    assert {row["request"] for row in found} == {first_request(account)}
    [told] = await happened(house, "scenarios_given")
    assert told == {
        "account": str(account),
        "request": str(first_request(account)),
        "scenarios": [str(scenario_id(row["slug"])) for row in found],
        "first": True,
    }


async def test_however_often_it_runs_there_is_one_first_set(harness: Harness, house: House, account: AccountId) -> None:
    await complete(harness, account)
    await harness.settle()
    before = await given(house, account)
    again = GiveScenarios(account=account, request=first_request(account), count=FIRST_SET, first=True)
    await asyncio.gather(*(harness.execute(again, by=SYSTEM) for _ in range(5)))
    await harness.settle()
    assert await given(house, account) == before
    assert len(await happened(house, "scenarios_given")) == 1


async def test_several_workers_at_once_give_one_first_set(harness: Harness, house: House, account: AccountId) -> None:
    await complete(harness, account)
    command = GiveScenarios(account=account, request=first_request(account), count=FIRST_SET, first=True)
    await asyncio.gather(*(harness.execute(command, by=SYSTEM) for _ in range(8)))
    await harness.settle()
    assert len(await given(house, account)) == FIRST_SET
    assert len(await happened(house, "scenarios_given")) == 1


class KilledError(Exception):
    """Where a worker died."""


async def test_a_worker_that_dies_before_its_commit_has_given_nothing_and_the_next_one_gives_all(
    harness: Harness, house: House, account: AccountId, clock: HandClock
) -> None:
    await complete(harness, account)
    command = GiveScenarios(account=account, request=first_request(account), count=FIRST_SET, first=True)
    profile = await read_profile(command, house.reads)
    with pytest.raises(KilledError):
        await _die_after(house, lambda work: give_scenarios(command, work, profile, clock))
    assert await given(house, account) == []
    await harness.settle()
    assert len(await given(house, account)) == FIRST_SET
    assert len(await happened(house, "scenarios_given")) == 1


async def _die_after(house: House, work_of: Callable[[Work], Awaitable[None]]) -> None:
    async with unit(house.database) as work:
        await work_of(work)
        assert len(work.recorded) == 1
        raise KilledError


async def test_whoever_starts_anew_keeps_what_they_have_and_gets_no_second_first_set(
    harness: Harness, house: House, account: AccountId
) -> None:
    await complete(harness, account)
    await harness.settle()
    before = await given(house, account)
    await take(harness, ResetJourney(account=account), account)
    await complete(harness, account, where="real_estate")
    await harness.settle()
    assert await given(house, account) == before
    assert [one["first"] for one in await happened(house, "scenarios_given")] == [True]


async def test_a_first_set_whose_learner_took_their_answers_back_meanwhile_is_given_after_the_next_completion(
    harness: Harness, house: House, account: AccountId
) -> None:
    await complete(harness, account)
    await take(harness, ResetJourney(account=account), account)
    await harness.settle()
    assert (await given(house, account), await happened(house, "scenarios_given")) == ([], [])
    await complete(harness, account, where="real_estate")
    await harness.settle()
    assert {row["slug"].startswith("real_estate") for row in await given(house, account)} == {True}


async def request(harness: Harness, account: AccountId, count: int = 3) -> UUID:
    asked = await harness.execute(RequestScenarios(account=account, count=count), by=person(account))
    return asked.request


async def test_more_come_on_request_behind_the_others_and_never_the_same_again(harness: Harness, house: House, account: AccountId) -> None:
    await complete(harness, account)
    await harness.settle()
    first, second = await request(harness, account, 3), await request(harness, account, 10)
    await harness.settle()
    found = await given(house, account)
    assert [row["position"] for row in found] == list(range(1, 19))
    assert len({row["slug"] for row in found}) == 18
    assert [row["request"] for row in found].count(first) == 3
    assert [row["slug"].startswith("hotels_hospitality") for row in found] == [True] * 15 + [False] * 3
    told = await happened(house, "scenarios_given")
    assert {one["request"]: (len(one["scenarios"]), one["first"]) for one in told} == {
        str(first_request(account)): (5, True),
        str(first): (3, False),
        str(second): (10, False),
    }


async def test_requests_at_once_are_given_different_ones(harness: Harness, house: House, account: AccountId) -> None:
    await complete(harness, account)
    await harness.settle()
    commands = [GiveScenarios(account=account, request=uuid4(), count=4) for _ in range(6)]
    await asyncio.gather(*(harness.execute(command, by=SYSTEM) for command in commands))
    found = await given(house, account)
    assert [row["position"] for row in found] == list(range(1, 30))
    assert len({row["slug"] for row in found}) == 29


async def test_when_nothing_is_left_the_answer_is_an_empty_set(harness: Harness, house: House, account: AccountId) -> None:
    await complete(harness, account)
    await harness.settle()
    for _ in range(6):
        await request(harness, account, 10)
    await harness.settle()
    assert [len(one["scenarios"]) for one in await happened(house, "scenarios_given")] == [5, 10, 10, 10, 10, 10, 5]
    await request(harness, account, 2)
    await harness.settle()
    assert (await happened(house, "scenarios_given"))[-1]["scenarios"] == []


async def test_without_a_work_profile_there_is_nothing_to_choose_by(harness: Harness, house: House, account: AccountId) -> None:
    with pytest.raises(ProfileMissing):
        await request(harness, account)
    assert await happened(house, "scenarios_requested") == []


OWN = Scenario(
    slug="own",
    title="Asking for a raise again",
    industry="banking_finance",
    situation=str(entry_id("situation", "one_on_ones")),
    partner="Senior_Management",
    persona=Persona(name=SECRET_WORDS[0], role="Head of the desk", mood="Impatient", speech_style="Short"),
    learner=LearnerPart(role="Analyst", goal=f"Ask again although {SECRET_WORDS[1]}"),
    constraints=(SECRET_WORDS[2],),
    success_criteria=(Criterion(id="asks", text="Asks for more.", any=("raise", "more pay")),),
    cefr=Range(lowest="B1", highest="B2"),
    opening="You wanted to see me?",
    useful_phrases=(),
    cultural_notes=(),
)


def write(account: AccountId, written: Scenario = OWN, scenario: UUID | None = None, *expected: int) -> WriteScenario:
    return WriteScenario(account=account, scenario=scenario, expected=expected or None, written=written)


async def test_what_a_learner_writes_is_sealed_but_for_where_it_belongs(harness: Harness, house: House, account: AccountId) -> None:
    written = await harness.execute(write(account), by=person(account))
    [row] = await rows(house, "SELECT * FROM scenarios WHERE owner = $1", account)
    assert (row["id"], row["version"], row["slug"], row["body"]) == (written.scenario, 1, None, None)
    assert (row["industry"], row["situation"], row["partner"]) == ("banking_finance", "one_on_ones", "senior_management")
    await harness.settle()
    tables = [row["name"] for row in await rows(house, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")]
    for table in tables:
        for words in SECRET_WORDS:
            query = f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE $1'  # noqa: S608 - names of our tables
            assert await value(house, query, f"%{words}%") == 0, table
            encoded = f"%{words.encode().hex()}%"
            assert await value(house, query, encoded) == 0, table
    assert await happened(house, "scenario_written") == [{"scenario": str(written.scenario), "account": str(account), "version": 1}]


async def opened(house: House, account: AccountId, scenario: UUID) -> Scenario:
    found = await house.reads.scenarios.named(str(scenario), account=account)
    wrapped = await house.reads.practice.wrapped_key(account)
    assert wrapped is not None
    assert found.sealed is not None
    key = house.vault.opened(wrapped)
    return msgspec.json.decode(key.open(Personal(found.sealed)), type=Scenario)


async def test_whoever_writes_it_anew_must_know_the_version_and_saying_the_same_changes_nothing(
    harness: Harness, house: House, account: AccountId, clock: HandClock
) -> None:
    first = await harness.execute(write(account), by=person(account))
    clock.move(minutes=5)
    changed = msgspec.structs.replace(OWN, title="Asking for a raise", partner=None)
    with pytest.raises(Stale):
        await harness.execute(write(account, changed, first.scenario, 7), by=person(account))
    second = await harness.execute(write(account, changed, first.scenario, 1), by=person(account))
    assert (second.scenario, second.version, second.created_at) == (first.scenario, 2, first.created_at)
    assert second.updated_at > first.updated_at
    clock.move(minutes=5)
    assert await harness.execute(write(account, changed, first.scenario, 2), by=person(account)) == second
    kept = await opened(house, account, first.scenario)
    assert (kept.title, kept.partner, kept.version, kept.situation) == ("Asking for a raise", None, 2, "one_on_ones")
    assert len(await happened(house, "scenario_written")) == 2


async def test_nobody_writes_or_reads_somebody_elses(harness: Harness, house: House, account: AccountId) -> None:
    other = await registered(harness)
    first = await harness.execute(write(account), by=person(account))
    with pytest.raises(UnknownScenario):
        await harness.execute(write(other, OWN, first.scenario), by=person(other))
    with pytest.raises(Denied):
        await harness.execute(write(account, OWN, first.scenario), by=person(other))
    with pytest.raises(UnknownScenario):
        await house.reads.scenarios.named(str(first.scenario), account=other)
    async with unit(house.database) as work:
        assert await work.scenarios.find_named(str(first.scenario), other) is None
        assert (await work.scenarios.find_named(str(first.scenario), account)) is not None
    assert len(await house.reads.scenarios.listed(ScenarioQuery(account=other, own=True, limit=100))) == 0
    with pytest.raises(UnknownScenario):
        await harness.execute(write(account, OWN, scenario_id("real_estate_interviews")), by=person(account))


async def test_everything_that_is_wrong_with_ones_own_is_named_at_once(harness: Harness, account: AccountId) -> None:
    criteria = (OWN.success_criteria[0], OWN.success_criteria[0])
    bad = msgspec.structs.replace(
        OWN, industry="moon", situation="nowhere", partner="martians", cefr=Range(lowest="C1", highest="A2"), success_criteria=criteria
    )
    with pytest.raises(Invalid) as refused:
        await harness.execute(write(account, bad), by=person(account))
    fields = [error.field for error in refused.value.errors]
    assert fields == ["/industry", "/situation", "/partner", "/cefr/lowest", "/success_criteria/1/id"]


async def test_a_withdrawn_scenario_is_neither_begun_nor_listed_nor_given_but_still_read(
    harness: Harness, house: House, account: AccountId
) -> None:
    slug = "hotels_hospitality_phone_calls"
    async with unit(house.database) as work:
        await work.scenarios.withdraw([slug], now=house.clock())
        assert await work.scenarios.find_named(slug, account) is None
        assert await work.scenarios.find(scenario_id(slug), 1) is not None
    await complete(harness, account)
    await harness.settle()
    assert slug not in {row["slug"] for row in await given(house, account)}
    listed = await house.reads.scenarios.listed(ScenarioQuery(account=account, limit=100))
    assert len(listed) == SITUATIONS * INDUSTRIES - 1
    assert (await house.reads.scenarios.named(slug, account=account)).slug == slug


def row(number: int, scenario: Scenario) -> ScenarioRow:
    return ScenarioRow(number=number, scenario=scenario)


async def imported(harness: Harness, scenarios: Sequence[Scenario]) -> tuple[int, int, int]:
    rows = tuple(row(number, one) for number, one in enumerate(scenarios, 1))
    found = await harness.execute(ImportScenarios(rows=rows), by=Actor(kind="person", id=uuid4(), flags=("admin",)))
    return found.added, found.changed, found.unchanged


async def test_an_import_adds_changes_and_brings_back_and_says_so_once(harness: Harness, house: House, account: AccountId) -> None:
    shipped = list(seeds.load_scenarios().scenarios)
    assert await imported(harness, shipped) == (0, 0, len(shipped))
    assert await happened(house, "scenarios_imported") == []
    async with unit(house.database) as work:
        await work.scenarios.withdraw([shipped[2].slug], now=house.clock())
    new = msgspec.structs.replace(shipped[0], slug="brand_new")
    changed = msgspec.structs.replace(shipped[1], title="Changed", version=2)
    assert await imported(harness, [new, changed, shipped[2], shipped[3]]) == (1, 2, 1)
    assert await happened(house, "scenarios_imported") == [{"added": 1, "changed": 2}]
    [event] = await rows(house, "SELECT meta FROM events WHERE name = 'practice.scenarios_imported'")
    assert event["meta"]["actor"]["kind"] == "person"
    found = await house.reads.scenarios.named("brand_new", account=account)
    assert (found.id, found.owner) == (scenario_id("brand_new"), None)


async def test_one_wrong_row_keeps_all_others_out_and_each_problem_is_named_by_its_row(
    harness: Harness,
    house: House,
    account: AccountId,  # noqa: ARG001 - there are scenarios
) -> None:
    shipped = list(seeds.load_scenarios().scenarios)
    script = shipped[0].script
    assert script is not None
    bad = [
        msgspec.structs.replace(shipped[0], slug="good"),
        msgspec.structs.replace(shipped[1], title="Changed without a higher version"),
        msgspec.structs.replace(shipped[0], slug="good"),
        msgspec.structs.replace(shipped[0], slug="stranger", partner="martians", cefr=Range(lowest="C1", highest="A1")),
        msgspec.structs.replace(shipped[0], slug="mute", script=None),
        msgspec.structs.replace(shipped[0], slug="poor", script=msgspec.structs.replace(script, branches=script.branches[:1])),
    ]
    before = await value(house, "SELECT count(*) FROM scenarios")
    with pytest.raises(Invalid) as refused:
        await imported(harness, bad)
    assert {error.field for error in refused.value.errors} == {
        "/rows/2/version",
        "/rows/3/slug",
        "/rows/4/partner",
        "/rows/4/cefr",
        "/rows/5/script",
        "/rows/6/script/branches",
    }
    assert await value(house, "SELECT count(*) FROM scenarios") == before
    assert await happened(house, "scenarios_imported") == []


async def test_only_admins_import(harness: Harness, account: AccountId) -> None:
    with pytest.raises(Denied):
        await harness.execute(ImportScenarios(rows=()), by=person(account))
