"""The relay: gives events their positions, publishes them in order, hands commands over, repairs and trims the streams."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from bus.message import Unavailable
from bus.transport import Streams
from bus.work import Checkpoints, Clock, Confirmed, Jobs, Leader, Ledger, LostLease, NotKept, stopping

log = structlog.get_logger("relay")

BATCH = 1000
# Positions under one seal: about 15 ms of the database, in which nothing is published.
STRETCH = 2000


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds, except where a name says otherwise."""

    lease: float = 5.0
    poll: float = 0.25
    seal_every: float = 60.0
    job_lease: float = 60.0
    stream_days: int = 7
    foreign_group_days: int = 7


class Relay:
    """One at a time leads, by a lease with an epoch that fences a paused one; the others stand by."""

    def __init__(
        self,
        ledger: Ledger,
        streams: Streams,
        jobs: Jobs,
        checkpoints: Checkpoints,
        *,
        areas: Sequence[str],
        reactions: Collection[str],
        clock: Clock,
        holder: UUID,
        heard: Callable[[float], Awaitable[None]],
        settings: RelaySettings,
    ) -> None:
        self._ledger, self._streams, self._jobs, self._areas = ledger, streams, jobs, areas
        self._checkpoints = checkpoints
        self._reactions = frozenset(reactions)
        self._clock, self._holder, self._heard, self._settings = clock, holder, heard, settings
        self._renewed: datetime | None = None
        self._checked: datetime | None = None
        self._trimmed: datetime | None = None
        self._sealed: datetime | None = None
        self._down = ""

    async def run(self) -> None:
        """Until cancelled. An outage of PostgreSQL or Redis is waited out, except one that is met on the way out."""
        while not stopping():
            try:
                leader = await self.lead()
                if leader is not None:
                    log.info("leading", epoch=leader.epoch)
                    await self._work(leader)
            except LostLease:
                log.warning("lease_lost")
            except Unavailable as outage:
                self._say(outage)
            await asyncio.sleep(self._settings.lease / 5)

    async def lead(self) -> Leader | None:
        now = self._clock()
        leader = await self._ledger.lead("relay", self._holder, now=now, until=now + timedelta(seconds=self._settings.lease))
        if leader is not None:
            self._renewed, self._checked, self._trimmed = now, None, now
        return leader

    async def _work(self, leader: Leader) -> None:
        try:
            while not stopping():
                if not await self.step(leader):
                    await self._heard(self._settings.poll)
        finally:
            if stopping():
                await asyncio.shield(self._ledger.leave(leader, now=self._clock()))

    async def step(self, leader: Leader) -> int:
        """One round of everything that is due; how much there was to do. Without Redis, events still get their positions."""
        await self._renew(leader)
        moved = await self._ledger.sequence(leader, BATCH)
        try:
            if _due(self._checked, self._clock(), seconds=1):
                await self.check(leader)
            moved += await self.publish(leader)
            moved += await self.hand_over(leader)
            if _due(self._trimmed, self._clock(), seconds=60):
                await self.trim()
        except LostLease:
            raise
        except Unavailable as outage:
            self._say(outage)
            await asyncio.sleep(self._settings.poll)
        else:
            self._down = ""
        # Last, for nothing is published meanwhile; and without Redis as well.
        if _due(self._sealed, self._clock(), seconds=self._settings.seal_every):
            moved += await self.seal(leader)
        return moved

    async def seal(self, leader: Leader) -> bool:
        """Seal a stretch of the feed, and see that what is sealed lies outside the database too; whether there may be more to seal."""
        now = self._clock()
        seal = await self._ledger.seal(leader, STRETCH, self._checkpoints.sign, now=now)
        if seal is not None:
            log.info("checkpoint", **msgspec.to_builtins(seal))
        more = seal is not None and seal.upto - seal.after == STRETCH
        if not more:
            self._sealed = now
        try:
            await self._ledger.kept(leader, await self._checkpoints.keep(self._ledger))
        except NotKept as error:
            log.warning("checkpoints_not_kept", reason=str(error))
        return more

    async def publish(self, leader: Leader) -> int:
        """Append what lies past the watermark, in one order over all streams at once. `ms` in the log is since the event happened."""
        envelopes = await self._ledger.unpublished(BATCH)
        if not envelopes:
            return 0
        marks = await self._ledger.watermarks()
        if (envelopes[0].position or 0) <= max(marks.values(), default=0):
            # This relay was paused in between, and the next leader has published them.
            return 0
        last = {envelope.area: envelope.position or 0 for envelope in envelopes}
        if await self._streams.append({area: marks.get(area, 0) for area in last}, envelopes):
            await self.repair(leader)
            return 1
        await self._ledger.advance(leader, last)
        for envelope in envelopes:
            log.info(
                "published",
                message=envelope.name,
                message_id=str(envelope.id),
                position=envelope.position,
                actor=str(envelope.actor),
                correlation_id=envelope.trace.correlation_id,
                outcome="ok",
                ms=round((self._clock() - envelope.at).total_seconds() * 1000, 2),
            )
        return len(envelopes)

    async def hand_over(self, leader: Leader) -> int:
        """No more than the queue has room for; the others wait in the outbox."""
        room = await self._jobs.room()
        if not room:
            return 0
        now = self._clock()
        lease = timedelta(seconds=self._settings.job_lease)
        handovers = await self._ledger.hand_over(leader, now=now, until=now + lease, limit=min(BATCH, room))
        if handovers:
            await self._jobs.enqueue([(handover.message, handover.fence) for handover in handovers])
        for handover in handovers:
            log.info(
                "handed_over",
                message=handover.name,
                message_id=str(handover.message),
                fence=handover.fence,
                actor=handover.actor,
                correlation_id=handover.correlation_id,
                outcome="ok",
                ms=round((self._clock() - handover.due).total_seconds() * 1000, 2),
            )
        return len(handovers)

    async def check(self, leader: Leader) -> None:
        """Notice what Redis lost; copy the confirmed position of every group to PostgreSQL."""
        marks = await self._ledger.watermarks()
        ends = await self._streams.ends(self._areas)
        if any(ends[area] != marks.get(area, 0) for area in self._areas):
            await self.repair(leader)
        cut = [area for area in self._areas if await self._record(leader, area, marks.get(area, 0))]
        for area in cut:
            log.error("stream_cut", area=area)
            await self._streams.drop(area)
        if cut:
            await self.repair(leader)
        self._checked = self._clock()

    async def _record(self, leader: Leader, area: str, mark: int) -> bool:
        """Put on record where the groups of a stream stand. Whether somebody else trimmed what one of them had not confirmed.

        Then where they stood a second ago remains on record: by now they may have passed over what they missed.
        """
        now = self._clock()
        there, first = await self._streams.confirmed(area), await self._streams.first(area)
        known = {group.name: group for group in await self._ledger.confirmed(area)}
        behind = min((group.position for group in known.values() if self._holds(group, mark)), default=mark)
        missing = await self._ledger.stretch(area, behind, mark, 1) if behind < mark else []
        cut = bool(missing) and (first is None or (missing[0].position or 0) < first)
        # A new group does not wait for what was trimmed before it came.
        least = mark if first is None else first - 1
        found = {name: max(position, least) for name, position in there.items() if name not in known}
        if not cut:
            found |= {name: position for name, position in there.items() if name in known}
        if found:
            positions = [Confirmed(area=area, name=name, position=position, moved_at=now) for name, position in found.items()]
            await self._ledger.confirm(leader, positions, now=now)
        for name, group in known.items():
            if name not in there and await self._streams.create_group(area, name, group.position):
                log.warning("group_recreated", area=area, group=name, position=group.position)
        return cut

    async def repair(self, leader: Leader) -> None:
        """Make every stream end where it must again, from the feed, before anything newer is published.

        A stream may be further on than its watermark: a relay died between publishing and moving it, and what it wrote is what we would
        write. It published to all streams at once, so the others must be as far.
        """
        marks, head = await self._ledger.watermarks(), await self._ledger.head()
        areas = sorted({*self._areas, *marks})  # Also those of a newer build.
        ends = await self._streams.ends(areas)
        published = max([*marks.values(), *(end for end in ends.values() if end <= head)], default=0)
        lasts = await self._ledger.lasts(areas, published)
        for area, last in lasts.items():
            end = ends[area]
            if end > last:
                log.error("foreign_entries", area=area, end=end, head=head)
                await self._streams.drop(area)
                end = 0
            if end < last:
                await self._refill(leader, area, end, last)
        await self._ledger.advance(leader, {area: last for area, last in lasts.items() if last})

    async def _refill(self, leader: Leader, area: str, end: int, mark: int) -> None:
        # At least the last entry is written again, however old: its id is where the stream must end.
        after = end or min(await self._floor(area, mark), mark - 1)
        written = 0
        while envelopes := await self._ledger.stretch(area, after, mark, BATCH):
            if await self._streams.append({area: end}, envelopes):
                return
            end = after = envelopes[-1].position or 0
            written += len(envelopes)
            await self._renew(leader)
        for known in await self._ledger.confirmed(area):
            await self._streams.create_group(area, known.name, known.position)
        log.warning("stream_refilled", area=area, entries=written, upto=mark)

    async def _floor(self, area: str, mark: int) -> int:
        """Below this position nobody needs the stream: it is old, and every group that still moves has confirmed it."""
        aged = await self._ledger.position_at(area, self._clock() - timedelta(days=self._settings.stream_days))
        awaited = [aged]
        for group in await self._ledger.confirmed(area):
            if self._holds(group, mark):
                awaited.append(group.position)
            else:
                log.warning("group_not_moving", area=area, group=group.name, position=group.position, since=group.moved_at.isoformat())
        return min(awaited)

    def _holds(self, group: Confirmed, mark: int) -> bool:
        """Whether a stream keeps what this group has not confirmed."""
        still = self._clock() - group.moved_at > timedelta(days=self._settings.foreign_group_days)
        return group.position >= mark or group.name in self._reactions or not still

    async def trim(self) -> None:
        for area, mark in (await self._ledger.watermarks()).items():
            await self._streams.trim(area, await self._floor(area, mark) + 1)
        self._trimmed = self._clock()

    async def _renew(self, leader: Leader) -> None:
        now = self._clock()
        if _due(self._renewed, now, seconds=self._settings.lease / 5):
            await self._ledger.stay(leader, until=now + timedelta(seconds=self._settings.lease))
            self._renewed = now

    def _say(self, outage: Unavailable) -> None:
        """Once per outage, not once per poll."""
        if outage.code != self._down:
            log.warning("waiting", reason=outage.code)
            self._down = outage.code


def _due(last: datetime | None, now: datetime, *, seconds: float) -> bool:
    return last is None or now - last >= timedelta(seconds=seconds)
