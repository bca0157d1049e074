"""The second pass over a body that did not decode.

It asks msgspec the same question again, one level down each time: it splits what did not decode into its raw parts and tries each part by
its own declared type. So it never has an opinion of its own about what is valid.
"""

import types
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Union, cast, get_args, get_origin

import msgspec

from app.validation.wording import explain, listed, pointer_to, unwrapped
from bus.message import FieldError

Rules = Callable[[Mapping[str, object], datetime], list[FieldError]]

MAX_ERRORS = 100  # An answer stays small although a megabyte can hold half a million wrong items.
RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
RAW_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def body_errors(body: bytes, target: Any, now: datetime) -> tuple[FieldError, ...]:
    """Every error (the first 100) of a body, none when it decodes. Raises `msgspec.DecodeError` when it is not well-formed JSON."""
    msgspec.json.decode(body, type=msgspec.Raw)
    errors = list(islice(_walk(msgspec.Raw(body), target, "", now), MAX_ERRORS))
    if may_hold_null(body):
        named = {error.field for error in errors}
        errors += [error for error in _null_characters(msgspec.Raw(body), "") if error.field not in named]
    return tuple(errors[:MAX_ERRORS])


def may_hold_null(body: bytes) -> bool:
    """Whether U+0000, which PostgreSQL cannot keep, may be in a JSON body; it can only be there as an escape."""
    return b"\\u0000" in body


def _walk(raw: msgspec.Raw, target: Any, pointer: str, now: datetime) -> Iterator[FieldError]:
    try:
        msgspec.json.decode(raw, type=target)
    except msgspec.ValidationError as error:
        reason = str(error)
    else:
        return
    plain, constraints = unwrapped(target)
    found = False
    for error in _inside(raw, plain, constraints, pointer, now):
        found = True
        yield error
    if not found:
        yield FieldError(pointer, *explain(reason, target))


def _inside(raw: msgspec.Raw, plain: Any, constraints: tuple[Any, ...], pointer: str, now: datetime) -> Iterator[FieldError]:
    origin = get_origin(plain) or plain
    kind = bytes(raw).lstrip()[:1]
    if origin in (Union, types.UnionType):
        if (member := _member(get_args(plain), raw, kind)) is not None:
            yield from _walk(raw, member, pointer, now)
        elif kind == b"{":
            yield from _tag_error(get_args(plain), raw, pointer)
    elif not isinstance(origin, type):
        return
    elif issubclass(origin, msgspec.Struct):
        if kind == b"{" and not origin.__struct_config__.array_like:
            yield from _in_struct(RAW_OBJECT.decode(raw), plain, origin, pointer, now)
    elif issubclass(origin, Mapping):
        if kind == b"{":
            yield from _in_mapping(RAW_OBJECT.decode(raw), get_args(plain), constraints, pointer, now)
    elif issubclass(origin, Collection) and not issubclass(origin, str | bytes) and kind == b"[":
        yield from _in_array(RAW_ARRAY.decode(raw), plain, constraints, pointer, now)


def _in_struct(
    parts: dict[str, msgspec.Raw], alias: Any, struct: type[msgspec.Struct], pointer: str, now: datetime
) -> Iterator[FieldError]:
    config = struct.__struct_config__
    fields = msgspec.structs.fields(alias)
    wrong: set[str] = set()
    values: dict[str, object] = {}
    for field in fields:
        here = pointer_to(pointer, field.encode_name)
        if field.encode_name not in parts:
            errors = [FieldError(here, "missing", "This field is required.")] if field.required else []
        else:
            errors = list(islice(_walk(parts[field.encode_name], field.type, here, now), MAX_ERRORS))
            if not errors:
                values[field.name] = msgspec.json.decode(parts[field.encode_name], type=field.type)
        if errors:
            wrong.add(pointer_to("", field.name))
        yield from errors
    known = {field.encode_name for field in fields}
    if config.tag is not None:
        known.add(cast("str", config.tag_field))
        yield from _tag_error((struct,), parts, pointer)
    if config.forbid_unknown_fields:
        for name in (name for name in parts if name not in known):
            yield FieldError(pointer_to(pointer, name), "unknown", "There is no such field. Remove it, or correct its name.")
    yield from _rule_errors(struct, values, wrong, pointer, now)


def _rule_errors(
    struct: type[msgspec.Struct], values: Mapping[str, object], wrong: Collection[str], pointer: str, now: datetime
) -> Iterator[FieldError]:
    """What the Struct's own `rules` say of the fields whose shape is right."""
    rules = cast("Rules | None", getattr(struct, "rules", None))
    if rules is not None:
        for error in rules(values, now):
            if error.field not in wrong:
                yield FieldError(pointer + error.field, error.code, error.message)


