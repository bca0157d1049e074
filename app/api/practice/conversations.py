"""Conversations: begun, said something in, stopped, taken back, forked, read at any version, and put away."""

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from app.api.accounts import own
from app.api.catalogue_admin.shapes import expected, replayed
from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.instants import is_instant
from app.api.practice.conversation_shapes import (
    AttemptItem,
    ChangeRequest,
    ConversationItem,
    ConversationRequest,
    VersionItem,
)
from app.api.preconditions import etag_of, is_known
from app.auth import signed_in
from app.bootstrap import House
from app.conversation_export import EXPORTS, ExportFormat
from app.openapi import problems
from app.ports.drafts import RedisDrafts
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Personal, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.errors import Invalid, Stale, Unavailable
from domain.practice.commands import (
    ChangeConversation,
    DeleteConversation,
    Moved,
    StartConversation,
    Started,
)
from domain.practice.errors import (
    UnknownConversation,
    UnknownTurn,
    UnknownVersion,
)
from domain.practice.scenario import Scenario
from domain.practice.views import ConversationView, viewed
from handlers.ports import PersonKey
from handlers.practice.conversations import scenario_of

HOME = "/api/v2/conversations"
LIST = "conversations"
VERSIONS = "versions"
VERSION_DIGITS = 9

IsArchived = Annotated[bool | None, QueryParameter(name="archived", description="Only those in the archive, or only the others.")]
At = Annotated[str | None, QueryParameter(name="at", description="A version, or a time (RFC 3339): the conversation as it was then.")]
As = Annotated[ExportFormat, QueryParameter(name="format", description="`json`, `markdown`, or `vtt` (WebVTT subtitles).")]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of what is to change.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
ETAG = [ResponseHeader(name="ETag", description="The version of the conversation.", documentation_only=True)]
LOCATION = [ResponseHeader(name="Location", description="Where it is.", documentation_only=True)]


class Before(msgspec.Struct, frozen=True):
    """Where a list of conversations goes on."""

    updated_at: datetime
    id: UUID


class Notebook:
    """Opens what one learner has said and was told."""

    def __init__(self, house: House, actor: Actor) -> None:
        self._reads, self._vault = house.reads, house.vault
        self.account = own(actor)
        self._key: PersonKey | None = None

    async def key(self) -> PersonKey:
        """Raises `UnknownConversation` for somebody whose texts were erased."""
        if self._key is None:
            wrapped = await self._reads.practice.wrapped_key(self.account)
            if wrapped is None:
                raise UnknownConversation
            self._key = self._vault.opened(wrapped)
        return self._key

    async def view(self, conversation: UUID, at: int | datetime | None) -> ConversationView:
        found = await self._reads.practice.conversation(conversation, self.account, at=at)
        return viewed(found, (await self.key()).open)

    async def scenario(self, view: ConversationView) -> Scenario | None:
        """As it was when the conversation began."""
        found = await self._reads.scenarios.find(view.scenario, view.scenario_version)
        return None if found is None else scenario_of(found, await self.key())


async def provide_notebook(house: NamedDependency[House], actor: NamedDependency[Actor]) -> Notebook:
    return Notebook(house, actor)


PRACTICE: dict[str, Any] = {"tags": ["practice"], "guards": [signed_in]}
OPENING: dict[str, Any] = {**PRACTICE, "dependencies": {"notebook": Provide(provide_notebook)}}


