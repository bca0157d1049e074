"""Following one person through the logs of every process, and what a failure says there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from app import logs
from app.bootstrap import House
from app.settings import Settings
from bus.message import SYSTEM
from domain.accounts.commands import EnsureSigningKey
from tests.app.client import SIGN_UP, eventually, person, running, sign_up, web
from tests.support import rows, value

ID = "the.path.of.ada"
PER_MESSAGE = {"request", "handles", "reacts", "published", "handed_over"}


@pytest.fixture
async def production(settings: Settings, house: House) -> Settings:
    await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
    return msgspec.structs.replace(settings, env="production", public_url="https://fluentpro.example")


@asynccontextmanager
async def refusing_everybody(house: House) -> AsyncGenerator[None]:
    """PostgreSQL takes no account; its error holds the whole row."""
    await value(house, "ALTER TABLE accounts ADD CONSTRAINT nobody CHECK (admin AND NOT admin)")
    try:
        yield
    finally:
        await value(house, "ALTER TABLE accounts DROP CONSTRAINT nobody")


async def test_a_session_that_expires_weeks_later_is_still_logged_under_the_request_that_opened_it(
    production: Settings, house: House
) -> None:
    async with running(production) as start, web(production) as process, process.client(headers={"X-Request-ID": ID}) as client:
        await sign_up(client)
        await value(house, "UPDATE sessions SET expires_at = $1", house.clock())
        await value(house, "UPDATE outbox SET due = $1 WHERE kind = 'command'", house.clock())
        relay, worker = start("relay"), start("worker")
        await relay.says('"message": "accounts.session_expired"')
        await relay.says('"message": "onboarding.begun"')
        await eventually(lambda: list(production.data_path.glob("mail/*.eml")), "the welcome mail is there")
        await asyncio.gather(*(one.stop() for one in (process, relay, worker)))
        every = [(one.name, line) for one in (process, relay, worker) for line in one.lines()]
    mine = [(name, line) for name, line in every if line.get("correlation_id") == ID and line["event"] in PER_MESSAGE]
    assert {(name, line["event"], line.get("message"), line["actor"], line["outcome"]) for name, line in mine} == {
        ("web", "handles", "accounts.register_account", "anonymous", "ok"),
        ("web", "request", None, "anonymous", "ok"),
        ("relay", "published", "accounts.registered", "anonymous", "ok"),
        ("relay", "handed_over", "accounts.expire_session", "system", "ok"),
        ("relay", "published", "accounts.session_expired", "system", "ok"),
        ("relay", "published", "onboarding.begun", "system", "ok"),
        ("worker", "reacts", "accounts.registered", "system", "ok"),
        ("worker", "handles", "accounts.expire_session", "system", "ok"),
    }
    for _, line in every:
        if line["event"] in PER_MESSAGE:
            assert line["correlation_id"]
            assert line["actor"]
            assert isinstance(line["ms"], float)


@pytest.mark.parametrize("env", ["production", "development"])
async def test_a_failure_is_logged_once_with_its_trace_and_without_what_the_person_sent(
    production: Settings, house: House, env: str
) -> None:
    own = msgspec.structs.replace(production, env=env)
    async with refusing_everybody(house), web(own) as process, process.client(headers={"X-Request-ID": ID}) as client:
        answer = await client.post(SIGN_UP, json=person())
        assert answer.status_code == 500
        await process.stop()
        said = process.said()
    assert said.count("CheckViolationError: new row") == 1
    assert "DETAIL:  ***" in said
    for private in ("ada@example.com", "Lovelace", "$argon2", "1990-12-10"):
        assert private not in said
        assert private not in answer.text
    assert await rows(house, "SELECT id FROM events") == []


@pytest.mark.parametrize("after", ["", "\n[SQL: INSERT INTO accounts]", "\nHINT:  ask", "\n\nThe above exception was the cause"])
def test_of_an_error_of_postgresql_everything_but_the_row_is_logged(after: str) -> None:
    event = {"event": "failed", "exception": f"CheckViolationError: new row\nDETAIL:  Failing row contains (ada,\nLovelace).{after}"}
    assert logs.without_rows(None, "", event)["exception"].rstrip("\n") == f"CheckViolationError: new row\nDETAIL:  ***{after}"


def test_a_line_without_an_error_is_logged_as_it_is() -> None:
    assert logs.without_rows(None, "", {"event": "DETAIL:  kept"}) == {"event": "DETAIL:  kept"}


@pytest.mark.parametrize("sent", ["/x\x1b[31m", "/x\x00", "/x\u202ey", "/x\u2028y", "/x\ny"])
def test_what_a_client_sent_cannot_steer_a_terminal(sent: str) -> None:
    shown = logs.printable(None, "info", {"path": sent, "event": "request", "ms": 1.0, "exception": "one\ntwo"})
    assert shown["path"].isprintable()
    assert (shown["event"], shown["ms"], shown["exception"]) == ("request", 1.0, "one\ntwo")


def test_text_of_any_script_is_logged_as_it_is() -> None:
    assert logs.printable(None, "info", {"name": "Zoë 李"})["name"] == "Zoë 李"
