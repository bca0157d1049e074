"""What is read of conversations. Whatever belongs to somebody takes its owner as a parameter; text comes sealed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from db.connection import Database
from db.practice.folding import history, past, segments_of, stream_of, version_at
from db.practice.keys import readable
from db.practice.log import DELTA, LogRow, row_of
from domain.practice.errors import UnknownConversation, UnknownTurn, UnknownVersion
from domain.practice.model import Conversation
from domain.practice.state import Recorded
from domain.types import AccountId


class ConversationHead(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as lists show it; `title` is sealed."""

    id: UUID
    scenario: UUID
    parent: UUID | None
    parent_version: int | None
    version: int
    phase: str
    title: bytes | None
    turns: int
    ended: bool
    score: int | None
    archived: bool
    support: bool
    created_at: datetime
    updated_at: datetime


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger of calls, made in `conversation`, which may be a parent of that which is read."""

    id: UUID
    conversation: UUID
    turn: UUID
    purpose: Literal["partner", "coach"]
    attempt: int
    model: str
    outcome: str
    error: str | None
    tokens_in: int | None
    tokens_out: int | None
    begun_at: datetime
    ended_at: datetime | None


class Place(msgspec.Struct, frozen=True):
    """Where the log of a conversation ends: ids of streams are `generation.n`. Rows up to `gone` are not kept any more."""

    generation: int
    n: int
    gone: int


class PracticeReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def wrapped_key(self, account: UUID) -> bytes | None:
        """None for somebody who has not written anything yet, or whose texts were erased."""
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT wrapped FROM personal_keys WHERE account = $1", account)

    async def key_to(self, conversation: UUID, account: AccountId) -> bytes:
        """Wrapped; the one that opens what was written in it, though it be deleted. Raises `UnknownConversation` once that is erased."""
        async with self._database.driver() as driver:
            wrapped = await driver.fetchval(_KEY_TO, conversation, account)
        if wrapped is None:
            raise UnknownConversation
        return wrapped

    async def conversation(self, conversation: UUID, account: AccountId, *, at: int | datetime | None = None) -> Conversation:
        """Now, as of a version, or as it was at a time. Raises `UnknownConversation` and `UnknownVersion`."""
        async with self._database.driver() as driver:
            last = await driver.fetchval(_VERSION, conversation, account)
            if last is None:
                raise UnknownConversation
            version = await version_at(driver, conversation, at) if isinstance(at, datetime) else last if at is None else at
            if not 1 <= version <= last:
                raise UnknownVersion
            return await past(driver, conversation, version)

    async def history(self, conversation: UUID, account: AccountId, *, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """What happened to it after a version, that of its parents first. Raises `UnknownConversation`."""
        async with self._database.driver() as driver:
            if await driver.fetchval(_VERSION, conversation, account) is None:
                raise UnknownConversation
            return await history(driver, conversation, after=after, upto=None if limit is None else after + limit)

    async def conversations(
        self, account: AccountId, *, archived: bool | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[ConversationHead]:
        """Those that were changed last come first."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(_LIST, account, archived, *(before or (None, None)), limit)
        return [msgspec.convert(dict(row), ConversationHead) for row in rows]

    async def calls(self, conversation: UUID, turn: UUID) -> list[Call]:
        """Every call for a turn, the partner's first; of parents those whose outcome the conversation began with. Raises `UnknownTurn`."""
        async with self._database.driver() as driver:
            segments = await segments_of(driver, conversation, None)
            streams, upto = [stream_of(one.conversation) for one in segments], [one.upto for one in segments]
            if not await driver.fetchval(_IS_SAID, streams, upto, str(turn)):
                raise UnknownTurn
            rows = await driver.fetch(_CALLS, [one.conversation for one in segments], streams, upto, turn, str(turn), conversation)
        return [msgspec.convert(dict(row), Call) for row in rows]

    async def shown(self, calls: Sequence[Call]) -> dict[UUID, list[bytes]]:
        """By the id of each call what was shown of it, sealed, in order: nothing of the coach's, nor once its days are over."""
        found: dict[UUID, list[bytes]] = {call.id: [] for call in calls}
        partners = [call for call in calls if call.purpose == "partner"]
        async with self._database.driver() as driver:
            rows = await driver.fetch(
                _SHOWN,
                [call.id for call in partners],
                [call.conversation for call in partners],
                [call.turn for call in partners],
                [call.attempt for call in partners],
            )
        for row in rows:
            found[row["id"]].append(row["data"])
        return found

    async def place(self, conversation: UUID, account: AccountId) -> Place:
        """Raises `UnknownConversation`."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_PLACE, conversation, account)
        if row is None:
            raise UnknownConversation
        return Place(row["generation"], row["n"], row["first"] - 1 if row["first"] is not None else row["n"])

    async def heads(self, conversations: Sequence[UUID]) -> dict[UUID, int]:
        """The last number of the log of each."""
        async with self._database.driver() as driver:
            return {row["id"]: row["n"] for row in await driver.fetch(_HEADS, conversations)}

    async def log_after(self, conversation: UUID, n: int, limit: int) -> list[LogRow]:
        async with self._database.driver() as driver:
            return [row_of(row) for row in await driver.fetch(_LOG, conversation, n, limit)]


_HEADS = "SELECT id, n FROM conversations WHERE id = ANY($1::uuid[])"

# What is there for its learner: not what was deleted, nor what was erased.
_THERE = f"c.deleted_at IS NULL AND {readable('c')}"

_VERSION = f"SELECT version FROM conversations c WHERE id = $1 AND account = $2 AND {_THERE}"

_KEY_TO = f"""
SELECT k.wrapped FROM conversations c JOIN personal_keys k ON k.account = c.account
WHERE c.id = $1 AND c.account = $2 AND {readable("c")}
"""

_LIST = f"""
SELECT id, scenario, parent, parent_version, version, phase, title, turns, ended, score, archived, support, created_at, updated_at
FROM conversations c
WHERE account = $1 AND {_THERE} AND ($2::bool IS NULL OR archived = $2)
  AND ($3::timestamptz IS NULL OR (updated_at, id) < ($3, $4::uuid))
