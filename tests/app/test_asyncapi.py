"""The AsyncAPI document: valid by the official schema, true of what is published, and served to whoever asks."""

import json
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from app.api.preconditions import etag_of
from app.asyncapi import Document, document
from app.describe import registry_of_the_house
from app.streaming import control, frame
from bus.message import WITHHELD, Event, Personal, Wire
from bus.transport import FIELDS
from domain.types import AccountId
from tests.app.client import PASSWORD, Door, person, sign_up
from tests.house.copies import REPOSITORY
from tests.node import NODE, installed
from tests.support import harness_of, rows

CHECKER = Path(__file__).with_name("asyncapi.mjs")


class Whispered(msgspec.Struct, tag="whispered", frozen=True):
    to: AccountId


class Shouted(msgspec.Struct, tag="shouted", frozen=True):
    at: tuple[float, float]


class Spoken(Event, frozen=True, kw_only=True):
    """Everything that a type can be."""

    wire: ClassVar = Wire(name="talk.spoken", version=2, subject="speaker", seen=True)
    speaker: AccountId
    how: Whispered | Shouted
    words: dict[str, list[str | None]]


def wrong(document: Document, *entries: dict[str, Any]) -> list[str]:
    """What the official schema has to say against the document, and the document against these entries."""
    run = subprocess.run(
        [NODE, CHECKER, installed() / "package.json"],
        input=json.dumps({"document": document, "entries": entries}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def made() -> Document:
    return document(registry_of_the_house().catalog.messages)


def test_the_file_is_what_the_types_say(made: Document) -> None:
    assert json.loads((REPOSITORY / "docs" / "asyncapi.json").read_text()) == made, "run `make docs`"


def test_the_document_is_valid_by_the_official_schema(made: Document) -> None:
    assert wrong(made) == []
    speaker = "0199a8a0-0000-7000-8000-000000000000"
    spoken = {"speaker": speaker, "how": {"type": "shouted", "at": [1, 2]}, "words": {"en": ["hey", None]}}
    assert wrong(document([Spoken]), {"message": "talk.spoken.v2", "payload": spoken}) == []
    for how in ({"type": "shouted", "at": [1, 2, 3]}, {"type": "sung"}):
        assert wrong(document([Spoken]), {"message": "talk.spoken.v2", "payload": {**spoken, "how": how}}) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("operations", "publish.accounts", "action"), "shout"),
        (("channels", "events.accounts", "messages"), []),
        (("components", "schemas", "AccountRegistered", "type"), "thing"),
        (("info", "version"), None),
    ],
)
def test_a_document_that_is_not_valid_is_noticed(made: Document, path: tuple[str, ...], value: object) -> None:
    broken = json.loads(json.dumps(made))
    part = broken
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert wrong(broken) != []


def test_every_event_is_in_the_channel_of_its_area_and_in_the_feed_if_it_is_seen_there(made: Document) -> None:
    events = [message for message in registry_of_the_house().catalog.messages if issubclass(message, Event)]
    assert set(made["channels"]) == {"feed"} | {f"events.{event.wire.area}" for event in events}
    for event in events:
        known_as = f"{event.wire.name}.v{event.wire.version}"
        assert known_as in made["channels"][f"events.{event.wire.area}"]["messages"]
        assert (f"feed.{known_as}" in made["channels"]["feed"]["messages"]) == event.wire.seen


class Confided(Event, frozen=True, kw_only=True):
    """Told in confidence."""

    wire: ClassVar = Wire(name="talk.confided", subject="speaker", seen=True)
    speaker: AccountId
    aloud: bool = False
    words: Personal = WITHHELD


def test_what_is_personal_is_in_no_stream_and_so_in_no_schema_of_one() -> None:
    said = document([Spoken, Confided])
    assert wrong(said) == []
    shape = said["components"]["schemas"]["Confided"]
    assert (shape["title"], shape["description"]) == ("Confided", "Told in confidence.")
    assert (list(shape["properties"]), shape["required"]) == (["speaker", "aloud"], ["speaker"])
    assert shape["properties"]["aloud"]["default"] is False
    assert "words" in said["components"]["schemas"]["Spoken"]["properties"]


def test_the_document_speaks_for_us_so_it_sends(made: Document) -> None:
    assert {operation["action"] for operation in made["operations"].values()} == {"send"}
    assert {operation["channel"]["$ref"] for operation in made["operations"].values()} == {
        f"#/channels/{name}" for name in made["channels"]
    }


def test_an_entry_has_exactly_the_fields_that_are_said(made: Document) -> None:
    headers = made["components"]["schemas"]["Entry"]
    assert (*headers["properties"], "data") == FIELDS
    assert headers["required"] == list(headers["properties"])


async def test_what_is_published_and_pushed_is_what_the_document_says(door: Door, made: Document) -> None:
    await sign_up(door.client)
    await door.client.post("/api/v2/auth/login", json={"email": person()["email"], "password": PASSWORD})
    await door.client.post("/api/v2/auth/login", json={"email": "nobody@example.com", "password": PASSWORD})
    await harness_of(door.house).settle()
    redis: Any = await door.house.streams.redis()
    entries: list[dict[str, Any]] = []
    for _, raw in await redis.xrange("events.accounts"):
        fields = {name.decode(): value.decode() for name, value in raw.items()}
        message = f"{fields['type']}.v{fields['version']}"
        entries.append({"message": message, "headers": fields, "payload": json.loads(fields.pop("data"))})
    assert len(entries) == len(await rows(door.house, "SELECT 1 FROM feed WHERE area = 'accounts'")) == 3
    for envelope in await door.house.ledger.stretch("accounts", 0, 2, 10):
        pushed = json.loads(frame(envelope).decode().partition("data: ")[2])
        entries.append({"message": f"feed.{envelope.name}.v{envelope.version}", "payload": pushed})
    reset = control("stream.reset", {"read": "/api/v2/users/me", "position": 3}).decode().partition("data: ")[2]
    entries.append({"message": "stream.reset", "payload": json.loads(reset)})
    assert wrong(made, *entries) == []
    lacking = [
        ({**entry, part: {field: value for field, value in entry[part].items() if field != name}}, part, name)
        for entry in entries
        for part in ("headers", "payload")
        for name in entry.get(part, ())
    ]
    assert wrong(made, *(entry for entry, _, _ in lacking)) == [
        f"{entry['message']} {part} must have required property '{name}'" for entry, part, name in lacking
    ]


async def test_the_document_is_served_to_whoever_asks_and_only_once(client: httpx.AsyncClient, made: Document) -> None:
    answer = await client.get("/api/asyncapi")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == made
    assert answer.headers["cache-control"] == "public, max-age=300"
    again = await client.get("/api/asyncapi", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert (await client.get("/api/asyncapi", headers={"If-None-Match": etag_of("another")})).status_code == 200
