"""Dead letters through the front door and at the command line."""

import json

import httpx
import msgspec
import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.app.client import Door, fluentpro, sign_in_admin, sign_up, wrong_fields
from tests.support import HandClock, ScriptedMailer, harness_of, value

LETTERS = "/api/v2/admin/dead-letters"
WELCOME = "accounts.send_welcome"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two tries are enough here."""
    return msgspec.structs.replace(settings, reaction_tries=2)


@pytest.fixture
async def admin(door: Door) -> dict[str, str]:
    """Headers of an admin's requests."""
    return (await sign_in_admin(door)).headers


async def refused_mails(house: House, clock: HandClock, mailer: ScriptedMailer, client: httpx.AsyncClient, *names: str) -> list[str]:
    """These people sign up, and no server takes the mail to them; their dead letters, the newest first."""
    harness = harness_of(house)
    await harness.settle()
    for name in names:
        mailer.failures = [ValueError("550 no such user")] * house.settings.reaction_tries
        await sign_up(client, email=f"{name}@example.com")
        for _ in range(house.settings.reaction_tries):
            await harness.settle()
            clock.move(seconds=2)
    found = await house.reads.operations.dead_letters(reaction=WELCOME, limit=100)
    assert len(found) == len(names)
    return [str(letter.id) for letter in found]


async def test_a_dead_letter_is_listed_shown_and_replayed(
    door: Door, admin: dict[str, str], clock: HandClock, mailer: ScriptedMailer
) -> None:
    [letter] = await refused_mails(door.house, clock, mailer, door.client, "ada")
    listed = (await door.client.get(LETTERS, headers=admin)).json()
    assert listed["meta"]["page"] == {"limit": 20, "next_cursor": None}
    [entry] = listed["data"]
    assert (entry["id"], entry["reaction"], entry["name"]) == (letter, WELCOME, "accounts.registered")
    assert (entry["tries"], entry["error"], entry["parked"]) == (2, "ValueError: 550 no such user", 0)

    shown = (await door.client.get(f"{LETTERS}/{letter}", headers=admin)).json()["data"]
    assert {name: shown[name] for name in entry} == entry
    assert shown["envelope"]["id"] == entry["message_id"]
    assert shown["envelope"]["data"] == {"account": entry["key"]}
    assert shown["behind"] == []

    sent = len(mailer.sent)
    replayed = await door.client.post(f"{LETTERS}/{letter}/replay", headers=admin)
    assert (replayed.status_code, replayed.json()["data"]) == (202, {"id": letter})
    await harness_of(door.house).settle()
    assert [mail.message_id for mail in mailer.sent[sent:]] == [f"welcome.{entry['message_id']}@fluentpro"]
    assert (await door.client.get(LETTERS, headers=admin)).json()["data"] == []


async def test_a_dropped_one_is_gone(door: Door, admin: dict[str, str], clock: HandClock, mailer: ScriptedMailer) -> None:
    [letter] = await refused_mails(door.house, clock, mailer, door.client, "ada")
    sent = len(mailer.sent)
    dropped = await door.client.delete(f"{LETTERS}/{letter}", headers=admin)
    assert (dropped.status_code, dropped.content) == (204, b"")
    await harness_of(door.house).settle()
    assert mailer.sent[sent:] == []
    for answer in (
        await door.client.get(f"{LETTERS}/{letter}", headers=admin),
        await door.client.delete(f"{LETTERS}/{letter}", headers=admin),
        await door.client.post(f"{LETTERS}/{letter}/replay", headers=admin),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "operations.unknown_dead_letter")


async def test_what_waits_again_is_neither_replayed_nor_dropped(
    door: Door, admin: dict[str, str], clock: HandClock, mailer: ScriptedMailer
) -> None:
    [letter] = await refused_mails(door.house, clock, mailer, door.client, "ada")
    await door.client.post(f"{LETTERS}/{letter}/replay", headers=admin)
    for answer in (
        await door.client.post(f"{LETTERS}/{letter}/replay", headers=admin),
        await door.client.delete(f"{LETTERS}/{letter}", headers=admin),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "operations.not_dead")


