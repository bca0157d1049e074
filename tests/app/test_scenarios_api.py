"""Scenarios over HTTP: what learners see, write and ask for, and the file of all of them for admins."""

import json
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from db import seeds
from domain.practice.scenario import LEVELS, Scenario, scenario_id
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.support import harness_of, rows, value

SCENARIOS, REQUESTS, ONBOARDING = "/api/v2/scenarios", "/api/v2/scenario-requests", "/api/v2/onboarding"
EXPORT, IMPORT = "/api/v2/admin/scenarios/export", "/api/v2/admin/scenarios/import"
LOGGED = "SELECT convert_from(data, 'UTF8') AS text FROM conversation_log WHERE name <> 'practice.delta'"
ALL = 60
HOME = "hotels_hospitality"
OWN: dict[str, Any] = {
    "title": "Asking Quentin for a raise",
    "industry": "banking_finance",
    "situation": "one_on_ones",
    "partner": "senior_management",
    "persona": {"name": "Quentin", "role": "Head of the desk", "mood": "Impatient", "speech_style": "Short"},
    "learner": {"role": "Analyst", "goal": "Ask for more pay, and stay polite."},
    "constraints": ["Do not threaten to leave."],
    "success_criteria": [{"id": "asks", "text": "Asks for more.", "any": ["raise", "more pay"]}],
    "cefr": {"lowest": "B2", "highest": "C1"},
    "opening": "You wanted to see me?",
    "useful_phrases": ["I would like to talk about my salary."],
    "cultural_notes": [],
}
KEPT: dict[str, Any] = {**OWN, "success_criteria": [{**OWN["success_criteria"][0], "id": "c1"}]}


@pytest.fixture
async def learner(catalogued: Door) -> Person:
    """Signed in; their client sends their token."""
    person = await sign_up(catalogued.client)
    catalogued.client.headers.update(person.headers)
    return person


@pytest.fixture
def client(catalogued: Door, learner: Person) -> httpx.AsyncClient:  # noqa: ARG001 - signed in
    return catalogued.client


