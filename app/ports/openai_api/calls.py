"""What every call has in common: the client, and what its failures mean to us.

The package's own retries are off: how long to wait, and whether at all, is for whoever asked to decide. What a provider says about an error
may repeat the text that it was sent, so it is neither logged nor kept.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import msgspec
import openai
import structlog
from openai import AsyncOpenAI

from domain.errors import Unavailable
from handlers.ports import ProviderRefused

T = TypeVar("T")

_RETRY_AFTER: Final = 30.0
_MOST_RETRY_AFTER: Final = 3600.0
_TRY_LATER: Final = (408, 409, 425, 429)
_BROKEN: Final = 500
_NO_KEY: Final = "none"  # Servers of one's own often want none; the package wants one.

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def client_of(url: str, key: str, timeout: float) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key=key or _NO_KEY, max_retries=0, timeout=timeout)


@contextmanager
def translated(what: str, model: str, *, retry_after: float = _RETRY_AFTER) -> Generator[None, None, None]:
    """Raises `Unavailable` and `ProviderRefused` for what the package raises, and for a `TimeoutError` of one's own time limits.

    `retry_after` is said where the provider does not say when to come again.
    """
    try:
        yield
    except openai.APIStatusError as error:
        later = error.status_code in _TRY_LATER or error.status_code >= _BROKEN
        _log.warning("provider.refused", what=what, model=model, status=error.status_code)
        if later:
            raise unavailable(_retry_after(error.response.headers, retry_after)) from None
        raise ProviderRefused(
            f"The provider refuses the {what} with status {error.status_code}. Look at its URL, its key and the model {model}.",
            retry_after=retry_after,
        ) from None
    except (openai.OpenAIError, TimeoutError) as error:
        _log.warning("provider.unreachable", what=what, model=model, error=type(error).__name__)
        raise unavailable(retry_after) from None


def decoded(content: bytes, shape: type[T], what: str, model: str) -> T:
    try:
        return msgspec.json.decode(content, type=shape)
    except ValueError:  # Those of msgspec are.
        raise malformed(what, model, "it is not of the shape that was agreed") from None


def unavailable(seconds: float) -> Unavailable:
    return Unavailable("The provider of language models does not answer at the moment.", retry_after=seconds)


def malformed(what: str, model: str, why: str) -> ProviderRefused:
    _log.warning("provider.malformed", what=what, model=model, why=why)
    return ProviderRefused(f"The provider's answer to {what} with {model} cannot be used: {why}.", retry_after=_RETRY_AFTER)


def _retry_after(headers: Any, otherwise: float) -> float:
    """In seconds, of a header that is a number or a date (RFC 9110, 10.2.3)."""
    text = str(headers.get("retry-after", "")).strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return otherwise
    return min(max(seconds, 1.0), _MOST_RETRY_AFTER)
