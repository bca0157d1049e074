"""What the environment may say, and what is said about it."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from app import data_folder
from app.settings import Settings, SettingsError, as_environ, load, masked, require, resolve, unreachable

STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF"


@contextlib.contextmanager
def listening() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def exposed(**changes: str) -> dict[str, str]:
    """A production environment without a fault; nothing listens at its URLs."""
    return {
        "FLUENTPRO_ENV": "production",
        "FLUENTPRO_SECRET_KEY": STRONG,
        "FLUENTPRO_DATABASE_URL": "postgresql://fluentpro:hidden@127.0.0.1:1/fluentpro",
        "FLUENTPRO_REDIS_URL": "redis://:hidden@127.0.0.1:1/0",
        "FLUENTPRO_PUBLIC_URL": "https://api.fluentpro.test",
    } | {f"FLUENTPRO_{name.upper()}": value for name, value in changes.items()}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(environ)
    return refused.value.problems


def test_an_empty_environment_is_development_on_loopback() -> None:
    settings = load({"HOME": "/nowhere"})
    assert (settings.env, settings.host, settings.port, settings.data_dir) == ("development", "127.0.0.1", 8000, ".data")
    assert settings.data_path == Path.cwd() / ".data"
    assert settings.secret_key == ""


def test_every_kind_of_value_is_converted() -> None:
    settings = load(
        {"FLUENTPRO_PORT": "9000", "FLUENTPRO_DEBUG": "true", "FLUENTPRO_RELAY_POLL": "0.5", "FLUENTPRO_LOG_LEVEL": "debug", "OTHER": "x"}
    )
    assert (settings.port, settings.debug, settings.relay_poll, settings.log_level) == (9000, True, 0.5, "debug")


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({"FLUENTPRO_PORT": "", "FLUENTPRO_DATABASE_URL": ""}) == Settings()


def test_every_bad_variable_is_named_at_once() -> None:
    found = problems(
        {
            "FLUENTPRO_PORT": "eighty",
            "FLUENTPRO_ENV": "prod",
            "FLUENTPRO_RELAY_POLL": "0",
            "FLUENTPRO_DATABASE_POOL": "0",
            "FLUENTPRO_BACKOFF_MOST": "inf",
            "FLUENTPRO_TRUSTED_PROXIES": "10.0.0.0/8, proxy",
            "FLUENTPRO_MAIL_FROM": "nobody",
            "FLUENTPRO_DATABASE_URL": "mysql://db/x",
            "FLUENTPRO_REDIS_URL": "redis://host:port/0",
        }
    )
    named = {problem.split(":")[0].split(" ")[0] for problem in found}
    assert named == {f"FLUENTPRO_{name}" for name in ("PORT", "ENV", "RELAY_POLL", "DATABASE_POOL", "BACKOFF_MOST", "TRUSTED_PROXIES")} | {
        "FLUENTPRO_MAIL_FROM",
        "FLUENTPRO_DATABASE_URL",
        "FLUENTPRO_REDIS_URL",
    }


def test_a_choice_names_what_may_be_chosen() -> None:
    assert problems({"FLUENTPRO_ENV": "prod"}) == ["FLUENTPRO_ENV: must be one of development, testing, staging, production."]


@pytest.mark.parametrize("typo", ["FLUENTPRO_DATABSE_URL", "FLUENTPRO_database_url"])
def test_an_unknown_variable_is_named_with_the_nearest_known_one(typo: str) -> None:
    assert problems({typo: "postgresql://db/x"}) == [f"{typo} is not a setting: did you mean FLUENTPRO_DATABASE_URL?"]


def test_a_variable_like_none_is_named_too() -> None:
    assert problems({"FLUENTPRO_XYZZY": "1"}) == ["FLUENTPRO_XYZZY is not a setting: `fluentpro config` lists them."]


def test_no_message_repeats_a_value_that_may_be_secret() -> None:
    hidden = "hunter2hunter2"
    found = problems(
        {
            "FLUENTPRO_PORT": hidden,
            "FLUENTPRO_ENV": hidden,
            "FLUENTPRO_REDIS_URL": f"http://:{hidden}@host",
            "FLUENTPRO_DATABASE_URL": f"postgresql://u:{hidden}@host:bad/x",
        }
    )
    assert len(found) == 4
    assert hidden not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.internal:5433/x",
        "postgres:///x?host=/run/postgresql",
        "postgresql://one:1,two:2/x",
        "postgresql+asyncpg://u@[::1]:5432/x",
    ],
)
def test_urls_of_every_form_are_taken(url: str) -> None:
    assert load({"FLUENTPRO_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "url", ["postgresql://", "postgresql://u:p@:5432/x", "postgresql://host:99999/x", "postgresql://[::1/x", "db.internal"]
)
def test_an_unreadable_url_is_refused(url: str) -> None:
    assert [problem.split(":")[0] for problem in problems({"FLUENTPRO_DATABASE_URL": url})] == ["FLUENTPRO_DATABASE_URL"]


@pytest.mark.parametrize("env", ["staging", "production"])
def test_what_suits_a_developer_only_is_refused_all_at_once(env: str) -> None:
    found = problems({"FLUENTPRO_ENV": env, "FLUENTPRO_DEBUG": "1"})
    assert [problem.split(" ")[0] for problem in found] == [
        "FLUENTPRO_SECRET_KEY",
        "FLUENTPRO_DEBUG",
        "FLUENTPRO_DATABASE_URL",
        "FLUENTPRO_REDIS_URL",
        "FLUENTPRO_PUBLIC_URL",
    ]


@pytest.mark.parametrize("env", ["development", "testing"])
def test_a_developer_needs_none_of_it(env: str) -> None:
    assert load({"FLUENTPRO_ENV": env, "FLUENTPRO_DEBUG": "1", "FLUENTPRO_SECRET_KEY": "short"}).env == env


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "is missing"),
        (STRONG[:31], "is shorter than 32 bytes"),
        ("abcabcabc" * 6, "has fewer than 10 different characters"),
        (f"{STRONG}-ChangeMe", "is a placeholder"),
    ],
)
def test_a_weak_secret_is_refused(secret: str, reason: str) -> None:
    found = problems(exposed(secret_key=secret))
    assert found[0].startswith(f"FLUENTPRO_SECRET_KEY {reason}: generate one")


def test_a_faultless_production_environment_is_taken() -> None:
    assert load(exposed()).env == "production"


async def test_values_and_servers_that_do_not_answer_are_one_message() -> None:
    with listening() as port:
        found = problems(exposed(debug="1", port="eighty", redis_url=f"redis://127.0.0.1:{port}/0"))
        assert found == [
            "FLUENTPRO_PORT: Expected `int`, got `str`.",
            "FLUENTPRO_DEBUG must be off in production.",
            "FLUENTPRO_DATABASE_URL: nothing answers at 127.0.0.1:1.",
        ]
        settings = msgspec.structs.replace(load(exposed(redis_url=f"redis://127.0.0.1:{port}/0")), debug=True)
        with pytest.raises(SettingsError) as refused:
            await require(settings)
        assert refused.value.problems == found[1:]


async def test_every_server_that_does_not_answer_is_named() -> None:
    settings = load(exposed(database_direct_url="postgresql://127.0.0.1:2/x", smtp_url="smtp://nowhere.invalid"))
    with pytest.raises(SettingsError) as refused:
        await require(settings)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "FLUENTPRO_DATABASE_URL",
        "FLUENTPRO_DATABASE_DIRECT_URL",
        "FLUENTPRO_REDIS_URL",
        "FLUENTPRO_SMTP_URL",
    ]
    assert "hidden" not in str(refused.value)


async def test_servers_that_answer_are_enough() -> None:
    with listening() as port:
        url = f"postgresql://127.0.0.1:1,127.0.0.1:{port}/x"
        await require(load(exposed(database_url=url, redis_url=f"redis://127.0.0.1:{port}")))


async def test_a_developers_servers_are_not_required() -> None:
    await require(Settings(database_url="postgresql://127.0.0.1:1/x"))


async def test_a_server_that_is_silent_costs_three_seconds_whatever_their_number() -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    try:
        for one in waiting:  # They fill the queue of a server that never accepts, so that the next connection hangs.
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        found = await asyncio.wait_for(
            unreachable(Settings(database_url=f"postgresql://127.0.0.1:{port}/x", redis_url=f"redis://127.0.0.1:{port}")), 5
        )
        assert len(found) == 2
        assert time.monotonic() - began < 4
    finally:
        for one in [full, *waiting]:
            one.close()


async def test_a_server_on_a_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.5432"
    settings = Settings(database_url=f"postgresql:///x?host={tmp_path}", redis_url=f"unix://{path}")
    assert len(await unreachable(settings)) == 2
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert await unreachable(settings) == []


def test_a_generated_secret_stays_and_is_ours_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"), database_url="postgresql://db/x", redis_url="redis://r")
    secret = resolve(settings).secret_key
    path = tmp_path / "data" / "secret.key"
    assert len(secret) >= 32
    assert resolve(settings).secret_key == secret == path.read_text().strip()
    assert path.stat().st_mode & 0o777 == 0o600


def test_processes_that_generate_at_once_get_one_secret(tmp_path: Path) -> None:
    code = "import sys, pathlib, app.data_folder as d; sys.stdin.read(); print(d.secret_key(pathlib.Path(sys.argv[1])))"
    asking = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "data"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)
    ]
    for one in asking:  # They read until here, then all begin.
        assert one.stdin is not None
        one.stdin.close()
        one.stdin = None
    answers = {one.communicate(timeout=20)[0] for one in asking}
    assert len(answers) == 1
    assert [path.name for path in (tmp_path / "data").iterdir() if path.is_file()] == ["secret.key"]


def test_of_two_that_write_without_replacing_the_first_stays(tmp_path: Path) -> None:
    data_folder.write_whole(tmp_path / "file", b"first", replace=False)
    data_folder.write_whole(tmp_path / "file", b"second", replace=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]


def test_a_given_secret_is_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"), database_url="postgresql://db/x", redis_url="redis://r", secret_key="given")
    assert resolve(settings).secret_key == "given"
    assert not (tmp_path / "data").exists()


def test_outside_of_development_nothing_is_filled_in() -> None:
    settings = load(exposed())
    assert resolve(settings) is settings


def test_without_servers_the_message_says_how_to_have_some(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    data_folder.record(tmp_path, data_folder.Servers(database_url="postgresql://gone/x", redis_url="redis://gone"))
    with pytest.raises(SettingsError) as refused:
        resolve(settings)
    assert refused.value.problems == [
        f"no embedded servers run for {tmp_path}: start `make run`, or set FLUENTPRO_DATABASE_URL and FLUENTPRO_REDIS_URL."
    ]
    assert masked(settings)["database_url"] == ""


def test_the_urls_of_running_servers_are_filled_in(tmp_path: Path) -> None:
    servers = data_folder.Servers(database_url="postgresql://u:p@127.0.0.1:5/x", redis_url="redis://:p@127.0.0.1:6/0")
    settings = Settings(data_dir=str(tmp_path), redis_url="redis://mine")
    with data_folder.claim(tmp_path):
        data_folder.record(tmp_path, servers)
        found = resolve(settings)
        shown = masked(settings)
    assert (found.database_url, found.redis_url) == (servers.database_url, "redis://mine")
    assert (shown["database_url"], shown["redis_url"]) == (servers.database_url, "redis://mine")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    with data_folder.claim(tmp_path):
        (tmp_path / "servers.json").write_text("{")
        with pytest.raises(SettingsError, match=r"servers\.json is damaged: delete it"):
            resolve(Settings(data_dir=str(tmp_path)))


def test_secrets_and_passwords_are_masked() -> None:
    settings = load(
        exposed(
            smtp_url="smtp://mailer:hidden@mail.test:587?starttls=require",
            database_direct_url="postgresql://db.test/x?user=u&password=hidden",
        )
    )
    shown = masked(settings)
    assert "hidden" not in json.dumps(shown)
    assert shown["secret_key"] == "***"
    assert shown["database_url"] == "postgresql://fluentpro:***@127.0.0.1:1/fluentpro"
    assert shown["database_direct_url"] == "postgresql://db.test/x?user=u&password=***"
    assert shown["redis_url"] == "redis://:***@127.0.0.1:1/0"
    assert shown["smtp_url"] == "smtp://mailer:***@mail.test:587?starttls=require"
    assert set(shown) == {field.name for field in msgspec.structs.fields(Settings)}


def test_a_developer_sees_urls_that_work_and_no_secret() -> None:
    settings = Settings(database_url="postgresql://u:p@db/x", redis_url="redis://:p@r", secret_key="s3cret", smtp_url="smtp://u:p@mail")
    shown = masked(settings)
    assert (shown["database_url"], shown["redis_url"]) == (settings.database_url, settings.redis_url)
    assert (shown["secret_key"], shown["smtp_url"]) == ("***", "smtp://u:***@mail")


def test_settings_survive_the_environment_of_a_child() -> None:
    settings = Settings(debug=True, port=1, relay_poll=0.125, database_url="postgresql://u:p@db/x", env="testing")
    assert load(as_environ(settings)) == settings


def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SettingsError, match="set FLUENTPRO_DATA_DIR to another one"):
        resolve(Settings(data_dir=str(blocked / "data"), database_url="postgresql://db/x", redis_url="redis://r"))


def test_reading_the_settings_reads_nothing_else() -> None:
    before = dict(os.environ)
    assert load({"FLUENTPRO_PORT": "1"}).port == 1
    assert dict(os.environ) == before


@pytest.mark.parametrize("provider", ["EMBEDDER", "LLM"])
def test_an_endpoint_of_language_models_needs_a_model_and_keeps_its_key_to_itself(provider: str) -> None:
    environ = {f"FLUENTPRO_{provider}_URL": "https://u:hidden@models.test/v1", f"FLUENTPRO_{provider}_KEY": "sk-hidden"}
    with pytest.raises(SettingsError) as refused:
        load(environ)
    assert [problem.partition(" ")[0] for problem in refused.value.problems] == [f"FLUENTPRO_{provider}_MODEL"]
    shown = masked(load({**environ, f"FLUENTPRO_{provider}_MODEL": "small"}))
    assert (shown[f"{provider.lower()}_key"], shown[f"{provider.lower()}_model"]) == ("***", "small")
    assert "hidden" not in str(shown)
