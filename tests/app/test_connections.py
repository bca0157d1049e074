"""Who is connected: seen over all web processes, shown to admins and to a learner's other devices."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from app.bootstrap import House, Ports
from app.connections import Registry
from app.embedded import free_port
from app.settings import Settings
from tests.app.client import LOG_IN, PASSWORD, Person, eventually, sign_up, web
from tests.app.sockets import CONVERSATIONS, FEED, Served, answering, opened, served, socket_of, started
from tests.conftest import Seed
from tests.support import HandClock, value

CENSUS = "/api/v2/admin/connections"


@pytest.fixture
async def source(settings: Settings, seed: Seed) -> AsyncGenerator[House]:
    async with answering(settings) as house:
        await seed(house)
        yield house


@pytest.fixture
async def server(settings: Settings, source: House, clock: HandClock) -> AsyncGenerator[Served]:  # noqa: ARG001 - there must be a key
    async with served(settings, Ports(clock=clock)) as server:
        yield server


@pytest.fixture
async def client(server: Served) -> AsyncGenerator[httpx.AsyncClient]:
    async with server.client() as client:
        yield client


async def admin(client: httpx.AsyncClient, source: House) -> Person:
    person = await sign_up(client, email="operator@example.com")
    await value(source, "UPDATE accounts SET admin = true WHERE id = $1", person.id)
    return person


async def census(client: httpx.AsyncClient, admin: Person, **query: object) -> dict[str, Any]:
    answer = await client.get(CENSUS, params={name: str(value) for name, value in query.items()}, headers=admin.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def counted(client: httpx.AsyncClient, admin: Person, total: int, seconds: float = 10) -> dict[str, Any]:
    """The census, once there are so many connections."""

    async def found() -> dict[str, Any] | None:
        there = await census(client, admin)
        return there if there["meta"]["total"] == total else None

    return await eventually(found, f"{total} connections are seen", seconds)


async def test_every_connection_of_everybody_is_seen_while_it_is_open(
    client: httpx.AsyncClient, server: Served, source: House, clock: HandClock
) -> None:
    operator, ada, bob = await admin(client, source), await sign_up(client), await sign_up(client, email="bob@example.com")
    conversation = await started(client, ada)
    begun = clock()
    async with (
        opened(server, FEED, ada),
        opened(server, socket_of(conversation), ada),
        client.stream("GET", f"{CONVERSATIONS}/{conversation}/events", headers=ada.headers),
        client.stream("GET", "/api/v2/events", headers=bob.headers),
    ):
        seen = await counted(client, operator, 4)
        assert {name: seen["meta"][name] for name in ("total", "people", "average", "most")} == {
            "total": 4, "people": 2, "average": 2.0, "most": 3,
        }  # fmt: skip
        people = {person["account"]: person for person in seen["data"]}
        assert (people[str(ada.id)]["count"], people[str(bob.id)]["count"]) == (3, 1)
        found = people[str(ada.id)]["connections"]
        assert sorted((one["kind"], one["conversation"]) for one in found if one["conversation"]) == [
            ("sse", conversation), ("websocket", conversation),
        ]  # fmt: skip
        assert {one["connected_at"] for one in found} == {begun.isoformat().replace("+00:00", "Z")}
        pages = [await census(client, operator, limit=1)]
        pages.append(await census(client, operator, limit=1, cursor=pages[0]["meta"]["page"]["next_cursor"]))
        assert [person for page in pages for person in page["data"]] == seen["data"]
        assert pages[1]["meta"]["page"]["next_cursor"] is None
    assert (await counted(client, operator, 0))["data"] == []
    refused = await client.get(CENSUS, headers=ada.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "auth.denied")


async def test_what_a_killed_process_held_is_forgotten_by_itself(source: House, settings: Settings) -> None:
    short = msgspec.structs.replace(settings, connection_ttl=1.5)
    async with served(short) as server, server.client() as client:
        operator, ada = await admin(client, source), await sign_up(client)
        async with (
            web(msgspec.structs.replace(short, port=free_port())) as process,
            opened(process, FEED, ada),
            opened(server, FEED, ada) as stays,
        ):
            seen = await counted(client, operator, 2)
            assert len({one["process"] for one in seen["data"][0]["connections"]}) == 2
            # Told at once when it came, it is told of the other one then, or a moment later.
            while not (await stays.until("presence"))[-1]["data"]["devices"]:
                pass
            await process.kill()
            await counted(client, operator, 1)
            assert (await stays.until("presence"))[-1]["data"] == {"devices": []}
            await stays.ask("ping")

            async def active() -> bool:
                [person] = (await counted(client, operator, 1))["data"]
                [one] = person["connections"]
                return one["last_activity"] == person["last_activity"] > one["connected_at"]

            await eventually(active, "its process has spoken of it again")


async def test_a_learner_is_told_of_their_other_devices(client: httpx.AsyncClient, server: Served) -> None:
    ada, bob = await sign_up(client), await sign_up(client, email="bob@example.com")
    signed_in = await client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})
    phone = Person(id=ada.id, token=signed_in.json()["data"]["tokens"]["access_token"])
    conversation = await started(client, ada)
    async with opened(server, FEED, ada) as desk, opened(server, FEED, bob) as stranger:
        assert (await desk.until("presence"))[-1] == {"type": "presence", "data": {"devices": []}}
        async with opened(server, socket_of(conversation), phone):
            [device] = (await desk.until("presence"))[-1]["data"]["devices"]
            assert set(device) == {"id", "kind", "same_session", "connected_at", "last_activity", "conversation"}
            assert (device["kind"], device["same_session"], device["conversation"]) == ("websocket", False, conversation)
            async with opened(server, FEED, ada):
                both = (await desk.until("presence"))[-1]["data"]["devices"]
                assert sorted(one["same_session"] for one in both) == [False, True]
            assert (await desk.until("presence"))[-1]["data"]["devices"] == [device]
        assert (await desk.until("presence"))[-1]["data"] == {"devices": []}
        await stranger.ask("ping")
        assert [message["data"] for message in stranger.kept() if message["type"] == "presence"] == [{"devices": []}]


async def test_without_redis_connections_work_and_nobody_is_seen(settings: Settings, source: House) -> None:
    away = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with served(away) as server, server.client() as client:
        operator = await admin(client, source)
        conversation = await started(client, operator)
        async with opened(server, FEED, operator) as feed, opened(server, socket_of(conversation), operator) as talk:
            assert (await feed.ask("ping"))["type"] == "ack"
            assert (await talk.ask("resume", last_event_id="0"))["type"] == "ack"
            assert (await talk.next())["type"] == "practice.conversation_started"
            answer = await client.get(CENSUS, headers=operator.headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
            assert (await talk.ask("draft", text="Could we", position="1.1"))["data"]["code"] == "service.unavailable"
            assert (await talk.ask("turn", text="Could we talk about the price?"))["type"] == "ack"
            await talk.until("practice.turn_completed")


async def test_the_registry_counts_nobody_when_there_is_nobody(settings: Settings) -> None:
    registry = Registry(settings.redis_url, timedelta(seconds=30).total_seconds())
    try:
        found = await registry.everyone()
    finally:
        await registry.close()
    assert (found.total, found.most, found.average, found.people) == (0, 0, 0.0, {})
