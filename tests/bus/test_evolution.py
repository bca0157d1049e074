"""Messages grow new versions: what an earlier build wrote down is read by this one, wherever it was kept."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest

from app.bootstrap import House, Ports, open_house
from app.sealing import Sealer
from app.settings import Settings
from bus.catalog import Catalog
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Command, Envelope, Event, Secret, Trace, Upcaster, Wire, upcasts
from bus.registry import Rule, handles, reacts
from bus.work import Dead
from db.session import Work
from domain.operations.commands import ReplayDeadLetter
from handlers.policy import Anyone
from handlers.ports import Clock
from tests.support import HandClock, ScriptedMailer, harness_of, rows, value

SEALER = Sealer("a secret key of thirty-two signs and more")
heard: list[object] = []


class Said(Event, frozen=True, kw_only=True):
    """As the earlier build has it."""

    wire: ClassVar = Wire(name="talk.said", key="room")
    room: str
    text: str


class SaidInWords(Event, frozen=True, kw_only=True):
    """As this build has it."""

    wire: ClassVar = Wire(name="talk.said", version=3, key="room")
    room: str
    words: list[str]
    language: str


class Say(Command[None], frozen=True, kw_only=True):
    """As the earlier build has it, which sends it for later."""

    wire: ClassVar = Wire(name="talk.say")
    text: str
    whisper: Secret


class SayInWords(Command[None], frozen=True, kw_only=True):
    """As this build has it."""

    wire: ClassVar = Wire(name="talk.say", version=2)
    words: list[str]
    aside: Secret


class Plan(Command[None], frozen=True, kw_only=True):
    """Says something at once, and something else in an hour."""

    text: str
    later: str


@upcasts("talk.said", 1)
def split(data: dict[str, Any]) -> dict[str, Any]:
    return {"room": data["room"], "words": data["text"].split()}


@upcasts("talk.said", 2)
def assume_english(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "language": "en"}


@upcasts("talk.say", 1)
def split_command(data: dict[str, Any]) -> dict[str, Any]:
    return {"words": data["text"].split(), "aside": data["whisper"]}


@handles(Plan)
async def plan(cmd: Plan, work: Work, clock: Clock) -> None:
    work.record(Said(room="hall", text=cmd.text))
    work.send(Say(text=cmd.later, whisper=Secret("psst")), at=clock() + timedelta(hours=1))


@handles(Say)
async def say(cmd: Say, work: Work) -> None:  # noqa: ARG001 - it hears
    heard.append(cmd)


@handles(SayInWords)
async def say_in_words(cmd: SayInWords, work: Work) -> None:
    heard.append(cmd)
    work.record(SaidInWords(room="hall", words=cmd.words, language="cy"))


@reacts("talk.hear")
async def hear(event: Said, work: Work) -> None:  # noqa: ARG001 - it fails
    raise Dead(f"cannot bear to hear {event.text!r}")


@reacts("talk.hear")
async def hear_words(event: SaidInWords, work: Work) -> None:  # noqa: ARG001 - it hears
    heard.append(event)


def build(*parts: object, policy: Mapping[type[Command[Any]], Rule]) -> ModuleType:
    """These parts of this file as the module of an area."""
    module = ModuleType(__name__)
    for number, part in enumerate(parts):
        setattr(module, f"part{number}", part)
    module.__dict__["POLICY"] = policy
    return module


EARLIER = build(Said, Say, Plan, plan, say, hear, policy={Say: Anyone(internal=True), Plan: Anyone()})
LATER = build(
    *(SaidInWords, SayInWords, split, assume_english, split_command, say_in_words, hear_words),
    policy={SayInWords: Anyone(internal=True)},
)


@asynccontextmanager
async def running(build: ModuleType, settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> AsyncGenerator[tuple[House, Harness]]:
    async with open_house(settings, Ports(clock=clock, mailer=mailer), modules=(build,)) as house:
        yield house, harness_of(house)


@pytest.fixture(autouse=True)
def _silence() -> None:  # pyright: ignore[reportUnusedFunction] - used by pytest
    heard.clear()


async def test_what_an_earlier_build_left_in_stream_and_outbox_is_read_by_this_one(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer
) -> None:
    async with running(EARLIER, settings, clock, mailer) as (house, harness):
        await harness.execute(Plan(text="good morning", later="good night"))
        leader = await harness.relay.lead()
        assert leader is not None
        await harness.relay.step(leader)
        await house.ledger.leave(leader, now=clock())
    clock.move(hours=2)
    async with running(LATER, settings, clock, mailer) as (house, harness):
        await harness.settle()
        assert heard == [
            SaidInWords(room="hall", words=["good", "morning"], language="en"),
            SayInWords(words=["good", "night"], aside=Secret("psst")),
            SaidInWords(room="hall", words=["good", "night"], language="cy"),
        ]
        assert [row["v"] for row in await rows(house, "SELECT v FROM events WHERE name = 'talk.said' ORDER BY at")] == [1, 3]
        assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_a_dead_letter_of_an_earlier_build_is_replayed_by_this_one(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer
) -> None:
    async with running(EARLIER, settings, clock, mailer) as (house, harness):
        await harness.execute(Plan(text="good morning", later="good night"))
        await harness.settle()
        [letter] = await rows(house, "SELECT id, error FROM deliveries WHERE state = 'dead'")
        assert letter["error"] == "cannot bear to hear 'good morning'"
    async with running(LATER, settings, clock, mailer) as (house, harness):
        await harness.execute(ReplayDeadLetter(id=letter["id"]), by=SYSTEM)
        await harness.settle()
        assert heard == [SaidInWords(room="hall", words=["good", "morning"], language="en")]
        assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_what_a_newer_build_wrote_is_a_dead_letter_until_that_build_replays_it(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer
) -> None:
    async with running(LATER, settings, clock, mailer) as (house, harness):
        await harness.execute(SayInWords(words=["good", "day"], aside=Secret("psst")))
    async with running(EARLIER, settings, clock, mailer) as (house, harness):
        await harness.settle()
        [letter] = await rows(house, "SELECT id, error FROM deliveries WHERE state = 'dead'")
        assert letter["error"] == "unreadable: talk.said is known up to version 1, not 3; replay it on a newer build"
    heard.clear()
    async with running(LATER, settings, clock, mailer) as (house, harness):
        await harness.execute(ReplayDeadLetter(id=letter["id"]), by=SYSTEM)
        await harness.settle()
        assert heard == [SaidInWords(room="hall", words=["good", "day"], language="cy")]


def catalog(*messages: type[Command[Any]] | type[Event], upcasters: tuple[Upcaster, ...] = ()) -> Catalog:
    return Catalog(messages, SEALER, upcasters)


def kept(name: str, version: int, **data: object) -> Envelope:
    return Envelope(
        id=UUID(int=1),
        name=name,
        version=version,
        at=datetime.now(UTC),
        actor=ANONYMOUS,
        trace=Trace(correlation_id="a"),
        data=msgspec.Raw(msgspec.json.encode(data)),
    )


IN_WORDS = SaidInWords(room="hall", words=["good", "day"], language="cy")


@pytest.mark.parametrize(
    ("version", "data", "language"),
    [
        (1, {"room": "hall", "text": "good day"}, "en"),
        (2, {"room": "hall", "words": ["good", "day"]}, "en"),
        (3, {"room": "hall", "words": ["good", "day"], "language": "cy"}, "cy"),
    ],
)
def test_every_earlier_version_is_read_through_the_ones_between(version: int, data: dict[str, object], language: str) -> None:
    both = catalog(SaidInWords, upcasters=(assume_english, split))
    assert both.problems == []
    assert both.decode(kept("talk.said", version, **data)) == msgspec.structs.replace(IN_WORDS, language=language)


def test_fields_that_this_build_does_not_know_are_passed_over() -> None:
    assert catalog(Said).decode(kept("talk.said", 1, room="hall", text="hush", volume=3)) == Said(room="hall", text="hush")
    said = catalog(Plan).decode(kept(f"{__name__.split('.')[-2]}.plan", 1, text="a", later="b", volume=3))
    assert said == Plan(text="a", later="b")


@pytest.mark.parametrize("version", [0, 4])
def test_a_version_that_nobody_has_written_yet_is_unreadable(version: int) -> None:
    with pytest.raises(Dead, match=f"talk.said is known up to version 3, not {version}; replay it on a newer build"):
        catalog(SaidInWords, upcasters=(split, assume_english)).decode(kept("talk.said", version, room="hall"))


def test_data_that_an_upcaster_cannot_read_is_unreadable_and_the_upcaster_is_named() -> None:
    with pytest.raises(Dead, match=re.escape("unreadable: split fails on talk.said v1: KeyError('text')")):
        catalog(SaidInWords, upcasters=(split, assume_english)).decode(kept("talk.said", 1, room="hall"))


def test_data_that_an_upcaster_makes_wrong_is_unreadable() -> None:
    with pytest.raises(Dead, match=re.escape("unreadable: talk.said v1 does not have the expected shape")):
        catalog(SaidInWords, upcasters=(split, assume_english)).decode(kept("talk.said", 1, room=7, text="hush"))


def test_a_gap_between_versions_is_named() -> None:
    assert catalog(SaidInWords, upcasters=(assume_english,)).problems == [
        "nothing upcasts talk.said v1, of which rows are kept: write an upcaster with @upcasts('talk.said', 1)"
    ]


def test_two_upcasters_of_one_version_are_named() -> None:
    @upcasts("talk.said", 1)
    def other(data: dict[str, Any]) -> dict[str, Any]:
        return data

    [problem] = catalog(SaidInWords, upcasters=(split, assume_english, other)).problems
    assert problem.endswith("other and tests.bus.test_evolution.split both upcast talk.said v1")


def test_an_upcaster_of_a_message_that_is_not_there_is_named() -> None:
    assert catalog(upcasters=(split,)).problems == ["tests.bus.test_evolution.split upcasts 'talk.said', but no message has this wire name"]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_an_upcaster_of_the_current_version_or_beyond_is_named(version: int) -> None:
    @upcasts("talk.said", version)
    def early(data: dict[str, Any]) -> dict[str, Any]:
        return data

    [problem] = catalog(Said, upcasters=(early,)).problems
    assert problem.endswith(f"early upcasts talk.said v{version}, but the current version is 1: raise `version` in its `Wire`")
