"""What every command of a conversation ends with, and the calls and tokens that it leaves behind."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from bus.message import Command, Personal, Unavailable
from bus.work import Steps
from db.practice.log import News, noticed
from db.practice.repositories import Held, Outcome, Reservation
from db.session import Work
from domain.practice.commands import CoachTurn, Moved, WriteReport
from domain.practice.errors import BudgetSpent, UnknownConversation
from domain.practice.events import ConversationEvent, TurnStopped
from domain.practice.model import Conversation
from domain.practice.prompt import tokens
from domain.types import AccountId
from handlers.ports import NewId, PersonKey, PracticeLimits, Vault

R = TypeVar("R")
log = structlog.get_logger("practice")

NOTHING = Personal(b"")
FIRM = 20
PAUSE = 0.2
"""Seconds."""
HELD = 5.0
"""Seconds after which to try again when tokens are only reserved: an answer takes about as long."""
COACH_LOST = timedelta(seconds=45)
"""After so long the worker of a call of the coach that has not ended is lost; it may take less."""
FACTS = 2500
"""Tokens that the rules and the facts of a scene have at most; a scenario with more is refused."""
SUMMARY = 1500
"""Tokens that a summary has at most."""


async def key_of(work: Work, vault: Vault, account: AccountId, *, now: datetime) -> PersonKey:
    """One that is made now for somebody who has none."""
    return vault.opened(await work.keys.of(account, vault.wrapped_key, now=now))


async def same_key_of(work: Work, vault: Vault, account: AccountId) -> PersonKey:
    """Under which a conversation was begun. Raises `UnknownConversation` once that is erased."""
    wrapped = await work.keys.find(account)
    if wrapped is None:
        raise UnknownConversation
    return vault.opened(wrapped)


async def firmly(steps: Steps, command: Command[R]) -> R:
    """What was said is not thrown away because the database is away for a moment; a fence, or a row, decides whether it still counts."""
    for _ in range(FIRM):
        try:
            return await steps.execute(command)
        except Unavailable as outage:
            log.warning("waiting", reason=outage.code)
            await asyncio.sleep(PAUSE)
    return await steps.execute(command)


async def keep(work: Work, held: Held, events: Sequence[ConversationEvent], *, now: datetime, lease: datetime | None = None) -> Moved:
    """Keep what happened, tell whoever reads along, and say where the conversation stands then.

    An event has one time, wherever it is shown, and none before that of the event before: others may have come first to the conversation
    since the clock was read, or have another clock.
    """
    if events:
        at = max(now, held.conversation.state.updated_at)
        rows = await work.conversations.save(held, events, now=at, lease=lease)
        work.record(*events, at=at)
        work.announce(noticed(News(held.conversation.state.id, rows)))
    return moved(held.conversation)


def ask_coach(work: Work, conversation: Conversation) -> None:
    """For what is still to be said of the scene: it may have been asked for while the scene was undone, when the coach is quiet."""
    state, content = conversation.state, conversation.content
    if state.settings.feedback == "after_turn":
        for turn in content.turns:
            if turn.status == "answered" and turn.mistakes is None:
                work.send(CoachTurn(account=state.account, conversation=state.id, turn=turn.id))
    if content.ended is not None and content.report is None:
        work.send(WriteReport(account=state.account, conversation=state.id))


def moved(conversation: Conversation) -> Moved:
    state = conversation.state
    return Moved(
        conversation=state.id,
        version=state.version,
        head=state.head,
        phase=conversation.phase,
        can_undo=bool(state.undo),
        can_redo=bool(state.redo),
    )


async def shown(work: Work, held: Held, key: PersonKey) -> str:
    """What the partner has said of the answer that is being given; readers have been told no more, and no less."""
    turn = held.conversation.running
    if turn is None:
        return ""
    pieces = await work.conversations.shown(held.conversation.state.id, turn.id, turn.attempt)
    return "".join(key.open(Personal(piece)) for piece in pieces)


def sealed(text: str, key: PersonKey) -> Personal:
    return key.seal(text) if text else NOTHING


async def reserve_call(work: Work, conversation: Conversation, turn: UUID, *, limits: PracticeLimits, new_id: NewId, now: datetime) -> None:
    """Tokens for the next attempt at a turn, and its row in the ledger. Raises `BudgetSpent`, which names what is spent."""
    state = conversation.state
    wanted = limits.context + FACTS + SUMMARY + limits.answer
    await reserve_tokens(work, conversation, wanted, limits=limits, now=now)
    attempt = conversation.next_attempt(turn)
    await work.calls.reserve(new_id(), conversation=state.id, account=state.account, turn=turn, attempt=attempt, tokens=wanted, now=now)


async def reserve_tokens(work: Work, conversation: Conversation, wanted: int, *, limits: PracticeLimits, now: datetime) -> None:
    """Of the conversation and of the learner's day. Raises `BudgetSpent`, and then nothing is reserved."""
    state = conversation.state
    here, today = _conversation(state.id), _day(state.account, now)
    if not await work.budgets.reserve(here, wanted, ceiling=limits.conversation, now=now):
        if await work.budgets.spent(here) + wanted <= limits.conversation:
            raise _held("this conversation")
        raise BudgetSpent("The tokens of this conversation are spent. Fork an earlier version of it, or start another one.")
    if not await work.budgets.reserve(today, wanted, ceiling=limits.day, now=now):
        # Not everybody who is refused rolls back: a turn that has failed for this is kept.
        await work.budgets.settle(here, reserved=wanted, spent=0)
        if await work.budgets.spent(today) + wanted <= limits.day:
            raise _held("today")
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        left = 86_400 - (now - midnight).total_seconds()
        raise BudgetSpent("The tokens of today are spent; there are new ones at midnight UTC.", retry_after=left)