async def test_a_repeated_replay_with_the_same_key_is_one(
    door: Door, admin: dict[str, str], clock: HandClock, mailer: ScriptedMailer
) -> None:
    [letter] = await refused_mails(door.house, clock, mailer, door.client, "ada")
    headers = {**admin, "Idempotency-Key": "again"}
    answers = [await door.client.post(f"{LETTERS}/{letter}/replay", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert await value(door.house, "SELECT count(*) FROM events WHERE name = 'operations.dead_letter_replayed'") == 1


async def test_pages_follow_each_other_while_more_letters_come(
    door: Door, admin: dict[str, str], clock: HandClock, mailer: ScriptedMailer
) -> None:
    letters = await refused_mails(door.house, clock, mailer, door.client, "ada", "bea", "cid")
    first = (await door.client.get(LETTERS, headers=admin, params={"limit": 2, "reaction": WELCOME})).json()
    assert [entry["id"] for entry in first["data"]] == letters[:2]
    mailer.failures = [ValueError("550 no such user")] * 2
    await sign_up(door.client, email="dan@example.com")
    await harness_of(door.house).settle()
    second = (await door.client.get(LETTERS, headers=admin, params={"limit": 2, "cursor": first["meta"]["page"]["next_cursor"]})).json()
    assert [entry["id"] for entry in second["data"]] == letters[2:]
    assert second["meta"]["page"]["next_cursor"] is None
    assert (await door.client.get(LETTERS, headers=admin, params={"reaction": "accounts.other"})).json()["data"] == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"limit": 0}, "/limit"), ({"limit": 101}, "/limit"), ({"cursor": "bm9uZQ.bm9uZQ"}, "/cursor"), ({"reaction": "\0"}, "/reaction")],
)
async def test_a_wrong_parameter_is_named(door: Door, admin: dict[str, str], parameters: dict[str, str], field: str) -> None:
    answer = await door.client.get(LETTERS, headers=admin, params=parameters)
    assert answer.status_code == 422
    assert list(wrong_fields(answer)) == [field]


async def test_nobody_but_an_admin_sees_or_decides_anything(door: Door, clock: HandClock, mailer: ScriptedMailer) -> None:
    [letter] = await refused_mails(door.house, clock, mailer, door.client, "ada")
    person = await sign_up(door.client, email="bea@example.com")
    for method, path in (("GET", ""), ("GET", f"/{letter}"), ("POST", f"/{letter}/replay"), ("DELETE", f"/{letter}")):
        anonymous = await door.client.request(method, LETTERS + path)
        assert anonymous.status_code == 401
        denied = await door.client.request(method, LETTERS + path, headers=person.headers)
        assert (denied.status_code, denied.json()["code"]) == (403, "auth.denied")


async def test_the_command_line_lists_shows_replays_and_drops(
    settings: Settings, door: Door, clock: HandClock, mailer: ScriptedMailer
) -> None:
    nothing = await fluentpro(settings, "dead", "list")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "There are no dead letters." in nothing.stderr
    newest, *older = await refused_mails(door.house, clock, mailer, door.client, "ada", "bea", "cid")
    listed = await fluentpro(settings, "dead", "list", "--json")
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [newest, *older]
    text = await fluentpro(settings, "dead", "list", "--limit", "1")
    assert newest in text.stdout
    assert f"{WELCOME} <- accounts.registered, 2 tries: ValueError: 550 no such user" in text.stdout
    shown = json.loads((await fluentpro(settings, "dead", "show", newest)).stdout)
    assert (shown["id"], shown["envelope"]["name"]) == (newest, "accounts.registered")

    sent = len(mailer.sent)
    replayed = await fluentpro(settings, "dead", "replay", newest)
    assert (replayed.returncode, replayed.stdout) == (0, f"{newest} will be tried again.\n")
    clock.move(days=1)  # The command line has the clock of the machine, these tests one of their own.
    await harness_of(door.house).settle()
    assert len(mailer.sent) == sent + 1
    dropped = await fluentpro(settings, "dead", "drop", "--reaction", WELCOME)
    assert (dropped.returncode, dropped.stdout) == (0, "".join(f"{letter} is dropped.\n" for letter in older))
    assert "has no dead letters" in (await fluentpro(settings, "dead", "drop", "--reaction", WELCOME)).stderr


async def test_the_command_line_says_what_is_wrong(settings: Settings, door: Door) -> None:  # noqa: ARG001 - it has migrated and seeded
    unknown = "0199a8a0-0000-7000-8000-000000000000"
    for arguments, expected in {
        ("show", unknown): "There is no such dead letter.",
        ("replay", unknown): f"{unknown}: There is no such dead letter.",
        ("replay",): "Name the dead letters by their ids, or all of one reaction with --reaction.",
        ("drop", unknown, "--reaction", WELCOME): "Name the dead letters by their ids, or all of one reaction with --reaction.",
        ("show", "x"): "'x' is not a valid UUID",
    }.items():
        done = await fluentpro(settings, "dead", *arguments)
        assert done.returncode != 0
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
