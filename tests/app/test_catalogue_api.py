"""The public lists of the catalogue, over HTTP."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from app.settings import Settings
from bus.message import SYSTEM, Actor
from db import seeds
from domain.accounts.commands import ExpireSession
from domain.catalogue.identity import Kind, entry_id
from domain.onboarding.commands import DescribeRole
from domain.types import AccountId
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.app.test_role_matches_api import prepared
from tests.support import HandClock, harness_of, rows

API = "/api/v2"
LISTS: dict[Kind, str] = {
    "language": f"{API}/languages",
    "industry": f"{API}/industries",
    "hierarchy_level": f"{API}/hierarchy-levels",
    "partner": f"{API}/partners",
    "situation": f"{API}/situations",
}
ROLES = f"{API}/roles"
TITLE, WORDING = "Aircraft Lease Structurer", "I structure leases of aircraft for airlines and banks"


async def read(client: httpx.AsyncClient, path: str, person: Person | None = None, **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query, headers={} if person is None else person.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def slugs(client: httpx.AsyncClient, path: str, person: Person | None = None, **query: Any) -> list[str]:
    return [one["slug"] for one in (await read(client, path, person, limit=100, **query))["data"]]


async def pages(client: httpx.AsyncClient, path: str, limit: int, **query: Any) -> list[list[dict[str, Any]]]:
    """Every page, from the first to the last."""
    found = [await read(client, path, limit=limit, **query)]
    while (cursor := found[-1]["meta"]["page"]["next_cursor"]) is not None:
        found.append(await read(client, path, limit=limit, cursor=cursor, **query))
    return [page["data"] for page in found]


async def retire(door: Door, table: str, slug: str) -> None:
    """As an admin does."""
    await rows(door.house, f"UPDATE {table} SET available = false, edited = true WHERE slug = $1", slug)  # noqa: S608 - two tables of ours


async def described(door: Door, person: Person, title: str = TITLE) -> None:
    """A role of the learner's own."""
    command = DescribeRole(account=AccountId(person.id), expected=None, title=title, description=WORDING, hierarchy_level="associate")
    await door.house.bus.execute(command, by=Actor(kind="person", id=person.id))
    await harness_of(door.house).settle()


@pytest.mark.parametrize("kind", LISTS)
async def test_everything_on_offer_is_listed_in_its_order_without_a_token(catalogued: Door, kind: Kind) -> None:
    entries = seeds.load().entries[kind].entries
    found = (await read(catalogued.client, LISTS[kind], limit=100))["data"]
    assert [entry["slug"] for entry in found] == [entry.slug for entry in entries]
    assert [UUID(entry["id"]) for entry in found] == [entry_id(kind, entry.slug) for entry in entries]
    shown = [(entry["name"], entry["description"], entry["icon"], entry["available"]) for entry in found]
    assert shown == [(entry.name, entry.description, entry.icon, True) for entry in entries]


async def test_a_language_has_its_own_name_and_direction(catalogued: Door) -> None:
    found = {one["slug"]: one for one in (await read(catalogued.client, LISTS["language"], limit=100))["data"]}
    assert (found["ar"]["direction"], found["zh-Hant"]["direction"]) == ("rtl", "ltr")
    assert (found["zh-Hant"]["name"], found["zh-Hant"]["autonym"]) == ("Chinese (Traditional)", "繁體中文")
    assert "autonym" not in (await read(catalogued.client, LISTS["industry"]))["data"][0]


@pytest.mark.parametrize(
    ("wanted", "name", "language"),
    [
        (None, "Banking & Finance", "en"),
        ("zh-HK", "銀行及金融", "zh-Hant"),
        ("zh-TW;q=0.9, zh-CN;q=0.8", "銀行及金融", "zh-Hant"),
        ("zh", "银行与金融", "zh-Hans"),
        ("en-GB, zh-HK", "Banking & Finance", "en"),
        ("sv, zh-CN;q=0.2", "银行与金融", "zh-Hans"),
        ("sv, en;q=0.9, zh-CN;q=0.2", "Banking & Finance", "en"),
        ("this is; no header", "Banking & Finance", "en"),
    ],
)
async def test_labels_are_in_the_language_of_the_request(catalogued: Door, wanted: str | None, name: str, language: str) -> None:
    answer = await catalogued.client.get(LISTS["industry"], headers={} if wanted is None else {"Accept-Language": wanted})
    assert answer.json()["data"][0]["name"] == name
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")


