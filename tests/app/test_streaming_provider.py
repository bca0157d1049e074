"""What every provider of language models is held to when it streams a partner's answer, over real HTTP; and the scripted one beside it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pytest

from app.bootstrap import opened_language_model
from app.ports.fallback import Endpoint, FallbackChain
from app.ports.openai_api import Limits, OpenAIModel
from app.ports.scripted_model import ScriptedModel, line_of
from app.settings import Settings
from bus.message import Refusal
from domain.errors import Unavailable
from domain.practice.prompt import Scene, messages, prompt_tokens, tokens
from domain.practice.scripts import play
from handlers.ports import ContentRefused, Ended, LanguageModel, Piece, Prompt, ProviderRefused
from tests.app.client import eventually
from tests.app.provider import CUT, DONE, DRIP, STALL, Answer, Body, Provider, chunk, event, provider, streamed, usage
from tests.scenes import SCENARIO, UNSCRIPTED, scene
from tests.support import HandClock

KEY = "sk-not-to-be-told"
SCENE = scene("Good morning, may I come in?")
WORDS = ("Good ", "morning", ", do ", "come in", ".")
PATIENT = Limits(connect=60.0, first_token=60.0, between_tokens=60.0)
HURRY = 0.2


@pytest.fixture
async def server() -> AsyncGenerator[Provider]:
    async with provider() as serving:
        serving.answer = lambda _: streamed(*WORDS)
        yield serving


@pytest.fixture
async def model(server: Provider) -> AsyncGenerator[OpenAIModel]:
    async with aclosing(OpenAIModel(server.url, KEY, "small", limits=PATIENT)) as model:
        yield model


async def heard(model: Endpoint, scene: Scene, by: str | None, into: list[str]) -> Ended:
    """The end; the pieces before it are put `into` as they come."""
    async with aclosing(model.stream(scene, model=by or model.model)) as answer:
        async for part in answer:
            if isinstance(part, Ended):
                assert [part async for part in answer] == []
                return part
            into.append(part.text)
    raise AssertionError("a stream ends with `Ended` or with an error")


async def told(model: Endpoint, scene: Scene = SCENE, *, by: str | None = None) -> tuple[list[str], Ended]:
    """The pieces and the end of a whole answer."""
    pieces: list[str] = []
    return pieces, await heard(model, scene, by, pieces)


async def failed(model: Endpoint, error: type[Refusal], *, by: str | None = None) -> tuple[list[str], Refusal]:
    """What came before the answer failed, and with what."""
    came: list[str] = []
    with pytest.raises(error) as raised:
        await heard(model, SCENE, by, came)
    assert type(raised.value) is error
    assert raised.value.__cause__ is None
    return came, raised.value


async def test_an_answer_comes_piece_by_piece_and_ends_with_the_tokens_that_it_cost(server: Provider, model: OpenAIModel) -> None:
    assert await told(model) == (list(WORDS), Ended(model="small-1", tokens_in=31, tokens_out=7, counted=True))
    [(path, headers, body)] = server.heard
    assert (path, headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body == {
        "model": "small",
        "messages": [{"role": message.role, "content": message.content} for message in messages(SCENE)],
        "max_completion_tokens": 200,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_no_call_is_made_before_the_first_piece_is_asked_for(server: Provider, model: OpenAIModel) -> None:
    async with aclosing(model.stream(SCENE, model="small")) as answer:
        assert server.heard == []
        assert await anext(answer) == Piece(WORDS[0])
    assert len(server.heard) == 1


async def test_a_provider_that_does_not_count_is_estimated(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: streamed(*WORDS, tokens=None)
    _, ended = await told(model)
    assert ended == Ended(model="small-1", tokens_in=prompt_tokens(SCENE), tokens_out=tokens("".join(WORDS)), counted=False)


@pytest.mark.parametrize("rest", [(), (STALL,), (CUT,), (usage(31, 7), STALL), (usage(31, 7), CUT)])
async def test_an_answer_that_is_whole_does_not_fail_any_more(server: Provider, model: OpenAIModel, rest: tuple[bytes, ...]) -> None:
    server.answer = lambda _: Answer(events=(chunk("Yes."), chunk(finish_reason="stop"), *rest))
    pieces, ended = await told(model)
    assert (pieces, ended.counted) == (["Yes."], bool(rest) and rest[0] == usage(31, 7))


async def test_what_is_no_text_is_passed_over(server: Provider, model: OpenAIModel) -> None:
    filtered = event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    noted = event({"choices": [{"index": 0, "content_filter_offsets": {"check_offset": 3}, "finish_reason": None}]})
    events = (b": ping\n\n", filtered, chunk("", role="assistant"), chunk("你好", reasoning="x"), noted, chunk(" there\u2028"))
    server.answer = lambda _: Answer(events=(*events, chunk(finish_reason="stop"), DONE))
    assert (await told(model))[0] == ["你好", " there\u2028"]


async def test_events_may_arrive_in_any_portions(server: Provider, model: OpenAIModel) -> None:
    whole = b"".join(streamed("Grüezi", " 早上好", " 🙂").events).replace(b"\n", b"\r\n")
    server.answer = lambda _: Answer(events=tuple(whole[place : place + 3] for place in range(0, len(whole), 3)))
    assert (await told(model))[0] == ["Grüezi", " 早上好", " 🙂"]


async def test_an_answer_of_the_greatest_length_is_whole(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(events=(chunk("And"), chunk(finish_reason="length"), usage(31, 1), DONE))
    assert await told(model) == (["And"], Ended(model="small-1", tokens_in=31, tokens_out=1, counted=True))


async def test_a_server_that_pays_no_heed_to_the_greatest_length_is_held_to_it(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(events=(*(chunk("on ") for _ in range(300)), STALL))
    pieces, ended = await told(model)
    assert (len(pieces), ended.counted) == (200, False)
    await eventually(lambda: server.left == 1, "the connection is closed")


@pytest.mark.parametrize("events", [(STALL,), (chunk("", role="assistant"), STALL), (b": ping\n\n", STALL), (DRIP,)])
async def test_a_slow_first_token_is_unavailable(server: Provider, events: tuple[bytes, ...]) -> None:
    server.answer = lambda _: Answer(events=events)
    async with aclosing(OpenAIModel(server.url, KEY, "small", limits=Limits(first_token=HURRY))) as model:
        came, error = await failed(model, Unavailable)
    assert (came, error.retry_after) == ([], 1.0)
    await eventually(lambda: server.left == 1, "the connection is closed")


async def test_a_server_that_says_nothing_at_all_is_unavailable(server: Provider) -> None:
    server.answer = lambda _: Answer(silent=True)
    async with aclosing(OpenAIModel(server.url, KEY, "small", limits=Limits(first_token=HURRY))) as model:
        await failed(model, Unavailable)


@pytest.mark.parametrize("rest", [(STALL,), (b": ping\n\n", chunk(""), STALL), (DRIP,)])
async def test_a_stall_in_the_middle_is_unavailable_after_what_came(server: Provider, rest: tuple[bytes, ...]) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good ") + chunk("morning"), *rest))
    async with aclosing(OpenAIModel(server.url, KEY, "small", limits=Limits(first_token=60.0, between_tokens=HURRY))) as model:
        assert (await failed(model, Unavailable))[0] == ["Good ", "morning"]
    await eventually(lambda: server.left == 1, "the connection is closed")


@pytest.mark.parametrize("end", [(CUT,), (DONE,), ()])
async def test_an_answer_that_ends_without_saying_so_is_cut(server: Provider, model: OpenAIModel, end: tuple[bytes, ...]) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), *end))
    assert (await failed(model, Unavailable))[0] == ["Good "]
    assert len(server.heard) == 1


async def test_nobody_there_is_unavailable() -> None:
    async with provider() as gone:
        url = gone.url
    async with aclosing(OpenAIModel(url, KEY, "small", limits=PATIENT)) as model:
        await failed(model, Unavailable)


async def test_too_many_requests_say_when_to_come_again(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(status=429, headers={"Retry-After": "17"}, body=b'{"error": {"message": "slow down"}}')
    assert (await failed(model, Unavailable))[1].retry_after == 17
    assert len(server.heard) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_broken_provider_is_unavailable_and_asked_once(server: Provider, model: OpenAIModel, status: int) -> None:
    server.answer = lambda _: Answer(status=status, body=b"<html>oops</html>", headers={"content-type": "text/html"})
    assert (await failed(model, Unavailable))[1].retry_after == 1.0
    assert len(server.heard) == 1


async def test_a_failure_told_in_the_middle_of_an_answer_is_unavailable(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), event({"error": {"message": f"overloaded by {KEY}"}}), DONE))
    came, error = await failed(model, Unavailable)
    assert (came, KEY in str(error)) == (["Good "], False)


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404])
async def test_a_refusal_tells_nobody_what_the_provider_said(server: Provider, model: OpenAIModel, status: int) -> None:
    told = f'{{"error": {{"message": "bad {KEY} for {SCENE.said[0]}"}}}}'.encode()
    server.answer = lambda _: Answer(status=status, body=told, headers={"Location": f"{server.url}/elsewhere"})
    _, error = await failed(model, ProviderRefused)
    assert str(status) in error.detail
    assert not any(secret in str(error) for secret in (KEY, SCENE.said[0]))
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    "malformed",
    [
        b"data: no JSON\n\n",
        b"data: [1]\n\n",
        b"data: {}\n\n",
        b'data: {"choices": 3}\n\n',
        b'data: {"choices": [{"delta": {"content": 7}}]}\n\n',
        b'data: {"choices": [], "usage": {"completion_tokens": -1}}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
async def test_a_malformed_chunk_is_refused(server: Provider, model: OpenAIModel, malformed: bytes) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), malformed, STALL))
    assert (await failed(model, ProviderRefused))[0] == ["Good "]
    await eventually(lambda: server.left == 1, "the connection is closed")


@pytest.mark.parametrize("finish_reason", ["stop", "length", "tool_calls"])
async def test_an_answer_without_a_word_is_refused(server: Provider, model: OpenAIModel, finish_reason: str) -> None:
    server.answer = lambda _: Answer(events=(chunk(finish_reason=finish_reason), usage(31, 9), DONE))
    await failed(model, ProviderRefused)


@pytest.mark.parametrize("refusal", [chunk(finish_reason="content_filter"), chunk(refusal="I will not say that.")])
async def test_refused_content_is_another_thing_than_a_provider_that_fails(server: Provider, model: OpenAIModel, refusal: bytes) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), refusal, STALL))
    assert (await failed(model, ContentRefused))[0] == ["Good "]
    await eventually(lambda: server.left == 1, "the connection is closed")


async def test_refused_content_is_recognised_before_the_first_word(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(status=400, body=b'{"error": {"code": "content_filter", "message": "The prompt was filtered."}}')
    await failed(model, ContentRefused)


async def test_a_stream_that_is_closed_early_closes_its_connection_at_once(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), STALL))
    answer = model.stream(SCENE, model="small")
    assert await anext(answer) == Piece("Good ")
    await answer.aclose()
    await eventually(lambda: server.left == 1, "the connection is closed", seconds=5)


async def test_who_stops_waiting_for_a_piece_closes_the_connection(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(events=(chunk("Good "), STALL))
    answer = model.stream(SCENE, model="small")
    assert await anext(answer) == Piece("Good ")
    waiting = asyncio.ensure_future(anext(answer))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: server.left == 1, "the connection is closed", seconds=5)


# The chain and its circuits.


@pytest.fixture
def answers(server: Provider) -> dict[str, Answer]:
    """What the server answers for each of its models; well, for those that are not named."""
    said: dict[str, Answer] = {}

    def answer(body: Body) -> Answer:
        return said.get(body["model"], streamed(f"I am {body['model']}."))

    server.answer = answer
    return said


@pytest.fixture
def chain(model: OpenAIModel, clock: HandClock) -> FallbackChain:
    return FallbackChain(model, ["medium", "large"], attempts=3, clock=clock)


async def turn(chain: LanguageModel) -> tuple[str | None, list[str]]:
    """What a turn gets in the end, with as many calls as it may have, and the models that failed before."""
    failures: list[str] = []
    while (name := chain.route(failures)) is not None:
        try:
            pieces, _ = await told(chain, by=name)
        except Unavailable:
            failures.append(name)
        else:
            return "".join(pieces), failures
    return None, failures


@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=429),
        Answer(status=500),
        Answer(status=404),
        Answer(events=(CUT,)),
        Answer(events=(chunk("Goo"), CUT)),
        Answer(events=(b"data: x\n\n",)),
    ],
)
async def test_after_a_failure_the_next_model_of_the_chain_answers(
    server: Provider, answers: dict[str, Answer], chain: FallbackChain, failure: Answer
) -> None:
    answers["small"] = failure
    assert await turn(chain) == ("I am medium.", ["small"])
    answers["medium"] = failure
    assert await turn(chain) == ("I am large.", ["small", "medium"])
    assert [body["model"] for _, _, body in server.heard] == ["small", "medium", "small", "medium", "large"]


async def test_a_turn_makes_no_more_calls_than_its_budget(
    server: Provider, answers: dict[str, Answer], model: OpenAIModel, clock: HandClock
) -> None:
    answers["small"] = answers["medium"] = Answer(status=500)
    chain = FallbackChain(model, ["medium"], attempts=4, clock=clock)
    assert await turn(chain) == (None, ["small", "medium", "small", "medium"])
    assert len(server.heard) == 4
    assert await turn(FallbackChain(model, [], attempts=1, clock=clock)) == (None, ["small"])


async def test_refused_content_is_not_asked_of_another_model(answers: dict[str, Answer], chain: FallbackChain) -> None:
    answers["small"] = Answer(events=(chunk(finish_reason="content_filter"), DONE))
    with pytest.raises(ContentRefused):
        await turn(chain)


async def test_a_model_that_fails_five_times_in_a_row_is_left_alone_for_a_while(
    server: Provider, answers: dict[str, Answer], chain: FallbackChain, clock: HandClock
) -> None:
    answers["small"] = Answer(status=503)
    for _ in range(5):
        assert await turn(chain) == ("I am medium.", ["small"])
    assert await turn(chain) == ("I am medium.", [])
    clock.move(seconds=29)
    assert await turn(chain) == ("I am medium.", [])
    assert [body["model"] for _, _, body in server.heard].count("small") == 5


async def test_one_probe_at_a_time_finds_out_whether_it_answers_again(
    answers: dict[str, Answer], chain: FallbackChain, clock: HandClock
) -> None:
    answers["small"] = Answer(status=503)
    for _ in range(5):
        await turn(chain)
    clock.move(seconds=31)
    assert (chain.route([]), chain.route([])) == ("small", "medium")
    await failed(chain, Unavailable, by="small")
    assert chain.route([]) == "medium"
    clock.move(seconds=31)
    del answers["small"]
    assert chain.route([]) == "small"
    await told(chain, by="small")
    assert (chain.route([]), chain.route([])) == ("small", "small")


async def test_a_probe_that_nobody_brings_back_does_not_close_the_way_for_ever(
    answers: dict[str, Answer], chain: FallbackChain, clock: HandClock
) -> None:
    answers["small"] = Answer(status=503)
    for _ in range(5):
        await turn(chain)
    clock.move(seconds=31)
    assert chain.route([]) == "small"
    clock.move(seconds=31)
    assert chain.route([]) == "small"


async def test_one_answer_in_between_begins_the_count_anew(answers: dict[str, Answer], chain: FallbackChain) -> None:
    for _ in range(2):
        answers["small"] = Answer(status=503)
        for _ in range(4):
            assert await turn(chain) == ("I am medium.", ["small"])
        answers["small"] = streamed("Back.")
        assert await turn(chain) == ("Back.", [])


async def test_refusals_and_those_who_leave_do_not_open_a_circuit(answers: dict[str, Answer], chain: FallbackChain) -> None:
    answers["small"] = Answer(status=400)
    for _ in range(6):
        assert await turn(chain) == ("I am medium.", ["small"])
    answers["small"] = Answer(events=(chunk("Good "), STALL))
    for _ in range(6):
        answer = chain.stream(SCENE, model="small")
        assert await anext(answer) == Piece("Good ")
        await answer.aclose()
    assert chain.route([]) == "small"


async def test_with_every_circuit_open_nobody_is_asked(
    server: Provider, answers: dict[str, Answer], model: OpenAIModel, clock: HandClock
) -> None:
    answers["small"] = Answer(status=500)
    chain = FallbackChain(model, [], attempts=5, clock=clock)
    assert await turn(chain) == (None, ["small"] * 5)
    assert await turn(chain) == (None, [])
    assert len(server.heard) == 5


async def test_a_stream_of_the_chain_closed_early_closes_the_connection(
    server: Provider, answers: dict[str, Answer], chain: FallbackChain
) -> None:
    answers["small"] = Answer(events=(chunk("Good "), STALL))
    answer = chain.stream(SCENE, model="small")
    assert await anext(answer) == Piece("Good ")
    await answer.aclose()
    await eventually(lambda: server.left == 1, "the connection is closed", seconds=5)


async def test_the_settings_name_the_chain_and_its_limits(server: Provider, answers: dict[str, Answer], clock: HandClock) -> None:
    settings = Settings(llm_url=server.url, llm_model="small", llm_fallback_models="medium, large,", llm_attempts=2)
    answers["small"] = answers["medium"] = Answer(events=(STALL,))
    async with opened_language_model(msgspec.structs.replace(settings, llm_first_token_timeout=HURRY), clock) as model:
        assert await turn(model) == (None, ["small", "medium"])
    answers["small"] = Answer(events=(chunk("Good "), STALL))
    async with opened_language_model(msgspec.structs.replace(settings, llm_between_tokens_timeout=HURRY), clock) as model:
        assert (model.model, model.available) == ("small", True)
        await failed(model, Unavailable)
    answers["small"] = Answer(status=500)
    del answers["medium"]
    async with opened_language_model(settings, clock) as model:
        assert await turn(model) == ("I am medium.", ["small"])


# The scripted model.


async def test_without_a_provider_the_script_is_played_word_by_word(clock: HandClock) -> None:
    async with opened_language_model(Settings(scripted_pace=0.001), clock) as model:
        pieces, ended = await told(model)
        assert (model.available, model.model, ended.model, ended.counted) == (False, "scripted/1", "scripted/1", False)
    line = play(SCENARIO, SCENE.said, seed=7).text
    assert pieces == [f"{word} " for word in line.split()[:-1]] + line.split()[-1:]
    assert (ended.tokens_in, ended.tokens_out) == (prompt_tokens(SCENE), tokens(line))


async def test_what_was_said_before_the_summary_counts_in_the_script() -> None:
    said = ["Good morning, may I come in?", "I understand, that must be frustrating.", "Okay."]
    whole = await told(ScriptedModel(), scene(*said))
    short = msgspec.structs.replace(scene(said[-1]), said_before=tuple(said[:-1]), summary="They met.", skipped=2)
    assert (await told(ScriptedModel(), short))[0] == whole[0]


async def test_the_scripted_model_has_no_completions_and_a_budget_of_calls() -> None:
    model = ScriptedModel()
    with pytest.raises(Unavailable):
        await model.complete(Prompt(instructions="", text=""))
    assert [model.route(["scripted/1"] * failed) for failed in (0, 2, 3)] == ["scripted/1", "scripted/1", None]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("learner", ["Well, I think that we should all sit down together.", "Okay.", "{}", "你好"])
async def test_a_scenario_without_a_script_is_improvised_without_a_line_said_twice(seed: int, learner: str) -> None:
    said: list[str] = []
    lines: list[str] = []
    while len(said) < UNSCRIPTED.length:
        said.append(learner)
        asked = scene(*said, scenario=UNSCRIPTED, seed=seed, last=len(said) == UNSCRIPTED.length)
        lines.append("".join((await told(ScriptedModel(), asked))[0]))
        assert "".join((await told(ScriptedModel(), asked))[0]) == lines[-1]
    assert len(set(lines)) == len(lines) == 8
    assert any(UNSCRIPTED.learner.goal in line for line in lines)
    for criterion in UNSCRIPTED.success_criteria:
        assert any(criterion.text in line for line in lines[:-1])
    assert UNSCRIPTED.learner.role in lines[-1]


async def test_an_improvised_scene_asks_for_what_is_missing_and_ends_as_it_went() -> None:
    def ending(*said: str) -> Scene:
        return scene(*said, scenario=UNSCRIPTED, last=True)

    first, *others = UNSCRIPTED.success_criteria
    asked = [line_of(scene(*[f"I would say: {first.any[0]}"] * turns, scenario=UNSCRIPTED)) for turns in range(1, 8)]
    assert not any(first.text in line for line in asked)
    assert all(any(other.text in line for line in asked) for other in others)
    whole = " ".join(criterion.any[0] for criterion in UNSCRIPTED.success_criteria)
    assert len({line_of(ending("Okay.")), line_of(ending(first.any[0])), line_of(ending(whole))}) == 3
