"""A conversation over a WebSocket: what its stream of server-sent events tells, with the same ids, and what a learner does in it."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from litestar import WebSocket, websocket
from litestar.params import FromPath

from app.api.practice.acting import stream_of
from app.api.practice.conversation_shapes import Said, TurnAnswer
from app.api.practice.drafts import DraftItem, DraftRequest
from app.api.practice.streams import ConversationStreams, Start
from app.connections import Connection
from app.conversation_stream import Listener, told
from app.ports.drafts import Draft, RedisDrafts
from app.sockets import KEY_MOST, Caller, Endpoint, Inbound, Nothing, ResumeData, Socket, acknowledged, first_word, serve
from app.sockets import told as announced
from bus.work import stopping
from domain.practice.commands import Accepted, EndScene, RedoAction, RetryTurn, StopAnswer, SubmitTurn, UndoAction
from domain.practice.errors import UnknownConversation
from handlers.ports import PersonKey

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_MOST, pattern=r"^[ -~]+$(?!\n)")]


class OnceData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repeated with the same key, on whichever connection, this gives the answer of the first time: see `Idempotency-Key`."""

    idempotency_key: Key | None = None


class TurnData(OnceData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Said


ACTIONS: Mapping[str, Any] = {"stop": StopAnswer, "retry": RetryTurn, "undo": UndoAction, "redo": RedoAction, "end": EndScene}


class ConversationEndpoint:
    kind = "conversation"
    shapes: Mapping[str, Any] = {
        "resume": ResumeData,
        "ping": Nothing,
        "turn": TurnData,
        "draft": DraftRequest,
        **dict.fromkeys(ACTIONS, OnceData),
    }

    def __init__(self, socket: Socket, app: Any, conversation: UUID) -> None:
        self.conversation: UUID | None = conversation
        self._conversation, self._socket = conversation, socket
        self._streams = cast("ConversationStreams", app.state.conversation_streams)
        self._drafts = cast("RedisDrafts", app.state.drafts)
        self._begun = asyncio.Event()
        self._resumed = False
        self._listener: Listener | None = None
        self._start: Start
        self._caller: Caller
        self._key: PersonKey | None = None

    async def begin(self, caller: Caller, connection: Connection, last_event_id: str | None) -> None:  # noqa: ARG002 - this one is only counted
        self._caller = caller
        self._start = await self._streams.start(self._conversation, caller.account, last_event_id)
        if last_event_id is not None:
            self._begun.set()

    async def answer(self, message: Inbound, data: Any) -> object:
        if message.type == "resume":
            return await self._resume(message, data.last_event_id)
        self._begun.set()
        if message.type == "ping":
            return {}
        if message.type == "draft":
            return await self._keep(data)
        return await self._act(message.type, data)

    async def _act(self, name: str, data: Any) -> object:
        house, caller, conversation = self._socket.house, self._caller, self._conversation
        if name == "turn":
            command: Any = SubmitTurn(account=caller.account, conversation=conversation, text=data.text)
        else:
            command = ACTIONS[name](account=caller.account, conversation=conversation)
        once = caller.once(data.idempotency_key)
        done: object = await house.bus.execute(command, by=caller.actor, trace=caller.trace, once=once)
        if name == "turn" and (once is None or not once.replayed):
            await self._drafts.over(conversation)
        return TurnAnswer.of(done, stream_of(conversation)) if isinstance(done, Accepted) else done

    async def _keep(self, data: DraftRequest) -> DraftItem:
        house = self._socket.house
        await house.reads.practice.place(self._conversation, self._caller.account)
        draft = Draft(text=data.text, position=data.position, updated_at=house.clock())
        await self._drafts.put(self._conversation, draft, await self._opened())
        return DraftItem.of(draft)

    async def _resume(self, message: Inbound, last_event_id: str | None) -> None:
        """What is told after the answer lies behind the id, and nothing else does."""
        start = await self._streams.start(self._conversation, self._caller.account, last_event_id)
        async with self._socket.lock:
            self._start, self._resumed = start, True
            self._begun.set()
            if self._listener is not None:
                self._listener.fall_behind()
            if message.id is not None:
                await self._socket.put(acknowledged(message.id, {"last_event_id": f"{start.generation}.{start.n}"}))

    def telling(self) -> Sequence[Coroutine[Any, Any, None]]:
        return (self._tell(),)

    async def _tell(self) -> None:
        sessions, caller = self._streams.sessions, self._caller
        with (
            sessions.subscribed(caller.account, caller.session, ends_at=caller.ends_at, connection=self._socket.transport) as subscription,
            self._streams.hub.listening(self._conversation) as listener,
        ):
            self._listener = listener

            def ended() -> None:
                self._begun.set()
                listener.end()

            subscription.ended_by = ended
            await first_word(self._begun)
            self._resumed = True
            reader = self._streams.reader(self._conversation, listener, self._start)
            while not stopping():
                self._socket.must_close(subscription, caller)
                if self._resumed:
                    self._resumed = False
                    reader = self._streams.reader(self._conversation, listener, self._start)
                    if self._start.reset:
                        await self._reset()
                        continue
                rows = await reader.rows()
                for row in rows:
                    shown = msgspec.json.encode(told(row, self._conversation, self._start.generation, await self._opened()))
                    async with self._socket.lock:
                        if self._resumed or subscription.ended:
                            break
                        await self._socket.put(shown)
                if not rows and not self._resumed:
                    await reader.wait(max(0.0, min(caller.ends_at - time.monotonic(), 3600.0)))

    async def _reset(self) -> None:
        start = self._start
        data = {"read": f"/api/v2/conversations/{self._conversation}", "position": f"{start.generation}.{start.n}"}
        async with self._socket.lock:
            if not self._resumed:
                await self._socket.put(announced("stream.reset", data))

    async def _opened(self) -> PersonKey:
        if self._key is None:
            self._key = await self._streams.key(self._conversation, self._caller.account)
        return self._key


@websocket("/ws/conversations/{conversation:str}")
async def converse(socket: WebSocket[Any, Any, Any], conversation: FromPath[str]) -> None:
    """Any text, so that one which is no id is answered like an id that nobody has."""

    def endpoint(opened: Socket) -> Endpoint:
        try:
            return ConversationEndpoint(opened, socket.app, UUID(conversation))
        except ValueError:
            raise UnknownConversation from None

    await serve(socket, endpoint)
