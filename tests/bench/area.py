"""The command that is measured: one aggregate changed, two events, no password, and the same rows written by asyncpg alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.bootstrap import utc_now, uuid7
from bus.message import Command
from bus.registry import Rule, handles
from db.connection import Driver
from db.ledger import statements
from db.session import Work
from domain.accounts.events import ProfileChanged
from domain.types import AccountId
from handlers.policy import Anyone


class Rename(Command[int], frozen=True, kw_only=True):
    """Answers with the version that the account had."""

    account: AccountId
    name: str


POLICY: Mapping[type[Command[Any]], Rule] = {Rename: Anyone()}


@handles(Rename)
async def rename(cmd: Rename, work: Work) -> int:
    account = await work.accounts.get(cmd.account)
    account.full_name = cmd.name
    work.record(ProfileChanged(account=account.id, fields=("full_name",)), ProfileChanged(account=account.id, fields=("initials",)))
    return account.version


# As SQLAlchemy says them for the command.
_LOAD = """
SELECT accounts.id, accounts.email, accounts.password_hash, accounts.full_name, accounts.date_of_birth, accounts.locale, accounts.timezone,
    accounts.admin, accounts.created_at, accounts.updated_at, accounts.version
FROM accounts WHERE accounts.id = $1::UUID
"""
_SAVE = """
UPDATE accounts SET full_name=$1::VARCHAR, version=$2::INTEGER WHERE accounts.id = $3::UUID AND accounts.version = $4::INTEGER
"""


async def bare(driver: Driver, account: UUID, name: str) -> None:
    """What `Rename` leaves in the database, without a bus."""
    async with driver.transaction():
        row = await driver.fetchrow(_LOAD, account)
        if row is None:
            raise LookupError(account)
        version = row["version"]
        if await driver.execute(_SAVE, name, version + 1, account, version) != "UPDATE 1":
            raise LookupError(account)
        await driver.execute(statements.RECORD, *event_rows([account, account], utc_now()))


def event_rows(accounts: Sequence[UUID], at: datetime) -> tuple[list[Any], ...]:
    """The parameters of `RECORD` for one event of each account."""
    count = len(accounts)
    return (
        [uuid7() for _ in accounts],
        [f"accounts-{account}" for account in accounts],
        ["accounts.profile_changed"] * count,
        [1] * count,
        [str(account) for account in accounts],
        list(accounts),
        [f'{{"account":"{account}","fields":["full_name"]}}' for account in accounts],
        [_META % (account, account, account) for account in accounts],
        [at] * count,
        [None] * count,
        [None] * count,
    )


_META = '{"actor":{"kind":"person","id":"%s"},"trace":{"correlation_id":"%s","causation_id":"%s"}}'
