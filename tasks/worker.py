"""The SAQ worker: runs what the relay handed over, and the crontab."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, cast
from uuid import UUID

import structlog
from saq import CronJob, Worker
from saq.queue.redis import RedisQueue
from saq.types import PartialTimersDict

from bus.catalog import wire_of
from bus.dispatch import Bus
from bus.inbox import Inbox
from bus.message import SYSTEM, Command
from bus.pipeline import Once
from bus.work import ended
from tasks.queue import FUNCTION

log = structlog.get_logger("jobs")

Function = Callable[..., Awaitable[None]]
# Seconds after which a schedule whose worker died while it sent its command is free for its next time.
STUCK = 10


class QuietWorker(Worker[Any]):
    """Signals belong to the process that runs it, and it stops once its jobs have ended.

    SAQ's own stop also waits for the upkeep tasks, which sleep for up to a minute, and so for the whole of the grace period.
    """

    SIGNALS: ClassVar[list[signal.Signals]] = []
    _upkeep: Sequence[asyncio.Task[None]] = ()

    async def upkeep(self) -> list[asyncio.Task[None]]:
        self._upkeep = await super().upkeep()
        return []

    async def stop(self) -> None:
        self.event.set()
        await ended(self._upkeep, patience=0.1)
        await super().stop()


def make_worker(queue: RedisQueue, bus: Bus, inbox: Inbox, crontab: Mapping[str, Command[Any]], *, concurrency: int = 10) -> QuietWorker:
    async def run_sent(_: Any, *, message: str, fence: int) -> None:
        await inbox.run_sent(UUID(message), fence)

    return QuietWorker(
        queue,
        functions=[(FUNCTION, run_sent)],
        cron_jobs=[CronJob(_scheduled(bus, command), cron, retries=1, timeout=STUCK) for cron, command in crontab.items()],
        concurrency=concurrency,
        dequeue_timeout=1,
        timers=cast("PartialTimersDict", {"sweep": STUCK}),
        shutdown_grace_period_s=10,
    )


def _scheduled(bus: Bus, command: Command[Any]) -> Function:
    """Sends its command, which the ledger then sees through. Each time of the schedule counts once.

    Named after its command, for SAQ knows schedules by the names of functions.
    """
    name = wire_of(type(command)).name

    async def run(context: Any) -> None:
        once = Once(f"{name}:{context['job'].scheduled}", caller="schedule")
        await bus.send(command, by=SYSTEM, once=once)

    run.__name__ = run.__qualname__ = f"cron {name}"
    return run
