"""Scenarios as they are kept: those that everybody has, those that a learner wrote, and which were chosen for whom."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from db.connection import Driver, Row
from db.practice.keys import begun, readable
from domain.practice.choosing import Choice, Offered, Reason
from domain.practice.report import Candidate
from domain.practice.scenario import Scenario, scenario_id
from domain.types import AccountId

SEED_FILE = "scenarios/"
"""With this their names among the applied seed files begin."""


class KeptScenario(msgspec.Struct, frozen=True, kw_only=True):
    """One that everybody has, with a slug and a body, or one that its owner wrote, sealed. Withdrawn ones are not `available`."""

    id: UUID
    slug: str | None
    owner: AccountId | None
    version: int
    available: bool
    body: Scenario | None
    sealed: bytes | None
    created_at: datetime
    updated_at: datetime


def kept_scenario(row: Row) -> KeptScenario:
    return msgspec.convert(dict(row), KeptScenario)


def identity_of(ref: str) -> UUID:
    """The id that an id or a slug means, whether or not there is such a scenario."""
    try:
        return UUID(ref.strip())
    except ValueError:
        return scenario_id(ref.strip().lower())


class Scenarios:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def candidates(self, account: AccountId) -> list[Candidate]:
        """What may be practised next: what everybody has, and whether the learner has been to the end of it."""
        return [msgspec.convert(dict(row), Candidate) for row in await self._driver.fetch(_CANDIDATES, account)]

    async def find(self, scenario: UUID, version: int) -> KeptScenario | None:
        """As it was in that version, whosever it is, and though it be withdrawn."""
        row = await self._driver.fetchrow(VERSION, scenario, version)
        return None if row is None else kept_scenario(row)

    async def find_named(self, ref: str, account: UUID) -> KeptScenario | None:
        """By its id or its slug: one that everybody has, unless it is withdrawn, or the account's own."""
        row = await self._driver.fetchrow(_NAMED, identity_of(ref), account)
        return None if row is None else kept_scenario(row)

    async def find_own(self, scenario: UUID, account: UUID) -> KeptScenario | None:
        """Locked until the end of the transaction."""
        row = await self._driver.fetchrow(_OWN, scenario, account)
        return None if row is None else kept_scenario(row)

    async def keep_own(self, scenario: UUID, account: UUID, about: Scenario, *, sealed: bytes, now: datetime) -> None:
        """`about` says what stays readable: its version, and the slugs of its industry, situation and partner."""
        await self._driver.execute(_KEEP_OWN, scenario, account, about.industry, about.situation, about.partner, about.version, sealed, now)

    async def keep(self, scenarios: Sequence[Scenario], *, now: datetime) -> None:
        """For everybody: those with a new slug are added, the others replaced, and offered again."""
        await self._driver.executemany(
            _KEEP,
            [
                (scenario_id(one.slug), one.slug, one.industry, one.situation, one.partner, one.version, _json(one), now)
                for one in scenarios
            ],
        )

    async def withdraw(self, slugs: Sequence[str], *, now: datetime) -> None:
        await self._driver.execute("UPDATE scenarios SET available = false, updated_at = $2 WHERE slug = ANY($1::text[])", slugs, now)
        await self._driver.execute("DELETE FROM seed_files WHERE name = ANY($1::text[])", [f"{SEED_FILE}{slug}" for slug in slugs])

    async def everybodys(self, slugs: Sequence[str]) -> dict[str, KeptScenario]:
        """Those of these slugs that there are, withdrawn or not."""
        rows = await self._driver.fetch(f"SELECT {KEPT} FROM scenarios WHERE slug = ANY($1::text[])", slugs)
        return {one.slug: one for one in map(kept_scenario, rows) if one.slug is not None}

    async def applied(self) -> dict[str, tuple[int, bytes]]:
        """Slug -> version and digest of the seed files that were applied. Locked until the end of the transaction: see `SeedFiles`."""
        await self._driver.execute("LOCK TABLE seed_files IN SHARE ROW EXCLUSIVE MODE")
        rows = await self._driver.fetch("SELECT name, version, digest FROM seed_files WHERE name LIKE $1", f"{SEED_FILE}%")
        return {row["name"].removeprefix(SEED_FILE): (row["version"], row["digest"]) for row in rows}

    async def apply(self, scenarios: Sequence[Scenario], digests: Mapping[str, bytes], *, now: datetime) -> None:
        """Note that these seed files were applied."""
        await self._driver.executemany(_APPLY, [(f"{SEED_FILE}{one.slug}", one.version, digests[one.slug], now) for one in scenarios])

    async def hold(self, account: AccountId) -> None:
        """Until the end of the transaction nobody else gives this learner scenarios."""
        await self._driver.execute("SELECT pg_advisory_xact_lock(hashtextextended('practice.scenarios ' || $1::uuid, 0))", account)

    async def was_given(self, account: AccountId, request: UUID) -> bool:
        found = await self._driver.fetchval(
            "SELECT EXISTS (SELECT FROM learner_scenarios WHERE account = $1 AND request = $2)", account, request
        )
        return bool(found)

    async def not_given(self, account: AccountId) -> list[Offered]:
        """What everybody has and this learner was not given yet, by slug."""
        return [msgspec.convert(dict(row), Offered) for row in await self._driver.fetch(_NOT_GIVEN, account)]

    async def give(self, account: AccountId, request: UUID, chosen: Sequence[Choice], *, now: datetime) -> None:
        """In this order, behind all that were given before. `hold` first."""
        last: Any = await self._driver.fetchval("SELECT coalesce(max(position), 0) FROM learner_scenarios WHERE account = $1", account)
        rows = [(account, one.scenario, last + number, request, _json(one.reason), now) for number, one in enumerate(chosen, 1)]
        await self._driver.executemany(_GIVE, rows)


