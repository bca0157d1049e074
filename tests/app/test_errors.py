"""Every answer that is not the wanted one is a problem document, and says nothing that it should not."""

from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
import structlog
from litestar import Litestar, Request, get, post
from litestar.exceptions import HTTPException, NotAuthorizedException, ServiceUnavailableException
from litestar.params import FromPath, JSONBody
from uuid_utils.compat import uuid7

from app.errors import RETRY_AFTER, STATUS, PreconditionRequired, Problem, ServerError, every_refusal, exception_handlers
from app.middleware import around
from app.validation import MAX_BODY, MalformedJSON, json_request
from bus.message import FieldError, Refusal
from domain.errors import Invalid, Missing, TooMany, Unavailable, Unproven
from tests.app.test_validation import NewPerson, clock


def refusal_of(kind: str) -> Refusal:
    class OfThisKind(Refusal):
        title = "A title."

    OfThisKind.kind = kind
    OfThisKind.code = f"testing.{kind}"
    return OfThisKind("A detail.")


RAISED: dict[str, Exception] = {
    **{kind: refusal_of(kind) for kind in STATUS},
    "waiting": TooMany(retry_after=2.1),
    "fields": Invalid(errors=(FieldError("/name", "missing", "This field is required."),)),
    "teapot": HTTPException("the secret teapot", status_code=418),
    "unauthorized": NotAuthorizedException("the secret reason"),
    "overloaded": ServiceUnavailableException("the secret load"),
    "bug": RuntimeError("the secret password"),
    "several bugs": ExceptionGroup("the secret group", [ValueError("one"), ValueError("two")]),
}


@get("/raise/{name:str}", sync_to_thread=False)
def raises(name: FromPath[str]) -> None:
    raise RAISED[name]


@get("/things/{thing:uuid}", sync_to_thread=False)
def thing(thing: FromPath[UUID]) -> str:
    return str(thing)


@get("/unencodable", sync_to_thread=False)
def unencodable() -> dict[str, Any]:
    return {"x": object()}


@post("/people")
async def create(data: JSONBody[NewPerson]) -> NewPerson:
    return data


@post("/upload")
async def upload(request: Request[Any, Any, Any]) -> int:
    return len(await request.body())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar(
        [raises, thing, unencodable, create, upload],
        exception_handlers=exception_handlers,
        request_class=json_request(clock),
        request_max_body_size=MAX_BODY,
        openapi_config=None,
    )
    transport = httpx.ASGITransport(cast("Any", around(app, uuid7)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["request_id"] == response.headers["x-request-id"]
    assert set(document) - {"errors"} == set(Problem.__struct_fields__) - {"errors"}
    assert "secret" not in response.text
    return document


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
async def test_every_kind_of_refusal_has_its_status(client: httpx.AsyncClient, kind: str, status: int) -> None:
    response = await client.get(f"/raise/{kind}")
    document = problem(response)
    assert response.status_code == status
    assert (document["title"], document["detail"], document["instance"]) == ("A title.", "A detail.", f"/raise/{kind}")
    assert "errors" not in document
    assert ("retry-after" in response.headers) == (kind in RETRY_AFTER)
    assert ("www-authenticate" in response.headers) == (status == 401)


def test_every_declared_refusal_has_a_kind_with_a_status() -> None:
    assert {refusal.kind for refusal in every_refusal()} <= set(STATUS)
    assert {MalformedJSON, PreconditionRequired, ServerError, Missing, Unproven, Unavailable} <= set(every_refusal())


async def test_fields_are_listed(client: httpx.AsyncClient) -> None:
    document = problem(await client.get("/raise/fields"))
    assert document["errors"] == [{"field": "/name", "code": "missing", "message": "This field is required."}]


async def test_waiting_is_told_in_whole_seconds_rounded_up(client: httpx.AsyncClient) -> None:
    response = await client.get("/raise/waiting")
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")


async def test_a_refused_token_is_told_apart_from_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/raise/unproven")).headers["www-authenticate"] == "Bearer"
    with_token = await client.get("/raise/unproven", headers={"Authorization": "Bearer x"})
    assert with_token.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "request.not_found"),
        ("GET", "/things/not-a-uuid", 404, "request.not_found"),
        ("DELETE", "/people", 405, "request.method_not_allowed"),
        ("BREW", "/people", 405, "request.method_not_allowed"),
        ("GET", "/raise/teapot", 400, "request.malformed"),
        ("GET", "/raise/unauthorized", 401, "auth.required"),
        ("GET", "/raise/overloaded", 503, "service.unavailable"),
        ("POST", "/people", 400, "request.malformed_json"),
    ],
)
async def test_what_the_framework_refuses_looks_the_same(client: httpx.AsyncClient, method: str, path: str, status: int, code: str) -> None:
    response = await client.request(method, path)
    assert (response.status_code, problem(response)["code"]) == (status, code)


async def test_405_names_the_methods(client: httpx.AsyncClient) -> None:
    response = await client.delete("/people")
    assert {method.strip() for method in response.headers["allow"].split(",")} == {"POST", "OPTIONS"}


@pytest.mark.parametrize("path", ["/raise/bug", "/raise/several bugs", "/unencodable"])
async def test_a_bug_is_logged_once_and_not_shown(client: httpx.AsyncClient, path: str) -> None:
    with structlog.testing.capture_logs() as lines:
        response = await client.get(path)
    assert (response.status_code, problem(response)["code"]) == (500, "server.error")
    failures = [line for line in lines if line["log_level"] == "error"]
    assert len(failures) == 1
    assert isinstance(failures[0]["exc_info"], Exception)
    assert [line["outcome"] for line in lines if line["event"] == "request"] == ["server.error"]


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b"x" * (size % 1024)


async def test_a_body_of_exactly_the_limit_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.post("/upload", content=b"x" * MAX_BODY)).text == str(MAX_BODY)
    assert (await client.post("/upload", content=chunks(MAX_BODY))).text == str(MAX_BODY)


async def test_a_larger_body_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/upload", content=b"x" * (MAX_BODY + 1))
    assert (response.status_code, problem(response)["code"]) == (413, "request.too_large")


async def test_a_larger_body_without_content_length_is_refused(client: httpx.AsyncClient) -> None:
    for path in ("/upload", "/people"):
        response = await client.post(path, content=chunks(MAX_BODY + 1))
        assert "content-length" not in response.request.headers
        assert (response.status_code, problem(response)["code"]) == (413, "request.too_large")


async def test_the_instance_is_a_valid_uri_reference(client: httpx.AsyncClient) -> None:
    assert problem(await client.get("/nothing/ä b?token=secret"))["instance"] == "/nothing/%C3%A4%20b"


async def test_a_client_that_goes_away_is_no_bug() -> None:
    app = around(Litestar([upload], exception_handlers=exception_handlers, openapi_config=None), uuid7)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: dict[str, Any]) -> None: ...

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/upload",
        "raw_path": b"/upload",
        "query_string": b"",
        "headers": [],
        "extensions": {},
    }
    with structlog.testing.capture_logs() as lines:
        await app(cast("Any", scope), cast("Any", receive), cast("Any", send))
    assert [line["event"] for line in lines] == ["request"]
