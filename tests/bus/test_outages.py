"""Relay and worker while PostgreSQL is away: they wait for it, and they can be stopped without it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import uvloop

from app.bootstrap import House, Ports, open_house
from bus.harness import HandedOver
from bus.transport import StreamsDown, translated
from tests.bus import sample
from tests.bus.support import Wire, note, seen, until
from tests.support import HandClock, ScriptedMailer, value


@asynccontextmanager
async def far_away(house: House, wire: Wire) -> AsyncGenerator[House, None]:
    """The same house, with the wire between it and PostgreSQL."""
    async with AsyncExitStack() as stack:
        settings = msgspec.structs.replace(house.settings, database_url=await wire.open(stack), relay_lease=0.5)
        ports = Ports(clock=house.clock, mailer=ScriptedMailer())
        yield await stack.enter_async_context(open_house(settings, ports, modules=(sample,)))


@pytest.fixture
def wire(house: House) -> Wire:
    return Wire(house.settings.database_url)


def running(house: House, name: str) -> Awaitable[None]:
    return house.relay(HandedOver()).run() if name == "relay" else house.worker().run()


def test_a_connection_that_is_closed_while_it_is_written_is_an_outage() -> None:
    """As redis-py meets it under uvloop, when Redis goes while a connection is being made."""

    async def write() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(StreamsDown), translated():
                writer.writelines([b"PING"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write())


NAMES = ("relay", "worker")


async def busy(house: House, name: str) -> bool:
    """Whether it holds what it has to give back at its end."""
    if name == "relay":
        return await value(house, "SELECT count(*) > 0 FROM leases WHERE name = 'relay'")
    return "sample.follow" in await house.streams.confirmed("sample")


@pytest.mark.parametrize("name", NAMES)
async def test_it_stops_without_postgresql(house: House, wire: Wire, name: str) -> None:
    async with far_away(house, wire) as far:
        task = asyncio.ensure_future(running(far, name))
        await until(lambda: busy(house, name))
        wire.cut()
        task.cancel()
        _, unfinished = await asyncio.wait([task], timeout=10)
        assert unfinished == set()


async def test_they_wait_for_postgresql_and_go_on(house: House, wire: Wire, clock: HandClock) -> None:
    async with far_away(house, wire) as far:
        tasks = [asyncio.ensure_future(running(far, name)) for name in NAMES]
        await note(house, "before")
        await until(lambda: seen(house, "keep"))
        wire.cut()
        await note(house, "during")
        wire.mend()

        async def both() -> bool:
            clock.move(seconds=0.02)  # as long as `until` sleeps: who was caught by the cut waits by this clock, from whenever it noticed
            return await seen(house, "keep") == ["before", "during"] == await seen(house, "follow")

        await until(both)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
