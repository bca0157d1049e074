"""WebSockets of web processes as they ship, with the relay and the partners in this process."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from app.bootstrap import House
from app.settings import Settings
from db.practice.log import DELTA
from tests.app.client import LOG_IN, ME, PASSWORD, Feed, Person, Web, eventually, sign_up, web
from tests.app.sockets import CONVERSATIONS, FEED, Message, Served, answering, opened, served, socket_of, started, ticket
from tests.app.test_feed import resident
from tests.conftest import Seed
from tests.support import rows, value

SAID = "We would like a discount of five per cent, because she work with you for years."


@pytest.fixture
async def source(settings: Settings, seed: Seed) -> AsyncGenerator[House]:
    async with answering(settings) as house:
        await seed(house)
        yield house


@pytest.fixture
async def server(settings: Settings, source: House) -> AsyncGenerator[Served]:  # noqa: ARG001 - there must be a key
    async with served(settings) as server:
        yield server


@pytest.fixture
async def process(settings: Settings, source: House) -> AsyncGenerator[Web]:  # noqa: ARG001 - the same
    async with web(msgspec.structs.replace(settings, socket_patience=1.0)) as process:
        yield process


@pytest.fixture
async def client(server: Served) -> AsyncGenerator[httpx.AsyncClient]:
    async with server.client() as client:
        yield client


@pytest.fixture
async def remote(process: Web) -> AsyncGenerator[httpx.AsyncClient]:
    async with process.client() as client:
        yield client


def ids(messages: list[Message]) -> list[str]:
    return [message["id"] for message in messages]


async def logged(house: House, conversation: str) -> list[str]:
    """The ids of everything that is in the log."""
    found = await rows(house, "SELECT n FROM conversation_log WHERE conversation = $1 ORDER BY n", UUID(conversation))
    return [f"1.{row['n']}" for row in found]


async def over_sse(client: httpx.AsyncClient, person: Person, conversation: str, number: int) -> list[dict[str, Any]]:
    headers = {**person.headers, "Last-Event-ID": "0"}
    async with client.stream("GET", f"{CONVERSATIONS}/{conversation}/events", headers=headers) as response:
        feed = Feed(response)
        return [event.data for event in [await feed.event() for _ in range(number)] if event is not None]


async def test_a_turn_is_said_and_answered_over_one_socket_and_every_device_is_told_the_same(
    client: httpx.AsyncClient, server: Served, source: House
) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    async with opened(server, socket_of(conversation), ada) as desk, opened(server, socket_of(conversation)) as phone:
        assert await phone.ask("authenticate", ticket=await ticket(client, ada)) == {"type": "ack", "id": "m1", "data": {}}
        for device in (desk, phone):
            assert (await device.ask("resume", last_event_id="0"))["data"] == {"last_event_id": "1.0"}
        accepted = await phone.ask("turn", text=SAID)
        assert accepted["type"] == "ack", accepted
        assert accepted["data"]["stream"] == f"{CONVERSATIONS}/{conversation}/events"
        told = [await device.until("practice.turn_completed") for device in (desk, phone)]
    assert told[0] == told[1]
    assert ids(told[0]) == (await logged(source, conversation))[: len(told[0])]
    assert told[0] == await over_sse(client, ada, conversation, len(told[0]))
    names = [message["type"] for message in told[0]]
    assert names[:4] == ["practice.conversation_started", "practice.turn_accepted", "practice.attempt_started", DELTA]
    assert "".join(message["data"]["text"] for message in told[0] if message["type"] == DELTA) == told[0][-1]["data"]["text"]
    assert told[0][1]["data"]["turn"] == accepted["data"]["turn_id"]


async def test_what_is_asked_is_done_once_with_a_key_and_every_action_is_there(client: httpx.AsyncClient, server: Served) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    async with opened(server, socket_of(conversation), ada) as first:
        said = await first.ask("turn", text=SAID, idempotency_key="turn 1")
        await first.until("practice.turn_completed")
    async with opened(server, socket_of(conversation), ada) as device:
        await device.ask("draft", text="And what")
        assert (await device.ask("turn", text=SAID, idempotency_key="turn 1"))["data"] == said["data"]
        draft = await client.get(f"{CONVERSATIONS}/{conversation}/draft", headers=ada.headers)
        assert draft.json()["data"]["text"] == "And what"
        assert (await device.ask("turn", text="No.", idempotency_key="turn 1"))["data"]["code"] == "request.idempotency_mismatch"
        assert (await device.ask("stop"))["data"]["code"] == "practice.nothing_to_stop"
        assert (await device.ask("undo"))["data"]["can_redo"] is True
        assert (await device.ask("redo"))["data"]["can_undo"] is True
        assert (await device.ask("retry"))["data"]["turn_id"] == said["data"]["turn_id"]
        await device.until("practice.turn_completed")
        assert (await device.ask("end"))["data"]["phase"] == "idle"
        assert [one["type"] for one in await device.until("practice.scene_ended")][-1:] == ["practice.scene_ended"]
        assert (await device.ask("ping"))["type"] == "ack"
    read = (await client.get(f"{CONVERSATIONS}/{conversation}", headers=ada.headers)).json()["data"]
    assert (len(read["turns"]), read["ended"]) == (1, "learner")


async def test_whatever_cannot_be_understood_is_answered_with_an_error_and_the_socket_stays(
    client: httpx.AsyncClient, server: Served
) -> None:
    ada = await sign_up(client)
    async with opened(server, socket_of(await started(client, ada)), ada) as device:
        for text, code, number in (
            ("{", "request.malformed_json", None),
            ("", "request.malformed_json", None),
            ("[]", "request.invalid", None),
            ('{"type": "dance", "id": 7}', "socket.unknown_message", 7),
            ('{"type": "turn", "id": "a", "data": {"text": "", "mood": 1}}', "request.invalid", "a"),
            ('{"type": "ping", "id": "b", "more": 1}', "request.invalid", "b"),
            ('{"type": "stop", "id": "c"}', "practice.nothing_to_stop", "c"),
            ('{"type": "authenticate", "id": "d", "data": {"ticket": "x"}}', "socket.already_authenticated", "d"),
            ('{"id": {"a": 1}}', "request.invalid", None),
            (b"{}", "socket.not_text", None),
        ):
            await device.raw(text)
            error = await device.next()
            assert (error["type"], error["data"]["code"], error.get("id")) == ("error", code, number), text
            assert {"code", "title", "detail"} <= set(error["data"])
        wrong = await device.ask("turn", text="", mood=1)
        assert {error["field"]: error["code"] for error in wrong["data"]["errors"]} == {"/data/text": "too_short", "/data/mood": "unknown"}
        for data, field in (({"text": "  "}, "/data/text"), ({"text": SAID, "idempotency_key": "a\n"}, "/data/idempotency_key")):
            assert [error["field"] for error in (await device.ask("turn", **data))["data"]["errors"]] == [field]
        await device.send("ping")
        assert (await device.ask("ping"))["type"] == "ack"
        assert device.kept() == []


async def test_a_message_that_is_not_utf8_ends_its_socket_and_is_no_failure_of_ours(remote: httpx.AsyncClient, process: Web) -> None:
    ada = await sign_up(remote)
    async with opened(process, FEED, ada) as device:
        await device.connection.send(b'{"type": "\xff"}', text=True)
        assert await device.closed() == (1007, "not UTF-8")
    assert "Traceback" not in process.said()


async def test_a_ticket_opens_one_socket_once(client: httpx.AsyncClient, server: Served, source: House) -> None:
    ada = await sign_up(client)
    good = await ticket(client, ada)
    await value(source, "UPDATE accounts SET admin = true WHERE id = $1", ada.id)
    foreign = await ticket(client, ada, "admin_jobs")
    async with opened(server, FEED) as device:
        before = await device.ask("ping")
        assert (before["type"], before["data"]["code"]) == ("error", "auth.required")
        assert (await device.ask("authenticate", ticket=""))["data"]["code"] == "request.invalid"
        assert (await device.ask("authenticate", ticket=good))["type"] == "ack"
    for wrong in (good, foreign, "made up"):
        async with opened(server, FEED) as device:
            assert (await device.ask("authenticate", ticket=wrong))["data"]["code"] == "accounts.ticket_refused"
            assert await device.closed() == (4001, "accounts.ticket_refused")


async def test_who_does_not_authenticate_or_may_not_is_told_so_by_the_code(client: httpx.AsyncClient, server: Served) -> None:
    ada, bob = await sign_up(client), await sign_up(client, email="bob@example.com")
    conversation = await started(client, ada)
    forged = msgspec.structs.replace(ada, token="forged")
    foreign = {"Origin": "https://elsewhere.example"}
    began = time.monotonic()
    async with opened(server, FEED) as silent:
        for path, person, headers, code in (
            (FEED, forged, {}, 4001),
            (FEED, ada, foreign, 4003),
            (FEED, ada, {"Sec-Fetch-Site": "cross-site"}, 4003),
            (socket_of(conversation), bob, {}, 4004),
            (socket_of(str(uuid4())), ada, {}, 4004),
            (socket_of("nonsense"), ada, {}, 4004),
        ):
            async with opened(server, path, person, **headers) as device:
                assert (await device.closed())[0] == code, path
        async with opened(server, FEED, ada, Origin=server.base) as device:
            assert (await device.ask("ping"))["type"] == "ack"
        assert await silent.closed() == (4001, "nobody authenticated in time")
    assert 4.5 < time.monotonic() - began < 30


async def test_an_ended_session_closes_its_sockets_within_a_second_and_no_others(
    client: httpx.AsyncClient, server: Served, source: House
) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    signed_in = await client.post(LOG_IN, json={"email": "ada@example.com", "password": PASSWORD})
    other = Person(id=ada.id, token=signed_in.json()["data"]["tokens"]["access_token"])
    async with (
        opened(server, FEED, ada) as feed,
        opened(server, socket_of(conversation)) as talk,
        opened(server, socket_of(conversation), other) as spared,
    ):
        await talk.ask("authenticate", ticket=await ticket(client, ada))
        for device in (feed, talk, spared):
            await device.ask("ping")
        await value(
            source,
            "UPDATE sessions SET ended_at = now() WHERE id = (SELECT id FROM sessions WHERE account = $1 ORDER BY started_at LIMIT 1)",
            ada.id,
        )
        ended = time.monotonic()
        assert [await device.closed() for device in (feed, talk)] == [(4009, "session ended")] * 2
        assert time.monotonic() - ended < 5
        assert (await spared.ask("ping"))["type"] == "ack"
    async with opened(server, FEED, ada) as late:
        assert await late.closed() == (4009, "accounts.session_ended")


async def test_a_socket_that_was_opened_with_a_token_ends_with_it(settings: Settings, source: House) -> None:  # noqa: ARG001 - there must be a key
    short = msgspec.structs.replace(settings, access_token_seconds=2)
    async with served(short) as server, server.client() as client:
        ada = await sign_up(client)
        passed = await ticket(client, ada)
        async with opened(server, FEED, ada) as device, opened(server, FEED) as lasting:
            await lasting.ask("authenticate", ticket=passed)
            assert await device.closed() == (4001, "the token has expired")
            assert (await lasting.ask("ping"))["type"] == "ack"


async def test_a_flood_of_messages_closes_the_socket_that_sends_it(client: httpx.AsyncClient, server: Served) -> None:
    ada = await sign_up(client)
    async with opened(server, FEED, ada) as flooding, opened(server, FEED, ada) as calm:
        for number in range(200):
            await flooding.send("ping", number)
        code, _ = await flooding.closed()
        assert code == 4029
        acks = [message for message in flooding.kept() if message["type"] == "ack"]
        assert 40 <= len(acks) < 100
        assert (await calm.ask("ping"))["type"] == "ack"
        await calm.raw("x" * 70_000)
        assert (await calm.closed())[0] == 1009


async def filled(house: House, ada: Person, conversation: str, number: int, size: int = 2000) -> None:
    """So many large pieces more, sealed under the learner's key as a worker would."""
    wrapped = await house.reads.practice.wrapped_key(ada.id)
    assert wrapped is not None
    piece = house.vault.opened(wrapped).seal("x" * size).sealed
    await value(
        house,
        "WITH moved AS (UPDATE conversations SET n = n + $2 WHERE id = $1 RETURNING n) "
        "INSERT INTO conversation_log (conversation, n, at, name, turn, attempt, data) "
        "SELECT $1, moved.n - $2 + g, $3, $4, gen_random_uuid(), 1, $5 FROM moved, generate_series(1, $2) g",
        UUID(conversation), number, datetime.now(UTC), DELTA, piece,
    )  # fmt: skip


