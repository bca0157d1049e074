"""One learner from signing up to a work profile, through every process as it ships: web, relay and worker, as in production."""

import json
from typing import Any
from uuid import UUID

import msgspec
from redis import Redis

from app.bootstrap import House
from app.settings import Settings
from domain.catalogue.identity import entry_id
from domain.types import AccountId
from tests.app.client import SIGN_UP, eventually, fluentpro, person, running, web

ONBOARDING = "/api/v2/onboarding"
ANSWERS: dict[str, dict[str, Any]] = {
    "native-language": {"language": "zh-Hant", "proficiency": "B1"},
    "learning-goals": {"goals": ["Sound less like a textbook"], "minutes_a_day": 15, "timeline": "6_months"},
    "industry": {"industry": "banking_finance"},
}
WORDS = {"job_title": "Relationship manager", "job_description": "I look after corporate clients, their credit lines and their deposits."}
PARTNERS = {"partners": [{"partner": "clients"}, {"custom": {"name": "Auditors of the head office"}}]}


def entries(settings: Settings) -> list[dict[str, str]]:
    """The stream as any client of Redis reads it."""
    redis: Any = Redis
    with redis.from_url(settings.redis_url, decode_responses=True) as stranger:
        return [fields for _, fields in stranger.xrange("events.onboarding")]


async def test_a_learner_signs_up_and_completes_and_other_services_read_it_from_the_stream(settings: Settings, house: House) -> None:
    production = msgspec.structs.replace(settings, env="production", public_url="https://fluentpro.example")
    seeded = await fluentpro(production, "seed")
    assert seeded.returncode == 0, seeded.stderr
    async with running(production) as start, web(production) as process, process.client() as client:
        relay, worker = start("relay"), start("worker")
        signed_up = await client.post(SIGN_UP, json=person())
        assert signed_up.status_code == 201, signed_up.text
        account = signed_up.json()["data"]["user"]["id"]
        client.headers["Authorization"] = f"Bearer {signed_up.json()['data']['tokens']['access_token']}"
        # The journey begins by itself, and its ETag is that of before.
        etag = (await client.get(ONBOARDING)).headers["ETag"]
        await eventually(lambda: [one["type"] for one in entries(production)] == ["onboarding.begun"], "the journey has begun")
        assert (await client.get(ONBOARDING)).headers["ETag"] == etag

        for step, body in ANSWERS.items():
            answer = await client.put(f"{ONBOARDING}/{step}", json=body, headers={"If-Match": etag})
            assert answer.status_code == 200, answer.text
            etag = answer.headers["ETag"]
        matches = await client.post(f"{ONBOARDING}/role-matches", json=WORDS)
        assert matches.status_code == 200, matches.text
        role = matches.json()["data"]["matches"][0]["role"]["id"]
        assert (await client.put(f"{ONBOARDING}/role", json={"role": role})).status_code == 200
        partners = (await client.put(f"{ONBOARDING}/partners", json=PARTNERS)).json()["data"]["answers"]["partners"]
        incomplete = await client.post(f"{ONBOARDING}/complete")
        assert (incomplete.status_code, incomplete.json()["code"]) == (409, "onboarding.incomplete")
        situations = [{"partner": one["id"], "situations": [{"situation": "meetings"}]} for one in partners]
        summary = await client.put(f"{ONBOARDING}/situations", json={"partners": situations})
        assert summary.json()["data"]["current_step"] == "summary"
        completed = await client.post(f"{ONBOARDING}/complete", headers={"X-Request-ID": "completed.by.ada"})
        assert (completed.status_code, completed.json()["data"]["status"]) == (200, "completed")

        def fact() -> dict[str, str] | None:
            return next((one for one in entries(production) if one["type"] == "onboarding.completed"), None)

        fields = await eventually(fact, "the completion is in the stream")
        for one in (worker, relay, process):
            await one.stop()
    assert (fields["subject"], fields["key"], fields["correlation_id"]) == (account, account, "completed.by.ada")
    assert json.loads(fields["actor"])["id"] == account
    assert json.loads(fields["data"]) == {
        "account": account,
        "industry": str(entry_id("industry", "banking_finance")),
        "role": role,
        "partners": [one["id"] for one in partners],
    }
    answered = ["native_language", "learning_goals", "industry", "role", "partners", "situations"]
    steps = [json.loads(one["data"])["step"] for one in entries(production) if one["type"] == "onboarding.step_answered"]
    assert steps == answered
    # Whoever reacts to it reads what it stands for; no word that the learner wrote is in the stream.
    profile = await house.reads.onboarding.work_profile(AccountId(UUID(account)))
    assert profile is not None
    assert [str(partner.id) for partner in profile.partners] == [one["id"] for one in partners]
    assert profile.partners[1].name == "Auditors of the head office"
    assert "uditors" not in json.dumps(entries(production))
    assert "textbook" not in json.dumps(entries(production))
