"""Finding one's role by one's own words, over HTTP."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from app.bootstrap import Ports
from app.settings import Settings
from bus.message import SYSTEM, Actor
from domain.catalogue.commands import EmbedRoles, SeedCatalogue
from domain.catalogue.identity import entry_id
from domain.onboarding.commands import ChooseIndustry, ChooseNativeLanguage, DescribeRole
from domain.types import AccountId
from tests.app import client as clients
from tests.app.client import Door, Person, sign_up, wrong_fields
from tests.app.provider import Answer, Body, Provider, answered, embeddings, provider
from tests.support import HandClock, ScriptedMailer, harness_of, rows, value

MATCHES = "/api/v2/onboarding/role-matches"
MESSY = {
    "job_title": "Snr RM corp banking",
    "job_description": "Take care of corporate client relationship, cross sell loan and FX product",
}


async def prepared(door: Door, industry: str | None = "banking_finance", **signing_up: object) -> Person:
    """Somebody whose journey has reached the role, in a house with the catalogue and its vectors."""
    bus = door.house.bus
    await bus.execute(SeedCatalogue(), by=SYSTEM)
    await harness_of(door.house).settle()
    person = await sign_up(door.client, **signing_up)
    account, by = AccountId(person.id), Actor(kind="person", id=person.id)
    language = ChooseNativeLanguage(
        account=account, expected=None, language="zh-Hant", proficiency="B1", target_language="en", explanation_language=None
    )
    await bus.execute(language, by=by)
    if industry is not None:
        await bus.execute(ChooseIndustry(account=account, expected=None, industry=industry), by=by)
    return person


async def ask(client: httpx.AsyncClient, person: Person, body: object = MESSY, **headers: str) -> httpx.Response:
    return await client.post(MATCHES, json=body, headers={**person.headers, **headers})


async def found(client: httpx.AsyncClient, person: Person, body: object = MESSY) -> dict[str, Any]:
    answer = await ask(client, person, body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_messy_words_find_the_role_and_say_why(door: Door) -> None:
    person = await prepared(door)
    answer = await found(door.client, person)
    assert (answer["none_fits"], answer["degraded"], answer["degraded_reason"]) == (False, False, None)
    assert len(answer["matches"]) == 5
    best = answer["matches"][0]
    assert (best["role"]["slug"], best["industry"]) == ("relationship_manager", str(entry_id("industry", "banking_finance")))
    assert best["role"]["id"] == str(entry_id("role", "relationship_manager"))
    assert {"relationship", "corporate"} <= {*best["reasons"]["words"]} | {"corporate"}
    sure = [match["confidence"] for match in answer["matches"]]
    assert sure == sorted(sure, reverse=True)
    assert all(0 <= one <= 1 for one in sure)


async def test_work_of_another_kind_fits_no_role_but_the_nearest_are_listed(door: Door) -> None:
    person = await prepared(door)
    answer = await found(
        door.client, person, {"job_title": "Nurse", "job_description": "I look after patients in a hospital ward at night"}
    )
    assert answer["none_fits"] is True
    assert len(answer["matches"]) == 5


async def test_words_that_say_nothing_fit_no_role(door: Door) -> None:
    person = await prepared(door)
    for body in (
        {"job_title": "???", "job_description": "!!!!!!!!!!!!"},
        {"job_title": "的的", "job_description": "的的的的的的的的的的的"},
    ):
        answer = await found(door.client, person, body)
        assert (answer["none_fits"], len(answer["matches"])) == (True, 5)


async def test_an_industry_without_roles_answers_with_none(door: Door) -> None:
    person = await prepared(door)
    async with door.house.database.driver() as driver:
        await driver.execute("UPDATE roles SET available = false")
    assert await found(door.client, person) == {"matches": [], "none_fits": True, "degraded": False, "degraded_reason": None}


async def test_roles_are_looked_for_once_the_industry_is_known(door: Door) -> None:
    person = await prepared(door, industry=None)
    answer = await ask(door.client, person)
    assert (answer.status_code, answer.json()["code"]) == (409, "onboarding.step_not_reached")
    assert await value(door.house, "SELECT count(*) FROM events WHERE name = 'onboarding.roles_matched'") == 0


async def test_every_wrong_field_is_named(door: Door) -> None:
    person = await prepared(door)
    for body, fields in (
        ({}, {"/job_title", "/job_description"}),
        ({"job_title": " x ", "job_description": "short"}, {"/job_title", "/job_description"}),
        ({"job_title": "x" * 201, "job_description": "x" * 1001}, {"/job_title", "/job_description"}),
        ({**MESSY, "industry": "real_estate"}, {"/industry"}),
        ({**MESSY, "hierarchy_level": "emperor"}, {"/hierarchy_level"}),
        ({**MESSY, "hierarchy_level": 3}, {"/hierarchy_level"}),
    ):
        answer = await ask(door.client, person, body)
        assert answer.status_code == 422, answer.text
        assert set(wrong_fields(answer)) == fields


async def test_a_level_is_named_by_its_slug_or_its_id(door: Door) -> None:
    person = await prepared(door)
    for level in ("manager", str(entry_id("hierarchy_level", "manager"))):
        answer = await found(door.client, person, {**MESSY, "hierarchy_level": level})
        assert answer["matches"][0]["role"]["slug"] == "relationship_manager"


async def test_nobody_is_matched_without_signing_in(door: Door) -> None:
    assert (await door.client.post(MATCHES, json=MESSY)).status_code == 401


async def test_a_match_leaves_ids_and_scores_and_no_text(door: Door) -> None:
    person = await prepared(door)
    answer = await found(door.client, person)
    [event] = await rows(door.house, "SELECT subject, data, data::text AS text FROM events WHERE name = 'onboarding.roles_matched'")
    assert event["subject"] == person.id
    assert event["data"]["matches"] == [{"role": match["role"]["id"], "confidence": match["confidence"]} for match in answer["matches"]]
    assert set(event["data"]) == {"account", "matches", "none_fits", "degraded", "model"}
    assert not any(word in event["text"].casefold() for word in ("corporate", "snr", "relationship"))


async def test_the_same_key_gives_the_same_answer_and_one_event(door: Door) -> None:
    person = await prepared(door)
    first, again = [await ask(door.client, person, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert first.json()["data"] == again.json()["data"]
    assert again.headers["idempotent-replayed"] == "true"
    assert await value(door.house, "SELECT count(*) FROM events WHERE name = 'onboarding.roles_matched'") == 1
    other = await ask(door.client, person, {**MESSY, "job_title": "Teller"}, **{"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["code"]) == (409, "request.idempotency_mismatch")


async def test_a_described_role_is_found_by_its_owner_before_and_after_it_is_embedded_and_by_nobody_else(door: Door) -> None:
    person = await prepared(door)
    other = await prepared(door, email="bob@example.com")
    account, by = AccountId(person.id), Actor(kind="person", id=person.id)
    wording = "Structures leases of aircraft for airlines"
    described = DescribeRole(
        account=account, expected=None, title="Aircraft Lease Structurer", description=wording, hierarchy_level="associate"
    )
    await door.house.bus.execute(described, by=by)
    await harness_of(door.house).settle()
    words = {"job_title": "aircraft structurer", "job_description": "structuring aircraft leases for some airlines"}
    assert (await found(door.client, person, words))["matches"][0]["role"]["title"] == "Aircraft Lease Structurer"
    async with door.house.database.driver() as driver:
        await driver.execute("DELETE FROM role_vectors USING roles WHERE role = roles.id AND owner IS NOT NULL")
    own = (await found(door.client, person, words))["matches"][0]["role"]
    assert (own["title"], own["slug"], own["description"]) == ("Aircraft Lease Structurer", None, wording)
    theirs = await found(door.client, other, words)
    assert "Aircraft Lease Structurer" not in [match["role"]["title"] for match in theirs["matches"]]


# ------------------------------------------------------------------ a provider


@pytest.fixture
async def server() -> AsyncGenerator[Provider]:
    async with provider() as serving:
        yield serving


@asynccontextmanager
async def provided(settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider, **changes: Any) -> AsyncGenerator[Door]:
    """The shipped application with the shipped adapter, at a provider of our own."""
    values: dict[str, Any] = {"embedder_url": server.url, "embedder_model": "small", **changes}
    own = msgspec.structs.replace(settings, **values)
    async with clients.door(own, Ports(clock=clock, mailer=mailer)) as door:
        yield door


def broken(**answer: Any) -> Callable[[Body], Answer]:
    return lambda _: Answer(**answer)


@pytest.mark.parametrize(
    "answer",
    [
        broken(status=500),
        broken(status=429, headers={"Retry-After": "60"}),
        broken(status=401),
        broken(body=b"no JSON"),
        broken(body=b'{"data": [{"index": 0, "embedding": [0.5, 0.5]}]}'),
        broken(body=b'{"data": []}', cut=3),
    ],
    ids=["broken", "too many", "refused", "malformed", "other dimensions", "cut"],
)
async def test_a_failing_provider_leaves_the_words_and_the_answer_says_so(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider, answer: Callable[[Body], Answer]
) -> None:
    async with provided(settings, clock, mailer, server) as door:
        person = await prepared(door)
        assert (await found(door.client, person))["degraded"] is False
        server.answer = answer
        degraded = await found(door.client, person)
        assert (degraded["degraded"], degraded["degraded_reason"]) == (True, "provider_unavailable")
        assert degraded["matches"][0]["role"]["slug"] == "relationship_manager"
        assert len(degraded["matches"]) == 5
        server.answer = lambda body: answered(embeddings(body))
        assert (await found(door.client, person))["degraded"] is False
        told = await rows(door.house, "SELECT data FROM events WHERE name = 'onboarding.roles_matched' ORDER BY id")
        assert [event["data"]["degraded"] for event in told] == [False, True, False]
        assert [event["data"]["model"] for event in told] == ["small", None, "small"]


async def test_a_slow_provider_leaves_the_words(settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider) -> None:
    async with provided(settings, clock, mailer, server) as door:
        person = await prepared(door)
    server.answer = broken(silent=True)
    async with provided(settings, clock, mailer, server, embedder_timeout=0.2) as door:
        answer = await found(door.client, person)
        assert (answer["degraded"], answer["matches"][0]["role"]["slug"]) == (True, "relationship_manager")


async def test_while_a_new_model_is_prepared_the_old_one_answers(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer, server: Provider
) -> None:
    async with clients.door(settings, Ports(clock=clock, mailer=mailer)) as door:
        person = await prepared(door)
    async with provided(settings, clock, mailer, server) as door:
        before = await found(door.client, person)
        assert before["degraded"] is False
        assert before["matches"][0]["role"]["slug"] == "relationship_manager"
        assert server.heard == []
        await door.house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert (await found(door.client, person))["degraded"] is False
        assert server.heard[-1][2]["input"] == ["\n".join(MESSY.values())]
        assert await value(door.house, "SELECT model FROM embedding_models") == "small"


async def test_vectors_that_nobody_can_be_asked_about_leave_the_words_until_they_are_made_anew(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer
) -> None:
    async with clients.door(settings, Ports(clock=clock, mailer=mailer)) as door:
        person = await prepared(door)
        async with door.house.database.driver() as driver:
            await driver.execute("UPDATE embedding_models SET serving = false")
            await driver.execute(
                "INSERT INTO embedding_models SELECT 'builtin-1-other', dimensions, true, created_at FROM embedding_models"
            )
            await driver.execute("UPDATE role_vectors SET model = 'builtin-1-other'")
        degraded = await found(door.client, person)
        assert (degraded["degraded"], degraded["degraded_reason"]) == (True, "model_changing")
        await door.house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert (await found(door.client, person))["degraded"] is False
