"""Undo, redo, forks and all else that a learner, workers and the coach do, in any order: the scene is always the one it has to be."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.bootstrap import House
from app.settings import Settings
from bus.message import Command, Unavailable
from db.connection import Row
from db.practice.folding import fold, fold_whole
from domain.errors import DomainError
from domain.practice.commands import (
    ChangeConversation,
    EndScene,
    ForkConversation,
    RedoAction,
    RetryTurn,
    StopAnswer,
    SubmitTurn,
    SummariseConversation,
    UndoAction,
)
from domain.practice.model import Conversation
from domain.practice.state import State
from domain.practice.views import viewed
from tests.conversing import ASTRAY, GOOD, TERSE, HaltingModel, Learner, house, model, scene_of, signed_up, unsettled
from tests.support import HandClock, rows

__all__ = ["house", "model"]

T = TypeVar("T")
R = TypeVar("R")
Scene = dict[str, Any]

MOST_FORKS = 4
MOVES_ON = 0.3
DAMAGES = ["state = '{}'", "state = state || '\\x20'", "checksum = sha256('')"]
TEXTS = ["good", "good", "terse", "astray"]


class World:
    """What all runs of the machine share. The machine is not async, and so in a thread; the house is in the loop."""

    def __init__(self, house: House, model: HaltingModel, clock: HandClock) -> None:
        self.house, self.model, self.clock = house, model, clock
        self._loop = asyncio.get_running_loop()
        self.done: Counter[str] = Counter()
        self.folds: Counter[str] = Counter()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)


class Known:
    """What is known of one conversation: its state at every version, and the scenes that undo and redo have to lead back to."""

    def __init__(self, states: list[State], undo: list[Scene], *, first: int = 1) -> None:
        self.states, self.undo, self.first = states, undo, first
        self.redo: list[Scene] = []
        self.calls: dict[UUID, tuple[Any, ...]] = {}
        self.head: Row | None = None
        self.worker: asyncio.Task[None] | None = None
        self.gate: asyncio.Event | None = None


def settled(expected: Scene, found: Scene) -> tuple[Scene, Scene]:
    """Both, but for what becomes of the turns that were not settled yet, when the head was moved away from them."""
    open_ones = {turn.id for turn in expected["turns"] if turn.status in ("waiting", "running")}
    if not open_ones:
        return expected, found
    kept = [{**scene, "turns": [turn.text if turn.id in open_ones else turn for turn in scene["turns"]]} for scene in (expected, found)]
    assert all(turn.status not in ("waiting", "running") for turn in found["turns"])
    return tuple({name: part for name, part in scene.items() if name in ("turns", "summary", "mistakes")} for scene in kept)  # pyright: ignore[reportReturnType]  # There are two.


class ConversationMachine(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.learner: Learner
        self.scene_at: UUID
        self.known: dict[UUID, Known] = {}
        self.steps = 0

    # ------------------------------------------------------------------ how it looks

    def chosen(self, which: int) -> UUID:
        return list(self.known)[which % len(self.known)]

    async def _conversation(self, which: UUID) -> Conversation:
        return await self.world.house.reads.practice.conversation(which, self.learner.account)

    async def _scene(self, which: UUID) -> Scene:
        return scene_of(viewed(await self._conversation(which), self.learner.key.open))

    def scene(self, which: UUID) -> Scene:
        return self.world.run(self._scene(which))

    def asks(self, name: str, command: Command[R]) -> R | None:
        """None when it was refused, and then nothing has changed."""
        before = self.world.run(self._everything())
        try:
            answer = self.world.run(self.learner.asks(command))
        except DomainError:
            answer = None
        if answer is None:
            assert self.world.run(self._everything()) == before, "refused, and something has changed"
        self.world.done[name if answer is not None else f"{name} refused"] += 1
        return answer

    async def _everything(self) -> list[Any]:
        """Heads and sums of all that may change: it is compared before and after what is refused."""
        house, account = self.world.house, self.learner.account
        heads = await rows(house, "SELECT id, version, phase, fence FROM conversations WHERE account = $1 ORDER BY id", account)
        calls = await rows(house, "SELECT count(*), sum(reserved) AS s FROM model_calls WHERE account = $1", account)
        return [*heads, *calls]

    # ------------------------------------------------------------------ what is done

    @initialize()
    def some_way(self) -> None:
        """Every third learner is refused while the partner answers; the others wait. Some begin in the middle, or near the end."""
        self.world.done["learners"] += 1
        busy = "queue" if self.world.done["learners"] % 3 else "refuse"
        turns = [1, 0, 7, 2][self.world.done["learners"] % 4]

        async def begin() -> tuple[Learner, UUID]:
            learner = await signed_up(self.world.house, self.world.model)
            return learner, await learner.starts(while_busy=busy)

        self.learner, scene = self.world.run(begin())
        self.known[scene] = Known([], [])
        self.scene_at = scene
        for _ in range(turns):
            self.says(scene, "good")
            self.is_answered(scene)

    @rule(seed=st.integers(0, 2**32))
    def happens(self, seed: int) -> None:
        """One rule, and one number: Hypothesis prefers some of several rules, and some of the values, for a whole run."""
        self.steps += 1
        drawn = Random(f"{self.world.done['learners']} {self.steps} {seed}")  # noqa: S311 - the same runs each time
        if drawn.random() < MOVES_ON:
            self.scene_at = drawn.choice(list(self.known))
        scene = self.scene_at
        text, number = drawn.choice(TEXTS), drawn.randrange(30)
        acts: dict[str, Callable[[], None]] = {
            "says": lambda: self.says(scene, text),
            "retries": lambda: self.acts("retries", scene, RetryTurn),
            "ends": lambda: self.acts("ends", scene, EndScene),
            "stops": lambda: self.stops(scene),
            "undoes": lambda: self.undoes(scene),
            "redoes": lambda: self.redoes(scene),
            "forks": lambda: self.forks(scene, max(0, number - 15)),
            "is answered": lambda: self.is_answered(scene),
            "is answered after failures": lambda: self.is_answered(scene, failures=1 + number % 3),
            "is being answered": lambda: self.is_being_answered(scene),
            "goes on": lambda: self.goes_on(scene),
            "is taken over": lambda: self.is_taken_over(scene),
            "the coach is done": self.the_coach_is_done,
            "is summarised": lambda: self.is_summarised(scene),
            "is renamed": lambda: self.is_renamed(scene),
            "is archived": lambda: self.is_archived(scene),
            "a snapshot is damaged": lambda: self.snapshot_is_damaged(scene, DAMAGES[number % len(DAMAGES)]),
        }
        names, weights = zip(*self.likely(scene).items(), strict=True)
        acts[drawn.choices(names, weights)[0]]()

    def likely(self, scene: UUID) -> dict[str, int]:
        """What is possible happens more often; what is not is tried too."""
        known = self.known[scene]
        content = known.states[-1].content
        busy, over = any(not turn.settled for turn in content.turns), content.ended is not None
        return {
            "says": 5 if not over and (not busy or known.states[-1].settings.while_busy == "queue") else 1,
            "retries": 1 if busy or not content.turns else 4,
            "ends": 1 if over or not content.turns else 2,
            "stops": 4 if busy else 1,
            "undoes": 4 if known.undo else 1,
            "redoes": 10 if known.redo else 1,
            "forks": 5 if known.redo else 2,
            "is answered": 4 if busy else 1,
            "is answered after failures": 1,
            "is being answered": 4,
            "goes on": 1,
            "is taken over": 2 if known.worker is not None else 0,
            "the coach is done": 8 if over and content.report is None else 2,
            "is summarised": 2 if len(content.turns) > 6 else 0,
            "is renamed": 1,
            "is archived": 1,
            "a snapshot is damaged": 1,
        }

    def acted(self, which: UUID, before: Scene) -> None:
        self.known[which].undo.append(before)
        self.known[which].redo.clear()

    def acts(self, name: str, scene: UUID, command: Callable[..., Command[Any]]) -> None:
        before = self.scene(scene)
        if self.asks(name, command(account=self.learner.account, conversation=scene)) is not None:
            self.acted(scene, before)

    def says(self, scene: UUID, text: str) -> None:
        number = len(self.scene(scene)["turns"])
        said = {"good": GOOD[number % len(GOOD)], "terse": TERSE, "astray": ASTRAY}[text]
        self.acts("says", scene, partial(SubmitTurn, text=said))

    def stops(self, scene: UUID) -> None:
        if self.asks("stops", StopAnswer(account=self.learner.account, conversation=scene)) is not None:
            assert self.scene(scene)["turns"][-1].status == "stopped"

    def undoes(self, scene: UUID) -> None:
        known = self.known[scene]
        before = self.scene(scene)
        moved = self.asks("undoes", UndoAction(account=self.learner.account, conversation=scene))
        assert (moved is None) == (not known.undo)
        if moved is None:
            return
        expected, found = settled(known.undo.pop(), self.scene(scene))
        assert found == expected, "state(undo(x)) == state before x"
        assert moved.can_redo
        known.redo.append(before)

    def redoes(self, scene: UUID) -> None:
        known = self.known[scene]
        before = self.scene(scene)
        moved = self.asks("redoes", RedoAction(account=self.learner.account, conversation=scene))
        assert (moved is None) == (not known.redo)
        if moved is None:
            return
        expected, found = settled(known.redo.pop(), self.scene(scene))
        assert found == expected, "redo(undo(x)) == state after x"
        known.undo.append(before)

    def forks(self, parent: UUID, back: int) -> None:
        if len(self.known) >= MOST_FORKS:
            return
        states = self.known[parent].states
        version = max(1, states[-1].version - back)
        started = self.asks("forks", ForkConversation(account=self.learner.account, conversation=parent, at_version=version))
        assert started is not None
        as_it_was = states[version - 1]
        expected, found = settled(self.shown(as_it_was), self.scene(started.conversation))
        assert found == expected, "a fork begins as its parent was"
        # The marks name heads: the scenes that undo leads back to are the parent's at those versions.
        undo = [self.shown(states[self.last_at(states, mark.before, version)]) for mark in as_it_was.undo]
        self.known[started.conversation] = Known(states[:version], undo, first=version + 1)

    def last_at(self, states: list[State], head: int, upto: int) -> int:
        """Where in `states` the scene was last as of this head."""
        return max(n for n, state in enumerate(states[:upto]) if state.head == head)

    def shown(self, state: State) -> Scene:
        return scene_of(viewed(Conversation(state), self.learner.key.open))

    def is_answered(self, scene: UUID, *, failures: int = 0) -> None:
        self.world.model.failures = [Unavailable() for _ in range(failures)]
        self.world.run(self.learner.is_answered(scene))
        self.world.model.failures = []
        self.world.done["is answered"] += 1

    def is_being_answered(self, scene: UUID) -> None:
        """Said first, where nobody waits: most of what matters happens while an answer is on its way."""
        if self.world.run(self._conversation(scene)).phase == "idle":
            self.says(scene, "good")
        if self.world.run(self._conversation(scene)).phase != "pending":
            return
        known = self.known[scene]
        self.world.run(self._let_go(known))
        known.worker = self.world.run(self.learner.is_being_answered(scene))
        known.gate = self.world.model.gates[-1]
        self.world.done["is being answered"] += 1

    def goes_on(self, scene: UUID) -> None:
        """The worker that held its breath; what it was to say may be nobody's business any more."""
        self.world.run(self._let_go(self.known[scene]))

    def is_taken_over(self, scene: UUID) -> None:
        known = self.known[scene]
        if known.worker is None:
            return
        known.worker.get_loop().call_soon_threadsafe(known.worker.cancel)
        self.world.clock.move(seconds=6)
        self.is_answered(scene)
        self.world.run(self._let_go(known))
        self.world.done["is taken over"] += 1

    async def _let_go(self, known: Known) -> None:
        if known.worker is not None and known.gate is not None:
            known.gate.set()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(known.worker, 15)
        known.worker = known.gate = None

    def the_coach_is_done(self) -> None:
        """Feedback and reports; nothing of it touches what was undone."""
        self.world.run(self.learner.harness.settle())
        for scene in self.known:
            found = self.scene(scene)
            assert all(turn.feedback is not None for turn in found["turns"] if turn.status == "answered")
            assert (found["report"] is not None) == (found["ended"] is not None)
            assert found["score"] == (None if found["report"] is None else found["report"].score)
            self.world.done["reports"] += found["report"] is not None

    def is_summarised(self, scene: UUID) -> None:
        self.world.run(self.learner.harness.execute(SummariseConversation(account=self.learner.account, conversation=scene)))
        self.world.done["summaries"] += self.scene(scene)["summary"] is not None

    def is_renamed(self, scene: UUID) -> None:
        before = self.scene(scene)
        self.asks("is renamed", self.change(scene, title="Mine"))
        assert self.scene(scene) == before

    def is_archived(self, scene: UUID) -> None:
        before = self.scene(scene)
        self.asks("is archived", self.change(scene, archived=True))
        assert self.asks("undoes", UndoAction(account=self.learner.account, conversation=scene)) is None
        self.asks("is archived", self.change(scene, archived=False))
        assert self.scene(scene) == before

    def change(self, scene: UUID, **changes: Any) -> ChangeConversation:
        return ChangeConversation(account=self.learner.account, conversation=scene, expected=None, **changes)

    def snapshot_is_damaged(self, scene: UUID, what: str) -> None:
        """It is noticed, deleted, and the scene is the one it was."""
        before = self.scene(scene)
        damage = f"UPDATE conversation_snapshots SET {what} WHERE conversation = $1 RETURNING version"  # noqa: S608 - from the line above
        damaged = self.world.run(rows(self.world.house, damage, scene))
        with structlog.testing.capture_logs() as logs:
            assert self.scene(scene) == before
        noticed = [one for one in logs if one["event"] == "snapshot_damaged" and one["conversation"] == str(scene)]
        assert len(noticed) == min(3, len(damaged))
        left = "SELECT version FROM conversation_snapshots WHERE conversation = $1"
        assert len(self.world.run(rows(self.world.house, left, scene))) == len(damaged) - len(noticed)
        self.world.done["damages noticed"] += len(noticed)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def every_version_is_the_fold_up_to_it(self) -> None:
        if self.known:
            self.world.run(self._look())

    async def _look(self, *, again: bool = False) -> None:
        """At what has changed since the last look, or at everything."""
        house = self.world.house
        for scene, known in self.known.items():
            [head] = await rows(house, "SELECT version, n, phase, fence, lease FROM conversations WHERE id = $1", scene)
            if head == known.head and not again:
                continue
            known.head = head
            history = await house.reads.practice.history(scene, self.learner.account)
            assert [one.event.version for one in history] == list(range(1, len(history) + 1))
            own = sum(one.event.version >= known.first for one in history)
            replayed: Conversation | None = None
            for version, one in enumerate(history, 1):
                if replayed is None:
                    replayed = Conversation.folded([one])
                else:
                    replayed.apply(one)
                state = msgspec.structs.replace(replayed.state)
                if version <= len(known.states):
                    assert state == known.states[version - 1], "what was, is"
                else:
                    await self._new(scene, known, version, state)
            now = known.states[-1]
            assert (len(now.undo), len(now.redo)) == (len(known.undo), len(known.redo)), "what can be undone, and redone"
            await self._log(scene, head, own)
            await self._calls(scene, known)
        assert await unsettled(house) == []

    async def _new(self, scene: UUID, known: Known, version: int, state: State) -> None:
        """A version that was not there before: as the database folds it, with a snapshot and without."""
        async with self.world.house.database.driver() as driver:
            assert (await fold(driver, scene, version)).state == state, "at(k) == fold(1..k)"
            assert (await fold_whole(driver, scene, version)).state == state
        self.world.folds["folds"] += 1
        if known.states:
            before = known.states[-1]
            assert all(state.attempts.get(turn, 0) >= attempt for turn, attempt in before.attempts.items())
            if version > known.first:
                assert (state.tokens_in, state.tokens_out) >= (before.tokens_in, before.tokens_out)
        known.states.append(state)

    async def _log(self, scene: UUID, head: Row, own: int) -> None:
        """Its numbers have no gap, and what it tells are the events, in their order, with the phase that they lead to."""
        log = await rows(self.world.house, "SELECT n, name, version FROM conversation_log WHERE conversation = $1 ORDER BY n", scene)
        assert [row["n"] for row in log] == list(range(1, head["n"] + 1))
        versions = [row["version"] for row in log if row["name"] != "practice.delta"]
        assert versions == list(range(head["version"] - own + 1, head["version"] + 1))
        conversation = await self._conversation(scene)
        assert (head["phase"], head["version"]) == (conversation.phase, conversation.version)
        assert (head["lease"] is not None) == (head["phase"] == "running")

    async def _calls(self, scene: UUID, known: Known) -> None:
        """A call that has ended is never touched again, and none is forgotten."""
        found = await rows(self.world.house, "SELECT * FROM model_calls WHERE conversation = $1", scene)
        ended = {row["id"]: tuple(row.values()) for row in found if row["ended_at"] is not None}
        assert {identity: ended.get(identity) for identity in known.calls} == known.calls
        known.calls = ended
        conversation = await self._conversation(scene)
        still_open = {row["turn"] for row in found if row["ended_at"] is None}
        assert still_open <= {turn.id for turn in conversation.content.turns if not turn.settled}

    def teardown(self) -> None:
        """Every version of every conversation once more, now that all is over: nobody's past has changed."""
        if not self.known:
            return
        for known in self.known.values():
            self.world.run(self._let_go(known))
        self.world.run(self._look_back())

    async def _look_back(self) -> None:
        await self._look(again=True)
        async with self.world.house.database.driver() as driver:
            for scene, known in self.known.items():
                for version in range(1, len(known.states) + 1, 3):
                    assert (await fold(driver, scene, version)).state == known.states[version - 1]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Snapshots often, and so few tokens that some are spent in the end."""
    return msgspec.structs.replace(settings, snapshot_every=5, tokens_per_conversation=60_000, turn_lease=5.0)


async def test_a_conversation_is_always_the_fold_of_what_happened(house: House, model: HaltingModel, clock: HandClock) -> None:
    shared = World(house, model, clock)

    class Machine(ConversationMachine):
        world = shared

    # The same runs each time. A failure is told as it was found: to shrink it over PostgreSQL would take minutes.
    bounded = hypothesis_settings(
        max_examples=10,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=bounded)
    for name in ("says", "retries", "ends", "stops", "undoes", "redoes", "forks", "is answered", "is being answered"):
        assert shared.done[name] >= 3, (name, dict(shared.done))
    for name in ("is taken over", "reports", "summaries", "damages noticed", "says refused", "undoes refused", "redoes refused"):
        assert shared.done[name] >= 1, (name, dict(shared.done))
