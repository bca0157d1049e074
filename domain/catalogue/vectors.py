"""Vectors of roles: what has happened to them."""

from typing import ClassVar

from bus.message import Event, Wire


class EmbeddingModelChanged(Event, frozen=True, kw_only=True):
    """`previous` is None for the first."""

    wire: ClassVar[Wire] = Wire(name="catalogue.embedding_model_changed", key="model")
    model: str
    previous: str | None
    dimensions: int
