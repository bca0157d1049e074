"""Conversations over server-sent events, through real processes."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from bus.message import SYSTEM
from domain.accounts.commands import EnsureSigningKey
from domain.practice.commands import SeedScenarios
from tests.app.client import Feed, Person, Sent, Start, Web, running, sign_up, web
from tests.support import value

CONVERSATIONS = "/api/v2/conversations"
SCENARIO = "real_estate_negotiations"


@pytest.fixture
async def processes(settings: Settings, house: House) -> AsyncGenerator[tuple[Web, Start]]:
    """Web, relay and worker, with scenarios."""
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    async with running(settings) as start, web(settings) as serving:
        await start("relay").says("leading")
        await start("worker").says("reading")
        yield serving, start


async def started(client: httpx.AsyncClient, person: Person, **settings: str) -> str:
    answer = await client.post(CONVERSATIONS, json={"scenario": SCENARIO, "settings": settings}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


@asynccontextmanager
async def told(client: httpx.AsyncClient, person: Person, home: str, last: str | None = None) -> AsyncGenerator[Feed]:
    headers = {**person.headers, **({} if last is None else {"Last-Event-ID": last})}
    async with client.stream("GET", f"{home}/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Feed(response)


async def until(feed: Feed, name: str) -> list[Sent]:
    """Every event up to the first of this name."""
    found: list[Sent] = []
    while not found or found[-1].event != name:
        sent = await feed.event()
        assert sent is not None, f"the stream ended before {name}"
        found.append(sent)
    return found


def text_of(events: list[Sent]) -> str:
    return "".join(str(data(one)["text"]) for one in events if one.event == "practice.delta")


def data(sent: Sent) -> dict[str, Any]:
    return sent.data["data"]


async def test_an_answer_comes_word_by_word_and_a_reader_may_come_back(processes: tuple[Web, Start]) -> None:
    serving, _ = processes
    async with serving.client() as client:
        person = await sign_up(client)
        home = await started(client, person)
        async with told(client, person, home) as live:
            turn = await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
            assert (turn.status_code, turn.json()["data"]["stream"]) == (202, f"{home}/events")
            events = await until(live, "practice.feedback_given")
        names = [one.event for one in events]
        assert names[:3] == ["practice.turn_accepted", "practice.attempt_started", "practice.delta"]
        assert names[-2:] == ["practice.turn_completed", "practice.feedback_given"]
        assert text_of(events) == data(events[-2])["text"]
        assert data(events[0])["text"] == "Could we talk about the price first?"
        numbers = [one.fields["id"] for one in events]
        assert numbers == [f"1.{n}" for n in range(2, len(events) + 2)]
        async with told(client, person, home, "0") as again:
            everything = await until(again, "practice.feedback_given")
        assert (everything[0].event, everything[1:]) == ("practice.conversation_started", events)
        async with told(client, person, home, numbers[3]) as again:
            assert await until(again, "practice.feedback_given") == events[4:]


async def test_a_worker_that_stops_hands_its_answer_over_at_once(settings: Settings, house: House) -> None:
    """Not after its lease, which is longer than anybody here waits."""
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    slow = msgspec.structs.replace(settings, scripted_pace=0.2, turn_lease=120.0)
    async with running(slow) as start, web(slow) as serving, serving.client() as client:
        first, second = await start("worker").says("reading"), await start("worker").says("reading")
        person = await sign_up(client)
        home = await started(client, person)
        async with told(client, person, home) as live:
            await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
            await until(live, "practice.delta")
            driving = await value(house, "SELECT count(*) FROM conversations WHERE phase = 'running'")
            assert driving == 1
            await first.stop()
            again = start("worker", scripted_pace=0.0)
            await second.stop()
            events = await until(live, "practice.turn_completed")
            assert again.exit_code is None
        restarted = [data(one) for one in events if one.event == "practice.attempt_restarted"]
        assert [one["reason"] for one in restarted] in (["worker_lost"], ["worker_lost", "worker_lost"])
        last = data(events[-1])
        assert text_of([one for one in events if one.event == "practice.delta" and data(one)["attempt"] == last["attempt"]]) == last["text"]


async def test_another_device_stops_an_answer_at_once(settings: Settings, house: House) -> None:
    """Within half a second on a machine that does nothing else; tests share theirs."""
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    slow = msgspec.structs.replace(settings, scripted_pace=0.3)
    async with running(slow) as start, web(slow) as serving, serving.client() as client:
        await start("worker").says("reading")
        person = await sign_up(client)
        home = await started(client, person)
        async with told(client, person, home) as live:
            await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
            shown = await until(live, "practice.delta")
            asked = time.monotonic()
            stopped = await client.post(f"{home}/stop", headers=person.headers)
            shown += await until(live, "practice.turn_stopped")
            assert time.monotonic() - asked < 5
        assert (stopped.status_code, data(shown[-1])["text"]) == (200, text_of(shown))
        found = (await client.get(home, headers=person.headers)).json()["data"]
        assert [(turn["status"], turn["answer"]) for turn in found["turns"]] == [("stopped", text_of(shown))]


async def test_an_id_that_cannot_be_resumed_is_answered_with_a_reset(house: House, settings: Settings) -> None:
    """After a restore of the database numbers are given twice: nothing of the old ones is taken for the new."""
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    async with web(settings) as serving, serving.client() as client:
        person = await sign_up(client)
        home = await started(client, person)
        async with house.database.driver() as driver:
            await driver.execute("UPDATE stream_generation SET generation = generation + 1")
            generation = await driver.fetchval("SELECT generation FROM stream_generation")
        for foreign in (f"{generation - 1}.1", f"{generation}.2", "1", "x.y", f"{generation}.{'9' * 30}"):
            async with told(client, person, home, foreign) as live:
                sent = await live.event()
                assert sent is not None
                assert (sent.event, sent.data) == ("stream.reset", {"read": home, "position": f"{generation}.1"}), foreign
        async with told(client, person, home, f"{generation}.0") as live:
            sent = await live.event()
            assert sent is not None
            assert (sent.event, sent.fields["id"]) == ("practice.conversation_started", f"{generation}.1")
        async with house.database.driver() as driver:
            await driver.execute("UPDATE stream_generation SET generation = 1")


async def test_what_happened_has_one_time_wherever_it_is_told(processes: tuple[Web, Start]) -> None:
    """In the stream, the list, the versions, and as an `at` that answers with what was then."""
    serving, _ = processes
    async with serving.client() as client:
        person = await sign_up(client)
        begun = await client.post(CONVERSATIONS, json={"scenario": SCENARIO}, headers=person.headers)
        home, created = begun.headers["Location"], begun.json()["data"]["created_at"]
        async with told(client, person, home, "0") as live:
            await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
            events = [sent.data for sent in await until(live, "practice.feedback_given") if sent.data["version"] is not None]
        versions = (await client.get(f"{home}/versions", headers=person.headers)).json()["data"]
        assert [(one["version"], one["at"]) for one in versions] == [(one["version"], one["occurred_at"]) for one in events]
        assert versions[0]["at"] == created
        for one in versions:
            then = await client.get(home, params={"at": one["at"]}, headers=person.headers)
            assert then.json()["data"]["version"] == max(other["version"] for other in versions if other["at"] == one["at"])
        [listed] = (await client.get(CONVERSATIONS, headers=person.headers)).json()["data"]
        now = (await client.get(home, headers=person.headers)).json()["data"]
        assert (now["created_at"], now["updated_at"]) == (listed["created_at"], listed["updated_at"]) == (created, versions[-1]["at"])


async def test_while_redis_is_away_answers_go_on_and_are_read_from_the_database(settings: Settings, house: House) -> None:
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    alone = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with running(alone) as start, web(alone) as serving, serving.client() as client:
        await start("worker").says("waiting")
        person = await sign_up(client)
        home = await started(client, person)
        async with told(client, person, home) as live:
            await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
            events = await until(live, "practice.turn_completed")
        assert text_of(events) == data(events[-1])["text"]


@pytest.mark.parametrize("anew", [False, True], ids=["without a key", "with another key"])
async def test_who_reads_while_it_is_erased_is_sent_away_and_finds_nothing(settings: Settings, house: House, *, anew: bool) -> None:
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    async with web(settings) as serving, serving.client() as client:
        person = await sign_up(client)
        home = await started(client, person)
        turn = await client.post(f"{home}/turns", json={"text": "Could we talk about the price first?"}, headers=person.headers)
        assert turn.status_code == 202
        async with told(client, person, home) as live:
            await value(house, "DELETE FROM personal_keys WHERE account = $1 RETURNING account", person.id)
            if anew:
                await started(client, person)
            await house.turns().settled()
            assert [one.event for one in await until(live, "stream.reconnect")] == ["stream.reconnect"]
            assert await live.event() is None
        assert (await client.get(f"{home}/events", headers=person.headers)).status_code == 404
