"""The OpenAPI document: the routes by Litestar, the schemas of the Structs by msgspec, every problem, and an example of each.

Litestar's own schemas drop defaults, the constraints of list items and the refusal of unknown fields; msgspec's are the rules that decode.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.routes import HTTPRoute

from app.errors import PROBLEM_JSON, Problem, TooLarge, problem_type, status_of
from app.validation import MalformedJSON, UnsupportedMediaType
from bus.message import FieldError, Refusal
from domain.errors import Invalid, TooMany, Unproven

Document = dict[str, Any]

REF = "#/components/schemas/"
JSON = "application/json"
UUID = "0199a8a0-0000-7000-8000-000000000000"
FORMATS: Mapping[str, str] = {
    "uuid": UUID,
    "date-time": "2026-01-31T12:00:00Z",
    "date": "1990-01-31",
    "time": "12:00:00",
    "duration": "PT15M",
    "decimal": "1.5",
}
# A leaf without an example of its own shows this; `violations` refuses it.
NO_EXAMPLE = "string"
MAX_DEPTH = 12
# The one tag whose failures are read by machines that want the checks, not a problem document.
HEALTH = "health"
RESPONSE_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "`Bearer`, with an error when a token was sent."},
    429: {
        "Retry-After": "Seconds to wait.",
        "RateLimit-Policy": "The limit: `q` requests in `w` seconds.",
        "RateLimit": "What remains: `r` requests, whole again after `t` seconds.",
    },
    503: {"Retry-After": "Seconds to wait."},
}


def problems(*refusals: type[Refusal]) -> dict[int, ResponseSpec]:
    """The `responses` of a route that may be refused with these. What every such route may answer needs no mention.

    Those are: a wrong body or parameter, a missing token where one is needed, and too many requests where they are limited.
    """
    by_status: dict[int, list[type[Refusal]]] = {}
    for refusal in refusals:
        by_status.setdefault(status_of(refusal), []).append(refusal)
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=" ".join(f"`{refusal.code}`: {refusal.title}" for refusal in group),
            media_type=PROBLEM_JSON,
            examples=[Example(id=refusal.code, summary=refusal.title, value=_problem_example(refusal)) for refusal in group],
        )
        for status, group in sorted(by_status.items())
    }


def document(app: Litestar) -> Document:
    """The finished OpenAPI document. Raises `ImproperlyConfiguredException` when an example contradicts its own schema.

    An answer that is no Struct shows `opt={"example": …}` of its route.
    """
    schema = cast("Document", msgspec.to_builtins(app.openapi_schema.to_schema()))
    operations = list(_operations(app, schema))
    targets = list({repr(target): target for _, _, *both in operations for target in both if target is not None}.values())
    shapes, components = msgspec.json.schema_components([*targets, Problem], ref_template=REF + "{name}")
    shape_of = {repr(target): shape for target, shape in zip(targets, shapes, strict=False)}
    schemas = cast("Document", schema.setdefault("components", {})).setdefault("schemas", {})
    schemas.update(components)
    schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for operation, handler, request, answer in operations:
        if request is not None:
            operation["requestBody"] = _request_body(operation, shape_of[repr(request)], schemas, request)
        for status, response in cast("Document", operation["responses"]).items():
            if status.startswith("2"):
                _complete_answer(response, None if answer is None else shape_of[repr(answer)], handler.opt.get("example"), schemas)
        _complete_problems(operation, handler)
    _drop_unused(schema)
    return msgspec.json.decode(msgspec.json.encode(schema))  # What is served, in plain types.


def _operations(app: Litestar, schema: Document) -> Iterator[tuple[Document, HTTPRouteHandler, Any, Any]]:
    """Each operation with its handler and the types of its body and its answer; None where msgspec has no say."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            operation = schema["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None and handler.resolve_include_in_schema():
                body = handler.parsed_data_field
                yield operation, handler, None if body is None else body.annotation, _answered(handler.parsed_return_field.annotation)


def _answered(annotation: Any) -> Any:
    """The Struct of an answer: alone, inside a `Response`, or beside None."""
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return annotation
    if origin in (Union, UnionType) or (isinstance(origin, type) and issubclass(origin, Response)):
        return next((found for part in get_args(annotation) if (found := _answered(part)) is not None), None)
    return None