async def test_an_entry_without_a_label_is_in_english_and_the_answer_says_so(catalogued: Door) -> None:
    await rows(catalogued.house, "UPDATE catalogue_entries SET labels = '{}' WHERE slug = 'real_estate'")
    answer = await catalogued.client.get(LISTS["industry"], headers={"Accept-Language": "zh-HK"})
    names = {entry["slug"]: entry["name"] for entry in answer.json()["data"]}
    assert (names["real_estate"], names["banking_finance"]) == ("Real Estate", "銀行及金融")
    assert answer.headers["content-language"] == "zh-Hant, en"


async def test_what_the_client_has_already_is_not_sent_again(catalogued: Door) -> None:
    client, path = catalogued.client, LISTS["industry"]
    first = await client.get(path)
    assert first.headers["cache-control"] == "public, max-age=300"
    known = {"If-None-Match": first.headers["etag"]}
    again = await client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    kept = ("etag", "cache-control", "content-language", "vary")
    assert {name: again.headers[name] for name in kept} == {name: first.headers[name] for name in kept}
    for other in ({"Accept-Language": "zh-HK"}, {}):
        if not other:
            await rows(catalogued.house, "UPDATE catalogue_entries SET name = 'Property' WHERE slug = 'real_estate'")
        changed = await client.get(path, headers={**known, **other})
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]


async def test_a_page_whose_successor_is_new_has_another_tag(catalogued: Door) -> None:
    client, path = catalogued.client, LISTS["industry"]
    last = await client.get(path, params={"limit": 4})
    assert last.json()["meta"]["page"]["next_cursor"] is None
    await rows(catalogued.house, "UPDATE catalogue_entries SET kind = 'industry', position = 99 WHERE slug = 'briefings'")
    grown = await client.get(path, params={"limit": 4}, headers={"If-None-Match": last.headers["etag"]})
    assert grown.status_code == 200
    assert grown.json()["data"] == last.json()["data"]
    assert grown.json()["meta"]["page"]["next_cursor"] is not None


async def test_a_malformed_tag_is_named(catalogued: Door) -> None:
    answer = await catalogued.client.get(LISTS["industry"], headers={"If-None-Match": "unquoted"})
    assert (answer.status_code, wrong_fields(answer)) == (422, {"/If-None-Match": "malformed"})


@pytest.mark.parametrize(
    ("kind", "search", "expected"),
    [
        ("language", "chinese", ["zh-Hant", "zh-Hans"]),
        ("language", "繁體", ["zh-Hant"]),
        ("language", "DEUTSCH", ["de"]),
        ("language", "pt-br", ["pt-BR"]),
        ("industry", "  bank ", ["banking_finance"]),
        ("industry", "銀行", ["banking_finance"]),
        ("industry", "estate_", []),
        ("industry", "%", []),
        ("industry", "\\", []),
        ("industry", "'; DROP TABLE roles", []),
        ("situation", "one-on", ["one_on_ones"]),
        ("partner", "nobody at all", []),
    ],
)
async def test_a_part_of_a_name_in_any_language_finds_an_entry(catalogued: Door, kind: Kind, search: str, expected: list[str]) -> None:
    assert await slugs(catalogued.client, LISTS[kind], search=search) == expected


async def test_what_is_no_longer_offered_is_listed_only_when_asked_for(catalogued: Door) -> None:
    await retire(catalogued, "catalogue_entries", "real_estate")
    assert "real_estate" not in await slugs(catalogued.client, LISTS["industry"])
    [retired] = (await read(catalogued.client, LISTS["industry"], available="false"))["data"]
    assert (retired["slug"], retired["available"]) == ("real_estate", False)


