"""`fluentpro events replay`: any range of the past, written to a stream of the caller's and to no other."""

from typing import Any

import pytest

from app.bootstrap import House
from app.settings import Settings
from bus.harness import Harness
from bus.message import ANONYMOUS, Actor
from domain.accounts.commands import ChangeProfile
from tests.app.client import fluentpro
from tests.factories import Registrations
from tests.support import HandClock, value

TO = "copies.of-accounts"


async def replay(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    done = await fluentpro(settings, "events", "replay", *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


async def entries(house: House, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    redis: Any = await house.streams.redis()
    return await redis.xrange(stream)


@pytest.fixture
async def filled(harness: Harness, house: House, clock: HandClock) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of events.accounts: a registration, and a minute later two changes of the profile."""
    signed_in = await harness.execute(Registrations.build(), by=ANONYMOUS)
    clock.move(minutes=1)
    account = signed_in.profile.id
    for name in ("Ada King", "Ada Lovelace"):
        await harness.execute(ChangeProfile(account=account, expected=None, full_name=name), by=Actor(kind="person", id=account))
    await harness.settle()
    return await entries(house, "events.accounts")


async def test_a_range_is_copied_as_it_was(settings: Settings, house: House, filled: list[Any]) -> None:
    assert await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", TO) == (
        0,
        f"{len(filled)} events of accounts were written to {TO}.\n",
        "",
    )
    assert await entries(house, TO) == filled
    assert await entries(house, "events.accounts") == filled


async def test_it_comes_from_postgresql_and_not_from_the_stream(settings: Settings, house: House, filled: list[Any]) -> None:
    redis: Any = await house.streams.redis()
    await redis.flushdb()
    code, *_ = await replay(settings, "--area", "accounts", "--from", "0", "--to-stream", TO)
    assert code == 0
    assert await entries(house, TO) == filled
    assert await redis.exists("events.accounts") == 0


async def test_a_range_begins_and_ends_where_it_is_told_to(settings: Settings, house: House, filled: list[Any], clock: HandClock) -> None:
    last = await value(house, "SELECT max(position) FROM feed WHERE area = 'accounts'")
    since = clock().isoformat().replace("+00:00", "Z")
    assert (await replay(settings, "--area", "accounts", "--from", since, "--upto", str(last - 1), "--to-stream", TO))[0] == 0
    assert await entries(house, TO) == filled[-2:-1]
    # What follows may be added to the same stream.
    assert (await replay(settings, "--area", "accounts", "--from", str(last), "--to-stream", TO))[0] == 0
    assert await entries(house, TO) == filled[-2:]
    assert await replay(settings, "--area", "accounts", "--from", str(last + 1), "--to-stream", TO) == (
        0,
        f"0 events of accounts were written to {TO}.\n",
        "",
    )


@pytest.mark.parametrize("name", ["events.accounts", "events.copies", "Events.accounts", "saq:commands:queued", "rate:auth:127.0.0.1", ""])
async def test_the_streams_of_the_relay_are_never_written(settings: Settings, house: House, filled: list[Any], name: str) -> None:
    code, out, error = await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", name)
    assert (code, out) == (1, "")
    assert "events.*, saq:*, rate:* are our own. Choose a name that begins with another word." in error
    assert await entries(house, "events.accounts") == filled
    redis: Any = await house.streams.redis()
    assert name == "events.accounts" or await redis.exists(name) == 0


async def test_a_stream_that_ends_further_on_is_left_alone(settings: Settings, house: House, filled: list[Any]) -> None:
    assert (await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", TO))[0] == 0
    code, out, error = await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", TO)
    assert (code, out) == (1, "")
    assert f"'{TO}' cannot take position 1: it ends further on already, or is no stream." in error
    assert await entries(house, TO) == filled


async def test_a_stream_that_ends_in_the_middle_takes_nothing(settings: Settings, house: House, filled: list[Any]) -> None:
    last = filled[-2][0].decode().partition("-")[0]
    assert (await replay(settings, "--area", "accounts", "--from", last, "--upto", last, "--to-stream", TO))[0] == 0
    assert (await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", TO))[0] == 1
    assert await entries(house, TO) == filled[-2:-1]


async def test_what_is_no_stream_is_left_alone(settings: Settings, house: House, filled: list[Any]) -> None:  # noqa: ARG001 - there is something to copy
    redis: Any = await house.streams.redis()
    await redis.set("counter", "1")
    code, _, error = await replay(settings, "--area", "accounts", "--from", "1", "--to-stream", "counter")
    assert (code, await redis.get("counter")) == (1, b"1")
    assert "'counter' cannot take position 1" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--area", "account", "--from", "1"), "There is no area 'account'. These have events: accounts"),
        (("--area", "accounts", "--from", "yesterday"), "'yesterday' is neither a position, such as 4711, nor a time"),
        (("--area", "accounts", "--from", "2026-11-20T00:00:00"), "is neither a position, such as 4711, nor a time"),
        (("--area", "accounts", "--from", "9223372036854775808"), "is neither a position, such as 4711, nor a time"),
        (("--area", "accounts", "--from", "0001-01-01T00:00:00+14:00"), "is neither a position, such as 4711, nor a time"),
        (("--area", "accounts", "--from", "5", "--upto", "2"), "Nothing lies from 5 to 2. Let it end where it begins or later."),
        (("--area", "accounts"), "Missing option '--from'"),
    ],
    ids=["no such area", "no time", "no offset", "too far", "too early", "nothing", "no beginning"],
)
async def test_what_is_wrong_is_named(settings: Settings, house: House, arguments: tuple[str, ...], expected: str) -> None:  # noqa: ARG001 - the servers are there
    code, _, error = await replay(settings, *arguments, "--to-stream", TO)
    assert code != 0
    assert expected in error