async def test_a_client_that_does_not_read_is_closed_and_grows_nothing(remote: httpx.AsyncClient, process: Web, source: House) -> None:
    ada = await sign_up(remote)
    conversation = await started(remote, ada)
    await filled(source, ada, conversation, 6000)
    async with opened(process, socket_of(conversation), ada) as reading:
        await reading.ask("resume", last_event_id="0")
        for _ in range(1000):
            await reading.next()
    before = resident(process.pid)
    stalled = [await stalling(process, ada, socket_of(conversation)) for _ in range(6)]
    try:
        await eventually(lambda: process.said().count("too slow") >= 6, "all are closed", 30)
        grown = resident(process.pid) - before
    finally:
        for one in stalled:
            one.close()
    # Six times 12 MB wait for them.
    assert grown < 20_000_000, f"grown by {grown} bytes"
    async with opened(process, socket_of(conversation), ada) as reading:
        assert (await reading.ask("ping"))["type"] == "ack"


async def stalling(process: Web, ada: Person, path: str) -> socket.socket:
    """A client that asks for everything and reads nothing of it."""
    connection = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", process.settings.port))
    connection.sendall(
        (
            f"GET {path}?last_event_id=0 HTTP/1.1\r\nHost: door\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {ada.token}\r\n\r\n"
        ).encode()
    )
    return connection


