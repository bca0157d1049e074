"""WebSockets: who is at the other end, one message at a time, every `id` answered, and nothing that waits without a bound.

What a socket tells, and what it may be asked, is its `Endpoint`'s; here is what all of them have in common.
"""

import asyncio
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import Annotated, Any, Protocol, cast
from uuid import UUID

import msgspec
import structlog
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from app.auth import Authentication, bearer, is_foreign
from app.bootstrap import House
from app.connections import Connection, Connections
from app.errors import ServerError
from app.streaming import CONNECTION, Hub, Subscription
from app.validation import decode
from bus.message import ANONYMOUS, Actor, FieldError, Refusal, Trace
from bus.pipeline import Once
from bus.work import stopping
from domain.accounts.commands import RedeemTicket
from domain.accounts.errors import SessionEnded
from domain.errors import Invalid, Unproven
from domain.types import AccountId, Secret

log = structlog.get_logger("sockets")

LARGEST = 64 * 1024
"""Bytes of a message that is received."""
AUTHENTICATE_WITHIN = 5.0
PER_SECOND = 20
BURST = 40
# A client may say first where it was: until then, or so long, nothing is told that it would be told again.
FIRST_WORD = 0.3
KEY_MOST = 255


class Code(IntEnum):
    """Why a socket is closed; from 4000 on they are ours."""

    NORMAL = 1000
    FAILED = 1011
    RESTARTING = 1012
    TRY_LATER = 1013
    NOT_AUTHENTICATED = 4001
    NOT_ALLOWED = 4003
    NO_SUCH_RESOURCE = 4004
    TOO_SLOW = 4008
    SESSION_ENDED = 4009
    TOO_MANY = 4029


class Gone(Exception):
    """The client has left."""


class Close(Exception):
    """The socket is to be closed, and why."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


CLOSING: Mapping[str, Code] = {
    "unproven": Code.NOT_AUTHENTICATED,
    "denied": Code.NOT_ALLOWED,
    "missing": Code.NO_SUCH_RESOURCE,
    "unavailable": Code.TRY_LATER,
    "try_again": Code.TRY_LATER,
}
"""What a refusal means for a socket that has not begun, by its kind."""


class UnknownMessage(Refusal):
    kind = "invalid"
    code = "socket.unknown_message"
    title = "This socket takes no message of that type."


class NotText(Refusal):
    kind = "malformed"
    code = "socket.not_text"
    title = "Send messages as text, in JSON."


class AlreadyAuthenticated(Refusal):
    kind = "conflict"
    code = "socket.already_authenticated"
    title = "This socket knows already who you are. Open another one to be somebody else."


class Wire(Protocol):
    """What our server lets a socket do beside ASGI, which has no word for either."""

    heard_at: float
    """When the client last sent something that its library does not send by itself, by `time.monotonic`."""

    def cut(self, code: int, reason: str) -> None:
        """Close also a connection whose client does not read; whatever is left of it a few seconds later is dropped."""
        ...


Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | int


class Inbound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of a client. Its `id`, of the client's own choice, comes back in the answer; without one there is none."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    id: Id | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Identified(msgspec.Struct, frozen=True):
    id: Id | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message with this id came to: `ack`, or `error`."""

    type: str
    data: Any
    id: Id | None = None


