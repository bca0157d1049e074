"""The relay seals the feed: how often, how much at once, fenced, and kept outside the database exactly once, whatever is in the way."""

import asyncio
import fcntl
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from app.bootstrap import House
from app.checkpoints import CheckpointFolder, is_signed, public_key, signed_text
from app.settings import Settings
from bus.harness import HandedOver
from bus.relay import STRETCH, Relay
from bus.work import Leader, LostLease, NotKept, Seal
from db.connection import connect
from db.ledger.seals import BEGINNING, chained, digest
from tests.bus.support import note
from tests.support import HandClock, value

MANY = """
WITH numbers AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, $1) AS n), recorded AS (
    INSERT INTO events (id, name, v, key, data, meta, at)
    SELECT id, 'sample.noted', 1, 'many', '{"topic":"many","text":""}',
        '{"actor":{"kind":"system"},"trace":{"correlation_id":"many"}}', now() FROM numbers
)
INSERT INTO outbox (id, kind) SELECT id, 'event' FROM numbers ORDER BY n
"""


@pytest.fixture
def relay(house: House) -> Relay:
    return house.relay(HandedOver())


@pytest.fixture
async def leader(relay: Relay) -> Leader:
    leader = await relay.lead()
    assert leader is not None
    return leader


@pytest.fixture
async def driver(settings: Settings) -> AsyncGenerator[Any]:
    connection = await connect(settings.database_url)
    yield connection
    await connection.close()


async def stored(house: House) -> list[Seal]:
    return await house.ledger.seals(0, 1000)


def kept(settings: Settings) -> list[Seal]:
    """What lies in the files, in their order."""
    files = sorted(settings.checkpoint_path.glob("*.jsonl"))
    return [msgspec.json.decode(line, type=Seal) for file in files for line in file.read_bytes().splitlines()]


async def test_what_was_published_is_sealed_and_kept_once_a_minute(
    house: House, settings: Settings, relay: Relay, leader: Leader, clock: HandClock
) -> None:
    for texts in (("a", "b"), ("c",)):
        await note(house, *texts)
        await relay.step(leader)
    assert [(seal.n, seal.after, seal.upto) for seal in await stored(house)] == [(1, 0, 2)]
    clock.move(seconds=settings.seal_every)
    await relay.step(leader)
    await relay.step(leader)
    clock.move(seconds=settings.seal_every)
    await relay.step(leader)
    assert [(seal.n, seal.after, seal.upto) for seal in await stored(house)] == [(1, 0, 2), (2, 2, 3)]
    assert kept(settings) == await stored(house)
    assert await value(house, "SELECT bool_and(kept) FROM seals")


async def test_each_hash_covers_the_one_before_and_each_seal_is_signed(
    house: House, relay: Relay, leader: Leader, clock: HandClock, driver: Any
) -> None:
    for text in "abc":
        await note(house, text)
        await relay.step(leader)
        clock.move(minutes=1)
    first, *_ = seals = await stored(house)
    async with driver.transaction():
        found = [await digest(driver, seal.after, seal.upto) for seal in seals]
    assert first.hash == chained(BEGINNING, found[0].digest)
    assert [two.hash for _, two in pairwise(seals)] == [
        chained(one.hash, part.digest) for (one, _), part in zip(pairwise(seals), found[1:], strict=True)
    ]
    keys = {public_key(house.sealer)}
    assert all(is_signed(seal, keys) for seal in seals)
    for changed in ({"n": 9}, {"after": 9}, {"upto": 9}, {"hash": "0" * 64}, {"at": first.at + timedelta(microseconds=1)}):
        assert not is_signed(msgspec.structs.replace(first, **changed), keys), changed
    assert not is_signed(first, {"00" * 32})
    assert signed_text(first).split()[:2] == [b"fluentpro-checkpoint-1", b"1"]


async def test_what_has_gathered_is_sealed_in_stretches_one_after_another(house: House, relay: Relay, leader: Leader) -> None:
    async with house.database.driver() as driver:
        await driver.execute(MANY, 2 * STRETCH + 1)
    while await house.ledger.sequence(leader, 1000):
        pass
    await relay.seal(leader)
    assert [(seal.after, seal.upto) for seal in await stored(house)] == [(0, STRETCH)]
    while await relay.seal(leader):
        pass
    assert [(seal.after, seal.upto) for seal in await stored(house)] == [
        (0, STRETCH),
        (STRETCH, 2 * STRETCH),
        (2 * STRETCH, 2 * STRETCH + 1),
    ]


async def test_a_relay_that_was_taken_over_seals_nothing(house: House, leader: Leader, relay: Relay, clock: HandClock) -> None:
    await note(house, "a")
    await house.ledger.sequence(leader, 10)
    clock.move(minutes=1)
    assert await house.relay(HandedOver()).lead() is not None
    with pytest.raises(LostLease):
        await relay.seal(leader)
    assert await stored(house) == []


async def test_what_a_crash_left_out_of_the_file_is_written_once_at_the_next_step(
    house: House, settings: Settings, relay: Relay, leader: Leader, clock: HandClock
) -> None:
    folder = CheckpointFolder(settings.checkpoint_path, house.sealer)
    await note(house, "a")
    await relay.step(leader)
    for text in "bc":
        await note(house, text)
        await house.ledger.sequence(leader, 10)
        await house.ledger.seal(leader, STRETCH, folder.sign, now=clock())
    assert len(kept(settings)) == 1
    (file,) = settings.checkpoint_path.glob("*.jsonl")
    with file.open("ab") as half:
        half.write(b'{"n":2,"after":1')
    await note(house, "d")
    clock.move(minutes=1)
    await relay.step(leader)
    assert [seal.n for seal in kept(settings)] == [1, 2, 3, 4]
    assert kept(settings) == await stored(house)


