"""The coach that asks a language model: what it believes, what a call leaves behind, and what is said when there is none."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.bootstrap import House
from bus.message import Unavailable
from domain.practice.coach import Span, coach
from domain.practice.commands import CoachTurn, DeleteConversation, KeepStreams, WriteReport
from handlers.ports import Completion, ContentRefused, Prompt, ProviderRefused
from tests.bus.support import until
from tests.conversing import GOOD, HaltingModel, Learner, house, learner
from tests.support import HandClock, rows, value

__all__ = ["house", "learner"]

TEXT = "She go to the office, and I want a post very good in our company at the office."
BY_RULE = ("go", "goes")
Step = str | BaseException | asyncio.Event


def named(original: str, correction: str, start: int | None = None, **changes: Any) -> dict[str, Any]:
    """A span of `TEXT` as a model names it; without a `start` where it really is."""
    start = TEXT.index(original) if start is None else start
    about = {"kind": "word_choice", "explanation": f"Say {correction}.", "confidence": 0.7}
    return {"start": start, "end": start + len(original), "original": original, "correction": correction, **about, **changes}


def answer(*spans: dict[str, Any]) -> str:
    return msgspec.json.encode({"spans": spans}).decode()


BETTER = ("a post very good", "a very good post")
USUAL = answer(named(*BETTER))


class CoachingModel(HaltingModel):
    """Plays the partner by the script. Asked as the coach, it does the next of `steps`: says, raises, or waits and then says the usual."""

    available = True

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        step = self.steps.pop(0) if self.steps else USUAL
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = USUAL
        return Completion(text=step, model="coach-1", tokens_in=300, tokens_out=20)


@pytest.fixture
def model() -> CoachingModel:
    return CoachingModel()


async def ledger(house: House) -> list[tuple[Any, ...]]:
    """Attempt, outcome, error and tokens of the coach's calls."""
    found = await rows(
        house,
        "SELECT attempt, outcome, error, tokens_in, tokens_out FROM model_calls WHERE purpose = 'coach' ORDER BY begun_at, attempt",
    )
    return [tuple(row.values()) for row in found]


async def corrections(learner: Learner, scene: UUID, turn: int = 0) -> list[tuple[str, str]] | None:
    feedback = (await learner.sees(scene)).turns[turn].feedback
    return None if feedback is None else [(span.original, span.correction) for span in feedback]


async def coached(learner: Learner, scene: UUID) -> None:
    """A worker that sees to the first turn."""
    [turn, *_] = (await learner.sees(scene)).turns
    await learner.harness.execute(CoachTurn(account=learner.account, conversation=scene, turn=turn.id))


async def is_asked(learner: Learner, model: CoachingModel, scene: UUID) -> tuple[asyncio.Task[None], asyncio.Event]:
    """A worker that waits for the model, and what it waits for."""
    gate, before = asyncio.Event(), len(model.prompts)
    model.steps.append(gate)
    worker = asyncio.create_task(coached(learner, scene))

    async def waits() -> bool:
        return len(model.prompts) > before

    await until(waits)
    return worker, gate


async def goes_on(worker: asyncio.Task[None], gate: asyncio.Event) -> None:
    gate.set()
    await asyncio.wait_for(worker, 15)


async def said(learner: Learner, **settings: Any) -> UUID:
    """A scene in which the first turn was said and answered; nobody has coached it."""
    scene = await learner.starts(**settings)
    await learner.talks(scene, TEXT)
    return scene


async def test_what_a_model_names_and_what_applies_is_given_beside_what_the_rules_found(
    learner: Learner, house: House, model: CoachingModel
) -> None:
    right, moved = named(*BETTER), named("in our company", "with our company", start=3)
    wrong = [
        named("go", "went"),
        named("the office", "our office", start=40),
        named("cinema", "theatre", start=14),
        named("and", "and", start=23),
        named("want", "need", kind="style"),
        named("want", "need", confidence=2),
        named("want", "need", explanation=" "),
        named("very good in", "good in"),
    ]
    model.steps = [answer(*wrong[:1], right, *wrong[1:], moved)]
    scene = await said(learner, explanation_language="fr")
    await learner.harness.settle()
    [turn] = (await learner.sees(scene)).turns
    assert turn.feedback is not None
    assert [(span.original, span.correction) for span in turn.feedback] == [BY_RULE, BETTER, ("in our company", "with our company")]
    assert all(TEXT[span.start : span.end] == span.original for span in turn.feedback)
    assert turn.feedback[:1] == coach(TEXT, "fr")
    assert await ledger(house) == [(1, "answered", None, 300, 20)]
    [prompt] = model.prompts
    assert msgspec.json.decode(prompt.text) == {"language": "fr", "level": "B1", "text": TEXT}


