"""`fluentpro audit`, as somebody at a terminal has it, beside the processes that ship."""

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from bus.message import ANONYMOUS
from tests.app.client import Door, Start, empty_database, eventually, fluentpro, running
from tests.factories import Registrations
from tests.support import HandClock, harness_of, rows, value


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A relay with these seals whatever there is at every step."""
    return msgspec.structs.replace(settings, seal_every=0.001)


@pytest.fixture
async def start(settings: Settings) -> AsyncGenerator[Start]:
    async with running(settings) as start:
        yield start


async def sign_up(house: House, *names: str) -> None:
    for name in names:
        await house.bus.execute(Registrations.build(email=f"{name}@example.com"), by=ANONYMOUS)


async def owner(house: House, *statements: str) -> None:
    async with house.database.driver() as driver:
        for statement in statements:
            await driver.execute(statement)


def files(settings: Settings) -> list[Path]:
    return sorted(settings.checkpoint_path.glob("*.jsonl"))


async def test_it_proves_while_the_relay_runs_and_finds_what_was_cut_off(settings: Settings, house: House, start: Start) -> None:
    relay = start("relay")

    async def kept() -> bool:
        lines = [line for file in files(settings) for line in file.read_text().splitlines()]
        return bool(lines) and json.loads(lines[-1])["upto"] == await value(house, "SELECT max(position) FROM feed")

    for name in ("ada", "bob", "cleo"):
        await sign_up(house, name)
        await eventually(kept, "what happened is sealed")
        done = await fluentpro(settings, "audit", "verify")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "Nothing was altered, removed, added or cut off." in done.stdout
    await relay.stop()
    last = await value(house, "SELECT max(position) FROM feed")
    seals = await value(house, "SELECT count(*) FROM seals")
    await owner(
        house,
        "CREATE TEMP TABLE cut AS SELECT event FROM feed ORDER BY position DESC LIMIT 2",
        "DELETE FROM feed WHERE event IN (SELECT event FROM cut); DELETE FROM events WHERE id IN (SELECT event FROM cut); DROP TABLE cut",
        "DELETE FROM seals WHERE upto > (SELECT max(position) FROM feed)",
    )
    gone = [seals, seals] if await value(house, "SELECT count(*) FROM seals") == seals - 1 else None
    found = await fluentpro(settings, "audit", "verify", "--json")
    assert found.returncode == 1
    verdict = json.loads(found.stdout)
    assert verdict["ok"] is False
    by_kind = {finding["kind"]: finding for finding in verdict["findings"]}
    assert by_kind["cut_off"]["positions"] == [last - 1, last]
    assert gone is None or by_kind["absent"]["segments"] == gone
    said = await fluentpro(settings, "audit", "verify", "--checkpoints", str(files(settings)[-1]))
    assert (said.returncode, f"at least positions {last - 1} to {last}" in said.stdout) == (1, True), said.stdout


async def test_checkpoints_can_be_read_from_elsewhere_and_from_the_log(
    settings: Settings, house: House, start: Start, tmp_path: Path
) -> None:
    staging = msgspec.structs.replace(settings, checkpoint_dir=str(tmp_path / "elsewhere"))
    relay = start("relay", checkpoint_dir=staging.checkpoint_dir)
    await sign_up(house, "ada")
    await relay.says("checkpoint")
    await eventually(lambda: files(staging), "there is a file")
    await relay.stop()
    without = await fluentpro(settings, "audit", "verify")
    assert (without.returncode, "no_checkpoints: There is no checkpoint in" in without.stdout) == (1, True), without.stdout
    for given in (staging.checkpoint_path, files(staging)[0]):
        done = await fluentpro(settings, "audit", "verify", "--checkpoints", str(given))
        assert done.returncode == 0, done.stdout


async def test_the_key_is_that_of_the_checkpoints(settings: Settings, house: House, clock: HandClock) -> None:
    await sign_up(house, "ada")
    await harness_of(house).settle()
    printed = (await fluentpro(settings, "audit", "key")).stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{64}", printed)
    assert [row["key"] for row in await rows(house, "SELECT DISTINCT key FROM seals")] == [printed]
    rotated = msgspec.structs.replace(settings, secret_key=settings.secret_key[::-1])
    strange = await fluentpro(rotated, "audit", "verify")
    assert (strange.returncode, "give it with --key" in strange.stdout) == (1, True)
    known = await fluentpro(rotated, "audit", "verify", "--key", printed)
    assert known.returncode == 0, known.stdout
    assert clock()


async def test_a_long_trail_tells_how_far_it_is(settings: Settings, house: House, clock: HandClock) -> None:
    harness = harness_of(house)
    leader = await harness.relay.lead()
    assert leader is not None
    for number in range(100):
        async with house.database.driver() as driver:
            await driver.execute(
                "WITH e AS (INSERT INTO events (id, name, v, data, meta, at) "
                "VALUES (gen_random_uuid(), 'accounts.signed_in', 1, '{}', '{\"actor\":{},\"trace\":{}}', $1) RETURNING id) "
                "INSERT INTO outbox (id, kind) SELECT id, 'event' FROM e",
                clock(),
            )
        await house.ledger.sequence(leader, 10)
        await harness.relay.seal(leader)
        assert await value(house, "SELECT count(*) FROM seals") == number + 1
    done = await fluentpro(settings, "audit", "verify", "--json")
    assert (done.returncode, done.stderr) == (0, "segment 100, up to position 100\n")
    assert json.loads(done.stdout)["segments"] == 100


async def test_what_is_in_the_way_is_said(settings: Settings) -> None:
    async with empty_database(settings) as empty:
        done = await fluentpro(empty, "audit", "verify")
        assert (done.returncode, "run `fluentpro migrate` first" in done.stderr) == (1, True)
    gone = msgspec.structs.replace(settings, database_url=f"postgresql://app@127.0.0.1:{free_port()}/app")
    done = await fluentpro(gone, "audit", "verify")
    assert (done.returncode, "FLUENTPRO_DATABASE_URL" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


async def test_checkpoints_that_only_the_database_has_degrade_the_relay(door: Door, clock: HandClock) -> None:
    folder = door.house.settings.checkpoint_path
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    await sign_up(door.house, "ada")
    await harness_of(door.house).settle()
    clock.move(minutes=2)
    body = (await door.client.get("/health/ready")).json()
    assert body["checks"]["relay"]["status"] == "degraded"
    assert "let the relay write to its checkpoint folder" in body["checks"]["relay"]["detail"]
    folder.unlink()
    await harness_of(door.house).settle()
    assert (await door.client.get("/health/ready")).json()["checks"]["relay"] == {"status": "ok"}
