"""SAQ behind the `Jobs` protocol. It only carries: tries, backoff and dead letters are the ledger's."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from saq import Job
from saq.queue.redis import RedisQueue

from bus.message import Unavailable
from bus.transport import AWAY

NAME = "commands"
FUNCTION = "run_sent"
# Seconds after which SAQ ends a job; longer than any drive. A job whose worker died is handed over again by the ledger, long before.
FORGET_AFTER = 24 * 3600
# Jobs that may wait in the queue; the commands behind them wait in the outbox.
MOST = 1000
# Seconds that a Redis has to answer the end of a connection.
PARTING = 1.0
OUTAGE = 1.0

log: structlog.stdlib.BoundLogger = structlog.get_logger("jobs")


class QueueDown(Unavailable):
    code = "service.queue_unavailable"
    title = "The job queue does not answer at the moment; commands are kept and run later."


class PatientQueue(RedisQueue):
    """SAQ asks for the next job at once, whatever the last answer was: while Redis is away that would take a whole core."""

    _away = False

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:  # noqa: ASYNC109 - the signature is SAQ's, which the override must have
        try:
            job = await super().dequeue(timeout, poll_interval)
        except AWAY as error:
            if not self._away:
                log.warning("queue_down", error=type(error).__name__, hint="It is asked every second meanwhile.")
            self._away = True
            await asyncio.sleep(OUTAGE)
            return None
        self._away = False
        return job


Q = TypeVar("Q", bound=PatientQueue)


def make_queue(url: str, kind: type[Q] = PatientQueue) -> Q:
    """Over a connection that notices a Redis that has frozen; the worker waits for jobs a second at a time."""
    redis: Any = Redis
    connection = redis.from_url(url, socket_connect_timeout=3, socket_timeout=5, retry=Retry(NoBackoff(), 1))
    return kind(connection, name=NAME, dump=msgspec.json.encode, load=msgspec.json.decode)


async def close_queue(queue: RedisQueue) -> None:
    """Also when Redis is away or silent: SAQ's own way out speaks to it first."""
    try:
        async with asyncio.timeout(PARTING):
            await queue.disconnect()
    except AWAY:
        await queue.redis.aclose()


class SaqJobs:
    def __init__(self, queue: RedisQueue, *, most: int = MOST) -> None:
        self._queue, self._most = queue, most

    async def room(self) -> int:
        try:
            return max(0, self._most - await self._queue.count("queued"))
        except AWAY as error:
            raise QueueDown(retry_after=1) from error

    async def enqueue(self, handovers: Sequence[tuple[UUID, int]]) -> None:
        """Every try is a job of its own: one that hangs with a dead worker does not hold up the next."""
        try:
            for message, fence in handovers:
                key = f"{message}:{fence}"
                await self._queue.enqueue(
                    Job(FUNCTION, key=key, kwargs={"message": str(message), "fence": fence}, timeout=FORGET_AFTER, retries=1, ttl=60)
                )
        except AWAY as error:
            raise QueueDown(retry_after=1) from error
