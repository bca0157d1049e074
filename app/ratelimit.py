"""Limits how often a client address may ask for a route: an atomic GCRA in Redis, the same for every process.

A route names its bucket: `@post("/auth/login", opt={"rate_limit": "auth"})`.
"""

import asyncio
import ipaddress
import math
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.exceptions import ImproperlyConfiguredException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from redis.asyncio import Redis

from bus.transport import AWAY
from domain.errors import TooMany

logger = structlog.stdlib.get_logger()

PATIENCE = 0.25  # Seconds that Redis has for an answer before a request is let through, where nothing else is said.
AT_ONCE = 8  # Requests that ask Redis at the same time. The others wait for their turn, or a flood would open the door for itself.
SPARED = 1.0  # Seconds for which a Redis that did not answer is not asked again, so that nobody queues behind it.
WARN_EVERY = 60.0

# The generic cell rate algorithm: one timestamp per key, the theoretical arrival time, in microseconds of Redis' own clock.
# The key lives exactly as long as it says anything. A refused request moves nothing.
GCRA = """
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local allowed_at = arrival + interval - burst * interval
if allowed_at > now then
  return {0, 0, allowed_at - now, arrival - now}
end
arrival = arrival + interval
redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000))
return {1, math.floor((now - allowed_at) / interval), 0, arrival - now}
"""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`burst` requests at once; after that as many as `per_minute` gives back."""

    burst: int
    per_minute: int

    @property
    def interval(self) -> int:
        """Microseconds until one request is given back."""
        return math.ceil(60_000_000 / self.per_minute)

    @property
    def window(self) -> int:
        """Seconds until a spent burst is whole again."""
        return math.ceil(self.burst * self.interval / 1_000_000)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking: `retry_after` and `whole_after` are in seconds."""

    allowed: bool
    remaining: int
    retry_after: float
    whole_after: float


class RateLimit(ASGIMiddleware):
    """Refuses with `TooMany` what is over the limit of its bucket. With Redis down or slow everything is let through, and warned of."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, redis: Redis, limits: Mapping[str, Limit], *, patience: float = PATIENCE) -> None:
        self._script: Any = redis.register_script(GCRA)
        self._limits = limits
        self._patience = patience
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._spared_until = -math.inf
        self._warned_at = -math.inf

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        bucket = cast("str | None", scope["route_handler"].opt.get("rate_limit"))
        if bucket is not None:
            limit = self._limits.get(bucket)
            if limit is None:
                raise ImproperlyConfiguredException(
                    f"The route {scope['path']} names the rate limit {bucket!r}; known: {sorted(self._limits)}."
                )
            taken = await self.take(bucket, limit, client_address(scope["client"]))
            if taken is not None:
                scope["state"]["headers"] = headers(bucket, limit, taken)
                if not taken.allowed:
                    raise TooMany(retry_after=taken.retry_after)
        await next_app(scope, receive, send)

    async def take(self, bucket: str, limit: Limit, address: str) -> Taken | None:
        """Ask for one request; None when Redis does not answer in time."""
        async with self._turns:
            if time.monotonic() < self._spared_until:
                return None
            try:
                async with asyncio.timeout(self._patience):
                    answer = await self._script(keys=[f"rate:{bucket}:{address}"], args=[limit.interval, limit.burst])
            except AWAY as error:
                self._spared_until = time.monotonic() + SPARED
                self._warn(error)
                return None
        allowed, remaining, retry, whole = cast("list[int]", answer)
        return Taken(allowed=bool(allowed), remaining=remaining, retry_after=retry / 1e6, whole_after=whole / 1e6)

    def _warn(self, error: Exception) -> None:
        if time.monotonic() - self._warned_at >= WARN_EVERY:
            self._warned_at = time.monotonic()
            logger.warning("rate_limit_unavailable", error=repr(error), hint="Requests are not limited until Redis answers again.")


def client_address(client: tuple[str, int] | None) -> str:
    """The address that is limited: an IPv6 network of 64 bits is one client. Peers without an address (Unix sockets) are one client too."""
    if client is None:
        return "local"
    try:
        address: Any = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004  IPv4.


def headers(bucket: str, limit: Limit, taken: Taken) -> dict[str, str]:
    """The fields of draft-ietf-httpapi-ratelimit-headers."""
    return {
        "RateLimit-Policy": f'"{bucket}";q={limit.burst};w={limit.window}',
        "RateLimit": f'"{bucket}";r={taken.remaining};t={math.ceil(taken.whole_after)}',
    }