async def test_pages_follow_each_other_while_entries_come_and_go(catalogued: Door) -> None:
    client, path = catalogued.client, LISTS["situation"]
    await rows(catalogued.house, "UPDATE catalogue_entries SET kind = 'situation', position = 4 WHERE slug = 'stakeholders'")
    whole = await slugs(client, path)
    assert whole[5] == "stakeholders"  # At the position of the last one of the first page.
    first = await read(client, path, limit=5)
    await retire(catalogued, "catalogue_entries", whole[0])
    await retire(catalogued, "catalogue_entries", whole[4])
    await rows(catalogued.house, "UPDATE catalogue_entries SET kind = 'situation', position = 2 WHERE slug = 'clients'")
    rest = await read(client, path, limit=100, cursor=first["meta"]["page"]["next_cursor"])
    assert [entry["slug"] for entry in first["data"] + rest["data"]] == whole


@pytest.mark.parametrize(("path", "limit"), [(LISTS["language"], 7), (LISTS["industry"], 4), (LISTS["partner"], 1), (ROLES, 10)])
async def test_all_pages_together_are_the_whole_list(catalogued: Door, path: str, limit: int) -> None:
    found = await pages(catalogued.client, path, limit)
    assert all(len(page) == limit for page in found[:-1])
    assert [one["slug"] for page in found for one in page] == await slugs(catalogued.client, path)
    assert found[-1]


async def test_a_cursor_of_another_list_or_another_search_is_refused(catalogued: Door) -> None:
    client = catalogued.client
    of_languages = (await read(client, LISTS["language"], limit=1))["meta"]["page"]["next_cursor"]
    of_search = (await read(client, ROLES, limit=1, search="manager"))["meta"]["page"]["next_cursor"]
    assert of_search is not None
    for path, query in (
        (LISTS["industry"], {"cursor": of_languages}),
        (LISTS["language"], {"cursor": f"{of_languages}x"}),
        (LISTS["language"], {"cursor": "nonsense"}),
        (ROLES, {"cursor": of_languages}),
        (ROLES, {"cursor": of_search}),
        (ROLES, {"cursor": of_search, "search": "analyst"}),
    ):
        answer = await client.get(path, params=query)
        assert (answer.status_code, wrong_fields(answer)) == (422, {"/cursor": "invalid"}), (path, query)


@pytest.mark.parametrize("path", [LISTS["partner"], ROLES])
async def test_every_wrong_parameter_is_named(catalogued: Door, path: str) -> None:
    answer = await catalogued.client.get(path, params={"limit": 101, "search": "x" * 101})
    assert (answer.status_code, wrong_fields(answer)) == (422, {"/limit": "out_of_range", "/search": "too_long"})
    answer = await catalogued.client.get(path, params={"search": "a\0b"})
    assert (answer.status_code, wrong_fields(answer)) == (422, {"/search": "pattern"})
    answer = await catalogued.client.get(f"{path}?search=%ED%A0%80")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


async def test_a_role_is_shown_with_all_that_describes_it(catalogued: Door) -> None:
    [file] = [file for file in seeds.load().roles if file.industry == "banking_finance"]
    seed = next(role for role in file.roles if role.slug == "relationship_manager")
    shown = (await read(catalogued.client, f"{ROLES}/relationship_manager"))["data"]
    industry = {"id": str(entry_id("industry", "banking_finance")), "slug": "banking_finance", "name": "Banking & Finance"}
    assert shown == {
        "id": str(entry_id("role", "relationship_manager")),
        "slug": "relationship_manager",
        "title": seed.title,
        "description": seed.description,
        "industry": industry,
        "hierarchy_level": seed.hierarchy_level,
        "keywords": list(seed.keywords),
        "duties": list(seed.duties),
        "aliases": list(seed.aliases),
        "available": True,
    }
    by_id = await read(catalogued.client, f"{ROLES}/{shown['id']}")
    by_old_slug = await read(catalogued.client, f"{ROLES}/Relationship-Manager")
    assert by_id["data"] == by_old_slug["data"] == shown
    listed = (await read(catalogued.client, ROLES, search="relationship manager", industry="banking_finance"))["data"]
    assert listed[0] == shown


