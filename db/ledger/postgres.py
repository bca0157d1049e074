"""The `Ledger` of the bus on PostgreSQL: its statements on the driver's connection."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from bus.message import Actor, Envelope, Trace
from bus.work import AlreadyDone, Begun, Claim, Claimed, Commit, Confirmed, Done, Handover, Leader, LostLease, Owed, Seal, Sign, UnitOfWork
from db.bell import Bell
from db.connection import Database, Driver, Row, Transaction, driver_of
from db.ledger import statements
from db.ledger.seals import KEPT, next_seal, seals_after

_META = msgspec.json.Encoder()


class _Meta(msgspec.Struct, frozen=True):
    actor: Actor
    trace: Trace


def envelope_of(row: Row) -> Envelope:
    """An event row with its position as the envelope it was recorded in."""
    meta = msgspec.json.decode(row["meta"], type=_Meta)
    return Envelope(
        id=row["id"],
        name=row["name"],
        version=row["v"],
        at=row["at"],
        actor=meta.actor,
        trace=meta.trace,
        data=msgspec.Raw(row["data"].encode()),
        key=row["key"],
        subject=row["subject"],
        position=row["position"],
    )


def _read(envelope: str) -> Envelope:
    return msgspec.json.decode(envelope, type=Envelope)


def _write(envelope: Envelope) -> str:
    return msgspec.json.encode(envelope).decode()


class PostgresLedger:
    """The statements. Each method is one short transaction, except `write`, which joins that of the unit of work.

    `unit` opens one, with the repositories that are of no concern here.
    """

    def __init__(self, database: Database, bell: Bell, unit: Callable[[Database], AbstractAsyncContextManager[Transaction]]) -> None:
        self._database, self._bell, self._unit = database, bell, unit

    # ------------------------------------------------------------------ commands

    def unit(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._unit(self._database)

    def ring(self) -> None:
        self._bell.ring()

    async def write(self, work: UnitOfWork, commit: Commit) -> None:
        if not isinstance(work, Transaction):
            raise TypeError("this unit of work is not one of PostgreSQL")
        driver = work.driver
        # The row of the command itself goes first: it may send itself again under the same key.
        if commit.spent is not None and await driver.fetchval(statements.SPEND, *commit.spent) is None:
            raise LostLease
        if commit.cancelled:
            await driver.execute("DELETE FROM outbox WHERE kind = 'command' AND key = ANY($1::text[])", commit.cancelled)
        if commit.events:
            await driver.execute(statements.RECORD, *_event_columns(commit.events))
        for envelope, due, key in commit.commands:
            await driver.execute(statements.SEND, envelope.id, key, due, _write(envelope))
        if commit.done is not None:
            await _mark_done(driver, commit.done)
        if commit.answer is not None:
            claim, answer = commit.answer
            if await driver.fetchval(statements.ANSWER, claim.caller, claim.key, claim.until, answer) is None:
                raise AlreadyDone

    async def claim(self, claim: Claim, *, now: datetime) -> Claimed:
        async with self._database.driver() as driver:
            if await driver.fetchval(statements.CLAIM, claim.caller, claim.key, claim.request, claim.until, now) is not None:
                return Claimed(mine=True)
            row = await driver.fetchrow("SELECT request, answer FROM idempotency WHERE caller = $1 AND key = $2", claim.caller, claim.key)
        if row is None:
            return Claimed(running=True)
        if row["request"] != claim.request:
            return Claimed(mismatch=True)
        return Claimed(running=row["answer"] is None, answer=row["answer"])

    async def release(self, claim: Claim) -> None:
        async with self._database.driver() as driver:
            await driver.execute(statements.RELEASE, claim.caller, claim.key, claim.until)

    # ------------------------------------------------------------------ the relay

    async def lead(self, name: str, holder: UUID, *, now: datetime, until: datetime) -> Leader | None:
        """Take a lease that is free or has passed."""
        async with self._database.driver() as driver:
            epoch = await driver.fetchval(statements.LEAD, name, holder, now, until)
        return None if epoch is None else Leader(name, epoch)

    async def stay(self, leader: Leader, *, until: datetime) -> None:
        async with self._database.driver() as driver:
            if await driver.fetchval(statements.STAY, leader.name, leader.epoch, until) is None:
                raise LostLease

    async def leave(self, leader: Leader, *, now: datetime) -> None:
        """Let the next one lead at once."""
        async with self._database.driver() as driver:
            await driver.execute("UPDATE leases SET until = $3 WHERE name = $1 AND epoch = $2", leader.name, leader.epoch, now)

    async def sequence(self, leader: Leader, limit: int) -> int:
        """Give the next positions to events that have none; how many there were."""
        [events] = await self._as(leader, statements.EVENTS_WAIT)
        if not events["wait"]:
            return 0
        [sequenced] = await self._as(leader, statements.SEQUENCE, limit)
        return sequenced["placed"]

    async def unpublished(self, limit: int) -> list[Envelope]:
        """Events past the watermark, in order."""
        async with self._database.driver() as driver:
            return [envelope_of(row) for row in await driver.fetch(statements.UNPUBLISHED, limit)]

    async def stretch(self, area: str, after: int, upto: int, limit: int) -> list[Envelope]:
        """Events of one area with positions above `after`, up to and including `upto`."""
        async with self._database.driver() as driver:
            return [envelope_of(row) for row in await driver.fetch(statements.STRETCH, area, after, upto, limit)]

    async def watermarks(self) -> dict[str, int]:
        async with self._database.driver() as driver:
            return {row["area"]: row["position"] for row in await driver.fetch("SELECT area, position FROM watermarks")}

    async def advance(self, leader: Leader, positions: dict[str, int]) -> None:
        await self._as(leader, statements.ADVANCE, list(positions), list(positions.values()))

    async def head(self) -> int:
        """The last position of the feed; 0 when it is empty."""
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT coalesce(max(position), 0) FROM feed")

    async def lasts(self, areas: Sequence[str], upto: int) -> dict[str, int]:
        async with self._database.driver() as driver:
            return {row["area"]: row["position"] for row in await driver.fetch(statements.LASTS, list(areas), upto)}

    async def position_at(self, area: str, instant: datetime) -> int:
        """The position before the first event of this area that is not older than `instant`."""
        async with self._database.driver() as driver:
            return await driver.fetchval(statements.POSITION_AT, instant, -statements.DISORDER, area)

    async def confirm(self, leader: Leader, confirmed: Sequence[Confirmed], *, now: datetime) -> None:
        async with self._led(leader) as driver:
            await driver.executemany(statements.CONFIRM, [(group.area, group.name, group.position, now) for group in confirmed])

    async def confirmed(self, area: str) -> list[Confirmed]:
        async with self._database.driver() as driver:
            rows = await driver.fetch("SELECT area, name, position, moved_at FROM groups WHERE area = $1 ORDER BY name", area)
        return [Confirmed(area=row["area"], name=row["name"], position=row["position"], moved_at=row["moved_at"]) for row in rows]

    async def seal(self, leader: Leader, limit: int, sign: Sign, *, now: datetime) -> Seal | None:
        """Seal the next positions of the feed, at most `limit` of them; None when all are."""
        async with self._led(leader) as driver:
            return await next_seal(driver, limit, sign, now=now)

    async def seals(self, after: int, limit: int) -> list[Seal]:
        """Those with numbers above `after`, in order."""
        async with self._database.driver() as driver:
            return await seals_after(driver, after, limit)

    async def kept(self, leader: Leader, upto: int) -> None:
        """The seals up to this number lie outside the database too."""
        async with self._led(leader) as driver:
            await driver.execute(KEPT, upto)

    async def hand_over(self, leader: Leader, *, now: datetime, until: datetime, limit: int) -> list[Handover]:
        [commands] = await self._as(leader, statements.COMMANDS_WAIT, now)
        if not commands["wait"]:
            return []
        rows = await self._as(leader, statements.HAND_OVER, now, until, limit)
        envelopes = [(_read(row["envelope"]), row) for row in rows if row["envelope"] is not None]
        return [
            Handover(
                message=envelope.id,
                fence=row["fence"],
                name=envelope.name,
                actor=str(envelope.actor),
                correlation_id=envelope.trace.correlation_id,
                due=row["due"],
            )
            for envelope, row in envelopes
        ]

    # ------------------------------------------------------------------ jobs

    async def begin(self, message: UUID, fence: int, *, until: datetime) -> Begun | None:
        async with self._database.driver() as driver:
            row = await driver.fetchrow(statements.BEGIN, message, fence, until)
        return None if row is None else Begun(_read(row["envelope"]), row["fence"], row["tries"])

    async def renew(self, message: UUID, fence: int, *, until: datetime) -> bool:
        async with self._database.driver() as driver:
            return (await driver.execute("UPDATE outbox SET lease = $3 WHERE id = $1 AND fence = $2", message, fence, until)) == "UPDATE 1"

    async def postpone(self, message: UUID, fence: int, *, tries: int, due: datetime) -> None:
        """Back into the outbox until it is due, with this many tries spent."""
        async with self._database.driver() as driver:
            await driver.execute(statements.POSTPONE, message, fence, tries, due)

    async def bury_command(self, message: UUID, fence: int, *, error: str, now: datetime) -> None:
        """A command that will not be tried again becomes a dead letter."""
        async with self._database.driver() as driver:
            await driver.execute(statements.BURY_COMMAND, message, fence, error, now)

    # ------------------------------------------------------------------ the inbox

    async def is_done(self, reaction: str, envelope: Envelope) -> bool:
        async with self._database.driver() as driver:
            return await driver.fetchval(statements.IS_DONE, reaction, envelope.id, envelope.at) is not None

    async def is_known(self, reaction: str, envelope: Envelope) -> bool:
        """Whether a reaction has had an event, or owes it already."""
        async with self._database.driver() as driver:
            return await driver.fetchval(statements.IS_KNOWN, reaction, envelope.id, envelope.at) is not None

    async def park_behind(self, owed: Owed) -> bool:
        """Whether its key owes something; then the entry, unless it is done or owed already, is parked behind that."""
        # Without the lock first: only whoever reads the stream gives a key its first entry, and that is the caller.
        async with self._database.driver() as driver:
            if await driver.fetchval(statements.OWES, owed.reaction, owed.envelope.key) is None:
                return False
        async with self._database.transaction() as connection:
            driver, envelope = driver_of(connection), owed.envelope
            await driver.execute(statements.LOCK_KEY, owed.reaction, envelope.key)
            parked = (owed.reaction, envelope.id, envelope.key, envelope.position, _write(envelope), envelope.at, owed.id, owed.at)
            return await driver.fetchval(statements.PARK, *parked)

    async def owe(self, owed: Owed) -> None:
        """Keep an entry that did not succeed: waiting until it is due, or dead."""
        async with self._database.driver() as driver:
            envelope = owed.envelope
            await driver.execute(
                statements.OWE,
                owed.reaction,
                envelope.id,
                owed.state,
                envelope.key,
                envelope.position,
                owed.tries,
                owed.due,
                owed.error,
                _write(envelope),
                owed.id,
                owed.at,
            )

    async def due(self, *, now: datetime, until: datetime, limit: int, paused: Sequence[str]) -> list[Owed]:
        async with self._database.driver() as driver:
            rows = await driver.fetch(statements.DUE, now, until, limit, list(paused))
        return [
            Owed(id=row["id"], at=row["at"], reaction=row["reaction"], envelope=_read(row["envelope"]), state="waiting", tries=row["tries"])
            for row in rows
        ]

    async def settled(self, done: Done) -> None:
        async with self._database.transaction() as connection:
            await _settle(driver_of(connection), done)

    # ------------------------------------------------------------------ housekeeping

    async def lag(self) -> tuple[int, datetime | None]:
        """How many events are committed, but not yet in their stream, and since when the oldest of them waits."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(statements.LAG)
        return (0, None) if row is None else (row["waiting"], row["since"])

    async def _as(self, leader: Leader, statement: str, *arguments: object) -> list[Row]:
        """The rows of a statement that has none for whoever does not lead."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(statement, leader.name, leader.epoch, *arguments)
        if not rows:
            raise LostLease
        return rows

    @asynccontextmanager
    async def _led(self, leader: Leader) -> AsyncGenerator[Driver, None]:
        """A transaction that only the current leader can commit: a new one waits for it, and an old one finds another epoch."""
        async with self._database.transaction() as connection:
            driver = driver_of(connection)
            if await driver.fetchval(statements.LED, leader.name, leader.epoch) is None:
                raise LostLease
            yield driver


def _event_columns(envelopes: Sequence[Envelope]) -> tuple[list[Any], ...]:
    meta = [_META.encode(_Meta(envelope.actor, envelope.trace)).decode() for envelope in envelopes]
    return (
        [envelope.id for envelope in envelopes],
        [None if envelope.key is None else f"{envelope.area}-{envelope.key}" for envelope in envelopes],
        [envelope.name for envelope in envelopes],
        [envelope.version for envelope in envelopes],
        [envelope.key for envelope in envelopes],
        [envelope.subject for envelope in envelopes],
        [bytes(envelope.data).decode() for envelope in envelopes],
        meta,
        [envelope.at for envelope in envelopes],
        [envelope.number for envelope in envelopes],
        [None if envelope.personal is None else bytes(envelope.personal).decode() for envelope in envelopes],
    )


async def _mark_done(driver: Driver, done: Done) -> None:
    if await driver.fetchval(statements.DONE, done.reaction, done.envelope.id, done.envelope.at) is None:
        raise AlreadyDone
    if done.owed:
        await _settle(driver, done)


async def _settle(driver: Driver, done: Done) -> None:
    if done.ordered:
        await driver.execute(statements.LOCK_KEY, done.reaction, done.envelope.key)
    await driver.execute("DELETE FROM deliveries WHERE reaction = $1 AND message = $2", done.reaction, done.envelope.id)
    if done.ordered:
        await driver.execute(statements.UNPARK, done.reaction, done.envelope.key, done.now)
