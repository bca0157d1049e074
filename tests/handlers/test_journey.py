"""The journey, from the command to what is stored, recorded, and read by other areas."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid5

import msgspec
import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, Actor, Command
from db.reads.onboarding import CustomRole
from domain.catalogue.identity import entry_id
from domain.errors import Denied, Invalid, Stale
from domain.onboarding.commands import (
    ChooseIndustry,
    ChooseNativeLanguage,
    ChoosePartners,
    ChooseRole,
    ChooseSituations,
    CompleteOnboarding,
    DescribeRole,
    JourneyState,
    LearningGoals,
    NativeLanguage,
    Partner,
    PauseJourney,
    ResetJourney,
    SetLearningGoals,
    Situation,
    SituationsOf,
    SwitchReminders,
)
from domain.onboarding.errors import Incomplete, UnknownPartner
from domain.types import AccountId
from tests.factories import Registrations
from tests.support import HandClock, rows, value

BANKING = entry_id("industry", "banking_finance")
WORDS = (
    "Ship chandler",
    "I supply ships with food and spare parts.",
    "Auditors of the head office",
    "They visit twice a year.",
    "Tea break",
)


@pytest.fixture
async def account(harness: Harness, catalogued: House) -> AccountId:  # noqa: ARG001 - there is a catalogue
    """Somebody who has signed up where there is a catalogue."""
    registered = await harness.execute(Registrations.build(), by=ANONYMOUS)
    await harness.settle()
    return registered.profile.id


async def take(harness: Harness, command: Command[JourneyState], account: AccountId) -> JourneyState:
    return await harness.execute(command, by=Actor(kind="person", id=account))


def native_language(account: AccountId, **changes: object) -> ChooseNativeLanguage:
    command = ChooseNativeLanguage(
        account=account, expected=None, language="ZH-HANT", proficiency="B1", target_language="en", explanation_language=None
    )
    return msgspec.structs.replace(command, **changes)


def industry(account: AccountId, ref: str = "banking_finance", expected: tuple[int, ...] | None = None) -> ChooseIndustry:
    return ChooseIndustry(account=account, expected=expected, industry=ref)


def own_role(account: AccountId, title: str = WORDS[0]) -> DescribeRole:
    return DescribeRole(account=account, expected=None, title=title, description=WORDS[1], hierarchy_level="associate")


def partners(account: AccountId, *chosen: Partner) -> ChoosePartners:
    return ChoosePartners(account=account, expected=None, partners=chosen)


def situations(account: AccountId, of: Mapping[str, Sequence[Situation]], *, every: bool = True) -> ChooseSituations:
    chosen = tuple(SituationsOf(partner=partner, situations=tuple(those)) for partner, those in of.items())
    return ChooseSituations(account=account, expected=None, partners=chosen, every=every)


async def whole(harness: Harness, account: AccountId) -> JourneyState:
    """Every step answered, in the learner's own words where there may be."""
    await take(harness, native_language(account), account)
    await take(
        harness, SetLearningGoals(account=account, expected=None, goals=("Lead a meeting",), minutes_a_day=15, timeline="3_months"), account
    )
    await take(harness, industry(account), account)
    await take(harness, own_role(account), account)
    state = await take(harness, partners(account, Partner(ref="clients"), Partner(name=WORDS[2], description=WORDS[3])), account)
    auditors = str(state.answers.partners[1].id)
    chosen = {"clients": [Situation(ref="meetings"), Situation(name=WORDS[4])], auditors: [Situation(ref="meetings")]}
    return await take(harness, situations(account, chosen), account)


async def names(house: House) -> list[str]:
    found = await rows(house, "SELECT e.name FROM events e WHERE e.name LIKE 'onboarding.%' ORDER BY e.id")
    return [row["name"].removeprefix("onboarding.") for row in found]


async def test_signing_up_begins_a_journey_once_and_at_version_one(harness: Harness, house: House, account: AccountId) -> None:
    await harness.settle()
    assert await rows(house, "SELECT account, version FROM journeys") == [{"account": account, "version": 1}]
    assert await names(house) == ["begun"]
    state = await take(harness, native_language(account, expected=(1,)), account)
    assert (state.version, state.done) == (2, ("native_language",))


@pytest.mark.usefixtures("catalogued")
async def test_an_answer_before_the_reaction_begins_the_journey_itself(harness: Harness, house: House) -> None:
    account = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    before = await house.reads.onboarding.state(account, now=house.clock())
    state = await take(harness, native_language(account, expected=(before.version,)), account)
    await harness.settle()
    assert state.version == before.version + 1
    assert await names(house) == ["begun", "step_answered"]
    assert await house.reads.onboarding.state(account, now=house.clock()) == state


