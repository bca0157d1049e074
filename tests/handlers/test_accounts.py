"""Accounts, from the command to what is stored, sent, and reacted to."""

from datetime import date

import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS
from domain.accounts.commands import ExpireSession, RegisterAccount, SignedIn, SignIn
from domain.accounts.errors import BadCredentials, EmailTaken
from domain.errors import Invalid
from domain.types import Secret
from tests.factories import PASSWORD, Registrations
from tests.support import HandClock, ScriptedMailer, rows, value


async def register(harness: Harness) -> SignedIn:
    return await harness.execute(Registrations.build(email="Ada@Example.com"), by=ANONYMOUS)


async def test_registering_records_one_event_and_sends_one_welcome_mail(harness: Harness, house: House, mailer: ScriptedMailer) -> None:
    signed_in = await register(harness)
    await harness.settle()
    await harness.settle()
    recorded = await rows(house, "SELECT name, subject, key FROM events WHERE name LIKE 'accounts.%'")
    assert recorded == [{"name": "accounts.registered", "subject": signed_in.profile.id, "key": str(signed_in.profile.id)}]
    assert [(mail.to, mail.to_name) for mail in mailer.sent] == [("ada@example.com", "Ada Lovelace")]


async def test_an_address_is_taken_without_regard_to_case(harness: Harness, house: House) -> None:
    await register(harness)
    with pytest.raises(EmailTaken):
        await register(harness)
    assert await value(house, "SELECT count(*) FROM events") == 1


async def test_everything_that_is_wrong_is_named_before_a_password_is_hashed(harness: Harness, house: House) -> None:
    command = RegisterAccount(email="x", password=Secret("short"), full_name="A", date_of_birth=date(2026, 1, 1), accept_terms=False)
    with pytest.raises(Invalid) as refused:
        await harness.execute(command, by=ANONYMOUS)
    assert {error.field for error in refused.value.errors} == {"/email", "/password", "/full_name", "/date_of_birth", "/accept_terms"}
    assert await value(house, "SELECT count(*) FROM events") == 0


async def test_signing_in_opens_a_session_of_its_own(harness: Harness, house: House) -> None:
    registered = await register(harness)
    signed_in = await harness.execute(SignIn(email="ADA@example.COM", password=Secret(PASSWORD)), by=ANONYMOUS)
    assert signed_in.profile == registered.profile
    assert signed_in.session != registered.session
    assert await value(house, "SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 2


@pytest.mark.parametrize(
    ("email", "reason"),
    [("ada@example.com", "wrong_password"), ("nobody@example.com", "unknown_address"), ("no address", "unknown_address")],
)
async def test_a_refused_sign_in_leaves_its_event_and_no_address(harness: Harness, house: House, email: str, reason: str) -> None:
    await register(harness)
    with pytest.raises(BadCredentials):
        await harness.execute(SignIn(email=email, password=Secret("wrong")), by=ANONYMOUS)
    [refusal] = await rows(
        house, "SELECT data->>'reason' AS reason, data::text AS data FROM events WHERE name = 'accounts.sign_in_refused'"
    )
    assert refusal["reason"] == reason
    assert "@" not in refusal["data"]
    assert await value(house, "SELECT count(*) FROM sessions") == 1


async def test_a_session_is_ended_by_a_job_once_its_time_is_over(harness: Harness, house: House, clock: HandClock) -> None:
    signed_in = await register(harness)
    clock.move(days=house.settings.session_days, seconds=-1)
    await harness.settle()
    assert await value(house, "SELECT ended_at FROM sessions") is None
    clock.move(seconds=1)
    await harness.settle()
    assert await value(house, "SELECT ended_at FROM sessions") == clock.now
    assert await value(house, "SELECT count(*) FROM outbox") == 0
    [expired] = await rows(house, "SELECT subject, meta->'actor'->>'kind' AS actor FROM events WHERE name = 'accounts.session_expired'")
    assert expired == {"subject": signed_in.profile.id, "actor": "system"}


async def test_a_session_that_is_gone_is_not_expired_again(harness: Harness, clock: HandClock, house: House) -> None:
    signed_in = await register(harness)
    clock.move(days=house.settings.session_days)
    await harness.settle()
    await harness.execute(ExpireSession(session=signed_in.session))
    assert await value(house, "SELECT count(*) FROM events WHERE name = 'accounts.session_expired'") == 1


async def test_a_session_that_is_not_over_when_the_job_runs_is_looked_at_again(harness: Harness, clock: HandClock, house: House) -> None:
    await register(harness)
    await rows(house, "UPDATE outbox SET due = $1 WHERE kind = 'command' RETURNING id", clock.now)
    await harness.settle()
    assert await value(house, "SELECT count(*) FROM deliveries") == 0
    assert await value(house, "SELECT ended_at FROM sessions") is None
    assert await value(house, "SELECT due FROM outbox") == await value(house, "SELECT expires_at FROM sessions")
    clock.move(days=house.settings.session_days)
    await harness.settle()
    assert await value(house, "SELECT ended_at FROM sessions") == clock.now
