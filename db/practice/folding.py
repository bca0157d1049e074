"""Conversations out of their events: those of the parents first, up to where each child begins."""

import base64
import hashlib
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog

from bus.catalog import Catalog, upcasters_in
from bus.message import SYSTEM, Envelope, Personal, Trace
from db.connection import Driver, Row
from domain.practice import events
from domain.practice.errors import UnknownConversation, UnknownVersion
from domain.practice.model import Conversation
from domain.practice.state import EVENTS, LostHistory, Recorded, State

log = structlog.get_logger("practice")

SNAPSHOT_EVERY = 50
"""Folding so many events takes about a millisecond."""
_NOBODY = Trace(correlation_id="")


class _NoSecrets:
    """Events have none: the catalog refuses those that would."""

    def seal(self, purpose: str, data: bytes) -> bytes:
        raise TypeError(f"an event of a conversation has a secret: {purpose}, {len(data)} bytes")

    open = mac = seal


_CATALOG = Catalog(EVENTS, _NoSecrets(), upcasters_in([events]))


def encoded(value: object) -> bytes:
    """As JSON, what is personal as it is sealed."""
    return bytes(_CATALOG.encode_raw(value))


class Segment(msgspec.Struct, frozen=True):
    """The events of one conversation up to a version."""

    conversation: UUID
    upto: int


async def fold(driver: Driver, conversation: UUID, upto: int, *, snapshot_every: int | None = None) -> Conversation:
    """Of a conversation that has this version. What took so many events to fold is kept for the next time."""
    begun = await _snapshot(driver, conversation, upto)
    folded: Conversation | None = None
    recorded: list[Recorded] = []
    if begun is not None:
        recorded = await _recorded(driver, conversation, begun.version, upto)
        try:
            folded = Conversation.folded(recorded, begun)
        except LostHistory:
            log.debug("snapshot_too_late", conversation=str(conversation), version=begun.version)
    if folded is None:
        recorded = await _all(driver, conversation, upto)
        folded = Conversation.folded(recorded)
    if snapshot_every is not None and len(recorded) >= snapshot_every:
        await _keep(driver, folded)
    return folded


async def fold_whole(driver: Driver, conversation: UUID, upto: int) -> Conversation:
    """The same from its first event, so that it knows what it was at every version."""
    return Conversation.folded(await _all(driver, conversation, upto))


async def past(driver: Driver, conversation: UUID, version: int) -> Conversation:
    """As it was. What it has of a parent's past is its own: it has its id, and its parent, from the first version."""
    folded = await fold(driver, conversation, version)
    if folded.state.id != conversation:
        row = await driver.fetchrow("SELECT parent, parent_version FROM conversations WHERE id = $1", conversation)
        if row is None:
            raise UnknownConversation
        folded.state.id, folded.state.parent, folded.state.parent_version = conversation, row["parent"], row["parent_version"]
    return folded


async def version_at(driver: Driver, conversation: UUID, instant: datetime) -> int:
    """The last version there was at that time. Raises `UnknownVersion` for a time before the first."""
    for segment in await segments_of(driver, conversation, None):
        found = await driver.fetchval(_VERSION_AT, stream_of(segment.conversation), segment.upto, instant)
        if found is not None:
            return found
    raise UnknownVersion


async def history(driver: Driver, conversation: UUID, *, after: int = 0, upto: int | None = None) -> list[Recorded]:
    """Everything that happened to it between these versions, its parents' part first."""
    return await _all(driver, conversation, upto, after)


async def _keep(driver: Driver, conversation: Conversation) -> None:
    """A snapshot is made of events that are committed: while they are decided, their times are not yet those in the ledger."""
    state = _STATE.encode(conversation.state)
    version, at = conversation.version, conversation.state.updated_at
    await driver.execute(_KEEP, conversation.state.id, version, hashlib.sha256(state).digest(), state, at)


async def segments_of(driver: Driver, conversation: UUID, upto: int | None) -> list[Segment]:
    """The youngest first."""
    segments: list[Segment] = []
    following: UUID | None = conversation
    while following is not None:
        row = await driver.fetchrow("SELECT parent, parent_version, version FROM conversations WHERE id = $1", following)
        if row is None:
            raise UnknownConversation
        most = row["version"] if upto is None else min(upto, row["version"])
        segments.append(Segment(following, most))
        following, upto = row["parent"], row["parent_version"] if upto is None else min(upto, row["parent_version"] or upto)
    return segments


async def _all(driver: Driver, conversation: UUID, upto: int | None, after: int = 0) -> list[Recorded]:
    segments = await segments_of(driver, conversation, upto)
    return [one for segment in reversed(segments) for one in await _recorded(driver, segment.conversation, after, segment.upto)]


async def _recorded(driver: Driver, conversation: UUID, after: int, upto: int) -> list[Recorded]:
    return [_event(row) for row in await driver.fetch(_EVENTS, stream_of(conversation), after, upto)]


def _event(row: Row) -> Recorded:
    personal = row["personal"]
    envelope = Envelope(
        id=row["id"],
        name=row["name"],
        version=row["v"],
        at=row["at"],
        actor=SYSTEM,
        trace=_NOBODY,
        data=msgspec.Raw(row["data"].encode()),
        personal=None if personal is None else msgspec.Raw(personal.encode()),
    )
    return Recorded(cast("events.ConversationEvent", _CATALOG.decode(envelope)), row["at"])


async def _snapshot(driver: Driver, conversation: UUID, upto: int) -> Conversation | None:
    """The last one that is whole; one that is damaged is deleted, and made anew when the conversation is changed next."""
    for row in await driver.fetch(_SNAPSHOTS, conversation, upto):
        if hashlib.sha256(row["state"]).digest() == row["checksum"]:
            try:
                return Conversation(state_of(row["state"]))
            except msgspec.DecodeError:
                log.info("snapshot_of_another_build", conversation=str(conversation), version=row["version"])
        else:
            log.warning("snapshot_damaged", conversation=str(conversation), version=row["version"])
        await driver.execute("DELETE FROM conversation_snapshots WHERE conversation = $1 AND version = $2", conversation, row["version"])
    return None


def state_of(snapshot: bytes) -> State:
    """Raises `msgspec.DecodeError` for what another build has made."""
    return msgspec.json.decode(snapshot, type=State, dec_hook=_opened)


def _opened(kind: type, value: Any) -> object:
    return Personal(base64.b64decode(value)) if kind is Personal else value


def _closed(value: object) -> object:
    if isinstance(value, Personal):
        return base64.b64encode(value.sealed).decode()
    raise TypeError(f"a conversation has something that a snapshot cannot keep: {type(value).__name__}")


# Not the catalog's: its encoder sorts keys, and so takes none but strings.
_STATE = msgspec.json.Encoder(enc_hook=_closed)


def stream_of(conversation: UUID) -> str:
    return f"practice-{conversation}"


_EVENTS = """
SELECT id, name, v, at, data::text AS data, personal::text AS personal FROM events
WHERE stream = $1 AND version > $2 AND version <= $3 ORDER BY version
"""

_VERSION_AT = "SELECT version FROM events WHERE stream = $1 AND version <= $2 AND at <= $3 ORDER BY version DESC LIMIT 1"

_SNAPSHOTS = """
SELECT version, checksum, state FROM conversation_snapshots WHERE conversation = $1 AND version <= $2 ORDER BY version DESC LIMIT 3
"""

_KEEP = """
INSERT INTO conversation_snapshots (conversation, version, checksum, state, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (conversation, version) DO UPDATE SET checksum = excluded.checksum, state = excluded.state, at = excluded.at
"""
