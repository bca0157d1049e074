"""Argon2id in threads of its own."""

import asyncio
import statistics
import threading
import time

import pytest
from argon2 import Parameters, PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError

from app.ports.passwords import Argon2Passwords
from domain.errors import Unavailable
from domain.types import Secret

RIGHT, WRONG = Secret("correct horse battery staple"), Secret("correct horse battery stable")


async def test_the_password_that_was_hashed_is_right_and_no_other() -> None:
    passwords = Argon2Passwords(2)
    hashed = await passwords.hash(RIGHT)
    assert await passwords.verify(hashed, RIGHT)
    assert not await passwords.verify(hashed, WRONG)
    await passwords.close()


async def test_a_hash_is_argon2id_of_19_mib_and_two_passes_with_its_own_salt() -> None:
    passwords = Argon2Passwords(1)
    hashed = await passwords.hash(RIGHT)
    assert extract_parameters(hashed) == Parameters(
        type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19456, parallelism=1
    )
    assert hashed != await passwords.hash(RIGHT)
    await passwords.close()


async def test_the_same_password_from_another_keyboard_is_right() -> None:
    passwords = Argon2Passwords(1)
    hashed = await passwords.hash(Secret("caf\u00e9 \uff11\uff12 horse battery"))
    assert await passwords.verify(hashed, Secret("cafe\u0301 12 horse battery"))
    await passwords.close()


async def test_bytes_from_a_terminal_that_are_no_text_can_be_hashed() -> None:
    passwords = Argon2Passwords(1)
    password = Secret("horse battery \udcff")
    assert await passwords.verify(await passwords.hash(password), password)
    await passwords.close()


async def test_nobodys_password_is_never_right_and_costs_as_much() -> None:
    passwords = Argon2Passwords(1)
    hashed = await passwords.hash(RIGHT)

    async def seconds(of: str | None) -> float:
        spent: list[float] = []
        for _ in range(9):
            started = time.perf_counter()
            assert not await passwords.verify(of, WRONG)
            spent.append(time.perf_counter() - started)
        return statistics.median(spent)

    somebodys, nobodys = await seconds(hashed), await seconds(None)
    assert somebodys / 2 < nobodys < somebodys * 2
    await passwords.close()


async def test_a_stored_hash_that_is_none_is_an_error_and_not_a_wrong_password() -> None:
    passwords = Argon2Passwords(1)
    with pytest.raises(InvalidHashError):
        await passwords.verify("no hash", RIGHT)
    await passwords.close()


async def test_a_hash_of_another_cost_is_still_understood() -> None:
    passwords = Argon2Passwords(1)
    assert await passwords.verify(PasswordHasher(time_cost=1, memory_cost=1024).hash(RIGHT.reveal()), RIGHT)
    await passwords.close()


async def test_fifty_at_once_are_all_served_by_the_few_threads() -> None:
    passwords = Argon2Passwords(2)
    hashes = await asyncio.gather(*(passwords.hash(RIGHT) for _ in range(50)))
    assert len(set(hashes)) == 50
    assert sum(thread.name.startswith("argon2") for thread in threading.enumerate()) <= 2
    await passwords.close()


async def test_the_event_loop_runs_on_while_a_password_is_hashed() -> None:
    passwords = Argon2Passwords(1)
    hashing = asyncio.ensure_future(passwords.hash(RIGHT))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    await hashing
    await passwords.close()


async def test_more_than_may_wait_are_told_to_come_back() -> None:
    passwords = Argon2Passwords(1, waiting=2)
    answers = await asyncio.gather(*(passwords.hash(RIGHT) for _ in range(5)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert [answer.retry_after for answer in refused] == [1, 1]
    assert await passwords.hash(RIGHT)
    await passwords.close()


async def test_who_gives_up_leaves_room_for_others() -> None:
    passwords = Argon2Passwords(1, waiting=1)
    for _ in range(5):
        hashing = asyncio.ensure_future(passwords.hash(RIGHT))
        await asyncio.sleep(0)
        hashing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hashing
    assert await passwords.hash(RIGHT)
    await passwords.close()


async def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    passwords = Argon2Passwords(1)
    taken = [asyncio.ensure_future(passwords.hash(RIGHT)) for _ in range(3)]
    await asyncio.sleep(0)
    await passwords.close()
    assert all(hashed.startswith("$argon2id$") for hashed in await asyncio.gather(*taken))
    with pytest.raises(RuntimeError):
        await passwords.hash(RIGHT)
