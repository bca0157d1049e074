"""`fluentpro` several times in one process: a program of its own, whose imports take most of the time of a short command.

Reads a JSON array of arrays of arguments; answers with a JSON array of `[exit status, standard output, standard error]`.
"""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence

import click

from app.settings import Settings
from tests.app.client import environment
from tests.app.processes import REPOSITORY

Done = subprocess.CompletedProcess[str]


async def fluentpro_each(settings: Settings, *commands: Sequence[str]) -> list[Done]:
    """Each of these commands, one after the other."""
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.app.terminal"],
        cwd=REPOSITORY,
        env=environment(settings),
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [Done(arguments, *done) for arguments, done in zip(commands, json.loads(run.stdout), strict=True)]


def main() -> None:
    from app.cli import main as fluentpro  # noqa: PLC0415 - only the program needs it

    answers: list[tuple[int, str, str]] = []
    for arguments in json.load(sys.stdin):
        said, complained = io.StringIO(), io.StringIO()
        code: object = 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                fluentpro.main(arguments, prog_name="fluentpro")
            except SystemExit as end:
                code = end.code
            except click.exceptions.Exit as end:
                code = end.exit_code
        answers.append((code if isinstance(code, int) else 1, said.getvalue(), complained.getvalue()))
    print(json.dumps(answers))  # noqa: T201 - it is what this program answers


if __name__ == "__main__":
    main()
