"""What `fluentpro audit verify` asks of the database: one connection, in which a question may take as long as it takes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bus.work import Seal
from db.connection import Driver, connect
from db.ledger.seals import Digest, digest, seals_after

Span = tuple[int, int]
"""The first and the last of some positions."""


class Stray(msgspec.Struct, frozen=True):
    """An event that is neither in the feed nor on its way there."""

    id: str
    name: str


class Evidence:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def seals(self, after: int, limit: int) -> list[Seal]:
        return await seals_after(self._driver, after, limit)

    async def digest(self, after: int, upto: int) -> Digest:
        async with self._driver.transaction():
            return await digest(self._driver, after, upto)

    async def head(self) -> int:
        return await self._driver.fetchval("SELECT coalesce(max(position), 0) FROM feed")

    async def missing(self, after: int, upto: int) -> list[Span]:
        """Positions above `after`, up to and including `upto`, that the feed does not have."""
        return [(row["first"], row["last"]) for row in await self._driver.fetch(_MISSING, after, upto)]

    async def hollow(self, after: int, upto: int) -> list[int]:
        """Positions whose event is gone."""
        return [row["position"] for row in await self._driver.fetch(_HOLLOW, after, upto)]

    async def before_the_first(self) -> int:
        """How many rows lie where no position was ever given."""
        return await self._driver.fetchval("SELECT count(*) FROM feed WHERE position < 1")

    async def strays(self, limit: int) -> list[Stray]:
        return [Stray(str(row["id"]), row["name"]) for row in await self._driver.fetch(_STRAYS, limit)]


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Evidence]:
    connection: Any = await connect(url, command_timeout=None)
    try:
        yield Evidence(connection)
    finally:
        await connection.close()


_MISSING = """
SELECT position + 1 AS first, next - 1 AS last FROM (
    SELECT position, lead(position, 1, $2::bigint + 1) OVER (ORDER BY position) AS next FROM (
        SELECT $1::bigint AS position UNION ALL SELECT position FROM feed WHERE position > $1 AND position <= $2
    ) AS there
) AS pairs
WHERE next > position + 1 ORDER BY position
"""

_HOLLOW = """
SELECT f.position FROM feed f
WHERE f.position > $1 AND f.position <= $2 AND NOT EXISTS (SELECT FROM events e WHERE e.id = f.event) ORDER BY f.position
"""

_STRAYS = """
SELECT e.id, e.name FROM events e
WHERE NOT EXISTS (SELECT FROM feed f WHERE f.event = e.id) AND NOT EXISTS (SELECT FROM outbox o WHERE o.id = e.id)
ORDER BY e.at, e.id LIMIT $1
"""
