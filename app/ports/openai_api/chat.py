"""Completions, whole or as a stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager, suppress
from typing import Annotated, Any, Final

import msgspec
import openai
from openai import AsyncStream, HttpxBinaryResponseContent, RequestOptions

from app.ports.openai_api.calls import client_of, decoded, malformed, translated, unavailable
from domain.practice.prompt import Scene, messages, prompt_tokens, tokens
from handlers.ports import Completion, ContentRefused, Ended, Piece, Prompt

_COMPLETION_TIMEOUT: Final = 60.0
_CONNECT, _FIRST_TOKEN, _BETWEEN_TOKENS = 3.0, 10.0, 10.0
_USAGE: Final = 1.0
"""For how many seconds an answer that is whole waits for the number of its tokens."""
_SOON: Final = 1.0
"""When to come again, in seconds, where a provider does not say: somebody is waiting for this answer."""
_FILTERED: Final = "content_filter"
_ONE_CALL: Final[RequestOptions] = {"follow_redirects": False}
"""A redirect that is followed would be two calls."""

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Delta(msgspec.Struct, frozen=True):
    """`delta` may be missing: Azure adds choices that only say what its filters found."""

    delta: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0


class _Chat(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    usage: _Usage | None = None
    model: str = ""


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Delta]
    usage: _Usage | None = None
    model: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds: until there is a connection, until the first text counted from the call, and between two texts."""

    connect: float = _CONNECT
    first_token: float = _FIRST_TOKEN
    between_tokens: float = _BETWEEN_TOKENS


class OpenAIModel:
    """`url` is the base, as `https://api.openai.com/v1`; a completion may take `timeout` seconds. Streams any model of it."""

    available = True

    def __init__(self, url: str, key: str, model: str, *, timeout: float = _COMPLETION_TIMEOUT, limits: Limits | None = None) -> None:
        self.model = model
        self._client, self._timeout, self._limits = client_of(url, key, timeout), timeout, limits or Limits()

    async def complete(self, prompt: Prompt) -> Completion:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": prompt.instructions}, {"role": "user", "content": prompt.text}],
            "max_completion_tokens": prompt.most,
        }
        if prompt.schema is not None:
            shape = {"name": "answer", "strict": True, "schema": dict(prompt.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        with translated("completion", self.model), _filtered():
            async with asyncio.timeout(self._timeout):  # That of the client bounds each step only.
                answer = await self._client.post("/chat/completions", cast_to=HttpxBinaryResponseContent, body=body, options=_ONE_CALL)
        chat = decoded(answer.content, _Chat, "completion", self.model)
        if chat.choices and (chat.choices[0].finish_reason == _FILTERED or chat.choices[0].message.refusal):
            raise ContentRefused
        if not chat.choices or not chat.choices[0].message.content:
            raise malformed("completion", self.model, "it says nothing")
        if chat.choices[0].finish_reason == "length":
            raise malformed("completion", self.model, "it was cut off")
        text, usage = chat.choices[0].message.content, chat.usage
        if usage is not None and usage.completion_tokens > 0:
            counted = usage.prompt_tokens, usage.completion_tokens
        else:
            counted = prompt.tokens, tokens(text)
        return Completion(text=text, model=chat.model or self.model, tokens_in=counted[0], tokens_out=counted[1])

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        """As the port says. An answer that has all the tokens that it may have is whole too."""
        said: list[str] = []
        name, usage = model, None
        async with aclosing(self._chunks(scene, model)) as chunks:
            async for chunk in chunks:
                name, usage = chunk.model or name, chunk.usage or usage
                if text := _text(chunk):
                    # Each chunk has at least one token. Not every server knows `max_completion_tokens`: Ollama pays no heed to it.
                    if len(said) == scene.most:
                        break
                    said.append(text)
                    yield Piece(text)
        if not said:
            raise malformed("streaming", model, "it says nothing")
        if usage is not None and usage.completion_tokens > 0:
            yield Ended(model=name, tokens_in=usage.prompt_tokens, tokens_out=usage.completion_tokens, counted=True)
        else:
            yield Ended(model=name, tokens_in=prompt_tokens(scene), tokens_out=tokens("".join(said)), counted=False)

    async def aclose(self) -> None:
        await self._client.close()

    async def _chunks(self, scene: Scene, model: str) -> AsyncGenerator[_Chunk, None]:
        """Until the answer is whole and its tokens are known. Closing it closes the connection."""
        limits = self._limits
        until = asyncio.get_running_loop().time() + limits.first_token
        with translated("streaming", model, retry_after=_SOON):
            async with asyncio.timeout_at(until):
                answer = await self._opened(scene, model)
        try:
            arriving, finished = aiter(answer), False
            while (chunk := await self._next(arriving, model, until, whole=finished)) is not None:
                yield chunk
                finished = finished or any(choice.finish_reason for choice in chunk.choices)
                if finished and chunk.usage is not None:
                    return
                if finished or _text(chunk):
                    until = asyncio.get_running_loop().time() + (min(_USAGE, limits.between_tokens) if finished else limits.between_tokens)
            if not finished:
                raise unavailable(_SOON)
        finally:
            await answer.close()

    async def _opened(self, scene: Scene, model: str) -> AsyncStream[object]:
        """Not through `chat.completions`: that would make four objects of each chunk, and believe whatever it is given."""
        body = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages(scene)],
            "max_completion_tokens": scene.most,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        timeout = openai.Timeout(None, connect=self._limits.connect)
        with _filtered():
            return await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=body,
                options={"timeout": timeout, **_ONE_CALL},
                stream=True,
                stream_cls=AsyncStream[object],
            )

    async def _next(self, arriving: AsyncIterator[object], model: str, until: float, *, whole: bool) -> _Chunk | None:
        """None: that was all. An answer that is `whole` cannot fail any more; only the number of its tokens may be missing."""
        found: object = None
        try:
            with suppress(openai.OpenAIError, TimeoutError) if whole else translated("streaming", model, retry_after=_SOON):
                async with asyncio.timeout_at(until):
                    found = await anext(arriving, None)
            return None if found is None else msgspec.convert(found, _Chunk)
        except (ValueError, RecursionError):  # Of the package, for what is no JSON, or too deep; and of msgspec.
            raise malformed("streaming", model, "it is not of the shape that was agreed") from None


@contextmanager
def _filtered() -> Generator[None, None, None]:
    """Raises `ContentRefused` where a provider, as Azure does, will not even read what it was sent."""
    try:
        yield
    except openai.BadRequestError as error:
        if error.code == _FILTERED:
            raise ContentRefused from None
        raise


def _text(chunk: _Chunk) -> str:
    """What the chunk adds to the answer. Raises `ContentRefused`."""
    for choice in chunk.choices:
        if choice.finish_reason == _FILTERED or (choice.delta is not None and choice.delta.refusal):
            raise ContentRefused
    text = "".join(choice.delta.content for choice in chunk.choices if choice.delta is not None and choice.delta.content)
    # Half of a character that a provider has cut in two is no text, and cannot be written down.
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
