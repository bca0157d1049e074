"""Redis has given an entry to a worker that never got it, because the answer was lost; nothing died that anybody could notice."""

from collections.abc import AsyncGenerator

import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.kills.support import Stranger, Target, at_rest, reported_once, target, tell


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield await relay.ready()


@pytest.fixture(scope="module")
async def worker(town: Settings, relay: Target) -> AsyncGenerator[Target]:  # noqa: ARG001 - runs as well
    async with target("worker", town) as worker:
        yield await worker.ready()


@pytest.mark.parametrize("later", [["two"], []])
@pytest.mark.parametrize("reaction", ["kills.keep", "kills.follow"])
async def test_an_entry_whose_delivery_was_lost_is_handled_in_its_order(
    worker: Target, house: House, stranger: Stranger, reaction: str, later: list[str]
) -> None:
    topic = f"{reaction} {len(later)}"
    held = worker.redis.hold_answer(f"XREADGROUP\r\n$5\r\nGROUP\r\n${len(reaction)}\r\n{reaction}\r\n", having=topic)
    await tell(house, topic, "one")
    await held.reached()
    await tell(house, topic, *later)
    held.lose()
    await at_rest(house, stranger)
    await reported_once(house, stranger, topic, ["one", *later])
