"""Tickets, asked for over HTTP."""

import httpx
import msgspec
import pytest

from app.bootstrap import Ports
from app.settings import Settings
from bus.message import ANONYMOUS
from domain.accounts.commands import RedeemTicket
from domain.types import Secret
from tests.app import client as clients
from tests.app.client import Door, sign_in_admin, sign_up, wrong_fields
from tests.support import HandClock, ScriptedMailer, value

TICKETS = "/api/v2/auth/tickets"


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


async def test_a_ticket_is_answered_and_opens_what_it_was_asked_for(door: Door) -> None:
    ada = await sign_up(door.client)
    answer = await door.client.post(TICKETS, json={"purpose": "websocket"}, headers=ada.headers)
    assert answer.status_code == 201
    ticket = answer.json()["data"]["ticket"]
    assert answer.json()["data"] == {"ticket": ticket, "purpose": "websocket", "expires_in": 30}
    assert answer.headers["cache-control"] == "no-store"
    holder = await door.house.bus.execute(RedeemTicket(ticket=Secret(ticket), purpose="websocket"), by=ANONYMOUS)
    assert holder.account == ada.id


async def test_nobody_gets_a_ticket_without_a_token(client: httpx.AsyncClient) -> None:
    assert problem(await client.post(TICKETS, json={"purpose": "websocket"})) == (401, "auth.required")


async def test_a_ticket_for_the_jobs_is_for_admins(door: Door) -> None:
    ada, operator = await sign_up(door.client), await sign_in_admin(door)
    body = {"purpose": "admin_jobs"}
    assert problem(await door.client.post(TICKETS, json=body, headers=ada.headers)) == (403, "auth.denied")
    assert (await door.client.post(TICKETS, json=body, headers=operator.headers)).status_code == 201


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"/purpose": "missing"}),
        ({"purpose": "root"}, {"/purpose": "not_allowed"}),
        ({"purpose": "websocket", "minutes": 60}, {"/minutes": "unknown"}),
    ],
)
async def test_what_is_wrong_with_the_request_is_named(client: httpx.AsyncClient, body: dict[str, object], wrong: dict[str, str]) -> None:
    ada = await sign_up(client)
    assert wrong_fields(await client.post(TICKETS, json=body, headers=ada.headers)) == wrong


async def test_a_key_repeats_no_ticket(door: Door) -> None:
    ada = await sign_up(door.client)
    headers = {**ada.headers, "Idempotency-Key": "a-key-that-tickets-do-not-take"}
    answers = [await door.client.post(TICKETS, json={"purpose": "websocket"}, headers=headers) for _ in range(2)]
    assert len({answer.json()["data"]["ticket"] for answer in answers}) == 2
    assert await value(door.house, "SELECT count(*) FROM idempotency") == 0


async def test_tickets_are_limited_like_logins(clock: HandClock, mailer: ScriptedMailer, settings: Settings) -> None:
    few = msgspec.structs.replace(settings, auth_rate_burst=2)
    async with clients.door(few, Ports(clock=clock, mailer=mailer)) as door:
        ada = await sign_up(door.client)
        answers = [await door.client.post(TICKETS, json={"purpose": "websocket"}, headers=ada.headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]
