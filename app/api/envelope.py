"""What lies around every successful answer: `{"data": …, "meta": …}`."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """About the answer, not about what it answers."""

    request_id: Annotated[
        str,
        msgspec.Meta(
            description="The id of this request, as in the X-Request-ID header.", examples=["0199a8a0-0000-7000-8000-000000000000"]
        ),
    ]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True, description="When this was answered.")]
    version: str = "v2"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a list this answer lies; `next_cursor` is null on the last page."""

    limit: int
    next_cursor: Annotated[str, msgspec.Meta(examples=["AZmooAAAcACAAAAAAAAAAA.3q2-7w"])] | None


class ListMeta(Meta, frozen=True, kw_only=True):
    """About an answer that is one page of a list."""

    page: Page


class Answer(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One thing, or several under names."""

    data: T
    meta: Meta


class ListAnswer(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    data: list[T]
    meta: ListMeta
