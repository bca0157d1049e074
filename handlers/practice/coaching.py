"""What the coach says, on a channel of its own: to a turn, of the whole scene, and what was said before, in short."""

from datetime import datetime
from uuid import UUID

import msgspec

from bus.registry import handles
from db.practice.repositories import Held
from db.session import Work
from domain.practice.coach import Span, coach
from domain.practice.commands import CoachTurn, SummariseConversation, WriteReport
from domain.practice.errors import UnknownConversation
from domain.practice.events import Recommended
from domain.practice.report import Said, recommend, write_report
from domain.practice.state import Turn
from domain.practice.summary import summarised
from domain.types import AccountId
from handlers.ports import Clock, PersonKey, Vault
from handlers.practice.answering import WHOLE
from handlers.practice.conversations import scenario_of
from handlers.practice.keeping import SUMMARY, keep, same_key_of

_SPANS = msgspec.json.Decoder(tuple[Span, ...])


@handles(CoachTurn)
async def coach_turn(cmd: CoachTurn, work: Work, vault: Vault, clock: Clock) -> None:
    """Quiet when the turn was undone meanwhile."""
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    turn = held and held.conversation.content.turn(cmd.turn)
    if held is None or turn is None:
        return
    await _give(work, held, turn, await same_key_of(work, vault, cmd.account), now)


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


@handles(WriteReport)
async def write_the_report(cmd: WriteReport, work: Work, vault: Vault, clock: Clock) -> None:
    """Also what the coach has kept back until now, unless the learner wants none of it."""
    now = clock()
    held = await _found(work, cmd.conversation, cmd.account)
    if held is None or held.conversation.content.ended is None or held.conversation.content.report is not None:
        return
    key = await same_key_of(work, vault, cmd.account)
    if held.conversation.state.settings.feedback != "silent":
        for turn in held.conversation.content.turns:
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
    """None for one that was deleted."""
    try:
        return await work.conversations.hold(conversation, account)
    except UnknownConversation:
        return None


async def _give(work: Work, held: Held, turn: Turn, key: PersonKey, now: datetime) -> Held:
    """Feedback on one turn, unless it has had it; and what is held then."""
    spans = coach(key.open(turn.text), held.conversation.state.settings.explanation_language)
    events = held.conversation.give_feedback(turn.id, key.seal(msgspec.json.encode(spans).decode()), len(spans))
    await keep(work, held, events, now=now)
    return msgspec.structs.replace(held, n=held.n + len(events))


def _said(turn: Turn, key: PersonKey, example: str | None) -> Said:
    text = key.open(turn.text)
    spans = _SPANS.decode(key.open(turn.feedback)) if turn.feedback is not None else ()
    return Said(turn=turn.id, text=text, spans=spans, example=example)