def _request_body(operation: Document, shape: Document, schemas: Document, target: Any) -> Document:
    value = example(shape, schemas)
    try:
        msgspec.convert(value, target)
    except msgspec.ValidationError as error:
        raise ImproperlyConfiguredException(
            f"The example of the body of {operation['operationId']} contradicts its own schema: {error}. "
            "Give the field one with msgspec.Meta(examples=[…])."
        ) from error
    body = {**operation.get("requestBody", {}), "required": operation.get("requestBody", {}).get("required", True)}
    body["content"] = {JSON: {"schema": shape, "examples": {"example": {"value": value}}}}
    return body


def _complete_answer(response: Document, shape: Document | None, given: object, schemas: Document) -> None:
    if shape is not None and JSON in response.get("content", {}):
        response["content"][JSON] = {"schema": shape, "examples": {"example": {"value": example(shape, schemas)}}}
    if given is not None:
        for content in response.get("content", {}).values():
            content["examples"] = {"example": {"value": given}}


def _complete_problems(operation: Document, handler: HTTPRouteHandler) -> None:
    responses = cast("Document", operation["responses"])
    if PROBLEM_JSON not in responses.get("400", {}).get("content", {}):
        responses.pop("400", None)  # Litestar's own, which we never answer.
    implied: list[type[Refusal]] = []
    if "requestBody" in operation:
        implied += [MalformedJSON, TooLarge, UnsupportedMediaType, Invalid]
    elif operation.get("parameters"):
        implied += [Invalid]
    if handler.opt.get("public"):
        operation["security"] = [{}, {"bearer": []}] if handler.opt.get("token") == "optional" else []
    else:
        operation["security"] = [{"bearer": []}]
        implied += [Unproven]
    if handler.opt.get("rate_limit"):
        implied += [TooMany]
    for refusal in implied:
        _add_problem(responses, refusal)
    for status, response in responses.items():
        if PROBLEM_JSON in response.get("content", {}):
            _complete_problem(int(status), response)
    operation["responses"] = {
        **dict(sorted(responses.items())),
        "default": {"description": "Any other problem.", "content": {PROBLEM_JSON: {"schema": {"$ref": REF + "Problem"}}}},
    }


