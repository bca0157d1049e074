"""Every malformed body and parameter is answered with every field that is wrong, and none other."""

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, cast
from uuid import UUID

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import CookieParameter, FromQuery, HeaderParameter, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from app.errors import exception_handlers
from app.validation import MAX_DEPTH, MalformedJSON, decode, json_request
from bus.message import FieldError
from domain.errors import Invalid

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def clock() -> datetime:
    return NOW


class Level(Enum):
    BEGINNER = "beginner"
    ADVANCED = "advanced"


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Address(Request, frozen=True):
    street: Annotated[str, Meta(min_length=2, max_length=20)]
    postcode: Annotated[str, Meta(pattern=r"^[0-9]{5}(?!\n)$", description="Five digits.")]


class ByMail(Request, frozen=True, tag_field="type", tag="mail"):
    address: Address


class ByPhone(Request, frozen=True, tag_field="type", tag="phone"):
    number: Annotated[str, Meta(min_length=3)]
    hours: list[Annotated[int, Meta(ge=0, le=23)]] = []


def age_rule(values: Mapping[str, object], now: datetime) -> list[FieldError]:
    born = values.get("born")
    if isinstance(born, date) and now.year - born.year < 13:
        return [FieldError("/born", "too_young", "You must be at least 13.")]
    return []


class Person(Request, frozen=True):
    rules: ClassVar[Callable[[Mapping[str, object], datetime], list[FieldError]]] = staticmethod(age_rule)

    name: Annotated[str, Meta(min_length=2, max_length=10)]
    born: date
    contact: ByMail | ByPhone
    id: UUID | None = None
    nickname: str | UnsetType = UNSET
    level: Level = Level.BEGINNER
    tone: Literal["formal", "casual"] = "formal"
    score: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    tags: Annotated[list[Annotated[str, Meta(max_length=5)]], Meta(max_length=3)] = []
    words: dict[Annotated[str, Meta(min_length=1, max_length=5)], int] = {}
    pair: tuple[int, str] | None = None
    home: Address | None = None
    seen: datetime | None = None
    accept: bool = False


VALID: dict[str, Any] = {
    "name": "Ada",
    "born": "1990-12-10",
    "contact": {"type": "mail", "address": {"street": "Main", "postcode": "12345"}},
    "id": "0199a8a0-0000-7000-8000-000000000000",
    "nickname": "A",
    "level": "advanced",
    "tone": "casual",
    "score": 0.5,
    "tags": ["a", "b"],
    "words": {"one": 1},
    "pair": [1, "x"],
    "home": {"street": "Side", "postcode": "54321"},
    "seen": "2026-01-01T00:00:00Z",
    "accept": True,
}

# Each breaks one place of a valid body, alone or together with any of the others: how, and what must then be named.
BREAKS: dict[str, tuple[tuple[str, ...], object, str, str]] = {
    "name missing": (("name",), ..., "/name", "missing"),
    "birth of a wrong type": (("born",), 7, "/born", "type"),
    "birth is no date": (("born",), "1990-13-01", "/born", "format"),
    "too young": (("born",), "2020-01-01", "/born", "too_young"),
    "name too short": (("name",), "A", "/name", "too_short"),
    "name too long": (("name",), "A" * 11, "/name", "too_long"),
    "name null": (("name",), None, "/name", "type"),
    "unknown": (("nmae",), 1, "/nmae", "unknown"),
    "unknown with odd letters": (("a/b~c",), 1, "/a~1b~0c", "unknown"),
    "id": (("id",), "no", "/id", "format"),
    "nickname": (("nickname",), [], "/nickname", "type"),
    "level": (("level",), "expert", "/level", "not_allowed"),
    "tone": (("tone",), "rude", "/tone", "not_allowed"),
    "score": (("score",), 1, "/score", "out_of_range"),
    "score out of any range": (("score",), msgspec.Raw(b"1e999"), "/score", "out_of_range"),
    "tags as a string": (("tags",), "a,b", "/tags", "type"),
    "too many tags": (("tags",), ["a", "b", "c", "d"], "/tags", "too_long"),
    "a tag": (("tags",), ["a", "toolong"], "/tags/1", "too_long"),
    "a word": (("words", "one"), "x", "/words/one", "type"),
    "a word's name": (("words", "toolong"), 1, "/words/toolong", "too_long"),
    "pair": (("pair",), [1, 2], "/pair/1", "type"),
    "pair too short": (("pair",), [1], "/pair", "too_short"),
    "pair too long": (("pair",), [1, "x", 3], "/pair", "too_long"),
    "home is a list": (("home",), [], "/home", "type"),
    "home's street": (("home", "street"), ..., "/home/street", "missing"),
    "home's postcode": (("home", "postcode"), "1234x", "/home/postcode", "pattern"),
    "home's unknown": (("home", "city"), "x", "/home/city", "unknown"),
    "seen": (("seen",), "yesterday", "/seen", "format"),
    "accept": (("accept",), "true", "/accept", "type"),
    "contact missing": (("contact",), ..., "/contact", "missing"),
    "contact null": (("contact",), None, "/contact", "type"),
    "contact's tag missing": (("contact", "type"), ..., "/contact/type", "missing"),
    "contact's tag": (("contact", "type"), "fax", "/contact/type", "not_allowed"),
    "contact's tag of a wrong type": (("contact", "type"), 3, "/contact/type", "not_allowed"),
    "contact's address": (("contact", "address"), ..., "/contact/address", "missing"),
    "contact's address's street": (("contact", "address", "street"), "", "/contact/address/street", "too_short"),
    "contact's unknown": (("contact", "x"), 1, "/contact/x", "unknown"),
    "other contact": (("contact",), {"type": "phone", "number": "12345", "hours": [1, 24]}, "/contact/hours/1", "out_of_range"),
    "a NUL": (("nickname",), "a\0b", "/nickname", "not_allowed"),
}


