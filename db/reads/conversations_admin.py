"""Conversations as those who operate this installation see them: whosever they are, deleted ones too. Text comes sealed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from db.connection import Database, Driver
from db.practice.folding import history, past, version_at
from db.practice.log import DELTA, LogRow, row_of
from domain.practice.errors import UnknownConversation, UnknownVersion
from domain.practice.model import Conversation
from domain.practice.state import Recorded

Status = Literal["idle", "pending", "running", "ended", "archived", "deleted"]
PAGE = 200


class ConversationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold of a conversation; None is no condition. `since` and `until` bound its last change."""

    account: UUID | None = None
    scenario: UUID | None = None
    phase: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, UUID] | None = None


class ConversationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in a list, without a word of it. `status` is the first that holds: deleted, archived, its phase, ended, idle.

    `support`: its learner lets those who operate this installation read it.
    """

    id: UUID
    account: UUID
    scenario: UUID
    parent: UUID | None
    parent_version: int | None
    status: Status
    phase: str
    version: int
    turns: int
    ended: bool
    score: int | None
    support: bool
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a conversation: what its events must agree with."""

    account: UUID
    scenario: UUID
    parent: UUID | None
    parent_version: int | None
    version: int
    n: int
    phase: str
    fence: int
    title: bytes | None
    turns: int
    ended: bool
    score: int | None
    archived: bool
    support: bool
    created_at: datetime
    deleted_at: datetime | None


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a conversation's own events; `data` and `personal` are JSON."""

    version: int
    name: str
    at: datetime
    data: str
    personal: str | None


class KeptSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    checksum: bytes
    state: bytes