async def test_a_call_has_its_row_and_its_tokens_before_it_is_made(learner: Learner, house: House, model: CoachingModel) -> None:
    scene = await said(learner)
    before = await value(house, "SELECT spent FROM token_budgets WHERE scope LIKE 'conversation:%'")
    worker, gate = await is_asked(learner, model, scene)
    [prompt] = model.prompts
    [row] = await rows(house, "SELECT model, outcome, reserved, ended_at FROM model_calls WHERE purpose = 'coach'")
    assert tuple(row.values()) == (model.model, "running", prompt.tokens + prompt.most, None)
    budgets = await rows(house, "SELECT reserved FROM token_budgets")
    assert [row["reserved"] for row in budgets] == [prompt.tokens + prompt.most] * 2
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    assert await value(house, idle) == 0
    await goes_on(worker, gate)
    assert await value(house, "SELECT spent FROM token_budgets WHERE scope LIKE 'conversation:%'") == before + 320
    assert await value(house, "SELECT sum(reserved)::int FROM token_budgets") == 0


FAILURES: list[tuple[Step, tuple[Any, ...]]] = [
    (Unavailable("away", retry_after=1), ("service.unavailable", 0, 0)),
    (ProviderRefused("no"), ("service.provider_refused", 0, 0)),
    (ContentRefused(), ("service.content_refused", 0, 0)),
    (TimeoutError(), ("service.unavailable", 0, 0)),
    (RuntimeError("a mistake of ours"), ("service.failed", 0, 0)),
    ("I think that it is good.", ("service.provider_refused", 300, 20)),
    ('{"spans": "none"}', ("service.provider_refused", 300, 20)),
]


@pytest.mark.parametrize(("failure", "kept"), FAILURES)
async def test_when_the_model_fails_the_rules_speak_and_nobody_is_asked_again(
    learner: Learner, house: House, model: CoachingModel, clock: HandClock, failure: Step, kept: tuple[Any, ...]
) -> None:
    model.steps = [failure]
    scene = await said(learner)
    await learner.harness.settle()
    assert await corrections(learner, scene) == [BY_RULE]
    assert await ledger(house) == [(1, "failed", *kept)]
    clock.move(hours=1)
    await learner.harness.settle()
    await coached(learner, scene)
    assert len(model.prompts) == 1


@pytest.mark.parametrize("scope", ["conversation", "day"])
async def test_when_the_tokens_are_spent_the_rules_speak_alone(learner: Learner, house: House, model: CoachingModel, scope: str) -> None:
    scene = await said(learner)
    most = house.limits.conversation if scope == "conversation" else house.limits.day
    statement = "UPDATE token_budgets SET spent = spent + $2 WHERE scope LIKE $1 || ':%' RETURNING 1"
    await rows(house, statement, scope, most - 2000)
    await learner.harness.settle()
    assert (await corrections(learner, scene), model.prompts, await ledger(house)) == ([BY_RULE], [], [])
    await rows(house, statement, scope, 2000 - most)


async def test_after_a_killed_worker_another_one_asks_anew(learner: Learner, house: House, model: CoachingModel, clock: HandClock) -> None:
    scene = await said(learner)
    worker, _ = await is_asked(learner, model, scene)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert [outcome for _, outcome, *_ in await ledger(house)] == ["running"]
    with pytest.raises(Unavailable):
        await coached(learner, scene)
    clock.move(seconds=46)
    await coached(learner, scene)
    assert await corrections(learner, scene) == [BY_RULE, BETTER]
    [lost, again] = await ledger(house)
    assert (lost[:3], lost[3:]) == ((1, "orphaned", None), (model.prompts[0].tokens, 0))
    assert again == (2, "answered", None, 300, 20)


async def test_a_worker_that_was_taken_for_lost_writes_nothing(
    learner: Learner, house: House, model: CoachingModel, clock: HandClock
) -> None:
    scene = await said(learner)
    silent, gate = await is_asked(learner, model, scene)
    clock.move(seconds=46)
    second, other = await is_asked(learner, model, scene)
    await goes_on(silent, gate)
    assert await corrections(learner, scene) is None
    assert [outcome for _, outcome, *_ in await ledger(house)] == ["orphaned", "running"]
    await goes_on(second, other)
    assert await corrections(learner, scene) == [BY_RULE, BETTER]
    assert [(attempt, outcome) for attempt, outcome, *_ in await ledger(house)] == [(1, "orphaned"), (2, "answered")]


async def test_two_workers_at_once_make_one_call(learner: Learner, house: House, model: CoachingModel) -> None:
    scene = await said(learner)
    worker, gate = await is_asked(learner, model, scene)
    with pytest.raises(Unavailable):
        await coached(learner, scene)
    await goes_on(worker, gate)
    await coached(learner, scene)
    assert (len(model.prompts), [outcome for _, outcome, *_ in await ledger(house)]) == (1, ["answered"])


async def test_a_turn_that_ends_every_worker_of_its_coach_is_left_to_the_rules(
    learner: Learner, house: House, model: CoachingModel, clock: HandClock
) -> None:
    scene = await said(learner)
    for _ in range(3):
        worker, _ = await is_asked(learner, model, scene)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        clock.move(seconds=46)
    await coached(learner, scene)
    assert (await corrections(learner, scene), len(model.prompts)) == ([BY_RULE], 3)
    assert [(attempt, outcome) for attempt, outcome, *_ in await ledger(house)] == [(n, "orphaned") for n in (1, 2, 3)]


