"""One learner with two devices, in any order of answers, changes, resets and completions: over HTTP the journey does what its rules say.

The model below is written from the rules alone and shares no code with the domain.
"""

import asyncio
import unicodedata
from collections.abc import Callable, Coroutine
from copy import deepcopy
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid5

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from app.settings import Settings
from domain.catalogue.identity import entry_id
from tests.app.client import Door, Person, sign_up
from tests.support import HandClock, harness_of

T = TypeVar("T")
Body = dict[str, Any]
Choices = list[tuple[str, str]]

ONBOARDING = "/api/v2/onboarding"
LADDER = ["native_language", "industry", "role", "partners", "situations", "summary", "completed"]
MINUTES = {"native_language": 1, "industry": 1, "role": 2, "partners": 2, "situations": 3, "summary": 1}

ROLES = {
    "relationship_manager": "banking_finance",
    "bank_teller": "banking_finance",
    "freight_forwarder": "shipping_logistics",
    "warehouse_supervisor": "shipping_logistics",
}
# The second spelling of each is the same name: it differs in case, width or white space only.
TITLES = ["Ship chandler", "SHIP  \uff43handler", "Café auditor"]
NAMES = ["Head office", " head  OFFICE ", "Der Gro\u00dfkunde", "der grosskunde"]
DEVICES = st.integers(0, 1)
MODES = st.sampled_from(["any", "own", "own", "latest"])
"""What a device sends as `If-Match`: nothing, the ETag that it saw last, which may be old, or the newest there is."""


def names(catalogue: tuple[str, ...], most: int) -> st.SearchStrategy[Choices]:
    """Entries of the catalogue and own ones, by how they are sent; none twice."""
    one = st.one_of(st.sampled_from([("slug", slug) for slug in catalogue]), st.sampled_from([("own", name) for name in NAMES]))
    return st.lists(one, min_size=1, max_size=most, unique_by=lambda choice: (choice[0], normalised(choice[1])))


PARTNERS = names(("clients", "suppliers", "colleagues"), 3)
SITUATIONS = names(("meetings", "negotiations"), 2)


