"""The queue of turns: whatever waits for the partner's answer is driven, many at once, here or by another worker."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from bus.dispatch import Bus
from bus.message import SYSTEM, Unavailable
from bus.work import ended, stopping
from domain.practice.commands import AnswerTurn

log = structlog.get_logger("turns")

MOST = 500
POLL = 0.5
OUTAGE = 1.0

Waiting = Callable[[int], Awaitable[list[UUID]]]
Heard = Callable[[float], Awaitable[None]]
LetGo = Callable[[], Awaitable[None]]


class TurnQueue:
    """`waiting` names conversations, at most so many; `heard` returns when there may be something new, or after so many seconds; `let_go`
    gives what was cut off to whoever comes next.
    """

    def __init__(self, bus: Bus, waiting: Waiting, heard: Heard, let_go: LetGo, *, most: int = MOST) -> None:
        self._bus, self._waiting, self._heard, self._let_go, self._most = bus, waiting, heard, let_go, most
        self._driven: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled; what is being answered then is cut off, for another worker to begin anew."""
        try:
            while not stopping():
                try:
                    await self.begin()
                except Unavailable as outage:
                    log.warning("waiting", reason=outage.code)
                    await asyncio.sleep(OUTAGE)
                except Exception:
                    log.exception("turns_not_found")
                    await asyncio.sleep(OUTAGE)
                await self._heard(POLL)
        finally:
            await ended(list(self._driven.values()))
            try:
                await self._let_go()
            except Unavailable as outage:
                log.warning("not_let_go", reason=outage.code, hint="Others begin when the leases have passed.")

    async def begin(self) -> None:
        """Drive what waits and is not driven here yet, as far as there is room."""
        if len(self._driven) >= self._most:
            return
        for conversation in await self._waiting(self._most):
            if conversation not in self._driven and len(self._driven) < self._most:
                task = asyncio.create_task(self._drive(conversation))
                self._driven[conversation] = task
                task.add_done_callback(lambda _, which=conversation: self._driven.pop(which, None))

    async def settled(self) -> None:
        """Once everything that waits now is answered; for tests."""
        await self.begin()
        while self._driven:
            await asyncio.gather(*self._driven.values())
            await self.begin()

    async def _drive(self, conversation: UUID) -> None:
        try:
            await self._bus.execute(AnswerTurn(conversation=conversation), by=SYSTEM)
        except Unavailable as outage:
            log.warning("waiting", reason=outage.code, conversation=str(conversation))
            await asyncio.sleep(OUTAGE)
        except Exception:
            # Its lease ends soon, and then whoever finds it begins the next attempt; after twenty the turn has failed.
            log.exception("turn_failed", conversation=str(conversation))
            await asyncio.sleep(OUTAGE)