def _in_mapping(
    parts: dict[str, msgspec.Raw], arguments: tuple[Any, ...], constraints: tuple[Any, ...], pointer: str, now: datetime
) -> Iterator[FieldError]:
    yield from _size_errors(len(parts), constraints, pointer, "entries")
    if not arguments:
        return
    keys, values = arguments
    key_decoder, decoder = msgspec.json.Decoder(dict[keys, Any]), msgspec.json.Decoder(values)
    for key, part in parts.items():
        here = pointer_to(pointer, key)
        try:
            key_decoder.decode(msgspec.json.encode({key: None}))
        except msgspec.ValidationError as error:
            code, message = explain(str(error), keys)
            yield FieldError(here, code, f"The name of this entry: {message}")
        if not _decodes(decoder, part):
            yield from _walk(part, values, here, now)


def _in_array(parts: list[msgspec.Raw], plain: Any, constraints: tuple[Any, ...], pointer: str, now: datetime) -> Iterator[FieldError]:
    arguments = get_args(plain)
    if get_origin(plain) is tuple and arguments[-1:] != (...,):
        for index, (part, item) in enumerate(zip(parts, arguments, strict=False)):
            yield from _walk(part, item, pointer_to(pointer, index), now)
        if len(parts) != len(arguments):
            code = "too_short" if len(parts) < len(arguments) else "too_long"
            yield FieldError(pointer, code, f"Send exactly {len(arguments)} items.")
        return
    yield from _size_errors(len(parts), constraints, pointer, "items")
    if arguments:
        decoder = msgspec.json.Decoder(arguments[0])
        for index, part in enumerate(parts):
            if not _decodes(decoder, part):
                yield from _walk(part, arguments[0], pointer_to(pointer, index), now)


def _size_errors(size: int, constraints: tuple[Any, ...], pointer: str, what: str) -> Iterator[FieldError]:
    for meta in constraints:
        if isinstance(meta, msgspec.Meta):
            if meta.min_length is not None and size < meta.min_length:
                yield FieldError(pointer, "too_short", f"Send at least {meta.min_length} {what}.")
            if meta.max_length is not None and size > meta.max_length:
                yield FieldError(pointer, "too_long", f"Send at most {meta.max_length} {what}.")


def _decodes(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> bool:
    try:
        decoder.decode(raw)
    except msgspec.ValidationError:
        return False
    return True


def _member(members: tuple[Any, ...], raw: msgspec.Raw, kind: bytes) -> Any:
    """The member of a union that the value was meant to be, so far as its shape says; None when it says nothing."""
    for member in members:
        plain, _ = unwrapped(member)
        origin = get_origin(plain) or plain
        if not isinstance(origin, type) or plain in (type(None), msgspec.UnsetType):
            continue
        if issubclass(origin, msgspec.Struct):
            config = origin.__struct_config__
            if kind != b"{" or config.array_like:
                continue
            tag = RAW_OBJECT.decode(raw).get(config.tag_field) if config.tag_field is not None else None
            if config.tag is None or (tag is not None and _same(tag, config.tag)):
                return member
        elif (issubclass(origin, Mapping) and kind == b"{") or (
            issubclass(origin, Collection) and not issubclass(origin, str | bytes | Mapping) and kind == b"["
        ):
            return member
    leaves = [member for member in members if member not in (type(None), msgspec.UnsetType)]
    return leaves[0] if len(leaves) == 1 and kind != b"n" else None


def _tag_error(members: tuple[Any, ...], raw: msgspec.Raw | dict[str, msgspec.Raw], pointer: str) -> Iterator[FieldError]:
    """The tag that chooses among the members of a union, when it is missing or none of theirs; nothing when they have none."""
    configs = [
        plain.__struct_config__ for plain, _ in map(unwrapped, members) if isinstance(plain, type) and issubclass(plain, msgspec.Struct)
    ]
    tags = [config.tag for config in configs if config.tag is not None]
    if not tags:
        return
    tag_field = cast("str", configs[0].tag_field)
    parts = RAW_OBJECT.decode(raw) if isinstance(raw, msgspec.Raw) else raw
    here = pointer_to(pointer, tag_field)
    if tag_field not in parts:
        if len(members) > 1:
            yield FieldError(here, "missing", f"This field is required: one of {listed(tags)}.")
    elif not any(_same(parts[tag_field], tag) for tag in tags):
        yield FieldError(here, "not_allowed", f"Send one of {listed(tags)}.")


def _same(raw: msgspec.Raw, tag: str | int) -> bool:
    return type(value := msgspec.json.decode(raw)) is type(tag) and value == tag


def _null_characters(raw: msgspec.Raw, pointer: str) -> Iterator[FieldError]:
    kind = bytes(raw).lstrip()[:1]
    if kind == b'"':
        if "\0" in msgspec.json.decode(raw, type=str):
            yield FieldError(pointer, "not_allowed", "Remove the NUL character (U+0000).")
    elif kind == b"[":
        for index, part in enumerate(RAW_ARRAY.decode(raw)):
            yield from _null_characters(part, pointer_to(pointer, index))
    elif kind == b"{":
        for name, part in RAW_OBJECT.decode(raw).items():
            if "\0" in name:
                yield FieldError(pointer_to(pointer, name), "not_allowed", "Remove the NUL character (U+0000) from the name.")
            yield from _null_characters(part, pointer_to(pointer, name))
