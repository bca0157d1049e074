"""`fluentpro up`: everything starts, stays up, and ends together. Stand-ins play the processes of the program; the servers are real."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from app.data_folder import owned, recorded
from app.embedded import free_port
from app.settings import load
from tests.app.processes import PLACES, REPOSITORY, STANDIN, Place, abandoned, here, place, room, until

READY = "FluentPro is ready after"
# Spares a test that is not about the servers the making of them; the stand-ins never connect.
GIVEN = {"FLUENTPRO_DATABASE_URL": "postgresql://127.0.0.1:1/x", "FLUENTPRO_REDIS_URL": "redis://127.0.0.1:1"}


class Running:
    """A supervisor in a process of its own, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.said = ""
        assert process.stdout is not None
        self._stdout = process.stdout
        os.set_blocking(self._stdout.fileno(), False)

    def hears(self, text: str, seconds: float = 20) -> Self:
        deadline = time.monotonic() + seconds
        while text not in self.listen():
            assert self.process.poll() is None or text in self.listen(), f"ended without saying {text!r}, but:\n{self.said}"
            assert time.monotonic() < deadline, f"not said within {seconds} s: {text!r}, but:\n{self.said}"
            time.sleep(0.02)
        return self

    def listen(self) -> str:
        try:
            self.said += os.read(self._stdout.fileno(), 65536).decode()
        except BlockingIOError:
            return self.said
        return self.said

    def ended(self, seconds: float = 20) -> int:
        """The exit status, once everything has ended and been said."""
        code = self.process.wait(seconds)
        until(lambda: abandoned(self.folder), "every child ended")
        self.listen()
        return code

    def interrupt(self) -> None:
        """Ctrl-C: the terminal signals the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def pid(self, name: str) -> int:
        return int(re.findall(rf"^{name}: started(?: again)?, process (\d+)", self.listen(), re.MULTILINE)[-1])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        until(lambda: abandoned(self.folder), "every child ended")
        self._stdout.close()


Start = Callable[..., Running]


@contextmanager
def starting(spot: Place) -> Generator[Start]:
    runs: list[Running] = []

    def start(*arguments: str, folder: str = ".data", **environ: str) -> Running:
        environ.setdefault("FLUENTPRO_PORT", str(free_port()))
        process = spot.start(*(arguments or [STANDIN]), FLUENTPRO_DATA_DIR=folder, **environ)
        run = Running(process, spot.folder / folder)
        until(lambda: (run.folder / "children.lock").exists() or process.poll() is not None, "begun")
        runs.append(run)
        return run

    try:
        yield start
    finally:
        for run in runs:
            run.close()


@pytest.fixture
def spot() -> Generator[Place]:
    with room() as folder:
        yield here(folder)


@pytest.fixture
def start(spot: Place) -> Generator[Start]:
    with starting(spot) as start:
        yield start


def behave(folder: Path, name: str, **behaviour: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(behaviour))


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def get(url: str) -> tuple[int, bytes]:
    """The status and the body; status 0 when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=2)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def test_it_says_where_everything_is_stops_in_order_and_is_back_within_three_seconds(start: Start, spot: Place) -> None:
    first = start(FLUENTPRO_PORT=(port := str(free_port()))).hears("Ctrl-C stops it.")
    assert re.findall(r"^(\w+): (?:started|done)", first.said, re.MULTILINE) == [
        "postgres",
        "valkey",
        "migrate",
        "seed",
        "relay",
        "worker",
        "web",
    ]
    base = f"http://127.0.0.1:{port}"
    for line in (
        f"API            {base}/api/v2",
        f"Documentation  {base}/api/schema/scalar",
        f"Health         {base}/health/ready",
        f"Logs           {spot.data}/logs",
    ):
        assert line in first.said
    assert {path.stem for path in (spot.data / "logs").iterdir()} == {"postgres", "valkey", "migrate", "seed", "relay", "worker", "web"}
    servers = recorded(spot.data)
    _, body = get(f"{base}/health/ready")
    settings = load(json.loads(body))
    assert (settings.database_url, settings.redis_url, settings.data_path) == (servers.database_url, servers.redis_url, spot.data)
    assert settings.secret_key == (spot.data / "secret.key").read_text().strip()
    first.interrupt()
    assert first.ended() == 0
    assert re.findall(r"^(\w+): stopped\.", first.said, re.MULTILINE) == ["web", "worker", "relay", "valkey", "postgres"]
    assert not owned(spot.data)

    began = time.monotonic()
    second = start().hears(READY)
    assert time.monotonic() - began < 3
    assert recorded(spot.data) == servers
    second.process.send_signal(signal.SIGHUP)
    assert second.ended() == 0
    assert "SIGHUP: stopping." in second.said


def test_a_folder_in_use_is_left_to_its_process_and_another_folder_lives_beside_it(start: Start) -> None:
    first = start().hears(READY)
    second = start()
    assert second.process.wait(10) == 1
    assert (
        f"is in use by process {first.process.pid} (standin.py). Stop that one, or set FLUENTPRO_DATA_DIR and FLUENTPRO_PORT"
        in second.listen()
    )
    beside = start(folder="other").hears(READY)
    for run in (beside, first):
        run.process.terminate()
        assert run.ended() == 0


