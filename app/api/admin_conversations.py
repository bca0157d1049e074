"""Conversations, for admins: what becomes of them, and their words where the learner agreed, who is told of every look."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta as Shape

from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.instants import not_instants
from app.api.practice.conversations import moment
from app.auth import admin
from app.bootstrap import House
from app.openapi import problems
from app.state.inspection import Happened, Inspected, Inspector, KeyUnusable
from bus.message import Actor, Trace
from db.practice.scenarios import identity_of
from db.reads import Reads
from db.reads.conversations_admin import ConversationEntry, ConversationQuery, Status
from domain.errors import Denied, Invalid, Unavailable
from domain.practice.errors import UnknownConversation, UnknownVersion

KIND = "admin conversations"

ByAccount = Annotated[UUID | None, QueryParameter(name="account", description="Only those of this account.")]
ByScenario = Annotated[
    str | None,
    QueryParameter(name="scenario", max_length=120, pattern="^[^\0]*$", description="Only those in this scenario: its id or its slug."),
]
ByStatus = Annotated[
    Status | None, QueryParameter(name="status", description="The first that holds: deleted, archived, pending or running, ended, idle.")
]
From = Annotated[datetime | None, QueryParameter(name="from", description="Changed at this time or later, with its offset from UTC.")]
To = Annotated[datetime | None, QueryParameter(name="to", description="Changed before this time, with its offset from UTC.")]
At = Annotated[str | None, QueryParameter(name="at", description="A version, or a time (RFC 3339): the conversation as it was then.")]
NO_STORE = {"Cache-Control": "no-store"}


class ConversationOfSomebody(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without a word of it. `support`: its learner lets those who operate this installation read it."""

    id: UUID
    account: UUID
    scenario: UUID
    parent: UUID | None
    parent_version: int | None
    status: Annotated[Status, Shape(examples=["idle"])]
    version: int
    turns: int
    ended: bool
    score: int | None
    support: bool
    created_at: Annotated[datetime, Shape(tz=True)]
    updated_at: Annotated[datetime, Shape(tz=True)]

    @classmethod
    def of(cls, entry: ConversationEntry) -> "ConversationOfSomebody":
        return msgspec.convert(entry, cls, from_attributes=True)


@get(
    "/admin/conversations",
    operation_id="list_admin_conversations",
    summary="Search all conversations, what was changed last first, without their text",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def list_admin_conversations(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    by_account: ByAccount = None,
    by_scenario: ByScenario = None,
    by_status: ByStatus = None,
    since: From = None,
    until: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[ConversationOfSomebody]:
    if errors := not_instants(**{"from": since, "to": until}):
        raise Invalid(errors=errors)
    query = ConversationQuery(
        account=by_account,
        scenario=None if by_scenario is None else identity_of(by_scenario),
        status=by_status,
        since=since,
        until=until,
        before=None if cursor is None else cursors.read(KIND, cursor, tuple[datetime, UUID]),
    )
    found = await reads.conversations_admin.search(query, limit=limit + 1)
    page = found[:limit]
    more = cursors.make(KIND, (page[-1].updated_at, page[-1].id)) if len(found) > limit else None
    return ListAnswer(data=[ConversationOfSomebody.of(one) for one in page], meta=page_of(meta, limit, more))


@get(
    "/admin/conversations/{conversation:uuid}",
    operation_id="inspect_conversation",
    summary="Read somebody's conversation, now or as it was; its text where its learner agreed, who is told",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownConversation, UnknownVersion, Invalid, KeyUnusable, Unavailable),
)
async def inspect_conversation(
    conversation: FromPath[UUID],
    house: NamedDependency[House],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    at: At = None,
) -> Response[Answer[Inspected]]:
    found = await Inspector(house, by=actor, trace=trace).at(conversation, moment(at))
    return Response(Answer(data=found, meta=meta), headers=NO_STORE)


@get(
    "/admin/conversations/{conversation:uuid}/versions",
    operation_id="list_admin_versions",
    summary="Everything that happened in somebody's conversation, without its text",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownConversation, Unavailable),
)
async def list_admin_versions(
    conversation: FromPath[UUID],
    house: NamedDependency[House],
    actor: NamedDependency[Actor],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[Happened]:
    kind = f"admin versions {conversation}"
    after = 0 if cursor is None else cursors.read(kind, cursor, int)
    found = await Inspector(house, by=actor).versions(conversation, after=after, limit=limit + 1)
    page = found[:limit]
    more = cursors.make(kind, page[-1].version) if len(found) > limit else None
    return ListAnswer(data=page, meta=page_of(meta, limit, more))
