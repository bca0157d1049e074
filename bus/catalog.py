"""Wire name and version to type and back; how a message is encoded, read and sealed."""

import base64
import re
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from bus.message import UPCASTS, WITHHELD, Command, Envelope, Event, FieldError, Personal, Secret, Upcaster, Wire
from bus.work import Dead, Sealing

M = TypeVar("M", bound="Command[Any] | Event")
Message = Command[Any] | Event
MessageType = type[Command[Any]] | type[Event]


def messages_in(modules: Iterable[ModuleType]) -> list[MessageType]:
    """The commands and events that these modules define, in the order of their definition; not what calls itself `abstract`."""
    classes = (value for module in modules for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    found: list[MessageType] = [value for value in classes if isinstance(value, type) and issubclass(value, (Command, Event))]
    return [value for value in found if "abstract" not in value.__dict__]


def upcasters_in(modules: Iterable[ModuleType]) -> list[Upcaster]:
    """The upcasters that these modules define."""
    functions = (value for module in modules for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    return [value for value in functions if hasattr(value, UPCASTS)]


@cache
def wire_of(message: MessageType) -> Wire:
    """What a message declares, as every event does; otherwise a command's name is its area and its own name in snake_case."""
    declared = vars(message).get("wire")
    if isinstance(declared, Wire):
        return declared
    area = message.__module__.split(".")[-2] if "." in message.__module__ else message.__module__
    return Wire(name=f"{area}.{re.sub(r'(?<!^)(?=[A-Z])', '_', message.__name__).lower()}")


def result_type(command: type[Command[Any]]) -> Any:
    """The `R` of a `Command[R]`."""
    for base in getattr(command, "__orig_bases__", ()):
        if get_origin(base) is Command:
            return get_args(base)[0]
    return None


class Catalog:
    """Every message there is. `problems` says, in words, why the process may not start with it."""

    def __init__(self, messages: Iterable[MessageType], sealing: Sealing, upcasters: Iterable[Upcaster] = ()) -> None:
        self.messages = list(messages)
        self._sealing = sealing
        self._by_name: dict[str, MessageType] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        self._decoders: dict[MessageType, msgspec.json.Decoder[Any]] = {}
        self._answers: dict[type[Command[Any]], msgspec.json.Decoder[Any]] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=self._enc_hook, order="deterministic")
        self._mac_encoder = msgspec.json.Encoder(enc_hook=self._mac_hook, order="deterministic")
        self._personal: dict[MessageType, tuple[str, ...]] = {}
        self.problems: list[str] = []
        for message in self.messages:
            self._add(message)
        for upcaster in upcasters:
            self._add_upcaster(upcaster)
        self._check_versions()

    def _add(self, message: MessageType) -> None:
        where = f"{message.__module__}.{message.__qualname__}"
        if issubclass(message, Event) and not isinstance(vars(message).get("wire"), Wire):
            self.problems.append(f"the event {where} has no wire name: give it `wire: ClassVar = Wire(name=...)`")
            return
        wire = wire_of(message)
        if not re.fullmatch(r"[a-z]+\.[a-z][a-z0-9_]*", wire.name):
            self.problems.append(f"{where}: the wire name {wire.name!r} is not of the form `area.fact`")
        if other := self._by_name.get(wire.name):
            self.problems.append(f"{where} and {other.__module__}.{other.__qualname__} have the same wire name {wire.name!r}")
        fields = {field.encode_name for field in msgspec.structs.fields(message)}
        self.problems.extend(
            f"{where}: its {role} is the field {field!r}, which it does not have"
            for role, field in (("key", wire.key), ("subject", wire.subject), ("number", wire.number))
            if field is not None and field not in fields
        )
        if issubclass(message, Event) and any(_mentions(hint, Secret) for hint in get_type_hints(message).values()):
            self.problems.append(f"the event {where} carries a Secret, which may not leave the process")
        self._note_personal(message, where)
        try:
            self._decoders[message] = msgspec.json.Decoder(message, dec_hook=self._dec_hook)
            if issubclass(message, Command):
                self._answers[message] = msgspec.json.Decoder(result_type(message), dec_hook=self._dec_hook)
        except TypeError as error:
            self.problems.append(f"{where} cannot be encoded: {error}")
        self._by_name[wire.name] = message

    def _note_personal(self, message: MessageType, where: str) -> None:
        fields = [field for field in msgspec.structs.fields(message) if _mentions(field.type, Personal)]
        if not fields:
            return
        self._personal[message] = tuple(field.encode_name for field in fields)
        if issubclass(message, Command):
            self.problems.append(f"the command {where} carries something Personal: commands take plain text, and are never kept with it")
        self.problems.extend(
            f"{where}: its personal field {field.name!r} must be a `Personal` with the default WITHHELD, for streams do not have it"
            for field in fields
            if field.type is not Personal or field.default != WITHHELD
        )

    def _add_upcaster(self, upcaster: Upcaster) -> None:
        name, version = getattr(upcaster, UPCASTS)
        where = f"{upcaster.__module__}.{upcaster.__qualname__}"
        message = self._by_name.get(name)
        if message is None:
            self.problems.append(f"{where} upcasts {name!r}, but no message has this wire name")
        elif not 1 <= version < wire_of(message).version:
            current = wire_of(message).version
            self.problems.append(f"{where} upcasts {name} v{version}, but the current version is {current}: raise `version` in its `Wire`")
        elif other := self._upcasters.get((name, version)):
            self.problems.append(f"{where} and {other.__module__}.{other.__qualname__} both upcast {name} v{version}")
        else:
            self._upcasters[name, version] = upcaster

    def _check_versions(self) -> None:
        for name, message in self._by_name.items():
            self.problems.extend(
                f"nothing upcasts {name} v{version}, of which rows are kept: write an upcaster with @upcasts({name!r}, {version})"
                for version in range(1, wire_of(message).version)
                if (name, version) not in self._upcasters
            )

    @property
    def areas(self) -> list[str]:
        """Every area that has events, and so a stream."""
        return sorted({wire_of(message).area for message in self.messages if issubclass(message, Event)})

    @property
    def seen(self) -> frozenset[str]:
        """Wire names of the events that their subject sees."""
        return frozenset(message.wire.name for message in self.messages if issubclass(message, Event) and message.wire.seen)

    def decode(self, envelope: Envelope) -> Message:
        """A message of this or an earlier version; fields that this build does not know are passed over.

        Raises `Dead` for what this build cannot read: it would not be readable the next time either.
        """
        kind = self._by_name.get(envelope.name)
        if kind is None:
            raise Dead(f"unreadable: no message is called {envelope.name!r}")
        current = wire_of(kind).version
        if not 1 <= envelope.version <= current:
            raise Dead(f"unreadable: {envelope.name} is known up to version {current}, not {envelope.version}; replay it on a newer build")
        try:
            return self._decoders[kind].decode(self._data_of(envelope, current))
        except (msgspec.DecodeError, ValueError) as error:
            raise Dead(f"unreadable: {envelope.name} v{envelope.version} does not have the expected shape") from error

    def _data_of(self, envelope: Envelope, current: int) -> bytes | msgspec.Raw:
        if envelope.version == current and envelope.personal is None:
            return envelope.data
        data = msgspec.json.decode(envelope.data, type=dict[str, Any])
        if envelope.personal is not None:
            data |= msgspec.json.decode(envelope.personal, type=dict[str, Any])
        for version in range(envelope.version, current):
            upcaster = self._upcasters[envelope.name, version]
            try:
                data = upcaster(data)
            except Exception as error:
                raise Dead(f"unreadable: {upcaster.__qualname__} fails on {envelope.name} v{envelope.version}: {error!r}") from error
        return self._encoder.encode(data)

    def parts_of(self, message: Message) -> tuple[msgspec.Raw, msgspec.Raw | None]:
        """Its data, and what of it is personal."""
        names = self._personal.get(type(message))
        if names is None:
            return self.encode_raw(message), None
        data: dict[str, object] = msgspec.to_builtins(message, enc_hook=self._enc_hook)
        personal = {name: data.pop(name) for name in names}
        return self.encode_raw(data), self.encode_raw(personal)

    def number_of(self, message: Message) -> int | None:
        field = wire_of(type(message)).number
        return getattr(message, field) if field else None

    def key_of(self, message: Message) -> str | None:
        field = wire_of(type(message)).key
        value = getattr(message, field) if field else None
        return None if value is None else str(value)

    def subject_of(self, message: Message) -> UUID | None:
        field = wire_of(type(message)).subject
        return getattr(message, field) if field else None

    def mac(self, command: Command[Any]) -> bytes:
        """Recognises an equal request again without keeping it, secrets included."""
        return self._sealing.mac("request", wire_of(type(command)).name.encode() + b"\0" + self._mac_encoder.encode(command))

    def hash_key(self, key: str) -> bytes:
        return self._sealing.mac("idempotency-key", key.encode())

    def seal_answer(self, answer: object) -> bytes:
        return self._sealing.seal("answer", self._encoder.encode(answer))

    def open_answer(self, sealed: bytes) -> "Answer":
        return msgspec.json.decode(self._sealing.open("answer", sealed), type=Answer)

    def decode_result(self, command: type[Command[Any]], data: msgspec.Raw) -> object:
        return self._answers[command].decode(data)

    def encode_raw(self, value: object) -> msgspec.Raw:
        return msgspec.Raw(self._encoder.encode(value))

    def _enc_hook(self, value: object) -> object:
        if isinstance(value, Secret):
            return base64.b64encode(self._sealing.seal("secret", value.reveal().encode())).decode()
        if isinstance(value, Personal):
            return base64.b64encode(value.sealed).decode()
        raise NotImplementedError(f"{type(value).__name__} cannot be encoded")

    def _mac_hook(self, value: object) -> object:
        if isinstance(value, Secret):
            return self._sealing.mac("secret", value.reveal().encode()).hex()
        raise NotImplementedError(f"{type(value).__name__} cannot be encoded")

    def _dec_hook(self, kind: type, value: object) -> object:
        if kind is Secret and isinstance(value, str):
            return Secret(self._sealing.open("secret", base64.b64decode(value)).decode())
        if kind is Personal and isinstance(value, str):
            return Personal(base64.b64decode(value))
        raise NotImplementedError(f"{kind.__name__} cannot be decoded")


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command answered, as it is kept for repetitions: a result or a refusal."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    refusal: "StoredRefusal | None" = None


class StoredRefusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    kind: str
    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: float | None = None


def _mentions(hint: object, kind: type, within: tuple[object, ...] = ()) -> bool:
    """Also inside of Structs, `within` which it has come, and which may hold one of their own kind."""
    whole = get_origin(hint) or hint
    parts = list[object](get_args(hint))
    if isinstance(whole, type) and issubclass(whole, msgspec.Struct) and whole not in within:
        within = (*within, whole)
        parts += [field.type for field in msgspec.structs.fields(whole)]
    return hint is kind or any(_mentions(part, kind, within) for part in parts)
