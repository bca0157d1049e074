"""The vectors of roles, and the models that made them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import base
from sqlalchemy.types import UserDefinedType

from db.connection import Driver
from db.metadata import IDENTITY, INSTANT, metadata


class Vector(UserDefinedType[str]):
    """pgvector's type, of any number of dimensions; written and read as text by our own statements."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "vector"


# So that a comparison of tables knows the type when it meets it.
_types: dict[str, Any] = cast("Any", base).ischema_names
_types["vector"] = Vector

embedding_models = Table(
    "embedding_models",
    metadata,
    Column("model", Text, primary_key=True),
    Column("dimensions", Integer, nullable=False),
    Column("serving", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Index(None, "serving", unique=True, postgresql_where=text("serving")),
    comment="Models with which roles are, or are being, embedded; searches use the one that serves.",
)

role_vectors = Table(
    "role_vectors",
    metadata,
    Column("role", IDENTITY, ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    Column("model", Text, ForeignKey("embedding_models.model", ondelete="CASCADE"), primary_key=True),
    Column("dimensions", Integer, nullable=False),
    Column("vector", Vector, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("at", INSTANT, nullable=False),
    comment="Each with the SHA-256 of the text that it was made of.",
)

# The first line is the title and its other names, as an embedder reads it.
ROLE_TEXT = (
    "(r.title || CASE r.aliases WHEN '' THEN '' ELSE ' | ' || replace(r.aliases, E'\\n', ' | ') END || E'\\n' || "
    "replace(r.keywords, E'\\n', ', ') || E'\\n' || replace(r.duties, E'\\n', '; ') || E'\\n' || r.description)"
)
ROLE_DIGEST = f"sha256(convert_to({ROLE_TEXT}, 'UTF8'))"


class NewVector(msgspec.Struct, frozen=True, kw_only=True):
    """Made of the text with this digest."""

    role: UUID
    digest: bytes
    vector: tuple[float, ...]


class ServingModel(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    dimensions: int


def vector_text(vector: Sequence[float]) -> str:
    """As pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"


class Vectors:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def lock(self) -> None:
        """Until the end of the transaction nobody else changes which model serves."""
        await self._driver.execute("LOCK TABLE embedding_models IN SHARE ROW EXCLUSIVE MODE")

    async def serving(self) -> ServingModel | None:
        row = await self._driver.fetchrow("SELECT model, dimensions FROM embedding_models WHERE serving")
        return None if row is None else msgspec.convert(dict(row), ServingModel)

    async def know(self, model: ServingModel, *, now: datetime) -> int:
        """How many dimensions its vectors have, which is what they had first."""
        await self._driver.execute(_KNOW, model.model, model.dimensions, now)
        return await self._driver.fetchval("SELECT dimensions FROM embedding_models WHERE model = $1", model.model)

    async def keep(self, model: ServingModel, made: Sequence[NewVector], *, now: datetime) -> None:
        """Those of roles whose text is still the one that they were made of."""
        if made:
            ids, digests = [one.role for one in made], [one.digest for one in made]
            await self._driver.execute(_KEEP, model.model, model.dimensions, ids, digests, [vector_text(one.vector) for one in made], now)

    async def missing(self, model: str) -> int:
        """How many roles that somebody may see have no vector of this model, or one of an older text."""
        return await self._driver.fetchval(f"SELECT count(*) FROM ({STALE}) stale", model)

    async def serve(self, model: str) -> int | None:
        """From now on; vectors of all other models go. How many dimensions it has, or None when it is not known, and nothing changed."""
        dimensions = await self._driver.fetchval("SELECT dimensions FROM embedding_models WHERE model = $1", model)
        if dimensions is not None:
            await self._driver.execute("DELETE FROM embedding_models WHERE model <> $1", model)
            await self._driver.execute("UPDATE embedding_models SET serving = true WHERE model = $1", model)
        return dimensions


STALE = f"""
SELECT r.id AS role, {ROLE_TEXT} AS text, {ROLE_DIGEST} AS digest FROM roles r
LEFT JOIN role_vectors v ON v.role = r.id AND v.model = $1
WHERE r.available AND v.digest IS DISTINCT FROM {ROLE_DIGEST}
"""

_KNOW = """
INSERT INTO embedding_models (model, dimensions, serving, created_at) VALUES ($1, $2, false, $3) ON CONFLICT (model) DO NOTHING
"""

_KEEP = f"""
INSERT INTO role_vectors (role, model, dimensions, vector, digest, at)
SELECT r.id, $1, $2, made.vector::vector, made.digest, $6
FROM unnest($3::uuid[], $4::bytea[], $5::text[]) AS made(role, digest, vector) JOIN roles r ON r.id = made.role
WHERE {ROLE_DIGEST} = made.digest ORDER BY r.id
ON CONFLICT (role, model) DO UPDATE SET dimensions = $2, vector = excluded.vector, digest = excluded.digest, at = excluded.at
"""
