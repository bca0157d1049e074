"""A conversation as server-sent events, and where a reader begins."""

import time
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import Stream

from app.api.accounts import own
from app.api.events import LastEventId, LastEventIdInQuery
from app.auth import signed_in
from app.connections import Connections
from app.conversation_stream import ConversationHub, Reader, Told, told
from app.openapi import problems
from app.streaming import CONNECTION, LIFE, PING, RETRY_MS, Hub, control
from app.tokens import Claims
from bus.message import Actor
from db.reads import Reads
from domain.errors import Unavailable
from domain.practice.errors import UnknownConversation
from domain.types import AccountId
from handlers.ports import Clock, PersonKey, Vault

MOST_DIGITS = 18

EXAMPLE = """retry: 3000

id: 1.7
event: practice.delta
data: {"id":"1.7","type":"practice.delta","data":{"turn":"0199a8a0-0000-7000-8000-000000000000","attempt":1,"text":"Good "}}

"""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Behind which number a reader begins, and whether something is missing that it has to read anew."""

    generation: int
    n: int
    reset: bool = False


class ConversationStreams:
    """What readers of conversations need in a web process."""

    def __init__(self, hub: ConversationHub, sessions: Hub, reads: Reads, vault: Vault, clock: Clock) -> None:
        self.hub, self.sessions, self._reads, self._vault, self._clock = hub, sessions, reads, vault, clock

    async def start(self, conversation: UUID, account: AccountId, last_event_id: str | None) -> Start:
        """Without an id a stream begins now; `0` is everything that is kept. Raises `UnknownConversation`."""
        place = await self._reads.practice.place(conversation, account)
        if last_event_id is None:
            return Start(generation=place.generation, n=place.n)
        if last_event_id == "0":
            return Start(generation=place.generation, n=place.gone, reset=place.gone > 0)
        generation, _, n = last_event_id.partition(".")
        if _number(generation) != place.generation or (had := _number(n)) is None or not place.gone <= had <= place.n:
            return Start(generation=place.generation, n=place.n, reset=True)
        return Start(generation=place.generation, n=had)

    async def key(self, conversation: UUID, account: AccountId) -> PersonKey:
        """Raises `UnknownConversation` once what was written in it is erased."""
        return self._vault.opened(await self._reads.practice.key_to(conversation, account))

    def reader(self, conversation: UUID, listener: Any, start: Start) -> Reader:
        return Reader(self._reads, listener, conversation, start.n)

    async def stream(
        self, conversation: UUID, account: AccountId, session: UUID, start: Start, *, until: datetime, connection: Any
    ) -> AsyncGenerator[bytes, None]:
        """The body of the answer, for its life or until the token expires; it ends with `stream.reconnect` unless the session has."""
        yield b"retry: %d\n\n" % RETRY_MS
        if start.reset:
            yield control("stream.reset", {"read": f"/api/v2/conversations/{conversation}", "position": f"{start.generation}.{start.n}"})
        ends_at = time.monotonic() + min(LIFE, (until - self._clock()).total_seconds())
        ping_at = time.monotonic() + PING
        key: PersonKey | None = None
        with (
            self.sessions.subscribed(account, session, ends_at=ends_at, connection=connection) as subscription,
            self.hub.listening(conversation) as listener,
        ):
            subscription.ended_by = listener.end
            reader = self.reader(conversation, listener, start)
            while not subscription.ended and not self.sessions.closing and time.monotonic() < ends_at:
                rows = await reader.rows()
                if rows:
                    try:
                        key = key or await self.key(conversation, account)
                    except UnknownConversation:
                        # Erased since this began: whoever comes again is told so.
                        break
                    yield b"".join(frame(told(row, conversation, start.generation, key)) for row in rows)
                    ping_at = time.monotonic() + PING
                    continue
                if time.monotonic() >= ping_at:
                    yield b": ping\n\n"
                    ping_at = time.monotonic() + PING
                await reader.wait(max(0.0, min(ping_at, ends_at) - time.monotonic()))
            if not subscription.ended or self.sessions.closing:
                yield control("stream.reconnect", {})


def frame(row: Told) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (row.id.encode(), row.type.encode(), msgspec.json.encode(row))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


@get(
    "/conversations/{conversation:uuid}/events",
    operation_id="stream_conversation",
    summary="A conversation as it happens: what is said, word by word, and all that becomes of it",
    tags=["practice"],
    guards=[signed_in],
    opt={"example": EXAMPLE},
    responses={
        200: ResponseSpec(str, media_type="text/event-stream", generate_examples=False, description="Server-sent events, without end."),
        **problems(UnknownConversation, Unavailable),
    },
)
async def stream_conversation(
    conversation: FromPath[UUID],
    request: Request[Any, Any, Any],
    conversation_streams: NamedDependency[ConversationStreams],
    connections: NamedDependency[Connections],
    actor: NamedDependency[Actor],
    last_event_id: LastEventId = None,
    last_event_id_in_query: LastEventIdInQuery = None,
) -> Stream:
    claims: Claims = request.scope["state"]["claims"]
    account = own(actor)
    start = await conversation_streams.start(conversation, account, last_event_id or last_event_id_in_query or None)
    extensions = cast("dict[str, Any]", cast("Mapping[str, Any]", request.scope).get("extensions") or {})
    stream = conversation_streams.stream(
        conversation,
        account,
        claims.session,
        start,
        until=claims.expires_at,
        connection=extensions.get(CONNECTION, {}).get("transport"),
    )
    return Stream(
        connections.counted(stream, account, claims.session, conversation),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
