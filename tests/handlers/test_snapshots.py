"""A conversation is folded from its last snapshot on, and is the same without one, with a damaged one, and with one that is too late."""

from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from db.practice.folding import fold, fold_whole
from domain.practice.model import Conversation
from tests.conftest import Seed
from tests.conversing import ASTRAY, GOOD, HaltingModel, Learner, scene_of, signed_up
from tests.support import HandClock, rows, value

EVERY = 6


class TickingClock(HandClock):
    """A millisecond passes with every look, as in real life: nothing happens at the time at which it was decided."""

    def __call__(self) -> Any:
        self.move(milliseconds=1)
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return TickingClock()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, snapshot_every=EVERY)


@pytest.fixture
async def house(settings: Settings, clock: HandClock, seed: Seed) -> AsyncGenerator[House]:
    async with open_house(settings, Ports(clock=clock, language_model=HaltingModel())) as house:
        await seed(house)
        yield house


@pytest.fixture
async def learner(house: House) -> Learner:
    return await signed_up(house, HaltingModel())


@pytest.fixture
async def scene(learner: Learner) -> UUID:
    """A scene of some turns, with feedback, that has been undone and redone."""
    scene = await learner.starts()
    await learner.talks(scene, ASTRAY, *GOOD[1:4])
    await learner.harness.settle()
    await learner.undoes(scene)
    await learner.redoes(scene)
    return scene


async def snapshots(house: House, scene: UUID) -> list[int]:
    found = await rows(house, "SELECT version FROM conversation_snapshots WHERE conversation = $1 ORDER BY version", scene)
    return [row["version"] for row in found]


def state_of(conversation: Conversation) -> dict[str, Any]:
    return msgspec.structs.asdict(conversation.state)


async def test_every_version_is_the_same_with_snapshots_and_without(house: House, learner: Learner, scene: UUID) -> None:
    assert len(await snapshots(house, scene)) >= 2
    whole = await house.reads.practice.history(scene, learner.account)
    async with house.database.driver() as driver:
        for version in range(1, len(whole) + 1):
            expected = state_of(Conversation.folded(whole[:version]))
            assert state_of(await fold(driver, scene, version)) == expected
            assert state_of(await fold_whole(driver, scene, version)) == expected
    assert len(whole) == (await learner.sees(scene)).version


async def test_few_events_are_folded_after_a_snapshot(house: House, scene: UUID) -> None:
    kept = await snapshots(house, scene)
    assert all(later - earlier >= EVERY for earlier, later in pairwise(kept))


@pytest.mark.parametrize("damage", ["state", "checksum"])
async def test_a_damaged_snapshot_is_noticed_and_made_anew(house: House, learner: Learner, scene: UUID, damage: str) -> None:
    before = await learner.sees(scene)
    last = (await snapshots(house, scene))[-1]
    damages = {
        # Still JSON, and still a state: only the checksum tells.
        "state": "state = convert_to(replace(convert_from(state, 'UTF8'), '\"level\":\"B1\"', '\"level\":\"C2\"'), 'UTF8')",
        "checksum": "checksum = sha256('')",
    }
    changed = f"UPDATE conversation_snapshots SET {damages[damage]} WHERE conversation = $1 AND version = $2 RETURNING version"  # noqa: S608 - from the line above
    assert await value(house, changed, scene, last) == last
    with structlog.testing.capture_logs() as logs:
        assert await learner.sees(scene) == before
    noticed = [(one["version"], one["log_level"]) for one in logs if one["event"] == "snapshot_damaged"]
    assert noticed == [(last, "warning")]
    assert last not in await snapshots(house, scene)
    await learner.says(scene, GOOD[4])
    made = await snapshots(house, scene)
    assert made[-1] > last
    assert await value(house, "SELECT checksum = sha256(state) FROM conversation_snapshots WHERE version = $1", made[-1]) is True


async def test_when_all_snapshots_are_damaged_the_events_are_folded(house: House, learner: Learner, scene: UUID) -> None:
    before = await learner.sees(scene)
    assert await rows(house, "UPDATE conversation_snapshots SET state = '{}' RETURNING version")
    assert await learner.sees(scene) == before
    assert await snapshots(house, scene) == []


async def test_a_snapshot_of_another_build_is_left_aside(house: House, learner: Learner, scene: UUID) -> None:
    before = await learner.sees(scene)
    foreign = 'UPDATE conversation_snapshots SET state = \'{"of": "another"}\', checksum = sha256(\'{"of": "another"}\') RETURNING version'
    assert await rows(house, foreign)
    assert await learner.sees(scene) == before


async def test_what_lies_before_the_last_snapshot_can_be_undone_and_redone(house: House, learner: Learner) -> None:
    scene = await learner.starts()
    seen = [scene_of(await learner.sees(scene))]
    for text in GOOD[:5]:
        await learner.talks(scene, text)
        seen.append(scene_of(await learner.sees(scene)))
    for before in reversed(seen[:-1]):
        await learner.undoes(scene)
        assert scene_of(await learner.sees(scene)) == before
    for after in seen[1:]:
        await learner.redoes(scene)
        assert scene_of(await learner.sees(scene)) == after
    assert len(await snapshots(house, scene)) >= 3


async def test_a_fork_has_snapshots_of_its_own(house: House, learner: Learner, scene: UUID) -> None:
    version = (await learner.sees(scene)).version
    fork = (await learner.forks(scene, version)).conversation
    await learner.talks(fork, GOOD[4], GOOD[5])
    assert min(await snapshots(house, fork)) > version
    for _ in range(6):
        await learner.undoes(fork)
    assert (await learner.sees(fork)).turns == ()
    whole = await house.reads.practice.history(fork, learner.account)
    async with house.database.driver() as driver:
        for at in range(1, len(whole) + 1):
            assert state_of(await fold(driver, fork, at)) == state_of(Conversation.folded(whole[:at]))
