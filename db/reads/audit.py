"""The audit trail: every event there is, searched by who, about whom, what and when."""

from datetime import datetime
from uuid import UUID

import msgspec

from bus.message import Envelope
from db.connection import Database
from db.ledger import envelope_of
from db.ledger.statements import DISORDER, LAST_OLDER, PLACED


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold of an event; None is no condition. `actor` also finds what the system did on their behalf."""

    actor: UUID | None = None
    subject: UUID | None = None
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class AuditReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, query: AuditQuery, *, limit: int) -> list[Envelope]:
        """The newest first: from `since` on, up to but not including `until`, and only positions below `before`."""
        async with self._database.driver() as driver:
            after = await driver.fetchval(LAST_OLDER, query.since, -DISORDER) if query.since else None
            upto = await driver.fetchval(LAST_OLDER, query.until, DISORDER) if query.until else None
            given = {
                "f.actor =": query.actor,
                "f.subject =": query.subject,
                "f.name =": query.name,
                "e.at >=": query.since,
                "e.at <": query.until,
                "f.position <": query.before,
                "f.position >": after,
                "f.position <=": upto,
            }
            conditions = {condition: value for condition, value in given.items() if value is not None}
            where = "".join(f" AND {condition} ${number}" for number, condition in enumerate(conditions, 2))
            rows = await driver.fetch(f"{PLACED} WHERE true{where} ORDER BY f.position DESC LIMIT $1", limit, *conditions.values())
        return [envelope_of(row) for row in rows]

    async def unkept(self, *, than: datetime) -> int:
        """How many seals are older than this and do not lie outside the database."""
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT count(*) FROM seals WHERE NOT kept AND at < $1", than)