def normalised(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def shown(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


class Refused(Exception):
    """What the model expects of a request that is not accepted."""

    def __init__(self, status: int, code: str, *pointers: str) -> None:
        super().__init__(status, code, pointers)
        self.status, self.code, self.pointers = status, code, list(pointers)


class Model:
    """A journey, as the rules have it."""

    def __init__(self, account: UUID) -> None:
        self.account = account
        self.version = 1
        self.reminders = True
        self.active: datetime | None = None
        self.clear()

    def clear(self) -> None:
        self.native: Body | None = None
        self.goals: Body | None = None
        self.industry: str | None = None
        self.role: Body | None = None
        self.partners: list[Body] = []
        self.void: list[Body] = []
        self.started: datetime | None = None
        self.completed: datetime | None = None
        self.paused = False

    def id_of(self, kind: str, choice: tuple[str, str]) -> str:
        how, name = choice
        return str(uuid5(self.account, f"{kind}/{normalised(name)}") if how == "own" else entry_id(kind, name))  # pyright: ignore[reportArgumentType]  # The kinds here are those of the catalogue.

    def chosen(self, kind: str, choices: Choices) -> list[Body]:
        return [{"id": self.id_of(kind, (how, name)), "name": shown(name) if how == "own" else name} for how, name in choices]

    def missing(self) -> list[Body]:
        unanswered = [("native_language", self.native), ("industry", self.industry), ("role", self.role), ("partners", self.partners)]
        steps = [{"step": step, "partner": None} for step, answer in unanswered if not answer]
        if not self.partners:
            return [*steps, {"step": "situations", "partner": None}]
        return [*steps, *({"step": "situations", "partner": one["id"]} for one in self.partners if not one["situations"])]

    def pointers(self, steps: list[str]) -> list[str]:
        named = [gap for gap in self.missing() if gap["step"] in steps]
        return [f"/{gap['step']}" if gap["partner"] is None else f"/partners/{gap['partner']}/situations" for gap in named]

    def has(self, step: str) -> bool:
        if step == "situations":
            return any(one["situations"] for one in self.partners)
        return bool({"native_language": self.native, "industry": self.industry, "role": self.role, "partners": self.partners}[step])

    def reach(self, step: str) -> None:
        """No step is skipped; what was answered may be answered again."""
        if not self.has(step) and (wanting := self.pointers(LADDER[: LADDER.index(step)])):
            raise Refused(409, "onboarding.step_not_reached", *wanting)

    def match(self, versions: int | None) -> None:
        if versions is not None and versions != self.version:
            raise Refused(412, "request.stale")

    def answered(self, now: datetime) -> None:
        self.version += 1
        self.paused = False
        self.started, self.active = self.started or now, now
        self.void = [
            one
            for one in self.void
            if not (
                self.role is not None
                if one["step"] == "role"
                else any(partner["id"] == one["partner"] and partner["situations"] for partner in self.partners)
            )
        ]

    def body(self) -> Body:
        """What GET answers, names of the catalogue aside."""
        missing = self.missing()
        wanting: set[str] = {gap["step"] for gap in missing} | (set() if self.completed else {"summary"})
        done = [step for step in LADDER[:-1] if step not in wanting]
        current = "completed" if self.completed else next(step for step in LADDER if step not in done)
        stages = {"completed": self.completed, "paused": self.paused, "in_progress": self.started, "not_started": True}
        return {
            "status": next(status for status, holds in stages.items() if holds),
            "current_step": current,
            "next_step": None if self.completed else LADDER[LADDER.index(current) + 1],
            "done": done,
            "missing": missing,
            "percent": int(100 * len(done) / 6),
            "minutes_left": sum(MINUTES[step] for step in LADDER[:-1] if step not in done),
            "answers": {
                "native_language": self.native,
                "learning_goals": self.goals,
                "industry": self.industry,
                "role": self.role,
                "partners": self.partners,
            },
            "void": self.void,
            "reminders": {"enabled": self.reminders},
            "started_at": self.started,
            "active_at": self.active,
            "completed_at": self.completed,
        }


def seen(data: Body) -> Body:
    """What was answered over HTTP, in the words of the model."""
    told = deepcopy(data)
    answers = told["answers"]
    if native := answers["native_language"]:
        languages = ("language", "target_language", "explanation_language")
        answers["native_language"] = {**native, **{one: native[one]["slug"] for one in languages}}
    answers["industry"] = answers["industry"] and answers["industry"]["slug"]
    if role := answers["role"]:
        answers["role"] = {"id": role["id"], "name": role["title"] if role["custom"] else role["slug"]}
    answers["partners"] = [{**choice(one), "situations": [choice(each) for each in one["situations"]]} for one in answers["partners"]]
    assert [one["priority"] for one in data["answers"]["partners"]] == list(range(1, len(answers["partners"]) + 1))
    for name in ("started_at", "active_at", "completed_at"):
        told[name] = told[name] and datetime.fromisoformat(told[name])
    return told


def choice(one: Body) -> Body:
    return {"id": one["id"], "name": one["name"] if one["custom"] else one["slug"]}


def sent(kind: str, choices: Choices) -> list[Body]:
    return [{"custom": {"name": name}} if how == "own" else {kind: name} for how, name in choices]


class World:
    """What all runs of the machine share. The machine is not async, and so in a thread; the application is in the loop."""

    def __init__(self, door: Door, clock: HandClock) -> None:
        self.door, self.clock = door, clock
        self._loop = asyncio.get_running_loop()
        self.learners = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)


class JourneyMachine(RuleBasedStateMachine):
    """The second device is in Chinese, so that its ETags are others than those of the first."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.learners += 1
        self.person: Person = self.world.run(sign_up(self.world.door.client, email=f"learner.{self.world.learners}@example.com"))
        self.model = Model(self.person.id)
        self.etags: list[str] = []
        self.bodies: dict[str, Body] = {}
        self.last: tuple[str, Body] | None = None
        self.ids: dict[tuple[str, str], str] = {}
        self.novelties = 0
        self.was_reset = False

    @property
    def now(self) -> datetime:
        return self.world.clock()

    async def request(self, device: int, method: str, path: str, body: Body | None = None, **headers: str) -> httpx.Response:
        language = {} if device == 0 else {"Accept-Language": "zh-TW"}
        headers = {**self.person.headers, **language, **headers}
        return await self.world.door.client.request(method, ONBOARDING + path, headers=headers, json=body)

    def tag(self, device: int, version: int | None = None) -> str:
        version = self.model.version if version is None else version
        return f'"{version}"' if device == 0 else f'"{version}.zh-Hant"'

    def accepted(self, device: int, answer: httpx.Response) -> None:
        """Exactly the journey of the model, under the tag of its version."""
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert seen(data) == self.model.body()
        assert answer.headers["ETag"] == self.tag(device)
        assert self.bodies.setdefault(self.tag(device), data) == data, "one ETag, two bodies"
        self.etags[device] = self.tag(device)

    def refused(self, answer: httpx.Response, expected: Refused) -> None:
        body = answer.json()
        found = [error["field"] for error in body.get("errors", [])]
        assert (answer.status_code, body.get("code"), found) == (expected.status, expected.code, expected.pointers), answer.text

    def does(self, device: int, method: str, path: str, body: Body | None, mode: str, change: Callable[[int | None], None]) -> None:
        """Asks for it, and expects what `change` does to the model or refuses. It is given the version that the request names."""
        self.world.clock.move(seconds=1)
        tags = {"any": None, "own": self.etags[device], "latest": self.tag(device)}
        tag = tags[mode]
        versions = None if tag is None else int(tag.strip('"').partition(".")[0])
        try:
            change(versions)
        except Refused as refused:
            expected: Refused | None = refused
        else:
            expected = None
        answer = self.world.run(self.request(device, method, path, body, **({} if tag is None else {"If-Match": tag})))
        if expected is None:
            self.accepted(device, answer)
        else:
            self.refused(answer, expected)

    @initialize(steps=st.integers(0, 6), completed=st.booleans())
    def some_way(self, steps: int, completed: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name.
        """Most runs begin in the middle; otherwise few would see the end."""
        self.etags = [self.tag(0), self.tag(1)]
        for _ in range(steps):
            self.goes_on(device=0, mode="any")
        if steps == 6 and completed:
            self.completes(device=1)

    @rule(device=DEVICES, mode=MODES)
    def goes_on(self, device: int, mode: str) -> None:
        """The next answer, as the screens ask for it."""
        match self.model.body()["current_step"]:
            case "native_language":
                self.speaks(device, mode, "zh-Hant", None)
            case "industry":
                self.works_in(device, mode, "banking_finance")
            case "role":
                self.has_role(device, mode, next(role for role, industry in ROLES.items() if industry == self.model.industry))
            case "partners":
                self.talks_to(device, mode, [("slug", "clients"), ("own", NAMES[0])])
            case "situations":
                partner = next(n for n, one in enumerate(self.model.partners) if not one["situations"])
                self.meets(device, mode, partner, [("slug", "meetings")])
            case _:
                self.completes(device)

    @rule(device=DEVICES, mode=MODES, language=st.sampled_from(["zh-Hant", "fr"]), explained=st.sampled_from([None, "en"]))
    def speaks(self, device: int, mode: str, language: str, explained: str | None) -> None:
        answer = {"language": language, "proficiency": "B1", "target_language": "en", "explanation_language": explained or language}

        def change(versions: int | None) -> None:
            self.model.match(versions)
            if self.model.native != answer or self.model.paused:
                self.model.native = answer
                self.model.answered(self.now)

        body = {"language": language.upper(), "proficiency": "B1", "explanation_language": explained}
        self.does(device, "PUT", "/native-language", body, mode, change)

    @rule(device=DEVICES, mode=MODES, minutes=st.sampled_from([10, 20]))
    def aims(self, device: int, mode: str, minutes: int) -> None:
        answer = {"goals": ["Lead a meeting"], "minutes_a_day": minutes, "timeline": "1_year"}

        def change(versions: int | None) -> None:
            self.model.match(versions)
            if self.model.goals != answer or self.model.paused:
                self.model.goals = answer
                self.model.answered(self.now)

        self.does(device, "PUT", "/learning-goals", answer, mode, change)

    @rule(device=DEVICES, mode=MODES, industry=st.sampled_from(["banking_finance", "shipping_logistics"]))
    def works_in(self, device: int, mode: str, industry: str) -> None:
        def change(versions: int | None) -> None:
            self.model.reach("industry")
            self.model.match(versions)
            if self.model.industry == industry:
                if self.model.paused:
                    self.model.answered(self.now)
                return
            if self.model.role is not None:
                self.model.void.append({"step": "role", "partner": None, "because": "industry"})
            self.model.industry, self.model.role = industry, None
            self.model.answered(self.now)

        ref = industry if device == 0 else str(entry_id("industry", industry))
        self.does(device, "PUT", "/industry", {"industry": ref}, mode, change)

    @rule(device=DEVICES, mode=MODES, role=st.sampled_from(sorted(ROLES)))
    def has_role(self, device: int, mode: str, role: str) -> None:
        def change(versions: int | None) -> None:
            if self.model.industry not in (None, ROLES[role]):
                raise Refused(422, "request.invalid", "/role")
            self.is_now({"id": self.model.id_of("role", ("slug", role)), "name": role}, versions)

        self.does(device, "PUT", "/role", {"role": role if device == 0 else str(entry_id("role", role))}, mode, change)

    @rule(device=DEVICES, mode=MODES, title=st.sampled_from(TITLES))
    def describes_a_role(self, device: int, mode: str, title: str) -> None:
        def change(versions: int | None) -> None:
            kind = f"role/{self.model.industry and entry_id('industry', self.model.industry)}"
            self.is_now({"id": self.model.id_of(kind, ("own", title)), "name": shown(title)}, versions)

        custom = {"title": title, "description": "I supply ships with food.", "hierarchy_level": "associate"}
        self.does(device, "PUT", "/role", {"custom": custom}, mode, change)

    def is_now(self, role: Body, versions: int | None) -> None:
        self.model.reach("role")
        self.model.match(versions)
        if self.model.role != role or self.model.paused:
            self.model.role = role
            self.model.answered(self.now)

    @rule(device=DEVICES, mode=MODES, choices=PARTNERS)
    def talks_to(self, device: int, mode: str, choices: Choices) -> None:
        """Those who stay keep their situations; those of who leave are void."""

        def change(versions: int | None) -> None:
            self.model.reach("partners")
            self.model.match(versions)
            before = {one["id"]: one["situations"] for one in self.model.partners}
            partners = [{**one, "situations": before.get(one["id"], [])} for one in self.model.chosen("partner", choices)]
            if partners == self.model.partners:
                if self.model.paused:
                    self.model.answered(self.now)
                return
            stay = {one["id"] for one in partners}
            self.model.void += [
                {"step": "situations", "partner": identity, "because": "partners"}
                for identity, situations in before.items()
                if situations and identity not in stay
            ]
            self.model.partners = partners
            self.model.answered(self.now)

        self.does(device, "PUT", "/partners", {"partners": sent("partner", choices)}, mode, change)

    @rule(device=DEVICES, mode=MODES, place=st.integers(0, 3), choices=SITUATIONS)
    def meets(self, device: int, mode: str, place: int, choices: Choices) -> None:
        """In one path of four there is a partner whom the learner does not have."""
        stranger = {"id": str(uuid5(self.person.id, "partner/nobody")), "name": "nobody"}
        partner = self.model.partners[place] if place < len(self.model.partners) else stranger
        ref = partner["name"] if device == 0 and partner["name"] in ("clients", "suppliers", "colleagues") else partner["id"]
        body = {"situations": sent("situation", choices)}
        path = f"/partners/{ref}/situations"
        self.does(device, "PUT", path, body, mode, lambda versions: self.met({partner["id"]: choices}, versions, every=False))

    @rule(device=DEVICES, mode=MODES, named=st.sampled_from(["all", "all", "one less", "one more"]), choices=SITUATIONS)
    def meets_all(self, device: int, mode: str, named: str, choices: Choices) -> None:
        """All partners at once: not one less, unless it is the only one, and nobody else."""
        mine = [one["id"] for one in reversed(self.model.partners)]
        stranger = str(uuid5(self.person.id, "partner/nobody"))
        partners = {"all": mine, "one less": mine[1:], "one more": [*mine, stranger]}[named] or [stranger]
        body = {"partners": [{"partner": one, "situations": sent("situation", choices)} for one in partners]}
        situations = dict.fromkeys(partners, choices)
        self.does(device, "PUT", "/situations", body, mode, lambda versions: self.met(situations, versions, every=True))

    def met(self, situations: dict[str, Choices], versions: int | None, *, every: bool) -> None:
        mine = [one["id"] for one in self.model.partners]
        if not mine:
            self.model.reach("situations")
        strangers = [n for n, partner in enumerate(situations) if partner not in mine]
        if strangers and not every:
            raise Refused(404, "onboarding.unknown_partner")
        if strangers:
            raise Refused(422, "request.invalid", *(f"/partners/{n}/partner" for n in strangers))
        if every and set(mine) - situations.keys():
            raise Refused(422, "request.invalid", "/partners")
        self.model.reach("situations")
        self.model.match(versions)
        chosen = {partner: self.model.chosen("situation", choices) for partner, choices in situations.items()}
        partners = [{**one, "situations": chosen.get(one["id"], one["situations"])} for one in self.model.partners]
        if partners != self.model.partners or self.model.paused:
            self.model.partners = partners
            self.model.answered(self.now)

    @rule(device=DEVICES, mode=MODES, enabled=st.booleans())
    def wants_reminders(self, device: int, mode: str, enabled: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name.
        def change(versions: int | None) -> None:
            self.model.match(versions)
            if self.model.reminders != enabled:
                self.model.reminders = enabled
                self.model.version += 1

        self.does(device, "PUT", "/reminders", {"enabled": enabled}, mode, change)

    @rule(device=DEVICES)
    def pauses(self, device: int) -> None:
        def change(_: int | None) -> None:
            if self.model.completed:
                raise Refused(409, "onboarding.already_completed")
            if not self.model.paused:
                self.model.paused, self.model.active = True, self.now
                self.model.version += 1

        self.does(device, "POST", "/pause", None, "any", change)

    @rule(device=DEVICES)
    def completes(self, device: int) -> None:
        def change(_: int | None) -> None:
            if wanting := self.model.pointers(LADDER):
                raise Refused(409, "onboarding.incomplete", *wanting)
            if not self.model.completed:
                self.model.completed = self.model.active = self.now
                self.model.paused = False
                self.model.version += 1

        self.does(device, "POST", "/complete", None, "any", change)

    @precondition(lambda self: self.model.partners or self.model.paused or self.model.version == 1)
    @rule(device=DEVICES, sure=st.booleans())
    def resets(self, device: int, sure: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name.
        """Not often, for there is little to see in an empty journey."""
        if not sure:
            return

        def change(_: int | None) -> None:
            if self.model.started or self.model.paused:
                self.model.clear()
                self.model.active = self.now
                self.model.version += 1
                self.was_reset = True

        self.does(device, "POST", "/reset", None, "any", change)

    @rule(device=DEVICES)
    def looks(self, device: int) -> None:
        """What the device has is current, or it gets what is."""
        known = self.etags[device]
        answer = self.world.run(self.request(device, "GET", "", None, **{"If-None-Match": known}))
        if known == self.tag(device):
            assert (answer.status_code, answer.headers["ETag"], answer.content) == (304, known, b"")
        else:
            self.accepted(device, answer)

    @rule(mode=st.sampled_from(["any", "latest"]))
    def both_devices_at_once(self, mode: str) -> None:
        """Two changes that have nothing to do with each other: both are kept, or, of the same version, exactly one."""
        self.world.clock.move(seconds=1)
        self.novelties += 1
        goals = {"goals": [f"Goal number {self.novelties}"], "minutes_a_day": 15, "timeline": "1_month"}
        enabled = not self.model.reminders
        matching = [{} if mode == "any" else {"If-Match": self.tag(device)} for device in range(2)]

        async def together() -> tuple[httpx.Response, httpx.Response]:
            return await asyncio.gather(
                self.request(0, "PUT", "/learning-goals", goals, **matching[0]),
                self.request(1, "PUT", "/reminders", {"enabled": enabled}, **matching[1]),
            )

        answers = self.world.run(together())
        accepted = [device for device, answer in enumerate(answers) if answer.status_code == 200]
        stale = [answer for answer in answers if answer.status_code != 200]
        assert len(accepted) == (2 if mode == "any" else 1), [answer.text for answer in answers]
        for answer in stale:
            self.refused(answer, Refused(412, "request.stale"))
        for device in sorted(accepted, key=lambda device: int(answers[device].headers["ETag"].strip('"').partition(".")[0])):
            if device == 0:
                self.model.goals = goals
                self.model.answered(self.now)
            else:
                self.model.reminders = enabled
                self.model.version += 1
            self.accepted(device, answers[device])

    @precondition(lambda self: self.model.version == 1)
    @rule()
    def the_sign_up_is_reacted_to(self) -> None:
        """The journey begins by itself as well; no ETag goes stale by that."""
        self.world.run(harness_of(self.world.door.house).settle())

    @invariant()
    def the_journey_is_that_of_the_model(self) -> None:
        if not self.etags:
            return
        answer = self.world.run(self.request(0, "GET", ""))
        known = self.etags[0]
        self.accepted(0, answer)
        self.etags[0] = known
        self.holds(answer.headers["ETag"], answer.json()["data"])

    def holds(self, etag: str, data: Body) -> None:
        """What must be true of every journey, whatever the model says."""
        if self.last is not None:
            before, old = self.last
            assert (before == etag) == (old == data), "the ETag changes exactly when the body does"
            if old["status"] == "completed" and not self.was_reset:
                assert (data["status"], data["completed_at"]) == ("completed", old["completed_at"])
        self.last, self.was_reset = (etag, data), False
        done, void = data["done"], [one["step"] for one in data["void"]]
        assert done == [step for step in LADDER if step in done]
        assert data["percent"] == 100 * len(done) // 6
        assert {one["step"] for one in data["missing"]} == set(LADDER[:5]) - set(done)
        assert data["current_step"] == ("completed" if data["completed_at"] else next(step for step in LADDER if step not in done))
        skipped = [step for step in LADDER[: LADDER.index(done[-1])] if step not in done] if done else []
        assert all((step == "role" and "role" in void) or (step == "situations" and data["completed_at"]) for step in skipped)
        for partner in data["answers"]["partners"]:
            for kind, one in [("partner", partner), *(("situation", situation) for situation in partner["situations"])]:
                if one["custom"]:
                    assert self.ids.setdefault((kind, normalised(one["name"])), one["id"]) == one["id"], "another id for the same name"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The clock is moved with every request, and everybody signs up from one address."""
    return msgspec.structs.replace(settings, access_token_seconds=7 * 86400, auth_rate_burst=10_000, auth_rate_per_minute=10_000)


async def test_two_devices_in_any_order_keep_to_the_rules(catalogued: Door, clock: HandClock) -> None:
    shared = World(catalogued, clock)

    class Machine(JourneyMachine):
        world = shared

    # The same runs each time. A failure is told as it was found: to shrink it over HTTP would take minutes.
    bounded = hypothesis_settings(
        max_examples=24,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=bounded)
