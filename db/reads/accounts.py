"""What is read of accounts. Whatever belongs to somebody takes its owner as a parameter."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from db.connection import Database
from domain.accounts.commands import Profile
from domain.accounts.errors import UnknownAccount
from domain.types import AccountId


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    account: AccountId
    password_hash: str


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that counts, and what its account may do."""

    account: AccountId
    started_at: datetime
    admin: bool


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    full_name: str
    timezone: str


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    sealed: bytes
    created_at: datetime


class AccountReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def credentials(self, email: str) -> Credentials | None:
        async with self._database.driver() as driver:
            row = await driver.fetchrow("SELECT id AS account, password_hash FROM accounts WHERE email = $1", email)
        return None if row is None else msgspec.convert(dict(row), Credentials)

    async def profile(self, account: AccountId) -> Profile:
        """Raises `UnknownAccount`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_PROFILE, account)
        if row is None:
            raise UnknownAccount
        return msgspec.convert(dict(row), Profile)

    async def recipient(self, account: AccountId) -> Recipient | None:
        async with self._database.driver() as driver:
            row = await driver.fetchrow("SELECT email, full_name, timezone FROM accounts WHERE id = $1", account)
        return None if row is None else msgspec.convert(dict(row), Recipient)

    async def open_session(self, session: UUID, account: UUID, *, now: datetime) -> OpenSession | None:
        """The session when it belongs to this account and has not ended."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_SESSION, session, account, now)
        return None if row is None else msgspec.convert(dict(row), OpenSession)

    async def open_sessions(self, sessions: Sequence[UUID], *, now: datetime) -> set[UUID]:
        """Which of these have not ended."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_SESSIONS, list(sessions), now)
        return {row["id"] for row in rows}

    async def signing_keys(self) -> list[StoredKey]:
        """The newest first."""
        async with self._database.driver() as driver:
            rows = await driver.fetch("SELECT sealed, created_at FROM signing_keys ORDER BY created_at DESC, kid")
        return [msgspec.convert(dict(row), StoredKey) for row in rows]


_PROFILE = """
SELECT id, email, full_name, date_of_birth, locale, timezone, created_at, updated_at, version FROM accounts WHERE id = $1
"""

_SESSION = """
SELECT s.account, s.started_at, a.admin FROM sessions s JOIN accounts a ON a.id = s.account
WHERE s.id = $1 AND s.account = $2 AND s.ended_at IS NULL AND s.expires_at > $3
"""

_SESSIONS = "SELECT id FROM sessions WHERE id = ANY($1::uuid[]) AND ended_at IS NULL AND expires_at > $2"
