"""From a stream entry to a reaction that is done, waiting, parked or dead; and the running of sent commands."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec
import structlog

from bus.catalog import wire_of
from bus.dispatch import Bus
from bus.message import Envelope, Unavailable
from bus.registry import Plan
from bus.transport import UNREADABLE
from bus.work import Clock, Dead, Ledger, LostLease, Owed, stopping

log = structlog.get_logger("inbox")

# Tried at once, so that none of them waits for another longer than its lease.
BATCH = 8


class InboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`tries` in all, the first one included. Backoff doubles from `first` to `most` seconds, with full jitter."""

    tries: int = 8
    first: float = 1.0
    most: float = 3600.0
    done_days: int = 30
    lease: float = 60.0


class Inbox:
    """An entry that was received is settled or kept in PostgreSQL, so the stream may forget it. When it raises, nothing was kept."""

    def __init__(self, bus: Bus, ledger: Ledger, *, clock: Clock, settings: InboxSettings) -> None:
        self._bus, self._ledger, self._clock, self._settings = bus, ledger, clock, settings
        self._paused: dict[str, datetime] = {}
        self._handled: Mapping[str, frozenset[str]] = {
            name: frozenset(wire_of(event).name for event in plan.messages) for name, plan in bus.registry.reactions.items()
        }

    @property
    def paused(self) -> list[str]:
        """Reactions whose port asked for a pause."""
        now = self._clock()
        return [name for name, until in self._paused.items() if until > now]

    async def receive(self, plan: Plan, envelope: Envelope) -> None:
        """An entry of the stream, which may be acknowledged afterwards."""
        if envelope.name != UNREADABLE and envelope.name not in self._handled[plan.name]:
            return
        if await self._ledger.is_known(plan.name, envelope):
            log.info("repeated", reaction=plan.name, message_id=str(envelope.id))
        elif envelope.name == UNREADABLE:
            await self._keep(plan.name, envelope, "dead", tries=0, error="unreadable: the entry is not an event of ours")
        elif self._clock() - envelope.at > timedelta(days=self._settings.done_days):
            await self._keep(plan.name, envelope, "dead", tries=0, error="too_old: whether it was done before is no longer known")
        elif plan.ordered and envelope.key is not None and await self._ledger.park_behind(self._owed(plan.name, envelope, "parked")):
            log.info("parked", reaction=plan.name, key=envelope.key, message_id=str(envelope.id))
        elif (until := self._paused.get(plan.name)) is not None and until > self._clock():
            await self._keep(plan.name, envelope, "waiting", tries=0, error="read before the pause was known", due=until)
        else:
            await self._attempt(plan, envelope, tries=0, owed=False)

    async def retry(self) -> int:
        """Try again what is due; how many there were. One that takes longer than the lease may run twice at once: long work is a drive."""
        now = self._clock()
        lease = timedelta(seconds=self._settings.lease)
        due = await self._ledger.due(now=now, until=now + lease, limit=BATCH, paused=self.paused)
        for outcome in await asyncio.gather(*map(self._again, due), return_exceptions=True):
            if outcome is not None:
                raise outcome
        return len(due)

    async def _again(self, owed: Owed) -> None:
        plan = self._bus.registry.reactions.get(owed.reaction)
        if plan is None:
            await self._keep(owed.reaction, owed.envelope, "dead", tries=owed.tries, error="no reaction has this name any more")
        else:
            await self._attempt(plan, owed.envelope, tries=owed.tries, owed=True)

    async def _attempt(self, plan: Plan, envelope: Envelope, *, tries: int, owed: bool) -> None:
        try:
            await self._bus.react(plan, envelope, owed=owed)
        except Dead as verdict:
            await self._keep(plan.name, envelope, "dead", tries=tries + 1, error=str(verdict))
        except Unavailable as outage:
            pause = timedelta(seconds=outage.retry_after or self._settings.first)
            await self._keep(plan.name, envelope, "waiting", tries=tries, error=_told(outage), due=self._clock() + pause)
            self._paused[plan.name] = self._clock() + pause
            log.warning("paused", reaction=plan.name, seconds=pause.total_seconds(), reason=outage.code)
        except Exception as error:
            log.warning("reaction_failed", reaction=plan.name, message_id=str(envelope.id), tries=tries + 1, exc_info=error)
            if tries + 1 >= self._settings.tries:
                await self._keep(plan.name, envelope, "dead", tries=tries + 1, error=_told(error))
            else:
                due = self._clock() + self._backoff(tries + 1)
                await self._keep(plan.name, envelope, "waiting", tries=tries + 1, error=_told(error), due=due)

    async def _keep(
        self,
        reaction: str,
        envelope: Envelope,
        state: Literal["waiting", "dead"],
        *,
        tries: int,
        error: str,
        due: datetime | None = None,
    ) -> None:
        await self._ledger.owe(self._owed(reaction, envelope, state, tries=tries, due=due, error=error))
        if state == "dead":
            log.error("dead_letter", reaction=reaction, message=envelope.name, message_id=str(envelope.id), tries=tries, error=error)

    def _owed(
        self,
        reaction: str,
        envelope: Envelope,
        state: Literal["waiting", "parked", "dead"],
        *,
        tries: int = 0,
        due: datetime | None = None,
        error: str | None = None,
    ) -> Owed:
        identity, at = self._bus.new_id(), self._clock()
        return Owed(id=identity, at=at, reaction=reaction, envelope=envelope, state=state, tries=tries, due=due, error=error)

    def _backoff(self, tries: int) -> timedelta:
        most = min(self._settings.most, self._settings.first * 2 ** (tries - 1))
        return timedelta(seconds=random.uniform(0, most))  # noqa: S311 - jitter, not a secret

    async def run_sent(self, message: UUID, fence: int) -> None:
        """Run a command of the outbox, unless somebody else does or has; a failure puts it back, or buries it."""
        begun = await self._ledger.begin(message, fence, until=self._clock() + timedelta(seconds=self._settings.lease))
        if begun is None:
            return
        envelope, fence, tries = begun.envelope, begun.fence, begun.tries
        if tries > self._settings.tries:
            await self._bury(envelope, fence, tries, "its process died in every try")
            return
        try:
            async with self._renewed(message, fence):
                await self._bus.run_sent(envelope, fence)
        except LostLease:
            log.warning("overtaken", message=envelope.name, message_id=str(message), fence=fence)
        except Dead as verdict:
            await self._bury(envelope, fence, tries, str(verdict))
        except Unavailable as outage:
            pause = timedelta(seconds=outage.retry_after or self._settings.first)
            await self._ledger.postpone(message, fence, tries=tries - 1, due=self._clock() + pause)
        except Exception as error:
            log.warning("command_failed", message=envelope.name, message_id=str(message), tries=tries, exc_info=error)
            if tries >= self._settings.tries:
                await self._bury(envelope, fence, tries, _told(error))
            else:
                await self._ledger.postpone(message, fence, tries=tries, due=self._clock() + self._backoff(tries))

    async def _bury(self, envelope: Envelope, fence: int, tries: int, error: str) -> None:
        await self._ledger.bury_command(envelope.id, fence, error=error, now=self._clock())
        log.error("dead_letter", message=envelope.name, message_id=str(envelope.id), tries=tries, error=error)

    @asynccontextmanager
    async def _renewed(self, message: UUID, fence: int) -> AsyncGenerator[None, None]:
        """Keep the lease for as long as the command runs; after an outage it is asked for again, before it passes if that is possible."""

        async def renew() -> None:
            held, pause = True, self._settings.lease / 3
            while held and not stopping():
                await asyncio.sleep(pause)
                try:
                    held = await self._ledger.renew(message, fence, until=self._clock() + timedelta(seconds=self._settings.lease))
                    pause = self._settings.lease / 3
                except Unavailable as outage:
                    log.warning("lease_not_renewed", message_id=str(message), fence=fence, reason=outage.code)
                    pause = self._settings.lease / 30

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _told(error: BaseException) -> str:
    """An error for the row of a dead letter: its type and its text, shortened."""
    return f"{type(error).__name__}: {error}"[:500]
