"""In which language a request wants its texts (RFC 9110, 12.5.4; lookup as in RFC 4647, 3.4)."""

import re
from typing import Annotated

from litestar.params import HeaderParameter

AcceptLanguage = Annotated[
    str | None,
    HeaderParameter(name="Accept-Language", description="Labels are in the first of these languages that has them, else in English."),
]

_RANGE = re.compile(r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
_SCRIPTS = {"hk": "Hant", "tw": "Hant", "mo": "Hant", "cn": "Hans", "sg": "Hans", "my": "Hans"}
_CHINESE = "zh"
_RANGES_MOST = 20


def wanted_languages(accept_language: str | None) -> tuple[str, ...]:
    """BCP 47 tags in the order of preference, each followed by its more general ones. Chinese has a script always; English ends the list.

    What is malformed is left out: a label in English is better than a refusal.
    """
    ranges: list[tuple[float, str]] = []
    for part in (accept_language or "").split(",")[:_RANGES_MOST]:
        found = _RANGE.fullmatch(part)
        if found is not None and found[1] != "*" and (quality := float(found[2] or 1)) > 0:
            ranges.append((quality, found[1]))
    tags: list[str] = []
    for _, tag in sorted(ranges, key=lambda one: -one[0]):
        parts = _with_script(tag).split("-")
        tags += ["-".join(parts[:n]) for n in range(len(parts), 0, -1)]
        if "en" in tags:
            break
    return tuple(dict.fromkeys(tag for tag in tags if tag != _CHINESE))


def _with_script(tag: str) -> str:
    language, *rest = tag.split("-")
    language = language.lower()
    if language != _CHINESE:
        return "-".join([language, *(part.title() if len(part) == len("Hant") else part.upper() for part in rest)])
    scripts = [part.title() for part in rest if part.title() in ("Hant", "Hans")]
    return f"zh-{scripts[0] if scripts else next((_SCRIPTS[part.lower()] for part in rest if part.lower() in _SCRIPTS), 'Hans')}"
