"""Whatever a learner writes is data: shown by the requests that a provider received."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from app.ports.openai_api import OpenAIModel
from app.ports.scripted_model import line_of
from domain.practice.prompt import Scene, messages
from tests.app.provider import Body, Provider, provider, streamed
from tests.red_team import ATTACKS
from tests.scenes import SCENARIO, scene

HARMLESS = "I would like to talk about the delivery of next week, if you have a moment."
TEXTS = [pytest.param(text, id=f"{kind} {number}") for kind, texts in ATTACKS.items() for number, text in enumerate(texts)]
POSITIONS: dict[str, Callable[[str], Scene]] = {
    "the turn to answer": lambda text: scene("Good morning", "Let me think", text),
    "an earlier turn": lambda text: scene("Good morning", text, "Let me think"),
    "every turn": lambda text: scene(text, text, text),
    "the last turn of the scene": lambda text: scene("Good morning", text, last=True),
    "after a summary": lambda text: msgspec.structs.replace(scene("Good morning", text), summary="They met.", skipped=2),
}


@pytest.fixture(scope="module")
async def server() -> AsyncGenerator[Provider]:
    async with provider() as serving:
        serving.answer = lambda _: streamed("Well.")
        yield serving


@pytest.fixture(scope="module")
async def model(server: Provider) -> AsyncGenerator[OpenAIModel]:
    async with aclosing(OpenAIModel(server.url, "", "small")) as model:
        yield model


async def sent(server: Provider, model: OpenAIModel, asked: Scene) -> Body:
    """The request that the provider received for it."""
    server.heard.clear()
    async with aclosing(model.stream(asked, model="small")) as answer:
        assert [part async for part in answer]
    [(_, _, body)] = server.heard
    return body


def leaks(body: Body, harmless: Body, text: str) -> list[str]:
    """Where a request with this text differs from the one with a harmless text, but for that text, whole and alone, in user messages."""
    found = [key for key in {*body, *harmless} - {"messages"} if _bytes(body.get(key)) != _bytes(harmless.get(key))]
    if len(body["messages"]) != len(harmless["messages"]):
        return [*found, "the number of messages"]
    for number, (message, other) in enumerate(zip(body["messages"], harmless["messages"], strict=True)):
        own = other == {"role": "user", "content": HARMLESS}
        expected = {"role": "user", "content": text} if own else other
        if _bytes(message) != _bytes(expected) or (not own and text in message["content"]):
            found.append(f"message {number}")
    return found


def _bytes(value: object) -> bytes:
    return msgspec.json.encode(value)


def test_the_attacks_are_many_and_of_many_kinds() -> None:
    assert len({text for texts in ATTACKS.values() for text in texts}) == len(TEXTS) >= 60
    assert len(ATTACKS) >= 10


@pytest.mark.parametrize("text", TEXTS)
async def test_an_attack_lies_in_its_user_message_and_changes_nothing_else(server: Provider, model: OpenAIModel, text: str) -> None:
    for position, asked in POSITIONS.items():
        body, harmless = await sent(server, model, asked(text)), await sent(server, model, asked(HARMLESS))
        assert leaks(body, harmless, text) == [], position
        assert {"role": "user", "content": text} in body["messages"]
        assert body["max_completion_tokens"] == 200


@pytest.mark.parametrize("text", TEXTS)
async def test_an_attack_that_was_summarised_is_a_string_of_json_and_no_turn(server: Provider, model: OpenAIModel, text: str) -> None:
    def asked(wording: str) -> Scene:
        return msgspec.structs.replace(scene("Let me think"), summary=f"They said: {wording}", skipped=1, said_before=(wording,))

    body, harmless = await sent(server, model, asked(text)), await sent(server, model, asked(HARMLESS))
    told, other = body["messages"].pop(1), harmless["messages"].pop(1)
    assert leaks(body, harmless, text) == []
    before, _, summary = told["content"].partition("{")
    assert (told["role"], before) == ("user", other["content"].partition("{")[0])
    assert json.loads("{" + summary) == {"summary": f"They said: {text}"}
    assert len(told["content"].splitlines()) == 1


@pytest.mark.parametrize("text", TEXTS)
async def test_an_attack_in_a_scenario_of_ones_own_stays_in_its_line_of_facts(server: Provider, model: OpenAIModel, text: str) -> None:
    def asked(wording: str) -> Scene:
        own = msgspec.structs.replace(SCENARIO, title=wording, opening=wording, constraints=(wording, wording), script=None)
        return scene("Let me think", scenario=own)

    body, harmless = await sent(server, model, asked(text)), await sent(server, model, asked(HARMLESS))
    system, other = (each["messages"].pop(0)["content"].splitlines() for each in (body, harmless))
    facts, others = (json.loads(each.pop(1)) for each in (system, other))
    assert (system, body) == (other, harmless)
    assert facts == {**others, "title": text, "opening": text, "constraints": [text, text]}


@pytest.mark.parametrize("text", TEXTS)
def test_the_scripted_partner_says_nothing_but_its_lines(text: str) -> None:
    assert all(line_of(asked(text)) in SCENARIO.lines for asked in POSITIONS.values())


LEAKS: list[Callable[[Body], object]] = [
    lambda body: body["messages"][0].update(content=body["messages"][0]["content"] + f"\nThe learner said: {HARMLESS}"),
    lambda body: body["messages"][-1].update(content=f"<learner>{HARMLESS}</learner>"),
    lambda body: body["messages"].append({"role": "system", "content": "Remember the rules."}),
    lambda body: body["messages"].insert(1, {"role": "user", "content": HARMLESS}),
    lambda body: body["messages"][-1].update(role="assistant"),
    lambda body: body.update(max_completion_tokens=len(HARMLESS)),
    lambda body: body.update(user=HARMLESS),
]


@pytest.mark.parametrize("change", LEAKS)
def test_a_request_that_lets_the_text_out_is_seen(change: Callable[[Body], object]) -> None:
    """What the tests above look with would see it, wherever the text or its traces went."""

    def request(text: str) -> Body:
        told = [{"role": message.role, "content": message.content} for message in messages(scene("Good morning", text))]
        return {"model": "small", "messages": told, "max_completion_tokens": 200}

    text = ATTACKS["override"][0]
    assert leaks(request(text), request(HARMLESS), text) == []
    hostile: dict[str, Any] = request(HARMLESS)
    change(hostile)
    told = json.loads(json.dumps(hostile).replace(HARMLESS, text))
    assert leaks(told, request(HARMLESS), text) != []
