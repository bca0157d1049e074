"""The partner's answer, which outlives the process that gives it.

An attempt is one call of a model. Before the call there is its row in the ledger and a lease with a fence; every piece of text is in the
log before anybody sees it, written under that fence. Whoever stops the turn, moves the conversation, or takes it over from a worker that
is silent gives it another fence, and from then on nothing of the old attempt can be written.
"""

import asyncio
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from bus.message import Refusal, TryAgain, Unavailable
from bus.registry import drives, handles
from bus.work import LostLease, Steps
from db.practice.repositories import Held
from db.session import Work
from domain.practice.commands import (
    AnswerTurn,
    BeginAttempt,
    Begun,
    CoachTurn,
    CompleteAttempt,
    FailAttempt,
    SummariseConversation,
    WriteReport,
)
from domain.practice.errors import BudgetSpent, UnknownConversation, UnknownScenario
from domain.practice.model import Conversation
from domain.practice.prompt import Exchange, Scene, fitted, prompt_tokens, tokens
from domain.practice.scenario import Level, Scenario
from domain.practice.scripts import met_criteria
from domain.practice.state import Turn
from handlers.ports import Clock, ContentRefused, Ended, LanguageModel, NewId, PersonKey, PracticeLimits, ProviderRefused, StreamLog, Vault
from handlers.practice.conversations import scenario_of
from handlers.practice.keeping import PAUSE, end_calls, end_stopped, firmly, keep, reserve_call, same_key_of, shown

log = structlog.get_logger("practice")

MOST_ATTEMPTS = 20
"""After so many, whatever ends the workers of a turn is taken to be the turn itself."""
BROKEN = "service.failed"
ERASED = "practice.erased"
LONGEST_PAUSE = 2.0
"""Seconds before the same model is asked again; the lease of the turn is longer."""
WHOLE = 6
"""So many exchanges without a summary are told whole, at most; then the older half of them is summarised."""


class NothingSaid(Unavailable):
    code = "service.nothing_said"
    title = "The language model answered without a word."


@drives(AnswerTurn)
async def answer_turn(cmd: AnswerTurn, steps: Steps, model: LanguageModel, stream: StreamLog, vault: Vault) -> None:
    """Until nothing waits any more. Run twice, or by two workers, it answers once."""
    while await _answer(cmd, steps, model, stream, vault):
        pass


async def _answer(cmd: AnswerTurn, steps: Steps, model: LanguageModel, stream: StreamLog, vault: Vault) -> bool:
    """One turn, by as many attempts as the model's route has. False when nothing waits, or somebody else sees to it."""
    failures: list[str] = []
    fence: int | None = None
    failed: Refusal = Unavailable()
    while (asked := model.route(failures)) is not None:
        if asked in failures:
            await asyncio.sleep(min(failed.retry_after or PAUSE, LONGEST_PAUSE))
        begun = await _begun(cmd, steps, fence, asked)
        if begun is None:
            return False
        spoken: list[str] = []
        try:
            ended = await _speak(begun, cmd, model, asked, stream, vault, spoken)
        except LostLease:
            return False
        except (Unavailable, ProviderRefused, ContentRefused) as error:
            failed, fence = error, begun.fence
            failures.append(asked)
            log.warning("attempt_failed", conversation=str(cmd.conversation), attempt=begun.attempt, model=asked, code=error.code)
            final = isinstance(error, ContentRefused)
            if not await firmly(steps, _failing(cmd, fence, error.code, spoken, final=final)):
                return False
            if final:
                return True
        except Exception:
            # Another attempt would end the same way, and be paid for.
            log.exception("attempt_broken", conversation=str(cmd.conversation), attempt=begun.attempt, model=asked)
            return await firmly(steps, _failing(cmd, begun.fence, BROKEN, spoken, final=True))
        else:
            return await firmly(steps, _completing(cmd, begun, ended, "".join(spoken)))
    return await firmly(steps, _failing(cmd, fence, failed.code, [], final=True))


async def _begun(cmd: AnswerTurn, steps: Steps, fence: int | None, asked: str) -> Begun | None:
    """A turn that cannot even be begun has failed: nothing of it would be kept that says how often it was tried."""
    try:
        return await steps.execute(BeginAttempt(conversation=cmd.conversation, fence=fence, model=asked))
    except (Unavailable, TryAgain, LostLease):
        raise
    except Exception:
        log.exception("attempt_not_begun", conversation=str(cmd.conversation))
        await firmly(steps, _failing(cmd, fence, BROKEN, [], final=True))
        return None


