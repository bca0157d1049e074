"""The catalogue's own roles for admins, one at a time, retired ones too."""

from litestar import Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api.catalogue_admin.shapes import (
    ETAG,
    HOME,
    NOT_MODIFIED,
    ROLES,
    AdminRole,
    Available,
    ByIndustry,
    IfMatch,
    IfNoneMatch,
    NewRole,
    Ref,
    RoleChanges,
    Search,
    expected,
    known_industry,
    replayed,
    said,
)
from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.preconditions import etag_of, is_known
from app.auth import admin
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.catalogue.commands import (
    AddRole,
    ChangeRole,
    RetireRole,
    RoleValues,
)
from domain.catalogue.errors import SlugTaken, UnknownEntry
from domain.errors import Denied, Invalid, Stale, Unavailable


@get(
    "/admin/catalogue/roles",
    operation_id="list_admin_roles",
    summary="List the catalogue's own roles, retired ones too, in the order in which they are offered",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def list_admin_roles(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    industry: ByIndustry = None,
    available: Available = None,
    search: Search = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[AdminRole]:
    after = cursors.read(ROLES, cursor, tuple[int, str]) if cursor is not None else None
    slug = await known_industry(reads, industry)
    found = await reads.catalogue_admin.roles(industry=slug, available=available, search=search, after=after, limit=limit + 1)
    more = cursors.make(ROLES, (found[limit - 1].position, found[limit - 1].slug)) if len(found) > limit else None
    return ListAnswer(data=[AdminRole.of(role) for role in found[:limit]], meta=page_of(meta, limit, more))


@post(
    "/admin/catalogue/roles",
    operation_id="add_role",
    summary="Add a role",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, SlugTaken, Mismatch, InProgress, Unavailable),
    response_headers=[*ETAG, ResponseHeader(name="Location", description="Where it is.", documentation_only=True)],
)
async def add_role(
    data: JSONBody[NewRole],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[AdminRole]]:
    values = said(data, RoleValues)
    role = await bus.execute(AddRole(slug=data.slug, values=values), by=actor, trace=trace, once=once)
    headers = {"ETag": etag_of(role.version), "Location": f"{HOME}/roles/{role.id}", **replayed(once)}
    return Response(Answer(data=AdminRole.of(role), meta=meta), status_code=201, headers=headers)


@get(
    "/admin/catalogue/roles/{ref:str}",
    operation_id="get_admin_role",
    summary="Read one of the catalogue's own roles, retired or not",
    tags=["admin"],
    guards=[admin],
    responses={**NOT_MODIFIED, **problems(Denied, UnknownEntry, Unavailable)},
    response_headers=ETAG,
)
async def get_admin_role(
    ref: Ref, reads: NamedDependency[Reads], meta: NamedDependency[Meta], if_none_match: IfNoneMatch = None
) -> Response[Answer[AdminRole] | None]:
    role = await reads.catalogue_admin.role(ref)
    headers = {"ETag": etag_of(role.version), "Cache-Control": "private, no-cache"}
    if is_known(if_none_match, role.version):
        return Response(None, status_code=304, headers=headers)
    return Response(Answer(data=AdminRole.of(role), meta=meta), headers=headers)


@patch(
    "/admin/catalogue/roles/{ref:str}",
    operation_id="change_role",
    summary="Change a role, or offer it again",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownEntry, Stale, Unavailable),
    response_headers=ETAG,
)
async def change_role(
    ref: Ref,
    data: JSONBody[RoleChanges],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    if_match: IfMatch = None,
) -> Response[Answer[AdminRole]]:
    values = said(data, RoleValues)
    role = await bus.execute(ChangeRole(role=ref, expected=expected(if_match), values=values), by=actor, trace=trace)
    return Response(Answer(data=AdminRole.of(role), meta=meta), headers={"ETag": etag_of(role.version)})


@delete(
    "/admin/catalogue/roles/{ref:str}",
    operation_id="retire_role",
    summary="Offer a role no longer; whoever chose it keeps it",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownEntry, Stale, Invalid, Unavailable),
)
async def retire_role(
    ref: Ref, bus: NamedDependency[Bus], actor: NamedDependency[Actor], trace: NamedDependency[Trace], if_match: IfMatch = None
) -> None:
    await bus.execute(RetireRole(role=ref, expected=expected(if_match)), by=actor, trace=trace)