async def test_reading_a_journey_writes_nothing(harness: Harness, house: House) -> None:
    account = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    state = await house.reads.onboarding.state(account, now=house.clock())
    assert (state.status, state.version) == ("not_started", 1)
    assert await value(house, "SELECT count(*) FROM journeys") == 0


async def test_slugs_and_ids_are_the_same_answer(harness: Harness, house: House, account: AccountId) -> None:
    await take(harness, native_language(account), account)
    state = await take(harness, industry(account, "Banking-Finance"), account)
    assert state.answers.industry == BANKING
    assert state.answers.native_language == NativeLanguage(
        language="zh-Hant", proficiency="B1", target_language="en", explanation_language="zh-Hant"
    )
    again = await take(harness, industry(account, str(BANKING)), account)
    assert again.version == state.version
    assert await names(house) == ["begun", "step_answered", "step_answered"]


async def test_a_whole_journey_is_handed_over_with_every_word_and_none_is_in_an_event(
    harness: Harness, house: House, account: AccountId, clock: HandClock
) -> None:
    before = await whole(harness, account)
    assert await house.reads.onboarding.work_profile(account) is None
    clock.move(minutes=3)
    state = await take(harness, CompleteOnboarding(account=account), account)
    assert (state.status, state.percent, state.completed_at) == ("completed", 100, clock.now)
    profile = await house.reads.onboarding.work_profile(account)
    assert profile is not None
    assert profile.native_language == state.answers.native_language
    assert profile.learning_goals == LearningGoals(goals=("Lead a meeting",), minutes_a_day=15, timeline="3_months")
    assert profile.industry == BANKING
    assert profile.role == uuid5(account, f"role/{BANKING}/ship chandler")
    assert profile.custom_role == CustomRole(title=WORDS[0], description=WORDS[1], hierarchy_level="associate", industry=BANKING)
    assert profile.partners == before.answers.partners
    assert [(one.name, one.description) for one in profile.partners] == [(None, None), (WORDS[2], WORDS[3])]
    assert [one.name for one in profile.partners[0].situations] == [None, WORDS[4]]
    assert profile.completed_at == clock.now
    [completed] = await rows(house, "SELECT subject, data::text AS data FROM events WHERE name = 'onboarding.completed'")
    assert completed["subject"] == account
    assert UUID(msgspec.json.decode(completed["data"])["role"]) == profile.role
    ledger = "".join(str(row) for row in await rows(house, "SELECT data::text, key, meta::text FROM events"))
    assert not [word for word in WORDS if word.casefold() in ledger.casefold()]


async def test_completing_twice_records_it_once(harness: Harness, house: House, account: AccountId) -> None:
    await whole(harness, account)
    first = await take(harness, CompleteOnboarding(account=account), account)
    assert await take(harness, CompleteOnboarding(account=account), account) == first
    assert (await names(house)).count("completed") == 1


async def test_a_profile_with_a_hole_is_not_handed_over_until_it_is_filled(harness: Harness, house: House, account: AccountId) -> None:
    await whole(harness, account)
    await take(harness, CompleteOnboarding(account=account), account)
    await take(harness, industry(account, "shipping_logistics"), account)
    assert await house.reads.onboarding.work_profile(account) is None
    with pytest.raises(Incomplete):
        await take(harness, CompleteOnboarding(account=account), account)
    state = await take(harness, own_role(account), account)
    profile = await house.reads.onboarding.work_profile(account)
    assert state.status == "completed"
    assert profile is not None
    assert profile.role == uuid5(account, f"role/{entry_id('industry', 'shipping_logistics')}/ship chandler")


async def test_a_role_of_ones_own_is_read_by_its_owner_alone(harness: Harness, house: House, account: AccountId) -> None:
    state = await whole(harness, account)
    assert state.answers.role is not None
    assert await house.reads.onboarding.custom_role(account, state.answers.role.id) is not None
    other = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    assert await house.reads.onboarding.custom_role(other, state.answers.role.id) is None
    assert await house.reads.onboarding.custom_role(account, BANKING) is None
    assert await house.reads.onboarding.industry_of(account) == BANKING
    assert await house.reads.onboarding.industry_of(other) is None


async def test_what_one_adds_again_keeps_its_id_and_its_situations_and_the_last_spelling(harness: Harness, account: AccountId) -> None:
    before = await whole(harness, account)
    respelled = Partner(name="  AUDITORS of the\thead office ")
    after = await take(harness, partners(account, respelled, Partner(ref="clients")), account)
    assert [one.id for one in after.answers.partners] == [one.id for one in reversed(before.answers.partners)]
    assert after.answers.partners[0].name == "AUDITORS of the head office"
    assert after.answers.partners[0].situations == before.answers.partners[1].situations
    assert (after.missing, after.void) == ((), ())


