"""What is away is waited for by those who need it, told to those who ask, and everything goes on by itself when it is back."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from uuid import uuid4

import httpx
import pytest

from app.bootstrap import House
from app.settings import Settings
from db.connection import connect
from db.migrate import upgrade
from tests.app.client import ME, SIGN_UP, Person, person, sign_up
from tests.app.processes import room
from tests.app.test_mail import SmtpServer
from tests.kills import area
from tests.kills.conftest import prepare
from tests.kills.servers import Servers, own_servers
from tests.kills.support import (
    PERSON,
    SHORT,
    Desk,
    Stranger,
    Target,
    at_rest,
    eventually,
    one_account_and_one_welcome,
    reported_once,
    seen,
    target,
    tell,
)
from tests.support import rows, value

SOON = 10.0
"""Seconds within which a request is answered while PostgreSQL is away, on a machine that has much else to do."""
POOL = 4


@pytest.fixture(scope="module")
def servers() -> Generator[Servers]:
    with room() as folder, own_servers(folder / "servers", postgres=True) as servers:
        yield servers


@pytest.fixture(scope="module")
async def town(servers: Servers, smtp: SmtpServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With a PostgreSQL and a Redis that only these tests use."""
    town = Settings(
        env="testing",
        data_dir=str(tmp_path_factory.mktemp("town")),
        database_url=servers.url("postgres"),
        redis_url=servers.url("valkey"),
        secret_key=uuid4().hex + uuid4().hex,
        smtp_url=f"smtp://127.0.0.1:{smtp.port}",
        auth_rate_burst=1000,
        database_pool=POOL,
        **SHORT,
    )
    await upgrade(town.database_url)
    await prepare(town)
    return town


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield await relay.ready()


@pytest.fixture(scope="module")
async def worker(town: Settings) -> AsyncGenerator[Target]:
    async with target("worker", town) as worker:
        yield worker


@pytest.fixture(scope="module")
async def web(town: Settings) -> AsyncGenerator[Target]:
    async with target("web", town) as web:
        yield await web.ready()


@pytest.fixture(scope="module")
async def running(relay: Target, worker: Target, web: Target) -> tuple[Target, ...]:
    """One of each, from the first test to the last: nobody starts them again."""
    return await relay.ready(), await worker.ready(), web


@pytest.fixture(autouse=True)
def _nobody_started_again(running: tuple[Target, ...]) -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - used by pytest
    yield
    assert [one.process.exit_code for one in running] == [None] * 3


async def test_a_reaction_whose_port_is_away_pauses_alone_and_resumes(house: House, stranger: Stranger, reception: Desk) -> None:
    desk = reception.port
    await reception.close()
    await tell(house, "away", "one", "two", call=desk)

    async def paused() -> bool:
        owed = await rows(house, "SELECT state, tries FROM deliveries WHERE reaction = 'kills.call'")
        return len(owed) == 2 and all((row["state"], row["tries"]) == ("waiting", 0) for row in owed)

    await eventually(paused, "it owes both, and has spent no try")
    await tell(house, "away", "three", call=desk)

    async def others_go_on() -> bool:
        return len(await seen(house, "follow", "away")) == len(await seen(house, "keep", "away")) == 3

    await eventually(others_go_on, "the other reactions have had everything")
    assert reception.asked == []
    await reception.serve()
    await at_rest(house, stranger)
    ids = [str(row["id"]) for row in await rows(house, "SELECT id FROM events WHERE key = 'away'")]
    assert sorted(reception.asked) == sorted(ids)
    await reported_once(house, stranger, "away", ["one", "two", "three"])


async def test_without_redis_commands_are_answered_and_delivery_catches_up(
    servers: Servers, web: Target, house: House, stranger: Stranger, smtp: SmtpServer
) -> None:
    servers.kill("valkey")
    began = time.monotonic()
    async with web.web.client() as client:
        await sign_up(client, email="dark@example.com")
    assert time.monotonic() - began < SOON
    await tell(house, "dark", "one", "two")
    servers.start("valkey")
    await at_rest(house, stranger)
    await reported_once(house, stranger, "dark", ["one", "two"])
    await one_account_and_one_welcome(house, stranger, smtp, "dark@example.com")


async def test_while_postgresql_is_restarted_requests_fail_fast_and_nothing_of_ours_is_restarted(
    servers: Servers, web: Target, house: House, stranger: Stranger, smtp: SmtpServer
) -> None:
    async with web.web.client(timeout=2 * SOON) as client:
        ada = await sign_up(client, email="ada@example.com")
        assert await statuses(client, ada) == {200}
        await asyncio.to_thread(servers.stop, "postgres")
        began = time.monotonic()
        answers = await asyncio.gather(client.get(ME, headers=ada.headers), client.post(SIGN_UP, json=person(email="lost@example.com")))
        for answer in answers:
            assert (answer.status_code, int(answer.headers["Retry-After"]) >= 1) == (503, True), answer.text
            assert answer.json()["code"] == "service.database_unavailable"
        assert time.monotonic() - began < SOON
        await asyncio.to_thread(servers.start, "postgres")
        # At once: no connection that died in the pool costs anybody an answer.
        assert await statuses(client, ada) == {200}
        await sign_up(client, email="bob@example.com")
    await at_rest(house, stranger)
    assert await value(house, "SELECT count(*) FROM accounts WHERE email = 'lost@example.com'") == 0
    for email in ("ada@example.com", "bob@example.com"):
        await one_account_and_one_welcome(house, stranger, smtp, email)


async def statuses(client: httpx.AsyncClient, who: Person) -> set[int]:
    """Of so many requests at once that every connection of the pool is used."""
    answers = await asyncio.gather(*(client.get(ME, headers=who.headers) for _ in range(5 * POOL)))
    return {answer.status_code for answer in answers}


@pytest.mark.parametrize("gone", ["group", "stream"])
async def test_a_reader_whose_group_or_stream_was_deleted_begins_again(house: House, stranger: Stranger, gone: str) -> None:
    await tell(house, gone, "one")
    await at_rest(house, stranger)
    if gone == "group":
        stranger.redis.xgroup_destroy("events.kills", "kills.follow")
        stranger.redis.xgroup_destroy("events.kills", "kills.keep")
    else:
        stranger.redis.delete("events.kills")
    await tell(house, gone, "two")
    await at_rest(house, stranger)
    await reported_once(house, stranger, gone, ["one", "two"])


async def test_a_flood_opens_no_more_connections_than_the_settings_say(
    servers: Servers, web: Target, house: House, stranger: Stranger
) -> None:
    ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    # Each process has its pool and one connection that rings, the relay also one that listens. This process is one of them.
    most = 4 * (POOL + 1) + 1
    counted: list[int] = []
    connection = await connect(servers.url("postgres"))

    async def count() -> None:
        while True:
            counted.append(await connection.fetchval(ours))
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    async with web.web.client(timeout=60) as client:
        ada = await sign_up(client, email="flood@example.com")
        asked = [client.get(ME, headers=ada.headers) for _ in range(300)]
        commands = [house.bus.execute(area.Report(topic=f"flood {n % 5}", text=str(n)), by=PERSON) for n in range(100)]
        answers = await asyncio.gather(*asked, *commands, return_exceptions=True)
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    await connection.close()
    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} <= {200, 503}
    await at_rest(house, stranger)
    assert POOL < max(counted) <= most
    assert await value(house, "SELECT count(*) FROM kills_notes WHERE topic LIKE 'flood%'") == sum(isinstance(one, int) for one in answers)
