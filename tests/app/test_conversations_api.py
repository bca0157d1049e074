"""Conversations over HTTP: what a learner says, what they are answered, and every way back."""

import asyncio
import math
from typing import Any

import httpx
import msgspec
import pytest

from app.bootstrap import House, Ports
from app.settings import Settings
from bus.message import SYSTEM
from db.seeds import load_scenarios
from domain.practice.commands import SeedScenarios
from handlers.practice.keeping import FACTS, SUMMARY
from tests.app import client as clients
from tests.app.client import Door, Person, sign_up, wrong_fields
from tests.support import HandClock, ScriptedMailer, harness_of, rows, value

CONVERSATIONS = "/api/v2/conversations"
SCENARIO = "real_estate_negotiations"
WRONG_SETTINGS = {"/scenario", "/settings/feedback", "/settings/explanation_language"}


@pytest.fixture
async def practising(catalogued: Door) -> Door:
    await catalogued.house.bus.execute(SeedScenarios(), by=SYSTEM)
    return catalogued


async def started(door: Door, person: Person, scenario: str = SCENARIO, **settings: str) -> str:
    body = {"scenario": scenario, "settings": settings}
    answer = await door.client.post(CONVERSATIONS, json=body, headers=person.headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"{CONVERSATIONS}/{answer.json()['data']['conversation']}"
    return answer.headers["Location"]


async def said(door: Door, person: Person, home: str, text: str) -> str:
    """A turn, and the partner's answer to it."""
    answer = await door.client.post(f"{home}/turns", json={"text": text}, headers=person.headers)
    assert answer.status_code == 202, answer.text
    await answered(door.house)
    return answer.json()["data"]["turn_id"]


async def answered(house: House) -> None:
    """Everything that waits is answered, coached and reported."""
    await house.turns().settled()
    await harness_of(house).settle()


async def read(door: Door, person: Person, home: str, **query: str) -> dict[str, Any]:
    answer = await door.client.get(home, params=query, headers=person.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def everything(door: Door, person: Person, path: str, limit: int) -> list[dict[str, Any]]:
    """A list, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        answer = await door.client.get(path, params=query, headers=person.headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        if (cursor := page["meta"]["page"]["next_cursor"]) is None:
            assert 0 < len(page["data"]) <= limit
            return found
        assert len(page["data"]) == limit
        query["cursor"] = cursor


async def post(door: Door, person: Person, path: str, body: object = None) -> httpx.Response:
    return await door.client.post(path, json=body, headers=person.headers)


async def test_a_turn_is_answered_coached_and_kept(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    turn = await said(practising, person, home, "We would like a discount of five per cent, because she work with you for years.")
    found = await read(practising, person, home)
    [shown] = found["turns"]
    assert (shown["id"], shown["status"], found["phase"], found["can_undo"]) == (turn, "answered", "idle", True)
    assert shown["answer"]
    assert shown["model"].startswith("scripted")
    assert [span["correction"] for span in shown["feedback"]] == ["works"]
    assert [row["outcome"] for row in await rows(practising.house, "SELECT outcome FROM model_calls")] == ["answered"]
    assert await value(practising.house, "SELECT sum(reserved)::int FROM token_budgets") == 0


async def test_undo_takes_back_all_that_came_of_a_turn_and_redo_brings_it_again(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, "I would like to talk about the price, please.")
    before = await read(practising, person, home)
    await said(practising, person, home, "He want a lower price because the flat is old.")
    after = await read(practising, person, home)
    undone = await post(practising, person, f"{home}/undo")
    assert undone.status_code == 200, undone.text
    found = await read(practising, person, home)
    assert scene(found) == scene(before)
    assert (found["can_redo"], found["tokens_out"]) == (True, after["tokens_out"])
    assert (await post(practising, person, f"{home}/redo")).status_code == 200
    assert scene(await read(practising, person, home)) == scene(after)
    assert (await post(practising, person, f"{home}/redo")).json()["code"] == "practice.nothing_to_redo"
    for _ in range(2):
        await post(practising, person, f"{home}/undo")
    nothing = await post(practising, person, f"{home}/undo")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "practice.nothing_to_undo")
    await said(practising, person, home, "Let me begin again with the price of this flat.")
    assert (await read(practising, person, home))["can_redo"] is False


async def test_a_conversation_is_read_as_it_was_at_any_version_or_time(practising: Door, clock: HandClock) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    began = clock()
    clock.move(minutes=5)
    await said(practising, person, home, "I would like to talk about the price, please.")
    last = await read(practising, person, home)
    versions = await everything(practising, person, f"{home}/versions", limit=3)
    assert [one["version"] for one in versions] == list(range(1, last["version"] + 1))
    assert [one["type"] for one in versions][:3] == ["practice.conversation_started", "practice.turn_accepted", "practice.attempt_started"]
    statuses = [[turn["status"] for turn in (await read(practising, person, home, at=str(one["version"])))["turns"]] for one in versions]
    assert statuses[:4] == [[], ["waiting"], ["running"], ["answered"]]
    assert (await read(practising, person, home, at=began.isoformat().replace("+00:00", "Z")))["turns"] == []
    assert await read(practising, person, home, at=clock().isoformat().replace("+00:00", "Z")) == last
    edges = ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59")
    for status, asked in {
        404: ("99", "0", "2000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        422: ("yesterday", "2026-01-01T00:00:00", *edges),
        200: ("9999-12-31T23:59:59Z",),
    }.items():
        for at in asked:
            answer = await practising.client.get(home, params={"at": at}, headers=person.headers)
            assert answer.status_code == status, at


async def test_a_fork_goes_its_own_way(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, "I would like to talk about the price, please.")
    middle = await read(practising, person, home)
    await said(practising, person, home, "The price is too high for a flat of that age.")
    parent = await read(practising, person, home)
    forked = await post(practising, person, f"{home}/forks", {"at_version": middle["version"]})
    assert forked.status_code == 201, forked.text
    child = forked.headers["Location"]
    found = await read(practising, person, child)
    assert scene(found) == scene(middle)
    told = await everything(practising, person, f"{child}/versions", limit=2)
    assert ([one["version"] for one in told], told[-1]["type"]) == (list(range(1, middle["version"] + 2)), "practice.conversation_forked")
    assert (found["parent"], found["parent_version"], found["tokens_out"]) == (parent["id"], middle["version"], 0)
    await said(practising, person, child, "Something quite different, if I may say so.")
    assert await read(practising, person, home) == parent
    assert (await post(practising, person, f"{home}/forks", {"at_version": 999})).status_code == 404
    assert (await practising.client.delete(home, headers=person.headers)).status_code == 204
    assert (await practising.client.get(home, headers=person.headers)).status_code == 404
    assert len((await read(practising, person, child))["turns"]) == 2


async def test_a_fork_shows_its_past_as_its_own(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, "I would like to talk about the price, please.")
    begun = await read(practising, person, home, at="1")
    fork = (await post(practising, person, f"{home}/forks", {"at_version": 3})).headers["Location"]
    middle = await read(practising, person, fork)
    youngest = (await post(practising, person, f"{fork}/forks", {"at_version": 1})).headers["Location"]
    child = await read(practising, person, youngest)
    assert (child["parent"], child["parent_version"], child["turns"]) == (middle["id"], 1, [])
    assert (await practising.client.delete(home, headers=person.headers)).status_code == 204
    own = {name: middle[name] for name in ("id", "parent", "parent_version")}
    assert await read(practising, person, fork, at="1") == {**begun, **own}
    assert await read(practising, person, youngest, at="1") == {**begun, **{name: child[name] for name in own}}


async def test_a_fork_knows_the_calls_that_were_made_before_it(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    turn = await said(practising, person, home, "I would like to talk about the price, please.")
    answer = (await read(practising, person, home))["turns"][0]["answer"]

    async def attempts(place: str, of: str = turn) -> list[tuple[str, int, str, str]]:
        found = await practising.client.get(f"{place}/turns/{of}/attempts", headers=person.headers)
        assert found.status_code == 200, found.text
        return [(one["purpose"], one["attempt"], one["outcome"], one["text"]) for one in found.json()["data"]]

    first = ("partner", 1, "answered", answer)
    forks = [(await post(practising, person, f"{home}/forks", {"at_version": version})).headers["Location"] for version in (1, 2, 4)]
    forks.append((await post(practising, person, f"{forks[2]}/forks", {"at_version": 4})).headers["Location"])
    assert (await post(practising, person, f"{home}/retry")).status_code == 202
    await answered(practising.house)
    later = await said(practising, person, home, "The price is too high for a flat of that age.")
    assert len(await attempts(home)) == 2
    for fork, known in zip(forks[1:], ([], [first], [first]), strict=True):
        assert [one["id"] for one in (await read(practising, person, fork))["turns"]] == [turn]
        assert await attempts(fork) == known
        assert (await post(practising, person, f"{fork}/retry")).status_code == 202
        await answered(practising.house)
        again = (await read(practising, person, fork))["turns"][0]["answer"]
        assert await attempts(fork) == [*known, ("partner", len(known) + 1, "answered", again)]
    for fork, of in ((forks[0], turn), (forks[2], later)):
        missing = await practising.client.get(f"{fork}/turns/{of}/attempts", headers=person.headers)
        assert (missing.status_code, missing.json()["code"]) == (404, "practice.unknown_turn")


async def test_the_scene_ends_with_the_partners_last_words_and_a_report(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    scenario = next(one for one in load_scenarios().scenarios if one.slug == SCENARIO)
    assert scenario.script is not None
    for text in [*(beat.example for beat in scenario.script.beats), scenario.script.closing.example]:
        await said(practising, person, home, text)
    found = await read(practising, person, home)
    assert (found["ended"], found["turns"][-1]["answer"]) == ("partner", scenario.script.closing.reached)
    report = found["report"]
    assert (report["goal_reached"], found["score"]) == (True, report["score"])
    texts = {turn["id"]: turn["text"] for turn in found["turns"]}
    assert all(point["quote"] in texts[point["turn"]] for point in [*report["went_well"], *report["to_work_on"]])
    assert found["recommended"]
    over = await post(practising, person, f"{home}/turns", {"text": "One more thing."})
    assert (over.status_code, over.json()["code"]) == (409, "practice.scene_over")
    await post(practising, person, f"{home}/undo")
    again = await read(practising, person, home)
    assert (again["ended"], again["report"], again["score"], again["recommended"]) == (None, None, None, [])


async def test_a_learner_may_end_the_scene_and_take_that_back(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person, feedback="after_scene")
    nothing = await post(practising, person, f"{home}/end")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "practice.nothing_to_end")
    await said(practising, person, home, "She want to see the flat again on Friday morning.")
    assert (await read(practising, person, home))["turns"][0]["feedback"] is None
    assert (await post(practising, person, f"{home}/end")).json()["data"]["phase"] == "idle"
    await answered(practising.house)
    found = await read(practising, person, home)
    assert (found["ended"], found["report"]["goal_reached"], found["mistakes"]) == ("learner", False, 1)
    over = await post(practising, person, f"{home}/retry")
    assert (over.status_code, over.json()["code"]) == (409, "practice.scene_over")
    await post(practising, person, f"{home}/undo")
    assert (await read(practising, person, home))["ended"] is None


async def test_while_the_partner_answers_another_turn_is_refused_or_queued(practising: Door) -> None:
    person = await sign_up(practising.client)
    strict, patient = await started(practising, person), await started(practising, person, while_busy="queue")
    for home, expected in ((strict, [202, 409, 409]), (patient, [202, 202, 202])):
        sent = [await post(practising, person, f"{home}/turns", {"text": f"The price of the flat, number {n}."}) for n in range(3)]
        assert [answer.status_code for answer in sent] == expected
    assert [answer.json()["data"]["queued"] for answer in sent] == [False, True, True]
    await answered(practising.house)
    assert [turn["status"] for turn in (await read(practising, person, strict))["turns"]] == ["answered"]
    found = await read(practising, person, patient)
    assert [(turn["status"], turn["text"][-2]) for turn in found["turns"]] == [("answered", str(n)) for n in range(3)]
    assert len({turn["answer"] for turn in found["turns"]}) == 3


async def test_a_turn_that_waits_is_stopped_and_answered_when_it_is_asked_for_again(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    assert (await post(practising, person, f"{home}/stop")).json()["code"] == "practice.nothing_to_stop"
    assert (await post(practising, person, f"{home}/retry")).json()["code"] == "practice.nothing_to_retry"
    turn = (await post(practising, person, f"{home}/turns", {"text": "The price of the flat, please."})).json()["data"]["turn_id"]
    assert (await post(practising, person, f"{home}/stop")).json()["data"]["phase"] == "idle"
    await answered(practising.house)
    assert (await read(practising, person, home))["turns"][0]["status"] == "stopped"
    retried = await post(practising, person, f"{home}/retry")
    assert (retried.status_code, retried.json()["data"]["turn_id"]) == (202, turn)
    await answered(practising.house)
    [shown] = (await read(practising, person, home))["turns"]
    assert (shown["status"], shown["attempt"]) == ("answered", 2)
    attempts = (await practising.client.get(f"{home}/turns/{turn}/attempts", headers=person.headers)).json()["data"]
    assert [(one["outcome"], one["text"]) for one in attempts] == [("orphaned", ""), ("answered", shown["answer"])]


async def test_tokens_are_spent_once_however_many_ask_at_a_time(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> None:
    """Room for three answers at a time in a day, and none is ever given twice."""
    reserved = settings.tokens_of_context + FACTS + SUMMARY + settings.tokens_per_answer
    scarce = msgspec.structs.replace(settings, tokens_per_day=3 * reserved, scripted_pace=0.0)
    async with clients.door(scarce, Ports(clock=clock, mailer=mailer)) as door:
        await door.house.bus.execute(SeedScenarios(), by=SYSTEM)
        person = await sign_up(door.client)
        homes = [await started(door, person) for _ in range(8)]
        sent = await asyncio.gather(*(post(door, person, f"{home}/turns", {"text": "The price, please, of the flat."}) for home in homes))
        assert sorted(answer.status_code for answer in sent) == [202] * 3 + [429] * 5
        refused = next(answer for answer in sent if answer.status_code == 429)
        assert (refused.json()["code"], int(refused.headers["Retry-After"]) > 0) == ("practice.budget_spent", True)
        await answered(door.house)
        spent = await value(door.house, "SELECT sum(tokens_in + tokens_out)::int FROM model_calls")
        left = await rows(door.house, "SELECT reserved, spent FROM token_budgets WHERE scope LIKE 'day:%'")
        assert left == [{"reserved": 0, "spent": spent}]


@pytest.mark.parametrize("scope", ["conversation", "day"])
async def test_who_has_no_tokens_is_told_whether_and_how_long_to_wait(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer, scope: str
) -> None:
    """Room for one answer: while it is given the tokens are not spent yet, and afterwards there may be some again."""
    room = settings.tokens_of_context + FACTS + SUMMARY + settings.tokens_per_answer
    scarce = msgspec.structs.replace(settings, **{f"tokens_per_{scope}": room})
    async with clients.door(scarce, Ports(clock=clock, mailer=mailer)) as door:
        await door.house.bus.execute(SeedScenarios(), by=SYSTEM)
        person = await sign_up(door.client)
        home = await started(door, person, while_busy="queue")
        turn = {"text": "The price, please, of the flat."}
        assert (await post(door, person, f"{home}/turns", turn)).status_code == 202
        held = await post(door, person, f"{home}/turns", turn)
        assert (held.status_code, held.json()["code"]) == (429, "practice.budget_spent")
        assert ("being given" in held.json()["detail"], "Fork" in held.json()["detail"]) == (True, False)
        assert 1 <= int(held.headers["Retry-After"]) <= 10
        await answered(door.house)
        await rows(door.house, "UPDATE token_budgets SET spent = $2 WHERE scope LIKE $1 || ':%' RETURNING 1", scope, room)
        spent = await post(door, person, f"{home}/turns", turn)
        assert (spent.status_code, "are spent" in spent.json()["detail"]) == (429, True)
        midnight = 86_400 - (clock() - clock().replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        assert spent.headers.get("Retry-After") == (None if scope == "conversation" else str(math.ceil(midnight)))


async def test_a_conversation_is_renamed_archived_and_listed(practising: Door) -> None:
    person, other = await sign_up(practising.client), await sign_up(practising.client, email="grace@example.com")
    homes = [await started(practising, person) for _ in range(3)]
    renamed = await practising.client.patch(homes[1], json={"title": "  The   flat ", "archived": True}, headers=person.headers)
    assert (renamed.status_code, renamed.headers["ETag"]) == (200, '"3"')
    stale = await practising.client.patch(homes[1], json={"title": "x"}, headers={**person.headers, "If-Match": '"2"'})
    assert stale.status_code == 412
    pages = await practising.client.get(CONVERSATIONS, params={"limit": 2}, headers=person.headers)
    cursor = pages.json()["meta"]["page"]["next_cursor"]
    rest = await practising.client.get(CONVERSATIONS, params={"limit": 2, "cursor": cursor}, headers=person.headers)
    listed = [*pages.json()["data"], *rest.json()["data"]]
    assert (len(listed), len({one["id"] for one in listed})) == (3, 3)
    assert [one["title"] for one in listed if one["archived"]] == ["The flat"]
    archived = await post(practising, person, f"{homes[1]}/turns", {"text": "Hello, is anybody there?"})
    assert (archived.status_code, archived.json()["code"]) == (409, "practice.archived")
    known = await practising.client.get(homes[0], headers={**person.headers, "If-None-Match": '"1"'})
    assert known.status_code == 304
    for method, path in (("GET", ""), ("GET", "/versions"), ("GET", "/export"), ("GET", "/events"), ("POST", "/stop"), ("DELETE", "")):
        answer = await practising.client.request(method, f"{homes[0]}{path}", headers=other.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_conversation"), path
    assert (await practising.client.get(CONVERSATIONS, headers=other.headers)).json()["data"] == []


async def test_what_was_said_can_be_taken_along(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, "I would like *five* per cent off <b>the price</b>, please.")
    for form, media, has in (
        ("json", "application/json", '"text": "I would like *five* per cent off <b>the price</b>, please."'),
        ("markdown", "text/markdown", "**Learner:** I would like \\*five\\* per cent off \\<b\\>the price\\</b\\>, please."),
        ("vtt", "text/vtt", "<v Learner>I would like *five* per cent off &lt;b&gt;the price&lt;/b&gt;, please."),
    ):
        answer = await practising.client.get(f"{home}/export", params={"format": form}, headers=person.headers)
        assert answer.headers["Content-Type"].startswith(media)
        assert has in answer.text
    assert '"script": null' in (await practising.client.get(f"{home}/export", headers=person.headers)).text


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("", {"scenario": "nothing_like_it"}, {"/scenario"}),
        (
            "",
            {"settings": {"feedback": "loud", "explanation_language": "!"}},
            {"/scenario", "/settings/feedback", "/settings/explanation_language"},
        ),
        ("", {"scenario": SCENARIO, "settings": {"explanation_language": "en\n"}}, {"/settings/explanation_language"}),
        ("/turns", {"text": "   "}, {"/text"}),
        ("/turns", {"text": "a\0b"}, {"/text"}),
        ("/turns", {"text": "x" * 2001, "more": 1}, {"/text", "/more"}),
        ("/forks", {"at_version": 0}, {"/at_version"}),
    ],
)
async def test_what_cannot_be_done_is_named_field_by_field(practising: Door, path: str, body: object, pointers: set[str]) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person) if path else CONVERSATIONS
    answer = await post(practising, person, f"{home}{path}", body)
    assert (answer.status_code, set(wrong_fields(answer))) == (422, pointers)


async def test_the_same_turn_sent_twice_is_said_once(practising: Door) -> None:
    person = await sign_up(practising.client)
    home = await started(practising, person)
    headers = {**person.headers, "Idempotency-Key": "turn-1"}
    sent = [
        await practising.client.post(f"{home}/turns", json={"text": "The price, please, of the flat."}, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in sent] == [202, 202]
    assert sent[0].json()["data"] == sent[1].json()["data"]
    assert sent[1].headers["Idempotent-Replayed"] == "true"
    await answered(practising.house)
    assert len((await read(practising, person, home))["turns"]) == 1


async def test_no_word_of_a_learner_or_partner_lies_open_anywhere(practising: Door) -> None:
    """Tables, streams of Redis, and what a stranger may read of either."""
    person = await sign_up(practising.client)
    home = await started(practising, person)
    await said(practising, person, home, "He want a quincunx of the price, and so did my zymurgist.")
    await practising.client.patch(home, json={"title": "About the quincunx"}, headers=person.headers)
    await post(practising, person, f"{home}/end")
    await answered(practising.house)
    answer = (await read(practising, person, home))["turns"][0]["answer"]
    tables = await rows(practising.house, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    for table in (row["name"] for row in tables if row["name"] != "scenarios"):
        shown = " ".join(row["row"] for row in await rows(practising.house, f"SELECT t::text AS row FROM {table} t"))  # noqa: S608 - a name out of the catalog of tables
        for secret in ("quincunx", "zymurgist", answer):
            assert secret not in shown, table
            assert secret.encode().hex() not in shown, table
    redis: Any = await practising.house.streams.redis()
    kept = [str(await redis.xrange(key)) async for key in redis.scan_iter("events.*")]
    assert kept
    assert not any(secret in text for text in kept for secret in ("quincunx", "zymurgist"))
    assert not any('"text"' in text or "spans" in text for text in kept if "practice." in text)


def scene(view: dict[str, Any]) -> dict[str, Any]:
    return {name: view[name] for name in ("turns", "ended", "met", "mistakes", "score", "report", "recommended", "summary")}
