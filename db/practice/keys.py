"""The keys of people, wrapped."""

from collections.abc import Callable
from datetime import datetime

from db.connection import Driver
from domain.types import AccountId


def readable(row: str, owner: str = "account") -> str:
    """In SQL, of a conversation or a scenario: its owner has the key that they began it with. What was begun before a key was made went
    with the one before; and what belongs to somebody who has none is erased.
    """
    return f"EXISTS (SELECT FROM personal_keys k WHERE k.account = {row}.{owner} AND k.created_at <= {row}.created_at)"


def begun(now: str, owner: str) -> str:
    """In SQL, when something was begun that is `readable`: another machine may have made the key, whose clock is ahead."""
    return f"greatest({now}, (SELECT k.created_at FROM personal_keys k WHERE k.account = {owner}))"


class PersonalKeys:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def find(self, account: AccountId) -> bytes | None:
        """None for somebody who has written nothing, or whose texts were erased."""
        return await self._driver.fetchval("SELECT wrapped FROM personal_keys WHERE account = $1", account)

    async def of(self, account: AccountId, make: Callable[[], bytes], *, now: datetime) -> bytes:
        """The person's wrapped key; one that is made now when there is none."""
        found = await self.find(account)
        return found if found is not None else await self._driver.fetchval(_KEEP, account, make(), now)


# The update changes nothing, and so answers with the key of whoever was first.
_KEEP = """
INSERT INTO personal_keys AS kept (account, wrapped, created_at) VALUES ($1, $2, $3)
ON CONFLICT (account) DO UPDATE SET wrapped = kept.wrapped RETURNING wrapped
"""
