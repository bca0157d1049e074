"""What an error of the database is to whoever asked, and that the next one does not suffer for it."""

import asyncio

import asyncpg
import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, TryAgain
from db.connection import Database, DatabaseDown
from tests.factories import Registrations
from tests.support import value


async def cut_every_connection(house: House) -> None:
    async with house.database.driver() as driver:
        await driver.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


async def test_an_address_that_two_take_at_once_is_given_to_one(harness: Harness, house: House) -> None:
    same = Registrations.build()
    answers = await asyncio.gather(*(harness.execute(same, by=ANONYMOUS) for _ in range(3)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["EmailTaken", "EmailTaken", "SignedIn"]
    assert await value(house, "SELECT count(*) FROM accounts") == 1


async def test_a_constraint_without_a_refusal_of_its_own_stays_what_it_is(house: House) -> None:
    with pytest.raises(asyncpg.NotNullViolationError):
        async with house.database.driver() as driver:
            await driver.execute("INSERT INTO watermarks (area) VALUES ('x')")


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_lost_race_may_be_tried_again(house: House, state: str) -> None:
    with pytest.raises(TryAgain):
        async with house.database.driver() as driver:
            await driver.execute(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{state}'; END $$")


async def test_a_lost_connection_is_an_outage_and_the_next_request_works(house: House) -> None:
    with pytest.raises(DatabaseDown):
        async with house.database.driver() as driver:
            await driver.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await value(house, "SELECT 1") == 1


async def test_after_a_restart_of_postgresql_requests_work_at_once_or_are_told_of_an_outage(harness: Harness, house: House) -> None:
    """Every connection of the pool is dead then; each is noticed by the request that is given it."""
    async with asyncio.TaskGroup() as group:
        for _ in range(house.settings.database_pool):
            group.create_task(value(house, "SELECT pg_sleep(0.05)"))
    await cut_every_connection(house)
    outages = 0
    while True:
        try:
            await harness.execute(Registrations.build(), by=ANONYMOUS)
        except DatabaseDown:
            outages += 1
        else:
            break
    assert outages <= house.settings.database_pool
    assert await value(house, "SELECT count(*) FROM accounts") == 1


async def test_nobody_there_is_an_outage() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/none")
    with pytest.raises(DatabaseDown):
        async with database.driver() as driver:
            await driver.execute("SELECT 1")
    await database.close()


async def test_a_transaction_is_all_or_nothing(house: House) -> None:
    async def break_off() -> None:
        async with house.database.transaction() as connection:
            await connection.exec_driver_sql("INSERT INTO watermarks VALUES ('gone', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()
    assert await value(house, "SELECT count(*) FROM watermarks") == 0


async def test_a_transaction_that_was_cancelled_is_not_left_to_the_next(house: House) -> None:
    lonely = Database(house.settings.database_url, pool=1)

    async def hang(started: asyncio.Event) -> None:
        async with lonely.transaction() as connection:
            await connection.exec_driver_sql("INSERT INTO watermarks VALUES ('gone', 1)")
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    task = asyncio.create_task(hang(started))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    # Cancelled once more, in the middle of its rollback.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with lonely.driver() as driver:
        await driver.execute("INSERT INTO watermarks VALUES ('kept', 1)")
    assert await value(house, "SELECT array_agg(area) FROM watermarks") == ["kept"]
    await lonely.close()
