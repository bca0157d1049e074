"""What may be asked of accounts, and what is answered. Text is as it was typed; the rules normalise it."""

from datetime import date, datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from bus.message import Command
from domain.types import AccountId, Secret, SessionId

TicketPurpose = Literal["admin_jobs", "websocket"]
"""What a ticket opens: the page of the jobs, or a WebSocket."""


class Profile(Struct, frozen=True, kw_only=True):
    """An account as its owner sees it."""

    id: AccountId
    email: str
    full_name: str
    date_of_birth: date
    locale: str
    timezone: str
    created_at: datetime
    updated_at: datetime
    version: int


class SignedIn(Struct, frozen=True, kw_only=True):
    """Whose session began, and when; the front door makes tokens of it."""

    profile: Profile
    session: SessionId
    at: datetime


class RegisterAccount(Command[SignedIn], frozen=True, kw_only=True):
    email: str
    password: Secret
    full_name: str
    date_of_birth: date
    accept_terms: bool
    locale: str = "en"


class SignIn(Command[SignedIn], frozen=True, kw_only=True):
    email: str
    password: Secret


class ChangeProfile(Command[Profile], frozen=True, kw_only=True):
    """`expected` are the versions that the client would change; None is any."""

    account: AccountId
    expected: tuple[int, ...] | None
    full_name: str | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET


class IssuedTicket(Struct, frozen=True, kw_only=True):
    """`expires_in` is in seconds."""

    ticket: Secret
    purpose: TicketPurpose
    expires_in: int


class IssueTicket(Command[IssuedTicket], frozen=True, kw_only=True):
    """A ticket that opens one thing, once, for as long as the session lasts; for browsers, which cannot send a token there."""

    account: AccountId
    session: SessionId
    purpose: TicketPurpose


class TicketHolder(Struct, frozen=True, kw_only=True):
    """Whose ticket it was. Whether the session still counts is for the caller to look up, now and as long as it lets them in."""

    account: AccountId
    session: SessionId


class RedeemTicket(Command[TicketHolder], frozen=True, kw_only=True):
    """Whoever brings it need not be known yet. Brought once it is spent, also where it opens nothing."""

    ticket: Secret
    purpose: TicketPurpose


class ExpireSession(Command[None], frozen=True, kw_only=True):
    session: SessionId


class CreateAdmin(Command[Profile], frozen=True, kw_only=True):
    email: str
    password: Secret
    full_name: str
    date_of_birth: date


class EnsureSigningKey(Command[None], frozen=True, kw_only=True):
    """Make the first key that signs access tokens, unless there is one."""
