"""The `Embedder` that is configured, and the built-in one for what was embedded before another was configured."""

from collections.abc import Sequence

from app.ports.builtin_embedder import BuiltInEmbedder
from handlers.ports import Embedder


class Embedders:
    """While vectors of a new model are made, questions are still asked with the old one: that may be the built-in, which is always here."""

    def __init__(self, configured: Embedder, built_in: BuiltInEmbedder) -> None:
        self._configured, self._built_in = configured, built_in

    @property
    def model(self) -> str:
        return self._configured.model

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        embedder = self._built_in if BuiltInEmbedder.made(model) else self._configured
        return await embedder.embed(texts, model=model)
