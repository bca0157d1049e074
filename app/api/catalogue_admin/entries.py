"""Languages, industries, hierarchy levels, partners and situations for admins, one at a time, retired ones too."""

from litestar import Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api.catalogue_admin.shapes import (
    ETAG,
    HOME,
    NOT_MODIFIED,
    AdminEntry,
    Available,
    EntryChanges,
    IfMatch,
    IfNoneMatch,
    KindName,
    NewEntry,
    Ref,
    Search,
    expected,
    kind_of,
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
    AddEntry,
    ChangeEntry,
    EntryValues,
    RetireEntry,
)
from domain.catalogue.errors import SlugTaken, UnknownEntry
from domain.errors import Denied, Invalid, Missing, Stale, Unavailable


@get(
    "/admin/catalogue/{kind:str}",
    operation_id="list_admin_entries",
    summary="List the entries of a kind, retired ones too, in the order in which they are offered",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Missing, Unavailable),
)
async def list_admin_entries(
    kind: KindName,
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    available: Available = None,
    search: Search = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[AdminEntry]:
    wanted = kind_of(kind)
    after = cursors.read(f"admin {kind}", cursor, tuple[int, str]) if cursor is not None else None
    found = await reads.catalogue_admin.entries(wanted, available=available, search=search, after=after, limit=limit + 1)
    more = cursors.make(f"admin {kind}", (found[limit - 1].position, found[limit - 1].slug)) if len(found) > limit else None
    return ListAnswer(data=[AdminEntry.of(entry) for entry in found[:limit]], meta=page_of(meta, limit, more))


@post(
    "/admin/catalogue/{kind:str}",
    operation_id="add_entry",
    summary="Add an entry",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Missing, SlugTaken, Mismatch, InProgress, Unavailable),
    response_headers=[*ETAG, ResponseHeader(name="Location", description="Where it is.", documentation_only=True)],
)
async def add_entry(
    kind: KindName,
    data: JSONBody[NewEntry],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[AdminEntry]]:
    wanted = kind_of(kind)
    values = said(data, EntryValues)
    entry = await bus.execute(AddEntry(kind=wanted, slug=data.slug, values=values), by=actor, trace=trace, once=once)
    headers = {"ETag": etag_of(entry.version), "Location": f"{HOME}/{kind}/{entry.id}", **replayed(once)}
    return Response(Answer(data=AdminEntry.of(entry), meta=meta), status_code=201, headers=headers)


@get(
    "/admin/catalogue/{kind:str}/{ref:str}",
    operation_id="get_admin_entry",
    summary="Read one entry, retired or not",
    tags=["admin"],
    guards=[admin],
    responses={**NOT_MODIFIED, **problems(Denied, UnknownEntry, Unavailable)},
    response_headers=ETAG,
)
async def get_admin_entry(
    kind: KindName, ref: Ref, reads: NamedDependency[Reads], meta: NamedDependency[Meta], if_none_match: IfNoneMatch = None
) -> Response[Answer[AdminEntry] | None]:
    entry = await reads.catalogue_admin.entry(kind_of(kind), ref)
    headers = {"ETag": etag_of(entry.version), "Cache-Control": "private, no-cache"}
    if is_known(if_none_match, entry.version):
        return Response(None, status_code=304, headers=headers)
    return Response(Answer(data=AdminEntry.of(entry), meta=meta), headers=headers)


@patch(
    "/admin/catalogue/{kind:str}/{ref:str}",
    operation_id="change_entry",
    summary="Change an entry, or offer it again",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownEntry, Stale, Unavailable),
    response_headers=ETAG,
)
async def change_entry(
    kind: KindName,
    ref: Ref,
    data: JSONBody[EntryChanges],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    if_match: IfMatch = None,
) -> Response[Answer[AdminEntry]]:
    values = said(data, EntryValues)
    command = ChangeEntry(kind=kind_of(kind), entry=ref, expected=expected(if_match), values=values)
    entry = await bus.execute(command, by=actor, trace=trace)
    return Response(Answer(data=AdminEntry.of(entry), meta=meta), headers={"ETag": etag_of(entry.version)})


@delete(
    "/admin/catalogue/{kind:str}/{ref:str}",
    operation_id="retire_entry",
    summary="Offer an entry no longer; whoever chose it keeps it",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, UnknownEntry, Stale, Invalid, Unavailable),
)
async def retire_entry(
    kind: KindName,
    ref: Ref,
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    if_match: IfMatch = None,
) -> None:
    await bus.execute(RetireEntry(kind=kind_of(kind), entry=ref, expected=expected(if_match)), by=actor, trace=trace)
