"""What happens around every request, also one that no route answers: its identity, the headers of its answer, its line in the log."""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from uuid import UUID

import structlog
from litestar import Litestar
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from bus.message import ANONYMOUS, Actor, Trace

logger = structlog.stdlib.get_logger()

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, version 00; of a later version only this part may be read.
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

# Strict enough for every answer; a page that needs more says so itself.
HEADERS: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}


def around(app: Litestar, new_id: Callable[[], UUID]) -> Litestar:
    """The same application with `RequestContext` outermost: Litestar's own middlewares do not see a request that no route answers."""
    app.asgi_handler = RequestContext(app.asgi_handler, new_id)
    return app


class RequestContext:
    """Gives a request its `Trace` (in `scope["state"]["trace"]`), its answer the headers of the house, and the log its one line.

    The line is written when the answer ends, a stream's too. It takes from the state what others put there: the `actor`, the `outcome` of a
    request that was refused, the code with which a WebSocket was `closed`, and `headers` (names and values) for an answer that is not made
    yet. Query strings are not logged: they may hold what opens something.
    """

    def __init__(self, app: ASGIApp, new_id: Callable[[], UUID]) -> None:
        self.app = app
        self.new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _first_values(scope["headers"])
        trace = Trace(
            correlation_id=_request_id(headers) or str(self.new_id()),
            traceparent=_continued(headers.get(b"traceparent", b"")),
        )
        scope["state"]["trace"] = trace
        with structlog.contextvars.bound_contextvars(correlation_id=trace.correlation_id):
            await self._answer(scope, receive, send, trace)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> None:
        state = scope["state"]
        path = scope["path"]  # Litestar replaces it by the normalised one.
        status = 0
        complete = False
        begun = time.perf_counter()

        async def noticing_receive() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                state["disconnected"] = True
            return message

        async def adding_send(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_added(message["headers"], trace, state.get("headers", {}))]
            elif message["type"] == "http.response.body":
                complete = not cast("Mapping[str, Any]", message).get("more_body")
            elif message["type"] == "websocket.close":
                status = message["code"]
            await send(message)

        outcome = "failed"
        try:
            await self.app(scope, noticing_receive, adding_send)
            outcome = state.get("outcome") or ("disconnected" if state.get("disconnected") else "ok")
        finally:
            actor = cast("Actor | None", state.get("actor"))
            logger.info(
                "request",
                method=scope["method"] if scope["type"] == "http" else "WEBSOCKET",
                route=cast("Mapping[str, Any]", scope).get("path_template"),
                path=path,
                status=status or state.get("closed", 0),
                ms=round((time.perf_counter() - begun) * 1000, 1),
                actor=str(actor or ANONYMOUS),
                outcome=outcome,
            )


def _first_values(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return dict(reversed([(name.lower(), value) for name, value in headers]))


def _request_id(headers: Mapping[bytes, bytes]) -> str | None:
    for name in (b"x-request-id", b"x-correlation-id"):
        sent = headers.get(name, b"").decode("latin-1")
        if REQUEST_ID.fullmatch(sent):
            return sent
    return None


def _continued(sent: bytes) -> str:
    """The W3C trace context that was sent, with a span of our own; a new trace when none, or an invalid one, was sent."""
    span = secrets.token_hex(8)
    match = TRACEPARENT.fullmatch(sent.decode("latin-1").strip())
    if match is None or (match[1] == "00" and match[4]):
        return f"00-{secrets.token_hex(16)}-{span}-01"
    return f"00-{match[2]}-{span}-{int(match[3], 16) & 1:02x}"


def _added(present: Iterable[tuple[bytes, bytes]], trace: Trace, asked_for: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in present}
    own = {
        b"x-request-id": trace.correlation_id.encode(),
        b"x-correlation-id": trace.correlation_id.encode(),
        b"traceparent": (trace.traceparent or "").encode(),
        **{name.lower().encode(): value.encode() for name, value in asked_for.items()},
        **HEADERS,
    }
    return [(name, value) for name, value in own.items() if name not in names]
