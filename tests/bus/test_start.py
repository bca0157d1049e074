"""What a process that cannot start says: everything that is missing or wrong, by name."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest

from app.sealing import Sealer
from bus.catalog import Catalog, MessageType, result_type, wire_of
from bus.message import WITHHELD, Command, Envelope, Event, Personal, Secret, Wire
from bus.registry import CannotStart, Registry, Rule, drives, handles, inline, prepares, reacts
from bus.work import Steps, UnitOfWork
from handlers.policy import Internal

SEALER = Sealer("a secret key of thirty-two signs and more")


class Work(UnitOfWork):
    """The unit of work that the functions below ask for."""


class Post:
    """A port."""


class Clerk:
    """Another port."""


class Limit:
    """A value."""


class Do(Command[int], frozen=True, kw_only=True):
    text: str


class Done(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.done", key="text")
    text: str


class Elsewhere(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="elsewhere.done")


class Prepared:
    """What is prepared for `Do`."""


@handles(Do)
async def do(cmd: Do, work: Work) -> int:  # noqa: ARG001 - never called
    return 0


def problems(
    *functions: Callable[..., Any],
    messages: tuple[MessageType, ...] = (Do, Done, Elsewhere),
    policy: Mapping[type[Command[Any]], Rule] | None = None,
) -> list[str]:
    """What the registry of a module with these functions complains about."""
    module = ModuleType(__name__)
    for number, function in enumerate(functions):
        setattr(module, f"function{number}", function)
    try:
        Registry(
            [module],
            Catalog(messages, SEALER),
            policy={Do: Internal()} if policy is None else policy,
            work=Work,
            values={Limit: Limit()},
            ports={Post: Post(), Clerk: Clerk()},
        )
    except CannotStart as refused:
        return refused.problems
    return []


def test_a_complete_house_starts() -> None:
    @prepares(Do)
    async def prepare(cmd: Do, post: Post) -> Prepared: ...

    @handles(Do)
    async def act(cmd: Do, prepared: Prepared, work: Work, limit: Limit) -> int: ...

    @inline
    async def project(event: Done | Elsewhere, work: Work) -> None: ...

    @reacts("start.write", ordered=True)
    async def write(event: Done, envelope: Envelope, work: Work) -> None: ...

    @reacts("start.post")
    async def send(event: Done, post: Post, limit: Limit) -> None: ...

    assert problems(act, prepare, project, write, send) == []


def test_all_of_it_stands_in_the_error() -> None:
    error = CannotStart(["this", "that"])
    assert str(error) == "FluentPro cannot start:\n  - this\n  - that"


def test_a_command_without_a_handler_is_named() -> None:
    assert problems() == [f"the command {__name__}.Do has no handler: write one with @handles(Do)"]


def test_a_command_without_a_policy_line_is_named() -> None:
    assert problems(do, policy={}) == [f"the command {__name__}.Do has no policy line: add one to handlers/policy.py"]


def test_a_command_has_one_handler() -> None:
    @handles(Do)
    async def other(cmd: Do) -> int: ...

    [problem] = problems(do, other)
    assert "Do is already taken by do" in problem


def test_a_parameter_that_nobody_provides_is_named() -> None:
    @handles(Do)
    async def act(cmd: Do, weather: bytes) -> int: ...

    [problem] = problems(act)
    assert problem.endswith("act: nobody provides its parameter `weather: bytes`")


def test_a_parameter_without_a_type_is_named() -> None:
    @handles(Do)
    async def act(cmd: Do, weather: bytes) -> int: ...

    del act.__annotations__["weather"]
    [problem] = problems(act)
    assert problem.endswith("nobody provides its parameter `weather: without a type`")


def test_a_handler_awaits_no_port() -> None:
    @handles(Do)
    async def act(cmd: Do, post: Post) -> int: ...

    [problem] = problems(act)
    assert problem.endswith("a port is never awaited inside a unit of work; use @prepares")


def test_a_projection_awaits_no_port() -> None:
    @inline
    async def project(event: Done, post: Post) -> None: ...

    [problem] = problems(do, project)
    assert problem.endswith("a port is never awaited inside a unit of work; use @prepares")


def test_what_is_prepared_has_no_unit_of_work() -> None:
    @prepares(Do)
    async def prepare(cmd: Do, work: Work) -> Prepared: ...

    [problem] = problems(do, prepare)
    assert problem.endswith("`work: Work`: no unit of work is open here")


def test_a_drive_has_no_unit_of_work_but_steps() -> None:
    @drives(Do)
    async def drive(cmd: Do, steps: Steps, post: Post) -> int: ...

    @drives(Do)
    async def with_work(cmd: Do, work: Work) -> int: ...

    assert problems(drive) == []
    [problem] = problems(with_work)
    assert problem.endswith("no unit of work is open here")


def test_a_reaction_takes_the_unit_of_work_or_a_port() -> None:
    @reacts("start.both")
    async def both(event: Done, work: Work, post: Post, clerk: Clerk) -> None: ...

    [problem] = problems(do, both)
    assert problem.endswith("takes the unit of work and a port (post, clerk); a reaction takes one or the other")


def test_a_reaction_has_a_durable_name_of_its_own() -> None:
    @reacts("start.same")
    async def one(event: Done) -> None: ...

    @reacts("start.same")
    async def two(event: Done) -> None: ...

    [problem] = problems(do, one, two)
    assert "the durable name 'start.same' of a reaction must be given, and used only once" in problem


def test_a_reaction_is_not_called_as_a_message_is() -> None:
    @reacts("start.done")
    async def one(event: Done) -> None: ...

    [problem] = problems(do, one)
    assert problem.endswith("the durable name 'start.done' is that of a message; a reaction needs one of its own")


def test_a_reaction_reads_one_stream() -> None:
    @reacts("start.two_areas")
    async def both(event: Done | Elsewhere) -> None: ...

    [problem] = problems(do, both)
    assert problem.endswith("reacts to events of more than one area; a reaction reads one stream")


def test_a_function_that_takes_no_message_is_named() -> None:
    @reacts("start.number")
    async def react(number: int) -> None: ...

    [problem] = problems(do, react)
    assert problem.endswith("takes 'int', which is not a message of the catalog")


def test_a_function_that_takes_nothing_is_named() -> None:
    @reacts("start.nothing")
    async def react() -> None: ...

    [problem] = problems(do, react)
    assert problem.endswith("its first parameter must be the message it takes, with its type")


def test_a_handler_takes_the_command_it_is_declared_for() -> None:
    @handles(Do)
    async def act(event: Done) -> int: ...

    assert any("is declared for Do, but its first parameter is" in problem for problem in problems(act))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    @reacts("")
    async def react(event: Done, weather: bytes) -> None: ...

    assert len(problems(react, policy={})) == 4


class Unnamed(Event, frozen=True, kw_only=True):
    pass


class Shouting(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="Start.DONE")


class Same(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.done")


class Keyless(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.keyless", key="learner", subject="account")


class Telling(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.telling")
    password: Secret | None


class Opaque(Command[None], frozen=True, kw_only=True):
    anything: list[int] | set[int]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Unnamed, ["has no wire name: give it `wire: ClassVar = Wire(name=...)`"]),
        (Shouting, ["the wire name 'Start.DONE' is not of the form `area.fact`"]),
        (Same, ["have the same wire name 'start.done'"]),
        (Keyless, ["its key is the field 'learner', which it does not have", "its subject is the field 'account', which it does not have"]),
        (Telling, ["carries a Secret, which may not leave the process"]),
        (Opaque, ["cannot be encoded"]),
    ],
)
def test_what_is_wrong_with_a_message_is_named(message: MessageType, expected: list[str]) -> None:
    found = Catalog((Done, message), SEALER).problems
    assert len(found) == len(expected)
    for problem, words in zip(found, expected, strict=True):
        assert message.__qualname__ in problem
        assert words in problem


def test_a_command_is_known_by_its_area_and_name() -> None:
    class LateCommand(Command[list[int]], frozen=True, kw_only=True):
        pass

    assert wire_of(LateCommand).name == "bus.late_command"
    assert result_type(LateCommand) == list[int]


def test_equal_requests_are_recognised_and_others_are_not() -> None:
    class Tell(Command[None], frozen=True, kw_only=True):
        secret: Secret

    catalog = Catalog((Tell,), SEALER)
    assert catalog.mac(Tell(secret=Secret("a"))) == catalog.mac(Tell(secret=Secret("a")))
    assert catalog.mac(Tell(secret=Secret("a"))) != catalog.mac(Tell(secret=Secret("b")))


def test_a_reaction_that_is_ordered_by_nothing_is_named() -> None:
    @reacts("elsewhere.write", ordered=True)
    async def write(event: Elsewhere, work: Work) -> None: ...

    [problem] = problems(do, write)
    assert problem.endswith("is ordered, but not every event that it takes has a key to be ordered by")


def test_a_reaction_to_a_command_is_named() -> None:
    @reacts("start.write")
    async def write(event: Do, work: Work) -> None: ...

    [problem] = problems(do, write)
    assert problem.endswith("takes Do, which is no event")


def test_a_step_that_prepares_for_a_drive_is_named() -> None:
    @prepares(Do)
    async def prepare(cmd: Do, post: Post) -> Prepared: ...

    @drives(Do)
    async def drive(cmd: Do, post: Post) -> int: ...

    [problem] = problems(drive, prepare)
    assert problem.endswith("is driven, so nothing takes what @prepares makes for it: let the drive do it")


def test_a_command_with_something_personal_is_named() -> None:
    class Ask(Command[int], frozen=True, kw_only=True):
        text: Personal = WITHHELD

    assert Catalog([Ask], SEALER).problems == [
        f"the command {__name__}.{Ask.__qualname__} carries something Personal: commands take plain text, and are never kept with it"
    ]


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    text: Personal = WITHHELD


class Sheets(msgspec.Struct, frozen=True, kw_only=True):
    sheets: tuple[Sheet, ...] = ()
    next: "Sheets | None" = None


class Required(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.required")
    text: Personal


class Optional(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.optional")
    text: Personal | None = None


class Several(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.several")
    text: tuple[Personal, ...] = ()


class Nested(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="start.nested")
    text: Sheets = Sheets()


@pytest.mark.parametrize("event", [Required, Optional, Several, Nested])
def test_a_personal_field_that_could_be_published_or_not_be_left_out_is_named(event: type[Event]) -> None:
    where = f"{__name__}.{event.__qualname__}: its personal field 'text'"
    assert Catalog([event], SEALER).problems == [f"{where} must be a `Personal` with the default WITHHELD, for streams do not have it"]


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    password: Secret


def test_an_event_with_a_secret_inside_a_struct_is_named() -> None:
    class Told(Event, frozen=True, kw_only=True):
        wire: ClassVar = Wire(name="start.told")
        guarded: Guarded

    assert Catalog([Told], SEALER).problems == [
        f"the event {__name__}.{Told.__qualname__} carries a Secret, which may not leave the process"
    ]


def test_a_number_that_is_no_field_is_named() -> None:
    class Counted(Event, frozen=True, kw_only=True):
        wire: ClassVar = Wire(name="start.counted", number="version")

    assert Catalog([Counted], SEALER).problems == [
        f"{__name__}.{Counted.__qualname__}: its number is the field 'version', which it does not have"
    ]
