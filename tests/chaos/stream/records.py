"""What the processes of the run write down, a JSON object on each line. Times are seconds since 1970 by the clock of this machine."""

from pathlib import Path
from typing import TextIO, TypeVar

import msgspec

R = TypeVar("R", bound="Record")

PIECES = 40
"""Of every answer."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class Call(Record, frozen=True, kw_only=True):
    """By the provider, when the call `number` begins, and again when it ends: after so many pieces, `whole` or because the caller was gone.

    `name` is what the learner called the turn, `nth` counts its calls, and `caller` is the key that was sent, of which every worker has its
    own.
    """

    at: float
    number: int
    name: str
    nth: int
    caller: str = ""
    ended: bool = False
    sent: int = 0
    whole: bool = False


class Asked(Record, frozen=True, kw_only=True):
    """A turn that was accepted."""

    at: float
    name: str
    turn: str
    conversation: str


class Heard(Record, frozen=True, kw_only=True):
    """By a reader; `id` is None of what has none. `text` is that of a piece, or of an answer."""

    at: float
    reader: str
    conversation: str
    connection: int
    id: str | None
    type: str
    turn: str | None = None
    attempt: int | None = None
    text: str | None = None


class Blow(Record, frozen=True, kw_only=True):
    """A kill, or a pause; `hit` are the names of the turns that the provider was answering.

    It `counts` for the number of turns that a run asks for: every kill does, and a pause where nobody is killed.
    """

    at: float
    kind: str
    hit: tuple[str, ...]
    counts: bool = True


class End(Record, frozen=True, kw_only=True):
    """Nothing more happens: the last number of the log of each conversation, for the readers to read up to it."""

    last: dict[str, int]


def piece(name: str, nth: int, number: int) -> str:
    """No two calls have one in common."""
    return f"{name}c{nth}w{number:02} "


def pieces(name: str, nth: int) -> list[str]:
    return [piece(name, nth, number) for number in range(PIECES)]


def write(file: TextIO, record: Record) -> None:
    file.write(msgspec.json.encode(record).decode() + "\n")


def read(path: Path, kind: type[R]) -> list[R]:
    """What is in the file so far; a line that is being written does not count yet."""
    return [msgspec.json.decode(line, type=kind) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


class Tail:
    """The calls as they are written."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def news(self) -> list[Call]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return [msgspec.json.decode(line, type=Call) for line in whole.splitlines()]
