"""The journey of a learner, over HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest

from domain.catalogue.identity import entry_id
from tests.app.client import LOG_IN, PASSWORD, Door, Person, sign_up, wrong_fields
from tests.support import harness_of, rows, value

API = "/api/v2/onboarding"
BODIES: dict[str, dict[str, Any]] = {
    "native-language": {"language": "zh-Hant", "proficiency": "B1"},
    "industry": {"industry": "banking_finance"},
    "role": {"role": "bank_teller"},
    "partners": {"partners": [{"partner": "clients"}, {"partner": "senior_management"}]},
    "situations": {
        "partners": [
            {"partner": "clients", "situations": [{"situation": "meetings"}, {"situation": "negotiations"}]},
            {"partner": "senior_management", "situations": [{"situation": "presentations"}]},
        ]
    },
}
GOALS = {"goals": ["Lead a meeting"], "minutes_a_day": 15, "timeline": "3_months"}
CHANDLER = {"title": "Ship chandler", "description": "I supply ships with food and spare parts.", "hierarchy_level": "associate"}
AUDITORS = {"name": "Auditors of the head office", "description": "They visit twice a year."}
NOBODY = "0199a8a0-0000-7000-8000-000000000001"
CLIENTS, MANAGEMENT = entry_id("partner", "clients"), entry_id("partner", "senior_management")


class Device:
    """Somebody's phone, or another one: what it sends is theirs."""

    def __init__(self, door: Door, person: Person) -> None:
        self.door, self.person = door, person

    async def put(self, step: str, body: object, **headers: str) -> httpx.Response:
        return await self.door.client.put(f"{API}/{step}", json=body, headers={**self.person.headers, **_named(headers)})

    async def post(self, act: str, **headers: str) -> httpx.Response:
        return await self.door.client.post(f"{API}/{act}", headers={**self.person.headers, **_named(headers)})

    async def get(self, **headers: str) -> httpx.Response:
        return await self.door.client.get(API, headers={**self.person.headers, **_named(headers)})

    async def journey(self, **headers: str) -> dict[str, Any]:
        answer = await self.get(**headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def answer(self, *steps: str) -> httpx.Response:
        """These steps as most people would, one after the other; the last answer."""
        answer = await self.get()
        for step in steps:
            answer = await self.put(step, BODIES[step])
            assert answer.status_code == 200, answer.text
        return answer


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
async def ada(catalogued: Door) -> Device:
    return Device(catalogued, await sign_up(catalogued.client))


async def ready(device: Device, steps: int = 5) -> httpx.Response:
    return await device.answer(*list(BODIES)[:steps])


async def happened(door: Door) -> list[tuple[str, dict[str, Any]]]:
    """The journeys' events, in order, once everything that follows from them is done: name and data, without whose they are."""
    await harness_of(door.house).settle()
    query = "SELECT e.name, e.data FROM feed f JOIN events e ON e.id = f.event WHERE e.name LIKE 'onboarding.%' ORDER BY f.position"
    found = await rows(door.house, query)
    return [(row["name"].partition(".")[2], {name: one for name, one in row["data"].items() if name != "account"}) for row in found]


async def test_a_learner_goes_from_the_first_screen_to_a_work_profile(ada: Device) -> None:
    begins = await ada.get()
    assert begins.headers["etag"] == '"1"'
    data = begins.json()["data"]
    assert {name: data[name] for name in ("status", "current_step", "next_step", "done", "percent", "minutes_left")} == {
        "status": "not_started",
        "current_step": "native_language",
        "next_step": "industry",
        "done": [],
        "percent": 0,
        "minutes_left": 10,
    }
    assert data["answers"] == {"native_language": None, "learning_goals": None, "industry": None, "role": None, "partners": []}
    seen: list[tuple[int, str, int, int]] = []
    for version, step in enumerate(BODIES, 2):
        answered = await ada.put(step, BODIES[step])
        data = answered.json()["data"]
        assert (answered.status_code, answered.headers["etag"]) == (200, f'"{version}"')
        assert (await ada.get()).json()["data"] == data
        seen.append((len(data["done"]), data["current_step"], data["percent"], data["minutes_left"]))
    assert seen == [(1, "industry", 16, 9), (2, "role", 33, 8), (3, "partners", 50, 6), (4, "situations", 66, 4), (5, "summary", 83, 1)]
    completed = await ada.post("complete")
    data = completed.json()["data"]
    assert (completed.status_code, data["status"], data["current_step"], data["next_step"]) == (200, "completed", "completed", None)
    assert (data["percent"], data["minutes_left"], data["missing"], data["void"]) == (100, 0, [], [])
    assert data["completed_at"] is not None
    assert [(partner["slug"], partner["priority"], len(partner["situations"])) for partner in data["answers"]["partners"]] == [
        ("clients", 1, 2),
        ("senior_management", 2, 1),
    ]
    steps = [("step_answered", {"step": step.replace("-", "_")}) for step in BODIES]
    whole = {
        "industry": str(entry_id("industry", "banking_finance")),
        "role": str(entry_id("role", "bank_teller")),
        "partners": [str(CLIENTS), str(MANAGEMENT)],
    }
    assert await happened(ada.door) == [("begun", {}), *steps, ("completed", whole)]


async def test_the_work_profile_is_there_when_it_is_complete(ada: Device) -> None:
    await ready(ada)
    await ada.put("learning-goals", GOALS)
    account: Any = ada.person.id
    assert await ada.door.house.reads.onboarding.work_profile(account) is None
    await ada.post("complete")
    profile = await ada.door.house.reads.onboarding.work_profile(account)
    assert profile is not None
    assert (profile.native_language.language, profile.native_language.explanation_language) == ("zh-Hant", "zh-Hant")
    assert (profile.industry, profile.role, profile.custom_role) == (
        entry_id("industry", "banking_finance"),
        entry_id("role", "bank_teller"),
        None,
    )
    assert [(partner.id, len(partner.situations)) for partner in profile.partners] == [(CLIENTS, 2), (MANAGEMENT, 1)]
    assert profile.learning_goals is not None
    assert profile.learning_goals.goals == ("Lead a meeting",)
    await ada.put("industry", {"industry": "real_estate"})
    assert await ada.door.house.reads.onboarding.work_profile(account) is None


async def test_a_learner_goes_on_with_another_device_where_they_stopped(ada: Device) -> None:
    here = (await ready(ada, 3)).json()["data"]
    signed_in = await ada.door.client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})
    tablet = Device(ada.door, Person(id=ada.person.id, token=signed_in.json()["data"]["tokens"]["access_token"]))
    assert await tablet.journey() == here
    there = (await tablet.answer("partners")).json()["data"]
    assert there["current_step"] == "situations"
    assert await ada.journey() == there


