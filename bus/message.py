"""What travels on the bus: commands, events, who sent them, and the envelope they lie in."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

R = TypeVar("R")
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS = "__bus_upcasts__"


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """How a message is known outside the process; a name, once used, is for ever.

    `name` is `area.fact`. `version` grows with every change that `app.evolution` calls breaking. `key` and `subject` are names of fields:
    `key` gives the value in whose order entries are delivered, `subject` the account that the event concerns. `seen` says whether that
    account sees the event on its own feed. `number` names the field that numbers the events of a key from 1: two of the same number cannot
    both be recorded, and an aggregate that is a fold of its events is loaded in this order.
    """

    name: str
    version: int = 1
    key: str | None = None
    subject: str | None = None
    seen: bool = False
    number: str | None = None

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]


def upcasts(name: str, version: int) -> Callable[[Upcaster], Upcaster]:
    """The function makes data of this version of a message into data of the next one. Stands beside the message it leads to.

    It gets what is kept, as JSON has it, and may change it in place; a Secret is in it as it was sealed.
    """

    def declare(upcaster: Upcaster) -> Upcaster:
        setattr(upcaster, UPCASTS, (name, version))
        return upcaster

    return declare


class Command(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """Something asked for; `Command[R]` is answered with an `R`.

    Its wire name is its area and its name in snake_case, unless it declares a `wire`, as it must to have a second version.
    """


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has happened. Every class declares its `wire`; the catalog refuses one that does not."""

    wire: ClassVar[Wire]


class Secret:
    """A value that is never shown or logged, and is encoded only sealed: in a queued command, never in an event."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Personal:
    """Text that a person wrote, or that quotes them, sealed under that person's key: without it nobody reads it again.

    Only a field of an event may hold one, with the default `WITHHELD`: it is kept beside the event's data and loaded with its aggregate,
    but never published, so what reads the event from a stream finds the default.
    """

    __slots__ = ("sealed",)

    def __init__(self, sealed: bytes) -> None:
        self.sealed = sealed

    def __repr__(self) -> str:
        return f"Personal({len(self.sealed)} bytes)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Personal) and other.sealed == self.sealed

    def __hash__(self) -> int:
        return hash(self.sealed)


WITHHELD = Personal(b"")


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks: a person, nobody known, or the system, possibly on behalf of a person.

    `flags` are what the person may do beyond their own things. `proved_at` is when they last proved who they are.
    """

    kind: Literal["person", "anonymous", "system"]
    id: UUID | None = None
    session: UUID | None = None
    flags: tuple[str, ...] = ()
    proved_at: datetime | None = None
    on_behalf_of: UUID | None = None

    def __str__(self) -> str:
        """For logs: `person:<id>`, `anonymous`, `system`, or `system for <id>`."""
        if self.on_behalf_of is not None:
            return f"{self.kind} for {self.on_behalf_of}"
        return self.kind if self.id is None else f"{self.kind}:{self.id}"

    def for_whom(self) -> "Actor":
        """The actor of what follows later: the system, on behalf of whoever asked for it."""
        return Actor(kind="system", on_behalf_of=self.id or self.on_behalf_of)


ANONYMOUS = Actor(kind="anonymous")
SYSTEM = Actor(kind="system")


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which request this belongs to, which message caused it, and its W3C trace context."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its circumstances. `data` is the message itself, as JSON; `position` is set once an event is in the feed.

    `personal` are its sealed fields, by name; only who records an event or loads its aggregate ever has them.
    """

    id: UUID
    name: str
    version: int
    at: datetime
    actor: Actor
    trace: Trace
    data: msgspec.Raw
    key: str | None = None
    subject: UUID | None = None
    position: int | None = None
    number: int | None = None
    personal: msgspec.Raw | None = None

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field; `field` is a JSON pointer into the request."""

    field: str
    code: str
    message: str


class Refusal(Exception):
    """An answer that is not the wanted one. `kind` decides the status, `code` is for programs, `detail` for people."""

    kind: ClassVar[str] = "invalid"
    code: ClassVar[str] = "request.refused"
    title: ClassVar[str] = "The request was refused."

    def __init__(self, detail: str | None = None, *, errors: tuple[FieldError, ...] = (), retry_after: float | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors
        self.retry_after = retry_after


class TryAgain(Refusal):
    """Somebody else changed the same thing first; the whole handler may run again."""

    kind = "try_again"
    code = "request.try_again"
    title = "Others were changing the same thing. Try again."


class Unavailable(Refusal):
    """Something this depends on does not answer. `retry_after` is in seconds."""

    kind = "unavailable"
    code = "service.unavailable"
    title = "A part of the service does not answer at the moment. Try again shortly."
