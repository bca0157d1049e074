"""The partner's answer, when the worker dies, the model fails, or the learner does not want it any more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest

from app.announcing import Announcer
from app.bootstrap import House, Ports, open_house
from app.ports.scripted_model import ScriptedModel
from app.settings import Settings
from app.stream_log import StreamWriter
from bus.message import ANONYMOUS, SYSTEM, Actor, Command, Personal, Unavailable
from db.connection import Database
from db.practice.log import Appended, Batch, LogAppender, pieces_of
from db.seeds import load_scenarios
from db.session import unit
from domain.practice.commands import (
    AnswerTurn,
    BeginAttempt,
    CompleteAttempt,
    ForkConversation,
    SeedScenarios,
    StartConversation,
    StopAnswer,
    SubmitTurn,
    UndoAction,
    WriteScenario,
)
from domain.practice.events import Settings as Wanted
from domain.practice.prompt import Scene
from domain.practice.views import ConversationView, viewed
from domain.types import AccountId
from handlers.ports import ContentRefused, Ended, Piece
from handlers.practice.answering import answer_turn
from tests.factories import Registrations
from tests.support import HandClock, ScriptedMailer, rows, value

Step = str | BaseException | asyncio.Event
SCENARIO = "real_estate_negotiations"


class Told(ScriptedModel):
    """Each call says the next of `calls`: pieces, errors, and events that it waits for. `asked` are the models and scenes that came."""

    def __init__(self, *, models: Sequence[str] = ("one", "two")) -> None:
        super().__init__()
        self.models = models
        self.calls: list[list[Step]] = []
        self.asked: list[tuple[str, Scene]] = []
        self.closed = 0

    def route(self, failures: Sequence[str]) -> str | None:
        return self.models[len(failures)] if len(failures) < len(self.models) else None

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        self.asked.append((model, scene))
        try:
            for step in self.calls.pop(0):
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield Piece(step)
            yield Ended(model=model, tokens_in=100, tokens_out=10, counted=True)
        finally:
            self.closed += 1


class Talk:
    """One learner in one conversation."""

    def __init__(self, house: House, account: AccountId, conversation: UUID) -> None:
        self.house, self.account, self.conversation = house, account, conversation
        self.by = Actor(kind="person", id=account)

    async def start(self, scenario: str) -> "Talk":
        """Another one, of the same learner."""
        started = await self.do(StartConversation(account=self.account, scenario=scenario, settings=Wanted(feedback="silent")))
        return Talk(self.house, self.account, started.conversation)

    async def say(self, text: str = "The price of the flat, please.") -> UUID:
        return (await self.do(SubmitTurn(account=self.account, conversation=self.conversation, text=text))).turn

    async def do(self, command: Any) -> Any:
        return await self.house.bus.execute(command, by=self.by)

    async def answer(self) -> None:
        await self.house.bus.execute(AnswerTurn(conversation=self.conversation), by=SYSTEM)

    async def view(self) -> ConversationView:
        found = await self.house.reads.practice.conversation(self.conversation, self.account)
        wrapped = await self.house.reads.practice.wrapped_key(self.account)
        assert wrapped is not None
        return viewed(found, self.house.vault.opened(wrapped).open)

    async def shown(self, turn: UUID, attempt: int) -> str:
        wrapped = await self.house.reads.practice.wrapped_key(self.account)
        assert wrapped is not None
        key = self.house.vault.opened(wrapped)
        async with self.house.database.driver() as driver:
            pieces = await pieces_of(driver, self.conversation, turn, attempt)
        return "".join(key.open(Personal(piece)) for piece in pieces)

    async def told(self) -> list[str]:
        found = await rows(self.house, "SELECT name FROM conversation_log WHERE conversation = $1 ORDER BY n", self.conversation)
        return [row["name"].removeprefix("practice.") for row in found]

    async def calls(self) -> list[tuple[int, str, str]]:
        found = await rows(self.house, "SELECT attempt, model, outcome FROM model_calls ORDER BY turn, attempt")
        return [(row["attempt"], row["model"], row["outcome"]) for row in found]


@pytest.fixture
def model() -> Told:
    return Told()


@pytest.fixture
async def house(settings: Settings, clock: HandClock, mailer: ScriptedMailer, model: Told) -> AsyncGenerator[House]:
    async with open_house(settings, Ports(clock=clock, mailer=mailer, language_model=model)) as house:
        await house.bus.execute(SeedScenarios(), by=SYSTEM)
        yield house


@pytest.fixture
async def talk(house: House) -> Talk:
    return await talking(house)


async def talking(house: House) -> Talk:
    account = (await house.bus.execute(Registrations.build(), by=ANONYMOUS)).profile.id
    return await Talk(house, account, account).start(SCENARIO)


async def until(true: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(15):
        while not await true():  # noqa: ASYNC110 - what is awaited is in the database
            await asyncio.sleep(0.01)


async def test_a_lost_worker_is_followed_by_another_that_begins_anew(talk: Talk, model: Told, clock: HandClock) -> None:
    model.calls = [["Well, ", "let me ", asyncio.Event()], ["Certainly."]]
    turn = await talk.say()
    lost = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "Well, let me "))
    await talk.answer()
    assert len(model.asked) == 1
    # The worker lives on, but its lease has passed: nothing of it may be written any more.
    clock.move(seconds=6)
    await talk.answer()
    await asyncio.wait_for(lost, 15)
    [shown] = (await talk.view()).turns
    assert (shown.status, shown.answer, shown.attempt) == ("answered", "Certainly.", 2)
    assert await talk.shown(turn, 1) == "Well, let me "
    assert await talk.calls() == [(1, "one", "orphaned"), (2, "one", "answered")]
    assert (await talk.told())[1:] == [
        *("turn_accepted", "attempt_started", "delta", "delta"),
        *("attempt_restarted", "delta", "turn_completed"),
    ]
    assert model.closed == 2


async def shows(talk: Talk, turn: UUID, attempt: int, text: str) -> bool:
    return await talk.shown(turn, attempt) == text


async def test_what_was_shown_when_it_was_stopped_is_kept_and_no_more(talk: Talk, model: Told) -> None:
    going_on = asyncio.Event()
    model.calls = [["I think ", "that we ", going_on, "should not."]]
    turn = await talk.say()
    answering = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "I think that we "))
    moved = await talk.do(StopAnswer(account=talk.account, conversation=talk.conversation))
    going_on.set()
    await asyncio.wait_for(answering, 15)
    [shown] = (await talk.view()).turns
    assert (moved.phase, shown.status, shown.answer) == ("idle", "stopped", "I think that we ")
    assert (await talk.told())[-1] == "turn_stopped"
    assert await talk.calls() == [(1, "one", "stopped")]
    assert await value(talk.house, "SELECT sum(reserved)::int FROM token_budgets") == 0


class Deaf(asyncio.Event):
    """Whoever waits for it loses the first cancellation, as before Python 3.12 in a command that has just been sent."""

    async def wait(self) -> Literal[True]:
        with contextlib.suppress(asyncio.CancelledError):
            await super().wait()
        return True


async def test_a_worker_stops_in_time_though_a_cancellation_was_lost(talk: Talk, model: Told) -> None:
    model.calls = [["Well, ", Deaf(), asyncio.Event()], ["Certainly."]]
    turn = await talk.say()
    working = asyncio.create_task(talk.house.turns().run())
    await until(lambda: shows(talk, turn, 1, "Well, "))
    working.cancel()
    await asyncio.wait([working], timeout=10)
    assert working.cancelled()
    await talk.answer()
    assert (await talk.view()).turns[0].answer == "Certainly."


async def test_a_stop_ends_the_call_of_a_silent_model(talk: Talk, model: Told) -> None:
    model.calls = [["I think ", asyncio.Event()]]
    turn = await talk.say()
    answering = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "I think "))
    await talk.do(StopAnswer(account=talk.account, conversation=talk.conversation))
    await asyncio.wait_for(answering, 15)
    assert model.closed == 1


async def test_undo_in_the_middle_of_an_answer_stops_it_first(talk: Talk, model: Told) -> None:
    model.calls = [["Good morning."], ["I think ", asyncio.Event()]]
    await talk.say()
    await talk.answer()
    before = await talk.view()
    turn = await talk.say("And the second question?")
    answering = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "I think "))
    await talk.do(UndoAction(account=talk.account, conversation=talk.conversation))
    await asyncio.wait_for(answering, 15)
    after = await talk.view()
    assert (after.turns, after.can_redo, after.tokens_in) == (before.turns, True, before.tokens_in)
    assert (await talk.told())[-2:] == ["turn_stopped", "undone"]


async def test_a_model_that_fails_is_followed_by_the_next_which_has_a_row_of_its_own(talk: Talk, model: Told) -> None:
    cut = asyncio.Event()
    model.calls = [["Hm, ", cut, Unavailable("cut", retry_after=1)], ["Yes."]]
    turn = await talk.say()
    answering = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "Hm, "))
    cut.set()
    await answering
    [shown] = (await talk.view()).turns
    assert (shown.answer, shown.attempt, shown.model) == ("Yes.", 2, "two")
    assert await talk.calls() == [(1, "one", "failed"), (2, "two", "answered")]
    assert await talk.shown(turn, 1) == "Hm, "


NOBODY: list[tuple[list[list[Step]], str | None, list[str]]] = [
    ([[Unavailable()], [Unavailable()]], "service.unavailable", ["failed", "failed"]),
    ([["I "]], None, ["answered"]),
    ([[], []], "service.nothing_said", ["failed", "failed"]),
    ([[ContentRefused()]], "service.content_refused", ["failed"]),
    ([[RuntimeError("a mistake of ours")]], "service.failed", ["failed"]),
]


@pytest.mark.parametrize(("calls", "code", "outcomes"), NOBODY)
async def test_when_nobody_answers_the_turn_has_failed_and_says_why(
    talk: Talk, model: Told, calls: list[list[Step]], code: str | None, outcomes: list[str]
) -> None:
    model.calls = calls
    await talk.say()
    await talk.answer()
    view = await talk.view()
    assert ([turn.error for turn in view.turns], view.phase) == ([code], "idle")
    assert [outcome for _, _, outcome in await talk.calls()] == outcomes
    assert await value(talk.house, "SELECT sum(reserved)::int FROM token_budgets") == 0


async def test_when_there_is_nobody_to_ask_no_call_is_counted(talk: Talk, model: Told) -> None:
    model.models = ()
    await talk.say()
    await talk.answer()
    [shown] = (await talk.view()).turns
    assert (shown.status, shown.error) == ("failed", "service.unavailable")
    assert await talk.calls() == [(1, "", "orphaned")]


async def test_a_turn_that_ends_every_worker_fails_at_last(talk: Talk, model: Told, clock: HandClock) -> None:
    model.calls = [[asyncio.CancelledError()] for _ in range(25)]
    await talk.say()
    for _ in range(21):
        with contextlib.suppress(asyncio.CancelledError):
            await talk.answer()
        clock.move(seconds=6)
    [shown] = (await talk.view()).turns
    assert (shown.status, shown.error, len(model.asked)) == ("failed", "practice.gave_up", 20)
    assert [outcome for _, _, outcome in await talk.calls()] == ["orphaned"] * 20


async def test_two_workers_answer_once(talk: Talk, model: Told) -> None:
    model.calls = [["Once."], ["Twice."]]
    await talk.say()
    await asyncio.gather(*(talk.answer() for _ in range(5)))
    assert (len(model.asked), [turn.answer for turn in (await talk.view()).turns]) == (1, ["Once."])


async def test_the_model_is_told_the_last_exchanges_and_a_summary_of_those_before(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer
) -> None:
    model = Told()
    model.calls = [[f"Answer {n}."] for n in range(3)]
    short = msgspec.structs.replace(settings, tokens_of_context=20)
    async with open_house(short, Ports(clock=clock, mailer=mailer, language_model=model)) as house:
        await house.bus.execute(SeedScenarios(), by=SYSTEM)
        talk = await talking(house)
        for n in range(3):
            await talk.say(f"Question number {n}, which is long enough.")
            await talk.answer()
    _, scene = model.asked[-1]
    assert [exchange.said[:17] for exchange in scene.exchanges] == ["Question number 2"]
    assert [text[:17] for text in scene.said_before] == ["Question number 0", "Question number 1"]
    assert (scene.skipped, scene.last, scene.scenario.slug) == (2, False, SCENARIO)


class Losing(LogAppender):
    """Gives up the connection of its first appends: `behind` the statement, or `before` it, which then arrives after the next one."""

    def __init__(self, database: Database, *, behind: int = 0, before: int = 0) -> None:
        super().__init__(database)
        self.behind, self.before = behind, before
        self.late: list[tuple[Sequence[Batch], datetime]] = []
        self.tried = asyncio.Event()

    async def append(self, batches: Sequence[Batch], *, now: datetime) -> Appended:
        self.tried.set()
        if self.before:
            self.before -= 1
            self.late.append((batches, now))
            raise Unavailable
        appended = await super().append(batches, now=now)
        for late, then in self.late:
            await super().append(late, now=then)
        if self.behind:
            self.behind -= 1
            raise Unavailable
        return appended


@pytest.mark.parametrize(("behind", "before"), [(1, 0), (3, 0), (0, 1), (0, 3), (2, 2)])
async def test_no_piece_is_written_twice_or_left_out_whatever_became_of_a_statement(
    talk: Talk, model: Told, behind: int, before: int
) -> None:
    house, turn = talk.house, await talk.say()
    begun = await house.bus.execute(BeginAttempt(conversation=talk.conversation, fence=None, model=model.models[0]), by=SYSTEM)
    assert begun is not None
    key = house.vault.opened(begun.key)
    losing = Losing(house.database, behind=behind, before=before)
    writer = StreamWriter(losing, Announcer(house.settings.redis_url), clock=house.clock, lease=timedelta(seconds=5))
    words = [f"{number} " for number in range(10)]
    async with writer.running(), writer.writing(talk.conversation, turn, begun.attempt, begun.fence, key) as pen:
        for word in words:
            losing.tried.clear()
            await pen.write(word)
            await losing.tried.wait()
        await pen.written()
    assert not losing.behind
    assert len(losing.late) == before
    assert await talk.shown(turn, begun.attempt) == "".join(words)


async def test_a_scene_goes_on_as_it_began_though_its_scenario_was_changed(house: House, model: Told) -> None:
    """One that everybody has, and one of the learner's own, which is changed twice; of that also a fork, and a scene begun afterwards."""
    [shared] = [one for one in load_scenarios().scenarios if one.slug == SCENARIO]
    mine = msgspec.structs.replace(shared, title="Mine", script=None, industry=None, situation=None, partner=None)
    talk = await talking(house)
    written = await talk.do(WriteScenario(account=talk.account, scenario=None, expected=None, written=mine))
    own = await talk.start(str(written.scenario))
    for title in ("Changed", "Changed again"):
        changed = msgspec.structs.replace(mine, title=title)
        await talk.do(WriteScenario(account=talk.account, scenario=written.scenario, expected=None, written=changed))
    async with unit(house.database) as work:
        await work.scenarios.keep([msgspec.structs.replace(shared, version=shared.version + 1, title="New")], now=house.clock())
    forked = await own.do(ForkConversation(account=own.account, conversation=own.conversation, at_version=1))
    fork = Talk(house, talk.account, forked.conversation)
    for one in (talk, own, fork, await talk.start(str(written.scenario)), await talk.start(SCENARIO)):
        model.calls.append(["Yes."])
        await one.say()
        await one.answer()
    assert [scene.scenario.title for _, scene in model.asked] == [shared.title, "Mine", "Mine", "Changed again", "New"]