def broken(names: list[str]) -> tuple[bytes, set[tuple[str, str]]]:
    """A valid body broken in all these places at once, and the errors that must be named."""
    body = json.loads(json.dumps(VALID))
    raw: dict[str, bytes] = {}
    expected: set[tuple[str, str]] = set()
    for name in names:
        path, value, pointer, code = BREAKS[name]
        inside = body
        for part in path[:-1]:
            inside = inside[part]
        if value is ...:
            del inside[path[-1]]
        elif isinstance(value, msgspec.Raw):
            inside[path[-1]] = name
            raw[name] = bytes(value)
        else:
            inside[path[-1]] = value
        expected.add((pointer, code))
    encoded = json.dumps(body)
    for name, replacement in raw.items():
        encoded = encoded.replace(json.dumps(name), replacement.decode())
    return encoded.encode(), expected


def named(body: bytes) -> set[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        decode(body, Person, clock)
    errors = [(error.field, error.code) for error in refused.value.errors]
    assert len(errors) == len(set(errors)), "an error is named twice"
    return set(errors)


def compatible(names: list[str]) -> bool:
    """Two breaks of one place, or inside one another, cannot both be made; without its tag a union says nothing of its members' fields."""
    paths = [BREAKS[name][0] for name in names]
    for index, one in enumerate(paths):
        for other in paths[index + 1 :]:
            if one[: len(other)] == other or other[: len(one)] == one:
                return False
            if one[0] == other[0] == "contact" and ("type" in (one[1], other[1])):
                return False
    return True


def test_the_valid_body_decodes() -> None:
    assert decode(json.dumps(VALID).encode(), Person, clock).name == "Ada"


@pytest.mark.parametrize("name", BREAKS)
def test_one_wrong_field_is_named_and_none_other(name: str) -> None:
    body, expected = broken([name])
    if name == "too young":
        # The rules belong to the handler when the shape is right; here they are asked only beside another error.
        assert decode(body, Person, clock).name == "Ada"
    else:
        assert named(body) == expected


def test_all_wrong_fields_are_named_at_once_and_none_other() -> None:
    chooser = random.Random(1)  # noqa: S311  A reproducible corpus, no secret.
    made = 0
    while made < 600:
        names = chooser.sample(sorted(BREAKS), chooser.randint(2, 6))
        if compatible(names) and not set(names) <= {"too young", "a NUL"}:
            body, expected = broken(names)
            assert named(body) == expected, names
            made += 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8) | st.just("mail"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*VALID, "type", "street", "address", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from([*VALID, "extra"]), JSON, max_size=6), st.sets(st.sampled_from(sorted(VALID))))
def test_the_second_pass_finds_errors_exactly_when_the_body_does_not_decode(changes: dict[str, Any], dropped: set[str]) -> None:
    body = json.dumps({name: value for name, value in {**VALID, **changes}.items() if name not in dropped}).encode()
    try:
        msgspec.json.decode(body, type=Person)
        decodes = b"\\u0000" not in body
    except msgspec.ValidationError:
        decodes = False
    if decodes:
        decode(body, Person, clock)
    else:
        assert named(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.integers(0, 300))