def _complete_problem(status: int, response: Document) -> None:
    content = response["content"][PROBLEM_JSON]
    content["schema"] = {"$ref": REF + "Problem"}
    for named in content["examples"].values():
        named.pop("id", None)  # Litestar's own key; OpenAPI knows none of that name.
    if headers := RESPONSE_HEADERS.get(status):
        response["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def _add_problem(responses: Document, refusal: type[Refusal]) -> None:
    """Beside those that the route itself declares for the same status."""
    response = responses.setdefault(str(status_of(refusal)), {"description": "", "content": {PROBLEM_JSON: {"examples": {}}}})
    named = response["content"][PROBLEM_JSON]["examples"]
    if refusal.code not in named:
        named[refusal.code] = {"summary": refusal.title, "value": _problem_example(refusal)}
        response["description"] = f"{response['description']} `{refusal.code}`: {refusal.title}".strip()


def _problem_example(refusal: type[Refusal]) -> Document:
    errors = (FieldError("/name", "missing", "This field is required."),) if refusal is Invalid else ()
    return cast(
        "Document",
        msgspec.to_builtins(
            Problem(
                type=problem_type(refusal),
                title=refusal.title,
                status=status_of(refusal),
                detail=refusal.title,
                instance="/api/v2/…",
                code=refusal.code,
                request_id=UUID,
                errors=errors,
            )
        ),
    )


def example(shape: Document, schemas: Document, depth: int = 0) -> Any:
    """A value of this shape: from the examples of its fields (`msgspec.Meta(examples=[…])`), else from what the schema itself says."""
    if "$ref" in shape:
        shape = schemas[shape["$ref"].removeprefix(REF)]
    said = [*shape.get("examples", ()), *([shape["const"]] if "const" in shape else ()), *shape.get("enum", ())]
    if said:
        return said[0]
    if alternatives := shape.get("anyOf") or shape.get("oneOf"):
        return example(next(one for one in alternatives if one.get("type") != "null"), schemas, depth)
    if depth > MAX_DEPTH:
        return None
    match shape.get("type"):
        case "object":
            return {name: example(part, schemas, depth + 1) for name, part in shape.get("properties", {}).items()}
        case "array":
            parts = shape.get("prefixItems") or ([shape["items"]] if shape.get("items") else [])
            return [example(part, schemas, depth + 1) for part in parts]
        case "string":
            return shape.get("default") or FORMATS.get(shape.get("format", ""), NO_EXAMPLE)
        case "integer" | "number" | "boolean" as kind:
            return shape.get("default", kind == "boolean" or shape.get("minimum", 1))
        case _:
            return None


def _drop_unused(schema: Document) -> None:
    """Litestar's components to which nothing refers any more."""
    schemas = schema["components"]["schemas"]
    used: set[str] = set()
    waiting = set(_references(schema["paths"]))
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting |= set(_references(schemas[name])) - used
    schema["components"]["schemas"] = {name: shape for name, shape in sorted(schemas.items()) if name in used}


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in cast("Document", part).items():
            if key == "$ref" and isinstance(value, str) and value.startswith(REF):
                yield value.removeprefix(REF)
            yield from _references(value)
    elif isinstance(part, list):
        for item in cast("list[Any]", part):
            yield from _references(item)


SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def violations(schema: Document) -> list[str]:
    """Where a document breaks the rules of the house, in sentences that say what to change."""
    found: list[str] = []
    described = {tag["name"] for tag in schema.get("tags", []) if tag.get("description")}
    seen: dict[str, str] = {}
    for path, item in schema.get("paths", {}).items():
        for method, operation in item.items():
            if method in ("parameters", "summary", "description"):
                continue
            here = f"{method.upper()} {path}"
            operation_id = operation.get("operationId", "")
            if not SNAKE_CASE.fullmatch(operation_id):
                found.append(f"{here}: give it an operation_id in snake_case, not {operation_id!r}.")
            if operation_id in seen:
                found.append(f"{here}: its operation_id {operation_id!r} is that of {seen[operation_id]} too.")
            seen[operation_id] = here
            if not operation.get("summary"):
                found.append(f"{here}: give it a summary.")
            if not operation.get("tags"):
                found.append(f"{here}: give it tags.")
            found += [
                f"{here}: describe the tag {tag!r} in the OpenAPI config." for tag in operation.get("tags", []) if tag not in described
            ]
            found += _body_violations(here, operation, schema)
            for status, response in operation["responses"].items():
                found += [f"{here}: {text}" for text in _response_violations(status, response)]
                if _is_problem(status) and set(response.get("content", {})) != {PROBLEM_JSON} and HEALTH not in operation.get("tags", []):
                    found.append(f"{here}: its answer {status} must be {PROBLEM_JSON}; declare it with problems(…).")
    return found


def _body_violations(here: str, operation: Document, schema: Document) -> Iterator[str]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        values = _examples(content)
        if not values:
            yield f"{here}: give its {media_type} body an example."
        for pointer in _without_example(values, ""):
            yield f"{here}: give the field {pointer} of its body an example, with msgspec.Meta(examples=[…])."
        for name in set(_references(content.get("schema", {}))):
            shape = schema["components"]["schemas"][name]
            if shape.get("type") == "object" and shape.get("additionalProperties") is not False:
                yield f"{here}: let {name} forbid unknown fields (forbid_unknown_fields=True)."


def _is_problem(status: str) -> bool:
    return status == "default" or status >= str(HTTPStatus.BAD_REQUEST.value)


def _response_violations(status: str, response: Document) -> Iterator[str]:
    if not response.get("description"):
        yield f"describe its answer {status}."
    if status in ("200", "201") and not response.get("content"):
        yield f"say what its answer {status} holds, or answer 204."
    for media_type, content in response.get("content", {}).items():
        values = _examples(content)
        if not values and status != "default":
            yield f"give its {media_type} answer {status} an example."
        for pointer in _without_example(values, ""):
            yield f"give the field {pointer} of its answer {status} an example, with msgspec.Meta(examples=[…])."


def _examples(content: Document) -> list[Any]:
    return [one["value"] for one in content.get("examples", {}).values() if "value" in one]


def _without_example(value: Any, pointer: str) -> Iterator[str]:
    if value == NO_EXAMPLE:
        yield pointer
    elif isinstance(value, dict):
        for name, part in cast("Document", value).items():
            yield from _without_example(part, f"{pointer}/{name}")
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _without_example(item, pointer)