async def test_undo_during_the_call_leaves_nothing_but_its_row_and_redo_asks_again(
    learner: Learner, house: House, model: CoachingModel
) -> None:
    scene = await said(learner)
    worker, gate = await is_asked(learner, model, scene)
    await learner.undoes(scene)
    await goes_on(worker, gate)
    view = await learner.sees(scene)
    assert (view.turns, view.can_redo) == ((), True)
    assert await ledger(house) == [(1, "answered", None, 300, 20)]
    await learner.redoes(scene)
    await learner.harness.settle()
    assert await corrections(learner, scene) == [BY_RULE, BETTER]
    assert [(attempt, outcome) for attempt, outcome, *_ in await ledger(house)] == [(1, "answered"), (2, "answered")]


async def test_a_conversation_that_is_deleted_during_the_call_is_paid_for(learner: Learner, house: House, model: CoachingModel) -> None:
    scene = await said(learner)
    worker, gate = await is_asked(learner, model, scene)
    await learner.asks(DeleteConversation(account=learner.account, conversation=scene, expected=None))
    await goes_on(worker, gate)
    assert await ledger(house) == [(1, "answered", None, 300, 20)]


async def test_stopping_the_partner_does_not_end_the_coachs_call(learner: Learner, house: House, model: CoachingModel) -> None:
    scene = await said(learner)
    worker, gate = await is_asked(learner, model, scene)
    await learner.retries(scene)
    partner = await learner.is_being_answered(scene)
    await learner.stops(scene)
    model.gates[-1].set()
    await asyncio.wait_for(partner, 15)
    assert [outcome for _, outcome, *_ in await ledger(house)] == ["running"]
    await goes_on(worker, gate)
    assert await ledger(house) == [(1, "answered", None, 300, 20)]
    assert await corrections(learner, scene) == [BY_RULE, BETTER]


async def test_a_call_that_nobody_comes_back_to_ends_by_the_schedule(
    learner: Learner, house: House, model: CoachingModel, clock: HandClock
) -> None:
    scene = await said(learner)
    worker, _ = await is_asked(learner, model, scene)
    await learner.undoes(scene)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await learner.harness.execute(KeepStreams())
    assert [outcome for _, outcome, *_ in await ledger(house)] == ["running"]
    clock.move(minutes=1)
    await learner.harness.execute(KeepStreams())
    assert [outcome for _, outcome, *_ in await ledger(house)] == ["orphaned"]


async def test_after_the_scene_every_turn_is_coached_before_the_report_is_written(
    learner: Learner, house: House, model: CoachingModel
) -> None:
    model.steps = [USUAL, Unavailable("away", retry_after=1)]
    scene = await said(learner, feedback="after_scene")
    await learner.talks(scene, GOOD[1])
    await learner.harness.settle()
    assert (model.prompts, await ledger(house)) == ([], [])
    await learner.ends(scene)
    await learner.harness.settle()
    view = await learner.sees(scene)
    assert [turn.feedback is not None for turn in view.turns] == [True, True]
    assert await corrections(learner, scene) in ([BY_RULE, BETTER], [BY_RULE])
    assert sorted(outcome for _, outcome, *_ in await ledger(house)) == ["answered", "failed"]
    names = await rows(house, "SELECT name FROM conversation_log WHERE conversation = $1 AND version IS NOT NULL ORDER BY n", scene)
    assert [row["name"] for row in names][-3:] == ["practice.feedback_given", "practice.feedback_given", "practice.report_written"]


async def test_a_report_waits_for_the_turn_of_which_somebody_asks_at_the_moment(learner: Learner, model: CoachingModel) -> None:
    scene = await said(learner)
    worker, gate = await is_asked(learner, model, scene)
    await learner.ends(scene)
    with pytest.raises(Unavailable):
        await learner.harness.execute(WriteReport(account=learner.account, conversation=scene))
    assert (await learner.sees(scene)).report is None
    await goes_on(worker, gate)
    await learner.harness.execute(WriteReport(account=learner.account, conversation=scene))
    assert ((await learner.sees(scene)).report is not None, len(model.prompts)) == (True, 1)


async def test_in_silence_nobody_is_asked(learner: Learner, house: House, model: CoachingModel) -> None:
    scene = await said(learner, feedback="silent")
    await learner.ends(scene)
    await learner.harness.settle()
    view = await learner.sees(scene)
    assert (view.turns[0].feedback, view.report is not None, model.prompts, await ledger(house)) == (None, True, [], [])


async def test_without_a_language_model_the_rules_speak_and_the_ledger_is_the_partners(learner: Learner, model: CoachingModel) -> None:
    model.available = False
    scene = await said(learner)
    await learner.harness.settle()
    [turn] = (await learner.sees(scene)).turns
    assert turn.feedback == coach(TEXT, "en")
    assert (model.prompts, await learner.calls(scene)) == ([], [(1, "answered")])
    assert msgspec.json.decode(msgspec.json.encode(turn.feedback), type=tuple[Span, ...]) == turn.feedback