def test_damaged_bytes_are_always_refused_in_words(junk: bytes, at: int) -> None:
    whole = json.dumps(VALID).encode()
    damaged = whole[:at] + junk + whole[at:]
    try:
        msgspec.json.decode(damaged, type=Person)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises((Invalid, MalformedJSON)):
            decode(damaged, Person, clock)


MALFORMED = {
    "empty": b"",
    "only blanks": b" \r\n\t",
    "truncated": b'{"name": "Ada"',
    "two documents": b"{} {}",
    "not a number": b'{"score": NaN}',
    "infinity": b'{"score": Infinity}',
    "latin-1": '{"name": "Ædna"}'.encode("latin-1"),
    "utf-16": '{"name": "Ada"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "high surrogate alone": b'{"name": "\\ud800"}',
    "low surrogate alone": b'{"name": "\\udc00 and on"}',
    "unknown and malformed": b'{"x": 1, "y": "\\ud800"}',
    "single quotes": b"{'name': 'Ada'}",
    "raw control character": b'{"name": "a\nb"}',
    "deep lists": b'{"tags": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "deep and unclosed": b"[" * 500_000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_json_is_malformed(name: str) -> None:
    with pytest.raises(MalformedJSON):
        decode(MALFORMED[name], Person, clock)


@pytest.mark.parametrize(
    ("text", "at"), [("\\ud83d", 10), ("\\ud83d and on", 10), ("\\ud83d\\u0041", 10), ("\\\\\\ud83d\\ude00\\udc00", 24)]
)
def test_half_of_a_surrogate_pair_is_named(text: str, at: int) -> None:
    with pytest.raises(MalformedJSON, match=rf"half of a surrogate pair \(byte {at}\)"):
        decode(f'{{"name": "{text}"}}'.encode(), Person, clock)


def test_brackets_inside_strings_are_not_depth() -> None:
    assert decode(json.dumps({"any": "[" * 1000 + '\\"' * 100}).encode(), dict[str, Any], clock)


def test_the_deepest_allowed_body_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert decode(b'{"a":' + b"[" * depth + b"]" * depth + b"}", dict[str, Any], clock)


@pytest.mark.parametrize("body", [b"null", b"1", b'"x"', b"[]", b"true"])
def test_json_that_is_no_object_is_invalid_as_a_whole(body: bytes) -> None:
    assert named(body) == {("", "type")}


def test_too_many_items_and_a_wrong_one_are_both_named() -> None:
    body = json.dumps({**VALID, "tags": ["a", "b", "c", "toolong"]}).encode()
    assert named(body) == {("/tags", "too_long"), ("/tags/3", "too_long")}


def both_good(values: Mapping[str, object], _: datetime) -> list[FieldError]:
    return [FieldError(f"/{name}", "rule", "No.") for name in ("a", "b") if values.get(name) != "good"]


class Tagged(Request, frozen=True, tag_field="kind", tag="one"):
    rules: ClassVar[Callable[[Mapping[str, object], datetime], list[FieldError]]] = staticmethod(both_good)

    a: str
    b: str


def test_a_rule_is_not_asked_about_a_field_of_a_wrong_shape() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'{"a": 1, "b": "bad"}', Tagged, clock)
    assert {(error.field, error.code) for error in refused.value.errors} == {("/a", "type"), ("/b", "rule")}


def test_the_tag_of_a_single_struct_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'{"kind": "two", "a": "good", "b": "good"}', Tagged, clock)
    assert {(error.field, error.code) for error in refused.value.errors} == {("/kind", "not_allowed")}


def test_a_rule_of_a_nested_struct_is_named_where_it_is() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'[{"a": 1, "b": "bad"}]', list[Tagged], clock)
    assert {error.field for error in refused.value.errors} == {"/0/a", "/0/b"}


def test_a_flood_of_nul_characters_is_cut_too() -> None:
    with pytest.raises(Invalid) as refused:
        decode(json.dumps(["\0"] * 300).encode(), list[str], clock)
    assert len(refused.value.errors) == 100


def test_a_nul_in_a_name_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'{"a\\u0000": 1}', dict[str, int], clock)
    assert [error.code for error in refused.value.errors] == ["not_allowed"]


def test_a_flood_of_errors_is_cut() -> None:
    body = b'{"tags":[' + b",".join([b"1"] * 200_000) + b"]}"
    with pytest.raises(Invalid) as refused:
        decode(body, Person, clock)
    assert len(refused.value.errors) == 100


