"""`Bus.execute`: the pipeline, a unit of work, the handler, one commit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from bus.catalog import Answer, Catalog, Message, wire_of
from bus.message import Actor, Command, Envelope, Refusal, Trace
from bus.pipeline import CLAIM_LEASE, STANDARD, ByFence, ByInbox, ByKey, Call, Middleware, Once, compose, idempotent, restored, stored
from bus.registry import Plan, Registry
from bus.work import Announce, Clock, Commit, Done, Ledger, NewId, Refused, UnitOfWork, say_nothing

R = TypeVar("R")


class Bus:
    """The way in for every command, and for every event on its way to a reaction. Opens and commits; nobody else does.

    `claim_lease` is in seconds: after it, the repetition of a request whose process died runs.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        *,
        clock: Clock,
        new_id: NewId,
        claim_lease: float = CLAIM_LEASE,
        announce: Announce = say_nothing,
        middlewares: Sequence[Middleware] = STANDARD,
    ) -> None:
        self.registry = registry
        self.catalog: Catalog = registry.catalog
        self.ledger = ledger
        self.clock = clock
        self.new_id = new_id
        self._claim_lease = claim_lease
        self._announce = announce
        self._run = compose(tuple(middlewares), self._settle)

    async def execute(self, command: Command[R], *, by: Actor, once: Once | None = None, trace: Trace | None = None) -> R:
        """Run a command and answer with its result, once everything that it did is committed.

        Raises the `Refusal` of whoever refused; an unexpected error is raised as it is and leaves nothing behind.
        """
        call = self._call(command, by=by, trace=trace)
        call.guard = self._once(once, command) if once is not None else None
        call.rule = self.registry.policy[type(command)]
        return cast("R", await self._answer(call))

    async def send(self, command: Command[Any], *, by: Actor, once: Once) -> None:
        """Have a command run by a worker. Once this returns it will run, once, whoever dies meanwhile."""
        call = self._call(command, by=by, trace=None)
        call.guard = self._once(once, command)
        await idempotent(call, self._send)

    async def run_sent(self, envelope: Envelope, fence: int) -> None:
        """Run a command from the outbox as the system; `fence` is the number of its handover. Raises `LostLease` after a later one."""
        command = cast("Command[Any]", self.catalog.decode(envelope))
        call = self._call(command, by=envelope.actor, trace=_caused_by(envelope))
        call.id, call.envelope, call.guard = envelope.id, envelope, ByFence(envelope.id, fence)
        await self._answer(call)

    async def react(self, plan: Plan, envelope: Envelope, *, owed: bool = False) -> None:
        """Run one reaction to one event; a repetition changes nothing. `owed` says that it was tried before and has a row to settle."""
        event = self.catalog.decode(envelope)
        done = Done(reaction=plan.name, envelope=envelope, owed=owed, ordered=plan.ordered, now=self.clock())
        call = Call(
            id=envelope.id,
            plan=plan,
            message=event,
            by=envelope.actor.for_whom(),
            trace=_caused_by(envelope),
            guard=ByInbox(done, self.ledger),
            envelope=envelope,
        )
        await self._answer(call)

    async def _send(self, call: Call) -> None:
        async with self.ledger.unit() as work:
            work.send(cast("Command[Any]", call.message))
            await self._write(call, work, Answer())
        self.ledger.ring()

    def _once(self, once: Once, command: Command[Any]) -> ByKey:
        return ByKey(once, command, self.catalog, self.ledger, self.clock, self._claim_lease)

    def _call(self, command: Command[Any], *, by: Actor, trace: Trace | None) -> Call:
        plan = self.registry.handlers[type(command)]
        identity = self.new_id()
        return Call(
            id=identity,
            plan=plan,
            message=command,
            by=by,
            trace=trace or Trace(correlation_id=str(identity)),
            preparing=self.registry.prepared.get(type(command)),
        )

    async def _answer(self, call: Call) -> object:
        result = await self._run(call)
        if not isinstance(result, Answer):
            return result
        if result.refusal is not None:
            raise restored(result.refusal)
        return self.catalog.decode_result(type(call.message), result.result) if isinstance(call.message, Command) else None

    async def _settle(self, call: Call) -> object:
        """The innermost step: whatever the function does is committed with what proves that it ran."""
        if call.plan.kind == "handles" or call.plan.takes_work:
            return await self._in_unit(call)
        result = await call.plan.run(call.message, envelope=call.envelope, steps=BoundSteps(self, call))
        async with self.ledger.unit() as work:
            await self._write(call, work, Answer())
        return result

    async def _in_unit(self, call: Call) -> object:
        refusal: Refusal | None = None
        result: object = None
        async with self.ledger.unit() as work:
            try:
                result = await call.plan.run(call.message, work=work, prepared=call.prepared, envelope=call.envelope)
            except Refused as refused:
                refusal = refused.error
            await work.flush()
            if await self._project(work):
                await work.flush()
            answer = Answer(refusal=stored(refusal)) if refusal else Answer(result=self.catalog.encode_raw(result))
            await self._write(call, work, answer)
        if work.recorded or work.sent:
            self.ledger.ring()
        if work.notices:
            self._announce(work.notices)
        if refusal is not None and not isinstance(call.guard, ByFence | ByInbox):
            raise refusal
        return result

    async def _project(self, work: UnitOfWork) -> bool:
        """Run the inline projections, also of what they record themselves. Whether there were any."""
        ran = False
        for happened in work.recorded:
            for projection in self.registry.projections.get(type(happened.event), ()):
                await projection.run(happened.event, work=work)
                ran = True
        return ran

    async def _write(self, call: Call, work: UnitOfWork, answer: Answer) -> None:
        now = self.clock()
        commit = Commit(cancelled=work.cancelled)
        commit.events = [self._envelope(happened.event, call, happened.at or now) for happened in work.recorded]
        commit.commands = [(self._envelope(sent.command, call, now), sent.at or now, sent.key) for sent in work.sent]
        if call.guard is not None:
            call.guard.mark(commit, answer)
        await self.ledger.write(work, commit)

    def _envelope(self, message: Message, call: Call, at: datetime) -> Envelope:
        wire = wire_of(type(message))
        data, personal = self.catalog.parts_of(message)
        sent = isinstance(message, Command)
        if sent and not self.registry.policy[type(message)].internal:
            raise TypeError(f"{wire.name} was sent, but its policy line does not allow the system to run it")
        return Envelope(
            id=self.new_id(),
            name=wire.name,
            version=wire.version,
            at=at,
            actor=call.by.for_whom() if sent else call.by,
            trace=Trace(correlation_id=call.trace.correlation_id, causation_id=str(call.id), traceparent=call.trace.traceparent),
            data=data,
            personal=personal,
            number=self.catalog.number_of(message),
            key=self.catalog.key_of(message),
            subject=self.catalog.subject_of(message),
        )


def _caused_by(envelope: Envelope) -> Trace:
    return Trace(correlation_id=envelope.trace.correlation_id, causation_id=str(envelope.id), traceparent=envelope.trace.traceparent)


class BoundSteps:
    """The commands of a drive run as the system, on behalf of whoever asked for it, in the trace of its command."""

    def __init__(self, bus: Bus, call: Call) -> None:
        self._bus, self._call = bus, call

    async def execute(self, command: Command[R]) -> R:
        return await self._bus.execute(command, by=self._call.by, trace=self._call.trace)
