"""A house with something missing does not start, and the process says what: a real one, with nothing behind its URLs."""

from pathlib import Path

import pytest

from tests.house.copies import Copy

MESSAGES = """from bus.message import Command, Event, Secret, Wire
from typing import ClassVar
"""
HANDLERS = """from bus.message import Envelope
from bus.registry import handles, inline, reacts
from db.session import Work
from domain.accounts.commands import ChangeProfile, ExpireSession
from domain.accounts.events import AccountRegistered, ProfileChanged
from handlers.ports import Mailer
"""
NOWHERE = {
    "FLUENTPRO_ENV": "testing",
    "FLUENTPRO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "FLUENTPRO_REDIS_URL": "redis://127.0.0.1:1/0",
    "FLUENTPRO_SECRET_KEY": "only for a process that does not start",
    "FLUENTPRO_PORT": "0",
}

# A file, what is added to it, and what the process must say.
FAULTS = {
    "an_event_without_a_wire_name": (
        "domain/accounts/events.py",
        MESSAGES + "class TurnAnswered(Event, frozen=True):\n    turn: int",
        "the event domain.accounts.events.TurnAnswered has no wire name",
    ),
    "a_wire_name_that_is_no_area_and_fact": (
        "domain/accounts/events.py",
        MESSAGES + 'class TurnAnswered(Event, frozen=True):\n    wire: ClassVar[Wire] = Wire(name="TurnAnswered")',
        "domain.accounts.events.TurnAnswered: the wire name 'TurnAnswered' is not of the form `area.fact`",
    ),
    "a_wire_name_used_twice": (
        "domain/accounts/events.py",
        MESSAGES + 'class TurnAnswered(Event, frozen=True):\n    wire: ClassVar[Wire] = Wire(name="accounts.registered")',
        "domain.accounts.events.TurnAnswered and domain.accounts.events.AccountRegistered have the same wire name 'accounts.registered'",
    ),
    "a_key_that_is_no_field": (
        "domain/accounts/events.py",
        MESSAGES + 'class TurnAnswered(Event, frozen=True):\n    wire: ClassVar[Wire] = Wire(name="accounts.turn_answered", key="turn")',
        "domain.accounts.events.TurnAnswered: its key is the field 'turn', which it does not have",
    ),
    "an_event_that_carries_a_secret": (
        "domain/accounts/events.py",
        MESSAGES
        + 'class TurnAnswered(Event, frozen=True):\n    wire: ClassVar[Wire] = Wire(name="accounts.told")\n    code: Secret | None',
        "the event domain.accounts.events.TurnAnswered carries a Secret",
    ),
    "a_command_without_a_policy_line": (
        "domain/accounts/commands.py",
        "class CloseAccount(Command[None], frozen=True):\n    account: AccountId",
        "the command domain.accounts.commands.CloseAccount has no policy line: add one to handlers/policy.py",
    ),
    "a_command_without_a_handler": (
        "domain/accounts/commands.py",
        "class CloseAccount(Command[None], frozen=True):\n    account: AccountId",
        "the command domain.accounts.commands.CloseAccount has no handler: write one with @handles(CloseAccount)",
    ),
    "two_handlers_for_one_command": (
        "handlers/accounts.py",
        HANDLERS + "@handles(ExpireSession)\nasync def expire_again(cmd: ExpireSession, work: Work) -> None: ...",
        "ExpireSession is already taken by",
    ),
    "a_handler_for_another_command_than_it_is_declared_for": (
        "handlers/accounts.py",
        HANDLERS + "@handles(ExpireSession)\nasync def expire_other(cmd: ChangeProfile, work: Work) -> None: ...",
        "handlers.accounts.expire_other is declared for ExpireSession, but its first parameter is",
    ),
    "a_handler_that_takes_nothing": (
        "handlers/accounts.py",
        HANDLERS + "@handles(ExpireSession)\nasync def expire_nothing() -> None: ...",
        "handlers.accounts.expire_nothing: its first parameter must be the message it takes, with its type",
    ),
    "a_parameter_nobody_provides": (
        "handlers/accounts.py",
        HANDLERS + '@reacts("accounts.greet")\nasync def greet(event: AccountRegistered, mood: int) -> None: ...',
        "handlers.accounts.greet: nobody provides its parameter `mood: int`",
    ),
    "a_port_in_a_handler": (
        "handlers/accounts.py",
        HANDLERS + "@handles(ExpireSession)\nasync def expire_loudly(cmd: ExpireSession, work: Work, mailer: Mailer) -> None: ...",
        "handlers.accounts.expire_loudly: nobody provides its parameter `mailer: Mailer`: a port is never awaited inside a unit of work",
    ),
    "a_port_in_an_inline_projection": (
        "handlers/accounts.py",
        HANDLERS + "@inline\nasync def count(event: AccountRegistered, mailer: Mailer) -> None: ...",
        "handlers.accounts.count: nobody provides its parameter `mailer: Mailer`: a port is never awaited inside a unit of work",
    ),
    "a_unit_of_work_and_a_port_in_a_reaction": (
        "handlers/accounts.py",
        HANDLERS + '@reacts("accounts.greet")\nasync def greet(event: AccountRegistered, work: Work, mailer: Mailer) -> None: ...',
        "handlers.accounts.greet takes the unit of work and a port (mailer); a reaction takes one or the other",
    ),
    "a_reaction_name_used_twice": (
        "handlers/accounts.py",
        HANDLERS + '@reacts("accounts.send_welcome")\nasync def greet(event: AccountRegistered, work: Work) -> None: ...',
        "the durable name 'accounts.send_welcome' of a reaction must be given, and used only once",
    ),
    "a_reaction_to_something_that_is_no_event": (
        "handlers/accounts.py",
        HANDLERS + '@reacts("accounts.greet")\nasync def greet(event: int, work: Work) -> None: ...',
        "handlers.accounts.greet takes 'int', which is not a message of the catalog",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_refuses_to_start_with(tmp_path: Path, fault: str) -> None:
    name, text, said = FAULTS[fault]
    copy = Copy(tmp_path)
    copy.add(name, text)
    run = copy.run("-m", "app.cli", "worker", **NOWHERE)
    assert run.returncode == 1, run.stdout + run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("process", ["web", "worker", "relay", "seed", "describe"])
def test_every_process_names_all_that_is_missing_at_once(tmp_path: Path, process: str) -> None:
    copy = Copy(tmp_path)
    faults = ["an_event_without_a_wire_name", "a_command_without_a_policy_line", "a_parameter_nobody_provides"]
    for fault in faults:
        copy.add(*FAULTS[fault][:2])
    run = copy.run("-m", "app.cli", process, **NOWHERE)
    assert run.returncode == 1, run.stdout + run.stderr
    assert [fault for fault in faults if FAULTS[fault][2] not in run.stderr] == []
    assert "Traceback" not in run.stderr


def test_a_copy_with_nothing_broken_gets_past_this_check(tmp_path: Path) -> None:
    run = Copy(tmp_path).run("-m", "app.cli", "describe", **NOWHERE)
    assert run.returncode == 0, run.stderr
