"""One sign-up through every process as it ships: web, relay and worker, as in production."""

import asyncio
import json
from collections.abc import AsyncGenerator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis import Redis

from app.bootstrap import House
from app.settings import Settings
from tests.app.client import LOG_IN, PASSWORD, SIGN_UP, Person, Process, Start, Web, eventually, feed_of, fluentpro, person, running, web
from tests.support import rows, value

FIELDS = {
    "id", "position", "type", "version", "occurred_at", "subject", "key", "correlation_id", "causation_id", "traceparent", "actor", "data",
}  # fmt: skip
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def production(settings: Settings) -> Settings:
    """As the settings of a real installation, seeded."""
    production = msgspec.structs.replace(settings, env="production", public_url="https://fluentpro.example")
    seeded = await fluentpro(production, "seed")
    assert seeded.returncode == 0, seeded.stderr
    return production


@pytest.fixture
async def start(production: Settings) -> AsyncGenerator[Start]:
    async with running(production) as start:
        yield start


@pytest.fixture
async def process(production: Settings) -> AsyncGenerator[Web]:
    async with web(production) as process:
        yield process


@pytest.fixture
async def client(process: Web) -> AsyncGenerator[httpx.AsyncClient]:
    async with process.client() as client:
        yield client


def entries(settings: Settings) -> list[tuple[str, dict[str, str]]]:
    """The stream as any client of Redis reads it."""
    redis: Any = Redis
    with redis.from_url(settings.redis_url, decode_responses=True) as stranger:
        return stranger.xrange("events.accounts")


def mails(settings: Settings) -> list[Path]:
    return list((settings.data_path / "mail").glob("*.eml"))


def lines(process: Process, correlation: str) -> list[tuple[str, str]]:
    """What a process logged of one correlation id: each line's event, and what it is about."""
    return [
        (line["event"], line.get("name") or line.get("message") or line.get("path", ""))
        for line in process.lines()
        if line.get("correlation_id") == correlation
    ]


async def test_a_sign_up_is_one_row_one_entry_one_mail_and_one_event_with_one_correlation_id(
    production: Settings, house: House, start: Start, process: Web, client: httpx.AsyncClient
) -> None:
    relay, worker = start("relay"), start("worker")
    headers = {"X-Request-ID": "sign-up.of.ada", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = await client.post(SIGN_UP, json=person(), headers=headers)
    assert answer.status_code == 201
    account, token = answer.json()["data"]["user"]["id"], answer.json()["data"]["tokens"]["access_token"]

    [mail] = await eventually(lambda: mails(production), "the welcome mail is there")
    [row] = await rows(house, "SELECT id, name, key, subject, meta FROM events WHERE name LIKE 'accounts.%'")
    assert (row["name"], row["key"], str(row["subject"])) == ("accounts.registered", account, account)
    assert row["meta"]["trace"]["correlation_id"] == "sign-up.of.ada"

    [(entry, fields)] = entries(production)
    position = await value(house, "SELECT position FROM feed WHERE area = 'accounts'")
    assert entry == f"{position}-0"
    assert set(fields) == FIELDS
    assert fields["id"] == str(row["id"])
    assert (fields["position"], fields["type"], fields["version"]) == (str(position), "accounts.registered", "1")
    assert (fields["subject"], fields["key"], fields["correlation_id"]) == (account, account, "sign-up.of.ada")
    assert TRACE in fields["traceparent"]
    assert json.loads(fields["actor"]) == {"kind": "anonymous"}
    assert json.loads(fields["data"]) == {"account": account}

    message = message_from_bytes(mail.read_bytes(), policy=default)
    assert mail.name == f"welcome.{row['id']}@fluentpro.eml"
    assert (message["To"], message["Message-ID"]) == ("Ada Lovelace <ada@example.com>", f"<welcome.{row['id']}@fluentpro>")

    async with feed_of(client, Person(id=row["subject"], token=token), {"Last-Event-ID": "0"}) as feed:
        event = await feed.event()
    assert event is not None
    assert (event.id, event.event) == (position, "accounts.registered")
    assert (event.data["id"], event.data["correlation_id"]) == (str(row["id"]), "sign-up.of.ada")

    for one in (worker, relay, process):
        await one.stop()
    assert len(mails(production)) == 1
    assert lines(process, "sign-up.of.ada") == [("handles", "accounts.register_account"), ("request", SIGN_UP)]
    assert ("published", "accounts.registered") in lines(relay, "sign-up.of.ada")
    assert ("reacts", "accounts.send_welcome") in lines(worker, "sign-up.of.ada")


async def test_no_secret_is_in_any_log_or_stream(
    production: Settings, house: House, start: Start, process: Web, client: httpx.AsyncClient
) -> None:
    relay, worker = start("relay"), start("worker")
    token = (await client.post(SIGN_UP, json=person())).json()["data"]["tokens"]["access_token"]
    wrong = "a stork over the grey canal"
    assert (await client.post(LOG_IN, json={"email": "ada@example.com", "password": wrong})).status_code == 401
    assert (await client.post(SIGN_UP, json=person(email="x", password="hunter22", accept_terms="hunter22"))).status_code == 422
    assert (await client.get(f"/api/v2/users/me?access_token={token}", headers={"Authorization": f"Bearer {token}x"})).status_code == 401
    await eventually(lambda: len(entries(production)) == 2, "both events are in the stream")
    await eventually(lambda: mails(production), "the welcome mail is there")
    for one in (worker, relay, process):
        await one.stop()
    said = "".join(one.said() for one in (worker, relay, process)) + json.dumps(entries(production))
    said += "".join(str(row["text"]) for row in await rows(house, "SELECT data::text || meta::text AS text FROM events"))
    for secret in (PASSWORD, wrong, "hunter22", token, token.rpartition(".")[2], production.secret_key, "ada@example.com", "Lovelace"):
        assert secret not in said


async def test_a_mail_still_comes_when_the_worker_was_killed(production: Settings, start: Start, client: httpx.AsyncClient) -> None:
    start("relay")
    killed = await start("worker").says('"reaction": "accounts.send_welcome"')
    await killed.kill()
    assert (await client.post(SIGN_UP, json=person())).status_code == 201
    await eventually(lambda: entries(production), "the event is in the stream")
    assert mails(production) == []
    worker = start("worker")
    await eventually(lambda: mails(production), "the welcome mail is there")
    await worker.stop()
    assert len(mails(production)) == 1


async def test_every_process_ends_by_itself_when_told_to(start: Start, process: Web) -> None:
    relay, worker = await start("relay").says("leading"), await start("worker").says("reading")
    took = await asyncio.gather(*(one.stop() for one in (relay, worker, process)))
    assert max(took) < 5
    assert (relay.exit_code, worker.exit_code) == (0, 0)
    for one in (relay, worker, process):
        assert "Traceback" not in one.said()
