"""The area `probe`, which only chaos has: every effect is a row of a table without constraints, so that a second one would show."""

import random
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from bus.dispatch import Bus
from bus.message import Actor, Command, Envelope, Event, Trace, Wire
from bus.pipeline import Once
from bus.registry import Rule, handles, reacts
from db.session import Work
from domain.errors import Conflict
from handlers.policy import Anyone, Internal

TABLES = """
CREATE TABLE probe_effects (
    n bigserial, what text, request uuid, event uuid, key text, position bigint, at timestamptz DEFAULT clock_timestamp()
)
"""
# Of the ordered reaction and of jobs: enough that there is always an entry that waits while others of its key arrive.
FAILING = 0.03


class Said(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="probe.said", key="key")
    request: UUID
    key: str


class Finished(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="probe.finished", key="key")
    request: UUID
    key: str


class Say(Command[int], frozen=True, kw_only=True):
    """Answers with the number of the row that it wrote."""

    request: UUID
    key: str


class Ask(Command[int], frozen=True, kw_only=True):
    """The same, and has `Finish` follow."""

    request: UUID
    key: str


class Finish(Command[None], frozen=True, kw_only=True):
    request: UUID
    key: str


class Doom(Command[int], frozen=True, kw_only=True):
    """Does all of it, and then fails: nothing of it may ever be seen."""

    request: UUID
    key: str


class Doomed(Conflict):
    code = "probe.doomed"
    title = "This was to be rolled back."


class Failing(Exception):
    """What a reaction or a job meets now and then; the next try helps."""


POLICY: Mapping[type[Command[Any]], Rule] = {Say: Anyone(), Ask: Anyone(), Finish: Internal(), Doom: Anyone()}
COMMANDS: Mapping[str, type[Say | Ask | Doom]] = {"say": Say, "ask": Ask, "doom": Doom}


async def _effect(work: Work, what: str, request: UUID, key: str, envelope: Envelope | None = None) -> int:
    return await work.driver.fetchval(
        "INSERT INTO probe_effects (what, request, event, key, position) VALUES ($1, $2, $3, $4, $5) RETURNING n",
        what,
        request,
        envelope.id if envelope else None,
        key,
        envelope.position if envelope else None,
    )


@handles(Say)
async def say(cmd: Say, work: Work) -> int:
    work.record(Said(request=cmd.request, key=cmd.key))
    return await _effect(work, "asked", cmd.request, cmd.key)


@handles(Ask)
async def ask(cmd: Ask, work: Work) -> int:
    work.record(Said(request=cmd.request, key=cmd.key))
    work.send(Finish(request=cmd.request, key=cmd.key))
    return await _effect(work, "asked", cmd.request, cmd.key)


@handles(Doom)
async def doom(cmd: Doom, work: Work) -> int:
    work.record(Said(request=cmd.request, key=cmd.key))
    work.send(Finish(request=cmd.request, key=cmd.key))
    await _effect(work, "asked", cmd.request, cmd.key)
    raise Doomed


@handles(Finish)
async def finish(cmd: Finish, work: Work) -> None:
    work.record(Finished(request=cmd.request, key=cmd.key))
    await _effect(work, "finished", cmd.request, cmd.key)
    _fail_at_times()


@reacts("probe.keep")
async def keep(event: Said | Finished, work: Work, envelope: Envelope) -> None:
    await _effect(work, "kept", event.request, event.key, envelope)


@reacts("probe.follow", ordered=True)
async def follow(event: Said | Finished, work: Work, envelope: Envelope) -> None:
    await _effect(work, "followed", event.request, event.key, envelope)
    _fail_at_times()


def _fail_at_times() -> None:
    if random.random() < FAILING:  # noqa: S311 - chance, not a secret
        raise Failing


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Literal["say", "ask", "doom"]
    request: UUID
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]


@post("/probe", opt={"public": True})
async def probe(
    data: JSONBody[Request],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    once: NamedDependency[Once | None],
) -> Response[dict[str, int]]:
    command = COMMANDS[data.kind](request=data.request, key=data.key)
    return Response({"row": await bus.execute(command, by=actor, trace=trace, once=once)}, status_code=201)
