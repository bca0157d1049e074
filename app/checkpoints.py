"""Checkpoints: the seals of the feed, signed, and written where whoever owns the database cannot reach them.

One JSON object a line, in a file for each month. A line is added once for each seal, in order, and reaches the disk before it counts.
"""

import asyncio
import fcntl
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import IO

import msgspec

from app.sealing import Sealer, signed_by
from bus.work import Ledger, NotKept, Seal

BATCH = 500
PURPOSE = "checkpoints"
PATTERN = "????-??.jsonl"
# More than the longest line, and what is left of one that was not finished.
TAIL = 4096


class Unreadable(Exception):
    """A line that is no checkpoint."""


def signed_text(seal: Seal) -> bytes:
    """What a signature is over, in a form that others can put together: six words with a space between them."""
    at = seal.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"fluentpro-checkpoint-1 {seal.n} {seal.after} {seal.upto} {seal.hash} {at}".encode()


def public_key(sealer: Sealer) -> str:
    return sealer.public_key(PURPOSE).hex()


def is_signed(seal: Seal, keys: Iterable[str]) -> bool:
    """By one of these public keys, in hexadecimal."""
    try:
        return seal.key in keys and signed_by(bytes.fromhex(seal.key), bytes.fromhex(seal.signature), signed_text(seal))
    except ValueError:
        return False


def read_line(line: bytes) -> Seal:
    """Raises `Unreadable`."""
    try:
        return msgspec.json.decode(line, type=Seal)
    except ValueError:  # Also of msgspec, and of bytes that are no text.
        raise Unreadable from None


class CheckpointFolder:
    """The `Checkpoints` of the relay that leads. Several may share a folder, one after another."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._folder, self._sealer = folder, sealer

    def sign(self, seal: Seal) -> Seal:
        signature = self._sealer.sign(PURPOSE, signed_text(seal))
        return msgspec.structs.replace(seal, key=public_key(self._sealer), signature=signature.hex())

    async def keep(self, ledger: Ledger) -> int:
        """Write down the seals that are not yet; the number of the last one there is.

        Raises `NotKept` when the folder cannot be written, or ends in a checkpoint that the database contradicts.
        """
        last = await asyncio.to_thread(self._last)
        if last is not None and await ledger.seals(last.n - 1, 1) != [last]:
            raise NotKept(
                f"{self._folder} ends in checkpoint {last.n}, and the database does not have it: run `fluentpro audit verify`. "
                "To begin anew all the same, move the files elsewhere."
            )
        n = 0 if last is None else last.n
        while missing := await ledger.seals(n, BATCH):
            n = await asyncio.to_thread(self._append, missing)
        return n

    def _last(self) -> Seal | None:
        with self._said():
            return _last_in(self._folder)

    def _append(self, seals: Sequence[Seal]) -> int:
        """Those that another relay has not written in the meantime."""
        with self._said():
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("a") as lock:
                # Whoever holds it may be paused; what is not written now is written the next time.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                last = _last_in(self._folder)
                _write_months(self._folder, [seal for seal in seals if last is None or seal.n > last.n])
        return seals[-1].n

    @contextmanager
    def _said(self) -> Generator[None]:
        """What went wrong as what to change."""
        try:
            yield
        except OSError as error:
            raise NotKept(f"Let this process write to {self._folder}, or set FLUENTPRO_CHECKPOINT_DIR: {error.strerror}.") from error
        except Unreadable:
            raise NotKept(f"The last line in {self._folder} is no checkpoint: run `fluentpro audit verify`.") from None


def files_in(folder: Path) -> list[Path]:
    """In the order of their months."""
    return sorted(folder.glob(PATTERN))


def _last_in(folder: Path) -> Seal | None:
    for path in reversed(files_in(folder)):
        with path.open("rb") as file:
            end = _whole(file)
            file.seek(max(0, end - TAIL))
            lines = file.read(end - file.tell()).splitlines()
        if lines:
            return read_line(lines[-1])
    return None


def _whole(file: IO[bytes]) -> int:
    """Where the last line ends that is whole; what a process that died began to write lies behind it."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - TAIL)
    file.seek(start)
    return start + file.read().rfind(b"\n") + 1


def _write_months(folder: Path, seals: Sequence[Seal]) -> None:
    """Each in the file of its month, but never before the last: a clock may have been set back."""
    name = max((path.name for path in files_in(folder)), default="")
    months: dict[str, list[bytes]] = {}
    for seal in seals:
        name = max(name, f"{seal.at.astimezone(UTC):%Y-%m}.jsonl")
        months.setdefault(name, []).append(msgspec.json.encode(seal) + b"\n")
    for month, lines in months.items():
        _write(folder / month, b"".join(lines))


def _write(path: Path, lines: bytes) -> None:
    """At the end, over a line that was not finished, and onto the disk."""
    new = not path.exists()
    with path.open("w+b" if new else "r+b") as file:
        file.seek(_whole(file))
        file.truncate()
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    if new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # A new name is safe only once its folder is.
        finally:
            os.close(folder)
