"""What is said of the house to those who start, restart and route."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from app.bootstrap import Ports
from app.embedded import free_port
from app.settings import Settings
from bus.harness import Harness
from db import migrate
from tests.app.client import Door, door, empty_database, sign_up
from tests.support import HandClock, harness_of, value

# The two seconds that a check may take, and some for the answer around it.
BOUND = 2.7


@asynccontextmanager
async def silence() -> AsyncGenerator[int]:
    """A port where connections are accepted and nothing is ever answered."""
    done = asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1")
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def elsewhere(settings: Settings, what: str, port: int) -> Settings:
    urls = {"database_url": f"postgresql://nobody@127.0.0.1:{port}/none", "redis_url": f"redis://127.0.0.1:{port}/0"}
    return msgspec.structs.replace(settings, **{what: urls[what]})


async def status(door: Door, path: str) -> tuple[int, str, dict[str, str]]:
    answer = await door.client.get(f"/health/{path}")
    body = answer.json()
    return answer.status_code, body["status"], {name: check["status"] for name, check in body["checks"].items()}


async def test_a_house_in_order_is_alive_started_and_ready(door: Door) -> None:
    assert await status(door, "live") == (200, "ok", {})
    assert await status(door, "startup") == (200, "ok", {"database": "ok", "keys": "ok"})
    assert await status(door, "ready") == (200, "ok", {"database": "ok", "redis": "ok", "relay": "ok"})


async def test_without_the_database_it_is_alive_and_not_ready(settings: Settings) -> None:
    async with door(elsewhere(settings, "database_url", free_port()), seeded=False) as closed:
        assert await status(closed, "live") == (200, "ok", {})
        assert await status(closed, "startup") == (503, "unavailable", {"database": "unavailable", "keys": "degraded"})
        code, word, checks = await status(closed, "ready")
        assert (code, word, checks["database"], checks["redis"]) == (503, "unavailable", "unavailable", "ok")


async def test_a_database_that_lacks_a_migration_is_not_ready_and_the_answer_says_what_to_run(settings: Settings) -> None:
    async with empty_database(settings) as empty, door(empty, seeded=False) as closed:
        answer = await closed.client.get("/health/ready")
        assert answer.status_code == 503
        assert "fluentpro migrate" in answer.json()["checks"]["database"]["detail"]
        await migrate.upgrade(empty.database_url)
        assert (await status(closed, "ready"))[0] == 200
        assert await status(closed, "startup") == (200, "degraded", {"database": "ok", "keys": "degraded"})
        await value(closed.house, "UPDATE alembic_version SET version_num = 'of_a_newer_build'")
        assert (await status(closed, "ready"))[0] == 200


async def test_without_redis_it_serves_and_says_that_deliveries_are_late(settings: Settings) -> None:
    async with door(elsewhere(settings, "redis_url", free_port())) as served:
        assert await status(served, "ready") == (200, "degraded", {"database": "ok", "redis": "degraded", "relay": "ok"})


async def test_a_relay_that_does_not_run_is_noticed_by_what_waits_for_it(door: Door, clock: HandClock) -> None:
    harness: Harness = harness_of(door.house)
    await sign_up(door.client)
    clock.move(seconds=5)
    assert (await status(door, "ready"))[1] == "ok"
    clock.move(seconds=1)
    answer = await door.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["relay"]["detail"].startswith("1 events wait for the relay")
    await harness.settle()
    assert (await status(door, "ready"))[1] == "ok"


async def test_a_relay_that_is_late_is_noticed_beside_checkpoints_that_are_not_kept(door: Door, clock: HandClock) -> None:
    await sign_up(door.client)
    await value(
        door.house,
        "INSERT INTO seals (n, after, upto, hash, at, key, signature) VALUES (1, 0, 1, '', $1, '', '') RETURNING n",
        clock(),
    )
    clock.move(seconds=5)
    assert (await status(door, "ready"))[1] == "ok"
    clock.move(minutes=1)
    check = (await door.client.get("/health/ready")).json()["checks"]["relay"]
    assert check["status"] == "degraded"
    unkept, late = check["detail"].split("; ")
    assert unkept.startswith("1 checkpoints are in the database only")
    assert late.startswith("1 events wait for the relay")


@pytest.mark.parametrize(("what", "expected"), [("database_url", (503, "unavailable")), ("redis_url", (200, "degraded"))])
async def test_a_server_that_accepts_and_never_answers_is_waited_for_no_longer_than_two_seconds(
    settings: Settings, what: str, expected: tuple[int, str]
) -> None:
    async with silence() as port, door(elsewhere(settings, what, port), Ports(), seeded=what == "redis_url") as waiting:
        for path in ("startup", "ready"):
            began = time.monotonic()
            code, word, _ = await status(waiting, path)
            assert time.monotonic() - began < BOUND
            assert (code, word) == (expected if path == "ready" or what == "database_url" else (200, "ok"))
