"""The ledger as its operators see it: dead letters, partitions and windows."""

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

import msgspec

from db.connection import Driver
from db.ledger import statements
from domain.operations.errors import Superseded, UnknownDeadLetter
from domain.operations.model import DeadLetter

WEEKS_AHEAD = 2


class DeadLetters:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def get(self, letter: UUID) -> DeadLetter:
        """For this transaction alone, and with it the key that others may be parked behind. Raises `UnknownDeadLetter`."""
        owed = await self._driver.fetchrow("SELECT reaction, key FROM deliveries WHERE id = $1", letter)
        if owed is not None:
            await self._driver.execute(statements.LOCK_KEY, owed["reaction"], owed["key"])
        row = await self._driver.fetchrow(statements.DEAD_LETTER, letter)
        if row is None:
            raise UnknownDeadLetter
        return msgspec.convert(dict(row), DeadLetter)

    async def revive(self, letter: DeadLetter, *, now: datetime) -> None:
        """Due now, with all its tries. Raises `Superseded` for a command whose key belongs to another one by now."""
        if not letter.is_command:
            await self._driver.execute(statements.REVIVE, letter.id, now)
        elif await self._driver.fetchval(statements.REVIVE_COMMAND, letter.id, now) is None:
            raise Superseded

    async def remove(self, letter: DeadLetter, *, now: datetime) -> None:
        """For good: it counts as done. The next of its key is due now."""
        await self._driver.execute(statements.GIVE_UP, letter.id)
        await self._driver.execute(statements.UNPARK, letter.reaction, letter.key, now)


class Upkeep:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def prune_answers(self, *, before: datetime) -> None:
        await self._driver.execute("DELETE FROM idempotency WHERE at < $1", before)

    async def prune_tickets(self, *, before: datetime) -> None:
        await self._driver.execute("DELETE FROM tickets WHERE expires_at <= $1", before)

    async def keep_weeks(self, *, of: datetime, oldest: datetime) -> None:
        """Partitions of `done` for this week and the next ones; what is older than `oldest` goes, by whole weeks where it can."""
        for ahead in range(WEEKS_AHEAD + 1):
            await self._driver.execute("SELECT make_done_week($1)", monday(of) + timedelta(weeks=ahead))
        for row in await self._driver.fetch(_WEEKS):
            week = datetime.strptime(row["name"], "done_%Y%m%d").replace(tzinfo=UTC)
            if week + timedelta(weeks=1) <= oldest:
                await self._driver.execute(f"DROP TABLE {row['name']}")
        await self._driver.execute("DELETE FROM done_other WHERE at < $1", oldest)


def monday(instant: datetime) -> datetime:
    """When the week of this instant began, in UTC."""
    day = instant.astimezone(UTC).date()
    return datetime.combine(day - timedelta(days=day.weekday()), time(), UTC)


_WEEKS = """
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'done'::regclass AND c.relname ~ '^done_[0-9]{8}$'
"""
