"""The caller's own feed, as server-sent events."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from app.api.accounts import own
from app.auth import signed_in
from app.connections import Connections
from app.openapi import problems
from app.streaming import CONNECTION, PersonalFeed
from app.tokens import Claims
from bus.message import Actor
from domain.errors import Unavailable

LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="The last id that was received; `0` is everything that is kept.")
]
LastEventIdInQuery = Annotated[
    str | None, QueryParameter(name="last_event_id", description="The same, for clients that cannot set the header.")
]

EXAMPLE = """retry: 3000

id: 42
event: accounts.signed_in
data: {"id":"0199a8a0-0000-7000-8000-000000000000","type":"accounts.signed_in","version":1,"occurred_at":"2026-01-31T12:00:00Z"}

"""


@get(
    "/events",
    operation_id="stream_own_events",
    summary="One's own events, as they happen",
    tags=["events"],
    guards=[signed_in],
    opt={"example": EXAMPLE},
    responses={
        200: ResponseSpec(str, media_type="text/event-stream", generate_examples=False, description="Server-sent events, without end."),
        **problems(Unavailable),
    },
)
async def stream_own_events(
    request: Request[Any, Any, Any],
    feed: NamedDependency[PersonalFeed],
    connections: NamedDependency[Connections],
    actor: NamedDependency[Actor],
    last_event_id: LastEventId = None,
    last_event_id_in_query: LastEventIdInQuery = None,
) -> Stream:
    claims: Claims = request.scope["state"]["claims"]
    account = own(actor)
    start = await feed.resumption(account, last_event_id or last_event_id_in_query or None)
    extensions = cast("dict[str, Any]", cast("Mapping[str, Any]", request.scope).get("extensions") or {})
    connection = extensions.get(CONNECTION, {}).get("transport")
    stream = feed.stream(account, claims.session, start, until=claims.expires_at, connection=connection)
    return Stream(
        connections.counted(stream, account, claims.session),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
