"""Files of the catalogue: JSON in the shape of the seed files, and CSV for spreadsheets.

What a row leaves out stays as it is, except that what stands in a file is offered unless the row says otherwise, as with seed files.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from app.validation import decode
from app.validation.body import body_errors
from app.validation.wording import pointer_to
from bus.message import FieldError, Refusal
from domain.catalogue.commands import EntryDetails, EntryRow, EntryValues, Labels, RoleDetails, RoleRow, RoleValues
from domain.catalogue.editing import REPORTED_MOST
from domain.catalogue.identity import LANGUAGE_TAG, EntryKind
from domain.errors import Invalid

T = TypeVar("T")
Clock = Callable[[], datetime]
Reading = tuple[dict[str, Any], tuple[FieldError, ...]]
"""Those fields of a row whose shape is right, and what is wrong with the others."""

ROWS_MOST = 5000
COLUMNS_MOST = 500
VERSION = 1
UNREAD = (FieldError("", "invalid", "This row is wrong too. Correct those above, then send the file again."),)


class MalformedCSV(Refusal):
    kind = "malformed"
    code = "request.malformed_csv"
    title = "The body is not well-formed CSV in UTF-8, with commas between cells, quotes around what holds commas, and a header."


class EntryRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slug: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    icon: str | UnsetType | None = UNSET
    autonym: str | UnsetType | None = UNSET
    direction: str | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET
    available: bool = True


class RoleRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`industry` may be left out where the file names one for all."""

    slug: str
    industry: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    hierarchy_level: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    duties: tuple[str, ...] | UnsetType = UNSET
    aliases: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    available: bool = True


class EntriesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entries: tuple[msgspec.Raw, ...]
    version: int = VERSION


class RolesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    roles: tuple[msgspec.Raw, ...]
    industry: str | UnsetType = UNSET
    version: int = VERSION


ENTRY_COLUMNS = ("slug", "name", "description", "icon")
LANGUAGE_COLUMNS = (*ENTRY_COLUMNS, "autonym", "direction")
ROLE_COLUMNS = ("slug", "industry", "hierarchy_level", "title", "description", "keywords", "duties", "aliases")
OPTIONAL = ("icon", "autonym", "direction")
LINES = ("keywords", "duties", "aliases")
AVAILABLE = "available"
LABELS = ("name", "description")
LABEL = re.compile(rf"({'|'.join(LABELS)})\[([^\[\]]*)\]")
# What a spreadsheet takes for a formula, and what has been kept from that by an apostrophe.
FORMULA = re.compile("'*[-=+@\t\r\uff0d\uff1d\uff0b\uff20]")
GUARDED = re.compile("'+[-=+@\t\r\uff0d\uff1d\uff0b\uff20]")


def entries_as_json(kind: EntryKind, entries: Iterable[EntryDetails]) -> bytes:
    return _pretty({"version": VERSION, "entries": [_entry(kind, entry) for entry in entries]})


def roles_as_json(roles: Iterable[RoleDetails], *, industry: str | None) -> bytes:
    """`industry`, the slug that all of them have, then stands once at the top, as in a seed file."""
    rows = [_role(role) for role in roles]
    if industry is None:
        return _pretty({"version": VERSION, "roles": rows})
    own = [{name: value for name, value in row.items() if name != "industry"} for row in rows]
    return _pretty({"version": VERSION, "industry": industry, "roles": own})


def entries_as_csv(kind: EntryKind, entries: Iterable[EntryDetails]) -> bytes:
    return write_csv(_columns(kind), [_entry(kind, entry) for entry in entries])


def roles_as_csv(roles: Iterable[RoleDetails]) -> bytes:
    return write_csv(ROLE_COLUMNS, [_role(role) for role in roles])


def entries_of_json(body: bytes, now: Clock) -> tuple[EntryRow, ...]:
    """Raises `MalformedJSON`, and `Invalid` when the file as a whole is wrong; what is wrong with a row is in the row."""
    readings = _read_all(decode(body, EntriesFile, now).entries, EntryRecord, now)
    return tuple(_entry_row(number, reading) for number, reading in enumerate(readings, 1))