def test_everything_ends_with_a_killed_supervisor_and_the_next_start_waits_for_what_is_slow(start: Start, spot: Place) -> None:
    behave(spot.data, "worker", slow=1.5)
    first = start().hears(READY)
    pids = [first.pid(name) for name in ("postgres", "valkey", "relay", "worker", "web")]
    first.process.kill()
    first.process.wait()
    second = start()
    assert alive(first.pid("worker"))
    until(lambda: not [pid for pid in pids if alive(pid)], "every child ended by itself", seconds=8)
    second.hears(READY)
    second.interrupt()
    assert second.ended() == 0


def test_a_killed_child_comes_back_and_it_is_said(start: Start) -> None:
    run = start().hears(READY)
    names = ("web", "worker", "relay", "valkey", "postgres")
    before = {name: run.pid(name) for name in names}
    for name in names:
        os.kill(before[name], signal.SIGKILL)
    for name in names:
        run.hears(f"{name}: killed by signal 9; starting it again in 0.25 s. Its log: {run.folder}/logs/{name}.log")
        run.hears(f"{name}: started again, process ")
    base = f"http://{run.said.partition('http://')[2].partition('/')[0]}/health/ready"
    until(lambda: get(base)[0] == 200, "web answers again")
    assert not [name for name in names if run.pid(name) == before[name]]
    run.interrupt()
    assert run.ended() == 0


def test_a_child_that_keeps_ending_is_started_ever_more_slowly(start: Start, spot: Place) -> None:
    behave(spot.data, "relay", brief=1)
    run = start(**GIVEN).hears("relay: ended with exit status 0; starting it again in 1 s")
    assert re.findall(r"relay: .* again in ([\d.]+) s", run.said) == ["0.25", "0.5", "1"]


def test_a_failed_step_ends_the_start_with_its_last_words(start: Start, spot: Place) -> None:
    behave(spot.data, "migrate", fail=1)
    run = start()
    assert run.ended() == 1
    assert f"migrate failed (exit status 3). Its last words in {spot.data}/logs/migrate.log:\n" in run.said
    assert "migrate cannot go on" in run.said
    assert "relay: started" not in run.said
    assert re.findall(r"^(\w+): stopped\.", run.said, re.MULTILINE) == ["valkey", "postgres"]


def test_a_second_interrupt_hurries_a_child_that_does_not_stop(start: Start, spot: Place) -> None:
    behave(spot.data, "worker", stubborn=1)
    run = start(**GIVEN).hears(READY)
    run.interrupt()
    run.hears("web: stopped.")
    run.interrupt()
    run.hears("worker: killed, because it did not stop.", seconds=5)
    assert run.ended() == 0
    assert "relay: stopped." in run.said


def test_services_wait_for_the_steps_of_a_new_build_only(start: Start) -> None:
    def order(build: str) -> list[str]:
        run = start(BUILD=build).hears(READY)
        run.interrupt()
        assert run.ended() == 0
        return [name for name in re.findall(r"^(\w+): (?:started|done)", run.said, re.MULTILINE) if name not in ("postgres", "valkey")]

    waiting, at_once = ["migrate", "seed", "relay", "worker", "web"], ["relay", "worker", "web", "migrate", "seed"]
    assert order("one") == waiting
    assert order("one") == at_once
    assert order("two") == waiting


def test_a_build_counts_as_prepared_only_once_its_steps_are_done(start: Start, spot: Place) -> None:
    behave(spot.data, "seed", fail=1)
    assert start().ended() == 1
    behave(spot.data, "seed")
    run = start().hears(READY)
    assert run.said.index("seed: done.") < run.said.index("web: started")
    run.interrupt()
    assert run.ended() == 0


def test_an_interrupt_during_a_step_stops_it_too(start: Start, spot: Place) -> None:
    behave(spot.data, "seed", slow=30)
    run = start(**GIVEN).hears("migrate: done.")
    run.process.terminate()
    assert run.ended() == 0
    assert "web: started" not in run.said


