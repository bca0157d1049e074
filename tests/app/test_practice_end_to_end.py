"""One learner with two devices, from signing up through the onboarding to a finished scene and its report, over HTTP alone."""

import asyncio
import time
from typing import Any
from uuid import UUID

import msgspec

from app.bootstrap import House
from app.settings import Settings
from db.seeds import load_scenarios
from tests.app.client import PASSWORD, SIGN_UP, Person, Sent, eventually, fluentpro, person, running, web
from tests.app.test_conversation_stream import data, text_of, told, until
from tests.app.test_onboarding_end_to_end import ANSWERS, ONBOARDING, PARTNERS, WORDS

SECONDS = 60


async def test_from_signing_up_to_a_report_with_two_devices_in_under_a_minute(settings: Settings, house: House) -> None:  # noqa: ARG001 - an emptied place
    shipped = msgspec.structs.replace(settings, env="production", public_url="https://fluentpro.example", scripted_pace=0.005)
    seeded = await fluentpro(shipped, "seed")
    assert seeded.returncode == 0, seeded.stderr
    async with running(shipped) as start, web(shipped) as process, process.client() as client:
        start("relay")
        start("worker")
        began = time.monotonic()
        signed_up = (await client.post(SIGN_UP, json=person())).json()["data"]
        phone = person_of(signed_up)
        laptop = person_of(
            (await client.post("/api/v2/auth/login", json={"email": signed_up["user"]["email"], "password": PASSWORD})).json()["data"]
        )
        await through_onboarding(client, phone)

        async def given() -> list[dict[str, Any]]:
            return (await client.get("/api/v2/scenarios", params={"given": True}, headers=phone.headers)).json()["data"]

        first = (await eventually(given, "scenarios were chosen"))[0]
        scenario = next(one for one in load_scenarios().scenarios if one.slug == first["slug"])
        assert (scenario.industry, first["given"]["position"]) == ("banking_finance", 1)
        started = await client.post("/api/v2/conversations", json={"scenario": first["id"]}, headers=phone.headers)
        home = started.headers["Location"]
        assert scenario.script is not None
        said = [*(beat.example for beat in scenario.script.beats), scenario.script.closing.example]
        async with told(client, phone, home, "0") as on_phone, told(client, laptop, home, "0") as on_laptop:
            ends = asyncio.create_task(until(on_laptop, "practice.report_written"))
            events: list[Sent] = []
            for number, text in enumerate(said):
                # The devices take turns.
                device = phone if number % 2 else laptop
                answer = await client.post(f"{home}/turns", json={"text": text}, headers=device.headers)
                assert answer.status_code == 202, answer.text
                events += await until(on_phone, "practice.turn_completed")
                assert data(events[-1])["turn"] == answer.json()["data"]["turn_id"]
            events += await until(on_phone, "practice.report_written")
            assert await ends == events
        found = (await client.get(home, headers=laptop.headers)).json()["data"]
        took = time.monotonic() - began
    assert (found["ended"], found["report"]["goal_reached"], len(found["turns"])) == ("partner", True, len(said))
    assert text_of(events) == "".join(turn["answer"] for turn in found["turns"])
    assert found["turns"][-1]["answer"] == scenario.script.closing.reached
    assert {one["scenario"] for one in found["recommended"]} - {found["scenario"]}
    assert took < SECONDS


def person_of(answer: dict[str, Any]) -> Person:
    return Person(token=answer["tokens"]["access_token"], id=UUID(answer["user"]["id"]))


async def through_onboarding(client: Any, learner: Person) -> None:
    async def put(step: str, body: object) -> dict[str, Any]:
        answer = await client.put(f"{ONBOARDING}/{step}", json=body, headers=learner.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    for step, body in ANSWERS.items():
        await put(step, body)
    matches = await client.post(f"{ONBOARDING}/role-matches", json=WORDS, headers=learner.headers)
    await put("role", {"role": matches.json()["data"]["matches"][0]["role"]["id"]})
    partners = (await put("partners", PARTNERS))["answers"]["partners"]
    await put("situations", {"partners": [{"partner": one["id"], "situations": [{"situation": "negotiations"}]} for one in partners]})
    completed = await client.post(f"{ONBOARDING}/complete", headers=learner.headers)
    assert completed.json()["data"]["status"] == "completed"
