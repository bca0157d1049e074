"""Vectors of texts, believed only when they can be compared."""

import asyncio
import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from app.ports.openai_api.calls import client_of, decoded, malformed, translated

_BATCH: Final = 96
_TIMEOUT: Final = 10.0
_FLOAT_BYTES: Final = 4


class _Embedding(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float] | str


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Embedding]


class OpenAIEmbedder:
    """`url` is the base, as `https://api.openai.com/v1`; a batch of at most `batch` texts may take `timeout` seconds."""

    def __init__(self, url: str, key: str, model: str, *, timeout: float = _TIMEOUT, batch: int = _BATCH) -> None:
        self.model = model
        self._client, self._timeout, self._batch = client_of(url, key, timeout), timeout, batch

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        """Any model is asked for: the endpoint may still have one that was configured before."""
        vectors: list[tuple[float, ...]] = []
        for first in range(0, len(texts), self._batch):
            batch = list(texts[first : first + self._batch])
            with translated("embeddings", model):
                async with asyncio.timeout(self._timeout):  # That of the client bounds each step only.
                    # Raw, for the package would believe whatever it is given, and decode base64 with numpy.
                    answer = await self._client.embeddings.with_raw_response.create(model=model, input=batch, encoding_format="float")
            vectors += _vectors(decoded(answer.content, _Embeddings, "embeddings", model), len(batch), model)
        if len({len(vector) for vector in vectors}) > 1:
            raise malformed("embeddings", model, "its vectors are of different lengths")
        return vectors

    async def aclose(self) -> None:
        await self._client.close()


def _vectors(answer: _Embeddings, count: int, model: str) -> list[tuple[float, ...]]:
    """In the order of the texts, which the answer gives by index."""
    if sorted(item.index for item in answer.data) != list(range(count)):
        raise malformed("embeddings", model, f"it does not have one vector for each of {count} texts")
    vectors = [_vector(item.embedding, model) for item in sorted(answer.data, key=lambda item: item.index)]
    if not all(vector and all(map(math.isfinite, vector)) and any(vector) for vector in vectors):
        raise malformed("embeddings", model, "it has a vector without a direction")
    return vectors


def _vector(embedding: list[float] | str, model: str) -> tuple[float, ...]:
    """Some servers answer with base64 of little-endian floats, whatever they are asked for."""
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        packed = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed)
    except (binascii.Error, struct.error):
        raise malformed("embeddings", model, "it has a vector that is no base64 of floats") from None