def test_a_port_in_use_is_named_with_the_variable_to_set(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = start(FLUENTPRO_PORT=str(port))
        assert run.ended() == 1
    assert run.said == f"Port {port} of 127.0.0.1 is in use by another program: set FLUENTPRO_PORT to a free one.\n"


def test_a_host_that_is_not_here_is_named(start: Start) -> None:
    run = start(FLUENTPRO_HOST="192.0.2.1")
    assert run.ended() == 1
    assert "set FLUENTPRO_HOST or FLUENTPRO_PORT" in run.said


def test_with_urls_given_nothing_is_embedded(start: Start, spot: Place) -> None:
    run = start(FLUENTPRO_PORT="0", **GIVEN).hears(READY)
    assert "postgres" not in run.said
    assert "valkey" not in run.said
    assert sorted(path.name for path in spot.data.iterdir()) == ["children.lock", "lock", "logs", "secret.key", "servers.json"]
    run.interrupt()
    assert run.ended() == 0


@pytest.mark.parametrize("name", PLACES)
def test_it_runs_wherever_one_may_be(name: str) -> None:
    with place(name) as spot, starting(spot) as start:
        if spot.user is not None:
            shutil.copy(STANDIN, spot.folder)
            shutil.copy(STANDIN.with_name("standin_service.py"), spot.folder)
        run = start(spot.folder / "standin.py" if spot.user is not None else STANDIN).hears(READY)
        run.interrupt()
        assert run.ended() == 0


def checkout(folder: Path, program: str) -> Path:
    """A checkout whose .venv is whole, with `program` in the place of `fluentpro`."""
    shutil.copy(REPOSITORY / "Makefile", folder)
    (folder / "requirements.lock").write_text("")
    (folder / ".venv" / "bin").mkdir(parents=True)
    fluentpro = folder / ".venv" / "bin" / "fluentpro"
    fluentpro.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    fluentpro.chmod(0o755)
    (folder / ".venv" / "installed").write_text("")
    return folder


def make(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_end_of_make_ends_the_run(spot: Place, number: signal.Signals) -> None:
    checkout(spot.folder, f"{sys.executable} {STANDIN}")
    environ = {"PATH": os.environ["PATH"], **spot.environ, "FLUENTPRO_PORT": str(free_port()), **GIVEN}
    process = subprocess.Popen(
        ["make", "run"], cwd=spot.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    run = Running(process, spot.data)
    try:
        run.hears(READY)
        if number is signal.SIGINT:
            run.interrupt()
        else:
            process.send_signal(number)
        process.wait(20)
        until(lambda: abandoned(spot.data), "every child ended")
        until(lambda: "relay: stopped." in run.listen(), "the supervisor stopped it")
        assert "killed" not in run.said
    finally:
        run.close()


def test_a_parent_that_has_died_already_ends_the_run_at_once(spot: Place) -> None:
    orphan = subprocess.Popen(
        ["sh", "-c", '"$@" &', "sh", spot.python, STANDIN, "--die-with-parent"],
        cwd=spot.folder,
        env={"PATH": os.environ["PATH"], **spot.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said, _ = orphan.communicate(timeout=20)
    assert said.startswith("The process that started this has ended")
    assert not spot.data.exists()


NO_VENV = "case $2 in *ensurepip*) exit 1;; esac; exit 0"
TOO_OLD = "exit 1"
# Makes a .venv whose pip writes down what it is asked for, and which fails as long as the folder `broken` exists.
WORKS = """
[ "$2" = venv ] || exit 0
[ "$3" = --clear ] && rm -rf .venv
mkdir -p .venv/bin
printf '#!/bin/sh\\nset -e\\necho "$@" >>asked\\n[ ! -e broken ] || { echo no such package; exit 1; }\\n' >.venv/bin/python
chmod 755 .venv/bin/python
printf '#!/bin/sh\\necho ran "$@"\\n' >.venv/bin/fluentpro
chmod 755 .venv/bin/fluentpro
"""


def interpreter(folder: Path, script: str) -> str:
    path = folder / "python-for-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def bare_checkout(folder: Path) -> Path:
    shutil.copy(REPOSITORY / "Makefile", folder)
    (folder / "requirements.lock").write_text("")
    return folder


@pytest.mark.parametrize(("script", "advice"), [(NO_VENV, "apt install python3-venv"), (TOO_OLD, "Python 3.11 or newer is needed")])
def test_make_says_what_to_install(spot: Place, script: str, advice: str) -> None:
    run = make(bare_checkout(spot.folder), "run", interpreter(spot.folder, script))
    assert run.returncode != 0
    assert advice in run.stderr
    assert not (spot.folder / ".venv").exists()


def test_make_installs_once_and_again_when_the_lock_is_newer(spot: Place) -> None:
    folder, python = bare_checkout(spot.folder), interpreter(spot.folder, WORKS)
    first = make(folder, "run", python)
    assert first.stdout.splitlines()[1:] == ["ran up --die-with-parent"]
    asked = (folder / "asked").read_text()
    assert "--require-hashes -r requirements.lock" in asked
    assert "--no-deps --no-build-isolation -e ." in asked
    assert make(folder, "run", python).stdout == "ran up --die-with-parent\n"
    later = time.time() + 5
    os.utime(folder / "requirements.lock", (later, later))
    assert make(folder, "run", python).stdout.startswith("Installing requirements.lock into .venv")


def test_a_half_made_venv_is_made_anew(spot: Place) -> None:
    folder, python = bare_checkout(spot.folder), interpreter(spot.folder, WORKS)
    (folder / ".venv" / "half").mkdir(parents=True)
    (folder / "broken").mkdir()
    failed = make(folder, "run", python)
    assert failed.returncode != 0
    assert "no such package" in failed.stderr
    assert ".venv/pip.log" in failed.stderr
    (folder / "broken").rmdir()
    (folder / ".venv" / "half").mkdir()
    assert "ran up" in make(folder, "run", python).stdout
    assert not (folder / ".venv" / "half").exists()


def test_make_alone_lists_the_targets() -> None:
    assert "make run " in make(REPOSITORY).stdout
