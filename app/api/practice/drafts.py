"""What a learner has typed and not yet said, and the last thing that they saw: to go on with on another device."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.api.envelope import Answer, Meta
from app.api.practice.conversations import OPENING, Notebook
from app.openapi import problems
from app.ports.drafts import Draft, RedisDrafts
from db.reads import Reads
from domain.errors import Invalid, Unavailable
from domain.practice.errors import UnknownConversation

Typed = Annotated[str, msgspec.Meta(max_length=2000, examples=["Could we look at the rate for"])]
Position = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[0-9]+(\.[0-9]+)?$(?!\n)",
        description="The id of the last event that was seen, or a version.",
        examples=["1.7"],
    ),
]


class DraftRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Typed
    position: Position | None = None


class DraftItem(msgspec.Struct, frozen=True, kw_only=True):
    text: Typed
    position: Position | None
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)]

    @classmethod
    def of(cls, draft: Draft) -> "DraftItem":
        return cls(text=draft.text, position=draft.position, updated_at=draft.updated_at)


@put(
    "/conversations/{conversation:uuid}/draft",
    operation_id="keep_draft",
    summary="Keep what is typed and not yet said; it lasts a week, or until a turn is submitted",
    responses=problems(UnknownConversation, Invalid, Unavailable),
    **OPENING,
)
async def keep_draft(
    conversation: FromPath[UUID],
    data: JSONBody[DraftRequest],
    notebook: NamedDependency[Notebook],
    reads: NamedDependency[Reads],
    drafts: NamedDependency[RedisDrafts],
    meta: NamedDependency[Meta],
) -> Answer[DraftItem]:
    await reads.practice.place(conversation, notebook.account)
    draft = Draft(text=data.text, position=data.position, updated_at=meta.timestamp)
    await drafts.put(conversation, draft, await notebook.key())
    return Answer(data=DraftItem.of(draft), meta=meta)


@get(
    "/conversations/{conversation:uuid}/draft",
    operation_id="get_draft",
    summary="What was typed and not yet said; null when there is nothing",
    responses=problems(UnknownConversation, Unavailable),
    **OPENING,
)
async def get_draft(
    conversation: FromPath[UUID],
    notebook: NamedDependency[Notebook],
    reads: NamedDependency[Reads],
    drafts: NamedDependency[RedisDrafts],
    meta: NamedDependency[Meta],
) -> Answer[DraftItem | None]:
    await reads.practice.place(conversation, notebook.account)
    draft = await drafts.get(conversation, await notebook.key())
    return Answer(data=None if draft is None else DraftItem.of(draft), meta=meta)


@delete(
    "/conversations/{conversation:uuid}/draft",
    operation_id="drop_draft",
    summary="Forget what was typed and not yet said",
    responses=problems(UnknownConversation, Unavailable),
    **OPENING,
)
async def drop_draft(
    conversation: FromPath[UUID],
    notebook: NamedDependency[Notebook],
    reads: NamedDependency[Reads],
    drafts: NamedDependency[RedisDrafts],
) -> None:
    await reads.practice.place(conversation, notebook.account)
    await drafts.clear(conversation)
