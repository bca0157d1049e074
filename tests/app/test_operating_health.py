"""Health while the servers behind it are silent, locked, gone for a while, or of somebody else."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

from app.settings import Settings
from tests.app.client import Door, door, eventually

# The two seconds that a check may take, and some for the answer around it.
BOUND = 2.7


class Line:
    """A way to a server on which everything can be held up; nobody is disconnected by that."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._carriers: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()
        self.open.set()

    @asynccontextmanager
    async def leading(self) -> AsyncGenerator[str]:
        """The URL of this end."""
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield self._target._replace(netloc=f"{self._target.netloc.rpartition(':')[0]}:{port}").geturl()
        finally:
            server.close()
            for carrier in self._carriers:
                carrier.cancel()
            await asyncio.gather(*self._carriers, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._carriers |= {
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        }

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


async def asked(door: Door, path: str) -> tuple[int, dict[str, str]]:
    """The status, and what each check says."""
    began = time.monotonic()
    answer = await door.client.get(f"/health/{path}")
    assert time.monotonic() - began < BOUND
    return answer.status_code, {name: check["status"] for name, check in answer.json()["checks"].items()}


FINE = (200, {"database": "ok", "redis": "ok", "relay": "ok"})


@pytest.mark.parametrize(
    ("what", "silent"),
    [
        ("database_url", (503, {"database": "unavailable", "redis": "ok", "relay": "degraded"})),
        ("redis_url", (200, {"database": "ok", "redis": "degraded", "relay": "ok"})),
    ],
)
async def test_a_server_that_falls_silent_is_noticed_in_two_seconds_and_forgiven_when_it_speaks_again(
    settings: Settings, what: str, silent: tuple[int, dict[str, str]]
) -> None:
    line = Line(getattr(settings, what))
    async with line.leading() as url, door(msgspec.structs.replace(settings, **{what: url})) as served:
        assert await asked(served, "ready") == FINE
        line.open.clear()
        assert await asked(served, "ready") == silent
        assert await asyncio.gather(*(asked(served, "ready") for _ in range(3))) == [silent] * 3
        assert await asked(served, "live") == (200, {})
        line.open.set()

        async def forgiven() -> bool:
            return await asked(served, "ready") == FINE

        await eventually(forgiven, "it is ready again")


async def test_a_ledger_that_somebody_has_locked_is_late_and_not_gone(door: Door) -> None:
    async with door.house.database.transaction() as connection:
        await connection.exec_driver_sql("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        answer = await door.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["checks"]["relay"] == {"status": "degraded", "detail": "no answer within 2 s"}
    assert await asked(door, "ready") == FINE


@pytest.mark.parametrize("changed", ["database", "user"])
async def test_a_database_that_turns_us_away_is_as_good_as_none(settings: Settings, changed: str) -> None:
    there = urlsplit(settings.database_url)
    nobody = there._replace(netloc=f"nobody@{there.netloc.rpartition('@')[2]}") if changed == "user" else there._replace(path="/none")
    async with door(msgspec.structs.replace(settings, database_url=nobody.geturl()), seeded=False) as closed:
        assert await asked(closed, "startup") == (503, {"database": "unavailable", "keys": "degraded"})
        assert await asked(closed, "ready") == (503, {"database": "unavailable", "redis": "ok", "relay": "degraded"})


async def test_keys_of_another_secret_are_said_to_be_so(settings: Settings) -> None:
    async with door(settings) as seeded, door(msgspec.structs.replace(settings, secret_key=uuid4().hex), seeded=False) as other:
        assert await asked(seeded, "startup") == (200, {"database": "ok", "keys": "ok"})
        answer = await other.client.get("/health/startup")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "FLUENTPRO_SECRET_KEY" in answer.json()["checks"]["keys"]["detail"]
