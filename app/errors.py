"""Refusals and failures as RFC 9457 problem documents. The only file that knows status codes.

The `type` of a problem is `/problems/<code>`: RFC 9457 wants an identifier that stays the same and leads to an explanation. As an absolute
path it is the same on every host, and resolves to the page that `app.api.pages` serves there.
"""

import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from app.validation import parameter_errors
from bus.message import FieldError, Refusal, Unavailable
from domain.errors import Denied, Invalid, Missing, TooMany, Unproven

PROBLEM_JSON = "application/problem+json"
logger = structlog.stdlib.get_logger()

STATUS: Mapping[str, int] = {
    "malformed": 400,
    "unproven": 401,
    "denied": 403,
    "missing": 404,
    "method": 405,
    "conflict": 409,
    "spent": 409,
    "in_progress": 409,
    "stale": 412,
    "too_large": 413,
    "media_type": 415,
    "invalid": 422,
    "required": 428,
    "too_many": 429,
    "failure": 500,
    "try_again": 503,
    "unavailable": 503,
}
# Seconds to wait where the refusal itself does not say; what there are too many of may never be fewer.
RETRY_AFTER: Mapping[str, float] = {"in_progress": 1, "try_again": 1, "unavailable": 5}


class BadRequest(Refusal):
    kind = "malformed"
    code = "request.malformed"
    title = "The request is not well-formed HTTP."


class MethodNotAllowed(Refusal):
    kind = "method"
    code = "request.method_not_allowed"
    title = "This resource does not know that method; the Allow header names those it does."


class TooLarge(Refusal):
    kind = "too_large"
    code = "request.too_large"
    title = "The body is larger than this endpoint accepts."


class PreconditionRequired(Refusal):
    kind = "required"
    code = "request.precondition_required"
    title = "Send the ETag of what you have read as If-Match, so that nobody's change is lost."


class ServerError(Refusal):
    kind = "failure"
    code = "server.error"
    title = "Something went wrong on our side. It has been logged under the request id."


FROM_STATUS: Mapping[int, type[Refusal]] = {
    401: Unproven,
    403: Denied,
    404: Missing,
    405: MethodNotAllowed,
    413: TooLarge,
    429: TooMany,
    503: Unavailable,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document. `code` is for programs, `detail` for people; `errors` has one entry for every offending field."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: tuple[FieldError, ...] = ()


def status_of(refusal: Refusal | type[Refusal]) -> int:
    return STATUS[refusal.kind]


def problem_type(refusal: Refusal | type[Refusal]) -> str:
    return f"/problems/{refusal.code}"


def every_refusal(root: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """All classes of refusals, in no particular order; several may share a code."""
    for refusal in root.__subclasses__():
        yield refusal
        yield from every_refusal(refusal)


def answer(request: Request[Any, Any, Any], refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """The problem document of a refusal; `headers` are added to those its kind asks for."""
    status = status_of(refusal)
    state = request.scope["state"]
    state["outcome"] = refusal.code
    trace = state.get("trace")
    problem = Problem(
        type=problem_type(refusal),
        title=refusal.title,
        status=status,
        detail=refusal.detail,
        instance=quote(request.scope["path"]),
        code=refusal.code,
        request_id="" if trace is None else trace.correlation_id,
        errors=refusal.errors,
    )
    added = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        # RFC 6750: the error is named only to somebody who has sent a token.
        added["WWW-Authenticate"] = 'Bearer error="invalid_token"' if "authorization" in request.headers else "Bearer"
    wait = refusal.retry_after if refusal.retry_after is not None else RETRY_AFTER.get(refusal.kind)
    if wait is not None:
        added["Retry-After"] = str(max(1, math.ceil(wait)))
    return Response(msgspec.json.encode(problem), status_code=status, headers=added, media_type=PROBLEM_JSON)


def _refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    return answer(request, refusal)


def _invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    if errors := parameter_errors(request):
        return answer(request, Invalid(errors=errors))
    return _http_exception(request, error)


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    refusal = FROM_STATUS.get(error.status_code)
    if refusal is None and error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _failed(request, error)
    # The framework's own details quote what was sent; the title says the same without it.
    return answer(request, (refusal or BadRequest)(), error.headers)


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if request.scope["state"].get("disconnected"):
        # Nobody reads this answer; the log is to say whose end it was.
        gone = answer(request, BadRequest())
        request.scope["state"]["outcome"] = "disconnected"
        return gone
    logger.error("request_failed", method=request.method, path=request.scope["path"], exc_info=error)
    return answer(request, ServerError())


exception_handlers: dict[int | type[Exception], Any] = {
    Refusal: _refused,
    ValidationException: _invalid_parameters,
    HTTPException: _http_exception,
    Exception: _failed,
}