async def complete(client: httpx.AsyncClient) -> None:
    """They meet clients on the phone and in negotiations."""
    answers = {
        "native-language": {"language": "zh-Hant", "proficiency": "B1"},
        "industry": {"industry": HOME},
        "role": {"role": "front_desk_agent"},
        "partners": {"partners": [{"partner": "clients"}]},
        "situations": {"partners": [{"partner": "clients", "situations": [{"situation": "phone_calls"}, {"situation": "negotiations"}]}]},
    }
    for step, answer in answers.items():
        told = await client.put(f"{ONBOARDING}/{step}", json=answer)
        assert told.status_code == 200, told.text
    told = await client.post(f"{ONBOARDING}/complete")
    assert told.status_code == 200, told.text


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = await client.get(SCENARIOS, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body["data"]
        assert len(body["data"]) <= body["meta"]["page"]["limit"]
        if (cursor := body["meta"]["page"]["next_cursor"]) is None:
            return found


async def written(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post(SCENARIOS, json={**OWN, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def test_there_is_one_scenario_for_every_situation_of_every_industry(client: httpx.AsyncClient) -> None:
    found = await listed(client, limit=100)
    assert len(found) == len({(one["industry"], one["situation"]) for one in found}) == ALL
    assert all(one["given"] is None and not one["own"] and one["version"] >= 1 for one in found)
    assert [one["slug"] for one in found] == sorted(one["slug"] for one in found)
    assert set(found[0]) == {
        *("id", "slug", "title", "industry", "situation", "partner", "persona", "learner", "cefr", "own", "given", "version")
    }


async def test_what_was_chosen_for_a_learner_comes_first_in_its_order_and_their_own_last(
    catalogued: Door, client: httpx.AsyncClient
) -> None:
    own = await written(client)
    await complete(client)
    await harness_of(catalogued.house).settle()
    found = await listed(client, limit=7)
    assert len(found) == len({one["id"] for one in found}) == ALL + 1
    first = found[:5]
    assert [one["given"]["position"] for one in first] == [1, 2, 3, 4, 5]
    assert [one["slug"] for one in first[:2]] == [f"{HOME}_phone_calls", f"{HOME}_negotiations"]
    assert first[0]["given"]["reason"]["situation"] == "phone_calls"
    rest = [one["slug"] for one in found[5:-1]]
    assert rest == sorted(rest)
    assert (found[-1]["id"], found[-1]["slug"], found[-1]["own"], found[-1]["given"]) == (own["id"], None, True, None)
    assert [one["id"] for one in await listed(client, given=True)] == [one["id"] for one in first]
    assert [one["id"] for one in await listed(client, own=True)] == [own["id"]]
    assert len(await listed(client, given=False, own=False, limit=100)) == ALL - 5


async def test_a_page_goes_on_behind_the_one_before_though_scenarios_are_added(client: httpx.AsyncClient) -> None:
    first = await client.get(SCENARIOS, params={"limit": 50})
    await written(client)
    second = await client.get(SCENARIOS, params={"limit": 50, "cursor": first.json()["meta"]["page"]["next_cursor"]})
    found = [one["id"] for answer in (first, second) for one in answer.json()["data"]]
    assert len(found) == len(set(found)) == ALL + 1
    foreign = await client.get(SCENARIOS, params={"cursor": "bm9uc2Vuc2U.bm9uc2Vuc2U"})
    assert (foreign.status_code, wrong_fields(foreign)) == (422, {"/cursor": "invalid"})


async def test_lists_are_narrowed_by_place_level_and_title_own_ones_too(client: httpx.AsyncClient) -> None:
    own = await written(client)
    [industry] = [one for one in (await client.get("/api/v2/industries")).json()["data"] if one["slug"] == "banking_finance"]
    banking = await listed(client, industry=industry["id"])
    assert {one["industry"] for one in banking} == {"banking_finance"}
    assert len(banking) == ALL / 4 + 1
    narrowed = await listed(client, industry="banking_finance", situation="one_on_ones")
    assert {one["situation"] for one in narrowed} == {"one_on_ones"}
    assert own["id"] in {one["id"] for one in narrowed}
    assert len(narrowed) == 2
    for one in await listed(client, partner="senior_management", limit=100):
        assert one["partner"] == "senior_management"
    everything = await listed(client, limit=100)
    for level in LEVELS:
        fitting = [one["id"] for one in everything if one["cefr"]["lowest"] <= level <= one["cefr"]["highest"]]
        assert [one["id"] for one in await listed(client, level=level, limit=3)] == fitting
    assert [one["id"] for one in await listed(client, q="quentin FOR")] == [own["id"]]
    assert [one["id"] for one in await listed(client, q="quentin", level="A1")] == []
    title = everything[40]["title"]
    assert everything[40]["id"] in {one["id"] for one in await listed(client, q=title[3:-3].upper())}


async def test_a_search_looks_through_all_of_them_however_many_there_are(catalogued: Door, client: httpx.AsyncClient) -> None:
    copies = """
    INSERT INTO scenarios (id, slug, industry, situation, partner, version, available, body, created_at, updated_at)
    SELECT gen_random_uuid(), 'a_copy_' || n, industry, situation, partner, version, true, body, created_at, updated_at
    FROM scenarios, generate_series(1, 250) n WHERE slug = 'real_estate_interviews' RETURNING id
    """
    copied = await rows(catalogued.house, copies)
    own = await written(client)
    assert [one["id"] for one in await listed(client, q="quentin")] == [own["id"]]
    [original] = [one for one in await listed(client, situation="interviews") if one["slug"] == "real_estate_interviews"]
    found = await listed(client, q=original["title"], limit=100)
    assert {one["id"] for one in found} == {original["id"], *(str(row["id"]) for row in copied)}
    assert len(found) == 251


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"industry": "moon", "partner": "martians"}, {"/industry": "unknown", "/partner": "unknown"}),
        ({"level": "D9", "given": "perhaps"}, {"/level": "not_allowed", "/given": "type"}),
        ({"limit": "101"}, {"/limit": "out_of_range"}),
    ],
)
async def test_what_cannot_be_listed_by_is_named(client: httpx.AsyncClient, query: dict[str, str], fields: dict[str, str]) -> None:
    answer = await client.get(SCENARIOS, params=query)
    assert answer.status_code == 422
    assert wrong_fields(answer).keys() == fields.keys()


