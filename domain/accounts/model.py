"""Accounts and their sessions. A method checks, changes, and returns what has happened."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from msgspec import UNSET, UnsetType

from bus.message import Event
from domain.accounts.commands import Profile, TicketPurpose
from domain.accounts.errors import SessionEnded
from domain.accounts.events import AccountRegistered, AccountSignedIn, AdminGranted, ProfileChanged, SessionExpired, SignInRefused
from domain.accounts.rules import (
    DEFAULT_TIMEZONE,
    normalise_email,
    normalise_full_name,
    normalise_locale,
    normalise_timezone,
    profile_problems,
    registration_problems,
)
from domain.errors import Denied, Invalid, Stale
from domain.types import AccountId, SessionId

TICKET_LIFETIME = timedelta(seconds=30)
ADMINS_ONLY: frozenset[TicketPurpose] = frozenset({"admin_jobs"})


@dataclass(eq=False, repr=False, kw_only=True)
class Session:
    """The time during which one sign-in counts; it is over at `expires_at`, or at `ended_at` when that is set."""

    id: SessionId
    account: AccountId
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None

    def expire(self, now: datetime) -> tuple[Event, ...]:
        """Quiet before its time, for a session may have been prolonged, and when it has ended already."""
        if self.ended_at is not None or now < self.expires_at:
            return ()
        self.ended_at = now
        return (SessionExpired(account=self.account, session=self.id),)

    def counts(self, now: datetime) -> bool:
        return self.ended_at is None and now < self.expires_at


@dataclass(eq=False, repr=False, kw_only=True)
class Ticket:
    """Opens one thing once. Kept as its SHA-256: whoever reads the table cannot use what is in it."""

    digest: bytes
    account: AccountId
    session: SessionId
    purpose: TicketPurpose
    expires_at: datetime

    def opens(self, purpose: TicketPurpose, now: datetime) -> bool:
        return self.purpose == purpose and now < self.expires_at


@dataclass(eq=False, repr=False, kw_only=True)
class Account:
    """A person's account. `version` is counted by the mapper, one for every change that is stored."""

    id: AccountId
    email: str
    password_hash: str
    full_name: str
    date_of_birth: date
    locale: str
    timezone: str
    created_at: datetime
    updated_at: datetime
    admin: bool = False
    version: int = 1

    @classmethod
    def register(
        cls, account: AccountId, *, email: str, password_hash: str, full_name: str, date_of_birth: date, locale: str, now: datetime
    ) -> "tuple[Account, tuple[Event, ...]]":
        """Raises `Invalid`. The password was judged before it was hashed; whether the address is taken is for the caller to know."""
        values = {"email": email, "full_name": full_name, "date_of_birth": date_of_birth, "locale": locale}
        if problems := registration_problems(values, now):
            raise Invalid(errors=tuple(problems))
        registered = cls(
            id=account,
            email=normalise_email(email),
            password_hash=password_hash,
            full_name=normalise_full_name(full_name),
            date_of_birth=date_of_birth,
            locale=normalise_locale(locale),
            timezone=DEFAULT_TIMEZONE,
            created_at=now,
            updated_at=now,
        )
        return registered, (AccountRegistered(account=account),)

    def open_session(self, session: SessionId, *, now: datetime, lifetime: timedelta) -> Session:
        """A session that is no fact of its own: the registration that opens it is one already."""
        return Session(id=session, account=self.id, started_at=now, expires_at=now + lifetime)

    def sign_in(self, session: SessionId, *, now: datetime, lifetime: timedelta) -> tuple[Session, tuple[Event, ...]]:
        return self.open_session(session, now=now, lifetime=lifetime), (AccountSignedIn(account=self.id, session=session),)

    def change_profile(
        self,
        *,
        expected: tuple[int, ...] | None,
        now: datetime,
        full_name: str | UnsetType = UNSET,
        locale: str | UnsetType = UNSET,
        timezone: str | UnsetType = UNSET,
    ) -> tuple[Event, ...]:
        """Raises `Invalid`, then `Stale`: a precondition counts only for a request that would otherwise succeed (RFC 9110, 13.2.1)."""
        if problems := profile_problems({"full_name": full_name, "locale": locale, "timezone": timezone}):
            raise Invalid(errors=tuple(problems))
        if expected is not None and self.version not in expected:
            raise Stale
        wanted = {
            "full_name": self.full_name if full_name is UNSET else normalise_full_name(full_name),
            "locale": self.locale if locale is UNSET else normalise_locale(locale),
            "timezone": self.timezone if timezone is UNSET else normalise_timezone(timezone),
        }
        fields = tuple(field for field, value in wanted.items() if value != getattr(self, field))
        if not fields:
            return ()
        self.full_name, self.locale, self.timezone = wanted["full_name"], wanted["locale"], wanted["timezone"]
        self.updated_at = now
        return (ProfileChanged(account=self.id, fields=fields),)

    def grant_admin(self, *, now: datetime) -> tuple[Event, ...]:
        if self.admin:
            return ()
        self.admin = True
        self.updated_at = now
        return (AdminGranted(account=self.id),)

    def issue_ticket(self, digest: bytes, *, session: Session, purpose: TicketPurpose, now: datetime) -> Ticket:
        """No fact of its own: it proves nothing that the session does not. Raises `SessionEnded`, and `Denied` for what only admins may."""
        if session.account != self.id or not session.counts(now):
            raise SessionEnded
        if purpose in ADMINS_ONLY and not self.admin:
            raise Denied
        return Ticket(digest=digest, account=self.id, session=session.id, purpose=purpose, expires_at=now + TICKET_LIFETIME)

    def profile(self) -> Profile:
        return Profile(
            id=self.id,
            email=self.email,
            full_name=self.full_name,
            date_of_birth=self.date_of_birth,
            locale=self.locale,
            timezone=self.timezone,
            created_at=self.created_at,
            updated_at=self.updated_at,
            version=self.version,
        )


def refuse_sign_in(account: Account | None, address: str) -> tuple[Event, ...]:
    """`account` is None when nobody has the address; `address` is its keyed fingerprint."""
    if account is None:
        return (SignInRefused(account=None, address=address, reason="unknown_address"),)
    return (SignInRefused(account=account.id, address=address, reason="wrong_password"),)


@dataclass(eq=False, repr=False, kw_only=True)
class SigningKey:
    """A key of access tokens, sealed; the newest signs, all of them verify."""

    kid: str
    sealed: bytes
    created_at: datetime