async def test_a_client_that_begins_to_read_in_time_is_told_that_it_was_too_slow(
    remote: httpx.AsyncClient, process: Web, source: House
) -> None:
    ada = await sign_up(remote)
    conversation = await started(remote, ada)
    await filled(source, ada, conversation, 6000)
    async with opened(process, f"{socket_of(conversation)}?last_event_id=0", ada) as slow:
        await eventually(lambda: "too slow" in process.said(), "it is closed", 20)
        assert await slow.closed() == (4008, "too slow")
        got = ids(slow.kept())
    assert got == [f"1.{n}" for n in range(1, len(got) + 1)]
    async with opened(process, f"{socket_of(conversation)}?last_event_id={got[-1]}", ada) as again:
        assert (await again.next())["id"] == f"1.{len(got) + 1}"


async def test_a_stop_closes_with_restarting_and_a_client_goes_on_without_a_gap(
    remote: httpx.AsyncClient, process: Web, source: House
) -> None:
    ada = await sign_up(remote)
    conversation = await started(remote, ada)
    own = msgspec.structs.replace(process.settings)
    async with opened(process, f"{socket_of(conversation)}?last_event_id=0", ada) as device, opened(process, FEED, ada) as feed:
        await device.ask("turn", text=SAID)
        had = [await device.next() for _ in range(5)]
        await feed.ask("ping")
        stopping = asyncio.create_task(process.stop())
        assert [(await one.closed())[0] for one in (device, feed)] == [1012] * 2
        assert await stopping < 2
    assert "Traceback" not in process.said()
    async with web(own) as again:
        async with opened(again, socket_of(conversation), ada) as device:
            await device.ask("resume", last_event_id=had[-1]["id"])
            rest = await device.until("practice.turn_completed")
        assert ids(had + rest) == (await logged(source, conversation))[: len(had + rest)]