async def _speak(
    begun: Begun, cmd: AnswerTurn, model: LanguageModel, asked: str, stream: StreamLog, vault: Vault, spoken: list[str]
) -> Ended:
    """The one call of an attempt. What was said is in `spoken`, also when it ends badly."""
    key = vault.opened(begun.key)
    async with (
        stream.writing(cmd.conversation, begun.turn, begun.attempt, begun.fence, key) as pen,
        aclosing(model.stream(begun.scene, model=asked)) as answer,
    ):
        async for piece in answer:
            if isinstance(piece, Ended):
                if not spoken:
                    raise NothingSaid
                await pen.written()
                return piece
            spoken.append(piece.text)
            await pen.write(piece.text)
    raise Unavailable("The answer of the language model was cut off.", retry_after=1)


def _completing(cmd: AnswerTurn, begun: Begun, ended: Ended, text: str) -> CompleteAttempt:
    return CompleteAttempt(
        conversation=cmd.conversation,
        fence=begun.fence,
        text=text,
        model=ended.model,
        tokens_in=ended.tokens_in,
        tokens_out=ended.tokens_out,
        met=met_criteria(begun.scene.scenario, begun.scene.said),
        last=begun.scene.last,
    )


def _failing(cmd: AnswerTurn, fence: int | None, code: str, spoken: list[str], *, final: bool) -> FailAttempt:
    said = tokens("".join(spoken)) if spoken else 0
    return FailAttempt(conversation=cmd.conversation, fence=fence, code=code, tokens_out=said, final=final)


@handles(BeginAttempt)
async def begin_attempt(cmd: BeginAttempt, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock, new_id: NewId) -> Begun | None:
    now = clock()
    try:
        held = await work.conversations.hold(cmd.conversation)
    except UnknownConversation:
        return None
    lost = held.phase == "running" and cmd.fence != held.fence
    if held.phase == "idle" or (lost and held.lease is not None and held.lease > now):
        return None
    conversation = held.conversation
    wrapped = await work.keys.find(conversation.state.account)
    if held.erased or wrapped is None:
        await _failed(work, held, ERASED, limits, now)
        return None
    key = vault.opened(wrapped)
    if lost:
        await _orphan(work, held, key, limits, now)
    if (code := await _refusal(work, held, limits, new_id, now)) is not None:
        await _failed(work, held, code, limits, now)
        return None
    events = conversation.begin(cmd.model, "worker_lost" if lost else "provider_failed")
    await keep(work, held, events, now=now, lease=now + limits.lease)
    turn = _running(conversation)
    fence = held.fence + 1
    kept = await work.scenarios.find(conversation.state.scenario, conversation.state.scenario_version)
    if kept is None:
        raise UnknownScenario
    scene = _scene(conversation, turn, scenario_of(kept, key), key, limits)
    await work.calls.begin(cmd.conversation, turn.id, turn.attempt, fence=fence, model=cmd.model, prompt=prompt_tokens(scene))
    return Begun(
        turn=turn.id,
        attempt=turn.attempt,
        fence=fence,
        scene=scene,
        key=wrapped,
    )


