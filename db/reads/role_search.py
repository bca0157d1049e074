"""Roles by what somebody says of their work: exact vector search and full-text search, fused by reciprocal rank, in one statement."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from db.catalogue.vectors import STALE, ServingModel, vector_text
from db.connection import Database
from db.metadata import lines_of
from domain.types import AccountId

K = 60
"""Of reciprocal rank fusion: how little the first places count more than those after them (Cormack, Clarke and Büttcher, 2009)."""

DEEP = 50
"""How many of each search are fused. A role that has no vector yet, though others have, counts as near as its words say."""

LEVEL = 0.0006
"""What the level that was named adds to a score: about as much as one place in both searches."""


DIGITS = 12
"""Of a score: places add up to the same in several ways (1/70 + 1/105 = 2/84), which the last digit of a fraction must not tell apart."""


class RoleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`vector` is that of the text, by `model`; None searches by words alone. `level` is the slug that its words, or the person, name."""

    industry: UUID
    viewer: AccountId
    title: str
    description: str
    level: str | None = None
    model: str = ""
    vector: tuple[float, ...] | None = None
    limit: int = 5


class RoleHit(msgspec.Struct, frozen=True, kw_only=True):
    """`cosine` is None for a role without a vector; `cosine_mean` is that of all roles that were compared.

    `elsewhere` is the best cosine among the published roles of other industries. `rank` is that of the full-text search, 0 without a
    word in common. `score` is what the hits are sorted by.
    """

    id: UUID
    slug: str | None
    title: str
    description: str
    hierarchy_level: str
    aliases: tuple[str, ...]
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    cosine: float | None
    cosine_mean: float | None
    elsewhere: float | None
    rank: float
    score: float


class RoleText(msgspec.Struct, frozen=True, kw_only=True):
    role: UUID
    text: str
    digest: bytes


class RoleSearchReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def serving(self) -> ServingModel | None:
        """The model with which to embed a question; None before the first vectors."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow("SELECT model, dimensions FROM embedding_models WHERE serving")
        return None if row is None else msgspec.convert(dict(row), ServingModel)

    async def find(self, query: RoleQuery) -> list[RoleHit]:
        """The best first; as many as `limit` wherever so many roles of the industry can be seen, also when nothing matches."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(FIND, *arguments(query))
        return [msgspec.convert(_lined(dict(row)), RoleHit) for row in rows]

    async def stale(self, model: str, *, limit: int) -> list[RoleText]:
        """Texts of roles that have no vector of this model, or one of an older text."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(f"{STALE} ORDER BY r.id LIMIT $2", model, limit)
        return [msgspec.convert(dict(row), RoleText) for row in rows]

    async def missing(self, model: str) -> int:
        async with self._database.driver() as driver:
            return await driver.fetchval(f"SELECT count(*) FROM ({STALE}) stale", model)


def arguments(query: RoleQuery) -> Sequence[object]:
    """Of `FIND`, in their order."""
    vector = None if query.vector is None else vector_text(query.vector)
    dimensions = 0 if query.vector is None else len(query.vector)
    return (query.industry, query.viewer, query.title, query.description, query.level, query.model, dimensions, vector, query.limit)


def _lined(row: dict[str, object]) -> dict[str, object]:
    return {**row, **{name: lines_of(str(row[name])) for name in ("aliases", "keywords", "duties")}}


# Any word may match: people do not describe their work in the words of the catalogue.
FIND = f"""
WITH words AS (
    SELECT unnest(tsvector_to_array(to_tsvector('english', $3::text || ' ' || $4::text))) AS word
), said AS MATERIALIZED (
    SELECT (SELECT coalesce(string_agg(quote_literal(word), ' | '), '') FROM words)::tsquery AS words
), visible AS MATERIALIZED (
    SELECT r.id, v.vector <=> $8::vector AS distance,
        CASE WHEN r.search @@ said.words THEN ts_rank(r.search, said.words) ELSE 0 END AS rank,
        r.hierarchy_level = $5 AS level
    FROM said, roles r LEFT JOIN role_vectors v ON v.role = r.id AND v.model = $6 AND v.dimensions = $7
    WHERE r.industry = $1 AND r.available AND (r.status = 'published' OR r.owner = $2)
), near AS (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS place FROM visible WHERE distance IS NOT NULL ORDER BY distance, id LIMIT {DEEP}
), worded AS (
    SELECT id, row_number() OVER (ORDER BY rank DESC, id) AS place FROM visible WHERE rank > 0 ORDER BY rank DESC, id LIMIT {DEEP}
), compared AS (
    SELECT avg(1 - distance) AS mean FROM visible
), elsewhere AS (
    SELECT 1 - min(v.vector <=> $8::vector) AS cosine FROM roles r JOIN role_vectors v ON v.role = r.id
    WHERE v.model = $6 AND v.dimensions = $7 AND r.industry <> $1 AND r.available AND r.status = 'published'
), fused AS (
    SELECT visible.*,
        round(
            coalesce(1.0 / ({K} + CASE WHEN distance IS NULL AND $7 > 0 THEN worded.place ELSE near.place END), 0)
                + coalesce(1.0 / ({K} + worded.place), 0) + CASE WHEN level THEN {LEVEL} ELSE 0 END, {DIGITS}
        ) AS score
    FROM visible LEFT JOIN near USING (id) LEFT JOIN worded USING (id)
    ORDER BY score DESC, distance, rank DESC, id LIMIT $9
)
SELECT r.id, r.slug, r.title, r.description, r.hierarchy_level, r.aliases, r.keywords, r.duties,
    1 - fused.distance AS cosine, compared.mean AS cosine_mean, elsewhere.cosine AS elsewhere,
    fused.rank::float8 AS rank, fused.score::float8 AS score
FROM fused JOIN roles r USING (id), compared, elsewhere
ORDER BY fused.score DESC, fused.distance, fused.rank DESC, r.id
"""
