"""The processes: web, relay, worker, each until a signal says stop."""

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from types import FrameType, ModuleType
from typing import Any, cast

import structlog
import uvicorn
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from app.bootstrap import Ports, open_house
from app.describe import registry_of_the_house
from app.main import create_app
from app.settings import Settings
from app.sockets import LARGEST
from app.streaming import CONNECTION, Hub
from bus.message import Command
from tasks.crontab import CRONTAB
from tasks.queue import SaqJobs, close_queue, make_queue
from tasks.worker import make_worker

log = structlog.get_logger("process")

REQUEST_GRACE = 5
# How long a client that does not read may leave a closed WebSocket lying there.
CLOSE_GRACE = 2.0
# uvicorn writes a line with the query string for every WebSocket; ours come from the middleware, and leave it out.
SOCKETS = logging.getLogger("uvicorn.websockets")
SOCKETS.setLevel(logging.WARNING)


class Protocol(HttpToolsProtocol):
    """Lets the application drop a connection: ASGI has no word for that, and a client that does not read leaves no other way out."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: {"transport": self.transport}}


class SocketProtocol(WebSocketsSansIOProtocol):
    """Lets the application close a connection that is full, and tells it of the pings of a client; see `app.sockets.Wire`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = SOCKETS
        self.heard_at = 0.0

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            cast("dict[str, Any]", self.scope)["extensions"][CONNECTION] = {"transport": self.transport, "wire": self}

    def handle_ping(self) -> None:
        self.heard_at = time.monotonic()
        if self.transport.get_write_buffer_size() > LARGEST:
            # Every ping is answered, whoever sends them: without this they would be answered into memory.
            self.transport.abort()
        else:
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self.pending_ping_payload is None:
            # Not the answer to our own, which a library gives for anybody: a heartbeat.
            self.heard_at = time.monotonic()
        super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # uvicorn closes it too, and logs a traceback for what is only a mistake of the client's.
                self.conn.send_close(CloseCode.INVALID_DATA, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def cut(self, code: int, reason: str) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # What still comes is thrown away until the client closes too; closing at once would take our last words from it.
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_GRACE, self.transport.abort)


class Server(uvicorn.Server):
    """Ends the open streams first: uvicorn waits for connections before it ends the lifespan, and a stream would hold it up."""

    def __init__(self, config: uvicorn.Config, app: Litestar) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        keep_what_is_loaded()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        hub = cast("Hub | None", self._app.state.get("hub"))
        if hub is not None:
            hub.close()
        super().handle_exit(sig, frame)


async def web(settings: Settings, *, modules: tuple[ModuleType, ...] = (), routes: Sequence[HTTPRouteHandler] = ()) -> None:
    """Serve HTTP until SIGTERM or SIGINT; requests that run then have five seconds to end. Raises `CannotStart`."""
    registry_of_the_house()  # Before the lifespan, in whose trace the list of what is missing would drown.
    await server_of(settings, create_app(settings, modules=modules, routes=routes)).serve()


def server_of(settings: Settings, app: Litestar) -> Server:
    config = uvicorn.Config(
        cast("Any", app),
        host=settings.host,
        port=settings.port,
        loop="none",
        http=Protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ws=SocketProtocol,
        ws_max_size=LARGEST,
        ws_per_message_deflate=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=REQUEST_GRACE,
    )
    return Server(config, app)


async def relay(settings: Settings, *, modules: tuple[ModuleType, ...] = ()) -> None:
    async with open_house(settings, modules=modules) as house, house.bell.listening():
        queue = make_queue(settings.redis_url)
        try:
            await _until_stopped(house.relay(SaqJobs(queue)).run())
        finally:
            await close_queue(queue)


async def worker(
    settings: Settings,
    *,
    modules: tuple[ModuleType, ...] = (),
    crontab: Mapping[str, Command[Any]] = CRONTAB,
    ports: Ports | None = None,
) -> None:
    """Reactions, due retries, jobs, schedules and turns. What runs at a stop is finished first; turns another worker takes over."""
    async with open_house(settings, ports, modules=modules) as house, house.bell.listening():
        queue = make_queue(settings.redis_url)
        jobs = make_worker(queue, house.bus, house.inbox, crontab)
        try:
            await _until_stopped(house.worker().run(), house.turns().run(), jobs.start())
        finally:
            await jobs.stop()
            await close_queue(queue)


def keep_what_is_loaded() -> None:
    """Call it when a process has started: going through all that it has loaded, again and again, the garbage collector would now and
    then hold up everything for a fifth of a second. And it need not look after every few commands for what they left.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


async def _until_stopped(*work: Awaitable[None]) -> None:
    """Until SIGTERM or SIGINT, or until one of them fails."""
    keep_what_is_loaded()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = [asyncio.ensure_future(one) for one in work]
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    for task in (stopped, *running):
        task.cancel()
    for result in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