async def test_everything_that_is_wrong_is_named_at_once(harness: Harness, house: House, account: AccountId) -> None:
    await whole(harness, account)
    given = [Partner(ref="clients"), Partner(ref="nobody"), Partner(ref="CLIENTS"), Partner(name="x"), Partner(name="A\x00B")]
    with pytest.raises(Invalid) as refused:
        await take(harness, partners(account, *given), account)
    assert [(error.field, error.code) for error in refused.value.errors] == [
        ("/partners/1/partner", "unknown"),
        ("/partners/3/custom/name", "length"),
        ("/partners/4/custom/name", "not_allowed"),
        ("/partners/2/partner", "duplicate"),
    ]
    assert (await house.reads.onboarding.state(account, now=house.clock())).void == ()


@pytest.mark.parametrize("ref", ["", " ", "\x00", "no_such", "é" * 100, "00000000-0000-0000-0000-000000000000", "{", "zh-Hant"])
async def test_what_is_not_in_the_catalogue_is_named_whatever_it_is(harness: Harness, account: AccountId, ref: str) -> None:
    await whole(harness, account)
    wrong = {
        "/industry": industry(account, ref),
        "/role": ChooseRole(account=account, expected=None, role=ref),
        "/custom/hierarchy_level": msgspec.structs.replace(own_role(account), hierarchy_level=ref),
        "/partners/0/partner": partners(account, Partner(ref=ref)),
        "/partners/0/situations/0/situation": situations(account, {"clients": [Situation(ref=ref)]}),
    }
    for pointer, command in wrong.items():
        with pytest.raises(Invalid) as refused:
            await take(harness, command, account)
        assert [(error.field, error.code) for error in refused.value.errors] == [(pointer, "unknown")]
    with pytest.raises(UnknownPartner):
        await take(harness, situations(account, {ref: [Situation(ref="meetings")]}, every=False), account)


async def test_what_the_catalogue_has_retired_stays_with_those_who_chose_it(harness: Harness, house: House, account: AccountId) -> None:
    before = await whole(harness, account)
    async with house.database.driver() as driver:
        await driver.execute("UPDATE catalogue_entries SET available = false WHERE kind IN ('partner', 'industry')")
    assert (await take(harness, industry(account), account)).version == before.version
    kept = await take(harness, partners(account, Partner(ref="clients")), account)
    assert [one.id for one in kept.answers.partners] == [entry_id("partner", "clients")]
    with pytest.raises(Invalid):
        await take(harness, partners(account, Partner(ref="colleagues")), account)


async def test_of_two_answers_to_the_same_version_one_is_stale(harness: Harness, account: AccountId) -> None:
    state = await take(harness, native_language(account), account)
    both = [industry(account, ref, (state.version,)) for ref in ("banking_finance", "shipping_logistics")]
    outcomes = await asyncio.gather(*(take(harness, one, account) for one in both), return_exceptions=True)
    [won] = [outcome for outcome in outcomes if isinstance(outcome, JourneyState)]
    [lost] = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert won.version == state.version + 1
    assert isinstance(lost, Stale)


async def test_of_two_answers_at_once_none_is_lost(harness: Harness, house: House, account: AccountId) -> None:
    await take(harness, native_language(account), account)
    goals = SetLearningGoals(account=account, expected=None, goals=("Lead",), minutes_a_day=15, timeline="1_month")
    await asyncio.gather(take(harness, industry(account), account), take(harness, goals, account))
    state = await house.reads.onboarding.state(account, now=house.clock())
    assert state.answers.industry == BANKING
    assert state.answers.learning_goals is not None


async def test_a_journey_belongs_to_its_learner(harness: Harness, account: AccountId) -> None:
    other = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    for command in (industry(account), PauseJourney(account=account), ResetJourney(account=account), CompleteOnboarding(account=account)):
        with pytest.raises(Denied):
            await take(harness, command, other)


async def test_pausing_resuming_and_resetting_are_told(harness: Harness, house: House, account: AccountId) -> None:
    await take(harness, native_language(account), account)
    await take(harness, PauseJourney(account=account), account)
    await take(harness, PauseJourney(account=account), account)
    await take(harness, industry(account), account)
    await take(harness, SwitchReminders(account=account, expected=None, enabled=False), account)
    state = await take(harness, ResetJourney(account=account), account)
    again = await take(harness, ResetJourney(account=account), account)
    assert await names(house) == ["begun", "step_answered", "paused", "resumed", "step_answered", "reminders_changed", "reset"]
    assert (state.status, state.done, state.reminders, again.version) == ("not_started", (), False, state.version)
