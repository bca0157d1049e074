"""What the type checker knows of the bus: what a command answers, and what a handler must return."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.copies import REPOSITORY

BEGINNING = """
from typing import assert_type

from bus.dispatch import Bus
from bus.message import SYSTEM, Command
from bus.registry import drives, handles
from bus.work import Steps
from db.session import Work
from domain.accounts.commands import ChangeProfile, CreateAdmin, ExpireSession, Profile, SignedIn, SignIn
from domain.accounts.events import AdminGranted
from domain.types import AccountId


class Count(Command[AccountId], frozen=True):
    of: AccountId
"""
ACCEPTED = {
    "a_command_gives_its_result": (
        "async def ask(bus: Bus, count: Count, change: ChangeProfile, expire: ExpireSession, sign_in: SignIn) -> None:\n"
        "    assert_type(await bus.execute(count, by=SYSTEM), AccountId)\n"
        "    assert_type(await bus.execute(change, by=SYSTEM), Profile)\n"
        "    assert_type(await bus.execute(sign_in, by=SYSTEM), SignedIn)\n"
        "    assert_type(await bus.execute(expire, by=SYSTEM), None)\n"
    ),
    "a_step_of_a_drive_gives_its_result": (
        "async def step(steps: Steps, change: ChangeProfile) -> None:\n    assert_type(await steps.execute(change), Profile)\n"
    ),
    "a_handler_returns_what_its_command_answers": (
        "@handles(Count)\nasync def count(cmd: Count, work: Work) -> AccountId:\n    return cmd.of\n"
        "@handles(ExpireSession)\nasync def expire(cmd: ExpireSession, work: Work) -> None: ...\n"
    ),
    "a_repository_gives_its_aggregate": (
        "async def load(work: Work) -> str:\n    account = await work.accounts.get(1)\n    return account.email\n"
    ),
}
REFUSED = {
    "the_result_of_another_command": (
        "async def ask(bus: Bus, change: ChangeProfile) -> SignedIn:\n    return await bus.execute(change, by=SYSTEM)\n",
        "reportReturnType",
    ),
    "a_result_where_there_is_none": (
        "async def ask(bus: Bus, expire: ExpireSession) -> Profile:\n    return await bus.execute(expire, by=SYSTEM)\n",
        "reportReturnType",
    ),
    "an_event_in_place_of_a_command": (
        "async def ask(bus: Bus, event: AdminGranted) -> None:\n    await bus.execute(event, by=SYSTEM)\n",
        "reportArgumentType",
    ),
    "nobody_who_asks": (
        "async def ask(bus: Bus, change: ChangeProfile) -> None:\n    await bus.execute(change)\n",
        "reportCallIssue",
    ),
    "a_handler_that_returns_something_else": (
        "@handles(Count)\nasync def count(cmd: Count, work: Work) -> Profile: ...\n",
        "reportArgumentType",
    ),
    "a_handler_that_returns_nothing": (
        "@handles(CreateAdmin)\nasync def create(cmd: CreateAdmin, work: Work) -> None: ...\n",
        "reportArgumentType",
    ),
    "a_drive_that_returns_something_else": (
        "@drives(Count)\nasync def count(cmd: Count, steps: Steps) -> Profile: ...\n",
        "reportArgumentType",
    ),
    "a_repository_that_is_not_there": (
        "async def load(work: Work) -> None:\n    await work.lessons.get(1)\n",
        "reportAttributeAccessIssue",
    ),
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The rules that each program above breaks, from one run of the type checker over all of them."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in [*ACCEPTED.items(), *((name, text) for name, (text, _) in REFUSED.items())]:
        (folder / f"{name}.py").write_text(BEGINNING + text)
    settings = {
        "include": ["."],
        "extraPaths": [str(REPOSITORY)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "reportAttributeAccessIssue": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    checker = Path(sys.executable).with_name("basedpyright")
    run = subprocess.run([checker, "--outputjson", "--pythonpath", sys.executable], cwd=folder, capture_output=True, text=True, check=False)
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == len(ACCEPTED) + len(REFUSED)
    found: dict[str, list[str]] = {}
    for diagnostic in report["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            found.setdefault(Path(diagnostic["file"]).stem, []).append(diagnostic["rule"])
    return found


@pytest.mark.parametrize("program", ACCEPTED)
def test_the_type_checker_accepts_that(errors: dict[str, list[str]], program: str) -> None:
    assert errors.get(program, []) == []


@pytest.mark.parametrize("program", REFUSED)
def test_the_type_checker_refuses(errors: dict[str, list[str]], program: str) -> None:
    assert errors.get(program, []) == [REFUSED[program][1]]
