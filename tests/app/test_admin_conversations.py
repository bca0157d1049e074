"""Conversations of learners, as admins see them over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.app.test_conversations_api import practising, said, started
from tests.support import harness_of, rows

__all__ = ["practising"]

ALL = "/api/v2/admin/conversations"
WORDS = "We would like a discount of five per cent."
NOBODY = "0199a8a0-0000-7000-8000-000000000000"


@pytest.fixture
async def learner(practising: Door) -> Person:
    return await sign_up(practising.client)


@pytest.fixture
async def home(practising: Door, learner: Person) -> str:
    """A conversation in which there was one turn."""
    home = await started(practising, learner)
    await said(practising, learner, home, WORDS)
    return home


@pytest.fixture
async def operator(practising: Door) -> Person:
    return await sign_in_admin(practising)


def id_of(home: str) -> str:
    return home.rpartition("/")[2]


async def seen(door: Door, operator: Person, path: str = "", **query: str) -> Any:
    answer = await door.client.get(f"{ALL}{path}", params=query, headers=operator.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def change(door: Door, learner: Person, home: str, **changes: object) -> None:
    answer = await door.client.patch(home, json=changes, headers=learner.headers)
    assert answer.status_code == 200, answer.text


async def test_all_conversations_are_searched_without_their_text(practising: Door, learner: Person, home: str, operator: Person) -> None:
    other = await sign_up(practising.client, email="bea@example.com")
    second = await started(practising, other)
    await change(practising, learner, home, support=True, title="My raise")
    for query, found in {
        (): [home, second],
        (("account", str(other.id)),): [second],
        (("scenario", "real_estate_negotiations"), ("account", str(learner.id))): [home],
        (("scenario", "no_such_one"),): [],
        (("status", "deleted"),): [],
        (("status", "idle"), ("from", "2026-01-01T00:00:00Z")): [home, second],
        (("to", "2026-01-01T00:00:00Z"),): [],
    }.items():
        listed = await seen(practising, operator, **dict(query))
        assert {one["id"] for one in listed} == {id_of(one) for one in found}, query
        assert all(text not in str(listed) for text in (WORDS, "My raise"))
    first = (await practising.client.get(ALL, params={"limit": 1}, headers=operator.headers)).json()
    query = {"limit": 1, "cursor": first["meta"]["page"]["next_cursor"]}
    rest = (await practising.client.get(ALL, params=query, headers=operator.headers)).json()
    assert {one["id"] for one in first["data"] + rest["data"]} == {id_of(home), id_of(second)}
    assert rest["meta"]["page"]["next_cursor"] is None


async def test_text_is_read_only_where_its_learner_agreed_who_sees_each_look(
    practising: Door, learner: Person, home: str, operator: Person
) -> None:
    hidden = await seen(practising, operator, f"/{id_of(home)}")
    assert (hidden["shared"], hidden["account"], hidden["deleted"]) == (False, str(learner.id), False)
    [turn] = hidden["conversation"]["turns"]
    assert (turn["text"], turn["answer"], turn["feedback"], turn["status"]) == ("(not shared)", "(not shared)", None, "answered")
    await change(practising, learner, home, support=True)
    await harness_of(practising.house).settle()
    shown = await seen(practising, operator, f"/{id_of(home)}")
    assert (shown["shared"], shown["conversation"]["turns"][0]["text"]) == (True, WORDS)
    await harness_of(practising.house).settle()
    [look] = await rows(practising.house, "SELECT data, meta, subject FROM events WHERE name = 'practice.conversation_inspected'")
    assert look["subject"] == learner.id
    assert look["meta"]["actor"]["id"] == str(operator.id)
    trail = (await practising.client.get("/api/v2/admin/audit", params={"subject": str(learner.id)}, headers=operator.headers)).json()
    newest = trail["data"][0]
    assert (newest["type"], newest["actor"]["id"]) == ("practice.conversation_inspected", str(operator.id))
    house = practising.house
    names, since = house.bus.catalog.seen, house.clock() - timedelta(days=1)
    told = await house.reads.feed.after(learner.id, 0, names=names, since=since, limit=100)
    assert [one.name for one in told].count("practice.conversation_inspected") == 1
    await change(practising, learner, home, support=False)
    version = str(shown["conversation"]["version"])
    for query in ({}, {"at": version}):
        again = await seen(practising, operator, f"/{id_of(home)}", **query)
        assert (again["shared"], WORDS in str(again)) == (False, False)
    assert len(await rows(practising.house, "SELECT 1 FROM events WHERE name = 'practice.conversation_inspected'")) == 1


async def test_erased_texts_and_deleted_conversations_are_read_by_nobody(
    practising: Door, learner: Person, home: str, operator: Person
) -> None:
    await change(practising, learner, home, support=True)
    assert (await practising.client.delete(home, headers=learner.headers)).status_code == 204
    gone = await seen(practising, operator, f"/{id_of(home)}")
    assert (gone["deleted"], gone["shared"], WORDS in str(gone)) == (True, False, False)
    assert [one["status"] for one in await seen(practising, operator, status="deleted")] == ["deleted"]
    other = await started(practising, learner)
    await said(practising, learner, other, WORDS)
    await change(practising, learner, other, support=True)
    async with practising.house.database.driver() as driver:
        await driver.execute("DELETE FROM personal_keys")
    erased = await seen(practising, operator, f"/{id_of(other)}")
    assert (erased["shared"], WORDS in str(erased)) == (False, False)


async def test_an_earlier_state_and_everything_that_happened(practising: Door, home: str, operator: Person) -> None:
    versions = await seen(practising, operator, f"/{id_of(home)}/versions")
    assert [one["type"].partition(".")[2] for one in versions[:4]] == [
        "conversation_started",
        "turn_accepted",
        "attempt_started",
        "turn_completed",
    ]
    assert [one["version"] for one in versions] == list(range(1, len(versions) + 1))
    assert (versions[2]["attempt"], versions[2]["turn"], WORDS in str(versions)) == (1, versions[1]["turn"], False)
    pages: list[Any] = []
    cursor: dict[str, Any] = {}
    while len(pages) < len(versions):
        path = f"{ALL}/{id_of(home)}/versions"
        page = (await practising.client.get(path, params={"limit": 1, **cursor}, headers=operator.headers)).json()
        pages += page["data"]
        cursor = {"cursor": page["meta"]["page"]["next_cursor"]}
    assert (pages, cursor) == (versions, {"cursor": None})
    begun = await seen(practising, operator, f"/{id_of(home)}", at="1")
    assert (begun["conversation"]["version"], begun["conversation"]["turns"]) == (1, [])
    at_once = await seen(practising, operator, f"/{id_of(home)}", at=versions[-1]["at"])
    assert at_once["conversation"]["version"] == len(versions)


async def test_what_is_wrong_is_named(practising: Door, home: str, operator: Person) -> None:
    async def asked(path: str, **query: str) -> httpx.Response:
        return await practising.client.get(f"{ALL}{path}", params=query, headers=operator.headers)

    for path in (f"/{NOBODY}", f"/{NOBODY}/versions"):
        missing = await asked(path)
        assert (missing.status_code, missing.json()["code"]) == (404, "practice.unknown_conversation")
    late = await asked(f"/{id_of(home)}", at="99")
    assert (late.status_code, late.json()["code"]) == (404, "practice.unknown_version")
    for query, field in (
        ({"from": "2026-01-01T00:00:00"}, "/from"),
        ({"to": "soon"}, "/to"),
        ({"from": "0001-01-01T00:00:00+23:59"}, "/from"),
        ({"to": "9999-12-31T23:59:59-23:59"}, "/to"),
        ({"status": "asleep"}, "/status"),
        ({"account": "x"}, "/account"),
        ({"cursor": "bm9uZQ.bm9uZQ"}, "/cursor"),
        ({"scenario": "\0"}, "/scenario"),
    ):
        wrong = await asked("", **query)
        assert (wrong.status_code, list(wrong_fields(wrong))) == (422, [field])
    wrong = await asked(f"/{id_of(home)}", at="9999-12-31T23:59:59-23:59")
    assert (wrong.status_code, wrong_fields(wrong)) == (422, {"/at": "malformed"})
    for edge in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert (await asked("", **{"from": edge, "to": edge})).status_code == 200


async def test_nobody_but_an_admin_sees_anything(practising: Door, learner: Person, home: str) -> None:
    for path in ("", f"/{id_of(home)}", f"/{id_of(home)}/versions"):
        assert (await practising.client.get(ALL + path)).status_code == 401
        denied = await practising.client.get(ALL + path, headers=learner.headers)
        assert (denied.status_code, denied.json()["code"]) == (403, "auth.denied")
