"""What an entry of the catalogue must be like, for admins, imports and seed files alike."""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, cast

from bus.message import FieldError
from domain.catalogue.identity import LANGUAGE_TAG, Kind, is_slug

NAME_MOST = 100
TEXT_MOST = 1000
LINE_MOST = 200
SLUG_MOST = 64
KEYWORDS_LEAST, KEYWORDS_MOST = 5, 10
LINES_MOST = 20

ENTRY_FIELDS = ("slug", "name", "description", "icon", "autonym", "direction", "labels")
ROLE_FIELDS = ("slug", "industry", "hierarchy_level", "title", "description", "keywords", "duties", "aliases", "labels")


def entry_problems(kind: Kind, values: Mapping[str, Any]) -> list[FieldError]:
    """Every broken rule of the fields that are given. Missing ones, and those of another type, are left to whoever decodes."""
    problems = [*_slug(kind, values), *_text(values, "name", 1, NAME_MOST), *_text(values, "description", 0, TEXT_MOST)]
    problems += [*_text(values, "icon", 1, NAME_MOST), *_text(values, "autonym", 1, NAME_MOST), *_labels(values)]
    if values.get("direction") not in (None, "ltr", "rtl"):
        problems.append(FieldError("/direction", "not_allowed", "Send ltr or rtl."))
    for name in ("autonym", "direction"):
        if kind != "language" and values.get(name) is not None:
            problems.append(FieldError(f"/{name}", "not_allowed", "Only a language has one."))
        if kind == "language" and name in values and values[name] is None:
            problems.append(FieldError(f"/{name}", "missing", "A language needs one."))
    return problems


def role_problems(values: Mapping[str, Any], *, industries: Collection[str], levels: Collection[str]) -> list[FieldError]:
    """The same for a role; `industries` and `levels` are the slugs that there are."""
    problems = [
        *_slug("role", values),
        *_text(values, "title", 2, NAME_MOST),
        *_text(values, "description", 10, TEXT_MOST),
        *_labels(values),
    ]
    problems += [
        *_lines(values, "keywords", KEYWORDS_LEAST, KEYWORDS_MOST),
        *_lines(values, "duties", 0, LINES_MOST),
        *_lines(values, "aliases", 0, LINES_MOST),
    ]
    for name, known in (("industry", industries), ("hierarchy_level", levels)):
        if isinstance(slug := values.get(name), str) and slug not in known:
            problems.append(FieldError(f"/{name}", "unknown", f"Send one of {', '.join(sorted(known))}."))
    return problems


def tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are kept: texts in NFC and trimmed, lists as tuples."""
    return {name: _tidy(value) for name, value in values.items()}


def _tidy(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip()
    if isinstance(value, dict):
        return {name: _tidy(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return tuple(_tidy(line) for line in cast("Iterable[Any]", value))
    return value


def _slug(kind: Kind, values: Mapping[str, Any]) -> Iterator[FieldError]:
    slug = values.get("slug")
    if isinstance(slug, str) and (len(slug) > SLUG_MOST or not is_slug(kind, slug)):
        form = "a BCP 47 tag such as pt-BR" if kind == "language" else "lower-case words joined by underscores, such as senior_management"
        yield FieldError("/slug", "malformed", f"Send {form}, of at most {SLUG_MOST} characters.")


def _text(values: Mapping[str, Any], name: str, least: int, most: int) -> Iterator[FieldError]:
    value = values.get(name)
    if isinstance(value, str):
        yield from _judged(f"/{name}", value, least, most)


def _judged(pointer: str, value: str, least: int, most: int) -> Iterator[FieldError]:
    text = _tidy(value)
    if not least <= len(text) <= most:
        yield FieldError(pointer, "length", f"Send {least} to {most} characters.")
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        yield FieldError(pointer, "not_allowed", "Send one line of text, without control characters.")


def _lines(values: Mapping[str, Any], name: str, least: int, most: int) -> Iterator[FieldError]:
    lines = values.get(name)
    if not isinstance(lines, list | tuple):
        return
    texts = list(cast("Iterable[Any]", lines))
    if not least <= len(texts) <= most:
        yield FieldError(f"/{name}", "length", f"Send {least} to {most} of them.")
    seen: set[str] = set()
    for n, line in enumerate(texts):
        if not isinstance(line, str):
            continue
        yield from _judged(f"/{name}/{n}", line, 1, LINE_MOST)
        if _tidy(line).casefold() in seen:
            yield FieldError(f"/{name}/{n}", "duplicate", "Send each once.")
        seen.add(_tidy(line).casefold())


def _labels(values: Mapping[str, Any]) -> Iterator[FieldError]:
    labels = values.get("labels")
    if not isinstance(labels, dict):
        return
    for tag, label in cast("dict[str, Any]", labels).items():
        if LANGUAGE_TAG.fullmatch(tag) is None:
            yield FieldError(f"/labels/{_escaped(tag)}", "malformed", "Name the language by its BCP 47 tag, such as zh-Hant.")
            continue
        for name, value in cast("dict[str, Any]", label).items() if isinstance(label, dict) else ():
            if name not in ("name", "description"):
                yield FieldError(f"/labels/{tag}/{_escaped(name)}", "unknown", "A label has a name and a description.")
            elif isinstance(value, str):
                yield from _judged(f"/labels/{tag}/{name}", value, 1, NAME_MOST if name == "name" else TEXT_MOST)


def _escaped(name: str) -> str:
    """As one part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
