"""Roles that learners described, for admins to decide: who else is to find them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from msgspec import Meta as Shape

from app.api.catalogue_admin.shapes import expected
from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.preconditions import etag_of
from app.auth import admin
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.catalogue.submissions import (
    AlreadyDecided,
    ApproveRole,
    RejectRole,
    Submission,
    SubmissionStatus,
    UnknownSubmission,
    approval_problems,
    rejection_problems,
)
from domain.errors import Denied, Stale, Unavailable
from domain.types import AccountId

KIND = "role_submissions"

ByStatus = Annotated[
    SubmissionStatus | None, QueryParameter(name="status", description="Only those that wait for a decision, or were decided so.")
]
Title = Annotated[str, Shape(examples=["Yacht Charter Broker"], description="2 to 100 characters.")]
Description = Annotated[
    str, Shape(examples=["Finds charterers for the owners of yachts and agrees the terms."], description="10 to 1000 characters.")
]
Level = Annotated[str, Shape(examples=["associate"], description="The id or the slug of a hierarchy level.")]
Keywords = Annotated[tuple[str, ...], Shape(examples=[["yacht", "charter", "broker", "itinerary", "crew"]], description="5 to 10.")]
Duties = Annotated[tuple[str, ...], Shape(examples=[["agree the terms of a charter"]])]
Aliases = Annotated[tuple[str, ...], Shape(examples=[["Charter Agent"]], description="Other names it goes by.")]
Instant = Annotated[datetime, Shape(tz=True)]
IfMatch = Annotated[
    str | None, HeaderParameter(name="If-Match", description="The ETag of what was read: its owner may describe it anew meanwhile.")
]
ETAG = [ResponseHeader(name="ETag", description="The version of the role.", documentation_only=True)]


class RoleSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """`proposed_description` and `proposed_keywords` are a language model's, null without one; they count once sent with an approval."""

    id: UUID
    owner: AccountId
    industry: UUID
    hierarchy_level: Annotated[str, Shape(examples=["associate"])]
    title: Title
    description: Description
    keywords: Keywords
    duties: Duties
    aliases: Aliases
    proposed_description: Description | None
    proposed_keywords: Keywords | None
    status: Annotated[SubmissionStatus, Shape(examples=["submitted"])]
    reason: Annotated[str | None, Shape(examples=["This is a company, not a role."], description="Why it was rejected.")]
    created_at: Instant
    decided_at: Instant | None

    @classmethod
    def of(cls, submission: Submission) -> "RoleSubmission":
        return msgspec.convert(submission, cls, from_attributes=True)


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are left out stay as the person wrote them."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    hierarchy_level: Level | msgspec.UnsetType = msgspec.UNSET
    keywords: Keywords | msgspec.UnsetType = msgspec.UNSET
    duties: Duties | msgspec.UnsetType = msgspec.UNSET
    aliases: Aliases | msgspec.UnsetType = msgspec.UNSET

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - nothing here depends on the time
        return approval_problems(values)


class RejectionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Annotated[str, Shape(examples=["This is a company, not a role."], description="For the moderators; 3 to 500 characters.")]

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - the same
        return rejection_problems(values)


@get(
    "/admin/role-submissions",
    operation_id="list_role_submissions",
    summary="List the roles that learners described, the newest first",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def list_role_submissions(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    status: ByStatus = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[RoleSubmission]:
    before = cursors.read(KIND, cursor, tuple[datetime, UUID]) if cursor is not None else None
    found = await reads.role_submissions.page(status=status, before=before, limit=limit + 1)
    more = cursors.make(KIND, (found[limit - 1].created_at, found[limit - 1].id)) if len(found) > limit else None
    return ListAnswer(data=[RoleSubmission.of(submission) for submission in found[:limit]], meta=page_of(meta, limit, more))


@get(
    "/admin/role-submissions/{id:uuid}",
    operation_id="get_role_submission",
    summary="Read one role that a learner described",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownSubmission, Unavailable),
    response_headers=ETAG,
)
async def get_role_submission(
    id: FromPath[UUID],  # noqa: A002 - the name of the path parameter
    reads: NamedDependency[Reads],
    meta: NamedDependency[Meta],
) -> Response[Answer[RoleSubmission]]:
    return _answered(await reads.role_submissions.get(id), meta, None)


@post(
    "/admin/role-submissions/{id:uuid}/approve",
    operation_id="approve_role_submission",
    summary="Let everybody in its industry find a role that a learner described",
    tags=["admin"],
    guards=[admin],
    status_code=200,
    responses=problems(Denied, UnknownSubmission, AlreadyDecided, Stale, Mismatch, InProgress, Unavailable),
    response_headers=ETAG,
)
async def approve_role_submission(
    id: FromPath[UUID],  # noqa: A002 - the name of the path parameter
    data: JSONBody[ApprovalRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
    if_match: IfMatch = None,
) -> Response[Answer[RoleSubmission]]:
    command = ApproveRole(
        role=id,
        expected=expected(if_match),
        title=data.title,
        description=data.description,
        hierarchy_level=data.hierarchy_level,
        keywords=data.keywords,
        duties=data.duties,
        aliases=data.aliases,
    )
    return _answered(await bus.execute(command, by=actor, trace=trace, once=once), meta, once)


@post(
    "/admin/role-submissions/{id:uuid}/reject",
    operation_id="reject_role_submission",
    summary="Leave a role that a learner described to its owner alone",
    tags=["admin"],
    guards=[admin],
    status_code=200,
    responses=problems(Denied, UnknownSubmission, AlreadyDecided, Stale, Mismatch, InProgress, Unavailable),
    response_headers=ETAG,
)
async def reject_role_submission(
    id: FromPath[UUID],  # noqa: A002 - the name of the path parameter
    data: JSONBody[RejectionRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
    if_match: IfMatch = None,
) -> Response[Answer[RoleSubmission]]:
    command = RejectRole(role=id, reason=data.reason, expected=expected(if_match))
    return _answered(await bus.execute(command, by=actor, trace=trace, once=once), meta, once)


def _answered(submission: Submission, meta: Meta, once: Once | None) -> Response[Answer[RoleSubmission]]:
    replayed = {"Idempotent-Replayed": "true"} if once is not None and once.replayed else {}
    headers = {"ETag": etag_of(submission.version), **replayed}
    return Response(Answer(data=RoleSubmission.of(submission), meta=meta), headers=headers)
