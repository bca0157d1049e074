"""What every call passes on its way to the handler, outermost first, in one list."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog

from bus.catalog import Answer, Catalog, StoredRefusal, wire_of
from bus.message import Actor, Command, Envelope, Event, Refusal, Trace, TryAgain
from bus.registry import Plan, Rule
from bus.work import AlreadyDone, Claim, Commit, Done, Ledger, LostLease

log = structlog.get_logger("bus")

ATTEMPTS = 3
CLAIM_LEASE = 30.0
CLAIM_WAIT = 5.0


class Once:
    """An idempotency key; after the call, `replayed` says whether the answer is that of an earlier one.

    `caller` is whose key it is. Two callers may use the same key for different things.
    """

    def __init__(self, key: str, *, caller: str) -> None:
        self.key = key
        self.caller = caller
        self.replayed = False


class Guard(Protocol):
    """Makes a repetition of the same call change nothing."""

    async def enter(self) -> Answer | None:
        """The stored answer when the call ran before."""
        ...

    def mark(self, commit: Commit, answer: Answer) -> None:
        """What the transaction of the call writes, so that the next run finds it."""
        ...

    async def abandon(self) -> None:
        """The call was rolled back; the next one may run."""
        ...


class Call(msgspec.Struct, kw_only=True):
    """One run of one function, with everything that the pipeline needs to know about it."""

    id: UUID
    plan: Plan
    message: Command[Any] | Event
    by: Actor
    trace: Trace
    rule: Rule | None = None
    preparing: Plan | None = None
    prepared: object = None
    guard: Guard | None = None
    envelope: Envelope | None = None


Next = Callable[[Call], Awaitable[object]]
Middleware = Callable[[Call, Next], Awaitable[object]]


async def traced(call: Call, proceed: Next) -> object:
    """Every log line of the call carries what it belongs to."""
    with structlog.contextvars.bound_contextvars(correlation_id=call.trace.correlation_id, message_id=str(call.id)):
        return await proceed(call)


async def logged(call: Call, proceed: Next) -> object:
    """One line per message: name, actor, outcome, milliseconds."""
    started = time.perf_counter()
    outcome = "failed"
    try:
        result = await proceed(call)
        outcome = "ok"
    except Refusal as refusal:
        outcome = refusal.code
        raise
    except (AlreadyDone, LostLease) as verdict:
        outcome = type(verdict).__name__
        raise
    else:
        return result
    finally:
        log.info(
            call.plan.kind,
            name=call.plan.name,
            message=wire_of(type(call.message)).name,
            actor=str(call.by),
            outcome=outcome,
            ms=round((time.perf_counter() - started) * 1000, 2),
        )


async def authorized(call: Call, proceed: Next) -> object:
    if call.rule is not None and isinstance(call.message, Command):
        call.rule.check(call.by, call.message)
    return await proceed(call)


async def idempotent(call: Call, proceed: Next) -> object:
    """An answer that is stored is given again, also when another run stored it while this one ran; a rolled-back call may be repeated."""
    if call.guard is None:
        return await proceed(call)
    while (answer := await call.guard.enter()) is None:
        try:
            return await proceed(call)
        except AlreadyDone:
            continue
        except BaseException:
            await asyncio.shield(_abandoned(call.guard))
            raise
    return answer


async def _abandoned(guard: Guard) -> None:
    """Without the database the claim passes by its lease; the caller is to see why the call failed, not this."""
    try:
        await guard.abandon()
    except Refusal as outage:
        log.warning("claim_not_released", reason=outage.code)


async def prepared(call: Call, proceed: Next) -> object:
    if call.preparing is not None:
        call.prepared = await call.preparing.run(call.message)
    return await proceed(call)


async def retried(call: Call, proceed: Next) -> object:
    """The whole handler again, with what it prepared, when somebody else was faster."""
    for attempt in range(1, ATTEMPTS):
        try:
            return await proceed(call)
        except TryAgain:
            await asyncio.sleep(random.uniform(0.005, 0.03) * attempt)  # noqa: S311 - jitter, not a secret
    return await proceed(call)


STANDARD: tuple[Middleware, ...] = (traced, logged, authorized, idempotent, prepared, retried)


def compose(middlewares: tuple[Middleware, ...], innermost: Next) -> Next:
    proceed = innermost
    for middleware in reversed(middlewares):
        proceed = _around(middleware, proceed)
    return proceed


def _around(middleware: Middleware, proceed: Next) -> Next:
    async def step(call: Call) -> object:
        return await middleware(call, proceed)

    return step


class Mismatch(Refusal):
    kind = "conflict"
    code = "request.idempotency_mismatch"
    title = "This Idempotency-Key was used for another request. Use a new key for a new request."


class InProgress(Refusal):
    kind = "in_progress"
    code = "request.in_progress"
    title = "The first request with this Idempotency-Key is still running. Repeat it in a moment."


class ByKey:
    """The guard of an idempotency key. The claim is a short transaction with a lease; the answer commits with the command."""

    def __init__(
        self, once: Once, command: Command[Any], catalog: Catalog, ledger: Ledger, clock: Callable[[], datetime], lease: float
    ) -> None:
        self._once, self._ledger, self._catalog, self._clock = once, ledger, catalog, clock
        self._lease = timedelta(seconds=lease)
        self._claim = Claim(caller=once.caller, key=catalog.hash_key(once.key), request=catalog.mac(command), until=clock())

    async def enter(self) -> Answer | None:
        deadline = time.monotonic() + CLAIM_WAIT
        pause = 0.02
        while True:
            now = self._clock()
            self._claim = msgspec.structs.replace(self._claim, until=now + self._lease)
            claimed = await self._ledger.claim(self._claim, now=now)
            if claimed.mine:
                return None
            if claimed.mismatch:
                raise Mismatch
            if claimed.answer is not None:
                self._once.replayed = True
                return self._catalog.open_answer(claimed.answer)
            if time.monotonic() > deadline:
                raise InProgress(retry_after=1)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def mark(self, commit: Commit, answer: Answer) -> None:
        commit.answer = (self._claim, self._catalog.seal_answer(answer))

    async def abandon(self) -> None:
        await self._ledger.release(self._claim)


class ByInbox:
    """The guard of a reaction: its `done` mark commits with what it did. `owed` entries have a row of their own, which goes as well."""

    def __init__(self, done: Done, ledger: Ledger) -> None:
        self._done, self._ledger = done, ledger

    async def enter(self) -> Answer | None:
        if not await self._ledger.is_done(self._done.reaction, self._done.envelope):
            return None
        if self._done.owed:
            await self._ledger.settled(self._done)
        return Answer()

    def mark(self, commit: Commit, answer: Answer) -> None:  # noqa: ARG002 - a reaction answers nobody
        commit.done = self._done

    async def abandon(self) -> None:
        """Nothing was claimed."""


class ByFence:
    """The guard of a sent command: its outbox row goes with the transaction that executes it, if the lease is still ours."""

    def __init__(self, message: UUID, fence: int) -> None:
        self._spent = (message, fence)

    async def enter(self) -> Answer | None:
        return None

    def mark(self, commit: Commit, answer: Answer) -> None:  # noqa: ARG002 - nobody waits for the answer
        commit.spent = self._spent

    async def abandon(self) -> None:
        """The lease passes by itself."""


def stored(refusal: Refusal) -> StoredRefusal:
    return StoredRefusal(
        kind=refusal.kind,
        code=refusal.code,
        title=refusal.title,
        detail=refusal.detail,
        errors=refusal.errors,
        retry_after=refusal.retry_after,
    )


def restored(answer: StoredRefusal) -> Refusal:
    """The same refusal to every reader: its kind, code and words are those of the first."""
    refusal = Refusal(answer.detail, errors=answer.errors, retry_after=answer.retry_after)
    for name in ("kind", "code", "title"):
        setattr(refusal, name, getattr(answer, name))
    return refusal
