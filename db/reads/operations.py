"""What those who operate the house read of it."""

from datetime import datetime
from uuid import UUID

import msgspec

from bus.message import Envelope
from db.connection import Database
from domain.operations.errors import UnknownDeadLetter


class DeadLetterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up: by which reaction (a command by its own handler), after how many tries, and when.

    `parked` says how many later entries of its key wait behind it.
    """

    id: UUID
    reaction: str
    name: str
    message: UUID
    key: str | None
    tries: int
    error: str
    at: datetime
    parked: int


class ParkedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits behind a dead letter."""

    id: UUID
    name: str
    message: UUID
    position: int | None


class DeadLetterDetails(DeadLetterEntry, frozen=True, kw_only=True):
    """With the envelope as it travelled, sealed fields still sealed, and the first hundred of what is parked behind it."""

    envelope: Envelope
    behind: list[ParkedEntry]


class OperationReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def dead_letters(
        self, *, reaction: str | None = None, before: tuple[datetime, UUID] | None = None, limit: int
    ) -> list[DeadLetterEntry]:
        """The newest first, past the one that `before` names."""
        at, letter = before or (None, None)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_DEAD_LETTERS, reaction, at, letter, limit)
        return [msgspec.convert(dict(row), DeadLetterEntry) for row in rows]

    async def dead_letter(self, letter: UUID) -> DeadLetterDetails:
        """Raises `UnknownDeadLetter`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_DEAD_LETTER, letter)
            behind = [] if row is None else await driver.fetch(_BEHIND, letter)
        if row is None:
            raise UnknownDeadLetter
        details = dict(row) | {"envelope": msgspec.json.decode(row["envelope"], type=Envelope), "behind": [dict(one) for one in behind]}
        return msgspec.convert(details, DeadLetterDetails)


# `p` waits behind `d`.
_WAITS = "p.reaction = d.reaction AND p.key = d.key AND p.state = 'parked' AND p.position > d.position"

_ENTRY = f"""
SELECT d.id, d.reaction, d.message, d.key, d.tries, coalesce(d.error, '') AS error, d.at, d.envelope->>'name' AS name, (
    SELECT count(*) FROM deliveries p WHERE {_WAITS}
) AS parked
"""

_DEAD_LETTERS = f"""{_ENTRY}
FROM deliveries d
WHERE d.state = 'dead' AND ($1::text IS NULL OR d.reaction = $1) AND ($2::timestamptz IS NULL OR (d.at, d.id) < ($2, $3::uuid))
ORDER BY d.at DESC, d.id DESC LIMIT $4
"""

_DEAD_LETTER = f"""{_ENTRY}, d.envelope::text AS envelope
FROM deliveries d WHERE d.id = $1 AND d.state = 'dead'
"""

_BEHIND = f"""
SELECT p.id, p.message, p.position, p.envelope->>'name' AS name FROM deliveries d JOIN deliveries p ON {_WAITS}
WHERE d.id = $1 ORDER BY p.position LIMIT 100
"""
