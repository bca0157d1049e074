"""What msgspec says of a wrong value, as a stable code and a sentence to act on.

msgspec's own text is never passed on: some of it quotes the value, which may be a secret.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

NAMES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
    "datetime": "a time such as 2026-01-31T12:00:00Z",
    "date": "a date such as 2026-01-31",
    "time": "a time of day such as 12:00:00",
    "uuid": "a UUID",
    "bytes": "base64",
    "decimal": "a decimal number",
}
UNITS = {"str": "characters", "array": "items", "object": "entries", "bytes": "bytes"}

# Tried in this order; {size}, {bound} and {unit} come from the match.
WORDING = [
    (re.compile(pattern), code, message)
    for pattern, code, message in (
        (r"Invalid RFC3339 encoded datetime", "format", "Send a time such as 2026-01-31T12:00:00Z."),
        (r"Invalid RFC3339 encoded date", "format", "Send a date such as 2026-01-31."),
        (r"Invalid RFC3339 encoded time", "format", "Send a time of day such as 12:00:00."),
        (r"Invalid ISO8601 duration", "format", "Send a duration such as PT15M."),
        (r"Invalid UUID", "format", "Send a UUID."),
        (r"Invalid decimal string", "format", "Send a decimal number."),
        (r"Invalid base64 encoded string", "format", "Send base64."),
        (r"Expected `\w+` with a timezone component", "format", "Send the time with its offset from UTC, such as 2026-01-31T12:00:00Z."),
        (r"Expected `(?P<type>\w+)` of length >= (?P<bound>\d+)", "too_short", "Send at least {bound} {unit}."),
        (r"Expected `(?P<type>\w+)` of length <= (?P<bound>\d+)", "too_long", "Send at most {bound} {unit}."),
        (r"Expected `\w+` >= (?P<bound>\S+)", "out_of_range", "Send a number that is at least {bound}."),
        (r"Expected `\w+` > (?P<bound>\S+)", "out_of_range", "Send a number that is more than {bound}."),
        (r"Expected `\w+` <= (?P<bound>\S+)", "out_of_range", "Send a number that is at most {bound}."),
        (r"Expected `\w+` < (?P<bound>\S+)", "out_of_range", "Send a number that is less than {bound}."),
        (r"Expected `\w+` that's a multiple of (?P<bound>\S+)", "out_of_range", "Send a multiple of {bound}."),
        (r".*out of range", "out_of_range", "This number is too large."),
        (r".*matching regex", "pattern", "{description}"),
        (r"Invalid enum value", "not_allowed", "Send one of {choices}."),
        (r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`", "type", "Send {wanted}, not {got}."),
        (r"Expected `(?P<wanted>[^`]+)`", "type", "Send {wanted}."),
    )
]


def explain(reason: str, target: Any) -> tuple[str, str]:
    """The stable code and the message for what msgspec found wrong with a value of type `target`."""
    for pattern, code, message in WORDING:
        if match := pattern.match(reason):
            words = match.groupdict()
            return code, message.format(
                bound=words.get("bound"),
                unit=UNITS.get(words.get("type", ""), "items"),
                description=_description(target) or "This is not in the expected form.",
                choices=listed(_choices(target)),
                wanted=" or ".join(NAMES.get(name, name) for name in words.get("wanted", "").split(" | ")),
                got=NAMES.get(words.get("got", ""), words.get("got")),
            )
    return "invalid", _description(target) or "This value cannot be accepted."


def pointer_to(pointer: str, name: str | int) -> str:
    """The JSON pointer (RFC 6901) to a member or an item of what `pointer` points to."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


def listed(choices: Iterable[str | int]) -> str:
    return ", ".join(str(choice) for choice in choices)


def unwrapped(target: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its `Annotated` and `NewType` shells, and what they said."""
    constraints: tuple[Any, ...] = ()
    while True:
        if get_origin(target) is Annotated:
            target, *more = get_args(target)
            constraints += tuple(more)
        elif hasattr(target, "__supertype__"):
            target = target.__supertype__
        else:
            return target, constraints


def _description(target: Any) -> str | None:
    """What the type says of itself: `Meta(description=…)` tells a person what a pattern asks for."""
    plain, constraints = unwrapped(target)
    for meta in constraints:
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return next((text for member in get_args(plain) if (text := _description(member))), None)


def _choices(target: Any) -> list[str | int]:
    plain, _ = unwrapped(target)
    if get_origin(plain) is Literal:
        return [choice for choice in get_args(plain) if choice is not None]
    if isinstance(plain, type) and issubclass(plain, Enum):
        return [member.value for member in plain]
    return [choice for member in get_args(plain) for choice in _choices(member)]