def test_a_repeated_field_whose_first_value_is_wrong_is_refused() -> None:
    assert named(json.dumps(VALID).encode()[:-1].replace(b'{"name"', b'{"name": 1, "name"', 1) + b"}")


def test_no_message_repeats_the_value() -> None:
    secret = "hunter2-hunter2-hunter2"
    body = json.dumps(dict.fromkeys((*VALID, "unknown"), secret) | {"contact": {"type": secret}}).encode()
    with pytest.raises(Invalid) as refused:
        decode(body, Person, clock)
    assert len(refused.value.errors) >= 10
    assert "hunter2" not in repr(refused.value.errors)


class NewPerson(Request, frozen=True):
    name: Annotated[str, Meta(min_length=2)]
    age: int


@post("/people")
async def create(data: JSONBody[NewPerson]) -> NewPerson:
    return data


@post("/maybe")
async def maybe(data: JSONBody[NewPerson | None] = None) -> dict[str, bool]:
    return {"none": data is None}


async def page(limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20) -> int:
    return limit


@post("/both")
async def both(data: JSONBody[NewPerson], level: FromQuery[Level]) -> None: ...


@get("/search", dependencies={"page": page})
async def search(
    page: NamedDependency[int],
    level: FromQuery[Level],
    born: FromQuery[date | None] = None,
    many: Annotated[list[int] | None, QueryParameter(name="many")] = None,
    match: Annotated[str | None, HeaderParameter(name="If-Match", min_length=3)] = None,
    theme: Annotated[Literal["dark", "light"], CookieParameter(name="theme")] = "dark",
) -> str:
    return f"{page} {level.value} {born} {many} {match} {theme}"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar(
        [create, maybe, both, search], exception_handlers=exception_handlers, request_class=json_request(clock), openapi_config=None
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://test") as client:
        yield client


def fields(response: httpx.Response) -> Iterator[tuple[str, str]]:
    for error in response.json()["errors"]:
        yield error["field"], error["code"]


async def test_a_body_reaches_the_controller_decoded(client: httpx.AsyncClient) -> None:
    response = await client.post("/people", json={"name": "Ada", "age": 36})
    assert (response.status_code, response.json()) == (201, {"name": "Ada", "age": 36})


async def test_nothing_is_coerced(client: httpx.AsyncClient) -> None:
    response = await client.post("/people", json={"name": "Ada", "age": "36"})
    assert response.status_code == 422
    assert list(fields(response)) == [("/age", "type")]


async def test_body_and_parameters_are_named_together(client: httpx.AsyncClient) -> None:
    response = await client.post("/both?level=expert", json={"name": "A"})
    assert set(fields(response)) == {("/name", "too_short"), ("/age", "missing"), ("/level", "not_allowed")}


async def test_an_optional_body_may_be_absent(client: httpx.AsyncClient) -> None:
    assert (await client.post("/maybe")).json() == {"none": True}


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=UTF-8", "application/merge-patch+json", "APPLICATION/JSON;charset=utf8"]
)
async def test_json_media_types_are_read(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/people", content=b'{"name": "Ada", "age": 1}', headers={"content-type": content_type})
    assert response.status_code == 201


@pytest.mark.parametrize(
    "content_type", ["text/plain", "", "application/json; charset=latin-1", "application/x-www-form-urlencoded", "json"]
)
async def test_other_media_types_are_refused(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/people", content=b'{"name": "Ada", "age": 1}', headers={"content-type": content_type})
    assert (response.status_code, response.json()["code"]) == (415, "request.unsupported_media_type")


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_bodies_are_400_over_http(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/people", content=MALFORMED[name], headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "request.malformed_json")


async def test_every_wrong_parameter_is_named(client: httpx.AsyncClient) -> None:
    response = await client.get("/search?limit=101&born=never&many=1&many=x", headers={"If-Match": "x", "Cookie": "theme=hunter2"})
    assert response.status_code == 422
    assert set(fields(response)) == {
        ("/limit", "out_of_range"),
        ("/level", "missing"),
        ("/born", "format"),
        ("/many", "type"),
        ("/If-Match", "too_short"),
        ("/theme", "not_allowed"),
    }
    assert "hunter2" not in response.text


async def test_right_parameters_pass(client: httpx.AsyncClient) -> None:
    response = await client.get("/search?level=advanced&limit=5&many=1")
    assert response.text == "5 advanced None [1] None dark"
