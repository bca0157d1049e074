"""JSON Schemas of every message, one file for each version, kept for ever; and what may be changed in a version that has one.

A version is a promise to whoever holds data of it. Of a command those are rows: what an older build sent is in the outbox or among the
dead letters, and this build must understand it. Of an event there are rows too (streams, dead letters, the event store), and readers
outside besides, who were told what an event holds and are deployed when they please. Hence two rules:

- **What older rows hold, this build reads** (commands and events). Breaking are: a field that is new without a default; one that must be
  there and was not required; a type, a constraint or an enumeration that takes less than before; and a field that is gone or has another
  name, for what older rows say in it would be passed over in silence.
- **What this build writes, readers of the snapshot understand** (events only). Breaking are: a field that may now be absent or null; a
  type or a constraint that allows more than before; one more value of an enumeration, on whose being closed a reader's decoder relies; and
  another key or subject, on which the order of delivery and a person's feed rest.

What is left is free: a new field with a default, which readers pass over, and for commands whatever takes more than before. Everything
else is a new version, and an upcaster from the one before. Where a set of values will grow, declare it as `str`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from bus.catalog import MessageType, wire_of
from bus.message import WITHHELD, Event, Personal, Secret

Document = dict[str, Any]

_SEALED = {
    "type": "string",
    "format": "sealed",
    "contentEncoding": "base64",
    "description": "A Secret, which only FluentPro can open.",
}
_PERSONAL = {
    "type": "string",
    "format": "personal",
    "contentEncoding": "base64",
    "description": "Sealed under a person's key and kept beside the data; no stream has it.",
}
_SAYS_NOTHING = {"$defs", "default", "description", "discriminator", "examples", "title"}
_STRUCTURE = {"additionalProperties", "const", "items", "prefixItems", "properties", "required", "type"}
_AT_LEAST = {"exclusiveMinimum", "minimum", "minItems", "minLength", "minProperties"}
_AT_MOST = {"exclusiveMaximum", "maximum", "maxItems", "maxLength", "maxProperties"}
_COMPOSED = {"array", "map", "object", "tuple"}
_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def schema_of(message: MessageType) -> Document:
    """The JSON Schema of a message's data, and under `x-message` what else a reader relies on."""
    wire = wire_of(message)
    [reference], defined = msgspec.json.schema_components([_whole(message)], schema_hook=_hook, ref_template="#/$defs/{name}")
    own = defined.pop(reference["$ref"].removeprefix("#/$defs/"))
    about: Document = {"kind": "event" if issubclass(message, Event) else "command", "name": wire.name, "version": wire.version}
    if issubclass(message, Event):
        about |= {"key": wire.key, "subject": wire.subject}
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", "x-message": about, **own}
    return {**found, "$defs": dict(sorted(defined.items()))} if defined else found


def published(event: type[Event]) -> type[msgspec.Struct]:
    """An event as streams have it: without what is personal."""
    return _restated(event, [field for field in msgspec.structs.fields(event) if field.type is not Personal])


def _whole(message: MessageType) -> type[msgspec.Struct]:
    return _restated(message, msgspec.structs.fields(message))


def _restated(message: MessageType, fields: Sequence[msgspec.structs.FieldInfo]) -> type[msgspec.Struct]:
    """Msgspec writes the defaults into its schemas, and knows nothing of one that is Personal."""
    if all(field.type is not Personal for field in msgspec.structs.fields(message)):
        return message
    own = [(field.encode_name, field.type, _stated(field)) for field in fields]
    return msgspec.defstruct(message.__name__, own, kw_only=True, namespace={"__doc__": message.__doc__})


def _stated(field: msgspec.structs.FieldInfo) -> Any:
    """Its default as `defstruct` takes it."""
    if field.type is Personal:
        return msgspec.field(default_factory=lambda: WITHHELD)
    return field.default if field.default_factory is msgspec.NODEFAULT else msgspec.field(default_factory=field.default_factory)


