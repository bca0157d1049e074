"""What somebody wrote is erased with their key, and nothing else is."""

from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from app.state.verification import Verification
from tests.app.client import Door, Person, sign_in_admin, sign_up
from tests.app.test_conversations_api import CONVERSATIONS, answered, practising, read, said, started
from tests.app.test_scenarios_api import OWN, SCENARIOS
from tests.support import HandClock, audited, harness_of, rows, seal, value

__all__ = ["practising"]

ADMIN = "/api/v2/admin/conversations"
WORDS = "We would like a discount of five per cent, because she work with you for years."


async def test_without_their_key_nobody_reads_what_a_learner_wrote_and_the_audit_still_holds(practising: Door) -> None:
    house = practising.house
    learner, other = await sign_up(practising.client), await sign_up(practising.client, email="bea@example.com")
    home, elsewhere = await started(practising, learner), await started(practising, other)
    for person, place in ((learner, home), (other, elsewhere)):
        await said(practising, person, place, WORDS)
    assert (await read(practising, learner, home))["turns"][0]["text"] == WORDS
    await harness_of(house).settle()
    await seal(house)
    held, positions = await audited(house)
    assert held
    kept = await rows(
        house, "SELECT e.personal FROM events e JOIN feed f ON f.event = e.id WHERE e.personal IS NOT NULL AND position <= $1", positions
    )
    assert len(kept) >= 4
    await rows(house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.id)
    gone = await practising.client.get(home, headers=learner.headers)
    assert gone.status_code == 404, gone.text
    assert WORDS not in gone.text
    assert (await read(practising, other, elsewhere))["turns"][0]["text"] == WORDS
    assert await audited(house) == (True, positions)


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody had when their texts were erased: a scenario of their own, a scene in it that waits for an answer, and another scene
    with an answer, a fork, and something to redo. `new` is what they have begun since.
    """

    learner: Person
    scenario: str
    waiting: str
    talked: str
    fork: str
    turn: str
    new: str | None


@pytest.fixture(params=[False, True], ids=["without a key", "with another key"])
async def past(practising: Door, clock: HandClock, request: pytest.FixtureRequest) -> Past:
    client, house = practising.client, practising.house
    learner = await sign_up(client)
    written = await client.post(SCENARIOS, json=OWN, headers=learner.headers)
    scenario = written.json()["data"]["id"]
    talked = await started(practising, learner, feedback="after_turn")
    turn = await said(practising, learner, talked, WORDS)
    await said(practising, learner, talked, "I would like to think about that.")
    for path, body in (("/undo", None), ("/forks", {"at_version": 4})):
        done = await client.post(talked + path, json=body, headers=learner.headers)
        assert done.is_success, done.text
    fork = done.headers["Location"]
    changes = ((client.patch, "", {"title": "About the discount", "support": True}), (client.put, "/draft", {"text": "Could we"}))
    for send, path, change in changes:
        kept = await send(talked + path, json=change, headers=learner.headers)
        assert kept.status_code == 200, kept.text
    waiting = await started(practising, learner, scenario)
    await client.post(f"{waiting}/turns", json={"text": WORDS}, headers=learner.headers)
    await rows(house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.id)
    clock.move(minutes=1)
    new = await started(practising, learner) if request.param else None
    return Past(learner=learner, scenario=scenario, waiting=waiting, talked=talked, fork=fork, turn=turn, new=new)


async def test_what_was_erased_is_in_no_list_and_lists_are_whole(practising: Door, past: Past) -> None:
    async def listed(path: str, **query: Any) -> list[str]:
        answer = await practising.client.get(path, params={"limit": 100, **query}, headers=past.learner.headers)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    new = [] if past.new is None else [past.new.rpartition("/")[2]]
    assert await listed(CONVERSATIONS) == new
    assert await listed(CONVERSATIONS, archived=False) == new
    assert await listed(SCENARIOS, own=True) == []
    everybodys = await listed(SCENARIOS)
    assert everybodys
    assert past.scenario not in everybodys


async def test_what_was_erased_is_unknown_whatever_is_asked_of_it(practising: Door, past: Past) -> None:
    client, kept = practising.client, "SELECT stream, version FROM events WHERE stream LIKE 'practice-%' ORDER BY 1, 2"
    happened = await rows(practising.house, kept)
    for home in (past.talked, past.waiting, past.fork):
        asked: list[tuple[str, str, object]] = [
            *(("GET", path, None) for path in ("", "?at=1", "?at=2020-01-01T00:00:00Z", "/versions", f"/turns/{past.turn}/attempts")),
            *(("GET", f"/export?format={name}", None) for name in ("json", "markdown", "vtt")),
            *(("GET", path, None) for path in ("/draft", "/events", "/events?last_event_id=0")),
            *(("POST", f"/{action}", None) for action in ("stop", "retry", "undo", "redo", "end")),
            ("POST", "/turns", {"text": "Hello"}),
            ("POST", "/forks", {"at_version": 1}),
            ("PUT", "/draft", {"text": "Hello"}),
            ("PATCH", "", {"title": "Another one"}),
            ("DELETE", "/draft", None),
            ("DELETE", "", None),
        ]
        for method, path, body in asked:
            answer = await client.request(method, home + path, json=body, headers=past.learner.headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_conversation"), (method, path, answer.text)
    for method, body in (("GET", None), ("PUT", OWN)):
        answer = await client.request(method, f"{SCENARIOS}/{past.scenario}", json=body, headers=past.learner.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_scenario"), (method, answer.text)
    begun = await client.post(CONVERSATIONS, json={"scenario": past.scenario}, headers=past.learner.headers)
    assert (begun.status_code, [error["field"] for error in begun.json()["errors"]]) == (422, ["/scenario"])
    assert await rows(practising.house, kept) == happened


async def test_who_waited_for_an_answer_is_given_none_and_no_worker_stumbles_over_it(practising: Door, past: Past) -> None:
    house = practising.house
    with capture_logs() as logs:
        await answered(house)
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []
    failed = "SELECT data->>'code' AS code FROM events WHERE stream = $1 AND name = 'practice.turn_failed'"
    stream = f"practice-{past.waiting.rpartition('/')[2]}"
    assert [row["code"] for row in await rows(house, failed, stream)] == ["practice.erased"]
    assert await house.log.waiting(10, now=house.clock()) == []
    assert await value(house, "SELECT sum(reserved)::int FROM token_budgets") == 0


async def test_those_who_operate_the_installation_still_see_that_it_was_there(practising: Door, past: Past) -> None:
    house, client = practising.house, practising.client
    await answered(house)
    operator = await sign_in_admin(practising)

    async def seen(path: str = "") -> httpx.Response:
        answer = await client.get(ADMIN + path, headers=operator.headers)
        assert answer.status_code == 200, answer.text
        return answer

    identity = past.talked.rpartition("/")[2]
    assert identity in [one["id"] for one in (await seen()).json()["data"]]
    shown = await seen(f"/{identity}")
    assert (shown.json()["data"]["shared"], WORDS in shown.text) == (False, False)
    assert (await seen(f"/{identity}/versions")).json()["data"]
    verification = Verification(house.reads.conversations_admin, kept=timedelta(days=30), now=house.clock())
    assert (await verification.everything()).findings == []


async def test_what_was_begun_since_is_as_anything_else(practising: Door) -> None:
    learner = await sign_up(practising.client)
    await started(practising, learner)
    await rows(practising.house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", learner.id)
    written = await practising.client.post(SCENARIOS, json=OWN, headers=learner.headers)
    own = written.json()["data"]["id"]
    home = await started(practising, learner, own)
    await said(practising, learner, home, WORDS)
    assert (await read(practising, learner, home))["turns"][0]["text"] == WORDS
    assert (await practising.client.get(f"{SCENARIOS}/{own}", headers=learner.headers)).json()["data"]["title"] == OWN["title"]
