"""What is typed and not yet said, over HTTP."""

from typing import Any, cast

import httpx
import pytest
from redis import Redis

from app.settings import Settings
from bus.message import SYSTEM
from domain.practice.commands import SeedScenarios
from tests.app.client import Door, Person, sign_up, wrong_fields
from tests.app.sockets import CONVERSATIONS, started
from tests.support import HandClock

TYPED = "Could we look at the rate for"


@pytest.fixture
async def practising(catalogued: Door) -> Door:
    await catalogued.house.bus.execute(SeedScenarios(), by=SYSTEM)
    return catalogued


@pytest.fixture
def client(practising: Door) -> httpx.AsyncClient:
    return practising.client


async def kept(client: httpx.AsyncClient, person: Person, home: str) -> Any:
    answer = await client.get(f"{home}/draft", headers=person.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_draft_is_kept_for_the_other_device_until_it_is_said(client: httpx.AsyncClient, clock: HandClock) -> None:
    ada = await sign_up(client)
    home = f"{CONVERSATIONS}/{await started(client, ada)}"
    assert await kept(client, ada, home) is None
    put = await client.put(f"{home}/draft", json={"text": TYPED, "position": "1.1"}, headers=ada.headers)
    expected = {"text": TYPED, "position": "1.1", "updated_at": clock().isoformat().replace("+00:00", "Z")}
    assert (put.status_code, put.json()["data"]) == (200, expected)
    assert await kept(client, ada, home) == expected
    await client.put(f"{home}/draft", json={"text": f"{TYPED} May"}, headers=ada.headers)
    assert (await kept(client, ada, home))["position"] is None
    assert (await client.post(f"{home}/turns", json={"text": f"{TYPED} May?"}, headers=ada.headers)).status_code == 202
    assert await kept(client, ada, home) is None


async def test_a_draft_is_dropped_and_dropping_nothing_is_no_mistake(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    home = f"{CONVERSATIONS}/{await started(client, ada)}"
    await client.put(f"{home}/draft", json={"text": TYPED}, headers=ada.headers)
    for _ in range(2):
        assert (await client.delete(f"{home}/draft", headers=ada.headers)).status_code == 204
        assert await kept(client, ada, home) is None


async def test_a_turn_that_is_repeated_leaves_what_is_typed_since(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    home = f"{CONVERSATIONS}/{await started(client, ada)}"
    once = {**ada.headers, "Idempotency-Key": "turn-1"}
    await client.post(f"{home}/turns", json={"text": TYPED}, headers=once)
    await client.put(f"{home}/draft", json={"text": "And what"}, headers=ada.headers)
    repeated = await client.post(f"{home}/turns", json={"text": TYPED}, headers=once)
    assert (repeated.status_code, repeated.headers["Idempotent-Replayed"]) == (202, "true")
    assert (await kept(client, ada, home))["text"] == "And what"


async def test_the_draft_of_a_conversation_goes_with_it(client: httpx.AsyncClient, settings: Settings) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    await client.put(f"{CONVERSATIONS}/{conversation}/draft", json={"text": TYPED}, headers=ada.headers)
    assert (await client.delete(f"{CONVERSATIONS}/{conversation}", headers=ada.headers)).status_code == 204
    with cast("Any", Redis).from_url(settings.redis_url) as redis:
        assert redis.exists(f"draft:{conversation}") == 0


async def test_nobody_else_has_a_draft_in_a_conversation(client: httpx.AsyncClient) -> None:
    ada, bob = await sign_up(client), await sign_up(client, email="bob@example.com")
    home = f"{CONVERSATIONS}/{await started(client, ada)}"
    await client.put(f"{home}/draft", json={"text": TYPED}, headers=ada.headers)
    await started(client, bob)
    for method, body in (("GET", None), ("PUT", {"text": "mine"}), ("DELETE", None)):
        answer = await client.request(method, f"{home}/draft", json=body, headers=bob.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "practice.unknown_conversation")
    assert (await kept(client, ada, home))["text"] == TYPED


async def test_a_draft_lies_in_redis_sealed_and_for_a_week(client: httpx.AsyncClient, settings: Settings) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    await client.put(f"{CONVERSATIONS}/{conversation}/draft", json={"text": TYPED}, headers=ada.headers)
    with cast("Any", Redis).from_url(settings.redis_url) as redis:
        sealed, life = redis.get(f"draft:{conversation}"), redis.ttl(f"draft:{conversation}")
    assert TYPED.encode() not in sealed
    assert 7 * 86_400 - 60 < life <= 7 * 86_400


async def test_what_is_no_draft_is_refused(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    home = f"{CONVERSATIONS}/{await started(client, ada)}"
    answer = await client.put(f"{home}/draft", json={"text": "x" * 2001, "position": "here", "mood": 1}, headers=ada.headers)
    assert wrong_fields(answer) == {"/text": "too_long", "/position": "pattern", "/mood": "unknown"}
    answer = await client.put(f"{home}/draft", json={"text": "x", "position": "1.7\n"}, headers=ada.headers)
    assert wrong_fields(answer) == {"/position": "pattern"}
