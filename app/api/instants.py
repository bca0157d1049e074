"""Times that a request names in its query: each has its offset, and is a time in UTC too."""

from datetime import UTC, datetime

from bus.message import FieldError


def not_instants(**named: datetime | None) -> tuple[FieldError, ...]:
    """Which of these parameters are none. Litestar does not pass on to msgspec that a time must have its offset."""
    return tuple(
        FieldError(f"/{name}", "format", "Send the time with its offset from UTC, such as 2026-01-31T12:00:00Z.")
        for name, instant in named.items()
        if instant is not None and not is_instant(instant)
    )


def is_instant(value: datetime) -> bool:
    """The last hours of the year 9999 may not be in UTC, nor the first of the year 1."""
    try:
        value.astimezone(UTC)
    except OverflowError:
        return False
    return value.tzinfo is not None