@post(
    "/conversations",
    operation_id="start_conversation",
    summary="Begin to practise a scenario",
    response_headers=LOCATION,
    responses=problems(Invalid, Mismatch, InProgress, Unavailable),
    **PRACTICE,
)
async def start_conversation(
    data: JSONBody[ConversationRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[Started]]:
    command = StartConversation(account=own(actor), scenario=data.scenario, settings=data.settings.chosen())
    started = await bus.execute(command, by=actor, trace=trace, once=once)
    return Response(Answer(data=started, meta=meta), headers={"Location": f"{HOME}/{started.conversation}", **replayed(once)})


@get(
    "/conversations",
    operation_id="list_conversations",
    summary="Your conversations, the last one first",
    responses=problems(Unavailable),
    **OPENING,
)
async def list_conversations(
    reads: NamedDependency[Reads],
    notebook: NamedDependency[Notebook],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    archived: IsArchived = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[ConversationItem]:
    after = None if cursor is None else cursors.read(LIST, cursor, Before)
    before = None if after is None else (after.updated_at, after.id)
    found = await reads.practice.conversations(notebook.account, archived=archived, before=before, limit=limit + 1)
    shown = found[:limit]
    titles = [None if one.title is None else (await notebook.key()).open(Personal(one.title)) for one in shown]
    more = cursors.make(LIST, Before(shown[-1].updated_at, shown[-1].id)) if len(found) > limit else None
    return ListAnswer(data=[ConversationItem.of(*pair) for pair in zip(shown, titles, strict=True)], meta=page_of(meta, limit, more))


@get(
    "/conversations/{conversation:uuid}",
    operation_id="get_conversation",
    summary="Read a conversation, now or as it was",
    responses={
        304: ResponseSpec(None, description="The client has this version."),
        **problems(UnknownConversation, UnknownVersion, Invalid, Unavailable),
    },
    response_headers=ETAG,
    **OPENING,
)
async def get_conversation(
    conversation: FromPath[UUID],
    notebook: NamedDependency[Notebook],
    meta: NamedDependency[Meta],
    at: At = None,
    if_none_match: IfNoneMatch = None,
) -> Response[Answer[ConversationView] | None]:
    view = await notebook.view(conversation, moment(at))
    headers = {"ETag": etag_of(view.version), "Cache-Control": "private, no-cache"}
    if is_known(if_none_match, view.version):
        return Response(None, status_code=304, headers=headers)
    return Response(Answer(data=view, meta=meta), headers=headers)


@patch(
    "/conversations/{conversation:uuid}",
    operation_id="change_conversation",
    summary="Rename a conversation, put it into the archive, or let support read it",
    response_headers=ETAG,
    responses=problems(UnknownConversation, Stale, Invalid, Unavailable),
    **PRACTICE,
)
async def change_conversation(
    conversation: FromPath[UUID],
    data: JSONBody[ChangeRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    if_match: IfMatch = None,
) -> Response[Answer[Moved]]:
    command = ChangeConversation(
        account=own(actor),
        conversation=conversation,
        expected=expected(if_match),
        title=data.title,
        archived=data.archived,
        support=data.support,
    )
    moved = await bus.execute(command, by=actor, trace=trace)
    return Response(Answer(data=moved, meta=meta), headers={"ETag": etag_of(moved.version)})


@delete(
    "/conversations/{conversation:uuid}",
    operation_id="delete_conversation",
    summary="Delete a conversation; forks of it stay",
    responses=problems(UnknownConversation, Stale, Unavailable),
    **PRACTICE,
)
async def delete_conversation(
    conversation: FromPath[UUID],
    drafts: NamedDependency[RedisDrafts],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    if_match: IfMatch = None,
) -> None:
    await bus.execute(DeleteConversation(account=own(actor), conversation=conversation, expected=expected(if_match)), by=actor, trace=trace)
    await drafts.over(conversation)


@get(
    "/conversations/{conversation:uuid}/versions",
    operation_id="list_versions",
    summary="Everything that happened in a conversation, the first thing first, each with the version that it led to",
    responses=problems(UnknownConversation, Unavailable),
    **PRACTICE,
)
async def list_versions(
    conversation: FromPath[UUID],
    actor: NamedDependency[Actor],
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[VersionItem]:
    kind = f"{VERSIONS} {conversation}"
    after = 0 if cursor is None else cursors.read(kind, cursor, int)
    recorded = await reads.practice.history(conversation, own(actor), after=after, limit=limit + 1)
    shown = [VersionItem.of(one) for one in recorded[:limit]]
    more = cursors.make(kind, shown[-1].version) if len(recorded) > limit else None
    return ListAnswer(data=shown, meta=page_of(meta, limit, more))


@get(
    "/conversations/{conversation:uuid}/turns/{turn:uuid}/attempts",
    operation_id="list_attempts",
    summary="Every call of a model for a turn, with what was shown of the partner's answers",
    responses=problems(UnknownConversation, UnknownTurn, Unavailable),
    **OPENING,
)
async def list_attempts(
    conversation: FromPath[UUID],
    turn: FromPath[UUID],
    reads: NamedDependency[Reads],
    notebook: NamedDependency[Notebook],
    meta: NamedDependency[Meta],
) -> Answer[list[AttemptItem]]:
    await reads.practice.place(conversation, notebook.account)
    calls = await reads.practice.calls(conversation, turn)
    key = await notebook.key()
    shown = await reads.practice.shown(calls)
    texts = ["".join(key.open(Personal(piece)) for piece in shown[call.id]) for call in calls]
    return Answer(data=[AttemptItem.of(*pair) for pair in zip(calls, texts, strict=True)], meta=meta)


@get(
    "/conversations/{conversation:uuid}/export",
    operation_id="export_conversation",
    summary="A conversation as a file",
    responses={
        200: ResponseSpec(bytes, media_type="application/octet-stream", generate_examples=False, description="The file."),
        **problems(UnknownConversation, Invalid, Unavailable),
    },
    opt={"example": "# Freight rates with Ms Tam\n\n**Learner:** Could we look at the rate for the second quarter?\n"},
    **OPENING,
)
async def export_conversation(
    conversation: FromPath[UUID],
    notebook: NamedDependency[Notebook],
    format: As = "json",  # noqa: A002 - the contract's name
) -> Response[bytes]:
    view = await notebook.view(conversation, None)
    media, suffix, write = EXPORTS[format]
    headers = {"Content-Disposition": f'attachment; filename="conversation-{conversation}.{suffix}"'}
    written = await asyncio.to_thread(write, view, await notebook.scenario(view))
    return Response(written, media_type=media, headers=headers)


def moment(at: str | None) -> int | datetime | None:
    """Raises `Invalid`."""
    if at is None:
        return None
    if at.isascii() and at.isdigit() and len(at) <= VERSION_DIGITS:
        return int(at)
    try:
        instant = msgspec.convert(at.replace(" ", "+"), datetime)
    except msgspec.ValidationError:
        instant = None
    if instant is None or not is_instant(instant):
        raise Invalid(
            errors=(FieldError("/at", "malformed", "Send a version, like 3, or a time with its zone, like 2026-01-31T12:00:00Z."),)
        )
    return instant
