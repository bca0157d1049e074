"""The audit trail, for admins: who did what, to whom, and when."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta as Shape

from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import ListAnswer, Meta
from app.api.instants import not_instants
from app.auth import admin
from app.openapi import problems
from bus.message import Actor, Envelope, FieldError
from db.reads import Reads
from db.reads.audit import AuditQuery
from domain.errors import Denied, Invalid, Unavailable

KIND = "audit"
log = structlog.get_logger("audit")

ByActor = Annotated[UUID | None, QueryParameter(name="actor", description="What this account did, or the system on its behalf.")]
BySubject = Annotated[UUID | None, QueryParameter(name="subject", description="What concerns this account.")]
ByType = Annotated[
    str | None,
    QueryParameter(
        name="type", pattern=r"^[a-z]+\.[a-z][a-z0-9_]*$(?!\n)", description="Send the wire name of an event, such as accounts.signed_in."
    ),
]
CLOCKS = (
    "Times are those of the machines that recorded the events; an event that is out of time by more than an hour, compared with those "
    "around it, may be left out."
)
Since = Annotated[
    datetime | None, QueryParameter(name="since", description=f"No older than this, a time with its offset from UTC. {CLOCKS}")
]
Until = Annotated[datetime | None, QueryParameter(name="until", description=f"Older than this, a time with its offset from UTC. {CLOCKS}")]


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who did it: a person with what they might do then, nobody known, or the system, possibly on behalf of a person."""

    kind: Literal["person", "anonymous", "system"]
    id: UUID | None
    session: UUID | None
    flags: Annotated[tuple[str, ...], Shape(examples=[["admin"]])]
    proved_at: Annotated[datetime, Shape(tz=True, description="When they last proved who they are.")] | None
    on_behalf_of: UUID | None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was recorded. Positions have no gaps."""

    position: Annotated[int, Shape(examples=[4711])]
    id: UUID
    type: Annotated[str, Shape(examples=["accounts.signed_in"])]
    version: int
    occurred_at: Annotated[datetime, Shape(tz=True)]
    actor: AuditActor
    subject: UUID | None
    key: Annotated[str | None, Shape(examples=["0199a8a0-0000-7000-8000-000000000000"], description="In whose order it is delivered.")]
    correlation_id: Annotated[str, Shape(examples=["0199a8a0-0000-7000-8000-000000000000"], description="The request it came from.")]
    causation_id: Annotated[str | None, Shape(examples=["0199a8a0-0000-7000-8000-000000000000"], description="The message it came from.")]
    data: Annotated[dict[str, Any], Shape(examples=[{"account": "0199a8a0-0000-7000-8000-000000000000"}])]

    @classmethod
    def of(cls, envelope: Envelope) -> "AuditEntry":
        return cls(
            position=envelope.position or 0,
            id=envelope.id,
            type=envelope.name,
            version=envelope.version,
            occurred_at=envelope.at,
            actor=msgspec.convert(envelope.actor, AuditActor, from_attributes=True),
            subject=envelope.subject,
            key=envelope.key,
            correlation_id=envelope.trace.correlation_id,
            causation_id=envelope.trace.causation_id,
            data=msgspec.json.decode(envelope.data),
        )


@get(
    "/admin/audit",
    operation_id="search_audit_trail",
    summary="Search the audit trail, the newest first",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def search_audit_trail(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    actor: NamedDependency[Actor],
    meta: NamedDependency[Meta],
    by_actor: ByActor = None,
    by_subject: BySubject = None,
    by_type: ByType = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[AuditEntry]]:
    _check_range(since, until)
    before = None if cursor is None else cursors.read(KIND, cursor, int)
    query = AuditQuery(actor=by_actor, subject=by_subject, name=by_type, since=since, until=until, before=before)
    found = await reads.audit.search(query, limit=limit + 1)
    page = found[:limit]
    # Whoever looks at what people did is looked at as well; in the log, for in the trail it would drown what they looked for.
    log.info("audit_read", reader=str(actor), found=len(page), **msgspec.to_builtins(query, str_keys=True))
    more = cursors.make(KIND, page[-1].position) if len(found) > limit else None
    answer = ListAnswer(data=[AuditEntry.of(envelope) for envelope in page], meta=page_of(meta, limit, more))
    return Response(answer, headers={"Cache-Control": "no-store"})


def _check_range(since: datetime | None, until: datetime | None) -> None:
    """Raises `Invalid`."""
    errors = not_instants(since=since, until=until)
    if not errors and since is not None and until is not None and until <= since:
        errors = (FieldError("/until", "out_of_range", "Send a time after that of since."),)
    if errors:
        raise Invalid(errors=errors)
