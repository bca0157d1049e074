"""Whom to ask next when a language model fails: a chain of models, each behind a circuit breaker."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from domain.errors import Unavailable
from domain.practice.prompt import Scene
from handlers.ports import Clock, Completion, ContentRefused, Ended, Piece, Prompt, ProviderRefused

_FAILURES: Final = 5
_PAUSE: Final = timedelta(seconds=30)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Endpoint(Protocol):
    """Answers for any of its models."""

    @property
    def model(self) -> str: ...

    async def complete(self, prompt: Prompt) -> Completion: ...

    def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]: ...


class Breaker:
    """Opens after so many failures in a row; from then on it lends one call at a time, as a probe, until one succeeds.

    Of this process: each learns by itself, within a few turns, that a model is away. A probe that nobody brings back counts as failed.
    """

    def __init__(self, clock: Clock, *, failures: int = _FAILURES, pause: timedelta = _PAUSE) -> None:
        self._clock, self._most, self._pause = clock, failures, pause
        self._failed = 0
        self._until: datetime | None = None

    def lend(self) -> bool:
        """Whether to call now."""
        if self._until is None:
            return True
        if self._clock() < self._until:
            return False
        self._until = self._clock() + self._pause
        return True

    def failed(self) -> bool:
        """Whether this has opened it."""
        self._failed += 1
        if self._failed < self._most:
            return False
        opened, self._until = self._until is None, self._clock() + self._pause
        return opened

    def answered(self) -> None:
        self._failed, self._until = 0, None


class FallbackChain:
    """The `LanguageModel` of an endpoint with several models. At most `attempts` calls are made for one turn."""

    available = True

    def __init__(self, endpoint: Endpoint, fallbacks: Sequence[str], *, attempts: int, clock: Clock) -> None:
        self._endpoint, self._attempts = endpoint, attempts
        self._breakers = {model: Breaker(clock) for model in (endpoint.model, *fallbacks)}

    @property
    def model(self) -> str:
        return self._endpoint.model

    async def complete(self, prompt: Prompt) -> Completion:
        return await self._endpoint.complete(prompt)

    def route(self, failures: Sequence[str]) -> str | None:
        """The model that has failed least in this turn, the earlier in the chain of equals; one whose circuit is open is passed over."""
        if len(failures) >= self._attempts:
            return None
        return next((model for model in sorted(self._breakers, key=failures.count) if self._breakers[model].lend()), None)

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        """A refusal is an answer: the circuit is about who does not answer. A stream that is closed early says nothing about either."""
        breaker = self._breakers[model]
        try:
            async with aclosing(self._endpoint.stream(scene, model=model)) as answer:
                async for piece in answer:
                    if isinstance(piece, Ended):
                        breaker.answered()
                    yield piece
        except (ContentRefused, ProviderRefused):
            breaker.answered()
            raise
        except Unavailable:
            if breaker.failed():
                _log.warning("provider.paused", model=model, seconds=_PAUSE.total_seconds())
            raise