class KeptCall(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger of calls."""

    turn: UUID
    purpose: Literal["partner", "coach"]
    attempt: int
    outcome: str
    reserved: int
    tokens_in: int | None
    tokens_out: int | None
    ended_at: datetime | None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a scope has, and what its calls say that it should have; None where there is no such row."""

    scope: str
    reserved: int | None
    spent: int | None
    owed: int
    used: int


class Evidence:
    """All that is kept of one conversation, as of one moment."""

    def __init__(self, driver: Driver, conversation: UUID) -> None:
        self._driver, self._conversation = driver, conversation

    async def head(self) -> Head | None:
        row = await self._driver.fetchrow(_HEAD, self._conversation)
        return None if row is None else msgspec.convert(dict(row), Head)

    async def history(self) -> list[Recorded]:
        """Those of its parents first. Raises `Dead` for an event that this build cannot read."""
        return await history(self._driver, self._conversation)

    async def events(self) -> list[KeptEvent]:
        rows = await self._driver.fetch(_EVENTS, f"practice-{self._conversation}")
        return [msgspec.convert(dict(row), KeptEvent) for row in rows]

    async def log(self) -> list[LogRow]:
        """By `n`; pieces of answers without their text."""
        return [row_of(row) for row in await self._driver.fetch(_LOG, self._conversation)]

    async def snapshots(self) -> list[KeptSnapshot]:
        rows = await self._driver.fetch(_SNAPSHOTS, self._conversation)
        return [msgspec.convert(dict(row), KeptSnapshot) for row in rows]

    async def calls(self) -> list[KeptCall]:
        return [msgspec.convert(dict(row), KeptCall) for row in await self._driver.fetch(_CALLS, self._conversation)]

    async def budget(self) -> Budget:
        row = await self._driver.fetchrow(_BUDGET, self._conversation, f"conversation:{self._conversation}")
        return msgspec.convert(dict(row or {}), Budget)


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """So many of one kind."""

    name: str
    count: int


class CallCount(Count, frozen=True, kw_only=True):
    """Calls of models with one outcome; `cost` is in the currency of the configured prices."""

    tokens_in: int
    tokens_out: int
    cost: float


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of everything. `log_rows` are counted by day (UTC)."""

    conversations: int
    forks: int
    shared: int
    turns: int
    by_status: list[Count]
    calls: list[CallCount]
    tokens_reserved: int
    snapshots: int
    snapshot_bytes: int
    log_rows: list[Count]
    generation: int


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Who waits, and whether there is room for what is streamed. `days_missing` are days of the log without a partition."""

    waiting: int
    waiting_since: datetime | None
    running: int
    leases_expired: int
    expired_since: datetime | None
    days_missing: list[str]
    strays: int
    calls_running: int


class ConversationAdminReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, query: ConversationQuery, *, limit: int) -> list[ConversationEntry]:
        """Those that were changed last come first."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(
                _SEARCH,
                query.account,
                query.scenario,
                query.phase,
                query.status,
                query.since,
                query.until,
                *(query.before or (None, None)),
                limit,
            )
        return [msgspec.convert(dict(row), ConversationEntry) for row in rows]

    async def entry(self, conversation: UUID) -> ConversationEntry:
        """Raises `UnknownConversation`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_ENTRY_OF, conversation)
        if row is None:
            raise _unknown()
        return msgspec.convert(dict(row), ConversationEntry)

    async def account(self, ref: str) -> UUID | None:
        """By its id, or its e-mail address as it is kept."""
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT id FROM accounts WHERE id::text = $1 OR email = $1", ref)

    async def conversation(self, conversation: UUID, *, at: int | datetime | None = None) -> Conversation:
        """Now, as of a version, or as it was at a time. Raises `UnknownConversation` and `UnknownVersion`."""
        async with self._database.driver() as driver:
            last = await driver.fetchval("SELECT version FROM conversations WHERE id = $1", conversation)
            if last is None:
                raise _unknown()
            version = await version_at(driver, conversation, at) if isinstance(at, datetime) else last if at is None else at
            if not 1 <= version <= last:
                raise UnknownVersion(f"The conversation has the versions 1 to {last}: name one of them.")
            return await past(driver, conversation, version)

    async def history(self, conversation: UUID, *, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """What happened to it after a version, that of its parents first. Raises `UnknownConversation`."""
        async with self._database.driver() as driver:
            try:
                return await history(driver, conversation, after=after, upto=None if limit is None else after + limit)
            except UnknownConversation:
                raise _unknown() from None

    async def identities(self, after: UUID | None) -> list[UUID]:
        """The next page of all there are, by id."""
        async with self._database.driver() as driver:
            return [row["id"] for row in await driver.fetch(_IDENTITIES, after, PAGE)]

    @asynccontextmanager
    async def evidence(self, conversation: UUID) -> AsyncGenerator[Evidence, None]:
        async with self._database.driver() as driver, driver.transaction():
            await driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield Evidence(driver, conversation)

    async def wrong_days(self, account: UUID | None, *, since: datetime) -> list[Budget]:
        """Budgets of learners and days that are not what their calls say; those whose last call is before `since` may be gone."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_WRONG_DAYS, account, since)
        return [msgspec.convert(dict(row), Budget) for row in rows]

    async def headless(self) -> list[str]:
        """Where there is something of a conversation that is not there: names of tables, each with an id."""
        async with self._database.driver() as driver:
            return [f"{row['source']} {row['id']}" for row in await driver.fetch(_HEADLESS)]

    async def numbers(self) -> Numbers:
        async with self._database.driver() as driver, driver.transaction():
            await driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            totals = dict(await driver.fetchrow(_TOTALS) or {})
            statuses = [dict(row) for row in await driver.fetch(_BY_STATUS)]
            calls = [dict(row) for row in await driver.fetch(_BY_OUTCOME)]
            days = [dict(row) for row in await driver.fetch(_BY_DAY)]
        return msgspec.convert({**totals, "by_status": statuses, "calls": calls, "log_rows": days}, Numbers)

    async def condition(self, *, now: datetime) -> Condition:
        async with self._database.driver() as driver:
            row = dict(await driver.fetchrow(_CONDITION, now) or {})
            missing = [one["day"] for one in await driver.fetch(_MISSING_DAYS, now)]
        return msgspec.convert({**row, "days_missing": missing}, Condition)


def _unknown() -> UnknownConversation:
    return UnknownConversation("There is no conversation with this id. List them to find it.")


_STATUS = """CASE WHEN deleted_at IS NOT NULL THEN 'deleted' WHEN archived THEN 'archived' WHEN phase <> 'idle' THEN phase
    WHEN ended THEN 'ended' ELSE 'idle' END"""

_ENTRY = f"""
SELECT id, account, scenario, parent, parent_version, {_STATUS} AS status, phase, version, turns, ended, score, support,
    created_at, updated_at, deleted_at
FROM conversations
"""

_ENTRY_OF = f"{_ENTRY} WHERE id = $1"

_SEARCH = f"""{_ENTRY}
WHERE ($1::uuid IS NULL OR account = $1) AND ($2::uuid IS NULL OR scenario = $2) AND ($3::text IS NULL OR phase = $3)
    AND ($4::text IS NULL OR {_STATUS} = $4) AND ($5::timestamptz IS NULL OR updated_at >= $5)
    AND ($6::timestamptz IS NULL OR updated_at < $6) AND ($7::timestamptz IS NULL OR (updated_at, id) < ($7, $8::uuid))
ORDER BY updated_at DESC, id DESC LIMIT $9
"""

_IDENTITIES = "SELECT id FROM conversations WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2"

_HEAD = """
SELECT account, scenario, parent, parent_version, version, n, phase, fence, title, turns, ended, score, archived, support,
    created_at, deleted_at
FROM conversations WHERE id = $1
"""

_EVENTS = """
SELECT version, name, at, data::text AS data, personal::text AS personal FROM events
WHERE stream = $1 AND version IS NOT NULL ORDER BY version
"""

_LOG = f"""
SELECT n, at, name, version, turn, attempt, CASE WHEN name = '{DELTA}' THEN ''::bytea ELSE data END AS data
FROM conversation_log WHERE conversation = $1 ORDER BY n
"""

_SNAPSHOTS = "SELECT version, checksum, state FROM conversation_snapshots WHERE conversation = $1 ORDER BY version"

_CALLS = """
SELECT turn, purpose, attempt, outcome, reserved, tokens_in, tokens_out, ended_at FROM model_calls
WHERE conversation = $1 ORDER BY begun_at, purpose, attempt
"""

# What is reserved for calls that are open, and what those that have ended have spent.
_OWED = """coalesce(sum(reserved) FILTER (WHERE ended_at IS NULL), 0) AS owed,
    coalesce(sum(tokens_in + tokens_out) FILTER (WHERE ended_at IS NOT NULL), 0) AS used"""

_BUDGET = f"""
SELECT $2::text AS scope, b.reserved, b.spent, c.owed, c.used
FROM (SELECT {_OWED} FROM model_calls WHERE conversation = $1) c LEFT JOIN token_budgets b ON b.scope = $2
"""

_WRONG_DAYS = f"""
WITH calls AS (
    SELECT 'day:' || account || ':' || to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS scope, max(begun_at) AS last, {_OWED}
    FROM model_calls WHERE $1::uuid IS NULL OR account = $1 GROUP BY 1
), kept AS (
    SELECT scope, reserved, spent FROM token_budgets
    WHERE scope LIKE 'day:%' AND ($1::uuid IS NULL OR scope LIKE 'day:' || $1::uuid || ':%')
)
SELECT coalesce(k.scope, c.scope) AS scope, k.reserved, k.spent, coalesce(c.owed, 0) AS owed, coalesce(c.used, 0) AS used
FROM kept k FULL JOIN calls c ON c.scope = k.scope
WHERE (k.scope IS NULL AND c.last >= $2) OR k.reserved <> coalesce(c.owed, 0) OR k.spent <> coalesce(c.used, 0)
ORDER BY 1
"""

_HEADLESS = """
SELECT DISTINCT 'events' AS source, substr(e.stream, length('practice-') + 1) AS id FROM events e
WHERE e.stream LIKE 'practice-%' AND e.version IS NOT NULL
    AND NOT EXISTS (SELECT FROM conversations c WHERE 'practice-' || c.id = e.stream)
UNION ALL
SELECT DISTINCT 'conversation_log', l.conversation::text FROM conversation_log l
WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = l.conversation)
UNION ALL
SELECT DISTINCT 'model_calls', m.conversation::text FROM model_calls m
WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = m.conversation)
UNION ALL
SELECT DISTINCT 'conversation_snapshots', s.conversation::text FROM conversation_snapshots s
WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = s.conversation)
ORDER BY 1, 2
"""

_TOTALS = """
SELECT count(*) AS conversations, count(parent) AS forks, count(*) FILTER (WHERE support) AS shared,
    coalesce(sum(turns), 0)::bigint AS turns,
    (SELECT coalesce(sum(reserved), 0)::bigint FROM model_calls WHERE ended_at IS NULL) AS tokens_reserved,
    (SELECT count(*) FROM conversation_snapshots) AS snapshots,
    (SELECT coalesce(sum(length(state)), 0)::bigint FROM conversation_snapshots) AS snapshot_bytes,
    (SELECT generation FROM stream_generation) AS generation
