"""Tickets: how what cannot send a token, a browser's address bar or its WebSocket, is opened by somebody who has one."""

from typing import Annotated

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api.accounts import own
from app.api.envelope import Answer, Meta
from app.auth import signed_in
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, Trace
from domain.accounts.commands import IssueTicket, TicketPurpose
from domain.accounts.errors import SessionEnded
from domain.errors import Denied, Unavailable
from domain.types import SessionId

Purpose = Annotated[TicketPurpose, msgspec.Meta(description="`admin_jobs` opens the page of the jobs and is for admins only.")]


class TicketRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    purpose: Purpose


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_in` is in seconds."""

    ticket: Annotated[str, msgspec.Meta(examples=["pSoXPBYSMzRWIkmbTlj2tLkwmkhVMo-1pYDyyXXM6pE"], description="Good once.")]
    purpose: Purpose
    expires_in: Annotated[int, msgspec.Meta(examples=[30])]


@post(
    "/auth/tickets",
    operation_id="issue_ticket",
    summary="Get a ticket for the page of the jobs, or for a WebSocket",
    description=(
        "A ticket opens one thing once, within 30 seconds, in the session of the token it was asked for with. "
        "Like a login this takes no `Idempotency-Key`: whoever asks again gets another ticket, and one that nobody brings lapses by itself."
    ),
    response_description="The ticket.",
    tags=["auth"],
    guards=[signed_in],
    opt={"rate_limit": "auth"},
    responses=problems(SessionEnded, Denied, Unavailable),
)
async def issue_ticket(
    data: JSONBody[TicketRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
) -> Answer[Ticket]:
    if actor.session is None:
        raise SessionEnded
    command = IssueTicket(account=own(actor), session=SessionId(actor.session), purpose=data.purpose)
    issued = await bus.execute(command, by=actor, trace=trace)
    return Answer(data=Ticket(ticket=issued.ticket.reveal(), purpose=issued.purpose, expires_in=issued.expires_in), meta=meta)
