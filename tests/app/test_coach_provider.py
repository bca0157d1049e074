"""The coach asks a provider of language models over real HTTP: what is sent, what is believed, and what is said when it fails."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.bootstrap import Ports
from app.settings import Settings
from app.state.verification import Verification
from domain.practice.coach.asking import INSTRUCTIONS, MOST_TOKENS, SCHEMA, question
from domain.practice.prompt import request_tokens, tokens
from handlers.practice.conversations import MOST_LETTERS
from tests.app import client as clients
from tests.app.client import Door, Person, sign_up
from tests.app.provider import Answer, Body, Provider, answered, chat, provider, streamed
from tests.app.test_conversations_api import answered as settled
from tests.app.test_conversations_api import read, said, started
from tests.conftest import Seed
from tests.conversing import unsettled
from tests.red_team import ATTACKS
from tests.support import HandClock, ScriptedMailer, rows

HURRY = 0.3
TEXT = "She go to the office, and I want a post very good in our company at the office."
BY_RULE = ("go", "goes")
BETTER = {
    "start": TEXT.index("a post"),
    "end": TEXT.index("a post") + 16,
    "original": "a post very good",
    "correction": "a very good post",
    "kind": "word_order",
    "explanation": "An adjective stands before its noun.",
    "confidence": 0.9,
}
ABROAD = {**BETTER, "start": 2, "end": 5, "original": "our company", "correction": "your company", "kind": "word_choice"}
USAGE = {"prompt_tokens": 412, "completion_tokens": 57}


def coached(*spans: dict[str, Any], **more: Any) -> Answer:
    return answered({**chat(msgspec.json.encode({"spans": spans}).decode()), "usage": USAGE, **more})


class Told:
    """What the provider answers the coach; the partner it answers well."""

    def __init__(self) -> None:
        self.coach = coached(BETTER)

    def __call__(self, body: Body) -> Answer:
        return streamed("Certainly.") if body.get("stream") else self.coach


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def server(told: Told) -> AsyncGenerator[Provider]:
    async with provider() as serving:
        serving.answer = told
        yield serving


@pytest.fixture
async def door(settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider, seed: Seed) -> AsyncGenerator[Door]:
    """Whatever the provider does, ledger, budgets and events agree afterwards."""
    own = msgspec.structs.replace(settings, llm_url=server.url, llm_model="small", llm_price_in=1.0, llm_price_out=2.0)
    async with clients.door(own, Ports(clock=clock, mailer=mailer)) as door:
        await seed(door.house)
        yield door
        assert await unsettled(door.house) == []
        verification = Verification(door.house.reads.conversations_admin, kept=timedelta(days=30), now=clock())
        assert (await verification.everything()).findings == []


@pytest.fixture
async def person(door: Door) -> Person:
    return await sign_up(door.client)


def asked(server: Provider) -> list[Body]:
    """The requests of the coach."""
    return [body for _, _, body in server.heard if not body.get("stream")]


def corrected(turn: dict[str, Any]) -> list[tuple[str, str]]:
    return [(span["original"], span["correction"]) for span in turn["feedback"]]


async def test_a_turn_is_coached_over_http_and_its_call_is_in_the_ledger(door: Door, person: Person, server: Provider, told: Told) -> None:
    told.coach = coached({**BETTER, "correction": "a post very good"}, BETTER, ABROAD, {**ABROAD, "original": "the office"})
    home = await started(door, person, explanation_language="zh-Hant")
    turn = await said(door, person, home, TEXT)
    [shown] = (await read(door, person, home))["turns"]
    assert corrected(shown) == [BY_RULE, ("a post very good", "a very good post"), ("our company", "your company")]
    assert all(TEXT[span["start"] : span["end"]] == span["original"] for span in shown["feedback"])
    assert asked(server) == [
        {
            "model": "small",
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": question(TEXT, language="zh-Hant", level="B1")},
            ],
            "max_completion_tokens": MOST_TOKENS,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
        }
    ]
    attempts = (await door.client.get(f"{home}/turns/{turn}/attempts", headers=person.headers)).json()["data"]
    assert [(one["purpose"], one["attempt"], one["outcome"], one["text"]) for one in attempts] == [
        ("partner", 1, "answered", "Certainly."),
        ("coach", 1, "answered", ""),
    ]
    assert (attempts[1]["model"], attempts[1]["tokens_in"], attempts[1]["tokens_out"]) == ("small", 412, 57)
    [cost] = await rows(door.house, "SELECT cost::float AS cost FROM model_calls WHERE purpose = 'coach'")
    assert cost["cost"] == pytest.approx((412 * 1.0 + 57 * 2.0) / 1_000_000)


async def test_a_fork_has_the_coachs_calls_whose_feedback_it_has(door: Door, person: Person, told: Told) -> None:
    told.coach = coached(BETTER)
    home = await started(door, person)
    turn = await said(door, person, home, TEXT)
    last = (await read(door, person, home))["version"]
    [mine] = await rows(door.house, "SELECT id FROM model_calls WHERE purpose = 'coach'")
    for version, is_mine in ((last, True), (last - 1, False)):
        forked = await door.client.post(f"{home}/forks", json={"at_version": version}, headers=person.headers)
        fork = forked.headers["Location"]
        await settled(door.house)
        [shown] = (await read(door, person, fork))["turns"]
        assert shown["feedback"]
        calls = await door.house.reads.practice.calls(UUID(forked.json()["data"]["conversation"]), UUID(turn))
        assert [call.purpose for call in calls] == ["partner", "coach"]
        assert (calls[1].id == mine["id"]) == is_mine


async def test_a_provider_that_does_not_count_is_estimated(door: Door, person: Person, server: Provider, told: Told) -> None:
    told.coach = coached(BETTER, usage=None)
    home = await started(door, person)
    await said(door, person, home, TEXT)
    [row] = await rows(door.house, "SELECT tokens_in, tokens_out FROM model_calls WHERE purpose = 'coach'")
    [body] = asked(server)
    sent = [message["content"] for message in body["messages"]]
    shape = msgspec.json.encode(body["response_format"]["json_schema"]["schema"]).decode()
    said_so = msgspec.json.encode({"spans": [BETTER]}).decode()
    assert (row["tokens_in"], row["tokens_out"]) == (request_tokens([*sent, shape]), tokens(said_so))


FAILURES: dict[str, tuple[Answer, str, bool]] = {
    "too many requests": (Answer(status=429, headers={"retry-after": "30"}), "service.unavailable", False),
    "broken": (Answer(status=500), "service.unavailable", False),
    "no such model": (Answer(status=404), "service.provider_refused", False),
    "cut": (msgspec.structs.replace(coached(BETTER), cut=60), "service.unavailable", False),
    "refused": (answered(chat(None, finish_reason="content_filter")), "service.content_refused", False),
    "nothing": (answered(chat(None)), "service.provider_refused", False),
    "too long": (answered(chat('{"spans": [', finish_reason="length")), "service.provider_refused", False),
    "no completion": (Answer(body=b"<html>"), "service.provider_refused", False),
    "prose": (answered({**chat("It is fine."), "usage": USAGE}), "service.provider_refused", True),
    "another shape": (answered({**chat('{"mistakes": []}'), "usage": USAGE}), "service.provider_refused", True),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_when_the_provider_fails_the_rules_speak_and_the_row_says_why(
    door: Door, person: Person, server: Provider, told: Told, what: str
) -> None:
    told.coach, code, counted = FAILURES[what]
    home = await started(door, person)
    await said(door, person, home, TEXT)
    [shown] = (await read(door, person, home))["turns"]
    assert (shown["status"], corrected(shown)) == ("answered", [BY_RULE])
    [row] = await rows(door.house, "SELECT outcome, error, tokens_in, tokens_out FROM model_calls WHERE purpose = 'coach'")
    assert tuple(row.values()) == ("failed", code, *((412, 57) if counted else (0, 0)))
    assert len(asked(server)) == 1


async def test_a_provider_that_is_silent_is_not_waited_for(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider, told: Told, seed: Seed
) -> None:
    told.coach = Answer(silent=True)
    own = msgspec.structs.replace(settings, llm_url=server.url, llm_model="small", llm_timeout=HURRY)
    async with clients.door(own, Ports(clock=clock, mailer=mailer)) as door:
        await seed(door.house)
        person = await sign_up(door.client)
        home = await started(door, person)
        await said(door, person, home, TEXT)
        [shown] = (await read(door, person, home))["turns"]
        assert corrected(shown) == [BY_RULE]
        [row] = await rows(door.house, "SELECT outcome, error FROM model_calls WHERE purpose = 'coach'")
        assert tuple(row.values()) == ("failed", "service.unavailable")


async def test_after_the_scene_each_turn_is_asked_about_once_and_the_report_quotes_what_was_found(
    door: Door, person: Person, server: Provider
) -> None:
    home = await started(door, person, feedback="after_scene")
    for text in (TEXT, "Let us speak about the price."):
        await said(door, person, home, text)
    assert asked(server) == []
    await door.client.post(f"{home}/end", headers=person.headers)
    await settled(door.house)
    found = await read(door, person, home)
    assert [corrected(turn) for turn in found["turns"]] == [[BY_RULE, ("a post very good", "a very good post")], []]
    assert "a very good post" in msgspec.json.encode(found["report"]).decode()
    assert sorted(msgspec.json.decode(body["messages"][1]["content"])["text"] for body in asked(server)) == [
        "Let us speak about the price.",
        TEXT,
    ]
    assert await rows(door.house, "SELECT DISTINCT outcome FROM model_calls") == [{"outcome": "answered"}]


HARMLESS = "I would like to talk about the delivery of next week, if you have a moment."


async def test_whatever_a_learner_writes_the_coachs_instructions_are_the_same_bytes_and_the_text_is_data(
    door: Door, person: Person, server: Provider, told: Told
) -> None:
    told.coach = coached()
    texts = [HARMLESS, *(texts[0] for texts in ATTACKS.values() if len(texts[0]) <= MOST_LETTERS)]
    for text in texts:
        home = await started(door, person)
        await said(door, person, home, text)
    bodies = asked(server)
    assert len(bodies) == len(texts) >= 10
    for text, body in zip(texts, bodies, strict=True):
        system, user = body.pop("messages")
        assert system == {"role": "system", "content": INSTRUCTIONS}
        assert (user["role"], len(user["content"].splitlines())) == ("user", 1)
        assert msgspec.json.decode(user["content"]) == {"language": "en", "level": "B1", "text": text.strip()}
    assert all(msgspec.json.encode(body) == msgspec.json.encode(bodies[0]) for body in bodies)
