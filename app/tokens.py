"""Access tokens: EdDSA-signed JWTs as of RFC 9068, and the keys they are signed and verified with."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.sealing import Sealer
from domain.errors import Unproven
from handlers.ports import Clock

_ALGORITHM: Final = "EdDSA"
_TYPE: Final = "at+jwt"
_PURPOSE: Final = "tokens.signing_key"
# Ours have under 600 characters; whatever is much longer is not worth parsing.
_TOKEN_MOST: Final = 2048


class TokenInvalid(Unproven):
    """The detail does not say what is wrong with the token: only whoever forges one would want to know."""

    code = "auth.token_invalid"
    title = "This access token is not valid. Sign in again."


class TokenExpired(Unproven):
    code = "auth.token_expired"
    title = "This access token has expired. Sign in again."


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_in` is in seconds."""

    token: str
    expires_in: int


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    account: UUID
    session: UUID
    issued_at: datetime
    expires_at: datetime


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    iss: str
    aud: str
    sub: UUID
    sid: UUID
    iat: int
    exp: int
    jti: str


class SigningKey:
    """An Ed25519 key pair. `kid` is the thumbprint of its public half (RFC 7638), so it needs no place of its own in a row."""

    def __init__(self, private: Ed25519PrivateKey, created_at: datetime) -> None:
        self.private, self.created_at = private, created_at
        self.public = private.public_key()
        self._x = base64.urlsafe_b64encode(self.public.public_bytes_raw()).rstrip(b"=").decode("ascii")
        members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": self._x}, separators=(",", ":"))
        self.kid = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode("ascii")

    @classmethod
    def generate(cls, now: datetime) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate(), now)

    @classmethod
    def unsealed(cls, sealed: bytes, created_at: datetime, sealer: Sealer) -> "SigningKey":
        """Raises `SealBrokenError`."""
        return cls(Ed25519PrivateKey.from_private_bytes(sealer.open(_PURPOSE, sealed)), created_at)

    def sealed(self, sealer: Sealer) -> bytes:
        return sealer.seal(_PURPOSE, self.private.private_bytes_raw())

    def jwk(self) -> dict[str, str]:
        """The public half, as of RFC 8037."""
        return {"kty": "OKP", "crv": "Ed25519", "x": self._x, "kid": self.kid, "use": "sig", "alg": _ALGORITHM}


class KeySet:
    """The key that signs, and with it those that only verify any more, or do not sign yet."""

    def __init__(self, signing: SigningKey, verifying: Iterable[SigningKey] = ()) -> None:
        self.signing = signing
        self._by_kid = {key.kid: key for key in (signing, *verifying)}

    def find(self, kid: object) -> SigningKey | None:
        return self._by_kid.get(kid) if isinstance(kid, str) else None

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return {"keys": [key.jwk() for key in self._by_kid.values()]}


class Tokens:
    """Issues and verifies access tokens of one issuer for one audience."""

    def __init__(self, keys: KeySet, issuer: str, audience: str, lifetime_seconds: int, clock: Clock) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._lifetime, self._clock = lifetime_seconds, clock
        self._jws = jwt.PyJWS(algorithms=[_ALGORITHM])

    def issue(self, account: UUID, session: UUID) -> AccessToken:
        now = int(self._clock().timestamp())
        payload = _Payload(
            iss=self._issuer,
            aud=self._audience,
            sub=account,
            sid=session,
            iat=now,
            exp=now + self._lifetime,
            jti=secrets.token_urlsafe(16),
        )
        key = self._keys.signing
        headers = {"kid": key.kid, "typ": _TYPE}
        token = self._jws.encode(msgspec.json.encode(payload), key.private, algorithm=_ALGORITHM, headers=headers)
        return AccessToken(token=token, expires_in=self._lifetime)

    def verify(self, token: str) -> Claims:
        """Raises `TokenExpired` for a token that was good once, `TokenInvalid` for any other. No leeway is given."""
        if len(token) > _TOKEN_MOST or not token.isascii():
            raise TokenInvalid
        try:
            payload = msgspec.json.decode(self._authentic(token), type=_Payload)
        except (jwt.PyJWTError, msgspec.DecodeError) as problem:
            raise TokenInvalid from problem
        if payload.iss != self._issuer or payload.aud != self._audience:
            raise TokenInvalid
        if self._clock().timestamp() >= payload.exp:
            raise TokenExpired
        return Claims(
            account=payload.sub,
            session=payload.sid,
            issued_at=datetime.fromtimestamp(payload.iat, UTC),
            expires_at=datetime.fromtimestamp(payload.exp, UTC),
        )

    def _authentic(self, token: str) -> bytes:
        """The payload, once type, key and signature are right. Claims are checked by the caller, by our clock instead of PyJWT's."""
        header: dict[str, Any] = self._jws.get_unverified_header(token)
        key = self._keys.find(header.get("kid"))
        if header.get("typ") != _TYPE or key is None:
            raise TokenInvalid
        payload: bytes = self._jws.decode(token, key.public, algorithms=[_ALGORITHM])
        return payload

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return self._keys.jwks()
