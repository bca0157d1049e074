"""Files of the catalogue: taken out, changed in a spreadsheet or an editor, and brought back. For admins."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter
from msgspec import Meta as Shape

from app import catalogue_files as files
from app.api.catalogue_admin.shapes import ByIndustry, KindName, kind_of, known_industry, replayed
from app.api.envelope import Answer, Meta
from app.auth import admin
from app.bootstrap import House
from app.catalogue_files import MalformedCSV
from app.openapi import problems
from app.validation import UnsupportedMediaType
from bus.dispatch import Bus
from bus.message import Actor, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.catalogue.commands import Imported, ImportEntries, ImportRoles
from domain.errors import Denied, Missing, Unavailable

JSON, CSV = "application/json", "text/csv"
Format = Literal["json", "csv"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV}

As = Annotated[Format, QueryParameter(name="format", description="JSON in the shape of the seed files, or CSV for spreadsheets.")]
Partial = Annotated[
    bool, QueryParameter(description="Import the rows that are right although others are wrong; otherwise it is all of them or none.")
]
ENTRIES: dict[str, Any] = {"version": 1, "entries": [{"slug": "auditors", "name": "Auditors", "labels": {"zh-Hant": {"name": "核數師"}}}]}
ROLES: dict[str, Any] = {
    "version": 1,
    "industry": "shipping_logistics",
    "roles": [
        {
            "slug": "yacht_charter_broker",
            "title": "Yacht Charter Broker",
            "hierarchy_level": "associate",
            "description": "Finds charterers for the owners of yachts and agrees the terms.",
            "keywords": ["yacht", "charter", "broker", "itinerary", "crew"],
            "duties": ["agree the terms of a charter"],
            "aliases": ["Charter Agent"],
            "labels": {},
        }
    ],
}
ENTRIES_CSV = "slug,name,description,icon,name[zh-Hant],description[zh-Hant],available\r\nauditors,Auditors,,,核數師,,true\r\n"
ROLES_CSV = (
    "slug,industry,hierarchy_level,title,description,keywords,duties,aliases,available\r\n"
    "yacht_charter_broker,shipping_logistics,associate,Yacht Charter Broker,"
    "Finds charterers for the owners of yachts and agrees the terms.,"
    "yacht|charter|broker|itinerary|crew,agree the terms of a charter,Charter Agent,true\r\n"
)
SENT = (
    "JSON in the shape of the seed files, or CSV with a header: items of a list are joined by `|` (`\\|` is one inside an item), "
    "labels are columns such as `name[zh-Hant]`. What a row leaves out stays as it is, but a file with columns of labels says all labels "
    "of its rows; what it names is offered unless it says otherwise."
)
DISPOSITION = [ResponseHeader(name="Content-Disposition", description="That it is a file, and its name.", documentation_only=True)]


class RowProblem(msgspec.Struct, frozen=True, kw_only=True):
    row: Annotated[int, Shape(examples=[3], description="Which row, counted from 1, without the header.")]
    field: Annotated[str, Shape(examples=["/keywords/2"], description="A JSON pointer into the row.")]
    code: Annotated[str, Shape(examples=["length"])]
    message: Annotated[str, Shape(examples=["Send 1 to 200 characters."])]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows; `errors` holds the first thousand of what was wrong with those that were refused."""

    added: Annotated[int, Shape(examples=[12])]
    changed: Annotated[int, Shape(examples=[3])]
    unchanged: Annotated[int, Shape(examples=[40])]
    refused: Annotated[int, Shape(examples=[1])]
    errors: list[RowProblem]


@dataclass
class _Exporting(Operation):
    """Litestar describes one media type for an answer; a file has two."""

    def __post_init__(self) -> None:
        roles = (self.operation_id or "").endswith("roles")
        described = (self.responses or {}).get("200")
        if isinstance(described, OpenAPIResponse):
            described.content = _both(ROLES if roles else ENTRIES, ROLES_CSV if roles else ENTRIES_CSV)


@dataclass
class _Importing(Operation):
    """The file is the body itself, whose type only its header tells."""

    def __post_init__(self) -> None:
        roles = (self.operation_id or "").endswith("roles")
        content = _both(ROLES if roles else ENTRIES, ROLES_CSV if roles else ENTRIES_CSV)
        self.request_body = RequestBody(content=content, required=True, description=SENT)


