"""The log of a conversation: what its readers are told, in the order of `n`, which has no gaps."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from bus.work import Notice
from db.connection import Database, Driver, Row
from domain.practice.events import ConversationEvent

DELTA = "practice.delta"
CHANNEL = "practice"


class LogRow(msgspec.Struct, frozen=True, array_like=True):
    """`data` is an event's, personal fields included as they are sealed, as JSON; of a delta it is the sealed piece."""

    n: int
    at: datetime
    name: str
    version: int | None
    turn: UUID | None
    attempt: int | None
    data: bytes


class News(msgspec.Struct, frozen=True, array_like=True):
    """Rows that were written to the log of a conversation, in order."""

    conversation: UUID
    rows: Sequence[LogRow]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[News, ...])


def noticed(*news: News) -> Notice:
    """How rows are announced. One channel for all conversations: what a worker has written together costs readers one message, and
    opening it costs them less than a subscription for each conversation would.
    """
    return Notice(CHANNEL, _ENCODER.encode(news))


def news_in(announced: bytes) -> tuple[News, ...]:
    """Raises `msgspec.DecodeError`."""
    return _DECODER.decode(announced)


def row_of(row: Row) -> LogRow:
    return LogRow(row["n"], row["at"], row["name"], row["version"], row["turn"], row["attempt"], row["data"])


def fact(event: ConversationEvent, n: int, at: datetime, data: bytes) -> LogRow:
    return LogRow(n, at, event.wire.name, event.version, getattr(event, "turn", None), getattr(event, "attempt", None), data)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Pieces of one attempt that are to be written behind the `count` that are written already, in their order, each sealed."""

    conversation: UUID
    turn: UUID
    attempt: int
    fence: int
    count: int
    pieces: Sequence[bytes]


Writing = tuple[UUID, int]
"""A conversation, and the fence under which somebody writes in it."""


class Appended(msgspec.Struct, frozen=True):
    """`written`: the number of the first piece of each. `held`: those whose fence holds, and how many pieces they had before."""

    written: dict[Writing, int]
    held: dict[Writing, int]


class LogAppender:
    """The one writer outside of the bus's transactions: each method is one statement, and its fence is what makes it safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, batches: Sequence[Batch], *, now: datetime) -> Appended:
        """All pieces of all conversations at once; what somebody else is changing at this moment is left for the next time.

        Whoever does not know whether this was done does it again: it is done once, though it arrive twice, or later than what followed.
        """
        pieces = [(batch, number, piece) for batch in batches for number, piece in enumerate(batch.pieces)]
        async with self._database.driver() as driver:
            rows = await driver.fetch(
                _APPEND,
                [batch.conversation for batch in batches],
                [batch.fence for batch in batches],
                [batch.count for batch in batches],
                [len(batch.pieces) for batch in batches],
                [batch.turn for batch in batches],
                [batch.attempt for batch in batches],
                [batch.conversation for batch, _, _ in pieces],
                [batch.fence for batch, _, _ in pieces],
                [number for _, number, _ in pieces],
                [piece for _, _, piece in pieces],
                now,
            )
        return Appended(
            written={(row["id"], row["fence"]): row["first"] for row in rows if row["first"] is not None},
            held={(row["id"], row["fence"]): row["pieces"] for row in rows},
        )

    async def renew(self, held: Iterable[Writing], *, until: datetime) -> frozenset[Writing]:
        """Keep leases; answers with those whose fence still holds."""
        pairs = list(held)
        async with self._database.driver() as driver:
            rows = await driver.fetch(_RENEW, [one for one, _ in pairs], [fence for _, fence in pairs], until)
        return frozenset((row["id"], row["fence"]) for row in rows)

    async def let_go(self, held: Iterable[Writing], *, now: datetime) -> None:
        """Let another worker take these over at once."""
        await self.renew(held, until=now)

    async def waiting(self, limit: int, *, now: datetime) -> list[UUID]:
        """Conversations in which somebody waits for an answer that nobody gives, longest first."""
        async with self._database.driver() as driver:
            return [row["id"] for row in await driver.fetch(_WAITING, now, limit)]


async def pieces_of(driver: Driver, conversation: UUID, turn: UUID, attempt: int) -> list[bytes]:
    """What was written of an attempt, sealed, in order."""
    return [row["data"] for row in await driver.fetch(_PIECES, conversation, turn, attempt)]


# Rows are locked in one order, and those that a command holds at the moment are passed over: one conversation never delays the others.
_APPEND = f"""
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::uuid[], $6::int[]) AS g(id, fence, had, pieces, turn, attempt)
), fenced AS (
    SELECT c.id, c.fence, c.pieces FROM conversations c JOIN given g ON g.id = c.id AND g.fence = c.fence WHERE c.phase = 'running'
), locked AS (
    SELECT c.id FROM conversations c JOIN given g ON g.id = c.id AND g.fence = c.fence
    WHERE c.phase = 'running' AND c.pieces = g.had ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
), moved AS (
    UPDATE conversations c SET n = c.n + g.pieces, pieces = c.pieces + g.pieces FROM given g, locked
    WHERE c.id = g.id AND c.id = locked.id AND c.fence = g.fence AND c.phase = 'running'
    RETURNING c.id, c.fence, c.n - g.pieces + 1 AS first, g.turn, g.attempt
), added AS (
    INSERT INTO conversation_log (conversation, n, at, name, turn, attempt, data)
    SELECT m.id, m.first + p.number, $11, '{DELTA}', m.turn, m.attempt, p.data
    FROM unnest($7::uuid[], $8::bigint[], $9::int[], $10::bytea[]) AS p(id, fence, number, data)
    JOIN moved m ON m.id = p.id AND m.fence = p.fence
)
SELECT fenced.id, fenced.fence, fenced.pieces, moved.first FROM fenced LEFT JOIN moved ON moved.id = fenced.id
"""

# The same: a row that a command holds keeps the lease that it has, until the next time.
_RENEW = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS g(id, fence)
), fenced AS (
    SELECT c.id, c.fence FROM conversations c JOIN given g ON g.id = c.id AND g.fence = c.fence WHERE c.phase = 'running'
), locked AS (
    SELECT c.id FROM conversations c JOIN given g ON g.id = c.id AND g.fence = c.fence
    WHERE c.phase = 'running' ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
), renewed AS (
    UPDATE conversations c SET lease = $3 FROM given g, locked
    WHERE c.id = g.id AND c.id = locked.id AND c.fence = g.fence AND c.phase = 'running'
)
SELECT id, fence FROM fenced
"""

_WAITING = """
SELECT id FROM conversations WHERE phase = 'pending' OR (phase = 'running' AND lease <= $1) ORDER BY updated_at LIMIT $2
"""

_PIECES = f"""
SELECT data FROM conversation_log WHERE conversation = $1 AND turn = $2 AND attempt = $3 AND name = '{DELTA}' ORDER BY n
"""
