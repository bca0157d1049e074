"""Accounts: registering, signing in, the profile, and what follows from them."""

import asyncio
import hashlib
import secrets
from datetime import datetime

import msgspec

from bus.message import Envelope
from bus.registry import handles, prepares, reacts
from db.reads import Reads
from db.session import Work
from domain.accounts.commands import (
    ChangeProfile,
    CreateAdmin,
    EnsureSigningKey,
    ExpireSession,
    IssuedTicket,
    IssueTicket,
    Profile,
    RedeemTicket,
    RegisterAccount,
    SignedIn,
    SignIn,
    TicketHolder,
)
from domain.accounts.errors import BadCredentials, TicketRefused
from domain.accounts.events import AccountRegistered
from domain.accounts.model import TICKET_LIFETIME, Account, Session, SigningKey, refuse_sign_in
from domain.accounts.rules import normalise_email, registration_problems
from domain.errors import Invalid
from domain.types import AccountId, Secret, SessionId
from handlers.ports import Clock, Fingerprint, KeyMaker, Mail, Mailer, NewId, NewSigningKey, Passwords, SessionLifetime


class HashedPassword(msgspec.Struct, frozen=True):
    text: str


class CheckedPassword(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for the address before the unit of work began; the handler looks again."""

    email: str | None
    password_hash: str | None
    right: bool
    address: str


@prepares(RegisterAccount)
async def hash_new_password(cmd: RegisterAccount, passwords: Passwords, clock: Clock) -> HashedPassword:
    return await _judged_and_hashed(cmd, passwords, clock())


@handles(RegisterAccount)
async def register_account(
    cmd: RegisterAccount, work: Work, password: HashedPassword, clock: Clock, new_id: NewId, lifetime: SessionLifetime
) -> SignedIn:
    now = clock()
    account, events = Account.register(
        AccountId(new_id()),
        email=cmd.email,
        password_hash=password.text,
        full_name=cmd.full_name,
        date_of_birth=cmd.date_of_birth,
        locale=cmd.locale,
        now=now,
    )
    work.accounts.add(account)
    work.record(*events)
    await work.flush()
    session = account.open_session(SessionId(new_id()), now=now, lifetime=lifetime)
    return await _opened(work, account, session)


@prepares(SignIn)
async def check_password(cmd: SignIn, reads: Reads, passwords: Passwords, fingerprint: Fingerprint) -> CheckedPassword:
    email = _known_form(cmd.email)
    found = await reads.accounts.credentials(email) if email else None
    password_hash = found.password_hash if found else None
    right = await passwords.verify(password_hash, cmd.password)
    address = fingerprint(email or cmd.email.strip().lower())
    return CheckedPassword(email=email, password_hash=password_hash, right=right, address=address)


@handles(SignIn)
async def sign_in(cmd: SignIn, work: Work, checked: CheckedPassword, clock: Clock, new_id: NewId, lifetime: SessionLifetime) -> SignedIn:  # noqa: ARG001 - all of the command is in what was prepared
    account = await work.accounts.find(email=checked.email) if checked.email else None
    if account is None or not checked.right or account.password_hash != checked.password_hash:
        work.record(*refuse_sign_in(account, checked.address))
        work.refuse(BadCredentials())
    session, events = account.sign_in(SessionId(new_id()), now=clock(), lifetime=lifetime)
    work.record(*events)
    return await _opened(work, account, session)


@handles(ChangeProfile)
async def change_profile(cmd: ChangeProfile, work: Work, clock: Clock) -> Profile:
    account = await work.accounts.get(cmd.account)
    work.record(
        *account.change_profile(expected=cmd.expected, now=clock(), full_name=cmd.full_name, locale=cmd.locale, timezone=cmd.timezone)
    )
    await work.flush()
    return account.profile()


@handles(IssueTicket)
async def issue_ticket(cmd: IssueTicket, work: Work, clock: Clock) -> IssuedTicket:
    account = await work.accounts.get(cmd.account)
    session = await work.sessions.get(cmd.session)
    ticket = Secret(secrets.token_urlsafe(32))
    work.tickets.add(account.issue_ticket(_digest(ticket), session=session, purpose=cmd.purpose, now=clock()))
    return IssuedTicket(ticket=ticket, purpose=cmd.purpose, expires_in=int(TICKET_LIFETIME.total_seconds()))


@handles(RedeemTicket)
async def redeem_ticket(cmd: RedeemTicket, work: Work, clock: Clock) -> TicketHolder:
    ticket = await work.tickets.take(_digest(cmd.ticket))
    if ticket is None or not ticket.opens(cmd.purpose, clock()):
        work.refuse(TicketRefused())
    return TicketHolder(account=ticket.account, session=ticket.session)


@handles(ExpireSession)
async def expire_session(cmd: ExpireSession, work: Work, clock: Clock) -> None:
    session = await work.sessions.get(cmd.session)
    work.record(*session.expire(clock()))
    if session.ended_at is None:
        # Prolonged since, or this clock is behind the one that found it due.
        _expire_later(work, session)


@prepares(CreateAdmin)
async def hash_admins_password(cmd: CreateAdmin, passwords: Passwords, clock: Clock) -> HashedPassword:
    return await _judged_and_hashed(cmd, passwords, clock())


@handles(CreateAdmin)
async def create_admin(cmd: CreateAdmin, work: Work, password: HashedPassword, clock: Clock, new_id: NewId) -> Profile:
    now = clock()
    account, events = Account.register(
        AccountId(new_id()),
        email=cmd.email,
        password_hash=password.text,
        full_name=cmd.full_name,
        date_of_birth=cmd.date_of_birth,
        locale="en",
        now=now,
    )
    work.accounts.add(account)
    work.record(*events, *account.grant_admin(now=now))
    await work.flush()
    return account.profile()


@prepares(EnsureSigningKey)
async def make_signing_key(cmd: EnsureSigningKey, make: KeyMaker) -> NewSigningKey:  # noqa: ARG001 - it asks for nothing in particular
    return make()


@handles(EnsureSigningKey)
async def ensure_signing_key(cmd: EnsureSigningKey, work: Work, key: NewSigningKey, clock: Clock) -> None:  # noqa: ARG001 - the same
    if await work.signing_keys.is_empty():
        work.signing_keys.add(SigningKey(kid=key.kid, sealed=key.sealed, created_at=clock()))


@reacts("accounts.send_welcome")
async def send_welcome(event: AccountRegistered, mailer: Mailer, reads: Reads, envelope: Envelope) -> None:
    recipient = await reads.accounts.recipient(event.account)
    if recipient is None:
        return
    await mailer.send(
        Mail(
            message_id=f"welcome.{envelope.id}@fluentpro",
            to=recipient.email,
            to_name=recipient.full_name,
            subject="Welcome to FluentPro",
            text=_WELCOME.format(name=recipient.full_name),
        )
    )


_WELCOME = """Dear {name},

your FluentPro account is ready. Sign in with this e-mail address, tell us about your work,
and practise the conversations that you will really have.

If you did not sign up, somebody mistyped their address; you need not do anything.

FluentPro
"""


async def _judged_and_hashed(cmd: RegisterAccount | CreateAdmin, passwords: Passwords, now: datetime) -> HashedPassword:
    """Raises `Invalid` with everything that is wrong. Judging a password can take a while, so it does not hold up the event loop."""
    problems = await asyncio.to_thread(registration_problems, msgspec.structs.asdict(cmd), now)
    if problems:
        raise Invalid(errors=tuple(problems))
    return HashedPassword(await passwords.hash(cmd.password))


async def _opened(work: Work, account: Account, session: Session) -> SignedIn:
    work.sessions.add(session)
    _expire_later(work, session)
    return SignedIn(profile=account.profile(), session=session.id, at=session.started_at)


def _expire_later(work: Work, session: Session) -> None:
    work.send(ExpireSession(session=session.id), at=session.expires_at, key=f"accounts.expire_session:{session.id}")


def _digest(ticket: Secret) -> bytes:
    """Unsalted, for a ticket is 256 random bits. What is not text in UTF-8 was sent by somebody who guesses."""
    return hashlib.sha256(ticket.reveal().encode(errors="surrogatepass")).digest()


def _known_form(email: str) -> str | None:
    """The address as it is stored; None for what cannot be the address of anybody here."""
    try:
        return normalise_email(email)
    except ValueError:
        return None
