"""The second pass over the parameters of a request: query, path, header and cookie."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg
from litestar.typing import FieldDefinition

from app.validation.wording import explain, pointer_to
from bus.message import FieldError


def parameter_errors(connection: ASGIConnection[Any, Any, Any, Any]) -> tuple[FieldError, ...]:
    """Every error among the parameters of the handler and of its dependencies."""
    handler = connection.route_handler
    errors: dict[str, FieldError] = {}
    for field, kwarg, target in _parameters(handler, handler.resolve_dependencies(), set()):
        name = kwarg.name or field.name
        value = _value(connection, kwarg, name, many=field.is_non_string_sequence)
        pointer = pointer_to("", name)
        if value is None:
            if not field.has_default and not field.is_optional:
                errors.setdefault(pointer, FieldError(pointer, "missing", f"The {kwarg.param_type.value} parameter {name} is required."))
            continue
        try:
            msgspec.convert(value, target, strict=False, str_keys=True)
        except msgspec.ValidationError as error:
            code, message = explain(str(error), target)
            # Every parameter arrives as a string; to say so would not help.
            errors.setdefault(pointer, FieldError(pointer, code, message.replace(", not a string.", ".")))
    return tuple(errors.values())


def _parameters(
    source: BaseRouteHandler | Provide, dependencies: Mapping[str, Provide], seen: set[str]
) -> Iterator[tuple[FieldDefinition, ParameterKwarg, Any]]:
    for name, field in source.parsed_fn_signature.parameters.items():
        if name in dependencies:
            if name not in seen:
                seen.add(name)
                yield from _parameters(dependencies[name], dependencies, seen)
        elif isinstance(field.kwarg_definition, ParameterKwarg):
            yield field, field.kwarg_definition, source.signature_model.__annotations__[name]


def _value(connection: ASGIConnection[Any, Any, Any, Any], kwarg: ParameterKwarg, name: str, *, many: bool) -> object:
    match kwarg.param_type.value:
        case "query":
            values = connection.query_params.getall(name, None)
            return values if many or values is None else values[-1]
        case "header":
            return connection.headers.get(name)
        case "cookie":
            return connection.cookies.get(name)
        case _:
            return connection.path_params.get(name)
