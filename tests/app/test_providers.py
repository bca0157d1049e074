"""What every provider of language models is held to, over real HTTP: embeddings and completions, answered well and badly."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.ports.openai_api import OpenAIEmbedder, OpenAIModel
from domain.errors import Unavailable
from handlers.ports import ContentRefused, Prompt, ProviderRefused
from tests.app.provider import Answer, Body, Provider, answered, chat, embeddings, provider, vector_of

KEY = "sk-not-to-be-told"
TEXTS = [f"text {number}" for number in range(5)]
PROMPT = Prompt(instructions="Say it in the third person.", text="I sell ships", schema={"type": "object"})
PATIENCE, HURRY = 60.0, 0.2
Ask = Callable[[], Awaitable[object]]


@pytest.fixture
async def server() -> AsyncGenerator[Provider]:
    async with provider() as serving:
        yield serving


@pytest.fixture
async def embedder(server: Provider) -> AsyncGenerator[OpenAIEmbedder]:
    async with aclosing(OpenAIEmbedder(server.url, KEY, "small-embedding", timeout=PATIENCE, batch=2)) as embedder:
        yield embedder


@pytest.fixture
async def model(server: Provider) -> AsyncGenerator[OpenAIModel]:
    async with aclosing(OpenAIModel(server.url, KEY, "small", timeout=PATIENCE)) as model:
        yield model


@pytest.fixture(params=["embeddings", "completion"])
def ask(request: pytest.FixtureRequest, embedder: OpenAIEmbedder, model: OpenAIModel) -> Ask:
    """Both ports are held to the same."""

    async def embed() -> object:
        return await embedder.embed(TEXTS, model=embedder.model)

    async def complete() -> object:
        return await model.complete(PROMPT)

    return embed if request.param == "embeddings" else complete


async def test_texts_are_sent_in_batches_and_answered_in_their_order(server: Provider, embedder: OpenAIEmbedder) -> None:
    server.answer = lambda body: answered(embeddings(body, backwards=True))
    assert await embedder.embed(TEXTS, model="small-embedding") == [tuple(vector_of(text)) for text in TEXTS]
    assert [body["input"] for _, _, body in server.heard] == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
    path, headers, body = server.heard[0]
    assert (path, headers["authorization"], body["model"]) == ("/v1/embeddings", f"Bearer {KEY}", "small-embedding")


async def test_the_model_that_is_asked_for_is_the_one_that_is_named(server: Provider, embedder: OpenAIEmbedder) -> None:
    await embedder.embed(["text"], model="an-older-one")
    assert server.heard[0][2]["model"] == "an-older-one"


async def test_vectors_in_base64_are_read_as_well(server: Provider, embedder: OpenAIEmbedder) -> None:
    server.answer = lambda body: answered(embeddings(body, packed=True))
    [vector] = await embedder.embed(["text"], model="small-embedding")
    assert vector == pytest.approx(vector_of("text"))


async def test_no_text_is_no_request(server: Provider, embedder: OpenAIEmbedder) -> None:
    assert await embedder.embed([], model="small-embedding") == []
    assert server.heard == []


async def test_a_completion_says_what_the_model_said(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: answered(chat('{"said": "Sells ships."}'))
    completion = await model.complete(PROMPT)
    assert (completion.text, completion.model) == ('{"said": "Sells ships."}', "small-1")
    path, headers, body = server.heard[0]
    assert (path, headers["authorization"], body["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "small")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == PROMPT.text
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_a_slow_provider_is_unavailable(server: Provider) -> None:
    server.answer = lambda _: Answer(silent=True)
    async with (
        aclosing(OpenAIEmbedder(server.url, KEY, "small-embedding", timeout=HURRY)) as embedder,
        aclosing(OpenAIModel(server.url, KEY, "small", timeout=HURRY)) as model,
    ):
        for asked in (embedder.embed(TEXTS, model="small-embedding"), model.complete(PROMPT)):
            with pytest.raises(Unavailable) as refused:
                await asked
            assert not isinstance(refused.value, ProviderRefused)
            assert (refused.value.retry_after or 0) > 0


async def test_too_many_requests_say_when_to_come_again_and_are_not_repeated(server: Provider, ask: Ask) -> None:
    server.answer = lambda _: Answer(status=429, headers={"Retry-After": "17"}, body=b'{"error": {"message": "slow down"}}')
    with pytest.raises(Unavailable) as refused:
        await ask()
    assert refused.value.retry_after == 17
    assert len(server.heard) == 1


async def test_a_date_to_come_again_at_is_understood(server: Provider, ask: Ask) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=12), usegmt=True)
    server.answer = lambda _: Answer(status=503, headers={"Retry-After": at}, body=b"{}")
    with pytest.raises(Unavailable) as refused:
        await ask()
    assert refused.value.retry_after == 3600


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_broken_provider_is_unavailable_and_asked_once(server: Provider, ask: Ask, status: int) -> None:
    server.answer = lambda _: Answer(status=status, body=b"<html>oops</html>", headers={"content-type": "text/html"})
    with pytest.raises(Unavailable) as refused:
        await ask()
    assert not isinstance(refused.value, ProviderRefused)
    assert len(server.heard) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_names_what_to_look_at_and_tells_nobody_what_the_provider_said(server: Provider, ask: Ask, status: int) -> None:
    server.answer = lambda _: Answer(status=status, body=f'{{"error": {{"message": "bad {KEY} for I sell ships"}}}}'.encode())
    with pytest.raises(ProviderRefused) as refused:
        await ask()
    assert str(status) in refused.value.detail
    assert KEY not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"data": 3, "choices": {}}', b"\xff\xfe", b'{"data": [], "choices": []}'])
async def test_an_answer_of_another_shape_is_refused(server: Provider, ask: Ask, body: bytes) -> None:
    server.answer = lambda _: Answer(body=body)
    with pytest.raises(ProviderRefused):
        await ask()


async def test_a_connection_cut_in_the_middle_of_an_answer_is_unavailable(server: Provider, ask: Ask) -> None:
    server.answer = lambda body: answered(embeddings(body) if "input" in body else chat("{}"), cut=20)
    with pytest.raises(Unavailable) as refused:
        await ask()
    assert not isinstance(refused.value, ProviderRefused)


async def test_nobody_there_is_unavailable() -> None:
    async with provider() as gone:
        url = gone.url
    async with aclosing(OpenAIEmbedder(url, KEY, "small-embedding", timeout=PATIENCE)) as embedder:
        with pytest.raises(Unavailable):
            await embedder.embed(["text"], model="small-embedding")


def _broken(change: Callable[[Body], None]) -> Callable[[Body], Answer]:
    def answer(body: Body) -> Answer:
        whole = embeddings(body)
        change(whole)
        return answered(whole)

    return answer


def _short(whole: Body) -> None:
    whole["data"][1]["embedding"].pop()


def _without_one(whole: Body) -> None:
    whole["data"].pop()


def _twice_the_same(whole: Body) -> None:
    whole["data"][1]["index"] = 0


def _without_direction(whole: Body) -> None:
    whole["data"][0]["embedding"] = [0.0] * len(whole["data"][0]["embedding"])


def _empty(whole: Body) -> None:
    whole["data"][0]["embedding"] = []


def _no_base64(whole: Body) -> None:
    whole["data"][0]["embedding"] = "AAA"


@pytest.mark.parametrize("change", [_short, _without_one, _twice_the_same, _without_direction, _empty, _no_base64])
async def test_vectors_that_cannot_be_compared_are_refused(
    server: Provider, embedder: OpenAIEmbedder, change: Callable[[Body], None]
) -> None:
    server.answer = _broken(change)
    with pytest.raises(ProviderRefused):
        await embedder.embed(TEXTS[:2], model="small-embedding")


@pytest.mark.parametrize("number", ["NaN", "1e999", "null"])
async def test_what_is_no_finite_number_is_refused(server: Provider, embedder: OpenAIEmbedder, number: str) -> None:
    server.answer = lambda _: Answer(body=f'{{"data": [{{"index": 0, "embedding": [0.1, {number}]}}]}}'.encode())
    with pytest.raises(ProviderRefused):
        await embedder.embed(["text"], model="small-embedding")


async def test_infinity_in_base64_is_refused(server: Provider, embedder: OpenAIEmbedder) -> None:
    def infinite(body: Body) -> Answer:
        whole = embeddings(body, packed=True)
        whole["data"][0]["embedding"] = "AACAfwAAgD8="
        return answered(whole)

    server.answer = infinite
    with pytest.raises(ProviderRefused):
        await embedder.embed(["text"], model="small-embedding")


@pytest.mark.parametrize("said", [chat(None), chat(""), chat('{"half', finish_reason="length")])
async def test_a_completion_that_is_not_whole_is_refused(server: Provider, model: OpenAIModel, said: Body) -> None:
    server.answer = lambda _: answered(said)
    with pytest.raises(ProviderRefused):
        await model.complete(PROMPT)


FILTERED = Answer(status=400, body=b'{"error": {"code": "content_filter", "message": "The prompt was filtered."}}')
REFUSAL = chat(None)
REFUSAL["choices"][0]["message"]["refusal"] = "I will not say that."


@pytest.mark.parametrize("refusal", [FILTERED, answered(REFUSAL), answered(chat("Go", finish_reason="content_filter"))])
async def test_refused_content_is_another_thing_than_a_provider_that_fails(server: Provider, model: OpenAIModel, refusal: Answer) -> None:
    server.answer = lambda _: refusal
    with pytest.raises(ContentRefused) as refused:
        await model.complete(PROMPT)
    assert refused.value.__cause__ is None


async def test_a_completion_is_one_call(server: Provider, model: OpenAIModel) -> None:
    server.answer = lambda _: Answer(status=307, headers={"location": "/v1/elsewhere"})
    with pytest.raises(ProviderRefused):
        await model.complete(PROMPT)
    assert len(server.heard) == 1