def _both(document: object, table: str) -> dict[str, OpenAPIMediaType]:
    return {
        JSON: OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT), examples={"example": Example(value=document)}),
        CSV: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING), examples={"example": Example(value=table)}),
    }


@get(
    "/admin/catalogue/{kind:str}/export",
    operation_id="export_entries",
    summary="Take all entries of a kind out as a file, retired ones too",
    tags=["admin"],
    guards=[admin],
    operation_class=_Exporting,
    responses=problems(Denied, Missing, Unavailable),
    response_headers=DISPOSITION,
)
async def export_entries(kind: KindName, reads: NamedDependency[Reads], form: As = "json") -> Response[bytes]:
    wanted = kind_of(kind)
    entries = await reads.catalogue_admin.entries(wanted)
    return _file(kind, form, files.entries_as_json(wanted, entries) if form == "json" else files.entries_as_csv(wanted, entries))


@get(
    "/admin/catalogue/roles/export",
    operation_id="export_roles",
    summary="Take the catalogue's own roles out as a file, retired ones too",
    tags=["admin"],
    guards=[admin],
    operation_class=_Exporting,
    responses=problems(Denied, Unavailable),
    response_headers=DISPOSITION,
)
async def export_roles(reads: NamedDependency[Reads], form: As = "json", industry: ByIndustry = None) -> Response[bytes]:
    slug = await known_industry(reads, industry)
    roles = await reads.catalogue_admin.roles(industry=slug)
    return _file(slug or "roles", form, files.roles_as_json(roles, industry=slug) if form == "json" else files.roles_as_csv(roles))


@post(
    "/admin/catalogue/{kind:str}/import",
    operation_id="import_entries",
    summary="Bring entries in from a file: those with a new slug are added, the others changed",
    tags=["admin"],
    guards=[admin],
    status_code=200,
    operation_class=_Importing,
    responses=problems(MalformedCSV, Denied, Missing, Mismatch, InProgress, Unavailable),
)
async def import_entries(
    kind: KindName,
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
    *,
    partial: Partial = False,
) -> Response[Answer[ImportReport]]:
    wanted = kind_of(kind)
    form, body = await _sent(request)
    # A megabyte of wrong rows takes a second to say so: not in the event loop.
    if form == "json":
        rows = await asyncio.to_thread(files.entries_of_json, body, house.clock)
    else:
        rows = await asyncio.to_thread(files.entries_of_csv, wanted, body)
    imported = await bus.execute(ImportEntries(kind=wanted, rows=rows, partial=partial), by=actor, trace=trace, once=once)
    return _reported(imported, meta, once)


@post(
    "/admin/catalogue/roles/import",
    operation_id="import_roles",
    summary="Bring roles in from a file: those with a new slug are added, the others changed",
    tags=["admin"],
    guards=[admin],
    status_code=200,
    operation_class=_Importing,
    responses=problems(MalformedCSV, Denied, Mismatch, InProgress, Unavailable),
)
async def import_roles(
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
    *,
    partial: Partial = False,
) -> Response[Answer[ImportReport]]:
    form, body = await _sent(request)
    if form == "json":
        rows = await asyncio.to_thread(files.roles_of_json, body, house.clock)
    else:
        rows = await asyncio.to_thread(files.roles_of_csv, body)
    imported = await bus.execute(ImportRoles(rows=rows, partial=partial), by=actor, trace=trace, once=once)
    return _reported(imported, meta, once)


async def _sent(request: Request[Any, Any, Any]) -> tuple[Format, bytes]:
    """Raises `UnsupportedMediaType`."""
    media_type, options = request.content_type
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if encoded or options.get("charset", "utf-8").lower() not in ("utf-8", "utf8") or media_type.lower() not in (JSON, CSV):
        raise UnsupportedMediaType(f"Send the file as {JSON} or {CSV} in UTF-8, not compressed, and say so in Content-Type.")
    return ("json" if media_type.lower() == JSON else "csv"), await request.body()


def _file(name: str, form: Format, content: bytes) -> Response[bytes]:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


def _reported(imported: Imported, meta: Meta, once: Once | None) -> Response[Answer[ImportReport]]:
    report = msgspec.convert(imported, ImportReport, from_attributes=True)
    return Response(Answer(data=report, meta=meta), headers=replayed(once))
