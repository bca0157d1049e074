"""Conversations over HTTP: what a learner says, what they are answered, and every way back."""

from typing import Any

import httpx
import pytest

from app.bootstrap import House
from bus.message import SYSTEM
from domain.practice.commands import SeedScenarios
from tests.app.client import Door, Person, Feed, sign_up, wrong_fields
from tests.support import harness_of, rows, value

CONVERSATIONS = "/api/v2/conversations"
SCENARIO = "real_estate_negotiations"


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