@handles(CompleteAttempt)
async def complete_attempt(cmd: CompleteAttempt, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> bool:
    now = clock()
    held = await _still_held(work, cmd.conversation, cmd.fence, now)
    if held is None:
        return False
    if held.erased:
        await _failed(work, held, ERASED, limits, now, tokens_out=cmd.tokens_out)
        return True
    conversation, state = held.conversation, held.conversation.state
    key = await same_key_of(work, vault, state.account)
    turn = _running(conversation)
    events = conversation.complete(
        key.seal(cmd.text), tokens_in=cmd.tokens_in, tokens_out=cmd.tokens_out, model=cmd.model, met=cmd.met, last=cmd.last
    )
    await end_calls(work, state.id, (turn.id,), "answered", limits=limits, now=now, tokens_in=cmd.tokens_in, tokens_out=cmd.tokens_out)
    await end_stopped(work, held, events, "", limits=limits, now=now)
    await keep(work, held, events, now=now)
    if state.settings.feedback == "after_turn":
        work.send(CoachTurn(account=state.account, conversation=state.id, turn=turn.id))
    if conversation.content.ended is not None:
        work.send(WriteReport(account=state.account, conversation=state.id))
    elif len(conversation.content.turns) - conversation.content.summarised > WHOLE:
        work.send(SummariseConversation(account=state.account, conversation=state.id), key=f"practice.summarise:{state.id}")
    return True


@handles(FailAttempt)
async def fail_attempt(cmd: FailAttempt, work: Work, limits: PracticeLimits, clock: Clock) -> bool:
    now = clock()
    held = await _still_held(work, cmd.conversation, cmd.fence, now)
    if held is None:
        return False
    if cmd.final:
        await _failed(work, held, cmd.code, limits, now, tokens_out=cmd.tokens_out)
    else:
        turn = _running(held.conversation)
        await _end_failed(work, cmd.conversation, turn.id, cmd.code, limits, now, tokens_out=cmd.tokens_out)
    return True


async def _failed(work: Work, held: Held, code: str, limits: PracticeLimits, now: datetime, *, tokens_out: int = 0) -> None:
    [event] = held.conversation.fail(code)
    await _end_failed(work, held.conversation.state.id, event.turn, code, limits, now, tokens_out=tokens_out)
    await keep(work, held, (event,), now=now)


async def _end_failed(
    work: Work, conversation: UUID, turn: UUID, code: str, limits: PracticeLimits, now: datetime, *, tokens_out: int
) -> None:
    """A call of which no word came is taken to have cost nothing: providers count what they answer."""
    spent = None if tokens_out else 0
    await end_calls(work, conversation, (turn,), "failed", limits=limits, now=now, tokens_in=spent, tokens_out=tokens_out, error=code)


async def _orphan(work: Work, held: Held, key: PersonKey, limits: PracticeLimits, now: datetime) -> None:
    """The call of a worker that is lost. Nobody knows what it cost; what readers were told of it was said at least."""
    text = await shown(work, held, key)
    turn = _running(held.conversation)
    spent = tokens(text) if text else 0
    await end_calls(work, held.conversation.state.id, (turn.id,), "orphaned", limits=limits, now=now, tokens_out=spent)


async def _refusal(work: Work, held: Held, limits: PracticeLimits, new_id: NewId, now: datetime) -> str | None:
    """Why there is no other attempt. The tokens of a turn's first, or of one that the learner asked for, were reserved when it was."""
    conversation = held.conversation
    turn = conversation.running
    if turn is None:
        return None
    if turn.attempt >= MOST_ATTEMPTS:
        return "practice.gave_up"
    try:
        await reserve_call(work, conversation, turn.id, limits=limits, new_id=new_id, now=now)
    except BudgetSpent as error:
        return error.code
    return None


async def _still_held(work: Work, conversation: UUID, fence: int | None, now: datetime) -> Held | None:
    """None once the attempt does not count any more. Without a fence: unless the turn waits, or was left by a worker that is lost."""
    try:
        held = await work.conversations.hold(conversation)
    except UnknownConversation:
        return None
    if fence is not None:
        return held if held.phase == "running" and fence == held.fence else None
    lost = held.phase == "running" and held.lease is not None and held.lease <= now
    return held if held.phase == "pending" or lost else None


def _running(conversation: Conversation) -> Turn:
    if (turn := conversation.running) is None:
        raise AssertionError("the head of a conversation says that an answer is being given, its events do not")
    return turn


def _scene(conversation: Conversation, turn: Turn, scenario: Scenario, key: PersonKey, limits: PracticeLimits) -> Scene:
    content, state = conversation.content, conversation.state
    place = content.turns.index(turn)
    dialogue = [
        Exchange(said=key.open(one.text), answer=None if one is turn or one.answer is None else key.open(one.answer))
        for one in content.turns[: place + 1]
    ]
    exchanges = fitted(dialogue[min(content.summarised, place) :], limits.context)
    skipped = len(dialogue) - len(exchanges)
    return Scene(
        scenario=scenario,
        difficulty=state.settings.difficulty,
        level=msgspec.convert(state.level, Level),
        seed=state.seed,
        summary=None if content.summary is None else key.open(content.summary),
        skipped=skipped,
        exchanges=exchanges,
        said_before=tuple(exchange.said for exchange in dialogue[:skipped]),
        last=place + 1 >= scenario.length,
        most=limits.answer,
    )
