"""The benchmark itself, in small: that it runs, says everything, fails when it must, and compares like with like."""

import asyncio
import json
import subprocess
import sys

import msgspec
import pytest

from app.bootstrap import open_house
from app.settings import Settings
from db.connection import Driver, connect
from tests.app.client import empty_database
from tests.app.processes import REPOSITORY
from tests.bench import area, measure
from tests.bench.report import TARGETS, Target, missed, percentiles, table

FIGURES = dict.fromkeys(TARGETS, 0.0)


async def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *options]
    return await asyncio.to_thread(subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


async def test_a_small_run_says_everything_and_fails_when_a_target_is_missed(settings: Settings) -> None:
    async with empty_database(settings) as there:
        servers = ("--database-url", there.database_url, "--redis-url", there.redis_url)
        run = await bench("--scale", "0.01", "--target", "execute_ratio=1000", *servers)
    *people, machines = run.stdout.splitlines()
    figures = json.loads(machines)
    assert set(TARGETS) <= set(figures)
    assert all(isinstance(figure, int | float) and name in run.stdout for name, figure in figures.items())
    assert [line.split()[-1] for line in people if line.startswith("execute_ratio")] == ["MISSED"]
    assert run.returncode == 1, run.stderr


async def test_a_target_that_nobody_promised_is_refused() -> None:
    run = await bench("--target", "speed=1")
    assert run.returncode == 1
    assert "speed: there is no such target; there are execute_ratio, relay_events_per_s," in run.stderr


@pytest.mark.parametrize(("comparison", "figure", "met"), [(">=", 10, True), (">=", 9, False), ("<=", 10, True), ("<=", 11, False)])
def test_a_target_is_met_on_its_own_side(comparison: str, figure: float, met: bool) -> None:  # noqa: FBT001 - what is expected
    target = Target(comparison, 10)
    assert target.met(figure) is met
    assert missed({"x": figure}, {"x": target}) == ([] if met else ["x"])
    assert ("MISSED" in table({"x": figure}, {"x": target})) is not met


def test_of_a_hundred_delays_one_is_later_than_the_ninety_ninth_percentile() -> None:
    delays = [number / 1000 for number in range(101)]
    assert percentiles("x", delays[::-1]) == {"x_p50_ms": 50, "x_p95_ms": 95, "x_p99_ms": 99}


async def prepared(driver: Driver) -> set[str]:
    """What this connection has said about the tables, without the white space."""
    rows = await driver.fetch("SELECT statement FROM pg_prepared_statements WHERE statement ~ $1", "accounts|outbox")
    return {" ".join(row["statement"].split()) for row in rows}


async def test_both_sides_of_the_ratio_say_the_same_to_postgresql(settings: Settings) -> None:
    async with open_house(msgspec.structs.replace(settings, database_pool=1), modules=(area,)) as house:
        [account] = await measure.add_accounts(house, 1)
        async with house.database.driver() as driver:
            before = await prepared(driver)
        await measure.rename(house, account, "Grace")
        async with house.database.driver() as driver:
            by_bus = await prepared(driver) - before
    connection = await connect(settings.database_url)
    await area.bare(connection, account, "Ada")
    by_hand = await prepared(connection)
    await connection.close()
    assert sorted(statement.split()[0] for statement in by_hand) == ["SELECT", "UPDATE", "WITH"]
    assert by_bus == by_hand
