"""What is read of scenarios. How one is played, its script, stays where it is, except for admins who take all of them out."""

from datetime import datetime
from uuid import UUID

import msgspec

from db.connection import Database
from db.practice.scenarios import READABLE, VERSION, KeptScenario, identity_of, kept_scenario
from domain.practice.choosing import Reason
from domain.practice.errors import UnknownScenario
from domain.practice.scenario import Scenario
from domain.types import AccountId

Place = tuple[int, str, UUID]


class ScenarioQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What everybody has and what is the account's own. `given` and `own`: only those, or only the others.

    `after` is the place of the last one of the page before, for whatever filters.
    """

    account: AccountId
    industry: str | None = None
    situation: str | None = None
    partner: str | None = None
    given: bool | None = None
    own: bool | None = None
    after: Place | None = None
    limit: int


class ListedScenario(msgspec.Struct, frozen=True, kw_only=True):
    """Either `body`, without its script, or `sealed` under the owner's key. `position` and `reason` are of those chosen for the learner.

    `rank` and `name` are what a list is sorted by.
    """

    id: UUID
    slug: str | None
    owner: AccountId | None
    version: int
    body: Scenario | None
    sealed: bytes | None
    position: int | None
    reason: Reason | None
    created_at: datetime
    updated_at: datetime
    rank: int
    name: str

    @property
    def place(self) -> Place:
        return self.rank, self.name, self.id


class ScenarioReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self, query: ScenarioQuery) -> list[ListedScenario]:
        """Those chosen for the learner in their order, then the others by slug, then the learner's own, the oldest first."""
        rank, name, identity = query.after or (None, None, None)
        filters = (query.industry, query.situation, query.partner, query.given, query.own)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_LISTED, query.account, *filters, rank, name, identity, query.limit)
        return [msgspec.convert(dict(row), ListedScenario) for row in rows]

    async def named(self, ref: str, *, account: AccountId) -> ListedScenario:
        """By its id or its slug, though it be withdrawn: whoever practised it may still read it. Raises `UnknownScenario`."""
        if "\0" in ref:
            raise UnknownScenario
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_NAMED, account, identity_of(ref))
        if row is None:
            raise UnknownScenario
        return msgspec.convert(dict(row), ListedScenario)

    async def find(self, scenario: UUID, version: int) -> KeptScenario | None:
        """As it was in that version, whosever it is, and though it be withdrawn."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(VERSION, scenario, version)
        return None if row is None else kept_scenario(row)

    async def all(self) -> list[Scenario]:
        """What everybody has, whole, by slug; not what is withdrawn."""
        async with self._database.driver() as driver:
            rows = await driver.fetch("SELECT body FROM scenarios WHERE owner IS NULL AND available ORDER BY slug")
        return [msgspec.convert(row["body"], Scenario) for row in rows]


_BEHIND_ALL = 2**31 - 1

_SHOWN = f"""
SELECT s.id, s.slug, s.owner, s.version, s.body - 'script' AS body, s.sealed, g.position, g.reason, s.created_at, s.updated_at,
    coalesce(g.position, {_BEHIND_ALL}) AS rank, coalesce(s.slug, '~') COLLATE "C" AS name, s.available, s.industry, s.situation, s.partner
FROM scenarios s LEFT JOIN learner_scenarios g ON g.scenario = s.id AND g.account = $1
WHERE (s.owner IS NULL OR (s.owner = $1 AND {READABLE}))
"""

_LISTED = f"""
SELECT * FROM ({_SHOWN}) shown
WHERE available
    AND ($2::text IS NULL OR industry = $2) AND ($3::text IS NULL OR situation = $3) AND ($4::text IS NULL OR partner = $4)
    AND ($5::boolean IS NULL OR (position IS NOT NULL) = $5) AND ($6::boolean IS NULL OR (owner IS NOT NULL) = $6)
    AND ($7::int IS NULL OR (rank, name, id) > ($7, $8::text, $9::uuid))
ORDER BY rank, name, id LIMIT $10
"""

_NAMED = f"{_SHOWN} AND s.id = $2"
