"""What the bus needs from others, as protocols, and the unit of work as a handler sees it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, NoReturn, Protocol, TypeVar
from uuid import UUID

import msgspec

from bus.message import Command, Envelope, Event, Refusal

R = TypeVar("R")
Clock = Callable[[], datetime]
NewId = Callable[[], UUID]


class Refused(Exception):
    """Carries a refusal out of a handler whose facts are to be kept."""

    def __init__(self, error: Refusal) -> None:
        super().__init__(str(error))
        self.error = error


class Sent(msgspec.Struct, frozen=True):
    """A command that is to run later; an equal `key` replaces the earlier one."""

    command: Command[Any]
    at: datetime | None
    key: str | None


class Happened(msgspec.Struct, frozen=True):
    """An event, and when it was; None: when it is committed."""

    event: Event
    at: datetime | None


class Notice(msgspec.Struct, frozen=True):
    """Said to whoever listens on the channel at that moment; it may be lost."""

    channel: str
    data: bytes


class UnitOfWork:
    """What happened and what must follow; all of it is committed together, or none of it."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.recorded: list[Happened] = []
        self.sent: list[Sent] = []
        self.cancelled: list[str] = []

    def record(self, *events: Event, at: datetime | None = None) -> None:
        """These things have happened: at the time of the commit, unless what is kept beside them says another."""
        self.recorded.extend(Happened(event, at) for event in events)

    def send(self, command: Command[Any], *, at: datetime | None = None, key: str | None = None) -> None:
        """This must follow: once committed, at `at` or at once. The same `key` replaces what was sent under it before."""
        self.sent.append(Sent(command, at, key))

    def announce(self, notice: Notice) -> None:
        """Say this once everything is committed: to save somebody waiting, not to tell them what they could not read otherwise."""
        self.notices.append(notice)

    def cancel(self, key: str) -> None:
        """What was sent under this key, and has not run, will not run."""
        self.sent = [sent for sent in self.sent if sent.key != key]
        self.cancelled.append(key)

    def refuse(self, error: Refusal) -> NoReturn:
        """Commit what was recorded, then raise `error`: for refusals that are also facts."""
        raise Refused(error)

    async def flush(self) -> None:
        """Write what changed in memory; raises `TryAgain` when somebody else was faster."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key in use: whose, a hash of the key, and a MAC of the request.

    `until` ends its lease, and is its fence: whoever takes the key over has a later one.
    """

    caller: str
    key: bytes
    request: bytes
    until: datetime


class Commit(msgspec.Struct, kw_only=True):
    """What one transaction adds to the ledger, beside what the handler changed."""

    events: Sequence[Envelope] = ()
    commands: Sequence[tuple[Envelope, datetime, str | None]] = ()
    cancelled: Sequence[str] = ()
    answer: tuple[Claim, bytes] | None = None
    spent: tuple[UUID, int] | None = None
    done: "Done | None" = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A reaction has had an event. When it was `owed` before, its row goes and the next of its key is due `now`."""

    reaction: str
    envelope: Envelope
    owed: bool
    ordered: bool
    now: datetime


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that a reaction did not get done, `at` which time: `waiting` until it is due, `parked` behind another of its key, or `dead`.

    Kept again, an entry keeps the `id` that it had first.
    """

    id: UUID
    at: datetime
    reaction: str
    envelope: Envelope
    state: Literal["waiting", "parked", "dead"]
    tries: int
    due: datetime | None = None
    error: str | None = None


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which position a consumer group has confirmed everything, and since when it has stood there."""

    area: str
    name: str
    position: int
    moved_at: datetime


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was leased to be run; `fence` is the number of this handover."""

    message: UUID
    fence: int
    name: str
    actor: str
    correlation_id: str
    due: datetime


class Begun(msgspec.Struct, frozen=True):
    """A command that is being run: under which fence, and in which try."""

    envelope: Envelope
    fence: int
    tries: int


class Dead(Exception):
    """This will never succeed: not to be tried again."""


class LostLease(Exception):
    """Another process has taken over this work; whatever was done under the lease is rolled back."""