ORDER BY updated_at DESC, id DESC LIMIT $5
"""

_IS_SAID = """
SELECT EXISTS (
    SELECT FROM unnest($1::text[], $2::int[]) AS s(stream, upto)
    JOIN events e ON e.stream = s.stream AND e.version <= s.upto
    WHERE e.name = 'practice.turn_accepted' AND e.data ->> 'turn' = $3
)
"""

# What a parent's calls led to after the fork is not the fork's: that goes on with numbers of its own from where it began.
_CALLS = """
WITH segments AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[]) AS s(conversation, stream, upto)
), told AS (
    SELECT s.conversation, max((e.data ->> 'attempt')::int) AS attempt, bool_or(e.name = 'practice.feedback_given') AS coached
    FROM segments s JOIN events e ON e.stream = s.stream AND e.version <= s.upto
    WHERE e.data ->> 'turn' = $5 GROUP BY s.conversation
)
SELECT c.id, c.conversation, c.turn, c.purpose, c.attempt, c.model, c.outcome, c.error, c.tokens_in, c.tokens_out, c.begun_at, c.ended_at
FROM model_calls c JOIN segments s ON s.conversation = c.conversation LEFT JOIN told t ON t.conversation = c.conversation
WHERE c.turn = $4 AND (c.conversation = $6 OR (c.purpose = 'partner' AND c.attempt <= t.attempt) OR (c.purpose = 'coach' AND t.coached))
ORDER BY c.purpose = 'coach', c.attempt
"""

_SHOWN = f"""
SELECT c.id, l.data FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[]) AS c(id, conversation, turn, attempt)
JOIN conversation_log l ON l.conversation = c.conversation AND l.turn = c.turn AND l.attempt = c.attempt AND l.name = '{DELTA}'
ORDER BY l.n
"""

_PLACE = f"""
SELECT g.generation, c.n, (SELECT min(l.n) FROM conversation_log l WHERE l.conversation = c.id) AS first
FROM conversations c CROSS JOIN stream_generation g WHERE c.id = $1 AND c.account = $2 AND {_THERE}
"""

_LOG = """
SELECT n, at, name, version, turn, attempt, data FROM conversation_log WHERE conversation = $1 AND n > $2 ORDER BY n LIMIT $3
"""
