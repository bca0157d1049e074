"""For tests: send commands, let everything that they caused happen, and see what it was."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from bus.catalog import wire_of
from bus.dispatch import Bus
from bus.inbox import Inbox
from bus.message import SYSTEM, Actor, Command, Trace
from bus.pipeline import Once
from bus.relay import Relay
from bus.transport import Streams

R = TypeVar("R")
CONSUMER = "harness"
ROUNDS = 200


class HandedOver:
    """The queue of the harness: it keeps what the relay handed over until `settle` runs it."""

    def __init__(self, most: int = 1000) -> None:
        self.waiting: list[tuple[UUID, int]] = []
        self._most = most

    async def room(self) -> int:
        return max(0, self._most - len(self.waiting))

    async def enqueue(self, handovers: Sequence[tuple[UUID, int]]) -> None:
        self.waiting += handovers


class Harness:
    """The shipped bus, relay and inbox, one step at a time in this process, against real PostgreSQL and Redis."""

    def __init__(self, bus: Bus, relay: Relay, inbox: Inbox, streams: Streams, jobs: HandedOver) -> None:
        self.bus, self.relay, self.inbox, self.streams, self.jobs = bus, relay, inbox, streams, jobs

    async def execute(self, command: Command[R], *, by: Actor = SYSTEM, once: Once | None = None, trace: Trace | None = None) -> R:
        return await self.bus.execute(command, by=by, once=once, trace=trace)

    async def settle(self) -> None:
        """Until nothing that is due by the clock is left: every event published and reacted to, every command run.

        What is due later stays; move the clock and settle again.
        """
        leader = await self.relay.lead()
        if leader is None:
            raise AssertionError("another relay leads; the harness must be the only one")
        for _ in range(ROUNDS):
            moved = await self.relay.step(leader) + await self._react() + await self.inbox.retry() + await self._run_jobs()
            if not moved:
                break
        else:
            raise AssertionError(f"still moving after {ROUNDS} rounds: something causes itself")
        await self.relay.check(leader)
        await self.bus.ledger.leave(leader, now=self.bus.clock())

    async def _react(self) -> int:
        moved = 0
        for plan in self.bus.registry.reactions.values():
            if plan.name in self.inbox.paused:
                continue
            area = wire_of(plan.messages[0]).area
            await self.streams.create_group(area, plan.name, 0)
            for entry, envelope in await self.streams.read(area, plan.name, CONSUMER):
                await self.inbox.receive(plan, envelope)
                await self.streams.acknowledge(area, plan.name, entry)
                moved += 1
        return moved

    async def _run_jobs(self) -> int:
        waiting, self.jobs.waiting = self.jobs.waiting, []
        for message, fence in waiting:
            await self.inbox.run_sent(message, fence)
        return len(waiting)
