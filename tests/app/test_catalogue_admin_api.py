"""Admins at the catalogue, over HTTP."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from bus.message import SYSTEM
from domain.catalogue.commands import SeedCatalogue
from domain.catalogue.identity import entry_id
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.roles import add_role
from tests.support import HandClock, harness_of, rows

HOME = "/api/v2/admin/catalogue"
PARTNERS, LANGUAGES, ROLES = f"{HOME}/partners", f"{HOME}/languages", f"{HOME}/roles"
AUDITORS: dict[str, Any] = {
    "slug": "auditors",
    "name": "Auditors",
    "description": "They examine the accounts.",
    "icon": "clipboard-check",
    "labels": {"zh-Hant": {"name": "核數師"}},
}
BROKER: dict[str, Any] = {
    "slug": "yacht_charter_broker",
    "title": "Yacht Charter Broker",
    "description": "Finds charterers for the owners of yachts and agrees the terms.",
    "industry": "shipping_logistics",
    "hierarchy_level": "associate",
    "keywords": ["yacht", "charter", "broker", "itinerary", "crew"],
    "duties": ["agree the terms of a charter"],
    "aliases": ["Charter Agent"],
}


@pytest.fixture
async def operator(catalogued: Door) -> Person:
    return await sign_in_admin(catalogued)


@pytest.fixture
def client(catalogued: Door, operator: Person) -> httpx.AsyncClient:
    """Signed in as an admin."""
    catalogued.client.headers.update(operator.headers)
    return catalogued.client


async def got(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def added(client: httpx.AsyncClient, path: str, body: dict[str, Any], **changes: Any) -> Any:
    answer = await client.post(path, json={**body, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def facts(door: Door, entry: str) -> list[tuple[str, Any, Any]]:
    """Name, kind and fields of everything that was recorded of an entry, and who did it."""
    query = """
    SELECT name, data->>'kind' AS kind, data->'fields' AS fields, meta->'actor'->>'id' AS actor
    FROM events WHERE data->>'entry' = $1 ORDER BY at, id
    """
    found = await rows(door.house, query, entry)
    assert {row["actor"] for row in found} <= {found[0]["actor"]}
    return [(row["name"], row["kind"], row["fields"]) for row in found]


async def test_an_entry_is_added_read_changed_and_retired_and_all_of_it_is_recorded(
    client: httpx.AsyncClient, catalogued: Door, operator: Person, clock: HandClock
) -> None:
    answer = await client.post(PARTNERS, json=AUDITORS)
    assert answer.status_code == 201, answer.text
    made = answer.json()["data"]
    assert made == {
        **AUDITORS,
        "id": str(entry_id("partner", "auditors")),
        "autonym": None,
        "direction": None,
        "position": made["position"],
        "available": True,
        "edited": True,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert (await got(client, PARTNERS, limit=100))[-1] == made
    read = await client.get(answer.headers["Location"])
    assert (read.json()["data"], read.headers["ETag"]) == (made, answer.headers["ETag"])
    assert (await client.get(f"{PARTNERS}/AUDITORS", headers={"If-None-Match": read.headers["ETag"]})).status_code == 304
    clock.move(minutes=1)
    changed = await client.patch(f"{PARTNERS}/auditors", json={"name": "External  Auditors ", "icon": None})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["data"]["name"], changed.json()["data"]["icon"]) == ("External  Auditors", None)
    assert changed.json()["data"]["description"] == AUDITORS["description"]
    assert changed.headers["ETag"] != read.headers["ETag"]
    assert (await client.delete(f"{PARTNERS}/{made['id']}")).status_code == 204
    assert (await got(client, f"{PARTNERS}/auditors"))["available"] is False
    again = await client.patch(f"{PARTNERS}/auditors", json={"available": True})
    assert again.json()["data"]["available"] is True
    assert await facts(catalogued, made["id"]) == [
        ("catalogue.entry_added", "partner", None),
        ("catalogue.entry_changed", "partner", ["name", "icon"]),
        ("catalogue.entry_retired", "partner", None),
        ("catalogue.entry_changed", "partner", ["available"]),
    ]
    [actor] = await rows(catalogued.house, "SELECT DISTINCT meta->'actor'->>'id' AS id FROM events WHERE data->>'entry' = $1", made["id"])
    assert actor == {"id": str(operator.id)}


async def test_what_changes_nothing_is_quiet(client: httpx.AsyncClient, catalogued: Door) -> None:
    made = await added(client, PARTNERS, AUDITORS)
    before = await client.get(f"{PARTNERS}/auditors")
    same = await client.patch(f"{PARTNERS}/auditors", json={"name": "Auditors", "available": True})
    assert (same.status_code, same.headers["ETag"]) == (200, before.headers["ETag"])
    assert [(await client.delete(f"{PARTNERS}/auditors")).status_code for _ in range(2)] == [204, 204]
    assert [name for name, *_ in await facts(catalogued, made["id"])] == ["catalogue.entry_added", "catalogue.entry_retired"]


async def test_a_patch_that_takes_an_entry_away_retires_it(client: httpx.AsyncClient, catalogued: Door) -> None:
    made = await added(client, PARTNERS, AUDITORS)
    answer = await client.patch(f"{PARTNERS}/auditors", json={"available": False, "icon": "search"})
    assert (answer.json()["data"]["available"], answer.json()["data"]["icon"]) == (False, "search")
    assert (await facts(catalogued, made["id"]))[1:] == [
        ("catalogue.entry_changed", "partner", ["icon"]),
        ("catalogue.entry_retired", "partner", None),
    ]


async def test_what_an_admin_has_changed_is_left_alone_by_seed_files(client: httpx.AsyncClient, catalogued: Door) -> None:
    await added(client, PARTNERS, AUDITORS)
    await client.patch(f"{PARTNERS}/clients", json={"name": "Clientele"})
    assert (await client.delete(f"{PARTNERS}/suppliers")).status_code == 204
    await rows(catalogued.house, "DELETE FROM seed_files RETURNING name")
    await catalogued.house.bus.execute(SeedCatalogue(), by=SYSTEM)
    by_slug = {entry["slug"]: entry for entry in await got(client, PARTNERS, limit=100)}
    assert by_slug["clients"]["name"] == "Clientele"
    assert by_slug["suppliers"]["available"] is False
    assert by_slug["auditors"]["available"] is True


async def test_a_slug_is_taken_once_also_by_what_is_retired(client: httpx.AsyncClient) -> None:
    await added(client, PARTNERS, AUDITORS)
    await client.delete(f"{PARTNERS}/auditors")
    answer = await client.post(PARTNERS, json=AUDITORS)
    assert (answer.status_code, answer.json()["code"]) == (409, "catalogue.slug_taken")
    assert (await client.post(f"{HOME}/situations", json=AUDITORS)).status_code == 201
    await added(client, ROLES, BROKER)
    assert (await client.post(ROLES, json=BROKER)).json()["code"] == "catalogue.slug_taken"


async def test_of_two_that_add_the_same_slug_at_once_one_is_refused(client: httpx.AsyncClient) -> None:
    for path, body in ((PARTNERS, AUDITORS), (ROLES, BROKER)):
        answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_repeated_request_is_answered_as_the_first_was(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    for path, body in ((PARTNERS, AUDITORS), (ROLES, BROKER)):
        first, second = [await client.post(path, json=body, headers=key) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 201)
        assert second.json()["data"] == first.json()["data"]
        assert (second.headers["Idempotent-Replayed"], second.headers["Location"]) == ("true", first.headers["Location"])
        key = {"Idempotency-Key": uuid4().hex}


@pytest.mark.parametrize(("path", "change"), [(f"{PARTNERS}/clients", "name"), (f"{ROLES}/financial_analyst", "title")])
async def test_of_two_changes_of_one_version_one_is_refused(client: httpx.AsyncClient, path: str, change: str) -> None:
    etag = (await client.get(path)).headers["ETag"]
    answers = await asyncio.gather(*(client.patch(path, json={change: f"Name {n}"}, headers={"If-Match": etag}) for n in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert (await client.delete(path, headers={"If-Match": etag})).status_code == 412
    assert (await client.delete(path, headers={"If-Match": "*"})).status_code == 204
    assert wrong_fields(await client.patch(path, json={}, headers={"If-Match": "7"})) == {"/If-Match": "malformed"}


async def test_every_wrong_field_of_an_entry_is_named_at_once(client: httpx.AsyncClient) -> None:
    body = {
        "slug": "Our Auditors",
        "name": " ",
        "description": "x" * 1001,
        "icon": "a\nb",
        "autonym": "x",
        "labels": {"chinese": {}, "zh-Hant": {"title": "核數師"}},
        "position": -1,
    }
    answer = await client.post(PARTNERS, json=body)
    assert answer.status_code == 422
    assert wrong_fields(answer) == {
        "/slug": "malformed",
        "/name": "length",
        "/description": "length",
        "/icon": "not_allowed",
        "/autonym": "not_allowed",
        "/labels/chinese": "malformed",
        "/labels/zh-Hant/title": "unknown",
        "/position": "out_of_range",
    }
    answer = await client.post(PARTNERS, json={"name": "", "colour": "red", "available": "yes"})
    assert wrong_fields(answer) == {"/slug": "missing", "/name": "length", "/colour": "unknown", "/available": "type"}
    answer = await client.patch(f"{PARTNERS}/clients", json={"slug": "customers", "name": None, "direction": "up"})
    assert wrong_fields(answer) == {"/slug": "unknown", "/name": "type"}
    answer = await client.patch(f"{PARTNERS}/clients", json={"name": "x" * 101, "direction": "rtl"})
    assert wrong_fields(answer) == {"/name": "length", "/direction": "not_allowed"}


async def test_a_language_needs_its_own_name_and_direction(client: httpx.AsyncClient) -> None:
    assert wrong_fields(await client.post(LANGUAGES, json={"slug": "gsw_CH", "name": "Swiss German"})) == {
        "/slug": "malformed",
        "/autonym": "missing",
        "/direction": "missing",
    }
    swiss = {"slug": "gsw-CH", "name": "Swiss German", "autonym": "Schwiizertüütsch", "direction": "ltr"}
    await added(client, LANGUAGES, swiss)
    for ref in ("gsw-CH", "GSW-ch", str(entry_id("language", "gsw-CH"))):
        assert (await got(client, f"{LANGUAGES}/{ref}"))["autonym"] == "Schwiizertüütsch"
    assert (await got(client, f"{LANGUAGES}/zh-hant"))["slug"] == "zh-Hant"
    assert wrong_fields(await client.patch(f"{LANGUAGES}/gsw-CH", json={"autonym": None})) == {"/autonym": "missing"}


async def test_a_role_is_added_changed_and_retired(client: httpx.AsyncClient, catalogued: Door) -> None:
    made = await added(client, ROLES, BROKER, industry=str(entry_id("industry", "shipping_logistics")), hierarchy_level="ASSOCIATE")
    assert {name: made[name] for name in BROKER} == BROKER
    assert made == await got(client, f"{ROLES}/yacht-charter-broker")
    answer = await client.patch(
        f"{ROLES}/{made['id']}", json={"industry": "hotels-hospitality", "keywords": ["boat", *BROKER["keywords"]], "aliases": []}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["industry"] == "hotels_hospitality"
    assert answer.json()["data"]["keywords"] == ["boat", *BROKER["keywords"]]
    assert (await client.delete(f"{ROLES}/{made['id']}")).status_code == 204
    assert (await got(client, ROLES, available=False, search="yacht"))[0]["slug"] == made["slug"]
    assert await facts(catalogued, made["id"]) == [
        ("catalogue.entry_added", "role", None),
        ("catalogue.entry_changed", "role", ["industry", "keywords", "aliases"]),
        ("catalogue.entry_retired", "role", None),
    ]


async def test_a_role_that_is_added_can_be_found_by_its_words_once_it_is_embedded(client: httpx.AsyncClient, catalogued: Door) -> None:
    made = await added(client, ROLES, BROKER)
    await harness_of(catalogued.house).settle()
    before = await rows(catalogued.house, "SELECT digest FROM role_vectors WHERE role = $1", UUID(made["id"]))
    assert len(before) == 1
    await client.patch(f"{ROLES}/{made['id']}", json={"title": "Superyacht Broker"})
    await harness_of(catalogued.house).settle()
    assert await rows(catalogued.house, "SELECT digest FROM role_vectors WHERE role = $1", UUID(made["id"])) != before


async def test_every_wrong_field_of_a_role_is_named_at_once(client: httpx.AsyncClient) -> None:
    body = {
        **BROKER,
        "title": "Y",
        "description": "short",
        "industry": "yachting",
        "hierarchy_level": "captain",
        "keywords": ["one", "One", "two\nthree"],
    }
    answer = await client.post(ROLES, json=body)
    assert answer.status_code == 422
    assert wrong_fields(answer) == {
        "/title": "length",
        "/description": "length",
        "/industry": "unknown",
        "/hierarchy_level": "unknown",
        "/keywords": "length",
        "/keywords/1": "duplicate",
        "/keywords/2": "not_allowed",
    }
    answer = await client.post(ROLES, json={"slug": "Broker", "title": "", "keywords": "yacht", "duties": [1]})
    assert wrong_fields(answer) == {
        "/slug": "malformed",
        "/title": "length",
        "/description": "missing",
        "/industry": "missing",
        "/hierarchy_level": "missing",
        "/keywords": "type",
        "/duties/0": "type",
    }
    assert wrong_fields(await client.patch(f"{ROLES}/financial_analyst", json={"keywords": [], "industry": "x"})) == {
        "/keywords": "length",
        "/industry": "unknown",
    }


async def test_a_list_goes_on_where_it_was_while_entries_are_added(client: httpx.AsyncClient) -> None:
    slugs = [entry["slug"] for entry in await got(client, f"{HOME}/situations", limit=100)]
    first = (await client.get(f"{HOME}/situations", params={"limit": 7})).json()
    await added(client, f"{HOME}/situations", AUDITORS, position=0)
    await added(client, f"{HOME}/situations", AUDITORS, slug="site_visits")
    seen = [entry["slug"] for entry in first["data"]]
    page = first["meta"]["page"]
    while page["next_cursor"] is not None:
        body = (await client.get(f"{HOME}/situations", params={"limit": 7, "cursor": page["next_cursor"]})).json()
        seen += [entry["slug"] for entry in body["data"]]
        page = body["meta"]["page"]
    assert seen == [*slugs, "site_visits"]


async def test_lists_are_filtered(client: httpx.AsyncClient) -> None:
    await client.delete(f"{PARTNERS}/suppliers")
    assert [entry["slug"] for entry in await got(client, PARTNERS, available=False)] == ["suppliers"]
    assert "suppliers" not in [entry["slug"] for entry in await got(client, PARTNERS, available=True)]
    assert [entry["slug"] for entry in await got(client, PARTNERS, search=" SUPPL")] == ["suppliers"]
    assert await got(client, PARTNERS, search="100%_") == []
    banking = await got(client, ROLES, industry="Banking-Finance", limit=100)
    assert {role["industry"] for role in banking} == {"banking_finance"}
    assert len(banking) >= 15


@pytest.mark.parametrize(
    ("path", "query", "wrong"),
    [
        (ROLES, {"industry": "yachting"}, {"/industry": "unknown"}),
        (ROLES, {"cursor": "nonsense"}, {"/cursor": "invalid"}),
        (PARTNERS, {"limit": 0}, {"/limit": "out_of_range"}),
        (PARTNERS, {"available": "perhaps"}, {"/available": "type"}),
        (PARTNERS, {"search": "a\0b"}, {"/search": "pattern"}),
    ],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, path: str, query: dict[str, Any], wrong: dict[str, str]) -> None:
    answer = await client.get(path, params=query)
    assert answer.status_code == 422
    assert wrong_fields(answer) == wrong


async def test_a_cursor_of_another_kind_is_refused(client: httpx.AsyncClient) -> None:
    cursor = (await client.get(PARTNERS, params={"limit": 1})).json()["meta"]["page"]["next_cursor"]
    for path in (f"{HOME}/situations", ROLES):
        assert wrong_fields(await client.get(path, params={"cursor": cursor})) == {"/cursor": "invalid"}


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, catalogued: Door) -> None:
    nobody = uuid4()
    for path in (f"{PARTNERS}/nobody", f"{PARTNERS}/{nobody}", f"{PARTNERS}/a%00b", f"{ROLES}/{nobody}", f"{ROLES}/nobody"):
        answers = [await client.get(path), await client.patch(path, json={}), await client.delete(path)]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "catalogue.unknown_entry")] * 3
    # An entry of another kind, and a role that a learner described.
    assert (await client.get(f"{PARTNERS}/{entry_id('industry', 'banking_finance')}")).status_code == 404
    described = await add_role(catalogued.house, "Ship Chandler", owner=None, status="submitted")
    assert (await client.get(f"{ROLES}/{described}")).status_code == 404
    assert (await client.delete(f"{ROLES}/{described}")).status_code == 404
    assert "Ship Chandler" not in [role["title"] for role in await got(client, ROLES, limit=100)]
    for answer in (await client.get(f"{HOME}/colours"), await client.post(f"{HOME}/colours", json=AUDITORS)):
        assert (answer.status_code, answer.json()["code"]) == (404, "request.not_found")


async def test_only_admins_come_in(catalogued: Door) -> None:
    learner = await sign_up(catalogued.client)
    for path, body in ((PARTNERS, AUDITORS), (ROLES, BROKER)):
        for method, where, sent in (
            ("GET", path, None),
            ("POST", path, body),
            ("GET", f"{path}/clients", None),
            ("PATCH", f"{path}/clients", {"available": False}),
            ("DELETE", f"{path}/clients", None),
        ):
            request: dict[str, Any] = {"json": sent} if sent else {}
            assert (await catalogued.client.request(method, where, **request)).status_code == 401
            assert (await catalogued.client.request(method, where, headers=learner.headers, **request)).status_code == 403
    assert await rows(catalogued.house, "SELECT 1 FROM catalogue_entries WHERE edited OR NOT available") == []
