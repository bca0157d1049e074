"""The one collection of tables, and how constraints are named: errors are recognised by these names."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import DateTime, Dialect, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator, TypeEngine

IDENTITY: TypeEngine[UUID] = Uuid()
INSTANT = DateTime(timezone=True)
DOCUMENT: TypeEngine[str] = JSON()
VALUES: TypeEngine[Any] = JSONB()
"""A value as JSON has it. Replace it to change it: what is changed inside it is not noticed."""


class Lines(TypeDecorator[tuple[str, ...]]):
    """A few texts without line breaks, one on each line: full-text search reads them as they lie, which it cannot do with an array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else "\n".join(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:  # noqa: ARG002 - the same
        return None if value is None else lines_of(value)


def lines_of(text: str) -> tuple[str, ...]:
    """What a column of `Lines` holds, for those who read it without SQLAlchemy."""
    return tuple(text.split("\n")) if text else ()


mapping = registry(
    metadata=MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
)
metadata = mapping.metadata


def _is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
    """Partitions of `done` come and go with the weeks, those of `conversation_log` with the days."""
    return not (kind == "table" and name is not None and name.startswith(("done_", "conversation_log_")))


COMPARISON: Mapping[str, Any] = {"include_object": _is_ours, "compare_type": True, "compare_server_default": True}
"""How migrations compare the tables of the code with those of a database."""


class Kept(TypeDecorator[Any]):
    """A frozen Struct, or a tuple of them, as JSON. Replace it to change it."""

    impl = JSONB
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else msgspec.to_builtins(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - the same
        return None if value is None else msgspec.convert(value, self.shape)
