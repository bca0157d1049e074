"""What a learner does with a conversation: says something, stops, takes back, goes on, forks, puts away."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from bus.message import FieldError, Personal
from bus.registry import handles, prepares
from db.practice.log import News, noticed
from db.practice.repositories import Held
from db.practice.scenarios import KeptScenario
from db.reads import Reads
from db.session import Work
from domain.errors import Invalid, Stale
from domain.practice.commands import (
    Accepted,
    ChangeConversation,
    DeleteConversation,
    EndScene,
    ForkConversation,
    KeepStreams,
    Moved,
    RedoAction,
    RetryTurn,
    StartConversation,
    Started,
    StopAnswer,
    SubmitTurn,
    UndoAction,
    WriteReport,
)
from domain.practice.errors import UnknownScenario
from domain.practice.events import ConversationEvent, ConversationStarted, RetryRequested, TurnAccepted
from domain.practice.model import Conversation
from domain.practice.scenario import Scenario
from domain.practice.state import Recorded
from domain.types import AccountId
from handlers.ports import Clock, NewId, PersonKey, PracticeLimits, Vault
from handlers.practice.keeping import ask_coach, end_stopped, keep, key_of, moved, orphan_coaching, reserve_call, same_key_of, sealed, shown

MOST_LETTERS = 2000
MOST_TITLE = 120


class Learner(msgspec.Struct, frozen=True):
    """What of a work profile a conversation needs."""

    level: str
    language: str


@prepares(StartConversation)
async def find_learner(cmd: StartConversation, reads: Reads) -> Learner:
    """Also of somebody who has not been through the onboarding: at B1, explained in English."""
    profile = await reads.onboarding.work_profile(cmd.account)
    if profile is None:
        return Learner("B1", "en")
    return Learner(profile.native_language.proficiency, profile.native_language.explanation_language)


@handles(StartConversation)
async def start_conversation(cmd: StartConversation, work: Work, learner: Learner, vault: Vault, clock: Clock, new_id: NewId) -> Started:
    now = clock()
    scenario = await work.scenarios.find_named(cmd.scenario, cmd.account)
    if scenario is None:
        raise Invalid(errors=(FieldError("/scenario", "unknown", "Send the id or the slug of one that GET /api/v2/scenarios lists."),))
    identity = new_id()
    settings = cmd.settings
    if not settings.explanation_language:
        settings = msgspec.structs.replace(settings, explanation_language=learner.language)
    event = ConversationStarted(
        conversation=identity,
        account=cmd.account,
        version=1,
        scenario=scenario.id,
        scenario_version=scenario.version,
        settings=settings,
        level=learner.level,
        seed=identity.int & 0x7FFFFFFF,
    )
    conversation = Conversation.folded([Recorded(event, now)])
    return await _added(work, conversation, event, await _written(work, vault, scenario, cmd.account, now))


@handles(ForkConversation)
async def fork_conversation(
    cmd: ForkConversation, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock, new_id: NewId
) -> Started:
    now = clock()
    held, _ = await _acted(
        work, cmd.account, cmd.conversation, lambda parent, text: parent.stop_to_fork(cmd.at_version, text), vault, limits, clock
    )
    child = await work.conversations.at(held.conversation.state.id, cmd.at_version)
    [event] = child.fork(new_id())
    child.apply(Recorded(event, max(now, child.state.updated_at)))
    ask_coach(work, child)
    scenario = await work.scenarios.find(child.state.scenario, child.state.scenario_version)
    if scenario is None:
        raise UnknownScenario
    return await _added(work, child, event, await _written(work, vault, scenario, cmd.account, now))


@handles(SubmitTurn)
async def submit_turn(cmd: SubmitTurn, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock, new_id: NewId) -> Accepted:
    text = cmd.text.strip()
    if not text or len(text) > MOST_LETTERS or "\0" in text:
        raise Invalid(errors=(FieldError("/text", "length", f"Send 1 to {MOST_LETTERS:,} characters, and no NUL."),))
    held = await work.conversations.hold(cmd.conversation, cmd.account)
    key = await same_key_of(work, vault, cmd.account)
    [event] = held.conversation.submit(new_id(), key.seal(text))
    return await _asked(work, held, event, limits, clock, new_id)


@handles(RetryTurn)
async def retry_turn(cmd: RetryTurn, work: Work, limits: PracticeLimits, clock: Clock, new_id: NewId) -> Accepted:
    held = await work.conversations.hold(cmd.conversation, cmd.account)
    [event] = held.conversation.retry()
    return await _asked(work, held, event, limits, clock, new_id)


@handles(StopAnswer)
async def stop_answer(cmd: StopAnswer, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> Moved:
    return (await _acted(work, cmd.account, cmd.conversation, Conversation.stop, vault, limits, clock))[1]


@handles(EndScene)
async def end_scene(cmd: EndScene, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> Moved:
    _, now_at = await _acted(work, cmd.account, cmd.conversation, Conversation.end, vault, limits, clock)
    work.send(WriteReport(account=cmd.account, conversation=cmd.conversation))
    return now_at


@handles(UndoAction)
async def undo_action(cmd: UndoAction, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> Moved:
    held, now_at = await _acted(work, cmd.account, cmd.conversation, Conversation.undo, vault, limits, clock)
    ask_coach(work, held.conversation)
    return now_at


@handles(RedoAction)
async def redo_action(cmd: RedoAction, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> Moved:
    held, now_at = await _acted(work, cmd.account, cmd.conversation, lambda conversation, _: conversation.redo(), vault, limits, clock)
    ask_coach(work, held.conversation)
    return now_at


@handles(ChangeConversation)
async def change_conversation(cmd: ChangeConversation, work: Work, vault: Vault, clock: Clock) -> Moved:
    held = await work.conversations.hold(cmd.conversation, cmd.account)
    _expect(held, cmd.expected)
    if cmd.title is not UNSET:
        title = " ".join(cmd.title.split())
        if not title or len(title) > MOST_TITLE or "\0" in title:
            raise Invalid(errors=(FieldError("/title", "length", f"Send 1 to {MOST_TITLE} characters, and no NUL."),))
        key = await same_key_of(work, vault, cmd.account)
        held = await _kept_on(work, held, held.conversation.rename(key.seal(title)), clock)
    if cmd.archived is not UNSET:
        held = await _kept_on(work, held, held.conversation.archive(cmd.archived), clock)
    if cmd.support is not UNSET:
        held = await _kept_on(work, held, held.conversation.allow_support(cmd.support), clock)
    return moved(held.conversation)


@handles(DeleteConversation)
async def delete_conversation(cmd: DeleteConversation, work: Work, vault: Vault, limits: PracticeLimits, clock: Clock) -> None:
    _expect(await work.conversations.hold(cmd.conversation, cmd.account), cmd.expected)
    await _acted(work, cmd.account, cmd.conversation, Conversation.delete, vault, limits, clock)


@handles(KeepStreams)
async def keep_streams(cmd: KeepStreams, work: Work, limits: PracticeLimits, clock: Clock) -> None:  # noqa: ARG001 - it asks for nothing in particular
    now = clock()
    await orphan_coaching(work, None, limits=limits, now=now)
    await work.conversations.keep_days(of=now, oldest=now - limits.kept)
    await work.budgets.forget(before=now)


Act = Callable[[Conversation, Personal], tuple[Any, ...]]


async def _acted(
    work: Work, account: AccountId, conversation: UUID, act: Act, vault: Vault, limits: PracticeLimits, clock: Clock
) -> tuple[Held, Moved]:
    """What stops an answer, if one is being given: nothing that readers were told of is lost, and nothing more is written."""
    now = clock()
    held = await work.conversations.hold(conversation, account)
    key = await same_key_of(work, vault, account)
    text = await shown(work, held, key)
    events = act(held.conversation, sealed(text, key))
    await end_stopped(work, held, events, text, limits=limits, now=now)
    return held, await keep(work, held, events, now=now)


async def _asked(
    work: Work, held: Held, event: TurnAccepted | RetryRequested, limits: PracticeLimits, clock: Clock, new_id: NewId
) -> Accepted:
    await reserve_call(work, held.conversation, event.turn, limits=limits, new_id=new_id, now=clock())
    await keep(work, held, (event,), now=clock())
    return Accepted(turn=event.turn, version=event.version, queued=isinstance(event, TurnAccepted) and event.queued)


async def _kept_on(work: Work, held: Held, events: tuple[ConversationEvent, ...], clock: Clock) -> Held:
    """For another change of the same conversation in the same command."""
    await keep(work, held, events, now=clock())
    return msgspec.structs.replace(held, n=held.n + len(events))


async def _added(work: Work, conversation: Conversation, event: ConversationEvent, scenario: Scenario) -> Started:
    """With the time that the fold of the event has."""
    state = conversation.state
    now = state.updated_at
    rows = await work.conversations.add(conversation, event, now=now)
    work.record(event, at=now)
    work.announce(noticed(News(state.id, rows)))
    return Started(
        conversation=state.id,
        version=state.version,
        scenario=state.scenario,
        opening=scenario.opening,
        settings=state.settings,
        created_at=now,
        parent=state.parent,
        parent_version=state.parent_version,
    )


async def _written(work: Work, vault: Vault, scenario: KeptScenario, account: AccountId, now: datetime) -> Scenario:
    return scenario_of(scenario, await key_of(work, vault, account, now=now))


def scenario_of(kept: KeptScenario, key: PersonKey) -> Scenario:
    """Raises `UnknownScenario` for one that has neither a body nor somebody who wrote it."""
    if kept.body is not None:
        return kept.body
    if kept.sealed is None:
        raise UnknownScenario
    return msgspec.json.decode(key.open(Personal(kept.sealed)), type=Scenario)


def _expect(held: Held, expected: tuple[int, ...] | None) -> None:
    if expected is not None and held.conversation.version not in expected:
        raise Stale