FROM conversations
"""

_BY_STATUS = f"SELECT {_STATUS} AS name, count(*) AS count FROM conversations GROUP BY 1 ORDER BY 1"

_BY_OUTCOME = """
SELECT outcome AS name, count(*) AS count, coalesce(sum(tokens_in), 0)::bigint AS tokens_in,
    coalesce(sum(tokens_out), 0)::bigint AS tokens_out, coalesce(sum(cost), 0)::double precision AS cost
FROM model_calls GROUP BY 1 ORDER BY 1
"""

_BY_DAY = """
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS name, count(*) AS count FROM conversation_log GROUP BY 1 ORDER BY 1
"""

_CONDITION = """
SELECT count(*) FILTER (WHERE phase = 'pending') AS waiting, min(updated_at) FILTER (WHERE phase = 'pending') AS waiting_since,
    count(*) FILTER (WHERE phase = 'running') AS running, count(*) FILTER (WHERE phase = 'running' AND lease <= $1) AS leases_expired,
    min(lease) FILTER (WHERE phase = 'running' AND lease <= $1) AS expired_since,
    (SELECT count(*) FROM conversation_log_other) AS strays,
    (SELECT count(*) FROM model_calls WHERE outcome = 'running') AS calls_running
FROM conversations WHERE phase <> 'idle'
"""

_MISSING_DAYS = """
SELECT to_char(day, 'YYYY-MM-DD') AS day FROM (SELECT ($1 AT TIME ZONE 'UTC')::date + n AS day FROM generate_series(0, 2) AS n) AS wanted
WHERE to_regclass('conversation_log_' || to_char(day, 'YYYYMMDD')) IS NULL ORDER BY 1
"""
