"""The keys of people, wrapped."""

from collections.abc import Callable
from datetime import datetime

from db.connection import Driver
from domain.types import AccountId


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
