"""The ports of language models over any OpenAI-compatible endpoint: OpenAI, Azure, Ollama, vLLM, TEI.

The package's own retries are off: how long to wait, and whether at all, is for whoever asked to decide. What a provider says about an error
may repeat the text that it was sent, so it is neither logged nor kept.
"""

import asyncio
import base64
import binascii
import math
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import msgspec
import openai
import structlog
from openai import AsyncOpenAI

from domain.errors import Unavailable
from handlers.ports import Completion, Prompt, ProviderRefused

T = TypeVar("T")

_BATCH: Final = 96
_TIMEOUT: Final = 10.0
_COMPLETION_TIMEOUT: Final = 60.0
_RETRY_AFTER: Final = 30.0
_MOST_RETRY_AFTER: Final = 3600.0
_TRY_LATER: Final = (408, 409, 425, 429)
_BROKEN: Final = 500
_FLOAT_BYTES: Final = 4
_NO_KEY: Final = "none"  # Servers of one's own often want none; the package wants one.

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Embedding(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float] | str


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Embedding]


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Chat(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    model: str = ""


class OpenAIEmbedder:
    """`url` is the base, as `https://api.openai.com/v1`; a batch of at most `batch` texts may take `timeout` seconds."""

    def __init__(self, url: str, key: str, model: str, *, timeout: float = _TIMEOUT, batch: int = _BATCH) -> None:
        self.model = model
        self._client, self._timeout, self._batch = _client(url, key, timeout), timeout, batch

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        """Any model is asked for: the endpoint may still have one that was configured before."""
        vectors: list[tuple[float, ...]] = []
        for first in range(0, len(texts), self._batch):
            batch = list(texts[first : first + self._batch])
            async with _translated("embeddings", model, self._timeout):
                # Raw, for the package would believe whatever it is given, and decode base64 with numpy.
                answer = await self._client.embeddings.with_raw_response.create(model=model, input=batch, encoding_format="float")
            vectors += _vectors(_decoded(answer.content, _Embeddings, "embeddings", model), len(batch), model)
        if len({len(vector) for vector in vectors}) > 1:
            raise _malformed("embeddings", model, "its vectors are of different lengths")
        return vectors

    async def aclose(self) -> None:
        await self._client.close()


class OpenAILanguageModel:
    available = True

    def __init__(self, url: str, key: str, model: str, *, timeout: float = _COMPLETION_TIMEOUT) -> None:
        self.model = model
        self._client, self._timeout = _client(url, key, timeout), timeout

    async def complete(self, prompt: Prompt) -> Completion:
        shape: Any = openai.omit
        if prompt.schema is not None:
            shape = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(prompt.schema)}}
        async with _translated("completion", self.model, self._timeout):
            answer = await self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=[{"role": "system", "content": prompt.instructions}, {"role": "user", "content": prompt.text}],
                max_completion_tokens=prompt.most,
                response_format=shape,
            )
        chat = _decoded(answer.content, _Chat, "completion", self.model)
        if not chat.choices or not chat.choices[0].message.content:
            raise _malformed("completion", self.model, "it says nothing")
        if chat.choices[0].finish_reason == "length":
            raise _malformed("completion", self.model, "it was cut off")
        return Completion(text=chat.choices[0].message.content, model=chat.model or self.model)

    async def aclose(self) -> None:
        await self._client.close()


def _client(url: str, key: str, timeout: float) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key=key or _NO_KEY, max_retries=0, timeout=timeout)


@asynccontextmanager
async def _translated(what: str, model: str, seconds: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(seconds):  # That of the client bounds each step only.
            yield
    except openai.APIStatusError as error:
        later = error.status_code in _TRY_LATER or error.status_code >= _BROKEN
        _log.warning("provider.refused", what=what, model=model, status=error.status_code)
        if later:
            raise _unavailable(_retry_after(error.response.headers)) from None
        raise ProviderRefused(
            f"The provider refuses the {what} with status {error.status_code}. Look at its URL, its key and the model {model}.",
            retry_after=_RETRY_AFTER,
        ) from None
    except (openai.OpenAIError, TimeoutError) as error:
        _log.warning("provider.unreachable", what=what, model=model, error=type(error).__name__)
        raise _unavailable(_RETRY_AFTER) from None


def _decoded(content: bytes, shape: type[T], what: str, model: str) -> T:
    try:
        return msgspec.json.decode(content, type=shape)
    except ValueError:  # Those of msgspec are.
        raise _malformed(what, model, "it is not of the shape that was agreed") from None


def _vectors(answer: _Embeddings, count: int, model: str) -> list[tuple[float, ...]]:
    """In the order of the texts, which the answer gives by index."""
    if sorted(item.index for item in answer.data) != list(range(count)):
        raise _malformed("embeddings", model, f"it does not have one vector for each of {count} texts")
    vectors = [_vector(item.embedding, model) for item in sorted(answer.data, key=lambda item: item.index)]
    if not all(vector and all(map(math.isfinite, vector)) and any(vector) for vector in vectors):
        raise _malformed("embeddings", model, "it has a vector without a direction")
    return vectors


def _vector(embedding: list[float] | str, model: str) -> tuple[float, ...]:
    """Some servers answer with base64 of little-endian floats, whatever they are asked for."""
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        packed = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed)
    except (binascii.Error, struct.error):
        raise _malformed("embeddings", model, "it has a vector that is no base64 of floats") from None


def _retry_after(headers: Any) -> float:
    """In seconds, of a header that is a number or a date (RFC 9110, 10.2.3); some time when there is none that can be read."""
    text = str(headers.get("retry-after", "")).strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return _RETRY_AFTER
    return min(max(seconds, 1.0), _MOST_RETRY_AFTER)


def _unavailable(seconds: float) -> Unavailable:
    return Unavailable("The provider of language models does not answer at the moment.", retry_after=seconds)


def _malformed(what: str, model: str, why: str) -> ProviderRefused:
    _log.warning("provider.malformed", what=what, model=model, why=why)
    return ProviderRefused(f"The provider's answer to {what} with {model} cannot be used: {why}.", retry_after=_RETRY_AFTER)