def roles_of_json(body: bytes, now: Clock) -> tuple[RoleRow, ...]:
    """The same."""
    file = decode(body, RolesFile, now)
    shared = {} if file.industry is UNSET else {"industry": file.industry}
    readings = _read_all(file.roles, RoleRecord, now)
    return tuple(_role_row(number, ({**shared, **values}, wrong)) for number, (values, wrong) in enumerate(readings, 1))


def entries_of_csv(kind: EntryKind, body: bytes) -> tuple[EntryRow, ...]:
    """Raises `MalformedCSV`, and `Invalid` when the header is wrong or there are too many rows."""
    return tuple(_entry_row(number, reading) for number, reading in read_csv(_columns(kind), body))


def roles_of_csv(body: bytes) -> tuple[RoleRow, ...]:
    """The same."""
    return tuple(_role_row(number, reading) for number, reading in read_csv(ROLE_COLUMNS, body))


def write_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """As RFC 4180 has it, with a byte order mark, without which spreadsheets take it for an older encoding."""
    tags = sorted({tag for row in rows for tag in row["labels"]})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*columns, *(f"{name}[{tag}]" for tag in tags for name in LABELS), AVAILABLE])
    for row in rows:
        labels = [row["labels"].get(tag, {}).get(name) for tag in tags for name in LABELS]
        available = "true" if row.get(AVAILABLE, True) else "false"
        writer.writerow([_guarded(_cell(value)) for value in (*(row[name] for name in columns), *labels, available)])
    return text.getvalue().encode("utf-8-sig")


def read_csv(columns: Sequence[str], body: bytes) -> list[tuple[int, Reading]]:
    """The rows under the header by their numbers, from 1; empty ones count, and are left out."""
    lines = _lines_of(body)
    header = [_unguarded(cell).strip() for cell in next(lines)]
    if errors := _header_errors(header, columns):
        raise Invalid(errors=errors)
    rows = [(number, cells) for number, cells in enumerate(lines, 1) if any(cell.strip() for cell in cells)]
    return [(number, _row(header, cells)) for number, cells in _few(rows)]


def _lines_of(body: bytes) -> Iterator[list[str]]:
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        lines = list(reader)
    except UnicodeDecodeError:
        raise MalformedCSV("The body is not UTF-8.") from None
    except csv.Error as error:
        raise MalformedCSV(f"The body is not well-formed CSV: {error}.") from None
    if not lines:
        raise MalformedCSV("The body is empty. Send a header and rows.")
    return iter(lines)


def _header_errors(header: Sequence[str], columns: Sequence[str]) -> tuple[FieldError, ...]:
    """By pointers such as `/columns/title`. Only `slug` must be there: columns that are left out stay as they are."""
    if len(header) > COLUMNS_MOST:
        return (FieldError("/columns", "too_long", f"Send at most {COLUMNS_MOST} columns."),)
    errors = [] if "slug" in header else [FieldError("/columns/slug", "missing", "There must be a column slug.")]
    for place, name in enumerate(header):
        label = LABEL.fullmatch(name)
        known = LANGUAGE_TAG.fullmatch(label[2]) if label else name in (*columns, AVAILABLE)
        if not known:
            message = f"Columns are {', '.join((*columns, AVAILABLE))}, and for other languages name[zh-Hant] and description[zh-Hant]."
            errors.append(FieldError(pointer_to("/columns", name), "unknown", message))
        elif name in header[:place]:
            errors.append(FieldError(pointer_to("/columns", name), "duplicate", "There are two columns of this name."))
    return tuple(errors)