async def test_a_role_of_the_catalogue_is_labelled_in_the_language_of_the_request(catalogued: Door) -> None:
    labels = '{"zh-Hant": {"name": "客戶經理", "description": "管理企業客戶。"}}'
    await rows(catalogued.house, "UPDATE roles SET labels = $1 WHERE slug = 'relationship_manager'", labels)
    wanted = {"Accept-Language": "zh-HK"}
    answer = await catalogued.client.get(f"{ROLES}/relationship_manager", headers=wanted)
    shown = answer.json()["data"]
    assert (shown["title"], shown["description"], shown["industry"]["name"]) == ("客戶經理", "管理企業客戶。", "銀行及金融")
    assert answer.headers["content-language"] == "zh-Hant"
    plain = await catalogued.client.get(f"{ROLES}/financial_analyst", headers=wanted)
    assert (plain.json()["data"]["title"], plain.json()["data"]["industry"]["name"]) == ("Financial Analyst", "銀行及金融")
    assert plain.headers["content-language"] == "zh-Hant, en"
    assert await slugs(catalogued.client, ROLES, search="客戶經") == ["relationship_manager"]


@pytest.mark.parametrize("ref", ["no_such_role", "00000000-0000-0000-0000-000000000000", "a%00b", "%ED%A0%80", "x" * 3000, "%25"])
async def test_a_role_that_does_not_exist_is_not_found(catalogued: Door, ref: str) -> None:
    answer = await catalogued.client.get(f"{ROLES}/{ref}")
    assert (answer.status_code, answer.json()["code"]) == (404, "catalogue.unknown_entry")


async def test_a_retired_role_is_read_by_whoever_has_chosen_it_but_not_listed(catalogued: Door) -> None:
    await retire(catalogued, "roles", "relationship_manager")
    assert "relationship_manager" not in await slugs(catalogued.client, ROLES)
    shown = (await read(catalogued.client, f"{ROLES}/relationship_manager"))["data"]
    assert shown["available"] is False


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("relationship manager", "relationship_manager"),
        ("Relationsh", "relationship_manager"),
        ("financial analysts", "financial_analyst"),
        ("finanzanalyst", "financial_analyst"),
        ("discounted cash", "financial_analyst"),
        ("forecasti", "financial_analyst"),
    ],
)
async def test_words_whole_or_begun_find_a_role(catalogued: Door, search: str, expected: str) -> None:
    assert expected in await slugs(catalogued.client, ROLES, search=search, industry="banking_finance")


async def test_a_role_with_the_searched_title_comes_before_those_that_only_speak_of_it(catalogued: Door) -> None:
    found = (await read(catalogued.client, ROLES, search="analyst", limit=100))["data"]
    of_title = ["analyst" in role["title"].lower() for role in found]
    assert of_title == sorted(of_title, reverse=True)
    assert of_title[0]


@pytest.mark.parametrize("search", ["the", "zzzzz", "!!!", "& | ! ( ) :*", "' \" \\", "(a+)+$", "*" * 100])
async def test_a_search_that_means_nothing_is_no_error(catalogued: Door, search: str) -> None:
    await read(catalogued.client, ROLES, search=search)


async def test_pages_of_a_search_are_stable_while_roles_come_and_go(catalogued: Door) -> None:
    client = catalogued.client
    whole = await slugs(client, ROLES, search="manager")
    coming, gone = whole.pop(2), whole[0]
    await retire(catalogued, "roles", coming)
    first = await read(client, ROLES, limit=5, search="manager")
    await retire(catalogued, "roles", gone)
    await rows(catalogued.house, "UPDATE roles SET available = true WHERE slug = $1", coming)
    rest = await read(client, ROLES, limit=100, search="manager", cursor=first["meta"]["page"]["next_cursor"])
    assert [role["slug"] for role in first["data"] + rest["data"]] == whole
    assert (await slugs(client, ROLES, search="manager"))[1] == coming


