"""For tests of the front door: the application in this process, or as the processes that ship, and clients of both."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec

from app.bootstrap import House, Ports
from app.embedded import free_port
from app.main import create_app
from app.settings import Settings, as_environ
from bus.message import SYSTEM
from db.connection import connect
from domain.accounts.commands import CreateAdmin, EnsureSigningKey
from domain.types import Secret
from tests.app.processes import REPOSITORY

PASSWORD = "a heron over the grey canal"
SIGN_UP, LOG_IN, ME, FEED = "/api/v2/auth/signup", "/api/v2/auth/login", "/api/v2/users/me", "/api/v2/events"


def person(**changes: object) -> dict[str, object]:
    """A body that signs somebody up; `None` leaves a field out."""
    body: dict[str, object] = {
        "email": "ada@example.com",
        "password": PASSWORD,
        "full_name": "Ada Lovelace",
        "date_of_birth": "1990-12-10",
        "accept_terms": True,
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has signed up, and their access token."""

    id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


async def sign_up(client: httpx.AsyncClient, **changes: object) -> Person:
    answer = await client.post(SIGN_UP, json=person(**changes))
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    return Person(id=UUID(data["user"]["id"]), token=data["tokens"]["access_token"])


def wrong_fields(answer: httpx.Response) -> dict[str, str]:
    """Pointer -> code of every field that a problem document names."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return {error["field"]: error["code"] for error in answer.json().get("errors", [])}


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """The application in this process: a client of it, and the house behind it."""

    client: httpx.AsyncClient
    house: House


@contextmanager
def _unmeasured() -> Generator[None]:
    """Coverage slows down what Litestar does with the routes to half a second, in each of many hundred tests."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@asynccontextmanager
async def door(settings: Settings, ports: Ports | None = None, *, seeded: bool = True) -> AsyncGenerator[Door]:
    """The lifespan is in a task of its own, because a fixture may end in another task than it began in."""
    with _unmeasured():
        app = create_app(settings, ports)
    opened, closing = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            opened.set()
            await closing.wait()

    living = asyncio.create_task(live())
    waiting = asyncio.create_task(opened.wait())
    await asyncio.wait([living, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if living.done():
        await living
    try:
        house: House = app.state.house
        if seeded:
            await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        transport: Any = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]  # Litestar's and httpx' words for the same ASGI types.
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            yield Door(client=client, house=house)
    finally:
        closing.set()
        await living


async def sign_in_admin(door: Door) -> Person:
    """Somebody made an admin, as at the command line, and signed in."""
    email, born = "operator@example.com", date(1906, 12, 9)
    command = CreateAdmin(email=email, password=Secret(PASSWORD), full_name="Grace Hopper", date_of_birth=born)
    made = await door.house.bus.execute(command, by=SYSTEM)
    answer = await door.client.post(LOG_IN, json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Person(id=made.id, token=answer.json()["data"]["tokens"]["access_token"])


@asynccontextmanager
async def empty_database(settings: Settings) -> AsyncGenerator[Settings]:
    """The same settings with a database of the block's own, in which there is nothing."""
    name = f"fluentpro_empty_{uuid4().hex[:8]}"
    connection = await connect(settings.database_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield msgspec.structs.replace(settings, database_url=urlsplit(settings.database_url)._replace(path=f"/{name}").geturl())
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def eventually(condition: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """What the condition answers, once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


def environment(settings: Settings, **environ: str) -> dict[str, str]:
    """The variables of a process with these settings; those that measure coverage are inherited."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLUENTPRO_")}
    return {**inherited, **as_environ(settings), "PYTHONUNBUFFERED": "1", **environ}


async def fluentpro(settings: Settings, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """One command, from its start to its end."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=REPOSITORY,
        env=environment(settings, **environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Process:
    """`fluentpro <name>` in a process of its own, or `<module> <name>`; what it says is in a file."""

    def __init__(self, name: str, settings: Settings, log: Path, *, module: str = "app.cli") -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, name],
                cwd=REPOSITORY,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """What it logged in JSON; whatever is no JSON object is a failure."""
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self.said().splitlines()]

    async def says(self, text: str, seconds: float = 20) -> Self:
        def heard() -> bool:
            assert self.exit_code is None or text in self.said(), f"{self.name} ended without saying {text!r}, but:\n{self.said()}"
            return text in self.said()

        await eventually(heard, f"{self.name} says {text!r}", seconds)
        return self

    async def stop(self, seconds: float = 20, number: signal.Signals = signal.SIGTERM) -> float:
        """The seconds that it took to end."""
        began = time.monotonic()
        if self.exit_code is None:
            self._process.send_signal(number)
        await eventually(lambda: self.exit_code is not None, f"{self.name} ends", seconds)
        return time.monotonic() - began

    async def kill(self) -> None:
        await self.stop(number=signal.SIGKILL)


class Web(Process):
    """A web process; one that is started again has the port of the one before."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.base = f"http://127.0.0.1:{settings.port}"
        super().__init__("web", settings, log)

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, timeout=options.pop("timeout", 10), trust_env=False, **options)

    async def answering(self) -> Self:
        async with self.client(timeout=2) as client:

            async def live() -> bool:
                assert self.exit_code is None, f"web ended:\n{self.said()}"
                try:
                    return (await client.get("/health/live")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(live, "web answers", 30)
        return self


Start = Callable[..., Process]


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[Start]:
    """A function that starts processes with these settings, or some of them changed. They end with the block, last first."""
    started: list[Process] = []
    logs = settings.data_path / "logs"

    def start(name: str, **changes: Any) -> Process:
        own = msgspec.structs.replace(settings, **changes)
        process = Process(name, own, logs / f"{name}-{len(started)}.log")
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in reversed(started):
            await process.stop()


@asynccontextmanager
async def web(settings: Settings) -> AsyncGenerator[Web]:
    """A web process that answers, on a free port."""
    own = msgspec.structs.replace(settings, port=settings.port if settings.port != Settings().port else free_port())
    process = Web(own, settings.data_path / "logs" / "web.log")
    try:
        yield await process.answering()
    finally:
        await process.stop()


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One block of a stream of server-sent events, as it was sent."""

    lines: tuple[str, ...]

    @property
    def fields(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.lines if not line.startswith(":"))

    @property
    def event(self) -> str | None:
        return self.fields.get("event")

    @property
    def id(self) -> int | None:
        return int(self.fields["id"]) if "id" in self.fields else None

    @property
    def data(self) -> dict[str, Any]:
        return msgspec.json.decode(self.fields["data"], type=dict[str, Any])


class Feed:
    """An open stream, read block by block."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, seconds: float = 10) -> Sent | None:
        """The next block; None once the stream has ended."""
        lines: list[str] = []
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                if not line and lines:
                    return Sent(lines=tuple(lines))
                lines.append(line)
        return None

    async def event(self, seconds: float = 10) -> Sent | None:
        """The next block that is an event; None once the stream has ended."""
        while (sent := await self.next(seconds)) is not None:
            if sent.event is not None:
                return sent
        return None


@asynccontextmanager
async def feed_of(
    client: httpx.AsyncClient, person: Person, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncGenerator[Feed]:
    async with client.stream("GET", FEED, headers={**person.headers, **(headers or {})}, **options) as response:
        assert response.status_code == 200, await response.aread()
        yield Feed(response)
