"""Tickets: each opens one thing once, for the session that asked for it."""

import asyncio
from typing import get_args

import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Actor
from domain.accounts.commands import (
    CreateAdmin,
    IssuedTicket,
    IssueTicket,
    RedeemTicket,
    SignedIn,
    SignIn,
    TicketHolder,
    TicketPurpose,
)
from domain.accounts.errors import SessionEnded, TicketRefused
from domain.accounts.model import TICKET_LIFETIME
from domain.errors import Denied, Unproven
from domain.operations.commands import PruneLedger
from domain.types import AccountId, Secret, SessionId
from tests.factories import PASSWORD, Registrations
from tests.support import HandClock, rows, value


@pytest.fixture
async def ada(harness: Harness) -> SignedIn:
    return await harness.execute(Registrations.build(email="ada@example.com"), by=ANONYMOUS)


@pytest.fixture
async def operator(harness: Harness) -> SignedIn:
    someone = Registrations.build(email="operator@example.com")
    await harness.execute(
        CreateAdmin(email=someone.email, password=someone.password, full_name=someone.full_name, date_of_birth=someone.date_of_birth),
        by=SYSTEM,
    )
    return await harness.execute(SignIn(email=someone.email, password=Secret(PASSWORD)), by=ANONYMOUS)


def actor(signed_in: SignedIn) -> Actor:
    return Actor(kind="person", id=signed_in.profile.id, session=signed_in.session)


async def issue(harness: Harness, signed_in: SignedIn, purpose: TicketPurpose = "websocket") -> IssuedTicket:
    command = IssueTicket(account=signed_in.profile.id, session=signed_in.session, purpose=purpose)
    return await harness.execute(command, by=actor(signed_in))


async def redeem(harness: Harness, ticket: Secret, purpose: TicketPurpose = "websocket") -> TicketHolder:
    return await harness.execute(RedeemTicket(ticket=ticket, purpose=purpose), by=ANONYMOUS)


@pytest.mark.parametrize("purpose", get_args(TicketPurpose))
async def test_a_ticket_names_the_session_that_asked_for_it(harness: Harness, operator: SignedIn, purpose: TicketPurpose) -> None:
    issued = await issue(harness, operator, purpose)
    assert (issued.purpose, issued.expires_in) == (purpose, 30)
    holder = await redeem(harness, issued.ticket, purpose)
    assert holder == TicketHolder(account=operator.profile.id, session=operator.session)


async def test_a_ticket_is_good_once(harness: Harness, ada: SignedIn) -> None:
    ticket = (await issue(harness, ada)).ticket
    await redeem(harness, ticket)
    with pytest.raises(TicketRefused):
        await redeem(harness, ticket)


async def test_of_a_hundred_who_bring_a_ticket_at_once_one_gets_in(harness: Harness, ada: SignedIn) -> None:
    ticket = (await issue(harness, ada)).ticket
    came = await asyncio.gather(*(redeem(harness, ticket) for _ in range(100)), return_exceptions=True)
    assert [one for one in came if not isinstance(one, TicketRefused)] == [TicketHolder(account=ada.profile.id, session=ada.session)]


async def test_a_ticket_lasts_for_thirty_seconds(harness: Harness, ada: SignedIn, clock: HandClock) -> None:
    first, second = (await issue(harness, ada)).ticket, (await issue(harness, ada)).ticket
    clock.move(seconds=29.999)
    await redeem(harness, first)
    clock.move(seconds=0.001)
    with pytest.raises(TicketRefused):
        await redeem(harness, second)


async def test_a_ticket_brought_to_the_wrong_place_is_spent(harness: Harness, operator: SignedIn) -> None:
    ticket = (await issue(harness, operator)).ticket
    for purpose in ("admin_jobs", "websocket"):
        with pytest.raises(TicketRefused):
            await redeem(harness, ticket, purpose)


@pytest.mark.parametrize("text", ["", "guessed", "ticket\x00", "\ud800", "é" * 10_000])
async def test_what_is_no_ticket_is_refused(harness: Harness, text: str) -> None:
    with pytest.raises(TicketRefused):
        await redeem(harness, Secret(text))


async def test_only_an_admin_gets_a_ticket_for_what_admins_may(harness: Harness, ada: SignedIn, house: House) -> None:
    with pytest.raises(Denied):
        await issue(harness, ada, "admin_jobs")
    assert await value(house, "SELECT count(*) FROM tickets") == 0


async def test_a_ticket_is_for_ones_own_account_and_session(harness: Harness, ada: SignedIn, operator: SignedIn) -> None:
    command = IssueTicket(account=ada.profile.id, session=ada.session, purpose="websocket")
    with pytest.raises(Denied):
        await harness.execute(command, by=actor(operator))
    with pytest.raises(Unproven):
        await harness.execute(command, by=ANONYMOUS)
    borrowed = IssueTicket(account=AccountId(ada.profile.id), session=SessionId(operator.session), purpose="websocket")
    with pytest.raises(SessionEnded):
        await harness.execute(borrowed, by=actor(ada))


async def test_a_session_that_is_over_gets_no_ticket(harness: Harness, ada: SignedIn, house: House, clock: HandClock) -> None:
    clock.move(days=house.settings.session_days)
    with pytest.raises(SessionEnded):
        await issue(harness, ada)


async def test_neither_the_ledger_nor_the_table_holds_a_ticket(harness: Harness, ada: SignedIn, house: House) -> None:
    ticket = (await issue(harness, ada)).ticket
    [stored] = await rows(house, "SELECT * FROM tickets")
    assert ticket.reveal() not in str(stored)
    assert ticket.reveal().encode() not in stored["digest"]
    assert await value(house, "SELECT count(*) FROM events WHERE name LIKE '%ticket%'") == 0
    assert await value(house, "SELECT count(*) FROM idempotency") == 0


async def test_tickets_that_nobody_brought_are_pruned(harness: Harness, ada: SignedIn, house: House, clock: HandClock) -> None:
    await issue(harness, ada)
    clock.move(seconds=TICKET_LIFETIME.total_seconds() - 1)
    kept = await issue(harness, ada)
    clock.move(seconds=1)
    await harness.execute(PruneLedger())
    assert await value(house, "SELECT count(*) FROM tickets") == 1
    await redeem(harness, kept.ticket)