async def test_roles_are_filtered_by_industry_and_level_by_id_or_slug(catalogued: Door) -> None:
    client = catalogued.client
    industry, level = entry_id("industry", "real_estate"), entry_id("hierarchy_level", "manager")
    expected = [role.slug for file in seeds.load().roles if file.industry == "real_estate" for role in file.roles]
    for ref in ("real_estate", "Real-Estate", str(industry)):
        assert await slugs(client, ROLES, industry=ref) == expected
    found = (await read(client, ROLES, hierarchy_level=str(level), limit=100))["data"]
    assert found
    assert {role["hierarchy_level"] for role in found} == {"manager"}
    both = (await read(client, ROLES, hierarchy_level="manager", industry="real_estate", limit=100))["data"]
    assert [role for role in found if role["industry"]["slug"] == "real_estate"] == both


async def test_filters_that_name_nothing_are_all_named(catalogued: Door) -> None:
    query = {"industry": "astrology", "hierarchy_level": "deity"}
    answer = await catalogued.client.get(ROLES, params=query)
    assert (answer.status_code, wrong_fields(answer)) == (422, {"/industry": "unknown", "/hierarchy_level": "unknown"})
    partner = str(entry_id("partner", "clients"))
    for ref in ("", "a\0b", partner):
        answer = await catalogued.client.get(ROLES, params={"industry": ref})
        assert (answer.status_code, wrong_fields(answer)) == (422, {"/industry": "unknown"}), ref


async def test_a_learner_sees_their_own_roles_beside_those_of_the_catalogue_and_nobody_elses(door: Door) -> None:
    ada, bob = await prepared(door), await sign_up(door.client, email="bob@example.com")
    await described(door, ada)
    [own] = (await read(door.client, ROLES, ada, search=TITLE))["data"]
    assert (own["slug"], own["title"], own["industry"]["slug"]) == (None, TITLE, "banking_finance")
    assert own["id"] in [role["id"] for role in (await read(door.client, ROLES, ada, limit=100))["data"]]
    assert (await read(door.client, f"{ROLES}/{own['id']}", ada))["data"] == own
    for stranger in (bob, await sign_in_admin(door), None):
        assert (await read(door.client, ROLES, stranger, search=TITLE))["data"] == []
        answer = await door.client.get(f"{ROLES}/{own['id']}", headers={} if stranger is None else stranger.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "catalogue.unknown_entry")


async def test_only_answers_to_nobody_in_particular_may_be_shared(catalogued: Door) -> None:
    person = await sign_up(catalogued.client)
    for path in (ROLES, f"{ROLES}/relationship_manager"):
        public, private = await catalogued.client.get(path), await catalogued.client.get(path, headers=person.headers)
        assert public.headers["cache-control"] == "public, max-age=300"
        assert private.headers["cache-control"] == "private, no-cache"
        assert public.headers["vary"] == private.headers["vary"] == "Accept-Language, Authorization"
        known = {**person.headers, "If-None-Match": private.headers["etag"]}
        again = await catalogued.client.get(path, headers=known)
        assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-cache")


async def test_a_bad_token_is_refused_where_one_counts(catalogued: Door, settings: Settings, clock: HandClock) -> None:
    person = await sign_up(catalogued.client)
    for header in ("Bearer nonsense", "Bearer ", "Basic YWRhOmFkYQ=="):
        for path in (ROLES, f"{ROLES}/relationship_manager"):
            answer = await catalogued.client.get(path, headers={"Authorization": header})
            assert answer.status_code == 401, (path, header)
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    clock.move(seconds=settings.access_token_seconds + 1)
    expired = await catalogued.client.get(ROLES, headers=person.headers)
    assert (expired.status_code, expired.json()["code"]) == (401, "auth.token_expired")


async def test_the_session_of_a_token_must_be_open(catalogued: Door, clock: HandClock) -> None:
    person = await sign_up(catalogued.client)
    [session] = await rows(catalogued.house, "SELECT id FROM sessions")
    clock.move(days=3660)
    await catalogued.house.bus.execute(ExpireSession(session=session["id"]), by=SYSTEM)
    answer = await catalogued.client.get(ROLES, headers=person.headers)
    assert answer.status_code == 401


async def test_without_a_catalogue_the_lists_are_empty(door: Door) -> None:
    for path in (*LISTS.values(), ROLES):
        answer = await door.client.get(path)
        assert (answer.status_code, answer.json()["data"], answer.headers["content-language"]) == (200, [], "en")
