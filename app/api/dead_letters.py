"""What was given up by reactions and commands: to look at, to replay, to drop. For admins."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta as Shape

from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.auth import admin
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from db.reads.operations import DeadLetterDetails, DeadLetterEntry
from domain.errors import Denied, Unavailable
from domain.operations.commands import DropDeadLetter, ReplayDeadLetter
from domain.operations.errors import NotDead, Superseded, UnknownDeadLetter

KIND = "dead_letters"

Reaction = Annotated[
    str | None,
    QueryParameter(description="Only those of this reaction, or of the command of this name.", pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$(?!\n)"),
]
Name = Annotated[str, Shape(examples=["accounts.registered"], description="The wire name of the event or command.")]
Owner = Annotated[str, Shape(examples=["accounts.send_welcome"], description="The durable name of the reaction; a command's own name.")]
Key = Annotated[str | None, Shape(examples=["0199a8a0-0000-7000-8000-000000000000"], description="In whose order it is delivered.")]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    reaction: Owner
    name: Name
    message_id: UUID
    key: Key
    tries: Annotated[int, Shape(examples=[8])]
    error: Annotated[str, Shape(examples=["MailRefused: 550 no such user"], description="How the last try ended.")]
    died_at: Annotated[datetime, Shape(tz=True)]
    parked: Annotated[int, Shape(examples=[2], description="How many later entries of its key wait behind it.")]


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    name: Name
    message_id: UUID
    position: Annotated[int | None, Shape(examples=[4711])]


class DeadLetterWithEnvelope(DeadLetter, frozen=True, kw_only=True):
    """The envelope is as it travelled: sealed fields are still sealed. `behind` holds the first hundred of what is parked."""

    envelope: Annotated[
        dict[str, Any],
        Shape(
            examples=[
                {
                    "id": "0199a8a0-0000-7000-8000-000000000000",
                    "name": "accounts.registered",
                    "version": 1,
                    "data": {"account": "0199a8a0-0000-7000-8000-000000000000"},
                }
            ]
        ),
    ]
    behind: list[Parked]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """It will be tried within a second."""

    id: UUID


@get(
    "/admin/dead-letters",
    operation_id="list_dead_letters",
    summary="List what was given up, the newest first",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def list_dead_letters(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    reaction: Reaction = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[DeadLetter]:
    before = cursors.read(KIND, cursor, tuple[datetime, UUID]) if cursor is not None else None
    found = await reads.operations.dead_letters(reaction=reaction, before=before, limit=limit + 1)
    more = cursors.make(KIND, (found[limit - 1].at, found[limit - 1].id)) if len(found) > limit else None
    return ListAnswer(data=[DeadLetter(**_entry(letter)) for letter in found[:limit]], meta=page_of(meta, limit, more))


@get(
    "/admin/dead-letters/{id:uuid}",
    operation_id="get_dead_letter",
    summary="Read one dead letter, with its envelope and what is parked behind it",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownDeadLetter, Unavailable),
)
async def get_dead_letter(id: FromPath[UUID], reads: NamedDependency[Reads], meta: NamedDependency[Meta]) -> Answer[DeadLetterWithEnvelope]:  # noqa: A002 - the name of the path parameter
    letter = await reads.operations.dead_letter(id)
    return Answer(data=details_of(letter), meta=meta)


@post(
    "/admin/dead-letters/{id:uuid}/replay",
    operation_id="replay_dead_letter",
    summary="Have a dead letter tried again, with all its tries",
    tags=["admin"],
    guards=[admin],
    status_code=202,
    responses=problems(Denied, UnknownDeadLetter, NotDead, Superseded, Mismatch, InProgress, Unavailable),
)
async def replay_dead_letter(
    id: FromPath[UUID],  # noqa: A002 - the name of the path parameter
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[Replayed]]:
    await bus.execute(ReplayDeadLetter(id=id), by=actor, trace=trace, once=once)
    headers = {"Idempotent-Replayed": "true"} if once is not None and once.replayed else {}
    return Response(Answer(data=Replayed(id=id), meta=meta), status_code=202, headers=headers)


@delete(
    "/admin/dead-letters/{id:uuid}",
    operation_id="drop_dead_letter",
    summary="Give a dead letter up for good, and let go on what is parked behind it",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownDeadLetter, NotDead, Unavailable),
)
async def drop_dead_letter(
    id: FromPath[UUID],  # noqa: A002 - the name of the path parameter
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
) -> None:
    await bus.execute(DropDeadLetter(id=id), by=actor, trace=trace)


def details_of(letter: DeadLetterDetails) -> DeadLetterWithEnvelope:
    behind = [Parked(id=one.id, name=one.name, message_id=one.message, position=one.position) for one in letter.behind]
    return DeadLetterWithEnvelope(**_entry(letter), envelope=msgspec.json.decode(msgspec.json.encode(letter.envelope)), behind=behind)


def _entry(letter: DeadLetterEntry) -> dict[str, Any]:
    return {
        "id": letter.id,
        "reaction": letter.reaction,
        "name": letter.name,
        "message_id": letter.message,
        "key": letter.key,
        "tries": letter.tries,
        "error": letter.error,
        "died_at": letter.at,
        "parked": letter.parked,
    }