async def test_everything_but_how_it_is_played_can_be_read_by_id_or_slug(client: httpx.AsyncClient) -> None:
    slug = "real_estate_negotiations"
    answer = await client.get(f"{SCENARIOS}/{slug}")
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    [shipped] = [one for one in seeds.load_scenarios().scenarios if one.slug == slug]
    told = json.loads(msgspec.json.encode(shipped))
    script = told.pop("script")
    assert {name: found[name] for name in told} == told
    assert "script" not in found
    assert script["beats"][0]["say"] not in answer.text
    assert found["id"] == str(scenario_id(slug))
    assert answer.headers["ETag"] == f'"{shipped.version}"'
    by_id = await client.get(f"{SCENARIOS}/{found['id']}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (by_id.status_code, by_id.content) == (304, b"")
    assert (await client.get(f"{SCENARIOS}/{found['id']}")).json()["data"] == found


@pytest.mark.parametrize("ref", ["moon_walks", "0199a8a0-0000-7000-8000-000000000000", "%00", "a b"])
async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, ref: str) -> None:
    answer = await client.get(f"{SCENARIOS}/{ref}")
    assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_scenario")


async def test_ones_own_is_read_as_it_was_written_and_written_anew_by_its_version(client: httpx.AsyncClient) -> None:
    answer = await client.post(SCENARIOS, json=OWN)
    own = answer.json()["data"]
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    location = answer.headers["Location"]
    assert location == f"{SCENARIOS}/{own['id']}"
    read = await client.get(location)
    found = read.json()["data"]
    assert {name: found[name] for name in OWN} == KEPT
    assert (found["slug"], found["own"], found["version"], read.headers["ETag"]) == (None, True, 1, '"1"')
    changed = {**OWN, "title": "Asking again", "partner": None}
    stale = await client.put(location, json=changed, headers={"If-Match": '"4"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "request.stale")
    again = await client.put(location, json=changed, headers={"If-Match": '"1"'})
    assert (again.status_code, again.headers["ETag"], again.json()["data"]["version"]) == (200, '"2"', 2)
    found = (await client.get(location)).json()["data"]
    assert (found["title"], found["partner"], found["version"]) == ("Asking again", None, 2)


async def test_only_what_must_be_said_must_be_said(client: httpx.AsyncClient) -> None:
    least = {name: OWN[name] for name in ("title", "persona", "learner", "success_criteria", "cefr", "opening")}
    answer = await client.post(SCENARIOS, json=least)
    assert answer.status_code == 201, answer.text
    found = (await client.get(answer.headers["Location"])).json()["data"]
    assert (found["industry"], found["situation"], found["partner"], found["constraints"]) == (None, None, None, [])


async def test_the_same_request_again_writes_no_second_one(catalogued: Door, client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "0199a8a0-0000-7000-8000-000000000000"}
    first, second = [await client.post(SCENARIOS, json=OWN, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code, second.headers["Idempotent-Replayed"]) == (201, 201, "true")
    assert (first.json()["data"], first.headers["Location"]) == (second.json()["data"], second.headers["Location"])
    other = await client.post(SCENARIOS, json={**OWN, "title": "Another"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "request.idempotency_mismatch")
    assert await value(catalogued.house, "SELECT count(*) FROM scenarios WHERE owner IS NOT NULL") == 1


async def test_every_bad_field_is_named_at_once(client: httpx.AsyncClient) -> None:
    bad = {
        **OWN,
        "title": "   ",
        "script": {},
        "persona": {**OWN["persona"], "name": "x" * 121},
        "success_criteria": [*OWN["success_criteria"], {"id": "asks", "text": "Asks.", "any": ["raise", "pay"]}],
        "cefr": {"lowest": "C2", "highest": "A1"},
        "constraints": ["fine", ""],
    }
    del bad["opening"]
    answer = await client.post(SCENARIOS, json=bad)
    assert answer.status_code == 422
    assert wrong_fields(answer) == {
        "/title": "pattern",
        "/script": "unknown",
        "/persona/name": "too_long",
        "/success_criteria/1/id": "duplicate",
        "/cefr/lowest": "not_allowed",
        "/constraints/1": "too_short",
        "/opening": "missing",
    }
    strange = {"industry": "moon", "partner": "martians", "cefr": {"lowest": "C1", "highest": "B1"}}
    unheard = [{"id": "thanks", "text": "Thanks them.", "any": ["thank you", "谢谢", "?!"]}]
    for criteria in (unheard, [{**unheard[0], "any": ["thank you", "thanks"]}, {**unheard[0], "id": "again"}]):
        refused = await client.post(SCENARIOS, json={**OWN, "success_criteria": criteria})
        number = len(criteria) - 1
        assert wrong_fields(refused) == {f"/success_criteria/{number}/any/{place}": "not_allowed" for place in (1, 2)}
    unknown = await client.post(SCENARIOS, json={**OWN, **strange})
    assert wrong_fields(unknown) == {"/industry": "unknown", "/partner": "unknown", "/cefr/lowest": "not_allowed"}


async def test_nobody_sees_or_changes_what_others_wrote(catalogued: Door, client: httpx.AsyncClient) -> None:
    own = await written(client)
    other = await sign_up(catalogued.client, email="other@example.com")
    for answer in (
        await client.get(f"{SCENARIOS}/{own['id']}", headers=other.headers),
        await client.put(f"{SCENARIOS}/{own['id']}", json=OWN, headers={**other.headers, "If-Match": "*"}),
        await client.put(f"{SCENARIOS}/{scenario_id('real_estate_interviews')}", json=OWN),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_scenario")
    found = (await client.get(SCENARIOS, params={"limit": 100}, headers=other.headers)).json()["data"]
    assert len(found) == ALL
    assert "Quentin" not in json.dumps(found)


@pytest.mark.parametrize("path", [SCENARIOS, f"{SCENARIOS}/real_estate_interviews"])
async def test_nobody_reads_without_a_token(catalogued: Door, path: str) -> None:
    assert (await catalogued.client.get(path)).status_code == 401


async def test_more_are_asked_for_and_come_on_the_feed(catalogued: Door, client: httpx.AsyncClient, learner: Person) -> None:
    early = await client.post(REQUESTS, json={})
    assert (early.status_code, early.json()["code"]) == (409, "practice.profile_missing")
    await complete(client)
    harness = harness_of(catalogued.house)
    await harness.settle()
    answer = await client.post(REQUESTS, json={})
    assert answer.status_code == 202
    asked = answer.json()["data"]
    assert (asked["count"], asked["stream"]) == (3, "/api/v2/events")
    await harness.settle()
    query = "SELECT e.name, e.data FROM feed f JOIN events e ON e.id = f.event WHERE f.subject = $1 ORDER BY f.position"
    told = await rows(catalogued.house, query, learner.id)
    practice = [(row["name"], row["data"]) for row in told if row["name"].startswith("practice.")]
    assert [name for name, _ in practice] == ["practice.scenarios_given", "practice.scenarios_requested", "practice.scenarios_given"]
    assert practice[1][1] == {"account": str(learner.id), "request": asked["request"], "count": 3}
    assert (practice[2][1]["request"], practice[2][1]["first"]) == (asked["request"], False)
    chosen = [one["id"] for one in await listed(client, given=True)]
    assert chosen == practice[0][1]["scenarios"] + practice[2][1]["scenarios"]
    assert len(chosen) == 8


async def test_the_same_request_for_more_is_one_request(catalogued: Door, client: httpx.AsyncClient) -> None:
    await complete(client)
    key = {"Idempotency-Key": "0199a8a0-0000-7000-8000-000000000000"}
    answers = [await client.post(REQUESTS, json={"count": 2}, headers=key) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["data"]["request"] for answer in answers}) == 1
    await harness_of(catalogued.house).settle()
    assert len(await listed(client, given=True)) == 7


@pytest.mark.parametrize("body", [{"count": 0}, {"count": 11}, {"count": "3"}, {"many": 3}])
async def test_a_request_for_none_or_too_many_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await client.post(REQUESTS, json=body)).status_code == 422


@pytest.fixture
async def operator(catalogued: Door) -> httpx.AsyncClient:
    catalogued.client.headers.update((await sign_in_admin(catalogued)).headers)
    return catalogued.client


async def brought(client: httpx.AsyncClient, file: object, **headers: str) -> httpx.Response:
    content = file if isinstance(file, bytes) else msgspec.json.encode(file)
    return await client.post(IMPORT, content=content, headers={"Content-Type": "application/json", **headers})


async def test_an_export_has_everything_and_bringing_it_back_changes_nothing(catalogued: Door, operator: httpx.AsyncClient) -> None:
    answer = await operator.get(EXPORT)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="scenarios.json"'
    assert answer.headers["Content-Type"] == "application/json"
    taken = msgspec.json.decode(answer.content, type=list[Scenario])
    assert taken == sorted(seeds.load_scenarios().scenarios, key=lambda one: one.slug)
    before = await rows(catalogued.house, "SELECT * FROM scenarios ORDER BY id")
    back = await brought(operator, answer.content)
    assert (back.status_code, back.json()["data"]) == (200, {"added": 0, "changed": 0, "unchanged": ALL})
    assert await rows(catalogued.house, "SELECT * FROM scenarios ORDER BY id") == before


async def test_what_is_brought_in_is_there_for_everybody(catalogued: Door, operator: httpx.AsyncClient) -> None:
    [first, second, *_] = (await operator.get(EXPORT)).json()
    file = [{**first, "slug": "brand_new", "title": "Brand new"}, {**second, "title": "Changed", "version": 2}]
    answer = await brought(operator, file)
    assert (answer.status_code, answer.json()["data"]) == (200, {"added": 1, "changed": 1, "unchanged": 0})
    other = await sign_up(catalogued.client, email="other@example.com")
    found = await operator.get(f"{SCENARIOS}/brand_new", headers=other.headers)
    assert found.json()["data"]["title"] == "Brand new"
    changed = await operator.get(f"{SCENARIOS}/{second['slug']}", headers=other.headers)
    assert (changed.json()["data"]["title"], changed.headers["ETag"]) == ("Changed", '"2"')
    events = await rows(catalogued.house, "SELECT data, meta FROM events WHERE name = 'practice.scenarios_imported'")
    assert [(row["data"], UUID(row["meta"]["actor"]["id"])) for row in events] == [({"added": 1, "changed": 1}, await _admin(catalogued))]


async def _admin(door: Door) -> UUID:
    return await value(door.house, "SELECT id FROM accounts WHERE email = 'operator@example.com'")


async def test_all_problems_are_named_by_their_rows_and_nothing_is_imported(catalogued: Door, operator: httpx.AsyncClient) -> None:
    [first, second, *_] = (await operator.get(EXPORT)).json()
    beats = first["script"]["beats"]
    file = [
        {**first, "slug": "fine"},
        {**first, "slug": "Bad Slug", "titel": "x", "cefr": {"lowest": "B9", "highest": "C1"}},
        {**second, "title": "Changed without a higher version"},
        {**first, "slug": "short", "script": {**first["script"], "beats": beats[:1]}, "situation": "moon_walks"},
        {**first, "slug": "unheard", "success_criteria": [{**first["success_criteria"][0], "any": [*beats[0]["expects"], "谢谢"]}]},
        "no scenario",
    ]
    answer = await brought(operator, file)
    assert answer.status_code == 422
    found = wrong_fields(answer)
    assert {
        "/rows/2/slug": "pattern",
        "/rows/2/titel": "unknown",
        "/rows/2/cefr/lowest": "not_allowed",
        "/rows/3/version": "out_of_range",
        "/rows/4/situation": "unknown",
        "/rows/4/script/beats": "invalid",
        f"/rows/5/success_criteria/0/any/{len(beats[0]['expects'])}": "invalid",
        "/rows/6": "type",
    }.items() <= found.items()
    assert not any(field.startswith("/rows/1") for field in found)
    assert await value(catalogued.house, "SELECT count(*) FROM scenarios") == ALL


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"[", 400), (b"{}", 422), (b"[1]", 422), (b"[]", 200), (b"[" + b" " * 9_000_000 + b"]", 413)]
)
async def test_a_file_that_is_none_is_refused(operator: httpx.AsyncClient, content: bytes, status: int) -> None:
    answer = await brought(operator, content)
    assert answer.status_code == status, answer.text


