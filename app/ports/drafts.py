"""What a learner has typed and not yet said, and where they were: in Redis, sealed under their key, for a week after the last change."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bus.message import Personal, Unavailable
from bus.transport import AWAY
from handlers.ports import PersonKey

log = structlog.get_logger("drafts")

PATIENCE = 2.0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """`position` is the last event that the learner has seen, or the version."""

    text: str
    position: str | None
    updated_at: datetime


class RedisDrafts:
    """One for each conversation; `kept` is in seconds. Raises `Unavailable` while Redis is away."""

    def __init__(self, url: str, kept: float) -> None:
        self._redis: Any = cast("Any", Redis).from_url(url, socket_connect_timeout=1, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0))
        self._kept = round(kept * 1000)

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def put(self, conversation: UUID, draft: Draft, key: PersonKey) -> None:
        sealed = key.seal(msgspec.json.encode(draft).decode()).sealed
        try:
            await self._redis.set(_name(conversation), sealed, px=self._kept)
        except AWAY as error:
            raise _away() from error

    async def get(self, conversation: UUID, key: PersonKey) -> Draft | None:
        try:
            sealed = await self._redis.get(_name(conversation))
        except AWAY as error:
            raise _away() from error
        return None if sealed is None else msgspec.json.decode(key.open(Personal(sealed)), type=Draft)

    async def clear(self, conversation: UUID) -> None:
        try:
            await self._redis.delete(_name(conversation))
        except AWAY as error:
            raise _away() from error

    async def over(self, conversation: UUID) -> None:
        """What was a draft has been said, or its conversation deleted. Neither fails for a draft that could not be cleared."""
        try:
            await self.clear(conversation)
        except Unavailable as outage:
            log.warning("draft_not_cleared", reason=outage.code)


def _name(conversation: UUID) -> str:
    return f"draft:{conversation}"


def _away() -> Unavailable:
    return Unavailable("Drafts cannot be kept or read at the moment.", retry_after=1)
