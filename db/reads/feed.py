"""A person's feed: what concerns them, in the order of positions."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from bus.message import Envelope
from db.connection import Database
from db.ledger import envelope_of
from db.ledger.statements import PLACED


class FeedReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, subject: UUID, position: int, *, names: Collection[str], since: datetime, limit: int) -> list[Envelope]:
        """Events of these names that concern the subject, past the position and not older than `since`."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_AFTER, subject, position, list(names), since, limit)
        return [envelope_of(row) for row in rows]

    async def head(self) -> int:
        """The last position there is; 0 when there is none."""
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT coalesce(max(position), 0) FROM feed")

    async def last_of(self, subjects: Collection[UUID], *, past: int) -> dict[UUID, int]:
        """The last position of each of these whom anything past that one concerns."""
        async with self._database.driver() as driver:
            return {row["subject"]: row["position"] for row in await driver.fetch(_LAST, list(subjects), past)}

    async def has_older(self, subject: UUID, position: int, *, names: Collection[str], than: datetime) -> bool:
        """Whether something past the position is older than what is kept."""
        async with self._database.driver() as driver:
            return await driver.fetchval(_HAS_OLDER, subject, position, list(names), than)


_AFTER = f"""{PLACED}
WHERE f.subject = $1 AND f.position > $2 AND e.name = ANY($3::text[]) AND e.at >= $4 ORDER BY f.position LIMIT $5
"""

_LAST = "SELECT subject, max(position) AS position FROM feed WHERE subject = ANY($1::uuid[]) AND position > $2 GROUP BY subject"

_HAS_OLDER = """
SELECT EXISTS (
    SELECT 1 FROM feed f JOIN events e ON e.id = f.event
    WHERE f.subject = $1 AND f.position > $2 AND e.name = ANY($3::text[]) AND e.at < $4
)
"""
