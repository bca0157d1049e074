"""Equal requests with one Idempotency-Key at two web processes have one effect and one answer, also when one of the two is killed."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.app.client import SIGN_UP, person
from tests.kills.support import Target, target
from tests.support import value


@pytest.fixture(scope="module")
async def webs(town: Settings) -> AsyncGenerator[tuple[Target, Target]]:
    async with target("web", town) as one, target("web", town) as other:
        yield await one.ready(), await other.ready()


async def ask(client: httpx.AsyncClient, email: str, key: str) -> httpx.Response:
    return await client.post(SIGN_UP, json=person(email=email), headers={"Idempotency-Key": key})


def told(answer: httpx.Response) -> tuple[int, Any, Any, Any]:
    """What the client is told, but for what is of this answer alone: its request id, its time, and a signature made anew."""
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    claims = jwt.decode(data["tokens"]["access_token"], options={"verify_signature": False})
    return answer.status_code, data["user"], claims["sub"], claims["sid"]


async def effects(house: House, email: str) -> list[int]:
    """Accounts, their sessions, their events."""
    accounts = "(SELECT id FROM accounts WHERE email = $1)"
    return [
        await value(house, f"SELECT count(*) FROM accounts WHERE id IN {accounts}", email),  # noqa: S608 - of constants
        await value(house, f"SELECT count(*) FROM sessions WHERE account IN {accounts}", email),  # noqa: S608 - of constants
        await value(house, f"SELECT count(*) FROM events WHERE subject IN {accounts}", email),  # noqa: S608 - of constants
    ]


async def test_a_hundred_equal_requests_at_two_processes_have_one_effect_and_one_answer(webs: tuple[Target, Target], house: House) -> None:
    email, key = "hundred@example.com", str(uuid4())
    async with webs[0].web.client(timeout=30) as one, webs[1].web.client(timeout=30) as other:
        answers = await asyncio.gather(*(ask(client, email, key) for _ in range(50) for client in (one, other)))
    [(_, user, subject, _)] = {repr(told(answer)): told(answer) for answer in answers}.values()
    assert user["id"] == subject
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 99]
    assert await effects(house, email) == [1, 1, 1]


async def test_what_was_committed_before_a_kill_is_the_answer_of_every_other_process(webs: tuple[Target, Target], house: House) -> None:
    email, key = "killed@example.com", str(uuid4())
    held = webs[0].database.hold_answer("COMMIT")
    async with webs[0].web.client(timeout=30) as one, webs[1].web.client(timeout=30) as other:
        first = asyncio.create_task(ask(one, email, key))
        await held.reached()
        more = [asyncio.create_task(ask(client, email, key)) for _ in range(5) for client in (one, other)]
        answers = [await answer for answer in more[1::2]]
        await webs[0].kill()
        with pytest.raises(httpx.TransportError):
            await first
        await asyncio.gather(*more[::2], return_exceptions=True)
        answers.append(await ask(other, email, key))
    assert len({repr(told(answer)) for answer in answers}) == 1
    assert {answer.headers.get("Idempotent-Replayed") for answer in answers} == {"true"}
    assert await effects(house, email) == [1, 1, 1]
