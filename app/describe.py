"""What the bus carries, for people: message -> handler -> reactions -> stream -> policy. `docs/messages.md` is made of the same."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UnsetType

from app.bootstrap import PORTS, make_registry, utc_now, uuid7
from app.sealing import Sealer
from app.settings import Settings
from bus.catalog import result_type, wire_of
from bus.message import Command, Event
from bus.registry import Plan, Registry
from bus.transport import FIELDS, PREFIX


class Field(msgspec.Struct, frozen=True):
    name: str
    type: str
    optional: bool


class Reaction(msgspec.Struct, frozen=True):
    name: str
    function: str
    ordered: bool


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Of a command: who may send it, what runs it, what it answers. Of an event: its stream, and who reacts."""

    kind: str
    name: str
    version: int
    type: str
    summary: str
    fields: list[Field]
    policy: str = ""
    prepared_by: str = ""
    handled_by: str = ""
    answers: str = ""
    stream: str = ""
    key: str = ""
    subject: str = ""
    seen: bool = False
    projections: list[str] = []
    reactions: list[Reaction] = []


def registry_of_the_house() -> Registry:
    """As every process makes it at its start, with nothing behind the ports. Raises `CannotStart`."""
    ports = {port: object() for port in PORTS}
    return make_registry(Settings(), sealer=Sealer("describe"), ports=ports, clock=utc_now, new_id=uuid7)


def described(registry: Registry) -> list[Described]:
    """Commands first, then events; each by name."""
    found = [_described(registry, message) for message in registry.catalog.messages]
    return sorted(found, key=lambda message: (message.kind, message.name))


def _described(registry: Registry, message: type[Command[Any]] | type[Event]) -> Described:
    wire = wire_of(message)
    hints = get_type_hints(message, include_extras=True)
    common: dict[str, Any] = {
        "name": wire.name,
        "version": wire.version,
        "type": message.__name__,
        "summary": " ".join((message.__doc__ or "").split()),
        "fields": [Field(field.name, _shown(hints[field.name]), not field.required) for field in msgspec.structs.fields(message)],
    }
    if issubclass(message, Command):
        return Described(
            kind="command",
            policy=registry.policy[message].text,
            prepared_by=_function(registry.prepared.get(message)),
            handled_by=_function(registry.handlers[message]),
            answers=_shown(result_type(message)),
            **common,
        )
    return Described(
        kind="event",
        stream=PREFIX + wire.area,
        key=wire.key or "",
        subject=wire.subject or "",
        seen=wire.seen,
        projections=[_function(plan) for plan in registry.projections.get(message, ())],
        reactions=[Reaction(plan.name, _function(plan), plan.ordered) for plan in registry.reactions.values() if message in plan.messages],
        **common,
    )


def _function(plan: Plan | None) -> str:
    return "" if plan is None else f"{plan.function.__module__}.{plan.function.__qualname__}"


def _shown(hint: Any) -> str:
    """A type as it is written in the code; that a field may be absent is said by `optional`."""
    members = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(_shown(member) for member in members if member is not UnsetType)
    if get_origin(hint) is Annotated:
        return _shown(members[0])
    if get_origin(hint) is Literal:
        return f"Literal[{', '.join(map(repr, members))}]"
    name = "None" if hint is NoneType else str(getattr(hint, "__name__", hint))
    return f"{name}[{', '.join('...' if member is ... else _shown(member) for member in members)}]" if members else name


def _facts(message: Described) -> Iterator[tuple[str, str]]:
    """What there is to say of a message: label and text, names of code between backquotes."""
    if message.kind == "command":
        yield "who may send it", message.policy
        if message.prepared_by:
            yield "prepared by", f"`{message.prepared_by}`"
        yield "handled by", f"`{message.handled_by}`"
        yield "answers", "nothing" if message.answers == "None" else f"`{message.answers}`"
        return
    yield "stream", f"`{message.stream}`" + (f", in order for each `{message.key}`" if message.key else "")
    if message.subject:
        yield "concerns", f"`{message.subject}`" + (", who sees it on their feed" if message.seen else ", who does not see it")
    for projection in message.projections:
        yield "projected by", f"`{projection}`"
    for reaction in message.reactions:
        yield "reaction", f"`{reaction.name}`: `{reaction.function}`" + (", in order" if reaction.ordered else "")


def as_text(messages: list[Described]) -> str:
    """For a terminal."""
    return "\n".join(_lines(messages))


def _lines(messages: list[Described]) -> Iterator[str]:
    for message in messages:
        fields = ", ".join(field.name + ("?" if field.optional else "") for field in message.fields)
        yield f"{message.kind} {message.name} v{message.version}: {message.type}({fields})"
        for label, text in _facts(message):
            yield f"    {label}: {text.replace('`', '')}"


def as_markdown(messages: list[Described]) -> str:
    """`docs/messages.md`."""
    return "\n".join([*_markdown(messages), ""])


def _markdown(messages: list[Described]) -> Iterator[str]:
    yield "# Messages"
    yield ""
    yield "Generated by `make docs` from the code; `make check` fails when it is out of date."
    yield ""
    yield f"An entry of a stream has the flat fields {', '.join(f'`{field}`' for field in FIELDS)};"
    yield "`actor` and `data` are JSON, the rest plain text, and what is absent is empty. `data` has the fields listed with its event."
    yield "The schema of each version is `schemas/<area>/<fact>.v<version>.json`; `consuming.md` says how to read a stream."
    for kind, title in (("command", "Commands"), ("event", "Events")):
        yield ""
        yield f"## {title}"
        for message in messages:
            if message.kind == kind:
                yield from _section(message)


def _section(message: Described) -> Iterator[str]:
    yield ""
    yield f"### `{message.name}` v{message.version}: {message.type}"
    yield ""
    if message.summary:
        yield message.summary
        yield ""
    for label, text in _facts(message):
        yield f"- {label}: {text}"
    if message.fields:
        yield ""
        yield "| field | type | |"
        yield "|---|---|---|"
        for field in message.fields:
            shown = field.type.replace("|", "\\|")
            yield f"| `{field.name}` | `{shown}` | {'may be absent' if field.optional else ''} |"
