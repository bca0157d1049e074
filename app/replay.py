"""Events of the past, written once more from PostgreSQL to a stream of the caller's: for a service that begins late, or again."""

from datetime import datetime

import msgspec

from app.bootstrap import House
from bus.message import FieldError
from bus.transport import PREFIX, NotAfter
from domain.errors import Invalid

BATCH = 500
# What the relay, the jobs and the rate limit keep in Redis.
RESERVED = (PREFIX, "saq:", "rate:")


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one area: from a position, or from a time, up to and including a position."""

    area: str
    start: int | datetime
    upto: int | None = None


async def replay(house: House, wanted: Range, stream: str) -> int:
    """How many there were. Raises `Invalid` for an area or a name that is none, and where the stream cannot take the next of them."""
    problems: list[FieldError] = []
    if wanted.area not in house.bus.catalog.areas:
        problems.append(FieldError("/area", "unknown", f"There is no area {wanted.area!r}. These have events: {_listed(house)}."))
    if not stream or stream.lower().startswith(RESERVED):
        own = ", ".join(f"{prefix}*" for prefix in RESERVED)
        problems.append(FieldError("/to-stream", "reserved", f"{own} are our own. Choose a name that begins with another word."))
    if isinstance(wanted.start, int) and wanted.upto is not None and wanted.upto < wanted.start:
        nothing = f"Nothing lies from {wanted.start} to {wanted.upto}. Let it end where it begins or later."
        problems.append(FieldError("/upto", "too_small", nothing))
    if problems:
        raise Invalid(errors=tuple(problems))
    after = wanted.start - 1 if isinstance(wanted.start, int) else await house.ledger.position_at(wanted.area, wanted.start)
    head = await house.ledger.head()
    upto = head if wanted.upto is None else min(wanted.upto, head)
    written = 0
    while envelopes := await house.ledger.stretch(wanted.area, after, upto, BATCH):
        try:
            await house.streams.copy(stream, envelopes)
        except NotAfter:
            raise Invalid(errors=(FieldError("/to-stream", "in_use", _in_use(stream, envelopes[0].position or 0)),)) from None
        written += len(envelopes)
        after = envelopes[-1].position or upto
    return written


def _in_use(stream: str, position: int) -> str:
    return (
        f"{stream!r} cannot take position {position}: it ends further on already, or is no stream. Choose another name, "
        "begin --from behind its last entry, or delete it first."
    )


def _listed(house: House) -> str:
    return ", ".join(house.bus.catalog.areas)
