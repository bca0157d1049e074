"""`fluentpro up`: the embedded servers and every process of the program, kept alive together and stopped in order."""

import errno
import hashlib
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec

from app.child import Child, die_with
from app.data_folder import DataFolderError, claim, secret_key, write_whole
from app.embedded import EmbeddedError, Server, bring_up, free_port, prepared
from app.settings import PREFIX, Settings, SettingsError, as_environ

_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_NOTICED = _STOPS | {signal.SIGCHLD}
_GRACE_SECONDS = 20.0
_HURRIED_SECONDS = 2.0
_BACKOFF_FIRST = 0.25
_BACKOFF_MOST = 30.0
_HEALTHY_SECONDS = 10.0
_TICK_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # Where to knock when it listens everywhere.


@dataclass(frozen=True)
class Plan:
    """Commands by name: `steps` run once, one after the other; `services` run for ever, and stop in the opposite order.

    The services wait for the steps, unless these have done their work for the same `build` in this data folder before.
    """

    steps: Mapping[str, Sequence[str]]
    services: Mapping[str, Sequence[str]]
    build: str = ""


def _cli(name: str, *options: str) -> dict[str, Sequence[str]]:
    return {name: (sys.executable, "-m", "app.cli", name, *options)}


def _migrations() -> str:
    """What tells one build from another as far as the database can see."""
    versions = Path(__file__).parent.parent / "db" / "migrations" / "versions"
    return hashlib.sha256("\n".join(sorted(path.name for path in versions.glob("*.py"))).encode()).hexdigest()


PLAN = Plan(steps=_cli("migrate", "--seed"), services=_cli("relay") | _cli("worker") | _cli("web"), build=_migrations())


class _Stopped(Exception):
    """Somebody asked for the end."""


class _Failed(Exception):
    """The run cannot go on; the message says what to change."""


