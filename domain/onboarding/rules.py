"""How text that a learner types is kept, and what is wrong with it."""

import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bus.message import FieldError
from domain.types import AccountId

TITLE = (3, 100)
DESCRIPTION = (10, 1000)
NAME = (2, 100)
NOTE = (0, 500)
GOAL = (1, 200)

QUIET_FROM, QUIET_UNTIL = time(21), time(8)

# Longer text is too long in NFC as well, white space apart, and normalising it takes quadratic time when it is made of marks.
_DECOMPOSED_MOST = 4


def shown(text: str) -> str:
    """As it is kept and shown: NFC, trimmed, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalised(text: str) -> str:
    """Equal for names that differ only in case, width or white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def own_id(account: AccountId, kind: str, name: str) -> UUID:
    """The id of what a learner added: the same whenever they add it again."""
    return uuid5(account, f"{kind}/{normalised(name)}")


def text_problems(pointer: str, text: str, bounds: tuple[int, int]) -> Iterator[FieldError]:
    least, most = bounds
    if len(text) > most * _DECOMPOSED_MOST:
        yield FieldError(pointer, "length", f"Send {least} to {most} characters.")
    elif any(unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\r\n" for character in text):
        yield FieldError(pointer, "not_allowed", "Send text without control characters.")
    elif not least <= len(shown(text)) <= most:
        yield FieldError(pointer, "length", f"Send {least} to {most} characters.")


def duplicates(pointers: Iterable[tuple[str, object]]) -> Iterator[FieldError]:
    """The pointer of everything that has been there before."""
    seen: set[object] = set()
    for pointer, value in pointers:
        if value in seen:
            yield FieldError(pointer, "duplicate", "This is there already. Send each once.")
        seen.add(value)


def may_disturb(now: datetime, timezone: str) -> bool:
    """Not between 21:00 and 08:00 where the learner lives.

    `timezone` is of the IANA database; nobody knows what time it is in one that this machine's copy lacks.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return QUIET_UNTIL <= now.astimezone(zone).time() < QUIET_FROM
