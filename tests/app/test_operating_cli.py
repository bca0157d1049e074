"""The processes and one-shot commands of `fluentpro` while a server is away, and how they end."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator

import msgspec
import pytest

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from bus.message import ANONYMOUS
from db.connection import connect
from tests.app.client import PASSWORD, Start, empty_database, eventually, fluentpro, running, web
from tests.factories import Registrations
from tests.support import value

ADMIN = ("admin", "create", "--email", "root@example.com", "--full-name", "Grace Hopper", "--date-of-birth", "1906-12-09")
SOON = 5


@pytest.fixture
async def start(settings: Settings) -> AsyncGenerator[Start]:
    async with running(settings) as start:
        yield start


async def signing_keys(settings: Settings) -> int:
    connection = await connect(settings.database_url)
    try:
        return await connection.fetchval("SELECT count(*) FROM signing_keys")
    finally:
        await connection.close()


async def test_one_command_migrates_and_seeds_and_a_second_makes_no_second_key(settings: Settings) -> None:
    async with empty_database(settings) as empty:
        first = await fluentpro(empty, "migrate", "--seed")
        assert (first.returncode, first.stdout, await signing_keys(empty)) == (0, "", 1), first.stderr
        again = await asyncio.gather(fluentpro(empty, "migrate", "--seed"), fluentpro(empty, "seed"))
        assert [(done.returncode, await signing_keys(empty)) for done in again] == [(0, 1), (0, 1)]


async def test_a_database_that_does_not_answer_is_named_by_whatever_needs_it(settings: Settings) -> None:
    port = free_port()
    gone = msgspec.structs.replace(settings, database_url=f"postgresql://app:hunter2@127.0.0.1:{port}/app")
    commands = (("migrate",), ("migrate", "--check"), ("seed",), (*ADMIN, "--password-stdin"))
    for done in await asyncio.gather(*(fluentpro(gone, *command, stdin=f"{PASSWORD}\n") for command in commands)):
        assert (done.returncode, done.stdout) == (1, "")
        assert f"FLUENTPRO_DATABASE_URL: nothing answers at 127.0.0.1:{port}." in done.stderr
        for unwanted in ("Traceback", "hunter2", PASSWORD):
            assert unwanted not in done.stderr


async def test_a_start_that_is_refused_leaves_standard_output_empty(settings: Settings) -> None:
    exposed = msgspec.structs.replace(settings, env="production", secret_key="short", debug=True)
    for done in await asyncio.gather(*(fluentpro(exposed, name) for name in ("web", "relay", "worker", "migrate"))):
        assert (done.returncode, done.stdout) == (1, "")
        assert {"FLUENTPRO_SECRET_KEY", "FLUENTPRO_DEBUG", "FLUENTPRO_PUBLIC_URL"} <= set(done.stderr.replace(":", "").split())


async def test_a_port_that_is_taken_ends_the_web_process(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = await fluentpro(msgspec.structs.replace(settings, port=taken.getsockname()[1]), "web")
    assert done.returncode > 0
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


async def test_without_redis_everything_stays_up_gives_positions_and_stops_in_time(settings: Settings, house: House, start: Start) -> None:
    alone = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    relay, worker = start("relay", redis_url=alone.redis_url), start("worker", redis_url=alone.redis_url)
    await house.bus.execute(Registrations.build(), by=ANONYMOUS)
    async with web(alone) as process, process.client() as client:
        assert (await client.get("/health/ready")).status_code == 200
        for one in (relay, worker):
            await one.says("waiting")

        async def numbered() -> bool:
            return await value(house, "SELECT count(*) = 1 FROM feed")

        await eventually(numbered, "the event has a position")
        took = await asyncio.gather(*(one.stop() for one in (relay, worker, process)))
    assert (max(took) < SOON, relay.exit_code, worker.exit_code) == (True, 0, 0), took
    for one in (relay, process):
        assert "Traceback" not in one.said()


async def test_without_postgresql_relay_and_worker_wait_for_it_and_stop_in_time(start: Start) -> None:
    gone = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    both = [await start(name, database_url=gone).says("waiting") for name in ("relay", "worker")]
    took = await asyncio.gather(*(one.stop() for one in both))
    assert (max(took) < SOON, [one.exit_code for one in both]) == (True, [0, 0]), took


async def test_an_interrupt_from_the_keyboard_is_as_good_as_a_termination(start: Start) -> None:
    relay, worker = await start("relay").says("leading"), await start("worker").says("reading")
    took = await asyncio.gather(*(one.stop(number=signal.SIGINT) for one in (relay, worker)))
    assert (max(took) < SOON, relay.exit_code, worker.exit_code) == (True, 0, 0), took
    for one in (relay, worker):
        assert "stopping" in one.said()
        assert "Traceback" not in one.said()
