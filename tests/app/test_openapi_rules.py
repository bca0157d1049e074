"""The document says exactly what the code does, and a route that says too little is named."""

import copy
import json
from collections.abc import Callable
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from litestar import Litestar, Response, get, patch, post
from litestar.exceptions import ImproperlyConfiguredException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Tag
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.envelope import Answer, ListAnswer
from app.openapi import document, problems, violations
from domain.errors import Conflict, Invalid, Missing, Stale, TooMany, Unproven


class NameTaken(Conflict):
    code = "things.name_taken"
    title = "That name is taken."


class NameReserved(Conflict):
    code = "things.name_reserved"
    title = "That name is reserved."


class WrongColour(Invalid):
    code = "things.wrong_colour"
    title = "That colour does not suit."


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class NewThing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A thing to be made."""

    name: Annotated[str, Meta(min_length=2, examples=["Lamp"])]
    labels: list[Annotated[str, Meta(max_length=5, examples=["new"])]] = []
    born: date
    colour: Colour = Colour.RED
    size: Annotated[int, Meta(ge=3)] | None = None
    parent: UUID | None = None


class ThingChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=2, examples=["Lamp"])] | UnsetType = UNSET


class Thing(Struct, frozen=True, kw_only=True):
    id: UUID
    name: Annotated[str, Meta(examples=["Lamp"])]
    made_at: Annotated[datetime, Meta(tz=True)]


@post(
    "/things",
    operation_id="make_thing",
    tags=["things"],
    summary="Make a thing",
    responses=problems(NameTaken, NameReserved, WrongColour),
    opt={"public": True, "rate_limit": "auth"},
)
async def make_thing(data: JSONBody[NewThing]) -> Response[Answer[Thing]]:
    raise NotImplementedError(data)


@get("/things", operation_id="list_things", tags=["things"], summary="All things")
async def list_things(
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20, colour: FromQuery[Colour | None] = None
) -> ListAnswer[Thing]:
    raise NotImplementedError(limit, colour)


@patch("/things/{thing:uuid}", operation_id="change_thing", tags=["things"], summary="Change a thing", responses=problems(Missing, Stale))
async def change_thing(thing: FromPath[UUID], data: JSONBody[ThingChange]) -> Answer[Thing]:
    raise NotImplementedError(thing, data)


def application(*handlers: Any) -> Litestar:
    config = OpenAPIConfig(title="Test", version="2", tags=[Tag("things", description="What there is.")], path="/api/schema")
    return Litestar([*handlers], openapi_config=config)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return document(application(make_thing, list_things, change_thing))


def test_the_document_keeps_the_rules_of_the_house(schema: dict[str, Any]) -> None:
    assert violations(schema) == []


def test_the_document_is_plain_json(schema: dict[str, Any]) -> None:
    assert json.loads(msgspec.json.encode(schema)) == schema


def test_schemas_say_what_decodes(schema: dict[str, Any]) -> None:
    thing = schema["components"]["schemas"]["NewThing"]
    assert thing["additionalProperties"] is False
    assert thing["required"] == ["name", "born"]
    assert thing["properties"]["labels"] == {
        "type": "array",
        "items": {"type": "string", "maxLength": 5, "examples": ["new"]},
        "default": [],
    }
    assert thing["properties"]["colour"]["default"] == "red"
    assert {"type": "integer", "minimum": 3} in thing["properties"]["size"]["anyOf"]


def test_every_reference_leads_somewhere_and_nothing_is_left_over(schema: dict[str, Any]) -> None:
    text = json.dumps(schema)
    for name in schema["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert referred == set(schema["components"]["schemas"])


def test_examples_decode(schema: dict[str, Any]) -> None:
    operation = schema["paths"]["/things"]["post"]
    value = operation["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
    assert msgspec.convert(value, NewThing).name == "Lamp"
    answer = operation["responses"]["201"]["content"]["application/json"]["examples"]["example"]["value"]
    assert msgspec.convert(answer, Answer[Thing]).data.name == "Lamp"


def test_problems_of_one_status_stand_together(schema: dict[str, Any]) -> None:
    conflict = schema["paths"]["/things"]["post"]["responses"]["409"]
    assert set(conflict["content"]) == {"application/problem+json"}
    content = conflict["content"]["application/problem+json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert {code: named["value"]["code"] for code, named in content["examples"].items()} == {
        "things.name_taken": "things.name_taken",
        "things.name_reserved": "things.name_reserved",
    }
    assert all(set(named) == {"summary", "value"} for named in content["examples"].values())
    assert "That name is taken." in conflict["description"]


def test_what_every_such_route_may_answer_needs_no_mention(schema: dict[str, Any]) -> None:
    make = schema["paths"]["/things"]["post"]
    assert set(make["responses"]) == {"201", "400", "409", "413", "415", "422", "429", "default"}
    assert make["security"] == []
    assert set(make["responses"]["422"]["content"]["application/problem+json"]["examples"]) == {"things.wrong_colour", "request.invalid"}
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} == set(make["responses"]["429"]["headers"])
    listing = schema["paths"]["/things"]["get"]
    assert set(listing["responses"]) == {"200", "401", "422", "default"}
    assert listing["security"] == [{"bearer": []}]
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert set(schema["paths"]["/things/{thing}"]["patch"]["responses"]) == {
        "200",
        "400",
        "401",
        "404",
        "412",
        "413",
        "415",
        "422",
        "default",
    }


def test_problems_are_sorted_by_status() -> None:
    assert list(problems(TooMany, Unproven, NameTaken)) == [401, 409, 429]


def test_an_example_that_contradicts_its_schema_is_refused() -> None:
    class Wrong(Struct, forbid_unknown_fields=True):
        name: Annotated[str, Meta(max_length=3)]

    @post("/wrong", operation_id="wrong", tags=["things"], summary="Wrong")
    async def wrong(data: JSONBody[Wrong]) -> None:
        raise NotImplementedError(data)

    with pytest.raises(ImproperlyConfiguredException, match=r"body of wrong .*\$\.name.*Meta\(examples"):
        document(application(wrong))


def test_a_public_route_may_also_take_a_token() -> None:
    @get("/lamps", operation_id="list_lamps", tags=["things"], summary="Lamps", opt={"public": True, "token": "optional"})
    async def lamps() -> Answer[Thing]:
        raise NotImplementedError

    schema = document(application(lamps))
    assert schema["paths"]["/lamps"]["get"]["security"] == [{}, {"bearer": []}]
    assert violations(schema) == []


def test_an_answer_of_another_kind_shows_the_example_of_its_route() -> None:
    @get("/keys", operation_id="get_keys", tags=["things"], summary="Keys", opt={"example": {"keys": []}})
    async def keys() -> dict[str, list[str]]:
        raise NotImplementedError

    schema = document(application(keys))
    assert violations(schema) == []
    assert schema["paths"]["/keys"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]["example"]["value"] == {
        "keys": []
    }


def test_an_answer_that_may_be_empty_is_described() -> None:
    @get("/maybe", operation_id="get_maybe", tags=["things"], summary="Maybe")
    async def maybe() -> Response[Answer[Thing] | None]:
        raise NotImplementedError

    schema = document(application(maybe))
    content = schema["paths"]["/maybe"]["get"]["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Answer_Thing_"}
    assert violations(schema) == []


def change(schema: dict[str, Any], breaking: Callable[[dict[str, Any]], object]) -> list[str]:
    broken = copy.deepcopy(schema)
    breaking(broken)
    return violations(broken)


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return schema["paths"]["/things"]["post"]["requestBody"]["content"]["application/json"]


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no tags": (lambda s: s["paths"]["/things"]["post"].pop("tags"), "give it tags"),
    "an undescribed tag": (lambda s: s["tags"][0].pop("description"), "describe the tag 'things'"),
    "camel case": (lambda s: s["paths"]["/things"]["post"].update(operationId="makeThing"), "operation_id in snake_case"),
    "no operation id": (lambda s: s["paths"]["/things"]["post"].pop("operationId"), "operation_id in snake_case"),
    "twice the same": (lambda s: s["paths"]["/things"]["post"].update(operationId="list_things"), "is that of"),
    "no summary": (lambda s: s["paths"]["/things"]["post"].pop("summary"), "give it a summary"),
    "no request example": (lambda s: body(s).pop("examples"), "give its application/json body an example"),
    "a made-up value in it": (lambda s: body(s)["examples"]["example"]["value"].update(name="string"), "the field /name of its body"),
    "unknown fields": (lambda s: s["components"]["schemas"]["NewThing"].pop("additionalProperties"), "let NewThing forbid unknown fields"),
    "no response example": (
        lambda s: s["paths"]["/things"]["get"]["responses"]["200"]["content"]["application/json"].pop("examples"),
        "answer 200 an example",
    ),
    "a made-up value in an answer": (
        lambda s: s["paths"]["/things"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]["example"]["value"]["data"][
            0
        ].update(name="string"),
        "the field /data/name of its answer 200",
    ),
    "an undescribed answer": (lambda s: s["paths"]["/things"]["get"]["responses"]["200"].update(description=""), "describe its answer 200"),
    "an empty answer": (lambda s: s["paths"]["/things"]["get"]["responses"]["200"].pop("content"), "say what its answer 200 holds"),
    "an error in plain JSON": (
        lambda s: s["paths"]["/things"]["get"]["responses"]["401"].update(content={"application/json": {"examples": {"x": {"value": 1}}}}),
        "answer 401 must be application/problem+json",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_broken_rule_is_named(schema: dict[str, Any], name: str) -> None:
    breaking, sentence = BREAKS[name]
    found = change(schema, breaking)
    assert found
    assert all(sentence in text for text in found), found
