"""A request's body and parameters, decoded strictly; when that fails, a second pass finds every error in them, not only the first."""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.params import BodyKwarg
from litestar.typing import FieldDefinition

from app.validation.body import body_errors, may_hold_null
from app.validation.parameters import parameter_errors
from bus.message import FieldError, Refusal
from domain.errors import Invalid

__all__ = ["MAX_BODY", "MalformedJSON", "UnsupportedMediaType", "decode", "json_request", "parameter_errors"]

T = TypeVar("T")
Clock = Callable[[], datetime]

MAX_BODY = 1024 * 1024
MAX_DEPTH = 64
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
# Every escape, and by itself one that is half of a character: high and not followed by a low one, or low.
ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]|(\\u[dD][89a-fA-F])|\\.", re.DOTALL)
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class MalformedJSON(Refusal):
    kind = "malformed"
    code = "request.malformed_json"
    title = "The body is not well-formed JSON in UTF-8."


class UnsupportedMediaType(Refusal):
    kind = "media_type"
    code = "request.unsupported_media_type"
    title = "Send the body as application/json in UTF-8, not compressed, and say so in Content-Type."


def decode(body: bytes, target: type[T], now: Clock) -> T:
    """The body as a `target`. Raises `MalformedJSON`, or `Invalid` naming every field that is wrong (the first 100 of them)."""
    _refuse_unreadable(body)
    try:
        value = msgspec.json.decode(body, type=target)
    except msgspec.DecodeError:
        raise Invalid(errors=_errors(body, target, now)) from None
    if may_hold_null(body) and (errors := _errors(body, target, now)):
        raise Invalid(errors=errors)
    return value


def _errors(body: bytes, target: Any, now: Clock) -> tuple[FieldError, ...]:
    try:
        return body_errors(body, target, now())
    except msgspec.DecodeError as error:
        halves = (found.start() for found in ESCAPE.finditer(body) if found[1])
        if (half := next(halves, None)) is not None:
            # The parser would speak of a body that was cut off.
            raise MalformedJSON(f"A string of the body has half of a surrogate pair (byte {half}), which is no character.") from None
        raise MalformedJSON(f"The body is not well-formed JSON: {error}.") from None


def _refuse_unreadable(body: bytes) -> None:
    if not body.strip(b" \t\r\n"):
        raise MalformedJSON("The body is empty. Send a JSON object.")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise MalformedJSON("The body is not UTF-8.") from None
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in STRING.sub(b"", body).translate(None, NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedJSON(f"The body is nested more than {MAX_DEPTH} levels deep.")


def json_request(clock: Clock) -> type[Request[Any, Any, Any]]:
    """The application's `request_class`: `data: JSONBody[SomeStruct]` is then decoded by `decode`, from JSON only and without coercion.

    Raises `UnsupportedMediaType`, `MalformedJSON` and `Invalid`; the parameters' errors are named together with the body's.
    """

    class JSONRequest(Request[Any, Any, Any]):
        async def body(self) -> bytes:
            body = await super().body()
            # Litestar never asks `json` about an empty body.
            if not body and _is_required(self.route_handler.parsed_data_field):
                raise MalformedJSON("The body is empty. Send a JSON object.")
            return body

        async def json(self) -> Any:
            body = await self.body()
            if not _is_json(*self.content_type) or self.headers.get("content-encoding", "identity").lower() != "identity":
                raise UnsupportedMediaType
            field = self.route_handler.parsed_data_field
            target = Any if field is None else field.annotation
            try:
                if not hasattr(target, "rules"):
                    return decode(body, target, clock)
                # Rules may judge a password, which can take a second: not in the event loop.
                return await asyncio.to_thread(decode, body, target, clock)
            except Invalid as refusal:
                raise Invalid(errors=(*refusal.errors, *parameter_errors(self))) from None

    return JSONRequest


def _is_json(media_type: str, options: dict[str, str]) -> bool:
    media_type = media_type.lower()
    is_json = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    return is_json and options.get("charset", "utf-8").lower() in ("utf-8", "utf8")


def _is_required(field: FieldDefinition | None) -> bool:
    if field is None or field.has_default or not isinstance(field.kwarg_definition, BodyKwarg):
        return False
    return field.kwarg_definition.media_type == RequestEncodingType.JSON
