"""The decorators, and what is made of them at the start: every function's parameters matched, everything missing named."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import ModuleType, UnionType
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from bus.catalog import Catalog, Message, MessageType, wire_of
from bus.message import Actor, Command, Envelope, Event
from bus.work import Steps, UnitOfWork

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Awaitable[object]])
Kind = Literal["handles", "prepares", "inline", "reacts", "drives"]
_MARK = "__bus_mark__"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    command: type[Command[Any]] | None = None
    name: str = ""
    ordered: bool = False


def _mark(mark: Mark) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, _MARK, mark)
        return function

    return decorate


def handles(command: type[Command[R]]) -> Callable[[Callable[..., Awaitable[R]]], Callable[..., Awaitable[R]]]:
    """Runs the command in a unit of work. Takes it, the unit of work, what was prepared, and values; never a port."""
    return _mark(Mark(kind="handles", command=command))


def prepares(command: type[Command[Any]]) -> Callable[[F], F]:
    """Runs once before the handler, outside any unit of work, and may await ports; its result is a parameter of the handler."""
    return _mark(Mark(kind="prepares", command=command))


def drives(command: type[Command[R]]) -> Callable[[Callable[..., Awaitable[R]]], Callable[..., Awaitable[R]]]:
    """A long process run by the worker: no unit of work of its own, awaits ports, executes a command per step, safe to run twice."""
    return _mark(Mark(kind="drives", command=command))


def inline(function: F) -> F:
    """A projection inside the transaction of the events it takes; the annotation of its first parameter says which."""
    return _mark(Mark(kind="inline"))(function)


def reacts(name: str, *, ordered: bool = False) -> Callable[[F], F]:
    """Runs after the event, at least once, in the worker, under a durable name. Takes the unit of work or ports, never both."""
    return _mark(Mark(kind="reacts", name=name, ordered=ordered))


class Rule(Protocol):
    """Who may send a command. `internal` says whether the system itself may, later, on somebody's behalf."""

    @property
    def text(self) -> str: ...

    @property
    def internal(self) -> bool: ...

    def check(self, actor: Actor, command: Command[Any]) -> None:
        """Raises the refusal that the caller is to see."""
        ...


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one function is called: for each parameter, where its value comes from."""

    kind: Kind
    name: str
    function: Callable[..., Awaitable[object]]
    messages: tuple[MessageType, ...]
    parameters: tuple[tuple[str, str], ...]
    given: Mapping[str, object]
    ordered: bool = False
    result: object = None

    @property
    def takes_work(self) -> bool:
        return any(source == "work" for _, source in self.parameters)

    async def run(
        self,
        message: Message,
        *,
        work: UnitOfWork | None = None,
        prepared: object = None,
        envelope: Envelope | None = None,
        steps: Steps | None = None,
    ) -> object:
        sources: dict[str, object] = {"message": message, "work": work, "prepared": prepared, "envelope": envelope, "steps": steps}
        return await self.function(*(sources[source] if source in sources else self.given[name] for name, source in self.parameters))


class CannotStart(Exception):
    """What is missing or wrong, all of it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("FluentPro cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = list(problems)


class Registry:
    """Found by importing modules. Raises `CannotStart` with every problem when the house is not complete."""

    def __init__(
        self,
        modules: Iterable[ModuleType],
        catalog: Catalog,
        *,
        policy: Mapping[type[Command[Any]], Rule],
        work: type[UnitOfWork],
        values: Mapping[Any, object],
        ports: Mapping[Any, object],
    ) -> None:
        self.catalog = catalog
        self.policy = policy
        self.handlers: dict[type[Command[Any]], Plan] = {}
        self.prepared: dict[type[Command[Any]], Plan] = {}
        self.projections: dict[type[Event], list[Plan]] = {}
        self.reactions: dict[str, Plan] = {}
        self._work, self._values, self._ports = work, values, ports
        self._problems = list(catalog.problems)
        marked = [(function, mark) for module in modules for function, mark in _marked(module)]
        for function, mark in sorted(marked, key=lambda pair: pair[1].kind != "prepares"):
            self._add(function, mark)
        self._check_commands()
        if self._problems:
            raise CannotStart(self._problems)

    def _add(self, function: Callable[..., Awaitable[object]], mark: Mark) -> None:
        where = f"{function.__module__}.{function.__qualname__}"
        hints = get_type_hints(function)
        result = hints.pop("return", None)
        names = list(inspect.signature(function).parameters)
        if not names or names[0] not in hints:
            self._problems.append(f"{where}: its first parameter must be the message it takes, with its type")
            return
        messages = _members(hints[names[0]])
        if mark.command is not None and messages != (mark.command,):
            self._problems.append(f"{where} is declared for {mark.command.__name__}, but its first parameter is {hints[names[0]]!r}")
        self._problems.extend(
            f"{where} takes {getattr(message, '__name__', message)!r}, which is not a message of the catalog"
            for message in messages
            if message not in self.catalog.messages
        )
        parameters = [(names[0], "message")]
        given: dict[str, object] = {}
        for name in names[1:]:
            source, value = self._source(mark, hints.get(name))
            if source is None:
                self._problems.append(f"{where}: nobody provides its parameter `{name}: {_shown(hints.get(name))}`{value}")
                continue
            parameters.append((name, source))
            given[name] = value
        plan = Plan(
            kind=mark.kind,
            name=mark.name or wire_of(messages[0]).name,
            function=function,
            messages=messages,
            parameters=tuple(parameters),
            given=given,
            ordered=mark.ordered,
            result=result,
        )
        self._file(plan, mark, where)

    def _source(self, mark: Mark, hint: object) -> tuple[str | None, object]:
        """Where a parameter comes from, or nowhere and why."""
        prepared = self.prepared.get(mark.command) if mark.command else None
        if hint is self._work:
            if mark.kind in ("prepares", "drives"):
                return None, ": no unit of work is open here"
            return "work", None
        if hint is Envelope and mark.kind in ("reacts", "drives"):
            return "envelope", None
        if hint is Steps and mark.kind == "drives":
            return "steps", None
        if mark.kind == "handles" and prepared is not None and hint == prepared.result:
            return "prepared", None
        if hint in self._values:
            return "given", self._values[hint]
        if hint in self._ports:
            if mark.kind in ("handles", "inline"):
                return None, ": a port is never awaited inside a unit of work; use @prepares"
            return "given", self._ports[hint]
        return None, ""

    def _file(self, plan: Plan, mark: Mark, where: str) -> None:
        if mark.command is None:
            self._problems.extend(
                f"{where} takes {message.__name__}, which is no event" for message in plan.messages if _is_command(message)
            )
        if mark.kind == "reacts":
            self._file_reaction(plan, mark, where)
        elif mark.kind == "inline":
            for event in plan.messages:
                self.projections.setdefault(event, []).append(plan)  # pyright: ignore[reportArgumentType] - checked by the catalog
        else:
            table = self.prepared if mark.kind == "prepares" else self.handlers
            command = plan.messages[0]
            if command in table:
                self._problems.append(f"{where}: {command.__name__} is already taken by {table[command].function.__qualname__}")  # pyright: ignore[reportArgumentType] - the same
            table[command] = plan  # pyright: ignore[reportArgumentType] - the same

    def _file_reaction(self, plan: Plan, mark: Mark, where: str) -> None:
        if not mark.name or mark.name in self.reactions:
            self._problems.append(f"{where}: the durable name {mark.name!r} of a reaction must be given, and used only once")
        if any(wire_of(message).name == mark.name for message in self.catalog.messages):
            self._problems.append(f"{where}: the durable name {mark.name!r} is that of a message; a reaction needs one of its own")
        ports = [name for name, value in plan.given.items() if value is not None and any(value is port for port in self._ports.values())]
        if plan.takes_work and ports:
            self._problems.append(f"{where} takes the unit of work and a port ({', '.join(ports)}); a reaction takes one or the other")
        if len({wire_of(message).area for message in plan.messages}) > 1:
            self._problems.append(f"{where} reacts to events of more than one area; a reaction reads one stream")
        if mark.ordered and any(wire_of(message).key is None for message in plan.messages):
            self._problems.append(f"{where} is ordered, but not every event that it takes has a key to be ordered by")
        self.reactions[mark.name] = plan

    def _check_commands(self) -> None:
        for message in self.catalog.messages:
            if not issubclass(message, Command):
                continue
            where = f"{message.__module__}.{message.__qualname__}"
            if message not in self.handlers:
                self._problems.append(f"the command {where} has no handler: write one with @handles({message.__name__})")
            if message in self.prepared and message in self.handlers and self.handlers[message].kind == "drives":
                self._problems.append(f"{where} is driven, so nothing takes what @prepares makes for it: let the drive do it")
            if message not in self.policy:
                self._problems.append(f"the command {where} has no policy line: add one to handlers/policy.py")


def _marked(module: ModuleType) -> Iterable[tuple[Callable[..., Awaitable[object]], Mark]]:
    for value in vars(module).values():
        mark = getattr(value, _MARK, None)
        if isinstance(mark, Mark) and value.__module__ == module.__name__:
            yield value, mark


def _is_command(message: Any) -> bool:
    return isinstance(message, type) and issubclass(message, Command)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _shown(hint: object) -> str:
    return getattr(hint, "__name__", None) or ("without a type" if hint is None else str(hint))
