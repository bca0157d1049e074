"""The entries of one key in their order, through retries, kills, pauses, and with more than one worker."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import msgspec
import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.kills.support import PATIENCE, Stranger, Target, at_rest, eventually, reported_once, seen, target, tell
from tests.support import rows, value


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield relay


@pytest.fixture(scope="module")
async def workers(town: Settings, relay: Target) -> AsyncGenerator[tuple[Target, Target]]:
    """Two that never give up; the first reads what is ordered."""
    await relay.ready()
    patient = msgspec.structs.replace(town, reaction_tries=1000)
    async with target("worker", patient) as one:
        await one.process.says("kills.follow", PATIENCE)
        async with target("worker", patient) as other:
            yield one, await other.ready()


async def owed(house: House, topic: str) -> dict[str, int]:
    """What the ordered reaction owes of a topic, by state."""
    found = await rows(house, "SELECT state FROM deliveries WHERE reaction = 'kills.follow' AND key = $1", topic)
    return dict(Counter(row["state"] for row in found))


async def kept(house: House, topic: str, count: int) -> bool:
    return len(await seen(house, "keep", topic)) == count


async def test_a_leader_that_is_paused_in_an_entry_can_neither_repeat_it_nor_come_late(
    workers: tuple[Target, Target], house: House, stranger: Stranger
) -> None:
    one, other = workers
    held = one.database.hold("INSERT INTO kills_seen (reaction, topic, text) VALUES ('follow'")
    await tell(house, "paused", "one", "two", "three")
    await held.reached()
    one.pause()
    await eventually(lambda: "kills.follow" in other.process.said(), "the other one reads")
    await tell(house, "paused", "four")

    async def all_done() -> bool:
        return await seen(house, "follow", "paused") == ["one", "two", "three", "four"]

    await eventually(all_done, "the other one has done everything")
    one.wake()
    held.release()
    await tell(house, "paused", "five")
    await at_rest(house, stranger)
    await reported_once(house, stranger, "paused", ["one", "two", "three", "four", "five"])


async def test_entries_behind_one_that_fails_wait_for_it_whoever_is_killed_meanwhile(
    workers: tuple[Target, Target], house: House, stranger: Stranger
) -> None:
    await value(house, "INSERT INTO kills_faults (text) VALUES ('two')")
    await tell(house, "waiting", "one", "two", "three", "four")
    await tell(house, "another", "one")

    async def parked() -> bool:
        return await owed(house, "waiting") == {"waiting": 1, "parked": 2} and await seen(house, "follow", "another") == ["one"]

    await eventually(parked, "what follows is parked, and another key goes on")
    held = [worker.database.hold_answer("SELECT deadly FROM kills_faults") for worker in workers]
    caught = [asyncio.create_task(one.reached()) for one in held]
    await asyncio.wait(caught, return_when=asyncio.FIRST_COMPLETED)
    killed = workers[[task.done() for task in caught].index(True)]
    await killed.kill()
    await tell(house, "waiting", "five")
    await value(house, "DELETE FROM kills_faults")
    for task, one in zip(caught, held, strict=True):
        one.release()
        task.cancel()
    await asyncio.gather(*caught, return_exceptions=True)
    await killed.start_again()
    await at_rest(house, stranger)
    await reported_once(house, stranger, "waiting", ["one", "two", "three", "four", "five"])


async def test_entries_behind_a_dead_one_are_released_in_order_after_it(
    workers: tuple[Target, Target], house: House, stranger: Stranger
) -> None:
    await value(house, "INSERT INTO kills_faults (text, deadly) VALUES ('two', true)")
    await tell(house, "dead", "one", "two", "three")

    async def parked(count: int) -> bool:
        return await owed(house, "dead") == {"dead": 1, "parked": count}

    await eventually(lambda: parked(1), "what follows the dead one is parked")
    for worker in workers:
        await worker.kill()
    await tell(house, "dead", "four")
    await asyncio.gather(*(worker.start_again() for worker in workers))
    await eventually(lambda: parked(2), "what comes after the kill is parked as well")
    await eventually(lambda: kept(house, "dead", 4), "the reaction without an order has had everything")
    assert await seen(house, "follow", "dead") == ["one"]
    await value(house, "DELETE FROM kills_faults")
    await value(house, "UPDATE deliveries SET state = 'waiting', due = now(), tries = 0 WHERE state = 'dead'")
    await at_rest(house, stranger)
    await reported_once(house, stranger, "dead", ["one", "two", "three", "four"])
