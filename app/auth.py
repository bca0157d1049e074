"""Token -> Actor on the way in, session -> token on the way out; and the guards that say who may pass a route."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from app.sealing import Sealer
from app.settings import Settings
from app.tokens import AccessToken, Claims, KeySet, SigningKey, TokenInvalid, Tokens
from bus.message import Actor
from db.reads import Reads
from domain.accounts.errors import SessionEnded
from domain.errors import Denied, Unavailable, Unproven
from handlers.ports import Clock

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

AUDIENCE = "fluentpro-api"
JOBS_AUDIENCE = "fluentpro-jobs"
JOBS_SECONDS = 15 * 60
_RELOAD_EVERY = timedelta(seconds=10)
_SCHEME = "bearer"


class ForeignOrigin(Denied):
    code = "request.foreign_origin"
    title = "This was sent by a page of another site. Do it on the page itself."


class Authenticated(msgspec.Struct, frozen=True):
    actor: Actor
    claims: Claims


class Authentication:
    """The keys of this installation, and what they say of a token. Sessions are looked up, so that an ended one counts at once."""

    def __init__(self, reads: Reads, sealer: Sealer, settings: Settings, clock: Clock) -> None:
        self._reads, self._sealer, self._settings, self._clock = reads, sealer, settings, clock
        self._lifetimes = {AUDIENCE: settings.access_token_seconds, JOBS_AUDIENCE: JOBS_SECONDS}
        self._tokens: dict[str, Tokens] = {}
        self._loaded_at = clock() - _RELOAD_EVERY

    async def load(self) -> None:
        """Raises `Unavailable` while there is no key, or no database to read it from."""
        stored = await self._reads.accounts.signing_keys()
        self._loaded_at = self._clock()
        if not stored:
            raise Unavailable("No signing key has been made yet: run `fluentpro seed`.", retry_after=1)
        signing, *others = [SigningKey.unsealed(key.sealed, key.created_at, self._sealer) for key in stored]
        keys = KeySet(signing, others)
        self._tokens = {
            audience: Tokens(keys, self._settings.public_url, audience, seconds, self._clock)
            for audience, seconds in self._lifetimes.items()
        }

    async def tokens(self, audience: str = AUDIENCE) -> Tokens:
        if not self._tokens:
            await self.load()
        return self._tokens[audience]

    async def issue(self, account: UUID, session: UUID, audience: str = AUDIENCE) -> AccessToken:
        return (await self.tokens(audience)).issue(account, session)

    async def authenticate(self, token: str, audience: str = AUDIENCE) -> Authenticated:
        """Raises `TokenInvalid`, `TokenExpired` or `SessionEnded`."""
        claims = await self._verified(token, audience)
        return Authenticated(await self.actor_of(claims.account, claims.session), claims)

    async def actor_of(self, account: UUID, session: UUID) -> Actor:
        """Who acts in a session, and what they may do now. Raises `SessionEnded`."""
        found = await self._reads.accounts.open_session(session, account, now=self._clock())
        if found is None:
            raise SessionEnded
        flags = ("admin",) if found.admin else ()
        return Actor(kind="person", id=account, session=session, flags=flags, proved_at=found.started_at)

    async def _verified(self, token: str, audience: str) -> Claims:
        """Another process may have made a key since ours were loaded."""
        try:
            return (await self.tokens(audience)).verify(token)
        except TokenInvalid:
            if self._clock() - self._loaded_at < _RELOAD_EVERY:
                raise
            await self.load()
            return (await self.tokens(audience)).verify(token)


async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The guard of a route for people who have signed in."""
    await _let_in(connection, bearer(connection), AUDIENCE)


def bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The token in the header. Raises `Unproven`."""
    scheme, *rest = connection.headers.get("authorization", "").split(" ", 1)
    token = rest[0].strip() if rest else ""
    if scheme.lower() != _SCHEME or not token:
        raise Unproven
    return token


async def anyone(connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
    """The guard of a public route that answers more to people who have signed in. A token that is sent must be a good one."""
    if "authorization" in connection.headers:
        await signed_in(connection, route)


async def admin(connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
    """The guard of a route for people who operate this installation."""
    await signed_in(connection, route)
    _refuse_others_than_admins(connection)


def admin_with_cookie(name: str, audience: str) -> Guard:
    """The guard of pages that an admin opens in a browser: a cookie holds the token. What is no browser may send its own, as everywhere."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
        if name not in connection.cookies or "authorization" in connection.headers:
            return await admin(connection, route)
        await _let_in(connection, connection.cookies[name], audience)
        return _refuse_others_than_admins(connection)

    return guard


async def same_origin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The guard against forms and scripts of other sites. What sends neither header is no browser, and nobody can make it send anything."""
    if is_foreign(connection):
        raise ForeignOrigin


def is_foreign(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether a page of another site has sent this."""
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2] != connection.headers.get("host")


async def _let_in(connection: ASGIConnection[Any, Any, Any, Any], token: str, audience: str) -> None:
    found = await cast("Authentication", connection.app.state.authentication).authenticate(token, audience)
    state = connection.scope["state"]
    state["actor"], state["claims"] = found.actor, found.claims


def _refuse_others_than_admins(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    if "admin" not in cast("Actor", connection.scope["state"]["actor"]).flags:
        raise Denied
