"""A person's own feed over a WebSocket, with who else of theirs is connected."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import WebSocket, websocket

from app.connections import Connected, Connection, Connections, Kind
from app.sockets import Caller, Endpoint, Inbound, Nothing, ResumeData, Socket, acknowledged, first_word, serve, told
from app.streaming import PersonalFeed, Resumption, document
from bus.work import stopping

DOWN_POLL = 1.0
LONGEST = 3600.0


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another connection of the same person. `same_session`: of this very sign-in, so another page of the same browser perhaps."""

    id: UUID
    kind: Kind
    same_session: bool
    connected_at: datetime
    last_activity: datetime
    conversation: UUID | None = None

    @classmethod
    def of(cls, one: Connected, session: UUID) -> "Device":
        return cls(
            id=one.id,
            kind=one.kind,
            same_session=one.session == session,
            connected_at=one.connected_at,
            last_activity=one.last_activity,
            conversation=one.conversation,
        )


class FeedEndpoint:
    kind = "feed"
    shapes: Mapping[str, Any] = {"resume": ResumeData, "ping": Nothing}
    conversation: UUID | None = None

    def __init__(self, socket: Socket, app: Any) -> None:
        self._socket = socket
        self._feed: PersonalFeed = app.state.feed
        self._connections: Connections = app.state.connections
        self._begun = asyncio.Event()
        self._resumed = False
        self._wake: Any = None
        self._start: Resumption
        self._caller: Caller
        self._connection: Connection

    async def begin(self, caller: Caller, connection: Connection, last_event_id: str | None) -> None:
        self._caller, self._connection = caller, connection
        self._start = await self._feed.resumption(caller.account, last_event_id)
        if last_event_id is not None:
            self._begun.set()

    async def answer(self, message: Inbound, data: Any) -> object:
        if message.type != "resume":
            self._begun.set()
            return {}
        start = await self._feed.resumption(self._caller.account, data.last_event_id)
        async with self._socket.lock:
            self._start, self._resumed = start, True
            self._begun.set()
            if self._wake is not None:
                self._wake()
            if message.id is not None:
                await self._socket.put(acknowledged(message.id, {"last_event_id": str(start.position)}))
        return None

    def telling(self) -> Sequence[Coroutine[Any, Any, None]]:
        return (self._tell(), self._tell_of_devices())

    async def _tell(self) -> None:
        hub, caller, socket = self._feed.hub, self._caller, self._socket
        with hub.subscribed(caller.account, caller.session, ends_at=caller.ends_at, connection=socket.transport) as subscription:
            self._wake, subscription.ended_by = subscription.fall_behind, self._begun.set
            await first_word(self._begun)
            self._resumed, position = True, 0
            while not stopping():
                socket.must_close(subscription, caller)
                if self._resumed:
                    self._resumed, position = False, self._start.position
                    subscription.fall_behind()
                    await self._reset()
                found = await self._feed.past(position, subscription)
                for envelope in found:
                    if (envelope.position or 0) <= position:
                        continue
                    async with socket.lock:
                        if self._resumed or subscription.ended:
                            break
                        await socket.put(message_of(envelope))
                    position = envelope.position or 0
                if self._resumed or (found and subscription.behind):
                    continue
                rest = max(0.0, min(caller.ends_at - time.monotonic(), LONGEST))
                await subscription.news(min(rest, DOWN_POLL) if subscription.behind else rest)

    async def _reset(self) -> None:
        if self._start.reset:
            data = {"read": "/api/v2/users/me", "position": str(self._start.position)}
            await self._socket.send(told("stream.reset", data))

    async def _tell_of_devices(self) -> None:
        """At the beginning, and whenever one comes or goes; while Redis is away nothing is known, so nothing is told."""
        account, session = self._caller.account, self._caller.session
        shown: list[UUID] | None = None
        with self._connections.watching(account) as changed:
            changed.set()
            while not stopping():
                await changed.wait()
                changed.clear()
                found = await self._connections.of(account)
                if found is None:
                    continue
                devices = [Device.of(one, session) for one in found if one.id != self._connection.seen.id]
                if shown != (shown := [one.id for one in devices]):
                    await self._socket.send(told("presence", {"devices": devices}))


def message_of(envelope: Any) -> bytes:
    """As over server-sent events, where the position stands beside the data: here it is the `id`, and the event's own is apart."""
    shown = document(envelope)
    return msgspec.json.encode({**shown, "id": str(envelope.position), "event_id": shown["id"]})


@websocket("/ws")
async def follow(socket: WebSocket[Any, Any, Any]) -> None:
    def endpoint(opened: Socket) -> Endpoint:
        return FeedEndpoint(opened, socket.app)

    await serve(socket, endpoint)
