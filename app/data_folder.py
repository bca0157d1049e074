"""The data folder: who owns it at the moment, the embedded servers that run in it, and the secret generated for development."""

import fcntl
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_ASKED_SECONDS = 0.5
Pause = Callable[[float], None]


class DataFolderError(Exception):
    """The data folder cannot be used; the message says what to change."""


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where the embedded servers listen, as asyncpg and redis-py take it; empty for a server that is not embedded."""

    database_url: str = ""
    redis_url: str = ""


def make(folder: Path) -> None:
    """As root the folder may be entered by the account of the servers; what is secret in it has modes of its own."""
    try:
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataFolderError(
            f"The data folder {folder} cannot be made ({error.strerror}): set FLUENTPRO_DATA_DIR to another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataFolderError(f"The data folder {folder} belongs to somebody else: set FLUENTPRO_DATA_DIR to another one.")


@contextmanager
def claim(folder: Path, *, pause: Pause = time.sleep, patience: float = 10.0) -> Generator[int]:
    """Own the folder until the block ends; gives the lifeline, the descriptor that every child must inherit.

    Children hold the lifeline's lock even when we are killed, so the next owner waits for exactly those that are still on their way
    out, whatever their process ids have become meanwhile. After `patience` seconds it kills them.
    """
    make(folder)
    with locked(folder / "lock", folder, pause):
        lifeline = _open(folder / "children.lock")
        try:
            _outlive_leftovers(folder / "children.lock", lifeline, pause, patience)
            yield lifeline
        finally:
            os.close(lifeline)


@contextmanager
def locked(path: Path, folder: Path, pause: Pause = time.sleep) -> Generator[None]:
    """Hold the lock file, which says who holds it."""
    lock = _open(path)
    try:
        # Somebody who only asks whether the folder is owned holds the lock for an instant.
        if not _acquired(lock, _ASKED_SECONDS, pause):
            holder = path.read_text().strip() or "another process"
            raise DataFolderError(
                f"The data folder {folder} is in use by {holder}. Stop that one, "
                "or set FLUENTPRO_DATA_DIR and FLUENTPRO_PORT to run a second one beside it."
            )
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])})\n".encode())
        yield
    finally:
        os.close(lock)


def owned(folder: Path) -> bool:
    """Whether a living process owns the folder."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise DataFolderError(f"The data folder {folder} belongs to somebody else: set FLUENTPRO_DATA_DIR to another one.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def record(folder: Path, servers: Servers) -> None:
    """Keep where the servers listen, for other processes and for the next start, which listens there again."""
    write_whole(folder / "servers.json", msgspec.json.encode(servers))


def recorded(folder: Path) -> Servers:
    """Where the servers listened last; whether they still do is `owned`."""
    path = folder / "servers.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Servers)
    except FileNotFoundError:
        return Servers()
    except msgspec.DecodeError as error:
        raise DataFolderError(f"{path} is damaged: delete it and start again; no data is in it.") from error


def secret_key(folder: Path) -> str:
    """The secret of this folder, generated once; processes that ask at the same time get the same one."""
    path = folder / "secret.key"
    if not path.exists():
        make(folder)
        write_whole(path, f"{secrets.token_urlsafe(48)}\n".encode(), replace=False)
    return path.read_text().strip()


def write_whole(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a whole file or none, readable by us only. Without `replace` the first one written stays."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(name).replace(path)
            return
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise DataFolderError(f"{path} belongs to somebody else: set FLUENTPRO_DATA_DIR to another folder.") from error


def _acquired(lock: int, seconds: float, pause: Pause) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            pause(0.05)
        else:
            return True


def _outlive_leftovers(path: Path, lifeline: int, pause: Pause, patience: float) -> None:
    """Wait for the children of an owner that was killed; those that do not end by themselves are killed."""
    if _acquired(lifeline, patience, pause):
        return
    for pid in _holders(path):
        os.kill(pid, signal.SIGKILL)
    if not _acquired(lifeline, patience, pause):
        raise DataFolderError(f"Processes of an earlier run still hold {path} and cannot be killed: end them ({_holders(path)}).")


def _holders(path: Path) -> list[int]:
    """The other processes that have the file open, as far as we may look."""
    wanted = path.stat()
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdecimal() and int(process.name) != os.getpid() and any(_is(wanted, link) for link in _links(process / "fd"))
    ]


def _links(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # The process has ended, or belongs to somebody else and is not one of ours.


def _is(wanted: os.stat_result, link: Path) -> bool:
    try:
        return os.path.samestat(wanted, link.stat())
    except OSError:
        return False  # Closed while we looked.