def _hook(kind: type) -> Document:
    if kind is Secret:
        return _SEALED
    if kind is Personal:
        return _PERSONAL
    raise NotImplementedError


def place_of(name: str, version: int) -> str:
    """Where a snapshot lies below the folder of all of them."""
    area, _, fact = name.partition(".")
    return f"{area}/{fact}.v{version}.json"


def check(messages: Iterable[MessageType], folder: Path) -> list[str]:
    """Why the folder does not hold what these messages promise; nothing when it does."""
    messages = list(messages)
    return [*_broken(messages, folder), *(f"{path} is missing or out of date: run `make docs`" for path in _stale(messages, folder))]


def write(messages: Iterable[MessageType], folder: Path) -> list[str]:
    """Bring the folder up to date; nothing is written when that would break a promise, and the reasons are answered."""
    messages = list(messages)
    problems = list(_broken(messages, folder))
    if not problems:
        for path, text in _stale(messages, folder).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return problems


def _stale(messages: Iterable[MessageType], folder: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for message in messages:
        wire = wire_of(message)
        path, text = folder / place_of(wire.name, wire.version), json.dumps(schema_of(message), indent=2, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text() != text:
            found[path] = text
    return found


def _broken(messages: list[MessageType], folder: Path) -> Iterator[str]:
    current = {wire_of(message).name: wire_of(message).version for message in messages}
    expected = {folder / place_of(name, version): (name, version) for name, last in current.items() for version in range(1, last + 1)}
    for path, (name, version) in expected.items():
        if version < current[name] and not path.exists():
            yield f"{path} is missing, and the snapshot of an earlier version stays for ever: take it back from version control"
    for path in sorted(folder.rglob("*.json")):
        if path not in expected:
            yield (
                f"{path} is the snapshot of a message or version that is no longer there, and rows of it are kept: "
                "restore its class or its version; what replaces it is a newer version, with an upcaster"
            )
    for message in messages:
        wire = wire_of(message)
        path = folder / place_of(wire.name, wire.version)
        if path.exists():
            for change in breaking(json.loads(path.read_text()), schema_of(message)):
                yield (
                    f"{wire.name} v{wire.version}: {change}. Leave version {wire.version} as it was: declare version {wire.version + 1} in "
                    f'its `Wire`, and write an upcaster, @upcasts("{wire.name}", {wire.version})'
                )


def breaking(old: Document, new: Document) -> list[str]:
    """What a change from one schema of a version to another would break, in words that name the field."""
    found = dict(_Reading(reader=new, written=old, rows=True).problems())
    if new["x-message"]["kind"] == "event":
        for path, why in _Reading(reader=old, written=new, rows=False).problems():
            found.setdefault(path, why)
        for role in ("key", "subject"):
            before, after = old["x-message"][role], new["x-message"][role]
            if before != after:
                found[f"x-message.{role}"] = f"its {role} was {before!r} and is {after!r}, and readers rely on it"
    return list(found.values())


class _Reading:
    """Whether a reader of one schema understands whatever the other allows.

    With `rows` the reader is this build, and what is written is older; without, the reader is outside, and this build writes.
    """

    def __init__(self, *, reader: Document, written: Document, rows: bool) -> None:
        self._reader, self._written, self._rows = reader, written, rows
        self._met: set[tuple[str, str]] = set()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Path of a field, and a sentence about it."""
        return self._fields(self._reader, self._written, "")

    def _value(self, reader: Document, written: Document, path: str) -> Iterator[tuple[str, str]]:
        pair = json.dumps(reader, sort_keys=True), json.dumps(written, sort_keys=True)
        if pair in self._met:  # A type that holds itself.
            return
        self._met.add(pair)
        try:
            readers = list(_alternatives(reader, self._reader))
            for one in _alternatives(written, self._written):
                if any(next(self._alternative(other, one, path), None) is None for other in readers):
                    continue
                alike = [other for other in readers if _kind(other) == _kind(one) in _COMPOSED]
                if len(alike) == 1:
                    yield from self._alternative(alike[0], one, path)
                else:
                    yield path, self._misread(path, one, readers)
        finally:
            self._met.discard(pair)

    def _alternative(self, reader: Document, written: Document, path: str) -> Iterator[tuple[str, str]]:
        kinds = _kind(reader), _kind(written)
        if kinds[0] == "anything":
            return
        matching = kinds[0] == kinds[1] or kinds == ("number", "integer")
        if not matching or _unfulfilled(reader, written) or ("const" in reader and reader["const"] != written.get("const", ...)):
            yield path, self._misread(path, written, [reader])
            return
        match kinds[1]:
            case "object":
                yield from self._fields(reader, written, path)
            case "map":
                yield from self._value(reader["additionalProperties"], written["additionalProperties"], f"{path}{{}}")
            case "array":
                yield from self._value(reader.get("items", {}), written.get("items", {}), f"{path}[]")
            case "tuple":
                for number, (item, other) in enumerate(zip(reader["prefixItems"], written["prefixItems"], strict=True)):
                    yield from self._value(item, other, f"{path}[{number}]")
            case _:
                pass

    def _fields(self, reader: Document, written: Document, path: str) -> Iterator[tuple[str, str]]:
        known, there = reader.get("properties", {}), written.get("properties", {})
        required, always = set(reader.get("required", ())), set(written.get("required", ()))
        for name in [*known, *(name for name in there if name not in known)]:
            field = f"{path}.{name}" if path else name
            if name not in known:
                if self._rows:
                    yield field, f"the field `{field}` is gone, and what older rows say in it would be passed over in silence"
                elif reader.get("additionalProperties") is False:
                    yield field, f"the field `{field}` is new, and its readers were told that there are no others"
            elif name not in there:
                if self._rows and name in required:
                    yield field, f"the field `{field}` is new and has no default, and older rows lack it"
            elif name in required and name not in always:
                change = "must now be there, and older rows may lack it" if self._rows else "may now be absent, and readers rely on it"
                yield field, f"the field `{field}` {change}"
            else:
                yield from self._value(known[name], there[name], field)

    def _misread(self, path: str, written: Document, readers: Iterable[Document]) -> str:
        told = " or ".join(map(_shown, readers))
        if self._rows:
            return f"the field `{path}` takes {told} only, and older rows may hold {_shown(written)}"
        return f"the field `{path}` may now hold {_shown(written)}, and readers were told {told}"


def _alternatives(schema: Document, document: Document) -> Iterator[Document]:
    """What a value may be, one by one; each value of an enumeration is one."""
    if "$ref" in schema:
        yield from _alternatives(document["$defs"][schema["$ref"].removeprefix("#/$defs/")], document)
    elif "anyOf" in schema:
        for part in schema["anyOf"]:
            yield from _alternatives(part, document)
    elif "enum" in schema:
        yield from ({"const": value} for value in schema["enum"])
    else:
        yield schema


def _kind(schema: Document) -> str:
    if "const" in schema:
        return _TYPES[type(schema["const"])]
    kind = cast("str", schema.get("type", "anything"))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return "map"
    return "tuple" if "prefixItems" in schema else kind


def _unfulfilled(reader: Document, written: Document) -> bool:
    """Whether some constraint of the reader is not one of what is written, or one of them encodes what the other does not."""
    for keyword in (reader.keys() | (written.keys() & {"contentEncoding"})) - _SAYS_NOTHING - _STRUCTURE:
        wanted, given = reader.get(keyword), written.get(keyword)
        if keyword in _AT_LEAST and wanted is not None and given is not None:
            if given < wanted:
                return True
        elif keyword in _AT_MOST and wanted is not None and given is not None:
            if given > wanted:
                return True
        elif given != wanted:
            return True
    return False


def _shown(schema: Document) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    constraints = {keyword: value for keyword, value in schema.items() if keyword not in _SAYS_NOTHING | _STRUCTURE}
    limits = ", ".join(f"{keyword} {value}" for keyword, value in constraints.items())
    name = schema.get("title") or _kind(schema)
    return f"{name} ({limits})" if limits else name
