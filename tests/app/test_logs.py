"""One line for every request and message: for machines in production, for people elsewhere."""

import msgspec
import pytest

from app import logs
from app.settings import Settings
from tests.app.client import LOG_IN, ME, SIGN_UP, door, person, web


async def test_in_production_every_request_and_message_is_one_json_object(settings: Settings) -> None:
    async with door(settings):
        """The signing key."""
    production = msgspec.structs.replace(settings, env="production", public_url="https://fluentpro.example")
    async with web(production) as process, process.client() as client:
        account = (await client.post(SIGN_UP, json=person(), headers={"X-Correlation-ID": "one"})).json()["data"]
        headers = {"Authorization": f"Bearer {account['tokens']['access_token']}"}
        await client.post(LOG_IN, json={"email": "ada@example.com", "password": "wrong"}, headers={"X-Request-ID": "two"})
        await client.get(f"{ME}?secret=1", headers={**headers, "X-Request-ID": "three"})
        await client.get("/nowhere", headers={"X-Request-ID": "four"})
        await process.stop()
        of = {
            correlation: [line for line in process.lines() if line.get("correlation_id") == correlation]
            for correlation in ("one", "two", "three", "four")
        }
    me = f"person:{account['user']['id']}"
    found = {
        correlation: [(line["event"], line.get("name") or line["path"], line["actor"], line["outcome"]) for line in lines]
        for correlation, lines in of.items()
    }
    assert found == {
        "one": [("handles", "accounts.register_account", "anonymous", "ok"), ("request", SIGN_UP, "anonymous", "ok")],
        "two": [
            ("handles", "accounts.sign_in", "anonymous", "accounts.bad_credentials"),
            ("request", LOG_IN, "anonymous", "accounts.bad_credentials"),
        ],
        "three": [("request", ME, me, "ok")],
        "four": [("request", "/nowhere", "anonymous", "request.not_found")],
    }
    every = [line for lines in of.values() for line in lines]
    assert all(isinstance(line["ms"], float) and line["ms"] >= 0 for line in every)
    assert all(line["timestamp"].endswith("Z") and line["level"] == "info" and line["process"] == "web" for line in every)
    statuses = {correlation: lines[-1]["status"] for correlation, lines in of.items()}
    assert statuses == {"one": 201, "two": 401, "three": 200, "four": 404}
    assert of["one"][-1]["method"] == "POST"


async def test_elsewhere_lines_are_for_people_and_a_file_gets_no_colours(settings: Settings) -> None:
    async with web(settings) as process, process.client() as client:
        await client.get("/nowhere", headers={"X-Request-ID": "seen"})
        await process.stop()
        [line] = [line for line in process.said().splitlines() if "correlation_id=seen" in line]
    assert "path=/nowhere" in line
    assert not line.startswith("{")
    assert "\x1b" not in process.said()


async def test_a_level_that_is_asked_for_counts(settings: Settings) -> None:
    async with web(msgspec.structs.replace(settings, log_level="warning")) as process, process.client() as client:
        await client.get("/nowhere")
        await process.stop()
        assert "path=/nowhere" not in process.said()


@pytest.mark.parametrize("name", ["password", "Authorization", "access_token", "secret_key"])
def test_a_secret_that_somebody_logs_all_the_same_is_blotted_out(name: str) -> None:
    event = {"event": "x", name: "hunter2", "request": {"headers": {name: "hunter2", "accept": "*/*"}}}
    assert logs.blotted(None, "", event) == {"event": "x", name: "***", "request": {"headers": {name: "***", "accept": "*/*"}}}