def _row(header: Sequence[str], cells: Sequence[str]) -> Reading:
    if any(cells[len(header) :]):
        return {}, (FieldError("", "too_long", "There are more cells than columns."),)
    values: dict[str, Any] = {}
    wrong: list[FieldError] = []
    for place, name in enumerate(header):
        text = _unguarded(cells[place]).strip() if place < len(cells) else ""
        if label := LABEL.fullmatch(name):
            labels = values.setdefault("labels", {})
            if text:
                labels.setdefault(label[2], {})[label[1]] = text
        elif name in LINES:
            values[name] = _split(text)
        elif name in OPTIONAL:
            values[name] = text or None
        elif name != AVAILABLE:
            values[name] = text
        elif text.lower() in ("true", "false"):
            values[name] = text.lower() == "true"
        elif text:
            wrong.append(FieldError(f"/{AVAILABLE}", "type", "Send true or false."))
    return values, tuple(wrong)


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return "|".join(re.sub(r"([\\|])", r"\\\1", str(line)) for line in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - only texts are in tuples
    return "" if value is None else str(value)


def _split(cell: str) -> tuple[str, ...]:
    lines, letters = [""], iter(cell)
    for letter in letters:
        if letter == "|":
            lines.append("")
        else:
            lines[-1] += next(letters, letter) if letter == "\\" else letter
    return tuple(line.strip() for line in lines) if cell else ()


def _guarded(text: str) -> str:
    """Not a formula for whoever opens it in a spreadsheet."""
    return f"'{text}" if FORMULA.match(text) else text


def _unguarded(text: str) -> str:
    return text[1:] if GUARDED.match(text) else text


def _read_all(rows: Sequence[msgspec.Raw], shape: type[msgspec.Struct], now: Clock) -> Iterator[Reading]:
    """Once more is wrong than anybody is told, a row is only said to be wrong: to find all of it in a megabyte takes ten seconds."""
    wrong = 0
    for raw in _few(rows):
        reading: Reading = _read(raw, shape, now) if wrong < REPORTED_MOST or _decodes(raw, shape) else ({}, UNREAD)
        wrong += len(reading[1])
        yield reading


def _decodes(raw: msgspec.Raw, shape: type[msgspec.Struct]) -> bool:
    try:
        msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        return False
    return True


def _read(raw: msgspec.Raw, shape: type[msgspec.Struct], now: Clock) -> Reading:
    body = bytes(raw)
    wrong = body_errors(body, shape, now())
    if wrong and not body.lstrip().startswith(b"{"):
        return {}, wrong
    parts = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    readings = {field.name: _part(parts[field.name], field.type) for field in msgspec.structs.fields(shape) if field.name in parts}
    return {name: value for name, value in readings.items() if value is not UNSET}, wrong


def _part(raw: msgspec.Raw, shape: Any) -> Any:
    """Unset when its shape is not right, which `body_errors` has said."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        return UNSET


def _entry_row(number: int, reading: Reading) -> EntryRow:
    values, wrong = reading
    own: dict[str, Any] = {AVAILABLE: True, **values}
    return EntryRow(number=number, slug=own.pop("slug", UNSET), values=EntryValues(**own), wrong=wrong)


def _role_row(number: int, reading: Reading) -> RoleRow:
    values, wrong = reading
    own: dict[str, Any] = {AVAILABLE: True, **values}
    return RoleRow(number=number, slug=own.pop("slug", UNSET), values=RoleValues(**own), wrong=wrong)


def _few(rows: Sequence[T]) -> Sequence[T]:
    if len(rows) > ROWS_MOST:
        raise Invalid(errors=(FieldError("/rows", "too_long", f"Send at most {ROWS_MOST} rows at once."),))
    return rows


def _columns(kind: EntryKind) -> tuple[str, ...]:
    return LANGUAGE_COLUMNS if kind == "language" else ENTRY_COLUMNS


def _entry(kind: EntryKind, entry: EntryDetails) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _columns(kind)} | _rest(entry)


def _role(role: RoleDetails) -> dict[str, Any]:
    return {name: getattr(role, name) for name in ROLE_COLUMNS} | _rest(role)


def _rest(offered: EntryDetails | RoleDetails) -> dict[str, Any]:
    """What is retired says so; a file without any is one that could be a seed file."""
    return {"labels": offered.labels} | ({} if offered.available else {AVAILABLE: False})


def _pretty(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
