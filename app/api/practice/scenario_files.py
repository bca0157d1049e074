"""Scenarios as a file: taken out, changed in an editor, and brought back. For admins."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from msgspec import Meta as Shape

from app.api.catalogue_admin.shapes import replayed
from app.api.envelope import Answer, Meta
from app.auth import admin
from app.bootstrap import House
from app.openapi import problems
from app.validation import UnsupportedMediaType, decode
from app.validation.body import body_errors
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.errors import Denied, Invalid, Unavailable
from domain.practice.commands import ImportScenarios, ScenarioRow
from domain.practice.scenario import Scenario

JSON = "application/json"
ROWS_MOST = 500
MAX_FILE = 8 * 1024 * 1024
EXAMPLE: list[dict[str, Any]] = [
    {
        "slug": "shipping_logistics_phone_calls",
        "version": 2,
        "title": "A container that was not on board",
        "industry": "shipping_logistics",
        "situation": "phone_calls",
        "partner": "clients",
        "…": "and all that a file of the seeds has, its script too",
    }
]


class ScenarioImport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows."""

    added: Annotated[int, Shape(examples=[12])]
    changed: Annotated[int, Shape(examples=[3])]
    unchanged: Annotated[int, Shape(examples=[45])]


def _content() -> dict[str, OpenAPIMediaType]:
    return {JSON: OpenAPIMediaType(schema=Schema(type=OpenAPIType.ARRAY), examples={"example": Example(value=EXAMPLE)})}


@dataclass
class _Exporting(Operation):
    def __post_init__(self) -> None:
        described = (self.responses or {}).get("200")
        if isinstance(described, OpenAPIResponse):
            described.content = _content()


@dataclass
class _Importing(Operation):
    """The file is the body itself: its rows are read one by one, so that each can be told what is wrong with it."""

    def __post_init__(self) -> None:
        sent = "A JSON array of scenarios in the shape of the seed files, at most 8 MiB of them."
        self.request_body = RequestBody(content=_content(), required=True, description=sent)


@get(
    "/admin/scenarios/export",
    operation_id="export_scenarios",
    summary="Take all scenarios that everybody has out as a file, with their scripts",
    tags=["admin"],
    guards=[admin],
    operation_class=_Exporting,
    responses=problems(Denied, Unavailable),
    response_headers=[ResponseHeader(name="Content-Disposition", description="That it is a file, and its name.", documentation_only=True)],
)
async def export_scenarios(reads: NamedDependency[Reads]) -> Response[bytes]:
    scenarios = await reads.scenarios.all()
    content = msgspec.json.format(msgspec.json.encode(scenarios), indent=1) + b"\n"
    return Response(content, media_type=JSON, headers={"Content-Disposition": 'attachment; filename="scenarios.json"'})


@post(
    "/admin/scenarios/import",
    operation_id="import_scenarios",
    summary="Bring scenarios in from a file, for everybody: those with a new slug are added, the others need a higher version",
    tags=["admin"],
    guards=[admin],
    status_code=200,
    request_max_body_size=MAX_FILE,
    operation_class=_Importing,
    responses=problems(Denied, Mismatch, InProgress, Unavailable),
)
async def import_scenarios(
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[ScenarioImport]]:
    """All of them are imported, or none when one is wrong; `errors` then names the first hundred of what is, as `/rows/3/cefr`."""
    media_type, options = request.content_type
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if encoded or media_type.lower() != JSON or options.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType
    # Megabytes of wrong rows take a second to say so: not in the event loop.
    rows = await asyncio.to_thread(_rows, await request.body(), house.clock)
    brought = await bus.execute(ImportScenarios(rows=rows), by=actor, trace=trace, once=once)
    report = msgspec.convert(brought, ScenarioImport, from_attributes=True)
    return Response(Answer(data=report, meta=meta), headers=replayed(once))


def _rows(body: bytes, clock: Callable[[], datetime]) -> tuple[ScenarioRow, ...]:
    """Raises `MalformedJSON`, and `Invalid` when the file as a whole is wrong; what is wrong with a row is in the row."""
    raws = decode(body, tuple[msgspec.Raw, ...], clock)
    if len(raws) > ROWS_MOST:
        raise Invalid(errors=(FieldError("/rows", "too_long", f"Send at most {ROWS_MOST} rows at once."),))
    return tuple(_row(number, bytes(raw), clock()) for number, raw in enumerate(raws, 1))


def _row(number: int, raw: bytes, now: datetime) -> ScenarioRow:
    wrong = body_errors(raw, Scenario, now)
    return ScenarioRow(number=number, scenario=None if wrong else msgspec.json.decode(raw, type=Scenario), wrong=wrong)