def up(settings: Settings, *, die_with_parent: bool = False, plan: Plan = PLAN) -> int:
    """Run until told to stop; the exit status.

    With `die_with_parent` the end of our parent, which must be in our session as make is, ends the run too. Call it in the main thread.
    """
    began = time.monotonic()
    # Signals wait until they are asked for, so none is lost between two looks, and none interrupts a step half done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOTICED)
    try:
        if die_with_parent:
            _follow_parent()
        with claim(settings.data_path, pause=_pause) as lifeline, ExitStack() as stack:
            run = _Run(_listening(settings), plan, lifeline, stack, began)
            try:
                run.keep_up()
            finally:
                run.stop()
    except _Stopped:
        return 0
    except (_Failed, SettingsError, DataFolderError, EmbeddedError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _Kept:
    """A child that is started again whenever it ends."""

    child: Child
    start: Callable[[], None]
    started: float = field(default_factory=time.monotonic)
    deaths: int = 0
    again_at: float | None = None


class _Run:
    def __init__(self, settings: Settings, plan: Plan, lifeline: int, stack: ExitStack, began: float) -> None:
        self._settings = self._given = settings
        self._plan = plan
        self._lifeline = lifeline
        self._stack = stack
        self._began = began
        self._logs = settings.data_path / "logs"
        self._servers: list[Server] = []
        self._kept: list[_Kept] = []
        self._step: Child | None = None
        self._hurried = False

    def keep_up(self) -> NoReturn:
        """Returns by an exception only."""
        self._start_servers()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environ |= as_environ(self._settings) | {"PYTHONUNBUFFERED": "1"}
        stamp = self._settings.data_path / "prepared"
        ours = not self._given.database_url and bool(self._plan.build)
        if ours and stamp.exists() and stamp.read_text() == self._plan.build:
            self._start_services(environ)
            self._run_steps(environ)
        else:
            self._run_steps(environ)
            self._start_services(environ)
        if ours:
            write_whole(stamp, self._plan.build.encode())
        self._until_ready()
        while True:
            self._watch()

    def _run_steps(self, environ: Mapping[str, str]) -> None:
        for name, command in self._plan.steps.items():
            self._run_step(Child(name, command, log=self._logs / f"{name}.log", environ=environ, lifeline=self._lifeline))

    def _start_services(self, environ: Mapping[str, str]) -> None:
        for name, command in self._plan.services.items():
            child = Child(name, command, log=self._logs / f"{name}.log", environ=environ, lifeline=self._lifeline)
            child.start()
            _say(f"{name}: started, process {child.pid}.")
            self._kept.append(_Kept(child, child.start))

    def stop(self) -> None:
        """In the opposite order of starting. A second Ctrl-C hurries: the child waited for is killed, and the others get little time."""
        if self._step is not None:
            self._stop_child(self._step)
        servers = {server.child for server in self._servers}
        for child in [kept.child for kept in reversed(self._kept) if kept.child not in servers] + [
            server.child for server in reversed(self._servers)
        ]:
            self._stop_child(child)

    def _start_servers(self) -> None:
        settings = self._settings
        wanted = {"postgres": not settings.database_url, "valkey": not settings.redis_url}
        self._servers = self._stack.enter_context(prepared(settings.data_path, self._lifeline, **wanted, pause=_pause))
        running = bring_up(settings.data_path, self._servers, pause=_pause)
        for server in self._servers:
            _say(f"{server.child.name}: started, process {server.child.pid}, port {server.port}.")
            self._kept.append(_Kept(server.child, server.start))
        self._settings = msgspec.structs.replace(
            settings,
            data_dir=str(settings.data_path),
            database_url=settings.database_url or running.database_url,
            redis_url=settings.redis_url or running.redis_url,
            secret_key=settings.secret_key or secret_key(settings.data_path),
        )

    def _run_step(self, step: Child) -> None:
        self._step = step
        step.start()
        while (code := step.exit_code) is None:
            self._watch()
        self._step = None
        if code != 0:
            raise _Failed(f"{step.name} failed (exit status {code}). Its last words in {step.log}:\n{step.last_words(10)}")
        _say(f"{step.name}: done.")

    def _until_ready(self) -> None:
        late = False
        while not self._ready():
            self._watch()
            if not late and time.monotonic() - self._began > _PATIENCE_SECONDS:
                late = True
                _say(f"Not ready after {_PATIENCE_SECONDS:.0f} s, still trying; {self._logs} says why.")
        base = f"http://{_address(self._settings)}"
        _say(
            f"\nFluentPro is ready after {time.monotonic() - self._began:.1f} s.\n"
            f"  API            {base}/api/v2\n"
            f"  Documentation  {base}/api/schema/scalar\n"
            f"  Health         {base}/health/ready\n"
            f"  Logs           {self._logs}\n"
            "Ctrl-C stops it."
        )

    def _ready(self) -> bool:
        if any(kept.again_at is not None for kept in self._kept):
            return False
        connection = http.client.HTTPConnection(_address(self._settings), timeout=2)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        """Wait for a moment, or until a child ends; start again those whose time has come."""
        _pause(_TICK_SECONDS)
        now = time.monotonic()
        for kept in self._kept:
            if kept.again_at is None and kept.child.exit_code is not None:
                kept.deaths = 1 if now - kept.started > _HEALTHY_SECONDS else kept.deaths + 1
                delay = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2 ** (kept.deaths - 1))
                kept.again_at = now + delay
                _say(f"{kept.child.name}: {_ending(kept.child.exit_code)}; starting it again in {delay:g} s. Its log: {kept.child.log}")
            elif kept.again_at is not None and now >= kept.again_at:
                kept.start()
                kept.started, kept.again_at = now, None
                _say(f"{kept.child.name}: started again, process {kept.child.pid}.")

    def _hurry(self) -> bool:
        hurry = _told_to_hurry()
        self._hurried |= hurry
        return hurry

    def _stop_child(self, child: Child) -> None:
        if child.running:
            willing = child.stop(_HURRIED_SECONDS if self._hurried else _GRACE_SECONDS, hurried=self._hurry)
            _say(f"{child.name}: {'stopped' if willing else 'killed, because it did not stop'}.")


def _follow_parent() -> None:
    parent = os.getppid()
    die_with(parent, signal.SIGTERM)
    # Whoever adopts orphans is in another session than the parent that started us.
    if os.getsid(parent) != os.getsid(0):
        raise _Failed("The process that started this has ended, so this ends too: start it again, or leave out --die-with-parent.")


def _listening(settings: Settings) -> Settings:
    """With a port that is free; port 0 becomes a real one, because the readiness check must know it."""
    if settings.port == 0:
        return msgspec.structs.replace(settings, port=free_port())
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _Failed(
                f"Port {settings.port} of {settings.host} is in use by another program: set FLUENTPRO_PORT to a free one."
            ) from error
        raise _Failed(
            f"Nothing can listen on port {settings.port} of {settings.host} ({error.strerror}): set FLUENTPRO_HOST or FLUENTPRO_PORT."
        ) from error
    return settings


def _address(settings: Settings) -> str:
    host = _EVERYWHERE.get(settings.host, settings.host)
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def _ending(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"ended with exit status {code}"


def _pause(seconds: float) -> None:
    """Wait that long, or until a child ends. Raises `_Stopped` when told to stop."""
    noticed = signal.sigtimedwait(_NOTICED, seconds)
    if noticed is not None and noticed.si_signo in _STOPS:
        _say(f"{signal.Signals(noticed.si_signo).name}: stopping. A second Ctrl-C hurries.")
        raise _Stopped


def _told_to_hurry() -> bool:
    """Ctrl-C again. Other signals are no hurry: a closing terminal or a dying parent may well send two."""
    return signal.sigtimedwait({signal.SIGINT}, 0) is not None


def _say(text: str) -> None:
    # When the terminal has gone nobody reads this, and the children must be stopped all the same.
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