async def test_goals_may_be_told_at_any_time_and_need_not_be(ada: Device) -> None:
    told = await ada.put("learning-goals", GOALS)
    assert (told.status_code, told.json()["data"]["answers"]["learning_goals"]) == (200, GOALS)
    assert (told.json()["data"]["done"], told.json()["data"]["status"]) == ([], "in_progress")


async def test_nobody_without_a_token_sees_or_answers_anything(ada: Device) -> None:
    client = ada.door.client
    for answer in (
        await client.get(API),
        await client.put(f"{API}/industry", json=BODIES["industry"]),
        await client.put(f"{API}/partners/clients/situations", json={"situations": [{"situation": "meetings"}]}),
        await client.post(f"{API}/complete"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "auth.required")


async def test_nobody_sees_or_changes_the_journey_of_another(ada: Device) -> None:
    await ready(ada)
    await ada.put("partners", {"partners": [{"custom": AUDITORS}]})
    auditors = (await ada.journey())["answers"]["partners"][0]["id"]
    bob = Device(ada.door, await sign_up(ada.door.client, email="bob@example.com"))
    assert (await bob.journey())["status"] == "not_started"
    await ready(bob)
    theirs = await bob.put(f"partners/{auditors}/situations", {"situations": [{"situation": "meetings"}]})
    assert (theirs.status_code, theirs.json()["code"]) == (404, "onboarding.unknown_partner")
    as_partner = await bob.put("partners", {"partners": [{"partner": auditors}]})
    assert (as_partner.status_code, wrong_fields(as_partner)) == (422, {"/partners/0/partner": "unknown"})


@pytest.mark.parametrize(
    ("answered", "step", "missing"),
    [
        (0, "industry", ["/native_language"]),
        (0, "situations", ["/native_language", "/industry", "/role", "/partners"]),
        (1, "role", ["/industry"]),
        (2, "partners", ["/role"]),
        (3, "situations", ["/partners"]),
    ],
)
async def test_no_step_is_skipped(ada: Device, answered: int, step: str, missing: list[str]) -> None:
    before = await ready(ada, answered)
    refused = await ada.put(step, BODIES[step])
    assert (refused.status_code, refused.json()["code"]) == (409, "onboarding.step_not_reached")
    assert list(wrong_fields(refused)) == missing
    assert set(wrong_fields(refused).values()) == {"missing"}
    assert (await ada.journey()) == before.json()["data"]


async def test_situations_of_one_partner_are_not_skipped_to_either(ada: Device) -> None:
    await ready(ada, 1)
    refused = await ada.put("partners/clients/situations", {"situations": [{"situation": "meetings"}]})
    assert (refused.status_code, list(wrong_fields(refused))) == (409, ["/industry", "/role", "/partners"])


async def test_the_same_answer_again_changes_nothing(ada: Device) -> None:
    before = await ready(ada)
    await ada.put("learning-goals", GOALS)
    before = await ada.put("reminders", {"enabled": False})
    events = await happened(ada.door)
    for step, body in {**BODIES, "learning-goals": GOALS, "reminders": {"enabled": False}}.items():
        again = await ada.put(step, body)
        assert (again.status_code, again.headers["etag"], again.json()["data"]) == (200, before.headers["etag"], before.json()["data"])
    assert await happened(ada.door) == events


async def test_a_new_industry_makes_the_role_void_and_nothing_else(ada: Device) -> None:
    before = (await ready(ada)).json()["data"]
    after = (await ada.put("industry", {"industry": "hotels-hospitality"})).json()["data"]
    assert after["void"] == [{"step": "role", "partner": None, "because": "industry"}]
    assert (after["missing"], after["current_step"]) == ([{"step": "role", "partner": None}], "role")
    assert after["answers"]["role"] is None
    assert after["answers"]["partners"] == before["answers"]["partners"]
    again = (await ada.put("role", {"role": "concierge"})).json()["data"]
    assert (again["void"], again["missing"], again["current_step"]) == ([], [], "summary")
    assert (await happened(ada.door))[-2:] == [
        ("answer_changed", {"step": "industry", "void": ["role"]}),
        ("step_answered", {"step": "role"}),
    ]


async def test_partners_who_stay_keep_their_situations_and_those_of_the_others_are_void(ada: Device) -> None:
    await ready(ada)
    kept = (await ada.put("partners", {"partners": [{"partner": "suppliers"}, {"partner": str(MANAGEMENT)}]})).json()["data"]
    assert [(one["slug"], one["priority"], len(one["situations"])) for one in kept["answers"]["partners"]] == [
        ("suppliers", 1, 0),
        ("senior_management", 2, 1),
    ]
    assert kept["void"] == [{"step": "situations", "partner": str(CLIENTS), "because": "partners"}]
    assert kept["missing"] == [{"step": "situations", "partner": str(entry_id("partner", "suppliers"))}]
    assert (await happened(ada.door))[-1] == ("answer_changed", {"step": "partners", "void": [f"situations/{CLIENTS}"]})


async def test_a_partner_of_ones_own_keeps_its_id_and_its_situations_however_it_is_written(ada: Device) -> None:
    await ready(ada, 3)
    own = {"name": "  Auditors of the\tHead office ", "description": "Cafe\u0301"}
    first = (await ada.put("partners", {"partners": [{"custom": own}]})).json()["data"]["answers"]["partners"][0]
    assert (first["name"], first["description"], first["custom"], first["slug"]) == ("Auditors of the Head office", "Café", True, None)
    assert UUID(first["id"]) == uuid5(ada.person.id, "partner/auditors of the head office")
    chosen = {"situations": [{"situation": "meetings"}, {"custom": {"name": "The yearly audit"}}]}
    await ada.put(f"partners/{first['id']}/situations", chosen)
    again = await ada.put("partners", {"partners": [{"partner": "clients"}, {"custom": {"name": "AUDITORS OF THE HEAD OFFICE"}}]})
    second = again.json()["data"]["answers"]["partners"][1]
    assert (second["id"], second["name"], second["priority"]) == (first["id"], "AUDITORS OF THE HEAD OFFICE", 2)
    assert [(one["name"], one["custom"], one["priority"]) for one in second["situations"]] == [
        ("Meetings", False, 1),
        ("The yearly audit", True, 2),
    ]
    assert UUID(second["situations"][1]["id"]) == uuid5(ada.person.id, "situation/the yearly audit")


async def test_a_role_of_ones_own_is_used_at_once_and_its_event_holds_none_of_its_words(ada: Device) -> None:
    await ready(ada, 2)
    described = await ada.put("role", {"custom": CHANDLER})
    role = described.json()["data"]["answers"]["role"]
    assert (described.status_code, role) == (200, {**CHANDLER, "id": role["id"], "slug": None, "custom": True})
    assert UUID(role["id"]) == uuid5(ada.person.id, f"role/{entry_id('industry', 'banking_finance')}/ship chandler")
    by_id = await ada.put("role", {"role": role["id"]})
    assert (by_id.status_code, by_id.headers["etag"]) == (200, described.headers["etag"])
    await ada.put("role", {"role": "bank_teller"})
    again = (await ada.put("role", {"custom": {**CHANDLER, "title": "SHIP  chandler"}})).json()["data"]["answers"]["role"]
    assert (again["id"], again["title"]) == (role["id"], "SHIP chandler")


async def test_no_event_holds_what_a_learner_wrote(ada: Device) -> None:
    await ready(ada, 2)
    await ada.put("learning-goals", {**GOALS, "goals": ["Understand my zebra"]})
    await ada.put("role", {"custom": {"title": "Zebra one", "description": "Looks after a zebra.", "hierarchy_level": "manager"}})
    await ada.put("partners", {"partners": [{"custom": {"name": "Zebra two", "description": "zebra three"}}]})
    [partner] = (await ada.journey())["answers"]["partners"]
    await ada.put(f"partners/{partner['id']}/situations", {"situations": [{"custom": {"name": "Zebra four", "description": "zebra"}}]})
    await ada.put("partners", {"partners": [{"partner": "clients"}]})
    await ada.put("partners/clients/situations", {"situations": [{"situation": "meetings"}]})
    assert (await ada.post("complete")).status_code == 200
    names = [name for name, _ in await happened(ada.door)]
    assert {"custom_role_described", "answer_changed", "completed"} <= set(names)
    house = ada.door.house
    assert await value(house, "SELECT count(*) FROM events WHERE (data::text || meta::text) ILIKE '%zebra%'") == 0
    assert await value(house, "SELECT count(*) FROM journeys WHERE answers::text ILIKE '%zebra%'") == 1
    journeys = "SELECT count(*) FROM feed f JOIN events e ON e.id = f.event WHERE f.subject = $1 AND e.name LIKE 'onboarding.%'"
    assert await value(house, journeys, ada.person.id) == len(names)


async def test_completing_names_everything_that_is_missing(ada: Device) -> None:
    refused = await ada.post("complete")
    assert (refused.status_code, refused.json()["code"]) == (409, "onboarding.incomplete")
    assert list(wrong_fields(refused)) == ["/native_language", "/industry", "/role", "/partners", "/situations"]
    await ready(ada, 4)
    await ada.put("partners/clients/situations", {"situations": [{"situation": "meetings"}]})
    refused = await ada.post("complete")
    assert wrong_fields(refused) == {f"/partners/{MANAGEMENT}/situations": "missing"}


async def test_what_is_made_void_after_completion_leaves_a_hole_and_does_not_undo_it(ada: Device) -> None:
    await ready(ada)
    completed = (await ada.post("complete")).json()["data"]
    after = (await ada.put("industry", {"industry": "real_estate"})).json()["data"]
    assert (after["status"], after["current_step"], after["completed_at"]) == ("completed", "completed", completed["completed_at"])
    assert after["missing"] == [{"step": "role", "partner": None}]
    refused = await ada.post("complete")
    assert (refused.status_code, wrong_fields(refused)) == (409, {"/role": "missing"})
    await ada.put("role", {"role": "leasing_agent"})
    again = await ada.post("complete")
    assert (again.status_code, again.json()["data"]["completed_at"]) == (200, completed["completed_at"])
    assert [name for name, _ in await happened(ada.door)].count("completed") == 1


async def test_a_reset_takes_everything_back_also_what_was_completed(ada: Device) -> None:
    await ready(ada)
    await ada.post("complete")
    tag = (await ada.get()).headers["etag"]
    reset = await ada.post("reset")
    data = reset.json()["data"]
    assert (reset.status_code, data["status"], data["done"], data["completed_at"], data["percent"]) == (200, "not_started", [], None, 0)
    assert int(reset.headers["etag"].strip('"')) > int(tag.strip('"'))
    assert (await ada.post("reset")).headers["etag"] == reset.headers["etag"]
    await ready(ada)
    assert (await ada.post("complete")).json()["data"]["status"] == "completed"
    assert [name for name, _ in await happened(ada.door)].count("reset") == 1


async def test_the_next_answer_ends_a_pause(ada: Device) -> None:
    await ready(ada, 1)
    paused = await ada.post("pause")
    assert (paused.status_code, paused.json()["data"]["status"]) == (200, "paused")
    assert (await ada.post("pause")).headers["etag"] == paused.headers["etag"]
    assert (await ada.put("industry", BODIES["industry"])).json()["data"]["status"] == "in_progress"
    assert [name for name, _ in await happened(ada.door)] == ["begun", "step_answered", "paused", "resumed", "step_answered"]


async def test_what_is_complete_is_not_paused(ada: Device) -> None:
    await ready(ada)
    await ada.post("complete")
    refused = await ada.post("pause")
    assert (refused.status_code, refused.json()["code"]) == (409, "onboarding.already_completed")


async def test_a_change_to_another_version_is_refused_and_changes_nothing(ada: Device) -> None:
    first = await ready(ada, 1)
    second = await ada.put("industry", BODIES["industry"], if_match=first.headers["etag"])
    assert second.status_code == 200
    for if_match in (first.headers["etag"], '"99"', 'W/"3"', '"abc"', '"1", "2"'):
        stale = await ada.put("industry", {"industry": "real_estate"}, if_match=if_match)
        assert (stale.status_code, stale.json()["code"]) == (412, "request.stale"), if_match
    assert await ada.journey() == second.json()["data"]
    for if_match in ('"99", "3"', "*"):
        assert (await ada.put("industry", BODIES["industry"], if_match=if_match)).status_code == 200
    stale = await ada.put("reminders", {"enabled": False}, if_match='"1"')
    assert (stale.status_code, (await ada.journey())["reminders"]) == (412, {"enabled": True})


async def test_an_etag_without_its_quotes_is_named(ada: Device) -> None:
    refused = await ada.put("native-language", BODIES["native-language"], if_match="3")
    assert (refused.status_code, wrong_fields(refused)) == (422, {"/If-Match": "malformed"})


async def test_who_has_the_journey_already_is_not_sent_it_again(ada: Device) -> None:
    known = (await ready(ada, 1)).headers["etag"]
    same = await ada.get(if_none_match=known)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", known)
    assert (same.headers["vary"], same.headers["cache-control"]) == ("Accept-Language", "private, no-cache")
    assert (await ada.get(if_none_match='"1"')).status_code == 200
    await ready(ada, 2)
    assert (await ada.get(if_none_match=known)).status_code == 200


async def test_the_first_etag_outlives_that_the_journey_begins(ada: Device) -> None:
    before = await ada.get()
    assert await value(ada.door.house, "SELECT count(*) FROM journeys") == 0
    assert await happened(ada.door) == [("begun", {})]
    after = await ada.get(if_none_match=before.headers["etag"])
    assert (after.status_code, after.headers["etag"]) == (304, '"1"')
    assert (await ada.put("native-language", BODIES["native-language"], if_match='"1"')).status_code == 200


async def test_labels_are_in_the_language_of_the_request(ada: Device) -> None:
    await ready(ada)
    plain, hongkong, cantonese = await ada.get(), await ada.get(accept_language="zh-HK, fr;q=0.5"), await ada.get(accept_language="zh-HK")
    assert [one.json()["data"]["answers"]["industry"]["name"] for one in (plain, hongkong)] == ["Banking & Finance", "銀行及金融"]
    assert [one.json()["data"]["answers"]["partners"][0]["name"] for one in (plain, hongkong)] == ["Clients", "客戶"]
    assert hongkong.json()["data"] == cantonese.json()["data"]
    assert (await ada.get(accept_language="fr")).json()["data"] == plain.json()["data"]
    answered = await ada.put("industry", {"industry": "real_estate"}, accept_language="zh-TW")
    assert answered.json()["data"]["answers"]["industry"]["name"] == "房地產"


@pytest.mark.parametrize("languages", ["", "*", ";;;", "fran\u00e7ais", "x" * 2000, ",".join(["de-Latn-CH-x-a"] * 500), '"1", zh'])
async def test_an_odd_accept_language_gets_an_answer_all_the_same(ada: Device, languages: str) -> None:
    await ready(ada, 2)
    headers: dict[str, Any] = {**ada.person.headers, "Accept-Language": languages.encode("latin-1")}
    shown = await ada.door.client.get(API, headers=headers)
    assert (shown.status_code, len(shown.headers["etag"]) < 600) == (200, True)
    known = await ada.door.client.get(API, headers={**headers, "If-None-Match": shown.headers["etag"]})
    assert known.status_code == 304
    assert (await ada.put("industry", BODIES["industry"], if_match=shown.headers["etag"])).status_code == 200


async def test_in_another_language_the_journey_has_another_tag_that_can_be_matched_as_well(ada: Device) -> None:
    await ready(ada)
    wanted = ("zh-HK", "zh-CN", "fr, zh-HK", "fr, zh-CN", "fr-CA, zh-HK")
    tags = {language: (await ada.get(accept_language=language)).headers["etag"] for language in wanted}
    assert len({(await ada.get()).headers["etag"], *tags.values()}) == len(wanted) + 1
    for language, tag in tags.items():
        assert (await ada.get(accept_language=language, if_none_match=tag)).status_code == 304
        assert (await ada.get(accept_language="zh-SG, de", if_none_match=tag)).status_code == 200
        assert (await ada.put("industry", BODIES["industry"], if_match=tag, accept_language=language)).status_code == 200
    await ada.put("learning-goals", GOALS)
    for tag in tags.values():
        assert (await ada.put("industry", BODIES["industry"], if_match=tag)).status_code == 412


async def test_of_two_devices_that_change_the_same_version_at_once_one_is_refused(ada: Device) -> None:
    tag = (await ready(ada, 1)).headers["etag"]
    answers = await asyncio.gather(
        ada.put("industry", {"industry": "real_estate"}, if_match=tag),
        ada.put("learning-goals", GOALS, if_match=tag),
        ada.put("reminders", {"enabled": False}, if_match=tag),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    [done] = [answer for answer in answers if answer.status_code == 200]
    assert await ada.journey() == done.json()["data"]


async def test_of_devices_that_do_not_say_what_they_change_none_loses_its_answer(ada: Device) -> None:
    await ready(ada)
    situations = {"situations": [{"situation": "interviews"}]}
    answers = await asyncio.gather(
        ada.put("native-language", {"language": "fr", "proficiency": "C1"}),
        ada.put("learning-goals", GOALS),
        ada.put("partners/clients/situations", situations),
        ada.put("partners/senior_management/situations", situations),
        ada.put("reminders", {"enabled": False}),
    )
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.headers["etag"] for answer in answers}) == 5
    data = await ada.journey()
    assert data["answers"]["native_language"]["language"]["slug"] == "fr"
    assert (data["answers"]["learning_goals"], data["reminders"]) == (GOALS, {"enabled": False})
    assert [[one["slug"] for one in partner["situations"]] for partner in data["answers"]["partners"]] == [["interviews"]] * 2