async def test_two_relays_that_share_a_folder_write_each_checkpoint_once(
    house: House, settings: Settings, leader: Leader, clock: HandClock
) -> None:
    folders = [CheckpointFolder(settings.checkpoint_path, house.sealer) for _ in range(4)]
    for text in "abcdef":
        await note(house, text)
        await house.ledger.sequence(leader, 10)
        await house.ledger.seal(leader, STRETCH, folders[0].sign, now=clock())
        results = await asyncio.gather(*(folder.keep(house.ledger) for folder in folders), return_exceptions=True)
        assert any(isinstance(result, int) for result in results)
        assert all(isinstance(result, int | NotKept) for result in results)
    await folders[0].keep(house.ledger)
    assert kept(settings) == await stored(house)


async def test_while_another_relay_writes_to_the_folder_this_one_does_not(
    house: House, settings: Settings, relay: Relay, leader: Leader
) -> None:
    await note(house, "a")
    await relay.step(leader)
    await note(house, "b")
    await house.ledger.sequence(leader, 10)
    with (settings.checkpoint_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with capture_logs() as logs:
            await relay.seal(leader)
        assert "checkpoints_not_kept" in [line["event"] for line in logs]
        assert len(kept(settings)) == 1
    await relay.seal(leader)
    assert kept(settings) == await stored(house)


async def test_every_month_has_a_file_and_a_clock_that_is_set_back_begins_none(
    house: House, settings: Settings, relay: Relay, leader: Leader, clock: HandClock
) -> None:
    clock.now = clock.now.replace(year=2030, month=1, day=31)
    for move in (timedelta(), timedelta(days=1), timedelta(days=-1), timedelta(days=40)):
        clock.now += move
        await note(house, "a")
        await house.ledger.sequence(leader, 10)
        await relay.seal(leader)
    files = {file.name: len(file.read_bytes().splitlines()) for file in settings.checkpoint_path.glob("*.jsonl")}
    assert files == {"2030-01.jsonl": 1, "2030-02.jsonl": 2, "2030-03.jsonl": 1}
    assert kept(settings) == await stored(house)


async def test_a_folder_that_cannot_be_written_does_not_stop_the_relay(
    house: House, settings: Settings, relay: Relay, leader: Leader, clock: HandClock
) -> None:
    settings.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
    settings.checkpoint_path.write_text("in the way")
    await note(house, "a")
    with capture_logs() as logs:
        await relay.step(leader)
    (said,) = [line["reason"] for line in logs if line["event"] == "checkpoints_not_kept"]
    assert str(settings.checkpoint_path) in said
    assert "FLUENTPRO_CHECKPOINT_DIR" in said
    assert await value(house, "SELECT count(*) FROM watermarks") == 1
    assert await house.reads.audit.unkept(than=clock()) == 0
    clock.move(minutes=1)
    assert await house.reads.audit.unkept(than=clock()) == 1
    settings.checkpoint_path.unlink()
    await relay.step(leader)
    assert kept(settings) == await stored(house)
    assert await house.reads.audit.unkept(than=clock()) == 0


@pytest.mark.parametrize("damage", ["table", "file"])
async def test_a_file_that_the_database_contradicts_is_not_continued(
    house: House, settings: Settings, relay: Relay, leader: Leader, clock: HandClock, damage: str
) -> None:
    await note(house, "a")
    await relay.step(leader)
    (file,) = settings.checkpoint_path.glob("*.jsonl")
    if damage == "table":
        async with house.database.driver() as driver:
            await driver.execute("DELETE FROM seals")
    else:
        file.write_bytes(b"nonsense\n")
    before = file.read_bytes()
    await note(house, "b")
    clock.move(minutes=1)
    with capture_logs() as logs:
        await relay.step(leader)
    (said,) = [line["reason"] for line in logs if line["event"] == "checkpoints_not_kept"]
    assert "fluentpro audit verify" in said
    assert file.read_bytes() == before


async def test_a_seal_is_also_a_line_of_the_log(house: House, settings: Settings, relay: Relay, leader: Leader) -> None:
    await note(house, "a")
    with capture_logs() as logs:
        await relay.step(leader)
    (said,) = [line for line in logs if line["event"] == "checkpoint"]
    assert msgspec.json.decode(json.dumps(said), type=Seal) == kept(settings)[0]


async def test_a_digest_depends_on_no_setting_of_the_session(house: House, leader: Leader, driver: Any) -> None:
    await note(house, "a", "b")
    await house.ledger.sequence(leader, 10)
    async with driver.transaction():
        plain = await digest(driver, 0, 2)
    assert plain.rows == 2
    await driver.execute("CREATE SCHEMA IF NOT EXISTS pretended")
    try:
        await driver.execute("CREATE OR REPLACE FUNCTION pretended.sha256(bytea) RETURNS bytea LANGUAGE sql RETURN '\\x00'::bytea")
        await driver.execute(
            "SET search_path = pretended, public, pg_catalog; SET timezone = 'Asia/Tokyo'; SET datestyle = 'German, DMY';"
            "SET bytea_output = 'escape'; SET extra_float_digits = 0; SET intervalstyle = 'sql_standard'"
        )
        assert await driver.fetchval("SELECT sha256('a')") == b"\x00"
        async with driver.transaction():
            assert await digest(driver, 0, 2) == plain
    finally:
        await driver.execute("DROP SCHEMA pretended CASCADE")


def test_the_folder_is_that_of_the_setting(tmp_path: Path) -> None:
    assert Settings(data_dir=str(tmp_path)).checkpoint_path == tmp_path / "checkpoints"
    assert Settings(data_dir=str(tmp_path), checkpoint_dir="/mnt/safe").checkpoint_path == Path("/mnt/safe")
