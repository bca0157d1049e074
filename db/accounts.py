"""Accounts, their sessions, and the keys that sign their tokens."""

from sqlalchemy import Boolean, Column, Date, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, delete, text

from db.metadata import IDENTITY, INSTANT, mapping, metadata
from db.repository import Repository
from domain.accounts.errors import EmailTaken, UnknownAccount
from domain.accounts.model import Account, Session, SigningKey, Ticket

accounts = Table(
    "accounts",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("full_name", Text, nullable=False),
    Column("date_of_birth", Date, nullable=False),
    Column("locale", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Column("version", Integer, nullable=False),
    UniqueConstraint("email"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("account", IDENTITY, ForeignKey("accounts.id"), nullable=False),
    Column("started_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Index(None, "account"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("account", IDENTITY, ForeignKey("accounts.id"), nullable=False),
    Column("session", IDENTITY, ForeignKey("sessions.id"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    comment="Tickets that nobody has brought yet, each as its SHA-256; they live for half a minute.",
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    comment="Ed25519 keys of access tokens, sealed under the secret key; the newest signs, all verify.",
)

mapping.map_imperatively(Account, accounts, version_id_col=accounts.c.version)
mapping.map_imperatively(Session, sessions)
mapping.map_imperatively(Ticket, tickets)
mapping.map_imperatively(SigningKey, signing_keys)

CONSTRAINTS = {"uq_accounts_email": EmailTaken}


class Accounts(Repository[Account]):
    aggregate = Account
    missing = UnknownAccount


class Sessions(Repository[Session]):
    aggregate = Session


class Tickets(Repository[Ticket]):
    aggregate = Ticket

    async def take(self, digest: bytes) -> Ticket | None:
        """The ticket, which is gone with this; of any number who bring it at once only one gets it."""
        found = await self._session.execute(delete(tickets).where(tickets.c.digest == digest).returning(*tickets.c))
        row = found.mappings().one_or_none()
        return None if row is None else Ticket(**row)


class SigningKeys(Repository[SigningKey]):
    aggregate = SigningKey

    async def is_empty(self) -> bool:
        """Locked until the end of the transaction, so that two cannot both find it empty."""
        await self._session.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
        return not await self._rows.exists()