async def test_two_devices_begin_one_journey(ada: Device) -> None:
    answers = await asyncio.gather(*(ada.put("native-language", {"language": "fr", "proficiency": level}) for level in ("A1", "B1", "C1")))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [name for name, _ in await happened(ada.door)] == ["begun", "step_answered", "answer_changed", "answer_changed"]


@pytest.mark.parametrize("act", ["complete", "pause", "reset"])
async def test_an_act_that_is_sent_again_with_its_key_happens_once(ada: Device, act: str) -> None:
    await ready(ada)
    first, again = [await ada.post(act, idempotency_key="once") for _ in range(2)]
    assert (first.status_code, again.status_code, again.content) == (200, 200, again.content)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert (again.json()["data"], again.headers["etag"]) == (first.json()["data"], first.headers["etag"])
    await ada.put("native-language", {"language": "fr", "proficiency": "C1"})
    late = await ada.post(act, idempotency_key="once")
    assert late.json()["data"] == first.json()["data"]
    other = await ada.post("reset" if act != "reset" else "pause", idempotency_key="once")
    assert (other.status_code, other.json()["code"]) == (409, "request.idempotency_mismatch")


LONG = "x" * 1001
NO_ROUTE = ("..%2Fx",)
WRONG: list[tuple[int, str, object, dict[str, str]]] = [
    (0, "native-language", {}, {"/language": "missing", "/proficiency": "missing"}),
    (
        0,
        "native-language",
        {"language": 7, "proficiency": "D1", "target_language": None, "level": 1},
        {"/language": "type", "/proficiency": "not_allowed", "/target_language": "type", "/level": "unknown"},
    ),
    (
        0,
        "native-language",
        {"language": "tlh", "proficiency": "B1", "target_language": "xx", "explanation_language": NOBODY},
        {"/language": "unknown", "/target_language": "unknown", "/explanation_language": "unknown"},
    ),
    (0, "native-language", {"language": "e\x00n", "proficiency": "B1"}, {"/language": "not_allowed"}),
    (
        0,
        "learning-goals",
        {"goals": [], "minutes_a_day": 4, "timeline": "2_years"},
        {"/goals": "too_short", "/minutes_a_day": "out_of_range", "/timeline": "not_allowed"},
    ),
    (0, "learning-goals", {**GOALS, "goals": ["a"] * 11, "minutes_a_day": 241}, {"/goals": "too_long", "/minutes_a_day": "out_of_range"}),
    (
        0,
        "learning-goals",
        {**GOALS, "goals": ["", "x" * 201, "a\u0007b", "fine"]},
        {"/goals/0": "length", "/goals/1": "length", "/goals/2": "not_allowed"},
    ),
    (0, "learning-goals", {**GOALS, "goals": ["Lead a meeting", " lead  a MEETING"]}, {"/goals/1": "duplicate"}),
    (0, "learning-goals", {**GOALS, "minutes_a_day": 15.5}, {"/minutes_a_day": "type"}),
    (1, "industry", {"industry": "space_travel"}, {"/industry": "unknown"}),
    (1, "industry", {"industry": ["banking_finance"]}, {"/industry": "type"}),
    (1, "industry", {"industry": "x" * 101}, {"/industry": "too_long"}),
    (1, "industry", {"industry": str(entry_id("partner", "clients"))}, {"/industry": "unknown"}),
    (2, "role", {}, {"/role": "one_of"}),
    (2, "role", {"role": "bank_teller", "custom": CHANDLER}, {"/role": "one_of"}),
    (2, "role", {"role": "wizard"}, {"/role": "unknown"}),
    (2, "role", {"role": "concierge"}, {"/role": "other_industry"}),
    (
        2,
        "role",
        {"custom": {"title": "ab", "description": "too short", "hierarchy_level": "emperor"}},
        {"/custom/title": "length", "/custom/description": "length", "/custom/hierarchy_level": "unknown"},
    ),
    (
        2,
        "role",
        {"custom": {"title": "x" * 101, "description": LONG, "hierarchy_level": "manager"}},
        {"/custom/title": "length", "/custom/description": "length"},
    ),
    (
        2,
        "role",
        {"custom": {"title": "a\x00bc", "description": "with a bell\u0007 in it", "hierarchy_level": 1, "industry": "x"}},
        {
            "/custom/title": "not_allowed",
            "/custom/hierarchy_level": "type",
            "/custom/industry": "unknown",
        },
    ),
    (2, "role", {"custom": {**CHANDLER, "description": "with a bell\u0007 in it"}}, {"/custom/description": "not_allowed"}),
    (3, "partners", {"partners": []}, {"/partners": "too_short"}),
    (3, "partners", {"partners": [{"custom": {"name": f"Number {n}"}} for n in range(11)]}, {"/partners": "too_long"}),
    (
        3,
        "partners",
        {
            "partners": [
                {"partner": "clients"},
                {"partner": "aliens"},
                {},
                {"partner": "suppliers", "custom": AUDITORS},
                {"custom": {"name": "x", "description": "y" * 501}},
                {"partner": str(CLIENTS)},
                {"custom": {"name": "My Team"}},
                {"custom": {"name": "my  team"}},
                {"partner": NOBODY},
            ]
        },
        {
            "/partners/1/partner": "unknown",
            "/partners/2/partner": "one_of",
            "/partners/3/partner": "one_of",
            "/partners/4/custom/name": "length",
            "/partners/4/custom/description": "length",
            "/partners/5/partner": "duplicate",
            "/partners/7/custom/name": "duplicate",
            "/partners/8/partner": "unknown",
        },
    ),
    (
        3,
        "partners",
        {"partners": ["clients", {"partner": 1}, {"custom": {}}, {"custom": {"name": "ab", "age": 3}}]},
        {"/partners/0": "type", "/partners/1/partner": "type", "/partners/2/custom/name": "missing", "/partners/3/custom/age": "unknown"},
    ),
    (4, "partners/clients/situations", {"situations": []}, {"/situations": "too_short"}),
    (4, "partners/clients/situations", {"situations": [{"situation": "meetings"}] * 21}, {"/situations": "too_long"}),
    (
        4,
        "partners/clients/situations",
        {"situations": [{"situation": "meetings"}, {"situation": "duels"}, {"situation": "Meetings"}, {}, {"custom": {"name": "\t \n"}}]},
        {
            "/situations/1/situation": "unknown",
            "/situations/2/situation": "duplicate",
            "/situations/3/situation": "one_of",
            "/situations/4/custom/name": "length",
        },
    ),
    (4, "situations", {"partners": []}, {"/partners": "too_short"}),
    (4, "situations", {"partners": [{"partner": "clients", "situations": [{"situation": "meetings"}]}]}, {"/partners": "missing"}),
    (
        4,
        "situations",
        {
            "partners": [
                {"partner": "clients", "situations": [{"situation": "duels"}]},
                {"partner": "senior-management", "situations": [{"situation": "meetings"}, {"situation": "meetings"}]},
                {"partner": str(CLIENTS), "situations": [{"situation": "meetings"}]},
            ]
        },
        {
            "/partners/0/situations/0/situation": "unknown",
            "/partners/1/situations/1/situation": "duplicate",
            "/partners/2/partner": "duplicate",
        },
    ),
    (
        4,
        "situations",
        {
            "partners": [
                {"partner": partner, "situations": [{"situation": "meetings"}]}
                for partner in ("clients", "suppliers", "nobody", "senior_management", "nobody else")
            ]
        },
        {"/partners/1/partner": "unknown", "/partners/2/partner": "unknown", "/partners/4/partner": "unknown"},
    ),
    (0, "reminders", {"enabled": "no"}, {"/enabled": "type"}),
    (0, "reminders", {}, {"/enabled": "missing"}),
]


