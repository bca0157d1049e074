"""What a learner does in a conversation: says something, stops, takes back, goes on, ends, forks."""

from typing import Any
from uuid import UUID

from litestar import Response, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from app.api.accounts import own
from app.api.catalogue_admin.shapes import replayed
from app.api.envelope import Answer, Meta
from app.api.practice.conversation_shapes import ForkRequest, TurnAnswer, TurnRequest
from app.api.practice.conversations import ETAG, HOME, LOCATION, PRACTICE
from app.api.preconditions import etag_of
from app.openapi import problems
from app.ports.drafts import RedisDrafts
from bus.dispatch import Bus
from bus.message import Actor, Trace
from bus.pipeline import InProgress, Mismatch, Once
from domain.errors import Invalid, Unavailable
from domain.practice.commands import EndScene, ForkConversation, Moved, RedoAction, RetryTurn, Started, StopAnswer, SubmitTurn, UndoAction
from domain.practice.errors import (
    Archived,
    BudgetSpent,
    NothingToEnd,
    NothingToRedo,
    NothingToRetry,
    NothingToStop,
    NothingToUndo,
    QueueFull,
    SceneOver,
    TurnRunning,
    UnknownConversation,
    UnknownVersion,
)

ACTING = (UnknownConversation, Archived, Mismatch, InProgress, Unavailable)


@post(
    "/conversations/{conversation:uuid}/turns",
    operation_id="submit_turn",
    summary="Say something; the partner's answer comes over the stream",
    status_code=202,
    responses=problems(SceneOver, TurnRunning, QueueFull, BudgetSpent, Invalid, *ACTING),
    **PRACTICE,
)
async def submit_turn(
    conversation: FromPath[UUID],
    data: JSONBody[TurnRequest],
    drafts: NamedDependency[RedisDrafts],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[TurnAnswer]]:
    command = SubmitTurn(account=own(actor), conversation=conversation, text=data.text)
    accepted = await bus.execute(command, by=actor, trace=trace, once=once)
    if once is None or not once.replayed:
        # By then something newer may be typed.
        await drafts.over(conversation)
    return Response(Answer(data=TurnAnswer.of(accepted, stream_of(conversation)), meta=meta), headers=replayed(once))


@post(
    "/conversations/{conversation:uuid}/retry",
    operation_id="retry_turn",
    summary="Have the partner answer the last turn again",
    status_code=202,
    responses=problems(NothingToRetry, SceneOver, TurnRunning, BudgetSpent, *ACTING),
    **PRACTICE,
)
async def retry_turn(
    conversation: FromPath[UUID],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[TurnAnswer]]:
    accepted = await bus.execute(RetryTurn(account=own(actor), conversation=conversation), by=actor, trace=trace, once=once)
    return Response(Answer(data=TurnAnswer.of(accepted, stream_of(conversation)), meta=meta), headers=replayed(once))


Action = type[StopAnswer] | type[UndoAction] | type[RedoAction] | type[EndScene]


class Acting:
    """What the actions without a body have in common."""

    def __init__(self, bus: Bus, actor: Actor, trace: Trace, meta: Meta, once: Once | None) -> None:
        self._bus, self._actor, self._trace, self._meta, self._once = bus, actor, trace, meta, once

    async def take(self, action: Action, conversation: UUID) -> Response[Answer[Moved]]:
        command = action(account=own(self._actor), conversation=conversation)
        moved = await self._bus.execute(command, by=self._actor, trace=self._trace, once=self._once)
        return Response(Answer(data=moved, meta=self._meta), headers={"ETag": etag_of(moved.version), **replayed(self._once)})


async def provide_acting(
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Acting:
    return Acting(bus, actor, trace, meta, once)


ACTION: dict[str, Any] = {**PRACTICE, "status_code": 200, "dependencies": {"acting": Provide(provide_acting)}, "response_headers": ETAG}


@post(
    "/conversations/{conversation:uuid}/stop",
    operation_id="stop_answer",
    summary="Stop the partner's answer, from any device",
    responses=problems(NothingToStop, *ACTING),
    **ACTION,
)
async def stop_answer(conversation: FromPath[UUID], acting: NamedDependency[Acting]) -> Response[Answer[Moved]]:
    return await acting.take(StopAnswer, conversation)


@post(
    "/conversations/{conversation:uuid}/undo",
    operation_id="undo_action",
    summary="Take back the last turn, retry or end, and all that came of it",
    responses=problems(NothingToUndo, *ACTING),
    **ACTION,
)
async def undo_action(conversation: FromPath[UUID], acting: NamedDependency[Acting]) -> Response[Answer[Moved]]:
    return await acting.take(UndoAction, conversation)


@post(
    "/conversations/{conversation:uuid}/redo",
    operation_id="redo_action",
    summary="Have what was undone last hold again",
    responses=problems(NothingToRedo, *ACTING),
    **ACTION,
)
async def redo_action(conversation: FromPath[UUID], acting: NamedDependency[Acting]) -> Response[Answer[Moved]]:
    return await acting.take(RedoAction, conversation)


@post(
    "/conversations/{conversation:uuid}/end",
    operation_id="end_scene",
    summary="End the scene now; the report follows over the stream",
    responses=problems(SceneOver, NothingToEnd, *ACTING),
    **ACTION,
)
async def end_scene(conversation: FromPath[UUID], acting: NamedDependency[Acting]) -> Response[Answer[Moved]]:
    return await acting.take(EndScene, conversation)


@post(
    "/conversations/{conversation:uuid}/forks",
    operation_id="fork_conversation",
    summary="Begin another conversation where this one was at a version",
    response_headers=LOCATION,
    responses=problems(UnknownVersion, Invalid, *ACTING),
    **PRACTICE,
)
async def fork_conversation(
    conversation: FromPath[UUID],
    data: JSONBody[ForkRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[Started]]:
    command = ForkConversation(account=own(actor), conversation=conversation, at_version=data.at_version)
    started = await bus.execute(command, by=actor, trace=trace, once=once)
    return Response(Answer(data=started, meta=meta), headers={"Location": f"{HOME}/{started.conversation}", **replayed(once)})


def stream_of(conversation: UUID) -> str:
    return f"{HOME}/{conversation}/events"
