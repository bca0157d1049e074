"""Roles that learners described, as moderators read them."""

from datetime import datetime
from uuid import UUID

import msgspec

from db.connection import Database
from db.metadata import lines_of
from domain.catalogue.submissions import Submission, SubmissionStatus, UnknownSubmission


class RoleSubmissionReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, status: SubmissionStatus | None, before: tuple[datetime, UUID] | None, limit: int) -> list[Submission]:
        """The newest first, older than `before`."""
        at, role = before or (None, None)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_PAGE, status, at, role, limit)
        return [_submission(dict(row)) for row in rows]

    async def find(self, role: UUID) -> Submission | None:
        async with self._database.driver() as driver:
            row = await driver.fetchrow(f"{_SUBMISSION} AND id = $1", role)
        return None if row is None else _submission(dict(row))

    async def get(self, role: UUID) -> Submission:
        """Raises `UnknownSubmission`, also for a role of the catalogue's own."""
        found = await self.find(role)
        if found is None:
            raise UnknownSubmission
        return found


def _submission(row: dict[str, object]) -> Submission:
    for name in ("keywords", "duties", "aliases", "proposed_keywords"):
        if row[name] is not None:
            row[name] = lines_of(str(row[name]))
    return msgspec.convert(row, Submission)


_SUBMISSION = """
SELECT id, owner, industry, hierarchy_level, title, description, keywords, duties, aliases, proposed_description, proposed_keywords,
    status, reason, created_at, decided_at, version
FROM roles WHERE owner IS NOT NULL
"""

_PAGE = f"""
{_SUBMISSION} AND ($1::text IS NULL OR status = $1) AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
ORDER BY created_at DESC, id DESC LIMIT $4
"""