async def test_a_turn_that_cannot_even_be_begun_fails_and_is_not_tried_for_ever(talk: Talk, model: Told) -> None:
    await talk.say()
    await rows(talk.house, "DELETE FROM learner_scenarios RETURNING 1")
    await rows(talk.house, "DELETE FROM scenarios RETURNING 1")
    await talk.answer()
    [shown] = (await talk.view()).turns
    assert (shown.status, shown.error, model.asked) == ("failed", "service.failed", [])
    assert await talk.calls() == [(1, "", "orphaned")]


async def test_a_lost_workers_turn_fails_when_nobody_can_be_asked_any_more(talk: Talk, model: Told, clock: HandClock) -> None:
    model.calls = [["Well, ", asyncio.Event()]]
    turn = await talk.say()
    lost = asyncio.create_task(talk.answer())
    await until(lambda: shows(talk, turn, 1, "Well, "))
    model.models = ()
    await talk.answer()
    assert (await talk.view()).phase == "running"
    clock.move(seconds=6)
    await talk.answer()
    await asyncio.wait_for(lost, 15)
    [shown] = (await talk.view()).turns
    assert (shown.status, shown.error) == ("failed", "service.unavailable")


async def test_an_answer_is_kept_although_the_database_is_away_for_a_moment(talk: Talk, model: Told, clock: HandClock) -> None:
    """The drive asks again; the fence says whether it still counts."""
    outages = [Unavailable(retry_after=1), Unavailable(retry_after=1)]

    class Away:
        """As the bus hands steps to a drive, while the database is away at the end of the answer."""

        async def execute(self, command: Command[Any]) -> Any:
            if isinstance(command, CompleteAttempt) and outages:
                raise outages.pop()
            return await talk.house.bus.execute(command, by=SYSTEM)

    model.calls = [["Here it is."]]
    await talk.say()
    await answer_turn(AnswerTurn(conversation=talk.conversation), Away(), model, talk.house.writer, talk.house.vault)
    assert [turn.answer for turn in (await talk.view()).turns] == ["Here it is."]
    assert (outages, await talk.calls(), clock()) == ([], [(1, "one", "answered")], clock.now)
