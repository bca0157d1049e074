"""Signing up, signing in, and one's own profile."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody
from msgspec import Meta as Shape

from app.api.envelope import Answer, Meta
from app.api.preconditions import etag_of, expected_versions, is_known
from app.auth import Authentication, signed_in
from app.errors import PreconditionRequired
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.accounts.commands import ChangeProfile, Profile, RegisterAccount, SignedIn, SignIn
from domain.accounts.errors import BadCredentials, EmailTaken, UnknownAccount
from domain.accounts.rules import profile_problems, registration_problems
from domain.errors import Stale, Unavailable
from domain.types import AccountId, Secret

ME = "/api/v2/users/me"

Email = Annotated[str, Shape(examples=["ada@example.com"], description="Unique without regard to case.")]
Password = Annotated[str, Shape(examples=["correct horse battery staple"], description="8 to 128 characters, hard to guess.")]
FullName = Annotated[str, Shape(examples=["Ada Lovelace"], description="2 to 100 characters of any script.")]
Locale = Annotated[str, Shape(examples=["en-GB"], description="A BCP 47 language tag.")]
Timezone = Annotated[str, Shape(examples=["Europe/London"], description="An IANA time zone.")]
Born = Annotated[date, Shape(examples=["1990-12-10"], description="At least 13 years ago.")]
Instant = Annotated[datetime, Shape(tz=True)]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of the profile that is to change.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "2026", "use": "sig", "alg": "EdDSA"}
ETAG = [ResponseHeader(name="ETag", description="The version of the profile.", documentation_only=True)]


class SignUpRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    email: Email
    password: Password
    full_name: FullName
    date_of_birth: Born
    accept_terms: Annotated[bool, Shape(description="Must be true.")]
    locale: Locale = "en"

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:
        return registration_problems(values, now)


class LoginRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    email: Email
    password: Annotated[str, Shape(examples=["correct horse battery staple"])]


class ProfileChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are left out stay as they are."""

    full_name: FullName | msgspec.UnsetType = msgspec.UNSET
    locale: Locale | msgspec.UnsetType = msgspec.UNSET
    timezone: Timezone | msgspec.UnsetType = msgspec.UNSET

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - nothing here depends on the time
        return profile_problems(values)


class User(msgspec.Struct, frozen=True, kw_only=True):
    id: AccountId
    email: Email
    full_name: FullName
    date_of_birth: Born
    locale: Locale
    timezone: Timezone
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, profile: Profile) -> "User":
        return msgspec.convert(profile, cls, from_attributes=True)


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_in` is in seconds."""

    access_token: Annotated[str, Shape(examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTk5In0.c2lnbmF0dXJl"])]
    token_type: Annotated[str, Shape(examples=["Bearer"])]
    expires_in: Annotated[int, Shape(examples=[900])]


class SignedInUser(msgspec.Struct, frozen=True, kw_only=True):
    user: User
    tokens: TokenPair


@post(
    "/auth/signup",
    operation_id="sign_up",
    summary="Create an account and sign in",
    tags=["auth"],
    opt={"public": True, "rate_limit": "auth"},
    responses=problems(EmailTaken, Mismatch, InProgress, Unavailable),
    response_headers=[ResponseHeader(name="Location", description="The new account.", documentation_only=True)],
)
async def sign_up(
    data: JSONBody[SignUpRequest],
    bus: NamedDependency[Bus],
    authentication: NamedDependency[Authentication],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[SignedInUser]]:
    command = RegisterAccount(
        email=data.email,
        password=Secret(data.password),
        full_name=data.full_name,
        date_of_birth=data.date_of_birth,
        accept_terms=data.accept_terms,
        locale=data.locale,
    )
    await authentication.tokens()  # Without a key there would be an account, but no answer.
    result = await bus.execute(command, by=actor, trace=trace, once=once)
    headers = {"Location": ME, **({"Idempotent-Replayed": "true"} if once is not None and once.replayed else {})}
    return Response(await _signed_in(result, authentication, meta), status_code=201, headers=headers)


@post(
    "/auth/login",
    operation_id="log_in",
    summary="Sign in with e-mail address and password",
    tags=["auth"],
    status_code=200,
    opt={"public": True, "rate_limit": "auth"},
    responses=problems(BadCredentials, Unavailable),
)
async def log_in(
    data: JSONBody[LoginRequest],
    bus: NamedDependency[Bus],
    authentication: NamedDependency[Authentication],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
) -> Answer[SignedInUser]:
    await authentication.tokens()
    result = await bus.execute(SignIn(email=data.email, password=Secret(data.password)), by=actor, trace=trace)
    return await _signed_in(result, authentication, meta)


@get(
    "/users/me",
    operation_id="get_own_profile",
    summary="Read one's own profile",
    tags=["users"],
    guards=[signed_in],
    responses={304: ResponseSpec(None, description="The client has this version."), **problems(UnknownAccount, Unavailable)},
    response_headers=ETAG,
)
async def get_own_profile(
    actor: NamedDependency[Actor], reads: NamedDependency[Reads], meta: NamedDependency[Meta], if_none_match: IfNoneMatch = None
) -> Response[Answer[User] | None]:
    profile = await reads.accounts.profile(own(actor))
    headers = {"ETag": etag_of(profile.version), "Cache-Control": "private, no-cache"}
    if is_known(if_none_match, profile.version):
        return Response(None, status_code=304, headers=headers)
    return Response(Answer(data=User.of(profile), meta=meta), headers=headers)


@patch(
    "/users/me",
    operation_id="change_own_profile",
    summary="Change one's own profile",
    tags=["users"],
    guards=[signed_in],
    responses=problems(UnknownAccount, Stale, PreconditionRequired, Unavailable),
    response_headers=ETAG,
)
async def change_own_profile(
    data: JSONBody[ProfileChanges],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    if_match: IfMatch = None,
) -> Response[Answer[User]]:
    if if_match is None:
        raise PreconditionRequired
    command = ChangeProfile(
        account=own(actor),
        expected=expected_versions(if_match),
        full_name=data.full_name,
        locale=data.locale,
        timezone=data.timezone,
    )
    profile = await bus.execute(command, by=actor, trace=trace)
    return Response(Answer(data=User.of(profile), meta=meta), headers={"ETag": etag_of(profile.version)})


@get(
    "/.well-known/jwks.json",
    operation_id="get_jwks",
    summary="The public keys of access tokens",
    tags=["auth"],
    opt={"public": True, "example": {"keys": [JWK]}},
    responses=problems(Unavailable),
)
async def get_jwks(authentication: NamedDependency[Authentication]) -> Response[dict[str, Any]]:
    return Response((await authentication.tokens()).jwks(), headers={"Cache-Control": "public, max-age=300"})


def own(actor: Actor) -> AccountId:
    """The account of somebody who has passed the guard."""
    if actor.id is None:
        raise UnknownAccount
    return AccountId(actor.id)


async def _signed_in(result: SignedIn, authentication: Authentication, meta: Meta) -> Answer[SignedInUser]:
    token = await authentication.issue(result.profile.id, result.session)
    tokens = TokenPair(access_token=token.token, token_type="Bearer", expires_in=token.expires_in)  # noqa: S106 - a type of token, not a token
    return Answer(data=SignedInUser(user=User.of(result.profile), tokens=tokens), meta=meta)
