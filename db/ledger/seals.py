"""How a stretch of the feed becomes 32 bytes, and how the seals that cover it are read and written.

Sealing and verifying use the same statement. It hashes the binary form of each row (`record_send`: the number of fields, then type, length
and value of each), which is unambiguous and, unlike a text form, depends on no setting of the session. What is personal in an event follows
its row, as it is sealed: destroying a person's key changes no hash. It is computed in the database,
where it costs about 6 µs a row, a third of what it costs to fetch and hash them here.
"""

from datetime import datetime
from hashlib import sha256

import msgspec

from bus.work import Seal, Sign
from db.connection import Driver

BEGINNING = "0" * 64

# A row of the feed whose event is gone counts as well: its hash is another one. A missing row shows in the number.
_DIGEST = """
SELECT
    count(*) AS rows,
    coalesce(sha256(string_agg(sha256(record_send(ROW(
        f.position, f.event, f.area, f.key, f.subject, f.name, f.actor,
        e.id, e.stream, e.version, e.name, e.v, e.key, e.subject, e.data, e.meta, e.at
    )) || coalesce(json_send(e.personal), ''::bytea)), ''::bytea ORDER BY f.position)), ''::bytea) AS digest
FROM feed f LEFT JOIN events e ON e.id = f.event
WHERE f.position > $1 AND f.position <= $2
"""

# Whoever owns the database could put a function or an operator of the same name before those of PostgreSQL. And before the tables have been
# analysed, the planner would read all of both for every stretch.
_PLAINLY = """
SELECT
    pg_catalog.set_config('search_path', 'pg_catalog, ' || pg_catalog.current_setting('search_path'), true),
    pg_catalog.set_config('enable_seqscan', 'off', true),
    pg_catalog.set_config('enable_hashjoin', 'off', true),
    pg_catalog.set_config('enable_mergejoin', 'off', true)
"""

_SEALS = "SELECT n, after, upto, hash, at, key, signature FROM seals WHERE n > $1 ORDER BY n LIMIT $2"

_LAST = "SELECT n, upto, hash FROM seals ORDER BY n DESC LIMIT 1"

_INSERT = "INSERT INTO seals (n, after, upto, hash, at, key, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)"


KEPT = "UPDATE seals SET kept = true WHERE n <= $1 AND NOT kept"


class Digest(msgspec.Struct, frozen=True):
    """What a stretch of the feed holds: how many rows, and a SHA-256 over all of them in order."""

    rows: int
    digest: bytes


def chained(before: str, digest: bytes) -> str:
    """The hash of a seal, in hexadecimal: over that of the seal before, as text (64 zeros for the first), and the digest of its stretch."""
    return sha256(before.encode() + digest).hexdigest()


async def digest(driver: Driver, after: int, upto: int) -> Digest:
    """Of the positions above `after`, up to and including `upto`; within a transaction."""
    await driver.execute(_PLAINLY)
    row = await driver.fetchrow(_DIGEST, after, upto)
    return Digest(0, b"") if row is None else Digest(row["rows"], row["digest"])


async def next_seal(driver: Driver, limit: int, sign: Sign, *, now: datetime) -> Seal | None:
    """Seal the next positions, at most `limit` of them; None when there are none."""
    last = await driver.fetchrow(_LAST)
    n, after, before = (0, 0, BEGINNING) if last is None else (last["n"], last["upto"], last["hash"])
    head = await driver.fetchval("SELECT coalesce(max(position), 0) FROM feed")
    if head <= after:
        return None
    upto = min(head, after + limit)
    found = await digest(driver, after, upto)
    seal = sign(Seal(n=n + 1, after=after, upto=upto, hash=chained(before, found.digest), at=now))
    await driver.execute(_INSERT, seal.n, seal.after, seal.upto, seal.hash, seal.at, seal.key, seal.signature)
    return seal


async def seals_after(driver: Driver, after: int, limit: int) -> list[Seal]:
    return [msgspec.convert(dict(row), Seal) for row in await driver.fetch(_SEALS, after, limit)]
