"""The funnel of onboarding through the front door, of several learners on a clock that is moved by hand."""

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from app.settings import Settings
from bus.message import SYSTEM
from domain.onboarding.commands import AbandonJourney
from domain.types import AccountId
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.support import HandClock, harness_of

FUNNEL, ONBOARDING = "/api/v2/admin/onboarding/funnel", "/api/v2/onboarding"
STEPS = ["native_language", "industry", "role", "partners", "situations", "summary"]
BANKING, SHIPPING = "banking_finance", "shipping_logistics"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Tokens live for as long as sessions, so that the clock can be moved by days."""
    return msgspec.structs.replace(settings, access_token_seconds=60 * 86400, session_days=90)


@pytest.fixture
async def admin(catalogued: Door) -> Person:
    return await sign_in_admin(catalogued)


async def funnel(client: httpx.AsyncClient, admin: Person, **filters: str) -> dict[str, Any]:
    answer = await client.get(FUNNEL, headers=admin.headers, params=filters)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture
def clock() -> HandClock:
    """The last Monday of 2026, at noon: its week, the 53rd, ends in 2027."""
    clock = HandClock()
    clock.now = datetime(2026, 12, 28, 12, tzinfo=UTC)
    return clock


BODIES: dict[str, dict[str, Any]] = {
    "native-language": {"language": "zh-Hant", "proficiency": "B1"},
    "industry": {"industry": BANKING},
    "role": {"role": "relationship_manager"},
    "partners": {"partners": [{"partner": "clients"}, {"partner": "suppliers"}]},
    "partners/clients/situations": {"situations": [{"situation": "meetings"}]},
    "partners/suppliers/situations": {"situations": [{"situation": "negotiations"}]},
}


class Learner:
    """Somebody who answers, one step after another, and takes a while over each."""

    def __init__(self, door: Door, person: Person, clock: HandClock) -> None:
        self.person = person
        self._client, self._clock = door.client, clock

    @classmethod
    async def new(cls, door: Door, clock: HandClock, name: str) -> "Learner":
        return cls(door, await sign_up(door.client, email=f"{name}@example.com"), clock)

    async def answers(self, *seconds: float, industry: str = BANKING) -> dict[str, Any]:
        """The first steps, each so many seconds after the one before; and the journey then."""
        journey: dict[str, Any] = {}
        for step, took in zip(BODIES, seconds, strict=False):
            self._clock.move(seconds=took)
            journey = await self.puts(step, {"industry": industry} if step == "industry" else BODIES[step])
        return journey

    async def puts(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.put(f"{ONBOARDING}/{step}", json=body, headers=self.person.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def posts(self, what: str) -> dict[str, Any]:
        answer = await self._client.post(f"{ONBOARDING}/{what}", headers=self.person.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


def column(group: dict[str, Any], name: str) -> dict[str, Any]:
    """Of each step what is not zero or null."""
    assert [step["step"] for step in group["steps"]] == STEPS
    return {step["step"]: step[name] for step in group["steps"] if step[name]}


async def test_an_empty_house_has_a_funnel_of_zeros(client: httpx.AsyncClient, admin: Person) -> None:
    nobody = {"reached": 0, "answered": 0, "median_seconds": None, "stopped": 0}
    totals = {"journeys": 0, "steps": [{"step": step, **nobody} for step in STEPS]}
    for by in ("", "industry", "week", "industry,week"):
        assert await funnel(client, admin, by=by) == {"totals": totals, "groups": []}


async def test_the_funnel_says_how_many_came_how_far_and_how_long_it_took_them(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    first, second, third = [await Learner.new(catalogued, clock, name) for name in ("ada", "grace", "mary")]
    await first.answers(10, 20, 30, 40, 50, 60)
    clock.move(seconds=70)
    await first.posts("complete")
    await second.answers(10, 40, 90)
    await third.answers(10, 60)
    totals = (await funnel(client, admin))["totals"]
    assert totals["journeys"] == 3
    assert column(totals, "reached") == {"native_language": 3, "industry": 3, "role": 3, "partners": 2, "situations": 1, "summary": 1}
    assert column(totals, "answered") == {"native_language": 3, "industry": 3, "role": 2, "partners": 1, "situations": 1, "summary": 1}
    # The journey begins with the first answer here; 20, 40 and 60 seconds have a middle, 30 and 90 have a mean. The situations are
    # answered when those of the last partner are.
    median = {step["step"]: step["median_seconds"] for step in totals["steps"]}
    assert median == {"native_language": 0, "industry": 40, "role": 60, "partners": 40, "situations": 110, "summary": 70}
    assert column(totals, "stopped") == {}


async def test_the_first_step_is_reached_when_somebody_signs_up(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    learner = await Learner.new(catalogued, clock, "ada")
    await harness_of(catalogued.house).settle()
    clock.move(seconds=33)
    # The admin has an account like others, and so a journey.
    assert column((await funnel(client, admin))["totals"], "reached") == {"native_language": 2}
    await learner.answers(0)
    median = column((await funnel(client, admin))["totals"], "median_seconds")
    assert median == {"native_language": 33}


async def test_people_stop_where_they_are_a_day_after_their_last_answer(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    names = ("ada", "grace", "mary", "joan", "anne")
    learners = [await Learner.new(catalogued, clock, name) for name in names]
    current = [(await one.answers(*[1] * n))["current_step"] for one, n in zip(learners, range(1, 6), strict=True)]
    assert current == ["industry", "role", "partners", "situations", "situations"]
    ready = await Learner.new(catalogued, clock, "rosa")
    assert (await ready.answers(*[1] * 6))["current_step"] == "summary"
    done = await Learner.new(catalogued, clock, "vera")
    await done.answers(*[1] * 6)
    await done.posts("complete")

    clock.move(hours=23)
    assert column((await funnel(client, admin))["totals"], "stopped") == {}
    await learners[1].puts("learning-goals", {"goals": ["Lead a meeting"], "minutes_a_day": 15, "timeline": "1_year"})
    await learners[3].posts("pause")
    clock.move(hours=1)
    assert column((await funnel(client, admin))["totals"], "stopped") == {"industry": 1, "partners": 1, "situations": 1, "summary": 1}
    clock.move(hours=23)
    # Who has paused and not come back has stopped too.
    stopped = {"industry": 1, "role": 1, "partners": 1, "situations": 2, "summary": 1}
    assert column((await funnel(client, admin))["totals"], "stopped") == stopped

    clock.move(days=14)
    await catalogued.house.bus.execute(AbandonJourney(account=AccountId(learners[2].person.id)), by=SYSTEM)
    assert column((await funnel(client, admin))["totals"], "stopped") == stopped
    await learners[2].answers(0, 0, 0, 0)
    assert column((await funnel(client, admin))["totals"], "stopped") == {"industry": 1, "role": 1, "situations": 2, "summary": 1}


async def test_who_goes_back_has_stopped_at_the_step_that_is_open_again_and_counts_once_for_each(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    learner = await Learner.new(catalogued, clock, "ada")
    await learner.answers(*[10] * 6)
    before = (await funnel(client, admin))["totals"]
    assert (await learner.puts("industry", {"industry": SHIPPING}))["current_step"] == "role"
    clock.move(days=1)
    assert column((await funnel(client, admin))["totals"], "stopped") == {"role": 1}
    assert (await learner.posts("reset"))["current_step"] == "native_language"
    clock.move(days=1)
    after = (await funnel(client, admin))["totals"]
    assert column(after, "stopped") == {"native_language": 1}
    assert {name: column(after, name) for name in ("reached", "answered", "median_seconds")} == {
        name: column(before, name) for name in ("reached", "answered", "median_seconds")
    }


async def test_groups_are_by_industry_and_by_the_week_in_which_a_journey_began(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    await (await Learner.new(catalogued, clock, "ada")).answers(0, 10, 10)
    clock.now = datetime(2027, 1, 3, 23, 59, 59, tzinfo=UTC)
    await (await Learner.new(catalogued, clock, "grace")).answers(0, 10, industry=SHIPPING)
    clock.now = datetime(2027, 1, 4, 0, 0, 0, tzinfo=UTC)
    await (await Learner.new(catalogued, clock, "mary")).answers(0, 30, 50)
    await (await Learner.new(catalogued, clock, "joan")).answers(0)

    def keys(found: dict[str, Any]) -> list[tuple[str | None, str | None, int]]:
        return [(group["industry"], group["week"], group["journeys"]) for group in found["groups"]]

    both = await funnel(client, admin, by="industry,week")
    assert both == await funnel(client, admin, by="week,industry")
    assert keys(both) == [
        (BANKING, "2027-W01", 1),
        (None, "2027-W01", 1),
        (BANKING, "2026-W53", 1),
        (SHIPPING, "2026-W53", 1),
    ]
    assert keys(await funnel(client, admin, by="week")) == [(None, "2027-W01", 2), (None, "2026-W53", 2)]
    by_industry = await funnel(client, admin, by="industry")
    assert keys(by_industry) == [(BANKING, None, 2), (SHIPPING, None, 1), (None, None, 1)]
    assert column(by_industry["groups"][0], "median_seconds") == {"industry": 20, "role": 30}
    assert column(by_industry["groups"][2], "reached") == {"native_language": 1, "industry": 1}
    assert both["totals"] == by_industry["totals"]
    assert both["totals"]["journeys"] == 4


async def test_the_funnel_is_narrowed_to_an_industry_and_to_days(
    catalogued: Door, client: httpx.AsyncClient, admin: Person, clock: HandClock
) -> None:
    await (await Learner.new(catalogued, clock, "ada")).answers(0, 0)
    clock.now = datetime(2027, 1, 4, tzinfo=UTC)
    await (await Learner.new(catalogued, clock, "grace")).answers(0, 0, industry=SHIPPING)
    await (await Learner.new(catalogued, clock, "mary")).answers(0)

    async def journeys(**filters: str) -> int:
        return (await funnel(client, admin, **filters))["totals"]["journeys"]

    industry = (await client.get(FUNNEL, headers=admin.headers, params={"by": "industry"})).json()["data"]["groups"][0]["industry"]
    assert industry == BANKING
    assert [await journeys(industry=one) for one in (BANKING, "Banking-Finance", SHIPPING, "real_estate")] == [1, 1, 1, 0]
    assert [await journeys(**{"from": day}) for day in ("2026-12-28", "2026-12-29", "2027-01-04", "2027-01-05")] == [3, 2, 2, 0]
    assert [await journeys(to=day) for day in ("2026-12-27", "2026-12-28", "2027-01-03", "2027-01-04")] == [0, 1, 1, 3]
    assert await journeys(**{"from": "2027-01-04", "to": "2027-01-04", "industry": SHIPPING, "by": "week"}) == 1


@pytest.mark.parametrize(
    ("filters", "wrong"),
    [
        ({"industry": "alchemy"}, {"/industry": "unknown"}),
        ({"industry": "clients"}, {"/industry": "unknown"}),
        ({"from": "yesterday", "to": "2027-13-01"}, {"/from": "format", "/to": "format"}),
        ({"from": "2027-01-02", "to": "2027-01-01", "industry": "alchemy"}, {"/industry": "unknown", "/to": "out_of_range"}),
        ({"by": "step"}, {"/by": "pattern"}),
        ({"by": "week,week"}, {"/by": "pattern"}),
    ],
)
async def test_wrong_parameters_are_all_named(
    client: httpx.AsyncClient, admin: Person, filters: dict[str, str], wrong: dict[str, str]
) -> None:
    answer = await client.get(FUNNEL, headers=admin.headers, params=filters)
    assert answer.status_code == 422
    assert wrong_fields(answer) == wrong


async def test_the_funnel_is_for_admins(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    assert (await client.get(FUNNEL, headers=person.headers)).status_code == 403
    assert (await client.get(FUNNEL)).status_code == 401
