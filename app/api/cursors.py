"""Where in a list the next page begins, as an opaque text that only this installation can write; and the parameters of every list."""

import base64
import hmac
from typing import Annotated, TypeVar

import msgspec
from litestar.params import QueryParameter

from app.api.envelope import ListMeta, Meta, Page
from app.sealing import Sealer
from bus.message import FieldError
from domain.errors import Invalid

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=100, description="How many entries at most.")]
CursorText = Annotated[str | None, QueryParameter(name="cursor", description="`meta.page.next_cursor` of the page before.")]
DEFAULT_LIMIT = 20

_MAC_BYTES = 16


class Cursors:
    """A cursor is the values by which its list is sorted, and an HMAC of them. `kind` names the list: none is taken for another's."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def make(self, kind: str, values: object) -> str:
        data = msgspec.json.encode(values)
        return f"{_text(data)}.{_text(self._mac(kind, data))}"

    def read(self, kind: str, text: str, shape: type[T]) -> T:
        """The values, as `make` was given them. Raises `Invalid` naming `/cursor`."""
        data, _, mac = text.partition(".")
        try:
            values = _bytes(data)
            if not hmac.compare_digest(self._mac(kind, values), _bytes(mac)):
                raise _foreign()
            return msgspec.json.decode(values, type=shape)
        except ValueError:  # No base64, or values of another build, for whose shape msgspec raises a ValueError too.
            raise _foreign() from None

    def _mac(self, kind: str, data: bytes) -> bytes:
        return self._sealer.mac(f"cursor {kind}", data)[:_MAC_BYTES]


def page_of(meta: Meta, limit: int, next_cursor: str | None) -> ListMeta:
    """The `meta` of an answer that is one page of a list."""
    return ListMeta(
        request_id=meta.request_id, timestamp=meta.timestamp, version=meta.version, page=Page(limit=limit, next_cursor=next_cursor)
    )


def _foreign() -> Invalid:
    return Invalid(errors=(FieldError("/cursor", "invalid", "Send next_cursor of the page before as it was, or none for the first page."),))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