def _json(value: Scenario | Reason) -> str:
    return msgspec.json.encode(value).decode()


KEPT = "id, slug, owner, version, available, body, sealed, created_at, updated_at"

READABLE = readable("s", "owner")

_NAMED = f"SELECT {KEPT} FROM scenarios s WHERE id = $1 AND ((owner = $2 AND {READABLE}) OR (owner IS NULL AND available))"

_OWN = f"SELECT {KEPT} FROM scenarios s WHERE id = $1 AND owner = $2 AND {READABLE} FOR UPDATE"

# One that a process of the build before has changed, which keeps no versions, is what it is now.
VERSION = """
SELECT s.id, s.slug, s.owner, coalesce(v.version, s.version) AS version, s.available,
    coalesce(v.body, s.body) AS body, coalesce(v.sealed, s.sealed) AS sealed, s.created_at, s.updated_at
FROM scenarios s LEFT JOIN scenario_versions v ON v.scenario = s.id AND v.version = $2 AND v.version <> s.version
WHERE s.id = $1
"""

# What the scenario says until now stays, unless it is the same version: whoever changes a file without raising that has changed it.
_KEEP_BEFORE = """
WITH before AS (
    INSERT INTO scenario_versions (scenario, version, body, sealed)
    SELECT id, version, body, sealed FROM scenarios WHERE id = $1 AND version <> $6
    ON CONFLICT (scenario, version) DO UPDATE SET body = excluded.body, sealed = excluded.sealed
)
"""

_KEEP_OWN = f"""{_KEEP_BEFORE}
INSERT INTO scenarios (id, owner, industry, situation, partner, version, available, sealed, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, true, $7, {begun("$8", "$2")}, $8)
ON CONFLICT (id) DO UPDATE SET industry = excluded.industry, situation = excluded.situation, partner = excluded.partner,
    version = excluded.version, sealed = excluded.sealed, updated_at = excluded.updated_at
"""

_KEEP = f"""{_KEEP_BEFORE}
INSERT INTO scenarios (id, slug, industry, situation, partner, version, available, body, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8, $8)
ON CONFLICT (id) DO UPDATE SET industry = excluded.industry, situation = excluded.situation, partner = excluded.partner,
    version = excluded.version, available = true, body = excluded.body, updated_at = excluded.updated_at
"""

_APPLY = """
INSERT INTO seed_files (name, version, digest, applied_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET version = excluded.version, digest = excluded.digest, applied_at = excluded.applied_at
"""

_NOT_GIVEN = """
SELECT s.id, s.slug, s.industry, s.situation, s.partner, s.body -> 'cefr' AS cefr FROM scenarios s
WHERE s.owner IS NULL AND s.available
    AND NOT EXISTS (SELECT FROM learner_scenarios g WHERE g.account = $1 AND g.scenario = s.id)
ORDER BY s.slug
"""

_GIVE = "INSERT INTO learner_scenarios (account, scenario, position, request, reason, given_at) VALUES ($1, $2, $3, $4, $5, $6)"

_CANDIDATES = f"""
SELECT s.id, s.slug, s.industry, s.situation, s.partner, s.body->'cefr' AS cefr, EXISTS (
    SELECT 1 FROM conversations c WHERE c.account = $1 AND c.scenario = s.id AND c.ended AND c.deleted_at IS NULL AND {readable("c")}
) AS done
FROM scenarios s WHERE s.owner IS NULL AND s.available ORDER BY s.slug
"""