@pytest.mark.parametrize("answered", range(5))
async def test_everything_that_is_wrong_is_named_at_once_and_changes_nothing(ada: Device, answered: int) -> None:
    before = await ready(ada, answered)
    for step, body, wrong in [case for reached, *case in WRONG if reached == answered]:
        refused = await ada.put(str(step), body)
        assert (refused.status_code, refused.json()["code"], wrong_fields(refused)) == (422, "request.invalid", wrong), body
    now = await ada.get()
    assert (now.headers["etag"], now.json()["data"]) == (before.headers["etag"], before.json()["data"])


async def test_a_partner_who_is_not_the_learners_is_not_found(ada: Device) -> None:
    await ready(ada, 4)
    for partner in ("suppliers", "nobody", NOBODY, "%00", "..%2Fx", "a%20b", "%F0%9F%92%A9", "x" * 300):
        refused = await ada.put(f"partners/{partner}/situations", {"situations": [{"situation": "meetings"}]})
        assert refused.status_code == 404, partner
        assert refused.json()["code"] == ("request.not_found" if partner in NO_ROUTE else "onboarding.unknown_partner"), partner


async def test_text_that_takes_long_to_normalise_is_refused_before_it_is(ada: Device) -> None:
    marks = "a" + "\u0316\u0300" * 50_000
    refused = await ada.put("learning-goals", {**GOALS, "goals": [marks]})
    assert wrong_fields(refused) == {"/goals/0": "length"}
    await ready(ada, 3)
    refused = await ada.put("partners", {"partners": [{"custom": {"name": marks, "description": marks}}]})
    assert wrong_fields(refused) == {"/partners/0/custom/name": "length", "/partners/0/custom/description": "length"}


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "request.malformed_json"),
        (b'{"goals": ["Lead"', 400, "request.malformed_json"),
        (b"[]", 422, "request.invalid"),
        (b'{"goals": ["\\ud800 alone"], "minutes_a_day": 15, "timeline": "1_year"}', 400, "request.malformed_json"),
        (b'{"goals": ["\xff"], "minutes_a_day": 15, "timeline": "1_year"}', 400, "request.malformed_json"),
        (b'{"goals": ["fine"], "minutes_a_day": 1e999, "timeline": "1_year"}', 422, "request.invalid"),
    ],
)
async def test_what_is_no_json_of_ours_is_refused(ada: Device, raw: bytes, status: int, code: str) -> None:
    headers = {**ada.person.headers, "Content-Type": "application/json"}
    refused = await ada.door.client.put(f"{API}/learning-goals", content=raw, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_the_catalogue_is_named_by_id_or_slug_in_any_case(ada: Device) -> None:
    tags: list[tuple[int, str]] = []
    await ready(ada, 1)
    for industry in ("banking_finance", "Banking-Finance", str(entry_id("industry", "banking_finance")).upper()):
        answered = await ada.put("industry", {"industry": industry})
        tags.append((answered.status_code, answered.headers["etag"]))
    assert tags == [(200, '"3"')] * 3


async def test_what_the_catalogue_retires_stays_with_those_who_have_it_and_is_refused_to_others(ada: Device) -> None:
    bodies = {**BODIES, "situations": BODIES["situations"]}
    before = (await ready(ada)).json()["data"]
    bob = Device(ada.door, await sign_up(ada.door.client, email="bob@example.com"))
    async with ada.door.house.database.driver() as driver:
        await driver.execute("UPDATE catalogue_entries SET available = false")
        await driver.execute("UPDATE roles SET available = false")
    for step, body in bodies.items():
        assert (await ada.put(step, body)).status_code == 200, step
    assert await ada.journey() == before
    turned = [{"partner": "senior_management"}, {"partner": "clients"}]
    assert (await ada.put("partners", {"partners": turned})).status_code == 200
    refused = await ada.put("partners", {"partners": [{"partner": "clients"}, {"partner": "suppliers"}]})
    assert wrong_fields(refused) == {"/partners/1/partner": "unknown"}
    refused = await ada.put("partners/clients/situations", {"situations": [{"situation": "interviews"}, {"situation": "meetings"}]})
    assert wrong_fields(refused) == {"/situations/0/situation": "unknown"}
    assert (await ada.post("complete")).status_code == 200
    refused = await bob.put("native-language", BODIES["native-language"])
    assert wrong_fields(refused) == {"/language": "unknown", "/target_language": "unknown"}
    async with ada.door.house.database.driver() as driver:
        await driver.execute("UPDATE catalogue_entries SET available = true WHERE kind = 'language'")
    await ready(bob, 1)
    assert wrong_fields(await bob.put("industry", BODIES["industry"])) == {"/industry": "unknown"}