async def test_a_killed_web_process_costs_a_client_nothing_but_a_new_connection(
    remote: httpx.AsyncClient, process: Web, source: House
) -> None:
    ada = await sign_up(remote)
    conversation = await started(remote, ada)
    async with opened(process, f"{socket_of(conversation)}?last_event_id=0", ada) as device:
        await device.ask("turn", text=SAID)
        had = [await device.next() for _ in range(4)]
        await process.kill()
    async with web(process.settings) as again, opened(again, f"{socket_of(conversation)}?last_event_id={had[-1]['id']}", ada) as device:
        rest = await device.until("practice.turn_completed")
    assert ids(had + rest) == (await logged(source, conversation))[: len(had + rest)]


async def test_a_resume_takes_a_socket_back_and_forth_and_an_id_of_elsewhere_resets_it(client: httpx.AsyncClient, server: Served) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    async with opened(server, socket_of(conversation), ada) as device:
        await device.ask("turn", text=SAID)
        told = await device.until("practice.turn_completed")
        assert (await device.ask("resume", last_event_id=told[1]["id"]))["data"] == {"last_event_id": told[1]["id"]}
        assert await device.until("practice.turn_completed") == told[2:]
        for wrong in ("7.1", "1.99999", "nonsense"):
            assert (await device.ask("resume", last_event_id=wrong))["type"] == "ack"
            reset = await device.next()
            assert (reset["type"], "id" in reset) == ("stream.reset", False)
            assert reset["data"] == {"read": f"{CONVERSATIONS}/{conversation}", "position": told[-1]["id"]}
        assert (await device.ask("resume", last_event_id=None))["data"] == {"last_event_id": told[-1]["id"]}
    async with opened(server, f"{socket_of(conversation)}?last_event_id=", ada) as device:
        await device.ask("undo")
        assert [message["type"] for message in await device.until("practice.undone")] == ["practice.undone"]


