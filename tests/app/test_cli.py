"""The `fluentpro` command, as somebody at a terminal has it."""

import json

import msgspec
import pytest

from app.bootstrap import House
from app.embedded import free_port
from app.settings import Settings
from tests.app.client import PASSWORD, empty_database, fluentpro
from tests.support import rows, value

ADMIN = ("admin", "create", "--email", "Root@Example.com", "--full-name", "Grace Hopper", "--date-of-birth", "1906-12-09")


async def test_only_json_goes_to_standard_output_and_in_testing_the_urls_can_be_used(settings: Settings) -> None:
    done = await fluentpro(settings, "config", "--json", FLUENTPRO_SMTP_URL="smtp://post:hunter2@mail.example.com")
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert set(shown) == {field.name for field in msgspec.structs.fields(Settings)}
    assert (shown["database_url"], shown["redis_url"]) == (settings.database_url, settings.redis_url)
    assert (shown["env"], shown["secret_key"]) == ("testing", "***")
    assert shown["smtp_url"] == "smtp://post:***@mail.example.com"


async def test_in_production_no_password_is_shown(settings: Settings) -> None:
    production = msgspec.structs.replace(
        settings,
        env="production",
        public_url="https://api.example.com",
        database_url="postgresql://app:hunter2@db.example.com/app",
        redis_url="redis://:hunter3@redis.example.com",
    )
    for arguments in (("config", "--json"), ("config",)):
        done = await fluentpro(production, *arguments)
        assert done.returncode == 0, done.stderr
        for secret in ("hunter2", "hunter3", settings.secret_key):
            assert secret not in done.stdout + done.stderr
        assert "db.example.com" in done.stdout


async def test_every_message_is_described_with_what_it_causes(settings: Settings) -> None:
    text, structured = await fluentpro(settings, "describe"), await fluentpro(settings, "describe", "--json")
    assert (text.returncode, structured.returncode) == (0, 0)
    found = {message["name"]: message for message in json.loads(structured.stdout)}
    assert [reaction["name"] for reaction in found["accounts.registered"]["reactions"]] == [
        "accounts.send_welcome",
        "onboarding.begin_journey",
    ]
    assert found["accounts.registered"]["stream"] == "events.accounts"
    assert found["accounts.sign_in"]["policy"] == "anyone"
    assert all(name in text.stdout for name in found)


async def test_an_admin_is_made_once_with_a_password_that_nobody_sees(settings: Settings, house: House) -> None:
    made = await fluentpro(settings, *ADMIN, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    [account] = await rows(house, "SELECT id, email, admin FROM accounts")
    assert (account["email"], account["admin"]) == ("root@example.com", True)
    assert str(account["id"]) in made.stdout
    again = await fluentpro(settings, *ADMIN, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert again.returncode == 1
    assert "e-mail address already" in again.stderr
    assert PASSWORD not in made.stdout + made.stderr + again.stdout + again.stderr
    assert await value(house, "SELECT count(*) FROM accounts") == 1
    recorded = await rows(house, "SELECT name, meta->'actor'->>'kind' AS actor FROM events ORDER BY id")
    assert [tuple(row.values()) for row in recorded] == [("accounts.registered", "system"), ("accounts.admin_granted", "system")]


async def test_a_weak_password_of_an_admin_is_named_and_not_repeated(settings: Settings, house: House) -> None:
    done = await fluentpro(settings, *ADMIN, "--password-stdin", stdin="grace1906\n")
    assert done.returncode == 1
    assert "password: Use a password that is harder to guess" in done.stderr
    assert "grace1906" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert await value(house, "SELECT count(*) FROM accounts") == 0


async def test_migrating_and_seeding_can_be_repeated(settings: Settings) -> None:
    async with empty_database(settings) as empty:
        early = await fluentpro(empty, "seed")
        assert early.returncode == 1
        assert "fluentpro migrate" in early.stderr
        assert "Traceback" not in early.stderr
        differing = await fluentpro(empty, "migrate", "--check")
        assert differing.returncode == 1
        assert "accounts" in differing.stderr
        for arguments in (("migrate",), ("migrate",), ("migrate", "--check"), ("seed",), ("seed",)):
            done = await fluentpro(empty, *arguments)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("command", ["web", "relay", "worker", "migrate", "seed", "config", "up"])
async def test_a_setting_that_does_not_exist_stops_every_command(settings: Settings, command: str) -> None:
    done = await fluentpro(settings, command, FLUENTPRO_PROT="8000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "FLUENTPRO_PROT is not a setting: did you mean FLUENTPRO_PORT?" in done.stderr
    assert "Traceback" not in done.stderr


async def test_what_production_lacks_is_said_in_one_message(settings: Settings) -> None:
    port = free_port()
    production = msgspec.structs.replace(
        settings, env="production", debug=True, secret_key="", database_url="", redis_url=f"redis://127.0.0.1:{port}"
    )
    done = await fluentpro(production, "web")
    assert done.returncode == 1
    for problem in ("SECRET_KEY is missing", "DEBUG must be off", "DATABASE_URL is missing", "PUBLIC_URL must", f"127.0.0.1:{port}"):
        assert problem in done.stderr
    assert "Traceback" not in done.stderr


async def test_production_does_not_start_while_a_server_does_not_answer(settings: Settings) -> None:
    production = msgspec.structs.replace(
        settings, env="production", public_url="https://api.example.com", redis_url=f"redis://127.0.0.1:{free_port()}"
    )
    done = await fluentpro(production, "worker")
    assert done.returncode == 1
    assert "FLUENTPRO_REDIS_URL: nothing answers at" in done.stderr


async def test_without_servers_a_process_says_how_to_have_some(settings: Settings) -> None:
    done = await fluentpro(msgspec.structs.replace(settings, env="development", database_url="", redis_url=""), "web")
    assert done.returncode == 1
    assert "start `make run`, or set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL" in done.stderr
