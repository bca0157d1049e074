"""A process is killed at each of the six points where something could be lost or done twice, and is started again."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import httpx
import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.app.client import SIGN_UP, person
from tests.app.test_mail import SmtpServer
from tests.kills.support import (
    Stranger,
    Target,
    at_rest,
    eventually,
    one_account_and_one_welcome,
    reported_once,
    seen,
    target,
    tell,
)
from tests.support import value

PUBLISHES = "'XADD'"


@pytest.fixture(scope="module")
async def web(town: Settings) -> AsyncGenerator[Target]:
    async with target("web", town) as web:
        yield await web.ready()


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield relay


@pytest.fixture(scope="module")
async def worker(town: Settings) -> AsyncGenerator[Target]:
    async with target("worker", town) as worker:
        yield worker


@pytest.fixture(autouse=True)
def _everybody(relay: Target, worker: Target) -> None:  # pyright: ignore[reportUnusedFunction] - used by pytest
    """They run in every test, whoever is killed in it."""


async def sign_up(web: Target, email: str, key: str) -> httpx.Response:
    async with web.web.client() as client:
        return await client.post(SIGN_UP, json=person(email=email), headers={"Idempotency-Key": key})


async def unanswered(request: asyncio.Task[httpx.Response]) -> None:
    with pytest.raises(httpx.TransportError):
        await request


async def test_a_web_killed_before_its_commit_has_done_nothing_and_the_repetition_does_it(
    web: Target, house: House, stranger: Stranger, smtp: SmtpServer
) -> None:
    email, key = "before@example.com", str(uuid4())
    held = web.database.hold("COMMIT")
    request = asyncio.create_task(sign_up(web, email, key))
    await held.reached()
    await web.kill()
    await unanswered(request)
    assert await value(house, "SELECT count(*) FROM accounts WHERE email = $1", email) == 0
    assert await value(house, "SELECT count(*) FROM events") == 0
    await web.start_again()
    again = await sign_up(web, email, key)
    assert (again.status_code, "Idempotent-Replayed" in again.headers) == (201, False), again.text
    await at_rest(house, stranger)
    await one_account_and_one_welcome(house, stranger, smtp, email)


async def test_a_web_killed_after_its_commit_has_done_it_and_the_repetition_is_told_so(
    web: Target, house: House, stranger: Stranger, smtp: SmtpServer
) -> None:
    email, key = "after@example.com", str(uuid4())
    held = web.database.hold_answer("COMMIT")
    request = asyncio.create_task(sign_up(web, email, key))
    await held.reached()
    await web.kill()
    await unanswered(request)
    account = await value(house, "SELECT id FROM accounts WHERE email = $1", email)
    await web.start_again()
    again = await sign_up(web, email, key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.json()["data"]["user"]["id"] == str(account)
    await at_rest(house, stranger)
    await one_account_and_one_welcome(house, stranger, smtp, email)


@pytest.mark.parametrize("point", ["sequenced", "published", "watermark"])
async def test_a_relay_killed_on_the_way_publishes_everything_once_and_in_order(
    relay: Target, house: House, stranger: Stranger, point: str
) -> None:
    """When it has given positions, when it has published, and when its watermark is about to move."""
    topic = f"relay {point}"
    await relay.ready()
    held = {
        "sequenced": lambda: relay.database.hold_answer("INSERT INTO feed"),
        "published": lambda: relay.redis.hold_answer(PUBLISHES),
        "watermark": lambda: relay.database.hold("INSERT INTO watermarks"),
    }[point]()
    await tell(house, topic, "one", "two", "three")
    await held.reached()
    await relay.kill()
    there = [fields["key"] for _, fields in stranger.entries("events.kills")] if stranger.redis.exists("events.kills") else []
    assert (topic in there) == (point != "sequenced")
    await tell(house, topic, "four")
    await relay.start_again()
    await at_rest(house, stranger)
    await reported_once(house, stranger, topic, ["one", "two", "three", "four"])


async def test_a_worker_killed_in_a_reaction_has_its_effect_once(worker: Target, house: House, stranger: Stranger) -> None:
    await worker.ready()
    held = worker.database.hold_answer("INSERT INTO kills_seen")
    await tell(house, "effect", "one", "two")
    await held.reached()
    await worker.kill()
    await worker.start_again()
    await at_rest(house, stranger)
    await reported_once(house, stranger, "effect", ["one", "two"])


async def test_a_worker_killed_in_a_mail_sends_it_again_under_the_same_id(
    worker: Target, web: Target, house: House, stranger: Stranger, smtp: SmtpServer
) -> None:
    """The server has taken it, and the worker has not heard so."""
    await worker.ready()
    smtp.silent_at = "DATA."
    answer = await sign_up(web, "mail@example.com", str(uuid4()))
    assert answer.status_code == 201, answer.text
    await eventually(lambda: any("mail@example.com" in str(mail["To"]) for mail in smtp.mails), "the mail is there")
    await worker.kill()
    smtp.silent_at = None
    await worker.start_again()
    await at_rest(house, stranger)
    assert await one_account_and_one_welcome(house, stranger, smtp, "mail@example.com") > 1


async def test_a_worker_killed_before_it_acknowledges_does_nothing_again(worker: Target, house: House, stranger: Stranger) -> None:
    await worker.ready()
    held = worker.redis.hold("XACK")
    await tell(house, "ack", "one", "two")
    await held.reached()
    await worker.kill()
    assert stranger.pending("events.kills") > 0
    await worker.start_again()
    await at_rest(house, stranger)
    await reported_once(house, stranger, "ack", ["one", "two"])
    assert await seen(house, "keep", "ack")