async def test_only_admins_take_out_and_bring_in(client: httpx.AsyncClient) -> None:
    assert (await client.get(EXPORT)).status_code == 403
    assert (await brought(client, [])).status_code == 403


async def test_a_scenario_that_no_budget_would_hold_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v2/scenarios", json={**OWN, "constraints": ["慢" * 590 for _ in range(10)]})
    assert answer.status_code == 422
    assert "too long" in answer.json()["detail"]


async def test_a_conversation_is_exported_with_the_scenario_that_it_began_with(client: httpx.AsyncClient) -> None:
    own = await written(client)
    begun = await client.post("/api/v2/conversations", json={"scenario": own["id"]})
    changed = {**OWN, "title": "Another title", "persona": {**OWN["persona"], "name": "Henrietta"}}
    assert (await client.put(f"{SCENARIOS}/{own['id']}", json=changed)).status_code == 200
    again = await client.post("/api/v2/conversations", json={"scenario": own["id"]})
    exported = [(await client.get(f"{one.headers['Location']}/export", params={"format": "markdown"})).text for one in (begun, again)]
    assert [("Quentin" in text, "Henrietta" in text) for text in exported] == [(True, False), (False, True)]


async def test_how_a_learner_calls_their_own_criteria_is_told_to_nobody(catalogued: Door, client: httpx.AsyncClient) -> None:
    """What was met is told in the clear: on streams, on the feed and to operators."""
    own = await written(
        client,
        success_criteria=[
            {"id": "mentions_quentins_divorce", "text": "Asks for more.", "any": ["raise", "more pay"]},
            {"id": "my_raise_was_refused", "text": "Says when.", "any": ["in may", "in june"]},
        ],
    )
    home = (await client.post("/api/v2/conversations", json={"scenario": own["id"]})).headers["Location"]
    assert (await client.post(f"{home}/turns", json={"text": "I would like a raise of some kind, please."})).status_code == 202
    await catalogued.house.turns().settled()
    await harness_of(catalogued.house).settle()
    assert (await client.post(f"{home}/end")).status_code == 200
    await harness_of(catalogued.house).settle()
    criteria = (await client.get(f"{SCENARIOS}/{own['id']}")).json()["data"]["success_criteria"]
    assert [(one["id"], one["text"]) for one in criteria] == [("c1", "Asks for more."), ("c2", "Says when.")]
    answer = await client.get(home)
    found = answer.json()["data"]
    assert (found["met"], found["report"]["met"], found["report"]["missed"]) == (["c1"], ["c1"], ["c2"])
    told = [*await rows(catalogued.house, "SELECT data::text AS text FROM events"), *await rows(catalogued.house, LOGGED)]
    redis: Any = await catalogued.house.streams.redis()
    shown = [str([row["text"] for row in told]), answer.text, *[str(await redis.xrange(key)) async for key in redis.scan_iter("events.*")]]
    assert "practice.turn_completed" in str(shown)
    assert not any(word in text for text in shown for word in ("quentins", "refused"))