class Wrong(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """As in the problem documents of HTTP. `retry_after` is in seconds."""

    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: float | None = None


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a message that says everything by its type."""


class TicketData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `last_event_id` the stream begins behind it, and without any wait for a `resume`."""

    ticket: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    last_event_id: str | None = None


class ResumeData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`0` is everything that is kept; null is now."""

    last_event_id: Annotated[str, msgspec.Meta(max_length=64)] | None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the other end, in which session, and until when (`time.monotonic`); a ticket lasts as long as its session does."""

    actor: Actor
    account: AccountId
    session: UUID
    ends_at: float
    trace: Trace

    def once(self, key: str | None) -> Once | None:
        """As over HTTP: the same key with the same request gives the answer of the first."""
        return None if key is None else Once(key, caller=f"person {self.account}")


class Endpoint(Protocol):
    """What one socket is for."""

    kind: str
    conversation: UUID | None
    shapes: Mapping[str, Any]
    """What may be asked, by the type of the message, and what its data look like."""

    async def begin(self, caller: Caller, connection: Connection, last_event_id: str | None) -> None:
        """Raises the refusal with which the socket is closed."""
        ...

    async def answer(self, message: Inbound, data: Any) -> object:
        """The data of the `ack`; None when the endpoint has sent it. Raises refusals, which become an `error`."""
        ...

    def telling(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What is told without being asked, until the socket is closed. The first that raises `Close` closes it."""
        ...


class Socket:
    """One connection, accepted: what is received is limited, what is sent has to be taken in time."""

    def __init__(self, websocket: WebSocket[Any, Any, Any], *, idle: float, patience: float) -> None:
        self._websocket, self._idle, self._patience = websocket, idle, patience
        self.house: House = websocket.app.state.house
        self.hub: Hub = websocket.app.state.hub
        self.trace = cast("Trace", websocket.scope["state"]["trace"])
        self.lock = asyncio.Lock()
        """Hold it to `put` something that nothing else may come in between of."""
        extensions = cast("dict[str, Any]", cast("Mapping[str, Any]", websocket.scope).get("extensions") or {})
        connection: dict[str, Any] = extensions.get(CONNECTION, {})
        self.transport: asyncio.WriteTransport | None = connection.get("transport")
        self._wire: Wire | None = connection.get("wire")
        self._heard_at = time.monotonic()
        self._left, self._counted_at = float(BURST), time.monotonic()

    async def receive(self) -> bytes:
        """The next message. Raises `Close` when there are too many of them, or none for too long, and `NotText`."""
        while True:
            heard_at = max(self._heard_at, self._wire.heard_at if self._wire is not None else 0.0)
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with a message.
                async with asyncio.timeout(max(0.0, heard_at + self._idle - time.monotonic())):
                    message = cast("Mapping[str, Any]", await self._websocket.receive())
            except TimeoutError:
                if self._wire is not None and self._wire.heard_at > heard_at:
                    continue
                raise Close(Code.NORMAL, "idle") from None
            break
        if message["type"] != "websocket.receive":
            raise Gone
        self._count()
        text = message.get("text")
        if text is None:
            raise NotText
        return text.encode(errors="surrogatepass")

    def _count(self) -> None:
        now = self._heard_at = time.monotonic()
        self._left = min(float(BURST), self._left + (now - self._counted_at) * PER_SECOND)
        self._counted_at = now
        if self._left < 1:
            raise Close(Code.TOO_MANY, f"more than {PER_SECOND} messages a second")
        self._left -= 1

    async def send(self, message: bytes) -> None:
        async with self.lock:
            await self.put(message)

    async def put(self, message: bytes) -> None:
        """Raises `Close` when the client does not read: what it has not taken is in the buffer of the connection, which is bounded."""
        try:
            async with asyncio.timeout(self._patience):
                await self._websocket.send({"type": "websocket.send", "text": message.decode(), "bytes": None})
        except TimeoutError:
            raise Close(Code.TOO_SLOW, "too slow") from None
        except (OSError, WebSocketDisconnect):
            raise Gone from None

    async def close(self, close: Close) -> None:
        state = self._websocket.scope["state"]
        state["outcome"], state["closed"] = close.reason or close.code.name.lower(), int(close.code)
        if self._wire is not None:
            self._wire.cut(close.code, close.reason)
        else:
            await self._websocket.close(close.code, close.reason)

    async def caller(self) -> tuple[Caller, str | None]:
        """By the header, or else by a ticket that is the first message. With the id behind which the stream is to begin, if one came."""
        authentication: Authentication = self._websocket.app.state.authentication
        state = self._websocket.scope["state"]
        if "authorization" in self._websocket.headers:
            found = await authentication.authenticate(bearer(self._websocket))
            rest = (found.claims.expires_at - self.house.clock()) / timedelta(seconds=1)
            actor, account, session, ends_at = found.actor, AccountId(found.claims.account), found.claims.session, time.monotonic() + rest
            last = self._last_event_id()
        else:
            actor, account, session, last = await self._by_ticket(authentication)
            ends_at = float("inf")
        state["actor"] = actor
        return Caller(actor=actor, account=account, session=session, ends_at=ends_at, trace=self.trace), last

    def _last_event_id(self) -> str | None:
        """Empty is none, as in a query for server-sent events."""
        return self._websocket.query_params.get("last_event_id") or None

    async def _by_ticket(self, authentication: Authentication) -> tuple[Actor, AccountId, UUID, str | None]:
        try:
            async with asyncio.timeout(AUTHENTICATE_WITHIN):
                message, data = await self._ticket()
        except TimeoutError:
            raise Close(Code.NOT_AUTHENTICATED, "nobody authenticated in time") from None
        try:
            command = RedeemTicket(ticket=Secret(data.ticket), purpose="websocket")
            holder = await self.house.bus.execute(command, by=ANONYMOUS, trace=self.trace)
            actor = await authentication.actor_of(holder.account, holder.session)
        except Unproven as refusal:
            await self.send(refused(refusal, message.id))
            raise
        if message.id is not None:
            await self.send(acknowledged(message.id, {}))
        return actor, holder.account, holder.session, data.last_event_id or self._last_event_id()

    async def _ticket(self) -> tuple[Inbound, TicketData]:
        """What comes before it is answered with an error."""
        while True:
            raw = b""
            try:
                raw = await self.receive()
                message = understood(raw, self.house)
                if message.type != "authenticate":
                    raise Unproven("Authenticate first: by the Authorization header, or with a ticket.")
                return message, shaped(message, TicketData, self.house)
            except Refusal as refusal:
                await self.send(refused(refusal, id_of(raw)))

    def must_close(self, subscription: Subscription, caller: Caller) -> None:
        """Raises `Close` when the process stops, or the caller may not be told anything any more."""
        if self.hub.closing:
            raise Close(Code.RESTARTING, "restarting")
        if subscription.ended:
            raise Close(Code.SESSION_ENDED, "session ended")
        if time.monotonic() >= caller.ends_at:
            raise Close(Code.NOT_AUTHENTICATED, "the token has expired")


async def serve(websocket: WebSocket[Any, Any, Any], endpoint_of: Any) -> None:
    """From the handshake to the end. `endpoint_of` makes the endpoint of an accepted `Socket`, or raises a refusal."""
    settings = cast("House", websocket.app.state.house).settings
    trace = cast("Trace", websocket.scope["state"]["trace"])
    await websocket.accept(headers={"X-Request-ID": trace.correlation_id, "X-Correlation-ID": trace.correlation_id})
    socket = Socket(websocket, idle=settings.socket_idle, patience=settings.socket_patience)
    try:
        await _serve(websocket, socket, endpoint_of)
    except Close as close:
        await socket.close(close)
    except Refusal as refusal:
        code = Code.SESSION_ENDED if isinstance(refusal, SessionEnded) else CLOSING.get(refusal.kind, Code.FAILED)
        await socket.close(Close(code, refusal.code))
    except Gone:
        websocket.scope["state"]["outcome"] = "disconnected"
    except Exception:
        log.exception("socket_failed", path=websocket.scope["path"])
        await socket.close(Close(Code.FAILED, "server.error"))


async def _serve(websocket: WebSocket[Any, Any, Any], socket: Socket, endpoint_of: Any) -> None:
    if is_foreign(websocket):
        raise Close(Code.NOT_ALLOWED, "request.foreign_origin")
    caller, last_event_id = await socket.caller()
    endpoint: Endpoint = endpoint_of(socket)
    connections: Connections = websocket.app.state.connections
    with connections.open(caller.account, caller.session, "websocket", endpoint.conversation) as connection:
        await endpoint.begin(caller, connection, last_event_id)
        tasks = [asyncio.create_task(one) for one in (_receive(socket, endpoint, connection), *endpoint.telling())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


async def _receive(socket: Socket, endpoint: Endpoint, connection: Connection) -> None:
    """One message after the other, so that what is asked happens in the order in which it was asked."""
    while not stopping():
        raw = b""
        try:
            raw = await socket.receive()
            connection.active()
            message, data = _asked(raw, endpoint, socket.house)
            with pointing_into_data():
                answer = await endpoint.answer(message, data)
        except Refusal as refusal:
            if isinstance(refusal, SessionEnded):
                raise
            await socket.send(refused(refusal, id_of(raw)))
            continue
        except (Close, Gone):
            raise
        except Exception:
            log.exception("message_failed")
            await socket.send(refused(ServerError(), id_of(raw)))
            continue
        if answer is not None and message.id is not None:
            await socket.send(acknowledged(message.id, answer))


def _asked(raw: bytes, endpoint: Endpoint, house: House) -> tuple[Inbound, Any]:
    message = understood(raw, house)
    if message.type == "authenticate":
        raise AlreadyAuthenticated
    if message.type not in endpoint.shapes:
        raise UnknownMessage(f"This socket takes messages of these types: {', '.join(sorted(endpoint.shapes))}.")
    return message, shaped(message, endpoint.shapes[message.type], house)


def understood(raw: bytes, house: House) -> Inbound:
    """Raises `MalformedJSON`, or `Invalid` naming every field that is wrong."""
    return decode(raw, Inbound, house.clock)


def shaped(message: Inbound, shape: Any, house: House) -> Any:
    """The data of a message. Raises `Invalid`."""
    with pointing_into_data():
        return decode(bytes(message.data), shape, house.clock)


@contextmanager
def pointing_into_data() -> Generator[None, None, None]:
    """Pointers of what is `Invalid` begin at the message, also where a command names them, which knows only the data."""
    try:
        yield
    except Invalid as refusal:
        refusal.errors = tuple(msgspec.structs.replace(error, field=f"/data{error.field}") for error in refusal.errors)
        raise


def id_of(raw: bytes) -> Id | None:
    """That of a message which is otherwise wrong, so that its sender knows which one it was."""
    try:
        return msgspec.json.decode(raw, type=_Identified).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def acknowledged(id: Id, data: object) -> bytes:  # noqa: A002 - the contract's name
    return msgspec.json.encode(Answered(type="ack", id=id, data=data))


def refused(refusal: Refusal, id: Id | None) -> bytes:  # noqa: A002 - the same
    wrong = Wrong(code=refusal.code, title=refusal.title, detail=refusal.detail, errors=refusal.errors, retry_after=refusal.retry_after)
    return msgspec.json.encode(Answered(type="error", id=id, data=wrong))


def told(name: str, data: object) -> bytes:
    """About the stream itself, so without an id."""
    return msgspec.json.encode({"type": name, "data": data})


async def first_word(begun: asyncio.Event) -> None:
    """A client may say first where it was."""
    try:
        async with asyncio.timeout(FIRST_WORD):
            await begun.wait()
    except TimeoutError:
        return
