"""What every chaos plays in: a folder of its own, children that die with it, and the wait until they are there."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import msgspec

from app.child import Child
from app.settings import PREFIX, Settings, as_environ

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60
Starter = Callable[..., Child]
"""Takes the name of a child, a module and its arguments, and settings that are other than those of all."""


class CannotRun(Exception):
    """The run did not come about; the message says what to look at."""


@contextmanager
def work_folder() -> Generator[Path]:
    """One that the account of the servers may enter; kept when there is something to look at in it."""
    folder = Path(tempfile.mkdtemp(prefix="fluentpro-chaos-"))
    folder.chmod(0o755)
    yield folder
    if (folder / "kept").exists():
        (folder / "servers" / "logs").rename(folder / "logs")
    for location in folder.rglob("LOCATION"):
        shutil.rmtree(location.read_text().strip())
    shutil.rmtree(folder / "servers" if (folder / "kept").exists() else folder)


def starter(folder: Path, settings: Settings, children: list[Child]) -> Starter:
    """A function that starts a Python module; it dies with us, also when it is paused."""
    # What measures coverage would only see processes that end by themselves.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "COVERAGE"))}
    (folder / "data").mkdir()

    def start(name: str, module: str, *arguments: str, **changes: Any) -> Child:
        environ = {**inherited, **as_environ(msgspec.structs.replace(settings, **changes)), "PYTHONUNBUFFERED": "1"}
        child = Child(
            name,
            [sys.executable, "-m", module, *arguments],
            log=folder / f"{name}.log",
            stop_signal=signal.SIGKILL,
            environ=environ,
            cwd=REPOSITORY,
        )
        children.insert(0, child)
        child.start()
        return child

    return start


def lives(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def until_ready(children: Sequence[Child], ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        ended = next((child for child in children if child.exit_code is not None), None)
        if ended is not None:
            raise CannotRun(f"{ended.name} ended before the run began. Its last words in {ended.log}:\n{ended.last_words(20)}")
        if time.monotonic() > deadline:
            raise CannotRun(f"Not ready after {START_SECONDS} s: read the logs beside {children[0].log}.")
        time.sleep(0.1)
