"""The worker: a reader for every reaction, and what is due to be tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from bus.catalog import wire_of
from bus.inbox import Inbox
from bus.message import Envelope, Unavailable
from bus.registry import Plan, Registry
from bus.transport import Reader, Streams
from bus.work import Clock, Leader, Ledger, LostLease, ended, stopping

log = structlog.get_logger("worker")

POLL = 0.25
RETRY_OUTAGE = 1.0
BATCH = 100


class Place:
    """Up to which position an ordered reaction has had everything; None for a new one, which begins with the first entry that it meets."""

    def __init__(self, had: int | None) -> None:
        self.had = had


class Worker:
    """Any number of them. `lease` and `reclaim_idle` are in seconds."""

    def __init__(
        self,
        registry: Registry,
        inbox: Inbox,
        ledger: Ledger,
        streams: Streams,
        *,
        clock: Clock,
        holder: UUID,
        lease: float,
        reclaim_idle: float,
    ) -> None:
        self._registry, self._inbox, self._ledger, self._streams = registry, inbox, ledger, streams
        self._clock, self._holder, self._lease, self._reclaim_idle = clock, holder, lease, reclaim_idle

    async def run(self) -> None:
        """Until cancelled; what is being handled then is finished first."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever(self._retry))
            for plan in self._registry.reactions.values():
                tasks.create_task(self._for_ever(partial(self._read, plan)))

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """An outage, a lost lease or a subscriber that stopped is followed by a new start, unless it was met on the way out."""
        while not stopping():
            try:
                await work()
            except LostLease:
                log.warning("lease_lost")
            except Unavailable as outage:
                log.warning("waiting", reason=outage.code)
                await asyncio.sleep(RETRY_OUTAGE)

    async def _retry(self) -> None:
        """What is being tried when the process stops is finished first."""
        trying = asyncio.create_task(self._inbox.retry())
        try:
            found = await asyncio.shield(trying)
        except asyncio.CancelledError:
            await trying
            raise
        if not found:
            await asyncio.sleep(POLL)

    async def _read(self, plan: Plan) -> None:
        """One stay at the stream, until the subscriber stops, the port asks for a pause, or an ordered reaction loses its lease."""
        if plan.name in self._inbox.paused:
            await asyncio.sleep(POLL)
            return
        leader = await self._lead(plan) if plan.ordered else None
        if plan.ordered and leader is None:
            await asyncio.sleep(self._lease / 5)
            return
        area = wire_of(plan.messages[0]).area
        consumer = f"worker-{self._holder.hex}"
        confirmed = await self._confirmed(area, plan.name)
        receive = partial(self._receive, plan, Place(confirmed) if plan.ordered else None)
        reader = Reader(self._streams, area, plan.name, receive, consumer=consumer, reclaim_idle=self._reclaim_idle)
        starting = asyncio.create_task(reader.start(position=confirmed or 0, alone=plan.ordered))
        log.info("reading", reaction=plan.name, stream=area)
        try:
            # The lease is renewed from the beginning: taking over what is pending can take long.
            while not stopping() and (not starting.done() or (reader.running and plan.name not in self._inbox.paused)):
                await asyncio.sleep(min(self._lease / 5, self._reclaim_idle / 4, 1.0))
                if leader is not None:
                    await self._ledger.stay(leader, until=self._until())
                if starting.done():
                    await reader.hold()
            if not stopping():
                await starting
                log.warning("reader_stopped", reaction=plan.name, paused=plan.name in self._inbox.paused)
        finally:
            await ended([starting])
            await asyncio.shield(reader.stop())
            if leader is not None:
                await asyncio.shield(self._ledger.leave(leader, now=self._clock()))

    async def _receive(self, plan: Plan, place: Place | None, envelope: Envelope) -> None:
        """Returns once the entry may be acknowledged, however long PostgreSQL takes."""
        while True:
            try:
                if place is not None and envelope.position is not None:
                    await self._catch_up(plan, place, envelope.area, envelope.position)
                return await self._inbox.receive(plan, envelope)
            except Unavailable as outage:
                log.warning("waiting", reason=outage.code, reaction=plan.name)
                await asyncio.sleep(RETRY_OUTAGE)
            except Exception:
                # FastStream acknowledges whatever comes out of here, and nothing was kept.
                log.exception("inbox_failed", reaction=plan.name, message_id=str(envelope.id))
                await asyncio.sleep(RETRY_OUTAGE)

    async def _catch_up(self, plan: Plan, place: Place, area: str, position: int) -> None:
        """What lies before an entry and was trimmed from the stream is taken from the feed, or it would come too late for its order."""
        had = position if place.had is None else place.had
        while had < position - 1 and (missing := await self._ledger.stretch(area, had, position - 1, BATCH)):
            for envelope in missing:
                await self._inbox.receive(plan, envelope)
                had = place.had = envelope.position or 0
        place.had = max(had, position)

    async def _lead(self, plan: Plan) -> Leader | None:
        return await self._ledger.lead(f"reaction:{plan.name}", self._holder, now=self._clock(), until=self._until())

    def _until(self) -> datetime:
        return self._clock() + timedelta(seconds=self._lease)

    async def _confirmed(self, area: str, group: str) -> int | None:
        """Where a group that Redis does not have goes on; a new reaction, with None, begins with all that the stream still holds."""
        return next((known.position for known in await self._ledger.confirmed(area) if known.name == group), None)