class Leader(msgspec.Struct, frozen=True):
    """A lease held: the epoch grows with every new holder and fences the one before."""

    name: str
    epoch: int


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed checkpoint of the feed: `hash` covers the positions above `after`, up to and including `upto`, and the hash of seal `n` - 1.

    Hash, public key and signature are hexadecimal; the signature is over everything else but the key.
    """

    n: int
    after: int
    upto: int
    hash: str
    at: datetime
    key: str = ""
    signature: str = ""


Sign = Callable[[Seal], Seal]


class NotKept(Exception):
    """Seals could not be written outside the database; the message says what to change."""


class Steps(Protocol):
    """What a drive executes its commands with: as the system, on behalf of whoever asked for the drive."""

    async def execute(self, command: Command[R]) -> R: ...


class Sealing(Protocol):
    def seal(self, purpose: str, data: bytes) -> bytes: ...
    def open(self, purpose: str, data: bytes) -> bytes: ...
    def mac(self, purpose: str, data: bytes) -> bytes: ...


Announce = Callable[[Sequence[Notice]], None]
"""Says the notices of a commit, soon and in their order; never fails, and never waits."""


def say_nothing(_: Sequence[Notice]) -> None:
    """Where nobody listens."""


class Jobs(Protocol):
    """A queue that runs sent commands; it may lose them, for the ledger hands them over again."""

    async def room(self) -> int:
        """How many more it takes at the moment: what nobody runs is handed over again and again, and would fill it without end."""
        ...

    async def enqueue(self, handovers: Sequence[tuple[UUID, int]]) -> None:
        """Each is the id of an outbox row and the number of this handover, which is also its fence."""
        ...


class Checkpoints(Protocol):
    """Signs seals, and keeps them where whoever owns the database cannot reach them."""

    def sign(self, seal: Seal) -> Seal: ...

    async def keep(self, ledger: "Ledger") -> int:
        """Write down the seals that are not yet; the number of the last one there is. Raises `NotKept`."""
        ...


def stopping() -> bool:
    """Whether this task was cancelled: an outage that is met while it cleans up would otherwise take the place of the cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def ended(tasks: Collection[asyncio.Task[Any]], *, patience: float = 1.0) -> None:
    """Cancel these tasks until they have ended, again after each so many seconds.

    For before Python 3.12 a cancellation is lost that comes together with what `asyncio.wait_for` waits for, and redis-py sends every
    command that way. A loop of ours sees to it by `stopping`; whatever else runs would run to its own end.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=patience)
    await asyncio.gather(*tasks, return_exceptions=True)


class AlreadyDone(Exception):
    """Another run of the same thing was first, or has taken it over; what this one did is rolled back."""


class Claimed(msgspec.Struct, frozen=True):
    """`mine`: run it. `running`: somebody does. `mismatch`: the key belongs to another request. Else `answer` holds the stored answer."""

    mine: bool = False
    running: bool = False
    mismatch: bool = False
    answer: bytes | None = None


class Ledger(Protocol):
    """The tables of the bus. It has no clock of its own: every time is given to it."""

    def unit(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction: committed at the end, rolled back by any exception."""
        ...

    async def write(self, work: UnitOfWork, commit: Commit) -> None:
        """Into the open transaction. Raises `LostLease` when a fence no longer holds, `AlreadyDone` when another run was first."""
        ...

    def ring(self) -> None:
        """Wakes the relay, soon and coalesced; never fails."""
        ...

    async def claim(self, claim: Claim, *, now: datetime) -> Claimed: ...

    async def release(self, claim: Claim) -> None: ...

    async def lead(self, name: str, holder: UUID, *, now: datetime, until: datetime) -> Leader | None:
        """Take a lease that is free, has passed, or was this holder's own."""
        ...

    async def stay(self, leader: Leader, *, until: datetime) -> None:
        """Renew; raises `LostLease`, as every method that takes the leader does, when there is a newer one."""
        ...

    async def leave(self, leader: Leader, *, now: datetime) -> None: ...

    async def sequence(self, leader: Leader, limit: int) -> int:
        """Give the next positions to events that have none; how many there were."""
        ...

    async def unpublished(self, limit: int) -> list[Envelope]:
        """Events past the watermark, in order."""
        ...

    async def stretch(self, area: str, after: int, upto: int, limit: int) -> list[Envelope]:
        """Events of one area with positions above `after`, up to and including `upto`."""
        ...

    async def watermarks(self) -> dict[str, int]: ...

    async def advance(self, leader: Leader, positions: dict[str, int]) -> None: ...

    async def head(self) -> int:
        """The last position of the feed; 0 when it is empty."""
        ...

    async def lasts(self, areas: Sequence[str], upto: int) -> dict[str, int]:
        """The last position of each area up to this one; 0 where it has none."""
        ...

    async def position_at(self, area: str, instant: datetime) -> int:
        """The position before the first event of this area that is not older than `instant`."""
        ...

    async def confirm(self, leader: Leader, confirmed: Sequence[Confirmed], *, now: datetime) -> None: ...

    async def confirmed(self, area: str) -> list[Confirmed]: ...

    async def seal(self, leader: Leader, limit: int, sign: Sign, *, now: datetime) -> Seal | None:
        """Seal the next positions of the feed, at most `limit` of them; None when all are."""
        ...

    async def seals(self, after: int, limit: int) -> list[Seal]:
        """Those with numbers above `after`, in order."""
        ...

    async def kept(self, leader: Leader, upto: int) -> None:
        """The seals up to this number lie outside the database too."""
        ...

    async def hand_over(self, leader: Leader, *, now: datetime, until: datetime, limit: int) -> list[Handover]:
        """Lease the commands that are due, or whose lease has passed."""
        ...

    async def begin(self, message: UUID, fence: int, *, until: datetime) -> Begun | None:
        """Lease the command of an outbox row, if nobody has begun it since it was handed over last, be that this time or later.

        So a job may wait in the queue for longer than its lease: whichever job of the command comes first runs it.
        """
        ...

    async def renew(self, message: UUID, fence: int, *, until: datetime) -> bool: ...

    async def postpone(self, message: UUID, fence: int, *, tries: int, due: datetime) -> None:
        """Back into the outbox until it is due, with this many tries spent."""
        ...

    async def bury_command(self, message: UUID, fence: int, *, error: str, now: datetime) -> None:
        """A command that will not be tried again becomes a dead letter."""
        ...

    async def is_done(self, reaction: str, envelope: Envelope) -> bool: ...

    async def is_known(self, reaction: str, envelope: Envelope) -> bool:
        """Whether a reaction has had an event, or owes it already."""
        ...

    async def park_behind(self, owed: Owed) -> bool:
        """Whether its key owes something; then the entry, unless it is done or owed already, is parked behind that."""
        ...

    async def owe(self, owed: Owed) -> None:
        """Keep an entry that did not succeed."""
        ...

    async def due(self, *, now: datetime, until: datetime, limit: int, paused: Sequence[str]) -> list[Owed]:
        """Lease what is due to be tried again: it is due once more at `until`, should this process die."""
        ...

    async def settled(self, done: Done) -> None:
        """An owed entry was done by an earlier run."""
        ...
