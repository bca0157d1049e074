"""What the coach says, on a channel of its own: to a turn, of the whole scene, and what was said before, in short.

It finds by rules what is surely wrong. Where there is a language model it asks that too, once for each turn; of what the model names it
passes on what applies to the learner's text. A call has its row in the ledger and its tokens before it is made, and whoever ends the row
gives the feedback: of a worker that others have taken for lost nothing is written.
"""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from bus.message import Unavailable
from bus.registry import drives, handles
from bus.work import Steps
from db.practice.repositories import Held
from db.reads import Reads
from db.session import Work
from domain.practice.coach import Span, checked, coach
from domain.practice.coach.asking import INSTRUCTIONS, MOST_TOKENS, SCHEMA, named, question
from domain.practice.commands import (
    BeginCoaching,
    Coaching,
    CoachTurn,
    ComposeReport,
    GiveFeedback,
    SummariseConversation,
    WriteReport,
)
from domain.practice.errors import BudgetSpent, UnknownConversation
from domain.practice.events import Recommended
from domain.practice.model import Conversation
from domain.practice.report import Said, recommend, write_report
from domain.practice.state import Turn
from domain.practice.summary import summarised
from domain.types import AccountId
from handlers.ports import Clock, ContentRefused, LanguageModel, NewId, PersonKey, PracticeLimits, Prompt, ProviderRefused, Vault
from handlers.practice.answering import BROKEN, WHOLE
from handlers.practice.conversations import scenario_of
from handlers.practice.keeping import SUMMARY, firmly, keep, orphan_coaching, reserve_tokens, same_key_of, settle

log = structlog.get_logger("practice")

_SPANS = msgspec.json.Decoder(tuple[Span, ...])
AT_ONCE = 4
"""Turns of one scene of which a model is asked together, before its report."""
PATIENCE = timedelta(seconds=30)
"""That a call may take."""
MOST_LOST = 3
"""After so many, whatever ends the workers of a turn's coach is taken to be the turn itself."""


class BeingCoached(Unavailable):
    """Not for people: whoever asks comes again."""

    code = "practice.being_coached"
    title = "Somebody asks the coach about this turn at the moment."


@drives(CoachTurn)
async def coach_turn(cmd: CoachTurn, steps: Steps, model: LanguageModel) -> None:
    if model.available:
        await _ask(cmd, cmd.turn, steps, model)
    else:
        await steps.execute(GiveFeedback(account=cmd.account, conversation=cmd.conversation, turn=cmd.turn))


@drives(WriteReport)
async def write_the_report(cmd: WriteReport, steps: Steps, model: LanguageModel, reads: Reads) -> None:
    """A turn of which somebody else asks at the moment has this come again, when the others have their feedback."""
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(turn: UUID) -> None:
        async with room:
            await _ask(cmd, turn, steps, model)

    turns = await _kept_back(cmd, reads) if model.available else []
    for outcome in await asyncio.gather(*map(ask, turns), return_exceptions=True):
        if outcome is not None:
            raise outcome
    await steps.execute(ComposeReport(account=cmd.account, conversation=cmd.conversation))


async def _kept_back(cmd: WriteReport, reads: Reads) -> list[UUID]:
    try:
        found = await reads.practice.conversation(cmd.conversation, cmd.account)
    except UnknownConversation:
        return []
    content = found.content
    if content.ended is None or content.report is not None or found.state.settings.feedback == "silent":
        return []
    return [turn.id for turn in content.turns if turn.mistakes is None]


async def _ask(cmd: CoachTurn | WriteReport, turn: UUID, steps: Steps, model: LanguageModel) -> None:
    """One call at most, and the feedback, whatever comes of it: what the coach finds by itself is given without the model too."""
    begun = await steps.execute(BeginCoaching(account=cmd.account, conversation=cmd.conversation, turn=turn, model=model.model))
    if begun is None:
        return
    feedback = GiveFeedback(account=cmd.account, conversation=cmd.conversation, turn=turn, call=begun.call)
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            said = await model.complete(_prompt(begun.question))
        feedback = msgspec.structs.replace(feedback, tokens_in=said.tokens_in, tokens_out=said.tokens_out)
        feedback = msgspec.structs.replace(feedback, spans=named(said.text))
    except (Unavailable, ContentRefused) as error:
        feedback = _failed(feedback, error.code)
    except TimeoutError:
        feedback = _failed(feedback, Unavailable.code)
    except ValueError:
        feedback = _failed(feedback, ProviderRefused.code)
    except Exception:
        # Not raised: another call would end the same way, and be paid for. It is logged, and the row of the call says that it failed.
        log.exception("coaching_broken", conversation=str(cmd.conversation), attempt=begun.attempt, model=model.model)
        feedback = _failed(feedback, BROKEN)
    if feedback.error is not None:
        log.warning("coaching_failed", conversation=str(cmd.conversation), attempt=begun.attempt, model=model.model, code=feedback.error)
    await firmly(steps, feedback)


def _failed(feedback: GiveFeedback, code: str) -> GiveFeedback:
    """A call that was not answered is taken to have cost nothing, as one of the partner's."""
    return msgspec.structs.replace(feedback, error=code, tokens_in=feedback.tokens_in or 0)


def _prompt(question: str) -> Prompt:
    return Prompt(instructions=INSTRUCTIONS, text=question, schema=SCHEMA, most=MOST_TOKENS)