async def test_nothing_of_before_comes_after_the_answer_to_a_resume(client: httpx.AsyncClient, server: Served, source: House) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    # One page of the log, and more than fits into the connection.
    await filled(source, ada, conversation, 450, size=40_000)
    [*_, last] = await logged(source, conversation)
    async with opened(server, socket_of(conversation), ada) as device:
        await device.ask("resume", last_event_id="0")
        assert (await device.ask("resume", last_event_id=last))["type"] == "ack"
        before = len(device.kept())
        assert ids(device.kept()) == [f"1.{n}" for n in range(1, before + 1)]
        assert before < 451
        await device.ask("turn", text=SAID)
        told = await device.until("practice.turn_completed")
        assert ids(told[before:]) == [f"1.{n}" for n in range(452, 452 + len(told) - before)]


async def test_a_socket_that_says_nothing_is_closed_in_time(settings: Settings, source: House) -> None:  # noqa: ARG001 - there must be a key
    async with served(msgspec.structs.replace(settings, socket_idle=3.0)) as server, server.client() as client:
        ada = await sign_up(client)
        async with opened(server, FEED, ada) as idle, opened(server, FEED, ada) as beating:
            began = time.monotonic()

            async def beat() -> None:
                while True:
                    await beating.connection.ping()
                    await asyncio.sleep(0.2)

            heart = asyncio.create_task(beat())
            assert await idle.closed() == (1000, "idle")
            assert time.monotonic() - began > 2.5
            await eventually(lambda: time.monotonic() > began + 4, "it has been silent for longer")
            assert (await beating.ask("ping"))["type"] == "ack"
            heart.cancel()


async def test_the_personal_feed_tells_over_a_socket_what_it_tells_over_events(client: httpx.AsyncClient, server: Served) -> None:
    ada = await sign_up(client)
    async with opened(server, FEED, ada) as device:
        assert (await device.ask("resume", last_event_id="0"))["data"] == {"last_event_id": "0"}
        registered = (await device.until("accounts.registered"))[-1]
        await client.patch(ME, json={"full_name": "Ada King"}, headers={**ada.headers, "If-Match": '"1"'})
        changed = (await device.until("accounts.profile_changed"))[-1]
    async with client.stream("GET", "/api/v2/events", headers={**ada.headers, "Last-Event-ID": "0"}) as response:
        feed = Feed(response)
        for message in (registered, changed):
            event = await feed.event()
            assert event is not None
            assert {**event.data, "id": str(event.id), "event_id": event.data["id"]} == message
    async with opened(server, FEED, ada) as device:
        await device.ask("resume", last_event_id=registered["id"])
        assert (await device.until("accounts.profile_changed"))[-1] == changed
        await device.ask("resume", last_event_id="999999")
        assert (await device.until("stream.reset"))[-1]["data"] == {"read": ME, "position": changed["id"]}


@pytest.mark.parametrize("anew", [False, True], ids=["without a key", "with another key"])
async def test_over_a_socket_too_what_was_erased_is_unknown(
    client: httpx.AsyncClient, server: Served, source: House, *, anew: bool
) -> None:
    ada = await sign_up(client)
    conversation = await started(client, ada)
    async with opened(server, socket_of(conversation), ada) as device:
        assert (await device.ask("draft", text="Could we"))["type"] == "ack"
        await rows(source, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", ada.id)
        if anew:
            await started(client, ada)
        for name, asked in (("turn", {"text": SAID}), ("draft", {"text": "Could we"}), ("undo", {}), ("resume", {"last_event_id": "0"})):
            answer = await device.ask(name, **asked)
            assert (answer["type"], answer["data"]["code"]) == ("error", "practice.unknown_conversation"), name
    async with opened(server, socket_of(conversation), ada) as device:
        assert await device.closed() == (4004, "practice.unknown_conversation")
