"""Access tokens, the good and the forged."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.sealing import SealBrokenError, Sealer
from app.tokens import KeySet, SigningKey, TokenExpired, TokenInvalid, Tokens
from domain.errors import Unproven

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACCOUNT, SESSION = UUID(int=1), UUID(int=2)
ISSUER, AUDIENCE = "https://api.example.com", "fluentpro"
KEY, OLD_KEY = SigningKey.generate(START), SigningKey.generate(START - timedelta(days=90))


class MovedClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def tokens(clock: MovedClock) -> Tokens:
    return Tokens(KeySet(KEY, [OLD_KEY]), ISSUER, AUDIENCE, 900, clock)


def good_payload() -> dict[str, Any]:
    now = int(START.timestamp())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": str(ACCOUNT), "sid": str(SESSION), "iat": now, "exp": now + 900, "jti": "1"}


def good_header() -> dict[str, Any]:
    return {"kid": KEY.kid, "typ": "at+jwt"}


def forged(payload: object, header: dict[str, Any], *, key: Any = KEY.private, algorithm: str = "EdDSA") -> str:
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm=algorithm, headers=header)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_an_issued_token_is_verified(tokens: Tokens) -> None:
    issued = tokens.issue(ACCOUNT, SESSION)
    assert issued.expires_in == 900
    claims = tokens.verify(issued.token)
    assert (claims.account, claims.session) == (ACCOUNT, SESSION)
    assert (claims.issued_at, claims.expires_at) == (START, START + timedelta(seconds=900))


def test_a_token_says_what_rfc_9068_asks(tokens: Tokens) -> None:
    decoded = jwt.PyJWS().decode_complete(tokens.issue(ACCOUNT, SESSION).token, KEY.public, algorithms=["EdDSA"])
    assert decoded["header"] == {"alg": "EdDSA", "kid": KEY.kid, "typ": "at+jwt"}
    payload = json.loads(decoded["payload"])
    assert payload.pop("jti")
    assert payload == {key: value for key, value in good_payload().items() if key != "jti"}


def test_no_two_tokens_are_the_same(tokens: Tokens) -> None:
    assert tokens.issue(ACCOUNT, SESSION) != tokens.issue(ACCOUNT, SESSION)


def test_a_token_made_like_ours_is_accepted_so_that_the_forgeries_below_fail_for_one_reason(tokens: Tokens) -> None:
    assert tokens.verify(forged(good_payload(), good_header())).account == ACCOUNT


def test_a_token_of_a_key_that_only_verifies_any_more_is_accepted(tokens: Tokens) -> None:
    assert tokens.verify(forged(good_payload(), {"kid": OLD_KEY.kid, "typ": "at+jwt"}, key=OLD_KEY.private)).account == ACCOUNT


def test_a_token_is_good_until_the_clock_reaches_its_end(tokens: Tokens, clock: MovedClock) -> None:
    issued = tokens.issue(ACCOUNT, SESSION)
    clock.now = START + timedelta(seconds=900) - timedelta(microseconds=1)
    tokens.verify(issued.token)
    clock.now = START + timedelta(seconds=900)
    with pytest.raises(TokenExpired):
        tokens.verify(issued.token)


def test_expired_and_invalid_are_told_apart_by_their_codes_and_are_both_unproven() -> None:
    assert (TokenExpired.code, TokenInvalid.code) == ("auth.token_expired", "auth.token_invalid")
    assert issubclass(TokenExpired, Unproven)
    assert issubclass(TokenInvalid, Unproven)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"iss": [ISSUER]},
        {"iss": ISSUER + "/"},
        {"aud": "other"},
        {"aud": [AUDIENCE]},
        {"aud": ""},
        {"sub": "ana"},
        {"sub": None},
        {"sid": "1"},
        {"iat": "now"},
        {"exp": "never"},
        {"exp": None},
        {"exp": 1e300},
        {"jti": 1},
        {"exp": 1, "iss": "https://evil.example"},
    ],
)
def test_a_token_of_other_claims_is_invalid(tokens: Tokens, change: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged({**good_payload(), **change}, good_header()))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "sid", "iat", "exp", "jti"])
def test_a_token_that_lacks_a_claim_is_invalid(tokens: Tokens, claim: str) -> None:
    payload = good_payload()
    del payload[claim]
    with pytest.raises(TokenInvalid):
        tokens.verify(forged(payload, good_header()))


@pytest.mark.parametrize("payload", [[], "text", None, 3])
def test_a_token_of_something_else_than_claims_is_invalid(tokens: Tokens, payload: object) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged(payload, good_header()))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "at+jwt", "kid": "unknown"},
        {"typ": "at+jwt", "kid": OLD_KEY.kid},
        {"kid": KEY.kid},
        {"kid": KEY.kid, "typ": "JWT"},
        {"kid": KEY.kid, "typ": "AT+JWT"},
    ],
)
def test_a_token_of_another_header_is_invalid(tokens: Tokens, header: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged(good_payload(), header))


def test_a_token_signed_by_a_key_of_nobody_under_our_name_is_invalid(tokens: Tokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged(good_payload(), good_header(), key=SigningKey.generate(START).private))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "ES256", "EdDSA ", "", None, [], {}, 1])
def test_a_header_that_names_another_algorithm_is_invalid(tokens: Tokens, algorithm: object) -> None:
    header = base64url(json.dumps({**good_header(), "alg": algorithm}).encode())
    payload = base64url(json.dumps(good_payload()).encode())
    signature = base64url(KEY.private.sign(f"{header}.{payload}".encode()))
    for end in ("", signature):
        with pytest.raises(TokenInvalid):
            tokens.verify(f"{header}.{payload}.{end}")


def test_an_hmac_under_our_public_key_is_invalid(tokens: Tokens) -> None:
    header = base64url(json.dumps({**good_header(), "alg": "HS256"}).encode())
    payload = base64url(json.dumps(good_payload()).encode())
    pem = KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for public in (KEY.public.public_bytes_raw(), pem, KEY.jwk()["x"].encode()):
        signature = base64url(hmac.digest(public, f"{header}.{payload}".encode(), hashlib.sha256))
        with pytest.raises(TokenInvalid):
            tokens.verify(f"{header}.{payload}.{signature}")


def test_a_token_changed_anywhere_is_invalid(tokens: Tokens) -> None:
    token = tokens.issue(ACCOUNT, SESSION).token
    for index, letter in enumerate(token):
        changed = token[:index] + ("A" if letter != "A" else "B") + token[index + 1 :]
        with pytest.raises(TokenInvalid):
            tokens.verify(changed)


def test_a_token_that_is_too_long_is_refused_before_it_is_parsed(tokens: Tokens) -> None:
    payload = {**good_payload(), "jti": "x" * 2000}
    with pytest.raises(TokenInvalid) as refused:
        tokens.verify(forged(payload, good_header()))
    assert refused.value.__cause__ is None


@given(st.text(max_size=200) | st.builds("{}.{}.{}".format, *[st.binary(max_size=60).map(base64url)] * 3))
def test_whatever_else_is_sent_as_a_token_is_invalid(text: str) -> None:
    with pytest.raises(TokenInvalid):
        Tokens(KeySet(KEY), ISSUER, AUDIENCE, 900, MovedClock()).verify(text)


def test_text_that_no_header_can_carry_is_invalid(tokens: Tokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify("\ud800.\ud800.\ud800")


def test_a_key_is_the_same_after_it_was_stored_sealed() -> None:
    sealer = Sealer("a long random text")
    sealed = KEY.sealed(sealer)
    assert KEY.private.private_bytes_raw() not in sealed
    restored = SigningKey.unsealed(sealed, KEY.created_at, sealer)
    assert (restored.kid, restored.jwk(), restored.created_at) == (KEY.kid, KEY.jwk(), KEY.created_at)
    with pytest.raises(SealBrokenError):
        SigningKey.unsealed(sealed, KEY.created_at, Sealer("another long random text"))


def test_the_published_keys_verify_our_tokens_and_are_public_only(tokens: Tokens) -> None:
    published = tokens.jwks()
    assert [key["kid"] for key in published["keys"]] == [KEY.kid, OLD_KEY.kid]
    assert all(set(key) == {"kty", "crv", "x", "kid", "use", "alg"} for key in published["keys"])
    assert published["keys"][0] | {"x": "", "kid": ""} == {"kty": "OKP", "crv": "Ed25519", "x": "", "kid": "", "use": "sig", "alg": "EdDSA"}
    verifier = jwt.PyJWK.from_dict(published["keys"][0])
    assert jwt.PyJWS().decode(tokens.issue(ACCOUNT, SESSION).token, verifier, algorithms=["EdDSA"])


def test_a_key_is_named_by_its_thumbprint() -> None:
    # RFC 8037, appendix A.3: the example key, and its thumbprint.
    from_rfc = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
    key = SigningKey.unsealed(Sealer("x").seal("tokens.signing_key", base64.urlsafe_b64decode(from_rfc)), START, Sealer("x"))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