@handles(BeginCoaching)
async def begin_coaching(
    cmd: BeginCoaching, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock, new_id: NewId
) -> Coaching | None:
    """Without tokens, or when its calls have ended their workers again and again, the coach says at once what it finds by itself."""
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    if held is None:
        return None
    await orphan_coaching(work, cmd.conversation, limits=limits, now=now)
    conversation, state = held.conversation, held.conversation.state
    turn = conversation.content.turn(cmd.turn)
    wrapped = await work.keys.find(cmd.account)
    if turn is None or turn.mistakes is not None or wrapped is None:
        return None
    before = await work.calls.coached(cmd.conversation, cmd.turn)
    if before.running:
        raise BeingCoached(retry_after=1)
    key = vault.opened(wrapped)
    prompt = _prompt(question(key.open(turn.text), language=state.settings.explanation_language, level=state.level))
    wanted = prompt.tokens + prompt.most
    if before.lost >= MOST_LOST or not await _reserved(work, conversation, wanted, limits, now):
        await _give(work, held, turn, key, now)
        return None
    call = new_id()
    attempt = await work.calls.begin_coaching(
        call,
        conversation=state.id,
        account=state.account,
        turn=turn.id,
        model=cmd.model,
        tokens=wanted,
        prompt=prompt.tokens,
        now=now,
    )
    return Coaching(call=call, attempt=attempt, question=prompt.text)


async def _reserved(work: Work, conversation: Conversation, wanted: int, limits: PracticeLimits, now: datetime) -> bool:
    try:
        await reserve_tokens(work, conversation, wanted, limits=limits, now=now)
    except BudgetSpent:
        return False
    return True


@handles(GiveFeedback)
async def give_feedback(cmd: GiveFeedback, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> None:
    """Quiet when the turn was undone meanwhile: its call has ended then, and is paid for."""
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    if cmd.call is not None:
        ended = await work.calls.end_coaching(
            cmd.call,
            "answered" if cmd.error is None else "failed",
            now=now,
            tokens=(cmd.tokens_in, cmd.tokens_out),
            prices=(limits.price_in, limits.price_out),
            error=cmd.error,
        )
        if ended is None:
            return
        await settle(work, ended)
    turn = held and held.conversation.content.turn(cmd.turn)
    wrapped = await work.keys.find(cmd.account)
    if held is not None and turn is not None and wrapped is not None:
        await _give(work, held, turn, vault.opened(wrapped), now, cmd.spans)


@handles(SummariseConversation)
async def summarise_conversation(cmd: SummariseConversation, work: Work, vault: Vault, clock: Clock) -> None:
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    if held is None:
        return
    content = held.conversation.content
    upto = len(content.turns) - WHOLE // 2
    if upto <= content.summarised:
        return
    key = await same_key_of(work, vault, cmd.account)
    told = [(key.open(turn.text), key.open(turn.answer) if turn.answer else "") for turn in content.turns[content.summarised : upto]]
    before = "" if content.summary is None else key.open(content.summary)
    await keep(
        work,
        held,
        held.conversation.summarise(upto, key.seal(summarised(before, told, first=content.summarised + 1, most=SUMMARY))),
        now=now,
    )


@handles(ComposeReport)
async def compose_report(cmd: ComposeReport, work: Work, vault: Vault, clock: Clock) -> None:
    """Also what the coach has kept back until now, unless the learner wants none of it."""
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    if held is None or held.conversation.content.ended is None or held.conversation.content.report is not None:
        return
    key = await same_key_of(work, vault, cmd.account)
    if held.conversation.state.settings.feedback != "silent":
        for turn in held.conversation.content.turns:
            if turn.mistakes is None:
                held = await _give(work, held, turn, key, now)
    state = held.conversation.state
    kept = await work.scenarios.find(state.scenario, state.scenario_version)
    if kept is None:
        return
    scenario, language = scenario_of(kept, key), state.settings.explanation_language
    examples = [beat.example for beat in scenario.script.beats] if scenario.script is not None else []
    said = [_said(turn, key, examples[n] if n < len(examples) else None) for n, turn in enumerate(state.content.turns)]
    report = write_report(scenario, said, language)
    candidates = await work.scenarios.candidates(cmd.account)
    recommended = recommend(candidates, of=scenario, report=report, language=language)
    document = {"report": report, "recommended": recommended}
    events = held.conversation.report(
        key.seal(msgspec.json.encode(document).decode()),
        goal_reached=report.goal_reached,
        score=report.score,
        recommended=tuple(Recommended(scenario=one.scenario, reason=one.reason) for one in recommended),
    )
    await keep(work, held, events, now=now)


async def _found(work: Work, conversation: UUID, account: AccountId) -> Held | None:
    """None for one that was deleted, or erased."""
    try:
        return await work.conversations.hold(conversation, account)
    except UnknownConversation:
        return None


async def _give(work: Work, held: Held, turn: Turn, key: PersonKey, now: datetime, more: tuple[Span, ...] = ()) -> Held:
    """Feedback on one turn, unless it has had it; and what is held then. What the rules find is sure: it goes before `more`."""
    text = key.open(turn.text)
    spans = checked(text, (*coach(text, held.conversation.state.settings.explanation_language), *more))
    events = held.conversation.give_feedback(turn.id, key.seal(msgspec.json.encode(spans).decode()), len(spans))
    await keep(work, held, events, now=now)
    return msgspec.structs.replace(held, n=held.n + len(events))


def _said(turn: Turn, key: PersonKey, example: str | None) -> Said:
    text = key.open(turn.text)
    spans = _SPANS.decode(key.open(turn.feedback)) if turn.feedback is not None else ()
    return Said(turn=turn.id, text=text, spans=spans, example=example)
