"""Roles that learners described, from the journey to a moderator's decision, over HTTP."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from app.bootstrap import Ports
from app.ports import scripted_model
from app.settings import Settings
from bus.message import Actor
from domain.errors import Unavailable
from domain.onboarding.commands import DescribeRole
from domain.types import AccountId
from handlers.ports import Completion, ContentRefused, Prompt
from tests.app import client as clients
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.app.provider import answered, chat, provider
from tests.app.test_role_matches_api import found, prepared
from tests.support import HandClock, ScriptedMailer, harness_of, rows, value

SUBMISSIONS = "/api/v2/admin/role-submissions"
WORDING = "I structure leases of aircraft for airlines and banks"
PROPOSAL = {
    "description": "Structures leases of aircraft for airlines and banks.",
    "keywords": ["aircraft", "lease", "airline", "structuring", "aviation finance"],
}
PROPOSED = "SELECT proposed_description FROM roles WHERE owner IS NOT NULL"
QUESTION = {"job_title": "aircraft structurer", "job_description": "structuring aircraft leases for some airlines"}


class ScriptedModel(scripted_model.ScriptedModel):
    """Completes with what it is told to; raises the `failures` first."""

    def __init__(self, *, available: bool = True) -> None:
        super().__init__()
        self.available = available
        self.says = msgspec.json.encode(PROPOSAL).decode()
        self.failures: list[Exception] = []
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        if self.failures:
            raise self.failures.pop(0)
        return Completion(text=self.says, model="scripted", tokens_in=100, tokens_out=10)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@asynccontextmanager
async def opened(settings: Settings, clock: HandClock, mailer: ScriptedMailer, model: ScriptedModel) -> AsyncGenerator[Door]:
    async with clients.door(settings, Ports(clock=clock, mailer=mailer, language_model=model)) as door:
        yield door


@pytest.fixture
async def door(settings: Settings, clock: HandClock, mailer: ScriptedMailer, model: ScriptedModel) -> AsyncGenerator[Door]:
    async with opened(settings, clock, mailer, model) as door:
        yield door


async def describe(door: Door, person: Person, title: str = "Aircraft Lease Structurer", wording: str = WORDING) -> None:
    command = DescribeRole(account=AccountId(person.id), expected=None, title=title, description=wording, hierarchy_level="associate")
    await door.house.bus.execute(command, by=Actor(kind="person", id=person.id))
    await harness_of(door.house).settle()


async def submissions(door: Door, admin: Person, **query: Any) -> list[dict[str, Any]]:
    answer = await door.client.get(SUBMISSIONS, params=query, headers=admin.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def decide(door: Door, admin: Person, role: str, decision: str, body: object, **headers: str) -> httpx.Response:
    return await door.client.post(f"{SUBMISSIONS}/{role}/{decision}", json=body, headers={**admin.headers, **headers})


async def titles(door: Door, person: Person) -> list[str]:
    return [match["role"]["title"] for match in (await found(door.client, person, QUESTION))["matches"]]


async def recorded(door: Door, name: str) -> list[dict[str, Any]]:
    return [row["data"] for row in await rows(door.house, "SELECT data FROM events WHERE name = $1 ORDER BY id", name)]


async def test_a_described_role_waits_for_a_moderator_with_what_a_language_model_proposes(door: Door, model: ScriptedModel) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin, status="submitted")
    assert (submission["title"], submission["description"], submission["owner"]) == ("Aircraft Lease Structurer", WORDING, str(person.id))
    assert submission["keywords"] == []
    assert (submission["proposed_description"], submission["proposed_keywords"]) == (PROPOSAL["description"], PROPOSAL["keywords"])
    one = await door.client.get(f"{SUBMISSIONS}/{submission['id']}", headers=admin.headers)
    assert one.json()["data"] == submission
    [prompt] = model.prompts
    assert WORDING in prompt.text
    assert WORDING not in prompt.instructions


async def test_an_approved_role_is_found_by_everybody_of_its_industry_and_its_owner_is_told(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    other, elsewhere = await prepared(door, email="bob@example.com"), await prepared(door, "real_estate", email="eve@example.com")
    await describe(door, person)
    assert "Aircraft Lease Structurer" not in await titles(door, other)
    [submission] = await submissions(door, admin)
    answer = await decide(
        door, admin, submission["id"], "approve", {"title": "Aircraft Leasing Structurer", "hierarchy_level": "manager", **PROPOSAL}
    )
    assert answer.status_code == 200, answer.text
    approved = answer.json()["data"]
    assert (approved["status"], approved["title"], approved["hierarchy_level"]) == ("published", "Aircraft Leasing Structurer", "manager")
    assert (approved["description"], approved["keywords"]) == (PROPOSAL["description"], PROPOSAL["keywords"])
    await harness_of(door.house).settle()
    assert (await titles(door, other))[0] == "Aircraft Leasing Structurer"
    assert (await titles(door, person))[0] == "Aircraft Leasing Structurer"
    assert "Aircraft Leasing Structurer" not in await titles(door, elsewhere)
    [event] = await recorded(door, "catalogue.role_approved")
    assert (event["account"], event["role"]) == (str(person.id), submission["id"])
    assert event["fields"] == ["title", "description", "hierarchy_level", "keywords"]
    stale = await door.house.reads.role_search.missing((await rows(door.house, "SELECT model FROM embedding_models"))[0]["model"])
    assert stale == 0


async def test_a_rejected_role_stays_its_owners(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    other = await prepared(door, email="bob@example.com")
    await describe(door, person)
    [submission] = await submissions(door, admin)
    answer = await decide(door, admin, submission["id"], "reject", {"reason": "This is one company's word."})
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "rejected")
    assert answer.json()["data"]["reason"] == "This is one company's word."
    await harness_of(door.house).settle()
    assert (await titles(door, person))[0] == "Aircraft Lease Structurer"
    assert "Aircraft Lease Structurer" not in await titles(door, other)
    [event] = await recorded(door, "catalogue.role_rejected")
    assert set(event) == {"account", "role"}


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
async def test_a_role_is_decided_once(door: Door, first: str, second: str) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    bodies: dict[str, dict[str, str]] = {"approve": {}, "reject": {"reason": "Too narrow."}}
    assert (await decide(door, admin, submission["id"], first, bodies[first])).status_code == 200
    again = await decide(door, admin, submission["id"], second, bodies[second])
    assert (again.status_code, again.json()["code"]) == (409, "catalogue.submission_decided")


async def test_a_decision_repeated_with_its_key_gives_the_first_answer(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    first, again = [await decide(door, admin, submission["id"], "approve", {}, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["data"] == again.json()["data"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await recorded(door, "catalogue.role_approved")) == 1


async def test_a_role_described_anew_waits_anew_and_the_same_words_change_nothing(door: Door, model: ScriptedModel) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    await decide(door, admin, submission["id"], "reject", {"reason": "Say more."})
    await describe(door, person)
    assert [one["status"] for one in await submissions(door, admin)] == ["rejected"]
    await describe(door, person, wording="I structure and price leases of aircraft for airlines and banks")
    [submission] = await submissions(door, admin)
    assert (submission["status"], submission["reason"]) == ("submitted", None)
    assert "price" in submission["description"]
    assert len(model.prompts) == 2


async def test_what_everybody_sees_does_not_change_with_its_owners_words(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    await decide(door, admin, submission["id"], "approve", {})
    await describe(door, person, wording="Something else altogether, in bad words")
    [after] = await submissions(door, admin)
    assert (after["status"], after["description"]) == ("published", WORDING)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I cannot help with that.",
        '{"description": "Too few words.", "keywords": ["one"]}',
        '{"description": "x", "keywords": ["a1", "b2", "c3", "d4", "e5"]}',
        msgspec.json.encode({"description": "y" * 501, "keywords": ["a1", "b2", "c3", "d4", "e5"]}).decode(),
        '{"description": "Structures leases.", "keywords": "aircraft"}',
        '{"description": "Structures leases.", "keywords": ["aircraft", "Aircraft", "c3", "d4", "e5"]}',
        '{"description": "Bad \\u0000 letters.", "keywords": ["a1", "b2", "c3", "d4", "e5"]}',
    ],
)
async def test_nonsense_of_a_language_model_is_not_proposed(door: Door, model: ScriptedModel, clock: HandClock, said: str) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    model.says = said
    await describe(door, person)
    [submission] = await submissions(door, admin)
    assert (submission["proposed_description"], submission["proposed_keywords"]) == (None, None)
    assert submission["description"] == WORDING
    clock.move(hours=2)
    await harness_of(door.house).settle()
    assert len(model.prompts) == 1


async def test_a_language_model_that_is_away_is_asked_again(door: Door, model: ScriptedModel, clock: HandClock) -> None:
    person = await prepared(door)
    model.failures = [Unavailable(retry_after=60)]
    await describe(door, person)
    assert await value(door.house, PROPOSED) is None
    clock.move(hours=1)
    await harness_of(door.house).settle()
    assert await value(door.house, PROPOSED) == PROPOSAL["description"]


async def test_a_language_model_that_will_not_answer_is_not_asked_again(door: Door, model: ScriptedModel, clock: HandClock) -> None:
    person = await prepared(door)
    model.failures = [ContentRefused()]
    await describe(door, person)
    clock.move(hours=1)
    await harness_of(door.house).settle()
    assert (await value(door.house, PROPOSED), len(model.prompts)) == (None, 1)


async def test_without_a_language_model_everything_else_goes_on(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> None:
    model = ScriptedModel(available=False)
    async with opened(settings, clock, mailer, model) as door:
        person, admin = await prepared(door), await sign_in_admin(door)
        await describe(door, person)
        [submission] = await submissions(door, admin)
        assert submission["proposed_description"] is None
        assert model.prompts == []
        assert (await decide(door, admin, submission["id"], "approve", {})).status_code == 200


async def test_every_wrong_field_of_a_decision_is_named(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    for decision, body, fields in (
        (
            "approve",
            {"title": "x", "description": "short", "keywords": ["one"], "owner": "me"},
            {"/title", "/description", "/keywords", "/owner"},
        ),
        ("approve", {"keywords": ["a1", "b2", "c3", "d4", "e5", ""]}, {"/keywords/5"}),
        ("approve", {"duties": ["fine", "x"], "aliases": ["y" * 201]}, {"/duties/1", "/aliases/0"}),
        ("approve", {"title": "x", "hierarchy_level": "emperor"}, {"/title", "/hierarchy_level"}),
        ("approve", {"hierarchy_level": "emperor"}, {"/hierarchy_level"}),
        ("reject", {}, {"/reason"}),
        ("reject", {"reason": " "}, {"/reason"}),
    ):
        answer = await decide(door, admin, submission["id"], decision, body)
        assert answer.status_code == 422, answer.text
        assert set(wrong_fields(answer)) == fields
    assert [one["status"] for one in await submissions(door, admin)] == ["submitted"]


async def test_only_admins_see_and_decide(door: Door) -> None:
    person = await sign_up(door.client)
    role = uuid4()
    for answer in (
        await door.client.get(SUBMISSIONS, headers=person.headers),
        await door.client.get(f"{SUBMISSIONS}/{role}", headers=person.headers),
        await decide(door, person, str(role), "approve", {}),
        await decide(door, person, str(role), "reject", {"reason": "Too narrow."}),
    ):
        assert answer.status_code == 403
    assert (await door.client.get(SUBMISSIONS)).status_code == 401


async def test_what_nobody_submitted_is_not_found(door: Door) -> None:
    await prepared(door)
    admin = await sign_in_admin(door)
    of_the_catalogue: UUID = await value(door.house, "SELECT id FROM roles LIMIT 1")
    for role in (uuid4(), of_the_catalogue):
        for answer in (
            await door.client.get(f"{SUBMISSIONS}/{role}", headers=admin.headers),
            await decide(door, admin, str(role), "approve", {}),
            await decide(door, admin, str(role), "reject", {"reason": "Too narrow."}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "catalogue.unknown_submission")


async def test_pages_stay_stable_while_submissions_are_added(door: Door, clock: HandClock) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    for number in range(3):
        clock.move(seconds=1)
        await describe(door, person, f"Structurer {number}")
    first = await door.client.get(SUBMISSIONS, params={"limit": 2}, headers=admin.headers)
    assert [one["title"] for one in first.json()["data"]] == ["Structurer 2", "Structurer 1"]
    clock.move(seconds=1)
    await describe(door, person, "Structurer 3")
    cursor = first.json()["meta"]["page"]["next_cursor"]
    rest = await door.client.get(SUBMISSIONS, params={"limit": 2, "cursor": cursor}, headers=admin.headers)
    assert [one["title"] for one in rest.json()["data"]] == ["Structurer 0"]
    assert rest.json()["meta"]["page"]["next_cursor"] is None
    for query in ({"cursor": "x"}, {"status": "waiting"}, {"limit": 0}):
        assert (await door.client.get(SUBMISSIONS, params=query, headers=admin.headers)).status_code == 422
    assert await submissions(door, admin, status="published") == []


async def test_a_configured_language_model_is_asked_over_http(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> None:
    async with provider() as server:
        server.answer = lambda _: answered(chat(msgspec.json.encode(PROPOSAL).decode()))
        own = msgspec.structs.replace(settings, llm_url=server.url, llm_key="sk-secret", llm_model="small")
        async with clients.door(own, Ports(clock=clock, mailer=mailer)) as door:
            person = await prepared(door)
            await describe(door, person)
            assert await value(door.house, PROPOSED) == PROPOSAL["description"]
            [tidied] = await recorded(door, "catalogue.role_tidied")
            assert (tidied["account"], tidied["model"]) == (str(person.id), "small-1")
        [(path, headers, _)] = server.heard
        assert (path, headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-secret")


async def test_what_its_owner_has_described_anew_is_not_decided_unread(door: Door) -> None:
    person, admin = await prepared(door), await sign_in_admin(door)
    await describe(door, person)
    [submission] = await submissions(door, admin)
    read = (await door.client.get(f"{SUBMISSIONS}/{submission['id']}", headers=admin.headers)).headers["etag"]
    await describe(door, person, wording="I sell whatever people would never let me sell")
    for decision, body in (("approve", {}), ("reject", {"reason": "This is no role."})):
        refused = await decide(door, admin, submission["id"], decision, body, **{"If-Match": read})
        assert (refused.status_code, refused.json()["code"]) == (412, "request.stale")
    assert await recorded(door, "catalogue.role_approved") == await recorded(door, "catalogue.role_rejected") == []
    again = (await door.client.get(f"{SUBMISSIONS}/{submission['id']}", headers=admin.headers)).headers["etag"]
    assert (await decide(door, admin, submission["id"], "approve", {}, **{"If-Match": again})).status_code == 200
