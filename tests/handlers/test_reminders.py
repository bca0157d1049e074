"""Reminders: once, by day where the learner lives, and only to those who want to go on."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Actor, Unavailable
from bus.work import Dead
from domain.accounts.commands import ChangeProfile
from domain.onboarding.commands import (
    ChooseIndustry,
    ChooseNativeLanguage,
    ChoosePartners,
    ChooseRole,
    ChooseSituations,
    CompleteOnboarding,
    JourneyState,
    NoticeIdleJourneys,
    Partner,
    PauseJourney,
    RemindLearner,
    SetLearningGoals,
    Situation,
    SituationsOf,
    SwitchReminders,
)
from domain.onboarding.rules import may_disturb
from domain.types import AccountId
from tests.factories import Registrations
from tests.support import HandClock, ScriptedMailer, rows, value

pytestmark = pytest.mark.usefixtures("catalogued")

HONG_KONG = "Asia/Hong_Kong"


def at_local(clock: HandClock, hour: int, timezone: str = HONG_KONG) -> None:
    """Moves to the next time that it is this hour there."""
    local = clock.now.astimezone(ZoneInfo(timezone))
    then = local.replace(hour=hour, minute=0, second=0)
    clock.now = (then if then > local else then + timedelta(days=1)).astimezone(UTC)


async def a_learner(harness: Harness, timezone: str = HONG_KONG) -> AccountId:
    """Somebody who lives there, has answered the first step, and has had the welcome mail."""
    account = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    await harness.execute(ChangeProfile(account=account, timezone=timezone, expected=None), by=Actor(kind="person", id=account))
    await harness.settle()
    await answer(harness, account, "B1")
    return account


async def answer(harness: Harness, account: AccountId, proficiency: str) -> JourneyState:
    command = ChooseNativeLanguage(
        account=account,
        expected=None,
        language="zh-Hant",
        proficiency=proficiency,  # pyright: ignore[reportArgumentType]  # one of the levels
        target_language="en",
        explanation_language=None,
    )
    state = await harness.execute(command, by=Actor(kind="person", id=account))
    await harness.settle()
    return state


async def notice(harness: Harness) -> None:
    """As the crontab does."""
    await harness.execute(NoticeIdleJourneys(), by=SYSTEM)
    await harness.settle()


def reminders(mailer: ScriptedMailer) -> list[str]:
    return [mail.message_id for mail in mailer.sent if mail.message_id.startswith("onboarding-reminder.")]


async def recorded(house: House, name: str) -> int:
    return await value(house, "SELECT count(*) FROM events WHERE name = $1", name)


async def test_who_has_stopped_for_a_day_is_reminded_once(harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    clock.move(hours=24, seconds=-1)
    await notice(harness)
    assert reminders(mailer) == []
    clock.move(seconds=1)
    await notice(harness)
    await notice(harness)
    clock.move(days=1)
    await notice(harness)
    assert len(reminders(mailer)) == 1
    [mail] = [mail for mail in mailer.sent if mail.message_id in reminders(mailer)]
    assert (mail.to_name, "16 % done" in mail.text) == ("Ada Lovelace", True)
    [event] = await rows(house, "SELECT subject, data::text AS data FROM events WHERE name = 'onboarding.reminded'")
    assert event["subject"] == account
    assert "@" not in event["data"]


async def test_an_answer_puts_the_reminder_off_and_allows_another(harness: Harness, mailer: ScriptedMailer, clock: HandClock) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    clock.move(hours=20)
    await answer(harness, account, "B2")
    clock.move(hours=5)
    await notice(harness)
    assert reminders(mailer) == []
    clock.move(hours=23)
    await notice(harness)
    assert len(reminders(mailer)) == 1
    await answer(harness, account, "C1")
    clock.move(hours=25)
    await notice(harness)
    assert len(set(reminders(mailer))) == 2


@pytest.mark.parametrize("timezone", [HONG_KONG, "America/New_York", "Europe/London"])
async def test_nobody_is_woken(harness: Harness, mailer: ScriptedMailer, clock: HandClock, timezone: str) -> None:
    at_local(clock, 22, timezone)
    await a_learner(harness, timezone)
    clock.move(days=1)
    await notice(harness)
    assert reminders(mailer) == []
    at_local(clock, 8, timezone)
    clock.move(seconds=-1)
    await notice(harness)
    assert reminders(mailer) == []
    clock.move(seconds=1)
    await notice(harness)
    assert len(reminders(mailer)) == 1


async def test_a_mail_that_an_outage_held_up_until_night_waits_for_the_morning(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 20)
    await a_learner(harness)
    clock.move(days=1)
    mailer.failures = [Unavailable(retry_after=7200.0)]
    await notice(harness)
    clock.move(hours=3)
    await harness.settle()
    await notice(harness)
    assert mailer.failures == []
    assert reminders(mailer) == []
    assert await recorded(house, "onboarding.reminded") == 0
    at_local(clock, 8)
    await notice(harness)
    assert len(reminders(mailer)) == 1
    assert await recorded(house, "onboarding.reminded") == 1


async def test_a_reminder_that_is_on_its_way_keeps_its_tries(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 12)
    await a_learner(harness)
    clock.move(days=1)
    mailer.failures = [ConnectionError("451 try again later")]
    await notice(harness)
    await notice(harness)
    assert await rows(house, "SELECT tries FROM outbox WHERE key LIKE 'onboarding.remind:%'") == [{"tries": 1}]
    clock.move(minutes=1)
    await harness.settle()
    assert len(reminders(mailer)) == 1


async def test_an_address_that_takes_no_mail_makes_one_dead_letter(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 12)
    await a_learner(harness)
    clock.move(days=1)
    mailer.failures = [Dead("550 no such user")]
    await notice(harness)
    await notice(harness)
    assert (mailer.failures, reminders(mailer)) == ([], [])
    assert await rows(house, "SELECT reaction, state FROM deliveries") == [{"reaction": "onboarding.remind_learner", "state": "dead"}]
    assert await value(house, "SELECT count(*) FROM outbox") == await value(house, "SELECT count(*) FROM sessions")


async def test_a_reminder_that_comes_late_looks_again(harness: Harness, mailer: ScriptedMailer, clock: HandClock) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert reminders(mailer) == []
    clock.move(hours=34)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert reminders(mailer) == []
    at_local(clock, 9)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert len(reminders(mailer)) == 1


@pytest.mark.parametrize(
    ("answered", "night", "day"),
    [
        (datetime(2027, 3, 13, 11, 30, tzinfo=UTC), datetime(2027, 3, 14, 11, 59, 59, tzinfo=UTC), datetime(2027, 3, 14, 12, tzinfo=UTC)),
        (datetime(2027, 11, 6, 12, 30, tzinfo=UTC), datetime(2027, 11, 7, 12, 59, 59, tzinfo=UTC), datetime(2027, 11, 7, 13, tzinfo=UTC)),
        (datetime(2027, 3, 14, 1, tzinfo=UTC), datetime(2027, 3, 15, 1, tzinfo=UTC), datetime(2027, 3, 15, 12, tzinfo=UTC)),
        (datetime(2027, 11, 7, 2, tzinfo=UTC), datetime(2027, 11, 8, 2, tzinfo=UTC), datetime(2027, 11, 8, 13, tzinfo=UTC)),
    ],
)
async def test_the_night_moves_with_the_clocks_of_new_york(
    harness: Harness, mailer: ScriptedMailer, clock: HandClock, answered: datetime, night: datetime, day: datetime
) -> None:
    clock.now = answered
    account = await a_learner(harness, "America/New_York")
    clock.now = night
    await notice(harness)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert reminders(mailer) == []
    clock.now = day
    await notice(harness)
    assert len(reminders(mailer)) == 1


async def test_a_reminder_that_the_server_took_before_the_line_was_cut_is_the_same_mail_when_it_is_sent_again(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 12)
    await a_learner(harness)
    clock.move(days=1)

    async def cut() -> None:
        raise Unavailable(retry_after=60.0)

    mailer.next.append(cut)
    await notice(harness)
    assert await recorded(house, "onboarding.reminded") == 0
    clock.move(minutes=1)
    await harness.settle()
    first, again = reminders(mailer)
    assert first == again
    assert await recorded(house, "onboarding.reminded") == 1


async def test_who_answers_while_the_mail_goes_out_counts_as_not_reminded(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    clock.move(days=1)

    async def answer() -> None:
        clock.move(seconds=1)
        command = SetLearningGoals(account=account, expected=None, goals=("Talk",), minutes_a_day=15, timeline="1_year")
        await harness.execute(command, by=Actor(kind="person", id=account))

    mailer.next.append(answer)
    await notice(harness)
    assert (len(reminders(mailer)), await recorded(house, "onboarding.reminded")) == (1, 0)
    clock.move(days=1)
    await notice(harness)
    assert len(set(reminders(mailer))) == 2
    assert await recorded(house, "onboarding.reminded") == 1


async def test_who_is_done_or_has_given_up_gets_none(harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock) -> None:
    at_local(clock, 12)
    done, gone = await a_learner(harness), await a_learner(harness)
    person = Actor(kind="person", id=done)
    meetings = (Situation(ref="meetings"),)
    for command in (
        ChooseIndustry(account=done, expected=None, industry="banking_finance"),
        ChooseRole(account=done, expected=None, role="bank_teller"),
        ChoosePartners(account=done, expected=None, partners=(Partner(ref="clients"),)),
        ChooseSituations(account=done, expected=None, partners=(SituationsOf(partner="clients", situations=meetings),), every=True),
        CompleteOnboarding(account=done),
    ):
        await harness.execute(command, by=person)
    await harness.execute(SwitchReminders(account=gone, expected=None, enabled=False), by=Actor(kind="person", id=gone))
    clock.move(days=14)
    await notice(harness)
    assert await recorded(house, "onboarding.abandoned") == 1
    await harness.execute(SwitchReminders(account=gone, expected=None, enabled=True), by=Actor(kind="person", id=gone))
    await notice(harness)
    for account in (done, gone):
        await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert reminders(mailer) == []


@pytest.mark.parametrize("rest", ["paused", "switched off"])
async def test_who_rests_or_wants_no_reminder_gets_none(harness: Harness, mailer: ScriptedMailer, clock: HandClock, rest: str) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    if rest == "paused":
        await harness.execute(PauseJourney(account=account), by=Actor(kind="person", id=account))
    else:
        await harness.execute(SwitchReminders(account=account, expected=None, enabled=False), by=Actor(kind="person", id=account))
    clock.move(days=2)
    await notice(harness)
    await harness.execute(RemindLearner(account=account), by=SYSTEM)
    assert reminders(mailer) == []


async def test_who_signed_up_and_answered_nothing_is_reminded_too(harness: Harness, mailer: ScriptedMailer, clock: HandClock) -> None:
    at_local(clock, 12, "UTC")
    account = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    await harness.execute(ChangeProfile(account=account, timezone="UTC", expected=None), by=Actor(kind="person", id=account))
    await harness.settle()
    clock.move(days=1)
    await notice(harness)
    assert len(reminders(mailer)) == 1


async def test_after_two_weeks_a_journey_counts_as_abandoned_once_and_an_answer_takes_it_up_again(
    harness: Harness, house: House, clock: HandClock
) -> None:
    at_local(clock, 12)
    account = await a_learner(harness)
    clock.move(days=14, seconds=-1)
    await notice(harness)
    assert await recorded(house, "onboarding.abandoned") == 0
    clock.move(seconds=1)
    await notice(harness)
    await notice(harness)
    assert await recorded(house, "onboarding.abandoned") == 1
    state = await harness.execute(
        ChooseIndustry(account=account, expected=None, industry="banking_finance"), by=Actor(kind="person", id=account)
    )
    assert (state.status, state.done) == ("in_progress", ("native_language", "industry"))
    assert await recorded(house, "onboarding.resumed") == 1


async def test_the_database_and_the_rules_agree_on_when_it_is_night(harness: Harness, house: House) -> None:
    """Through the days on which the clocks change, half an hour by half an hour."""
    timezone = "America/New_York"
    account = await a_learner(harness, timezone)
    for begin in (datetime(2027, 3, 13, 22, tzinfo=UTC), datetime(2027, 11, 6, 22, tzinfo=UTC)):
        async with house.database.driver() as driver:
            await driver.execute("UPDATE journeys SET active_at = $1, reminded_at = NULL", begin - timedelta(days=2))
        for halves in range(60):
            now = begin + timedelta(minutes=30 * halves)
            idle = await house.reads.onboarding.idle(now=now)
            assert (account in idle.remind) is may_disturb(now, timezone), now


async def test_a_time_zone_that_is_not_known_here_keeps_no_reminder_from_others(
    harness: Harness, house: House, mailer: ScriptedMailer, clock: HandClock
) -> None:
    at_local(clock, 12)
    await a_learner(harness)
    other = (await harness.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    await answer(harness, other, "B1")
    assert await value(house, "UPDATE accounts SET timezone = 'Mars/Olympus_Mons' WHERE id = $1 RETURNING timezone", other)
    clock.move(hours=24)
    await notice(harness)
    assert len(reminders(mailer)) == 1
    await harness.execute(RemindLearner(account=other), by=SYSTEM)
    assert len(reminders(mailer)) == 1
