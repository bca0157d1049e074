"""What those who operate this installation are shown of a conversation: its words only where its learner agreed, and never unnoticed."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec

from app.bootstrap import House
from app.sealing import SealBrokenError
from bus.message import Actor, Personal, Trace
from domain.errors import Unavailable
from domain.practice.commands import InspectConversation
from domain.practice.events import Redone, Undone
from domain.practice.model import Conversation
from domain.practice.scenario import Scenario
from domain.practice.state import Recorded
from domain.practice.views import ConversationView, viewed
from handlers.ports import PersonKey
from handlers.practice.conversations import scenario_of

NOT_SHARED = "(not shared)"
"""Stands where there is text that its learner has not let us read."""


class KeyUnusable(Unavailable):
    code = "service.key_unusable"
    title = "The learner's key cannot be opened. Set FLUENTPRO_SECRET_KEY to the one it was made under."


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """`shared`: its learner lets those who operate this installation read it; else each text is `(not shared)`, without feedback or report.

    `conversation.support` is what the learner had chosen at that version; what counts is what they choose now.
    """

    account: UUID
    deleted: bool
    shared: bool
    conversation: ConversationView


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """An event: the conversation is at `version` from then on. `to` is where undo or redo has taken the scene."""

    conversation: UUID
    version: int
    type: Annotated[str, msgspec.Meta(examples=["practice.turn_completed"])]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    turn: UUID | None
    attempt: int | None
    to: int | None

    @classmethod
    def of(cls, recorded: Recorded) -> "Happened":
        event = recorded.event
        return cls(
            conversation=event.conversation,
            version=event.version,
            type=event.wire.name,
            at=recorded.at,
            turn=getattr(event, "turn", None),
            attempt=getattr(event, "attempt", None),
            to=event.to if isinstance(event, Undone | Redone) else None,
        )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """`field` is a JSON pointer, in which turns stand by their number; null stands for what is not there."""

    field: str
    before: Any
    after: Any


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened after the older of two versions, and what is not the same."""

    conversation: UUID
    shared: bool
    before: int
    after: int
    events: list[Happened]
    changes: list[Change]


class Inspector:
    """For one person: `by` is who looks. Each look at text is an event, of which the learner sees that it was."""

    def __init__(self, house: House, *, by: Actor, trace: Trace | None = None) -> None:
        self._house, self._reads, self._by, self._trace = house, house.reads.conversations_admin, by, trace

    async def at(self, conversation: UUID, at: int | datetime | None = None) -> Inspected:
        """Raises `UnknownConversation` and `UnknownVersion`."""
        found = await self._reads.conversation(conversation, at=at)
        return await self._inspected(conversation, found, await self._key(conversation))

    async def versions(self, conversation: UUID, *, after: int = 0, limit: int | None = None) -> list[Happened]:
        """Those after one, by number. Raises `UnknownConversation`."""
        return [Happened.of(one) for one in await self._reads.history(conversation, after=after, limit=limit)]

    async def difference(self, conversation: UUID, before: int, after: int) -> Difference:
        """Raises `UnknownConversation` and `UnknownVersion`."""
        found = [await self._reads.conversation(conversation, at=version) for version in (before, after)]
        key = await self._key(conversation)
        first, second = [await self._inspected(conversation, one, key) for one in found]
        low, high = sorted((before, after))
        return Difference(
            conversation=conversation,
            shared=key is not None,
            before=before,
            after=after,
            events=[one for one in await self.versions(conversation) if low < one.version <= high],
            changes=list(_changes(_flat(first.conversation), _flat(second.conversation))),
        )

    async def exported(self, conversation: UUID) -> tuple[ConversationView, Scenario | None]:
        """With the scenario, unless that is the learner's own and they do not share it. Raises `UnknownConversation`."""
        found = await self._reads.conversation(conversation)
        key = await self._key(conversation)
        view = (await self._inspected(conversation, found, key)).conversation
        return view, await self._scenario(found, key)

    async def _scenario(self, conversation: Conversation, key: PersonKey | None) -> Scenario | None:
        state = conversation.state
        kept = await self._house.reads.scenarios.find(state.scenario, state.scenario_version)
        if kept is None or key is None:
            return None if kept is None else kept.body
        return scenario_of(kept, key)

    async def _inspected(self, conversation: UUID, found: Conversation, key: PersonKey | None) -> Inspected:
        entry = await self._reads.entry(conversation)
        view = viewed(_withheld(found), _not_shared) if key is None else viewed(found, _opener(key))
        return Inspected(account=entry.account, deleted=entry.deleted_at is not None, shared=key is not None, conversation=view)

    async def _key(self, conversation: UUID) -> PersonKey | None:
        """None when the learner has not agreed, or their texts were erased. With it comes the event that says who has looked."""
        if not await self._house.bus.execute(InspectConversation(conversation=conversation), by=self._by, trace=self._trace):
            return None
        wrapped = await self._house.reads.practice.wrapped_key((await self._reads.entry(conversation)).account)
        if wrapped is None:
            return None
        try:
            return self._house.vault.opened(wrapped)
        except SealBrokenError as error:
            raise KeyUnusable from error


def _opener(key: PersonKey) -> Callable[[Personal], str]:
    def opened(text: Personal) -> str:
        try:
            return key.open(text)
        except SealBrokenError as error:
            raise KeyUnusable from error

    return opened


def _not_shared(_: Personal) -> str:
    return NOT_SHARED


def _withheld(conversation: Conversation) -> Conversation:
    """The same without what is no single text: feedback and report quote the learner in their parts."""
    content = conversation.content
    turns = tuple(msgspec.structs.replace(turn, feedback=None) for turn in content.turns)
    shown = msgspec.structs.replace(content, turns=turns, report=None)
    return Conversation(msgspec.structs.replace(conversation.state, content=shown))


def _flat(view: ConversationView) -> dict[str, Any]:
    """JSON pointer -> value; turns by their number, each with all its fields."""
    fields = cast("dict[str, Any]", msgspec.to_builtins(view))
    turns = cast("list[dict[str, Any]]", fields.pop("turns"))
    settings = cast("dict[str, Any]", fields.pop("settings"))
    flat = {f"/{name}": value for name, value in fields.items() if name not in ("id", "updated_at")}
    flat |= {f"/settings/{name}": value for name, value in settings.items()}
    return flat | {f"/turns/{turn['number']}/{name}": value for turn in turns for name, value in turn.items() if name != "number"}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for field in dict.fromkeys([*before, *after]):
        if before.get(field) != after.get(field):
            yield Change(field=field, before=before.get(field), after=after.get(field))
