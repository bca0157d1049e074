"""Signing up, signing in, and the own profile, through the front door."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest

from app.auth import AUDIENCE
from app.bootstrap import PORTS, House, Ports, make_registry
from app.embedded import free_port
from app.ports.fingerprint import HmacFingerprint
from app.ports.passwords import Argon2Passwords
from app.settings import Settings
from app.tokens import SigningKey
from bus.dispatch import Bus
from bus.message import ANONYMOUS
from db.reads import Reads
from domain.accounts.commands import SignIn
from domain.accounts.errors import BadCredentials
from domain.types import Secret
from handlers.ports import Fingerprint, Passwords
from tests.app.client import LOG_IN, ME, PASSWORD, SIGN_UP, Door, Person, door, person, sign_up, web, wrong_fields
from tests.support import HandClock, ScriptedMailer, rows, value

PROBLEM = "application/problem+json"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal, once its document is what RFC 9457 and the contract ask for."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    document = answer.json()
    assert set(document) - {"errors"} == {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["instance"] == answer.request.url.path
    return answer.status_code, document["code"]


async def test_signing_up_answers_with_the_account_a_token_and_where_it_is(client: httpx.AsyncClient, clock: HandClock) -> None:
    answer = await client.post(SIGN_UP, json=person(locale="en-gb"), headers={"X-Request-ID": "sign-up.1"})
    assert answer.status_code == 201
    assert answer.headers["location"] == ME
    now = clock.now.isoformat().replace("+00:00", "Z")
    body = answer.json()
    token = body["data"]["tokens"].pop("access_token")
    identity = body["data"]["user"].pop("id")
    assert body == {
        "data": {
            "user": {
                "email": "ada@example.com",
                "full_name": "Ada Lovelace",
                "date_of_birth": "1990-12-10",
                "locale": "en-GB",
                "timezone": "UTC",
                "created_at": now,
                "updated_at": now,
            },
            "tokens": {"token_type": "Bearer", "expires_in": 900},
        },
        "meta": {"request_id": "sign-up.1", "timestamp": now, "version": "v2"},
    }
    assert UUID(identity).version == 7
    assert answer.headers["x-request-id"] == "sign-up.1"
    assert answer.headers["cache-control"] == "no-store"
    assert (await client.get(ME, headers={"Authorization": f"Bearer {token}"})).json()["data"]["id"] == identity


@pytest.mark.parametrize(
    ("field", "wrong", "code"),
    [
        ("email", "ada", "accounts.email_malformed"),
        ("email", "ada@localhost", "accounts.email_malformed"),
        ("email", "áda@example.com", "accounts.email_malformed"),
        ("password", "7chars!", "accounts.password_too_short"),
        ("password", "x" * 129, "accounts.password_too_long"),
        ("password", "lovelace1990", "accounts.password_guessable"),
        ("full_name", "A", "accounts.full_name_too_short"),
        ("full_name", "A" * 101, "accounts.full_name_too_long"),
        ("full_name", "Ada\tLovelace", "accounts.full_name_character"),
        ("date_of_birth", "1900-12-31", "accounts.born_too_early"),
        ("date_of_birth", (datetime.now(UTC) - timedelta(days=12 * 365)).date().isoformat(), "accounts.too_young"),
        ("date_of_birth", "10.12.1990", "format"),
        ("accept_terms", False, "accounts.terms_not_accepted"),
        ("accept_terms", "yes", "type"),
        ("locale", "english", "accounts.locale_malformed"),
        ("nickname", "ada", "unknown"),
    ],
)
async def test_each_rule_of_signing_up_names_its_field(client: httpx.AsyncClient, field: str, wrong: object, code: str) -> None:
    answer = await client.post(SIGN_UP, json=person(**{field: wrong}))
    assert problem(answer) == (422, "request.invalid")
    assert wrong_fields(answer) == {f"/{field}": code}


@pytest.mark.parametrize("field", ["email", "password", "full_name", "date_of_birth", "accept_terms"])
async def test_a_missing_field_is_named_by_the_pointer_that_it_would_have(client: httpx.AsyncClient, field: str) -> None:
    answer = await client.post(SIGN_UP, json=person(**{field: None}))
    assert wrong_fields(answer) == {f"/{field}": "missing"}


async def test_everything_that_is_wrong_is_named_at_once_and_nothing_is_echoed(client: httpx.AsyncClient, door: Door) -> None:
    body = {"email": 1, "password": "hunter2", "full_name": "", "accept_terms": False, "locale": None, "is_admin": True}
    answer = await client.post(SIGN_UP, json=body)
    assert wrong_fields(answer) == {
        "/email": "type",
        "/password": "accounts.password_too_short",
        "/full_name": "accounts.full_name_too_short",
        "/date_of_birth": "missing",
        "/accept_terms": "accounts.terms_not_accepted",
        "/locale": "type",
        "/is_admin": "unknown",
    }
    assert "hunter2" not in answer.text
    assert await value(door.house, "SELECT count(*) FROM events") == 0


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"", "application/json", (400, "request.malformed_json")),
        (b'{"email": ', "application/json", (400, "request.malformed_json")),
        (b'{"email": "\xff"}', "application/json", (400, "request.malformed_json")),
        (b"[" * 10_000, "application/json", (400, "request.malformed_json")),
        (b"[]", "application/json", (422, "request.invalid")),
        (b"email=ada", "application/x-www-form-urlencoded", (415, "request.unsupported_media_type")),
        (b'{"email": "' + b"a" * (1 << 20) + b'"}', "application/json", (413, "request.too_large")),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, content: bytes, media_type: str, expected: tuple[int, str]
) -> None:
    assert problem(await client.post(SIGN_UP, content=content, headers={"Content-Type": media_type})) == expected


@pytest.mark.parametrize(("first", "second"), [("ada@example.com", "ADA@Example.COM"), ("ada@bücher.example", "ada@XN--BCHER-KVA.example")])
async def test_an_address_is_taken_in_whatever_way_it_is_written(client: httpx.AsyncClient, door: Door, first: str, second: str) -> None:
    await sign_up(client, email=first)
    assert problem(await client.post(SIGN_UP, json=person(email=second))) == (409, "accounts.email_taken")
    assert await value(door.house, "SELECT count(*) FROM accounts") == 1
    assert (await client.post(LOG_IN, json={"email": second, "password": PASSWORD})).status_code == 200


async def test_a_repeated_request_with_the_same_key_gets_the_same_answer(client: httpx.AsyncClient, door: Door) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first, second = [await client.post(SIGN_UP, json=person(), headers=headers) for _ in range(2)]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (second.status_code, second.headers["location"]) == (first.status_code, first.headers["location"])
    assert second.json()["data"]["user"] == first.json()["data"]["user"]
    assert second.json()["meta"]["request_id"] == second.headers["x-request-id"] != first.headers["x-request-id"]
    sessions = [claims(answer.json()["data"]["tokens"]["access_token"])["sid"] for answer in (first, second)]
    assert sessions[0] == sessions[1]
    assert await value(door.house, "SELECT count(*) FROM events") == 1


async def test_a_key_used_for_another_request_is_refused(client: httpx.AsyncClient, door: Door) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    await client.post(SIGN_UP, json=person(), headers=headers)
    answer = await client.post(SIGN_UP, json=person(full_name="Ada King"), headers=headers)
    assert problem(answer) == (409, "request.idempotency_mismatch")
    assert await value(door.house, "SELECT count(*) FROM accounts") == 1


@pytest.mark.parametrize("key", ["1", "a" * 21, "a" * 256, "two words with a newline\tin"])
async def test_a_key_that_others_could_guess_is_refused(client: httpx.AsyncClient, door: Door, key: str) -> None:
    answer = await client.post(SIGN_UP, json=person(), headers={"Idempotency-Key": key})
    assert problem(answer) == (422, "request.invalid")
    assert wrong_fields(answer) == {"/Idempotency-Key": "not_allowed"}
    assert await value(door.house, "SELECT count(*) FROM accounts") == 0


async def test_equal_requests_at_the_same_time_become_one_account_and_equal_answers(client: httpx.AsyncClient, door: Door) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(*(client.post(SIGN_UP, json=person(), headers=headers) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.json()["data"]["user"]["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 4
    assert await value(door.house, "SELECT count(*) FROM events") == 1


async def test_fifty_concurrent_sign_ups_with_one_address_make_one_account(settings: Settings, house: House) -> None:
    async with door(settings):
        """The signing key."""
    limits = httpx.Limits(max_connections=50)
    async with web(settings) as process, process.client(limits=limits, timeout=60) as client:
        answers = await asyncio.gather(*(client.post(SIGN_UP, json=person(full_name=f"Ada {n}")) for n in range(50)))
    outcomes = sorted(answer.status_code for answer in answers)
    assert outcomes == [201] + [409] * 49
    assert {problem(answer) for answer in answers if answer.status_code == 409} == {(409, "accounts.email_taken")}
    assert await value(house, "SELECT count(*) FROM accounts") == 1
    assert await value(house, "SELECT count(*) FROM events") == 1


async def test_sixty_requests_at_once_are_let_through_and_the_next_is_told_when_to_come_back(client: httpx.AsyncClient) -> None:
    first = await client.post(SIGN_UP, json={})
    assert (first.status_code, first.headers["ratelimit-policy"]) == (422, '"auth";q=60;w=60')
    assert first.headers["ratelimit"].startswith('"auth";r=59;t=')
    for _ in range(59):
        assert (await client.post(LOG_IN, json={})).status_code == 422
    refused = await client.post(SIGN_UP, json=person())
    assert problem(refused) == (429, "request.too_many")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"auth";q=60;w=60'
    assert refused.headers["ratelimit"].startswith('"auth";r=0;t=')
    assert problem(await client.get(ME)) == (401, "auth.required")


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


async def test_signing_in_answers_as_signing_up_does_with_a_session_of_its_own(client: httpx.AsyncClient) -> None:
    signed_up = (await client.post(SIGN_UP, json=person())).json()["data"]
    answer = await client.post(LOG_IN, json={"email": " Ada@Example.com ", "password": PASSWORD})
    assert answer.status_code == 200
    assert "location" not in answer.headers
    data = answer.json()["data"]
    assert data["user"] == signed_up["user"]
    assert set(data["tokens"]) == {"access_token", "token_type", "expires_in"}
    assert claims(data["tokens"]["access_token"])["sid"] != claims(signed_up["tokens"]["access_token"])["sid"]


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer_and_each_leaves_its_event(
    client: httpx.AsyncClient, door: Door
) -> None:
    await sign_up(client)
    same = {"X-Request-ID": "refused", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    wrong, unknown = [
        await client.post(LOG_IN, json={"email": email, "password": "a stork over the grey canal"}, headers=same)
        for email in ("ada@example.com", "bob@example.com")
    ]
    assert problem(wrong) == (401, "accounts.bad_credentials")
    assert wrong.content == unknown.content
    assert wrong.headers["www-authenticate"] == "Bearer"
    assert {name for name, _ in wrong.headers.items()} == {name for name, _ in unknown.headers.items()}
    refusals = await rows(
        door.house,
        "SELECT data->>'reason' AS reason, meta->'trace'->>'correlation_id' AS correlation FROM events "
        "WHERE name = 'accounts.sign_in_refused' ORDER BY id",
    )
    assert [refusal["reason"] for refusal in refusals] == ["wrong_password", "unknown_address"]


class CountingPasswords:
    """The shipped hashing, and how often it was asked to verify what kind of hash."""

    def __init__(self) -> None:
        self._passwords = Argon2Passwords(1)
        self.verified: list[bool] = []

    async def hash(self, password: Secret) -> str:
        return await self._passwords.hash(password)

    async def verify(self, hashed: str | None, password: Secret) -> bool:
        self.verified.append(hashed is not None)
        return await self._passwords.verify(hashed, password)


async def test_an_unknown_address_costs_the_one_verification_that_a_known_one_costs(door: Door, clock: HandClock) -> None:
    await sign_up(door.client)
    house, passwords = door.house, CountingPasswords()
    asked = {Passwords: passwords, Fingerprint: HmacFingerprint(house.sealer, "sign_in.address"), Reads: house.reads}
    ports: dict[Any, object] = {**dict.fromkeys(PORTS, object()), **asked}
    registry = make_registry(house.settings, sealer=house.sealer, ports=ports, clock=clock, new_id=house.new_id)
    bus = Bus(registry, house.ledger, clock=clock, new_id=house.new_id)
    for email in ("ada@example.com", "bob@example.com", "no address"):
        with pytest.raises(BadCredentials):
            await bus.execute(SignIn(email=email, password=Secret("wrong")), by=ANONYMOUS)
    assert passwords.verified == [True, False, False]


async def test_a_token_is_verified_by_a_plain_library_with_the_published_keys(client: httpx.AsyncClient, clock: HandClock) -> None:
    somebody = await sign_up(client)
    header = jwt.get_unverified_header(somebody.token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "EdDSA")
    published = await client.get("/.well-known/jwks.json")
    assert published.status_code == 200
    assert published.headers["cache-control"] == "public, max-age=300"
    assert all("d" not in key for key in published.json()["keys"])
    key = jwt.PyJWKSet.from_dict(published.json())[header["kid"]]
    found = jwt.decode(somebody.token, key, algorithms=["EdDSA"], audience="fluentpro-api", issuer="http://127.0.0.1:8000")
    assert found["sub"] == str(somebody.id)
    assert (found["iat"], found["exp"]) == (int(clock.now.timestamp()), int(clock.now.timestamp()) + 900)


def test_the_audience_is_what_other_services_have_been_told() -> None:
    assert AUDIENCE == "fluentpro-api"


async def test_a_token_counts_until_the_moment_that_it_expires(client: httpx.AsyncClient, clock: HandClock) -> None:
    somebody = await sign_up(client)
    clock.move(seconds=899)
    assert (await client.get(ME, headers=somebody.headers)).status_code == 200
    clock.move(seconds=1)
    answer = await client.get(ME, headers=somebody.headers)
    assert problem(answer) == (401, "auth.token_expired")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_token_that_is_not_ours_or_was_altered_is_refused(client: httpx.AsyncClient, clock: HandClock) -> None:
    token = (await sign_up(client)).token
    header, payload, signature = token.split(".")
    kid = jwt.get_unverified_header(token)["kid"]
    foreign = SigningKey.generate(clock())
    altered = base64.urlsafe_b64encode(msgspec.json.encode(claims(token) | {"sub": str(uuid4())})).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(msgspec.json.encode({"alg": "none", "typ": "at+jwt", "kid": kid})).rstrip(b"=").decode()
    for wrong in (
        f"{header}.{altered}.{signature}",
        f"{unsigned}.{payload}.",
        jwt.encode(claims(token), foreign.private, algorithm="EdDSA", headers={"kid": kid, "typ": "at+jwt"}),
        jwt.encode(claims(token), "x" * 64, algorithm="HS256", headers={"kid": kid, "typ": "at+jwt"}),
        "no token",
        "a" * 3000,
    ):
        answer = await client.get(ME, headers={"Authorization": f"Bearer {wrong}"})
        assert problem(answer) == (401, "auth.token_invalid")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert wrong not in answer.text


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}])
@pytest.mark.parametrize(("method", "path"), [("GET", ME), ("PATCH", ME), ("GET", "/api/v2/events")])
async def test_nobody_passes_without_a_token(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = await client.request(method, path, headers=headers)
    assert problem(answer) == (401, "auth.required")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_session_that_has_ended_counts_at_once(client: httpx.AsyncClient, door: Door) -> None:
    somebody = await sign_up(client)
    await value(door.house, "UPDATE sessions SET ended_at = now()")
    assert problem(await client.get(ME, headers=somebody.headers)) == (401, "accounts.session_ended")


async def test_a_token_signed_with_a_key_that_another_process_made_since_is_accepted(
    client: httpx.AsyncClient, door: Door, clock: HandClock
) -> None:
    somebody = await sign_up(client)
    newer = SigningKey.generate(clock() + timedelta(seconds=1))
    sealed = newer.sealed(door.house.sealer)
    await value(door.house, "INSERT INTO signing_keys VALUES ($1, $2, $3)", newer.kid, sealed, newer.created_at)
    token = jwt.encode(claims(somebody.token), newer.private, algorithm="EdDSA", headers={"kid": newer.kid, "typ": "at+jwt"})
    assert problem(await client.get(ME, headers={"Authorization": f"Bearer {token}"})) == (401, "auth.token_invalid")
    clock.move(seconds=10)
    assert (await client.get(ME, headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_a_profile_is_not_sent_again_to_whoever_has_it(client: httpx.AsyncClient) -> None:
    somebody = await sign_up(client)
    answer = await client.get(ME, headers=somebody.headers)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert set(answer.json()["data"]) == {
        "id", "email", "full_name", "date_of_birth", "locale", "timezone", "created_at", "updated_at",
    }  # fmt: skip
    for known in ('"1"', 'W/"1"', '"0", "1"', "*"):
        again = await client.get(ME, headers={**somebody.headers, "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"1"')
    assert (await client.get(ME, headers={**somebody.headers, "If-None-Match": '"2"'})).status_code == 200
    unquoted = await client.get(ME, headers={**somebody.headers, "If-None-Match": "1"})
    assert wrong_fields(unquoted) == {"/If-None-Match": "malformed"}


async def change(client: httpx.AsyncClient, somebody: Person, if_match: str | None, **changes: object) -> httpx.Response:
    return await client.patch(ME, json=changes, headers={**somebody.headers, **({} if if_match is None else {"If-Match": if_match})})


async def test_a_profile_changes_for_whoever_names_the_version_that_they_have_read(client: httpx.AsyncClient, clock: HandClock) -> None:
    somebody = await sign_up(client)
    clock.move(minutes=1)
    answer = await change(client, somebody, '"1"', full_name=" Ada King ", locale="fr-ca", timezone="America/Toronto")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    data = answer.json()["data"]
    assert (data["full_name"], data["locale"], data["timezone"]) == ("Ada King", "fr-CA", "America/Toronto")
    assert data["updated_at"] == clock.now.isoformat().replace("+00:00", "Z") > data["created_at"]
    read = await client.get(ME, headers=somebody.headers)
    assert (read.json()["data"], read.headers["etag"]) == (data, '"2"')


@pytest.mark.parametrize(
    ("if_match", "status", "code"),
    [
        (None, 428, "request.precondition_required"),
        ('"0"', 412, "request.stale"),
        ('"2"', 412, "request.stale"),
        ('W/"1"', 412, "request.stale"),
        ('"one"', 412, "request.stale"),
        ("1", 422, "request.invalid"),
    ],
)
async def test_a_change_that_does_not_name_the_version_is_refused(
    client: httpx.AsyncClient, if_match: str | None, status: int, code: str
) -> None:
    somebody = await sign_up(client)
    assert problem(await change(client, somebody, if_match, timezone="Europe/Paris")) == (status, code)
    assert (await client.get(ME, headers=somebody.headers)).headers["etag"] == '"1"'


@pytest.mark.parametrize("if_match", ["*", '"1"', '"7", "1"', 'W/"1", "1"'])
async def test_a_change_may_name_several_versions_or_any(client: httpx.AsyncClient, if_match: str) -> None:
    somebody = await sign_up(client)
    assert (await change(client, somebody, if_match, timezone="Europe/Paris")).status_code == 200


@pytest.mark.parametrize("changes", [{}, {"full_name": "Ada Lovelace "}, {"locale": "EN", "timezone": "UTC"}])
async def test_a_change_that_changes_nothing_keeps_the_version(client: httpx.AsyncClient, door: Door, changes: dict[str, str]) -> None:
    somebody = await sign_up(client)
    answer = await change(client, somebody, '"1"', **changes)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert await value(door.house, "SELECT count(*) FROM events") == 1


async def test_every_wrong_field_of_a_change_is_named(client: httpx.AsyncClient) -> None:
    somebody = await sign_up(client)
    answer = await change(client, somebody, '"1"', full_name="A", locale=7, timezone="Mars/Olympus", email="eve@example.com")
    assert problem(answer) == (422, "request.invalid")
    assert wrong_fields(answer) == {
        "/full_name": "accounts.full_name_too_short",
        "/locale": "type",
        "/timezone": "accounts.timezone_unknown",
        "/email": "unknown",
    }


async def test_of_two_changes_to_the_same_version_exactly_one_wins(client: httpx.AsyncClient, door: Door) -> None:
    somebody = await sign_up(client)
    for version in range(1, 6):
        answers = await asyncio.gather(*(change(client, somebody, f'"{version}"', full_name=f"Ada {version}{n}") for n in "ab"))
        assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert await value(door.house, "SELECT count(*) FROM events WHERE name = 'accounts.profile_changed'") == 5


@asynccontextmanager
async def no_commit(house: House) -> AsyncGenerator[None]:
    """While it lasts, whatever adds an account fails at its commit."""
    async with house.database.driver() as driver:
        await driver.execute(
            "CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is on fire'; END $$"
        )
        await driver.execute(
            "CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse_commit()"
        )
    try:
        yield
    finally:
        async with house.database.driver() as driver:
            await driver.execute("DROP FUNCTION refuse_commit CASCADE")


async def test_a_commit_that_fails_is_an_error_and_leaves_nothing(client: httpx.AsyncClient, door: Door) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    async with no_commit(door.house):
        answer = await client.post(SIGN_UP, json=person(), headers=headers)
    assert problem(answer) == (500, "server.error")
    assert "fire" not in answer.text
    for table in ("accounts", "sessions", "events", "outbox"):
        assert await value(door.house, f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - the names above
    again = await client.post(SIGN_UP, json=person(), headers=headers)
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers


async def test_without_the_database_every_request_that_needs_it_says_when_to_come_back(settings: Settings) -> None:
    gone = msgspec.structs.replace(settings, database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    async with door(gone, seeded=False) as closed:
        for answer in (
            await closed.client.post(SIGN_UP, json=person()),
            await closed.client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD}),
            await closed.client.get(ME, headers={"Authorization": "Bearer a.b.c"}),
            await closed.client.get("/.well-known/jwks.json"),
        ):
            assert problem(answer) == (503, "service.database_unavailable")
            assert answer.headers["retry-after"] == "1"


async def test_without_redis_people_sign_up_and_in_all_the_same(settings: Settings) -> None:
    gone = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with door(gone, Ports(mailer=ScriptedMailer())) as open_door:
        somebody = await sign_up(open_door.client)
        assert (await open_door.client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})).status_code == 200
        assert (await change(open_door.client, somebody, "*", timezone="Europe/Paris")).status_code == 200