def _held(where: str) -> BudgetSpent:
    """Most of what an answer reserves comes back when it has been given."""
    return BudgetSpent(f"What is left of the tokens of {where} is reserved for answers that are being given.", retry_after=HELD)


async def end_calls(
    work: Work,
    conversation: UUID,
    turns: Sequence[UUID],
    outcome: Outcome,
    *,
    limits: PracticeLimits,
    now: datetime,
    tokens_in: int | None = None,
    tokens_out: int = 0,
    error: str | None = None,
) -> None:
    """End the partner's open calls for these turns, and settle what was reserved for them. The coach's go on: they are of what was said."""
    ended = await work.calls.end(
        conversation,
        turns,
        outcome,
        now=now,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        answer=limits.answer,
        prices=(limits.price_in, limits.price_out),
        error=error,
    )
    for reservation in ended:
        await settle(work, reservation)


async def end_stopped(
    work: Work, held: Held, stopped: Sequence[ConversationEvent], partial: str, *, limits: PracticeLimits, now: datetime
) -> None:
    """The calls of turns that are stopped; what the provider has counted by then is not known."""
    turns = [event.turn for event in stopped if isinstance(event, TurnStopped)]
    if turns:
        spent = tokens(partial) if partial else 0
        await end_calls(work, held.conversation.state.id, turns, "stopped", limits=limits, now=now, tokens_out=spent)


async def orphan_coaching(work: Work, conversation: UUID | None, *, limits: PracticeLimits, now: datetime) -> None:
    """End the coach's calls of workers that are lost, in this conversation or in all."""
    prices = (limits.price_in, limits.price_out)
    for reservation in await work.calls.orphan_coaching(conversation, before=now - COACH_LOST, now=now, prices=prices):
        await settle(work, reservation)


async def settle(work: Work, reservation: Reservation) -> None:
    for scope in (_conversation(reservation.conversation), _day(AccountId(reservation.account), reservation.begun_at)):
        await work.budgets.settle(scope, reserved=reservation.reserved, spent=reservation.spent)


def _conversation(conversation: UUID) -> str:
    return f"conversation:{conversation}"


def _day(account: AccountId, now: datetime) -> str:
    return f"day:{account}:{now.astimezone(UTC):%Y-%m-%d}"
