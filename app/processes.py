"""The processes: web, relay, worker, each until a signal says stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any, cast

import structlog
import uvicorn
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.bootstrap import Ports, open_house
from app.describe import registry_of_the_house
from app.main import create_app
from app.settings import Settings
from app.streaming import CONNECTION, Hub
from bus.message import Command
from tasks.crontab import CRONTAB
from tasks.queue import SaqJobs, close_queue, make_queue
from tasks.worker import make_worker

log = structlog.get_logger("process")

REQUEST_GRACE = 5


class Protocol(HttpToolsProtocol):
    """Lets the application drop a connection: ASGI has no word for that, and a client that does not read leaves no other way out."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: {"transport": self.transport}}


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
    app = create_app(settings, modules=modules, routes=routes)
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
        ws="none",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=REQUEST_GRACE,
    )
    server = Server(config, app)
    await server.serve()


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
