"""WebSockets of web processes, for tests: a device, and what it is told."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.bootstrap import House, Ports, open_house
from app.embedded import free_port
from app.main import create_app
from app.processes import server_of
from app.settings import Settings
from bus.harness import HandedOver
from bus.message import SYSTEM
from domain.accounts.commands import EnsureSigningKey
from tests.app.client import Person, Web, eventually
from tests.support import ScriptedMailer

TICKETS = "/api/v2/auth/tickets"
CONVERSATIONS = "/api/v2/conversations"
SCENARIO = "real_estate_negotiations"
FEED = "/api/v2/ws"

Message = dict[str, Any]


class Device:
    """One open socket. What is told without being asked is kept until it is looked at."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._told: deque[Message] = deque()
        self._ids = count(1)

    async def raw(self, text: str | bytes) -> None:
        await self.connection.send(text)

    async def send(self, name: str, id: object = None, **data: object) -> None:  # noqa: A002 - the contract's name
        message: Message = {"type": name, "data": data}
        if id is not None:
            message["id"] = id
        await self.raw(msgspec.json.encode(message).decode())

    async def ask(self, name: str, **data: object) -> Message:
        """The `ack` or `error` of it."""
        number = f"m{next(self._ids)}"
        await self.send(name, number, **data)
        while True:
            message = await self._received()
            if message["type"] in ("ack", "error") and message.get("id") == number:
                return message
            self._told.append(message)

    async def next(self, seconds: float = 10) -> Message:
        return self._told.popleft() if self._told else await self._received(seconds)

    async def until(self, name: str, seconds: float = 15) -> list[Message]:
        """Everything up to and with the first of this type."""
        found: list[Message] = []
        async with asyncio.timeout(seconds):
            while not found or found[-1]["type"] != name:
                found.append(await self.next(seconds))
        return found

    async def closed(self, seconds: float = 10) -> tuple[int, str]:
        """The code and the reason, once it is; what was told until then is kept."""
        while True:
            try:
                self._told.append(await self._received(seconds))
            except ConnectionClosed:
                break
        code = self.connection.close_code
        assert code is not None
        return code, self.connection.close_reason or ""

    def kept(self) -> list[Message]:
        return list(self._told)

    async def _received(self, seconds: float = 10) -> Message:
        async with asyncio.timeout(seconds):
            return msgspec.json.decode(await self.connection.recv(), type=Message)


class Served:
    """The shipped server with the shipped application, in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base = f"http://127.0.0.1:{settings.port}"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, timeout=10, trust_env=False)


@asynccontextmanager
async def served(settings: Settings, ports: Ports | None = None) -> AsyncGenerator[Served]:
    own = msgspec.structs.replace(settings, port=free_port())
    app = create_app(own, ports)
    server = server_of(own, app)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started or serving.done(), "the server answers")
    try:
        yield Served(own)
    finally:
        app.state.hub.close()
        server.should_exit = True
        await serving


@asynccontextmanager
async def opened(process: Web | Served, path: str, person: Person | None = None, **headers: str) -> AsyncGenerator[Device]:
    """With the token of a person, or of nobody."""
    sent = {**(person.headers if person else {}), **headers}
    url = f"ws://127.0.0.1:{process.settings.port}{path}"
    async with connect(url, additional_headers=sent, proxy=None, max_size=None, compression=None) as connection:
        yield Device(connection)


async def ticket(client: httpx.AsyncClient, person: Person, purpose: str = "websocket") -> str:
    answer = await client.post(TICKETS, json={"purpose": purpose}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["ticket"]


async def started(client: httpx.AsyncClient, person: Person, **settings: str) -> str:
    """The id of a new conversation."""
    answer = await client.post(CONVERSATIONS, json={"scenario": SCENARIO, "settings": settings}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["conversation"]


def socket_of(conversation: str) -> str:
    return f"{FEED}/conversations/{conversation}"


@asynccontextmanager
async def answering(settings: Settings) -> AsyncGenerator[House]:
    """A house with a signing key, whose relay runs, and in which partners answer."""
    async with open_house(settings, Ports(mailer=ScriptedMailer())) as house, house.bell.listening():
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        running = [asyncio.create_task(one) for one in (house.relay(HandedOver()).run(), house.turns().run())]
        try:
            yield house
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
