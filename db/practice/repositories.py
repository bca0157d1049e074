"""Conversations as commands change them, the ledger of calls, and the budgets."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from db.connection import Driver
from db.practice.folding import SNAPSHOT_EVERY, encoded, fold, fold_whole, past
from db.practice.keys import begun, readable
from db.practice.log import LogRow, fact, pieces_of
from domain.practice.errors import UnknownConversation
from domain.practice.events import ConversationEvent
from domain.practice.model import Conversation
from domain.practice.state import Recorded
from domain.types import AccountId

Outcome = Literal["answered", "stopped", "failed", "orphaned"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that nobody else changes until this transaction ends, and its head: see `db.practice.tables.conversations`.

    One that is `erased` is held by no learner, and nobody opens what was written in it: all that is left to do is to end what runs.
    """

    conversation: Conversation
    n: int
    phase: str
    fence: int
    lease: datetime | None
    erased: bool


class Conversations:
    def __init__(self, driver: Driver, *, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._driver, self._snapshot_every = driver, snapshot_every

    async def hold(self, conversation: UUID, account: AccountId | None = None) -> Held:
        """For this transaction alone; with an account only that person's. Raises `UnknownConversation`."""
        row = await self._driver.fetchrow(_HOLD, conversation, account)
        if row is None or (account is not None and row["erased"]):
            raise UnknownConversation
        return Held(
            conversation=await fold(self._driver, conversation, row["version"], snapshot_every=self._snapshot_every),
            n=row["n"],
            phase=row["phase"],
            fence=row["fence"],
            lease=row["lease"],
            erased=row["erased"],
        )

    async def at(self, conversation: UUID, version: int) -> Conversation:
        """As it was, of one that is held and has this version."""
        return await past(self._driver, conversation, version)

    async def add(self, conversation: Conversation, first: ConversationEvent, *, now: datetime) -> list[LogRow]:
        """A new one, with its first event; it is that already."""
        state = conversation.state
        row = fact(first, 1, now, encoded(first))
        await self._driver.execute(
            _ADD, state.id, state.account, state.scenario, state.parent, state.parent_version, *_shown(conversation), now, *_columns([row])
        )
        return [row]

    async def save(self, held: Held, events: Sequence[ConversationEvent], *, now: datetime, lease: datetime | None = None) -> list[LogRow]:
        """Fold these events into it, and into the log. Whoever wrote under the fence before cannot any more when the phase has changed,
        and `lease` gives the turn to whoever holds the new one; else whoever answers keeps theirs.
        """
        conversation = held.conversation
        if not all(conversation.remembers(event) for event in events):
            conversation.recall(await fold_whole(self._driver, conversation.state.id, conversation.version))
        for event in events:
            conversation.apply(Recorded(event, now))
        rows = [fact(event, held.n + number, now, encoded(event)) for number, event in enumerate(events, 1)]
        fence = held.fence + (lease is not None or conversation.phase != held.phase)
        kept = held.lease if lease is None and conversation.phase == held.phase == "running" else lease
        state = conversation.state
        await self._driver.execute(
            _SAVE, state.id, *_shown(conversation), now if state.deleted else None, fence, kept, len(rows), now, *_columns(rows)
        )
        return rows

    async def shown(self, conversation: UUID, turn: UUID, attempt: int) -> list[bytes]:
        """What readers have been told of an answer, sealed, in order."""
        return await pieces_of(self._driver, conversation, turn, attempt)

    async def shared_by(self, conversation: UUID) -> AccountId | None:
        """The learner who lets those who operate this installation read it, until the end of the transaction; None when nobody does."""
        return await self._driver.fetchval(_SHARED, conversation)

    async def begin_generation(self) -> int:
        """The next one, with which all ids of streams begin."""
        return await self._driver.fetchval("UPDATE stream_generation SET generation = generation + 1 RETURNING generation")

    async def keep_days(self, *, of: datetime, oldest: datetime) -> None:
        """Partitions of the log for this day and the next; those that end before `oldest` go.

        Both need the table for themselves for a moment. While somebody reads it for long they give up, rather than have everybody wait
        behind them; the schedule tries again.
        """
        await self._driver.execute("SET LOCAL lock_timeout = '500ms'")
        await self._driver.execute("SELECT make_log_day(($1 AT TIME ZONE 'UTC')::date + n) FROM generate_series(0, 2) AS n", of)
        for row in await self._driver.fetch(_OLD_DAYS, f"conversation_log_{oldest:%Y%m%d}"):
            await self._driver.execute(f"DROP TABLE {row['name']}")
        await self._driver.execute("DELETE FROM conversation_log_other WHERE at < $1", oldest)


class ModelCalls:
    """The ledger of calls. A row is made with its reservation before there is a call, and ended exactly once.

    Each turn has attempts at the partner's answer, and others at the coach's feedback. Where no provider counted `tokens_in`, it is as we
    counted, or what was reserved but for the `answer`. Prices are for a million.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def reserve(
        self, identity: UUID, *, conversation: UUID, account: AccountId, turn: UUID, attempt: int, tokens: int, now: datetime
    ) -> None:
        await self._driver.execute(_RESERVE_CALL, identity, conversation, account, turn, attempt, tokens, now)

    async def begin(self, conversation: UUID, turn: UUID, attempt: int, *, fence: int, model: str, prompt: int) -> UUID:
        """The call that was reserved for this attempt is made now, with so many tokens as we count them."""
        return await self._driver.fetchval(_BEGIN_CALL, conversation, turn, attempt, fence, model, prompt)

    async def coached(self, conversation: UUID, turn: UUID) -> "Coached":
        """What became of the coach's calls for a turn."""
        return msgspec.convert(dict(await self._driver.fetchrow(_COACHED, conversation, turn) or {}), Coached)

    async def begin_coaching(
        self, identity: UUID, *, conversation: UUID, account: AccountId, turn: UUID, model: str, tokens: int, prompt: int, now: datetime
    ) -> int:
        """A call of the coach, for which so many `tokens` were reserved, is made now; the number of its attempt."""
        return await self._driver.fetchval(_BEGIN_COACHING, identity, conversation, account, turn, model, tokens, prompt, now)

    async def end(
        self,
        conversation: UUID,
        turns: Sequence[UUID],
        outcome: Outcome,
        *,
        now: datetime,
        tokens_in: int | None,
        tokens_out: int,
        answer: int,
        prices: tuple[float, float],
        error: str | None,
    ) -> list["Reservation"]:
        """End what is open of the partner's calls for these turns, for the budgets to be settled: what was never called as orphaned,
        without a token.
        """
        rows = await self._driver.fetch(_END_CALLS, outcome, now, tokens_in, tokens_out, error, answer, *prices, conversation, list(turns))
        return [msgspec.convert(dict(row), Reservation) for row in rows]

    async def end_coaching(
        self,
        identity: UUID,
        outcome: Outcome,
        *,
        now: datetime,
        tokens: tuple[int | None, int],
        prices: tuple[float, float],
        error: str | None,
    ) -> "Reservation | None":
        """None when it has ended already. `tokens` are those of the request and of the answer."""
        row = await self._driver.fetchrow(_END_COACHING, outcome, now, *tokens, error, 0, *prices, identity)
        return None if row is None else msgspec.convert(dict(row), Reservation)

    async def orphan_coaching(
        self, conversation: UUID | None, *, before: datetime, now: datetime, prices: tuple[float, float]
    ) -> list["Reservation"]:
        """End the coach's calls, of this conversation or of all, that were begun `before` and have not ended."""
        rows = await self._driver.fetch(_ORPHAN_COACHING, "orphaned", now, None, 0, None, 0, *prices, conversation, before)
        return [msgspec.convert(dict(row), Reservation) for row in rows]


class Coached(msgspec.Struct, frozen=True):
    """`running` is whether somebody calls at the moment; so many calls were `lost` with their worker."""

    running: bool
    lost: int


class Reservation(msgspec.Struct, frozen=True):
    """What an ended call had reserved, since when, and what it spent."""

    account: UUID
    conversation: UUID
    begun_at: datetime
    reserved: int
    spent: int


class Budgets:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def reserve(self, scope: str, tokens: int, *, ceiling: int, now: datetime) -> bool:
        """Whether so many were left; two at the same time cannot both have the last ones."""
        return await self._driver.fetchval(_RESERVE, scope, tokens, ceiling, now) is not None

    async def spent(self, scope: str) -> int:
        return await self._driver.fetchval("SELECT coalesce(max(spent), 0) FROM token_budgets WHERE scope = $1", scope)

    async def settle(self, scope: str, *, reserved: int, spent: int) -> None:
        await self._driver.execute(_SETTLE, scope, reserved, spent)

    async def forget(self, *, before: datetime) -> None:
        """Days that are over count for nothing any more."""
        await self._driver.execute("DELETE FROM token_budgets WHERE scope LIKE 'day:%' AND at < $1", before - timedelta(days=1))


def _shown(conversation: Conversation) -> tuple[Any, ...]:
    """The columns that say what a list shows."""
    state, content = conversation.state, conversation.content
    title = None if state.title is None else state.title.sealed
    ended = content.ended is not None
    return (state.version, conversation.phase, title, len(content.turns), ended, content.score, state.archived, state.support)


def _columns(rows: Sequence[LogRow]) -> tuple[list[Any], ...]:
    return (
        [row.name for row in rows],
        [row.version for row in rows],
        [row.turn for row in rows],
        [row.attempt for row in rows],
        [row.data for row in rows],
    )


_HOLD = f"""
SELECT version, n, phase, fence, lease, NOT {readable("c")} AS erased FROM conversations c
WHERE id = $1 AND ($2::uuid IS NULL OR account = $2) AND deleted_at IS NULL FOR UPDATE
"""

_SHARED = f"SELECT account FROM conversations c WHERE id = $1 AND support AND deleted_at IS NULL AND {readable('c')} FOR SHARE"

_ADD = f"""
WITH added AS (
    INSERT INTO conversations (
        id, account, scenario, parent, parent_version, version, phase, title, turns, ended, score, archived, support,
        n, created_at, updated_at
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, {begun("$14", "$2")}, $14)
    RETURNING id
)
INSERT INTO conversation_log (conversation, n, at, name, version, turn, attempt, data)
SELECT added.id, l.number, $14, l.name, l.version, l.turn, l.attempt, l.data
FROM added, unnest($15::text[], $16::int[], $17::uuid[], $18::int[], $19::bytea[])
    WITH ORDINALITY AS l(name, version, turn, attempt, data, number)
"""

_SAVE = """
WITH moved AS (
    UPDATE conversations SET
        version = $2, phase = $3, title = $4, turns = $5, ended = $6, score = $7, archived = $8, support = $9,
        deleted_at = $10, pieces = CASE WHEN fence = $11 THEN pieces ELSE 0 END, fence = $11, lease = $12, n = n + $13, updated_at = $14
    WHERE id = $1
    RETURNING id, n - $13 AS before
)
INSERT INTO conversation_log (conversation, n, at, name, version, turn, attempt, data)
SELECT moved.id, moved.before + l.number, $14, l.name, l.version, l.turn, l.attempt, l.data
FROM moved, unnest($15::text[], $16::int[], $17::uuid[], $18::int[], $19::bytea[])
    WITH ORDINALITY AS l(name, version, turn, attempt, data, number)
"""

_OLD_DAYS = """
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'conversation_log'::regclass AND c.relname ~ '^conversation_log_[0-9]{8}$' AND c.relname < $1
"""

_RESERVE_CALL = """
INSERT INTO model_calls (id, conversation, account, turn, attempt, fence, model, outcome, reserved, begun_at)
VALUES ($1, $2, $3, $4, $5, 0, '', 'reserved', $6, $7)
"""

_BEGIN_CALL = """
UPDATE model_calls SET outcome = 'running', fence = $4, model = $5, tokens_in = $6
WHERE conversation = $1 AND turn = $2 AND attempt = $3 AND purpose = 'partner' AND outcome = 'reserved' RETURNING id
"""

_COACHED = """
SELECT coalesce(bool_or(outcome = 'running'), false) AS running, count(*) FILTER (WHERE outcome = 'orphaned') AS lost
FROM model_calls WHERE conversation = $1 AND turn = $2 AND purpose = 'coach'
"""

_BEGIN_COACHING = """
INSERT INTO model_calls (id, conversation, account, turn, purpose, attempt, fence, model, outcome, reserved, tokens_in, begun_at)
SELECT $1, $2, $3, $4, 'coach', coalesce(max(attempt), 0) + 1, 0, $5, 'running', $6, $7, $8
FROM model_calls WHERE conversation = $2 AND turn = $4 AND purpose = 'coach'
RETURNING attempt
"""


def _ending(which: str) -> str:
    """The open calls for which this holds, of parameters from the ninth on."""
    return f"""
WITH ending AS (
    SELECT id, outcome = 'reserved' AS uncalled,
        CASE WHEN outcome = 'reserved' THEN 0 ELSE coalesce($3::int, tokens_in, greatest(reserved - $6::int, 0)) END AS tokens_in,
        CASE WHEN outcome = 'reserved' THEN 0 ELSE $4::int END AS tokens_out
    FROM model_calls WHERE {which} AND outcome IN ('reserved', 'running') FOR UPDATE
)
UPDATE model_calls c SET
    outcome = CASE WHEN e.uncalled THEN 'orphaned' ELSE $1 END,
    ended_at = $2,
    tokens_in = e.tokens_in,
    tokens_out = e.tokens_out,
    cost = (e.tokens_in * $7::double precision + e.tokens_out * $8::double precision) / 1000000,
    error = CASE WHEN e.uncalled THEN NULL ELSE $5 END
FROM ending e WHERE c.id = e.id
RETURNING c.account, c.conversation, c.begun_at, c.reserved, e.tokens_in + e.tokens_out AS spent
"""


_END_CALLS = _ending("conversation = $9 AND turn = ANY($10::uuid[]) AND purpose = 'partner'")
_END_COACHING = _ending("id = $9 AND purpose = 'coach'")
_ORPHAN_COACHING = _ending("($9::uuid IS NULL OR conversation = $9) AND purpose = 'coach' AND begun_at < $10")

_RESERVE = """
INSERT INTO token_budgets AS b (scope, reserved, spent, at)
SELECT $1, $2::bigint, 0, $4 WHERE $2::bigint <= $3
ON CONFLICT (scope) DO UPDATE SET reserved = b.reserved + excluded.reserved, at = excluded.at
WHERE b.reserved + b.spent + excluded.reserved <= $3
RETURNING 1
"""

_SETTLE = "UPDATE token_budgets SET reserved = greatest(reserved - $2, 0), spent = spent + $3 WHERE scope = $1"
