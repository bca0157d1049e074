"""Every request has an identity, every answer the headers of the house, and the log one line for each."""

import re
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
import structlog
from litestar import Litestar, Request, get, websocket
from litestar.connection import WebSocket
from litestar.params import FromPath
from litestar.response import Response, Stream
from structlog.typing import EventDict
from uuid_utils.compat import uuid7

from app.errors import exception_handlers
from app.middleware import around
from bus.message import Actor, Trace
from domain.errors import Denied

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PERSON = UUID("0199a8a0-0000-7000-8000-000000000000")


@get("/trace")
async def show_trace(request: Request[Any, Any, Any]) -> Trace:
    return cast("Trace", request.scope["state"]["trace"])


@get("/things/{thing:str}")
async def show_thing(thing: FromPath[str], request: Request[Any, Any, Any]) -> str:
    request.scope["state"]["actor"] = Actor(kind="person", id=PERSON)
    return thing


@get("/denied")
async def denied() -> None:
    raise Denied


@get("/cached")
async def cached() -> Response[str]:
    return Response("x", headers={"Cache-Control": "public, max-age=60"})


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    return Stream(parts())


@get("/broken-stream")
async def broken_stream() -> Stream:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError

    return Stream(parts())


@websocket("/socket")
async def closing_socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.close(code=4003)


def application() -> Any:
    handlers = [show_trace, show_thing, denied, cached, stream, broken_stream, closing_socket]
    return around(Litestar(handlers, exception_handlers=exception_handlers, openapi_config=None), uuid7)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Correlation-ID"])
@pytest.mark.parametrize("sent", ["a", "A.b_c-9", "x" * 128])
async def test_a_good_id_is_kept_and_echoed(client: httpx.AsyncClient, header: str, sent: str) -> None:
    response = await client.get("/trace", headers={header: sent})
    assert response.headers["x-request-id"] == response.headers["x-correlation-id"] == sent
    assert response.json()["correlation_id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\tb", "ä".encode(), "a/b", "a\n", 'a"b'])
async def test_a_bad_id_is_replaced_by_a_new_uuid7(client: httpx.AsyncClient, sent: str | bytes) -> None:
    response = await client.get("/trace", headers=[(b"X-Request-ID", sent if isinstance(sent, bytes) else sent.encode())])
    assert UUID(response.headers["x-request-id"]).version == 7
    assert response.json()["correlation_id"] == response.headers["x-request-id"]


async def test_the_trace_is_continued_with_a_span_of_our_own(client: httpx.AsyncClient) -> None:
    response = await client.get("/trace", headers={"traceparent": PARENT})
    continued = response.headers["traceparent"]
    assert continued == response.json()["traceparent"]
    assert re.fullmatch(r"00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01", continued)
    assert continued != PARENT


async def test_an_unsampled_trace_stays_unsampled(client: httpx.AsyncClient) -> None:
    response = await client.get("/trace", headers={"traceparent": PARENT[:-2] + "00"})
    assert response.headers["traceparent"].endswith("-00")


async def test_a_later_version_is_continued_as_version_00(client: httpx.AsyncClient) -> None:
    response = await client.get("/trace", headers={"traceparent": "01" + PARENT[2:] + "-more"})
    assert re.fullmatch(r"00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01", response.headers["traceparent"])


@pytest.mark.parametrize(
    "sent",
    ["nonsense", PARENT.upper(), "ff" + PARENT[2:], PARENT + "-more", "00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16 + "-01"],
)
async def test_an_invalid_trace_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    response = await client.get("/trace", headers={"traceparent": sent})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", response.headers["traceparent"])
    assert response.headers["traceparent"].split("-")[1] not in ("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/trace"), ("GET", "/nothing"), ("DELETE", "/trace"), ("GET", "/denied"), ("GET", "/stream")]
)
async def test_every_answer_has_the_headers_of_the_house(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path, headers={"X-Request-ID": "mine"})
    assert response.headers["x-request-id"] == "mine"
    assert "traceparent" in response.headers
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert response.headers["cache-control"] == "no-store"


async def test_an_answer_keeps_the_headers_of_its_own(client: httpx.AsyncClient) -> None:
    response = await client.get("/cached")
    assert response.headers.get_list("cache-control") == ["public, max-age=60"]


async def logged(client: httpx.AsyncClient, path: str) -> EventDict:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await client.get(path, headers={"X-Request-ID": "mine"})
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 1
    assert requests[0]["correlation_id"] == "mine"
    assert requests[0]["ms"] >= 0
    return requests[0]


async def test_a_request_is_one_line_without_its_query(client: httpx.AsyncClient) -> None:
    line = await logged(client, "/things/seven?token=hunter2")
    assert (line["method"], line["route"], line["path"], line["status"]) == ("GET", "/things/{thing}", "/things/seven", 200)
    assert (line["actor"], line["outcome"]) == (f"person:{PERSON}", "ok")
    assert "hunter2" not in repr(line)


@pytest.mark.parametrize(
    ("path", "status", "outcome"), [("/denied", 403, "auth.denied"), ("/nothing", 404, "request.not_found"), ("/stream", 200, "ok")]
)
async def test_the_line_tells_the_outcome(client: httpx.AsyncClient, path: str, status: int, outcome: str) -> None:
    line = await logged(client, path)
    assert (line["status"], line["outcome"], line["actor"]) == (status, outcome, "anonymous")


async def test_a_stream_that_breaks_off_has_its_line_too(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines, pytest.raises(Exception, match="after response started"):
        await client.get("/broken-stream")
    assert [(line["status"], line["outcome"]) for line in lines if line["event"] == "request"] == [(200, "failed")]


async def test_the_context_ends_with_the_request(client: httpx.AsyncClient) -> None:
    await client.get("/trace")
    assert structlog.contextvars.get_contextvars() == {}


async def test_a_websocket_has_its_line_with_the_close_code() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/socket",
        "raw_path": b"/socket",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
        "extensions": {},
    }
    with structlog.testing.capture_logs() as lines:
        await application()(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert [(line["method"], line["status"]) for line in lines] == [("WEBSOCKET", 4003)]
