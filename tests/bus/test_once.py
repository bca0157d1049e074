"""Idempotency keys: one effect, one answer, however often and from however many at once."""

import asyncio

import pytest

from app.bootstrap import House
from bus.message import SYSTEM, FieldError, Refusal
from bus.pipeline import Mismatch, Once
from tests.bus.sample import Count, Forbid, Forbidden, Script
from tests.bus.support import PERSON, until
from tests.support import HandClock, value


def key(name: str = "k", caller: str = "ada") -> Once:
    return Once(name, caller=caller)


async def notes(house: House) -> int:
    return await value(house, "SELECT count(*) FROM sample_notes")


async def test_a_repetition_is_given_the_first_answer_and_says_so(house: House) -> None:
    first, second = key(), key()
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=first) == 1
    await house.bus.execute(Count(text="b"), by=PERSON)
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=second) == 1
    assert (first.replayed, second.replayed) == (False, True)
    assert await notes(house) == 2


async def test_a_key_belongs_to_one_request(house: House) -> None:
    await house.bus.execute(Count(text="a"), by=PERSON, once=key())
    with pytest.raises(Mismatch):
        await house.bus.execute(Count(text="b"), by=PERSON, once=key())
    assert await notes(house) == 1


async def test_a_key_belongs_to_one_caller(house: House) -> None:
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=key(caller="ada")) == 1
    assert await house.bus.execute(Count(text="b"), by=PERSON, once=key(caller="bob")) == 2


async def test_twenty_equal_requests_at_once_have_one_effect_and_one_answer(house: House, script: Script) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    script.gates["count"] = wait
    keys = [key() for _ in range(20)]
    running = [asyncio.create_task(house.bus.execute(Count(text="a"), by=PERSON, once=once)) for once in keys]
    await reached.wait()
    # All but the first wait for it without a connection, or this would find none: the pool has ten.
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state ~ 'in transaction'"
    assert await value(house, busy) == 1
    go_on.set()
    assert await asyncio.gather(*running) == [1] * 20
    assert sorted(once.replayed for once in keys) == [False] + [True] * 19
    assert await notes(house) == 1


async def test_a_refusal_that_is_a_fact_is_repeated_whole(house: House, script: Script) -> None:
    with pytest.raises(Forbidden):
        await house.bus.execute(Forbid(text="smoking"), by=PERSON, once=key())
    again = key()
    with pytest.raises(Refusal) as refused:
        await house.bus.execute(Forbid(text="smoking"), by=PERSON, once=again)
    assert again.replayed
    assert (refused.value.kind, refused.value.code, refused.value.detail) == ("denied", "sample.forbidden", "smoking is forbidden.")
    assert (refused.value.errors, refused.value.retry_after) == ((FieldError("/text", "forbidden", "Say something else."),), 7)
    assert script.ran("forbid") == ["smoking"]


async def test_an_error_that_was_rolled_back_is_not_kept(house: House, script: Script) -> None:
    script.failures["count"] = [ZeroDivisionError("a mistake")]
    with pytest.raises(ZeroDivisionError):
        await house.bus.execute(Count(text="a"), by=PERSON, once=key())
    assert await value(house, "SELECT count(*) FROM idempotency") == 0
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=key()) == 1


async def stuck(house: House, script: Script) -> tuple[asyncio.Task[int], asyncio.Event]:
    """A first run that has its claim and stands in its handler until the event is set."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        script.gates.clear()
        reached.set()
        await go_on.wait()

    script.gates["count"] = wait
    task = asyncio.create_task(house.bus.execute(Count(text="a"), by=PERSON, once=key()))
    await reached.wait()
    return task, go_on


async def test_a_claim_whose_holder_is_gone_is_taken_over_once_its_lease_has_passed(house: House, script: Script, clock: HandClock) -> None:
    first, go_on = await stuck(house, script)
    clock.move(seconds=house.settings.claim_lease + 1)
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=key()) == 1
    go_on.set()
    assert await first == 1
    assert await notes(house) == 1


async def test_a_run_that_lost_its_claim_leaves_nothing_and_waits_for_the_answer_of_the_other(
    house: House, script: Script, clock: HandClock
) -> None:
    first, let_first = await stuck(house, script)
    clock.move(seconds=house.settings.claim_lease + 1)
    second, let_second = await stuck(house, script)
    let_first.set()
    await until(lambda: value(house, "SELECT count(*) = 1 FROM idempotency"))
    assert await notes(house) == 0
    let_second.set()
    assert await second == 1
    assert await first == 1
    again = key()
    assert await house.bus.execute(Count(text="a"), by=PERSON, once=again) == 1
    assert again.replayed
    assert await notes(house) == 1


async def test_a_key_is_forgotten_after_a_day(house: House, clock: HandClock) -> None:
    await house.bus.execute(Count(text="a"), by=PERSON, once=key())
    clock.move(hours=24, seconds=1)
    assert await house.bus.execute(Count(text="b"), by=PERSON, once=key()) == 2


async def test_neither_key_nor_answer_is_stored_in_the_clear(house: House) -> None:
    await house.bus.execute(Count(text="a"), by=PERSON, once=key("very-recognisable"))
    row = await value(house, "SELECT encode(key, 'escape') || encode(answer, 'escape') FROM idempotency")
    assert "very-recognisable" not in row
    assert "result" not in row


async def test_what_is_sent_under_a_key_is_sent_once(house: House) -> None:
    for _ in range(2):
        await house.bus.send(Count(text="a"), by=SYSTEM, once=key())
    assert await value(house, "SELECT count(*) FROM outbox WHERE envelope->>'name' = 'bus.count'") == 1
    assert await notes(house) == 0
