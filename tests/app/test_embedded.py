"""PostgreSQL and Valkey as children: what they keep, where they listen, and what a crash leaves behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis

from app.data_folder import DataFolderError, Servers, claim, owned, recorded
from app.embedded import EmbeddedError, bring_up, prepared, serving
from tests.app.processes import NOBODY, PLACES, abandoned, here, place, room, until

T = TypeVar("T")
SERVE = """
import signal
from pathlib import Path
from app.embedded import serving
with serving(Path(".data")) as servers:
    print(servers, flush=True)
    signal.pause()
"""


def ask(url: str, question: Callable[[Any], Awaitable[T]]) -> T:
    async def asked() -> T:
        driver: Any = asyncpg
        connection = await driver.connect(url, timeout=5)
        try:
            return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(asked())


def value(url: str, query: str) -> Any:
    return ask(url, lambda connection: connection.fetchval(query))


def execute(url: str, *statements: str) -> None:
    ask(url, lambda connection: connection.execute(";".join(statements)))


def with_redis(url: str, question: Callable[[Any], T]) -> T:
    factory: Any = redis.Redis
    client = factory.from_url(url, decode_responses=True)
    try:
        return question(client)
    finally:
        client.close()


def write(servers: Servers) -> None:
    execute(servers.database_url, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('here')")
    with_redis(servers.redis_url, lambda client: client.xadd("kept", {"word": "here"}, id="7-0"))


def written(servers: Servers) -> tuple[str, list[Any]]:
    return value(servers.database_url, "SELECT word FROM kept"), with_redis(servers.redis_url, lambda client: client.xrange("kept"))


KEPT = ("here", [("7-0", {"word": "here"})])


def port(url: str) -> int:
    found = urlsplit(url).port
    assert found is not None
    return found


@pytest.fixture(scope="module")
def made() -> Generator[tuple[Path, Servers]]:
    """A folder whose servers run, for the tests that only look."""
    with room() as folder, serving(folder) as servers:
        yield folder, servers


@pytest.fixture
def root() -> Generator[Path]:
    with room() as folder:
        yield folder


def test_the_urls_work_as_they_are_and_both_servers_are_durable(made: tuple[Path, Servers]) -> None:
    _, servers = made
    assert urlsplit(servers.database_url).path == "/fluentpro"
    assert value(servers.database_url, "SHOW server_version_num")[:2] == "18"
    assert value(servers.database_url, "SHOW fsync") == "on"
    locale = "SELECT datlocprovider::text || datlocale || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    assert value(servers.database_url, locale) == "bC.UTF-8UTF8"
    shown = with_redis(servers.redis_url, lambda client: client.config_get("appendonly", "appendfsync", "maxmemory-policy"))
    assert shown == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


def test_nobody_comes_in_without_the_password(made: tuple[Path, Servers]) -> None:
    _, servers = made
    parts = urlsplit(servers.database_url)
    stranger = urlunsplit(parts._replace(netloc=f"fluentpro:guess@127.0.0.1:{parts.port}"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        value(stranger, "SELECT 1")
    with pytest.raises(redis.AuthenticationError):
        with_redis(f"redis://127.0.0.1:{port(servers.redis_url)}", lambda client: client.ping())


def test_they_listen_on_loopback_only(made: tuple[Path, Servers]) -> None:
    _, servers = made
    assert value(servers.database_url, "SHOW listen_addresses") == "127.0.0.1"
    assert value(servers.database_url, "SHOW unix_socket_directories") == ""
    assert with_redis(servers.redis_url, lambda client: client.config_get("bind"))["bind"] == "127.0.0.1"


def test_no_password_is_readable_by_others(made: tuple[Path, Servers]) -> None:
    folder, servers = made
    secrets = [urlsplit(url).password or "" for url in (servers.database_url, servers.redis_url)]
    assert [path.name for path in folder.iterdir() if path.name != "LOCATION" and path.stat().st_mode & 0o077] == []
    commands = [path.read_bytes().decode() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands for secret in secrets if secret in command]


def test_the_servers_are_on_record_while_they_run(made: tuple[Path, Servers]) -> None:
    folder, servers = made
    assert (owned(folder), recorded(folder)) == (True, servers)


def test_a_second_owner_is_told_by_which_process_the_folder_is_used(made: tuple[Path, Servers]) -> None:
    folder, _ = made
    with pytest.raises(DataFolderError, match=rf"is in use by process {os.getpid()} \(.+\)\. Stop that one, or set FLUENTPRO_DATA_DIR"):
        serving(folder).__enter__()


def test_a_second_start_keeps_data_and_ports_and_beside_it_another_folder_lives(root: Path, made: tuple[Path, Servers]) -> None:
    with serving(root / "own") as first:
        write(first)
        assert value(made[1].database_url, "SELECT to_regclass('kept')") is None
    assert abandoned(root / "own")
    with serving(root / "own") as second:
        assert second == first
        assert written(second) == KEPT
    with socket.create_server(("127.0.0.1", port(first.database_url))), serving(root / "own") as third:
        assert port(third.database_url) != port(first.database_url)
        assert third.redis_url == first.redis_url
        assert written(third) == KEPT


def test_throw_away_servers_do_not_wait_for_the_disk(root: Path) -> None:
    with serving(root / "data", durable=False) as servers:
        assert value(servers.database_url, "SHOW fsync") == "off"
        assert with_redis(servers.redis_url, lambda client: client.config_get("appendonly")) == {"appendonly": "no"}


def test_killed_servers_come_back_with_their_data_at_the_same_place(root: Path) -> None:
    folder = root / "data"
    with claim(folder) as lifeline, prepared(folder, lifeline) as servers:
        running = bring_up(folder, servers)
        write(running)
        for server in servers:
            os.kill(server.child.pid, signal.SIGKILL)
            until(lambda server=server: server.child.exit_code == -signal.SIGKILL, "killed")
        assert not any(server.ready() for server in servers)
        # The backends of a killed postmaster need a moment to notice; until then a new one refuses to start, and is started again.
        for server in servers:
            server.start()
            until(lambda server=server: server.ready() or (server.child.exit_code is not None and server.start()), "back")
        assert written(running) == KEPT
        for server in servers:
            assert server.child.stop(10)
    assert abandoned(folder)


def test_what_a_crash_leaves_is_dealt_with(root: Path) -> None:
    folder = root / "data"
    half_made = folder / "postgres.partial" / "cluster"
    half_made.mkdir(parents=True)
    folder.chmod(0o711)
    (half_made / "PG_VERSION").write_text("18\n")
    with serving(folder) as servers:
        assert not half_made.parent.exists()
        write(servers)
    # The process id of a postmaster that was killed belongs to somebody else by now, who runs as the same user.
    owner = (folder / "postgres").stat().st_uid
    other = subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None)
    try:
        stale = folder / "postgres" / "cluster" / "postmaster.pid"
        stale.write_text(f"{other.pid}\n{stale.parent}\n0\n{port(servers.database_url)}\n\n127.0.0.1\n0 0\nready   \n")
        os.chown(stale, owner, -1)
        with serving(folder) as servers:
            assert written(servers) == KEPT
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_folder_too_deep_for_a_socket_works(root: Path) -> None:
    with serving(root / ("deep" * 20) / ("deeper" * 15) / "with a space") as servers:
        assert value(servers.database_url, "SELECT 1") == 1
        assert with_redis(servers.redis_url, lambda client: client.ping())


def test_servers_of_a_killed_owner_end_and_the_next_start_finds_the_data(root: Path) -> None:
    spot = here(root)
    owner = spot.start("-c", SERVE)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("Servers(")
    servers = recorded(spot.data)
    write(servers)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with serving(spot.data) as again:
        assert again == servers
        assert written(again) == KEPT


def test_a_leftover_that_does_not_end_is_killed(root: Path) -> None:
    with claim(root) as lifeline:
        leftover = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(lifeline,))
    with claim(root, patience=0.2):
        assert leftover.wait(5) == -signal.SIGKILL
    assert leftover.stdin is not None
    leftover.stdin.close()


def test_a_cluster_of_another_version_is_named(root: Path) -> None:
    cluster = root / "data" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (root / "data").chmod(0o711)
    (cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="was made by PostgreSQL 17, and this is 18: dump it"):
        serving(root / "data").__enter__()


def test_a_server_that_cannot_start_says_why(root: Path) -> None:
    folder = root / "data"
    with serving(folder):
        pass
    (folder / "postgres" / "cluster" / "postgresql.conf").write_text("nonsense\n")
    with pytest.raises(EmbeddedError, match=r"postgres does not start\. Its last words in .*postgres\.log:\n(?s:.)*syntax error"):
        serving(folder).__enter__()
    assert abandoned(folder)


def modes(folder: Path) -> dict[Path, tuple[int, int]]:
    return {parent: (parent.stat().st_mode, parent.stat().st_uid) for parent in (folder, *folder.parents)}


@pytest.mark.parametrize("name", PLACES)
def test_they_run_wherever_one_may_be_and_change_the_mode_of_no_folder(name: str) -> None:
    with place(name) as spot:
        before = modes(spot.folder)
        for start in ("first", "second"):
            owner = spot.start("-c", SERVE)
            assert owner.stdout is not None
            line = owner.stdout.readline()
            assert line.startswith("Servers("), line + owner.stdout.read()
            servers = recorded(spot.data)
            if start == "first":
                write(servers)
            assert written(servers) == KEPT
            status = value(servers.database_url, "SELECT pg_read_file('/proc/self/status')")
            assert int(re.findall(r"Uid:\s+(\d+)", status)[0]) == (NOBODY if os.geteuid() == 0 else os.geteuid())
            owner.terminate()
            owner.wait()
            owner.stdout.close()
            until(lambda: abandoned(spot.data), "everything ended")
        assert modes(spot.folder) == before
        assert (spot.data / "LOCATION").exists() == (name == "root_below_a_private_folder")


if os.geteuid() == 0:

    def test_data_made_in_place_moves_when_the_folder_becomes_private() -> None:
        with place(PLACES[0]) as spot:
            home = spot.folder.parent
            home.parent.chmod(0o755)
            home.chmod(0o755)
            with serving(spot.data) as servers:
                write(servers)
            assert not (spot.data / "LOCATION").exists()
            home.chmod(0o700)
            with serving(spot.data) as servers:
                assert written(servers) == KEPT
            assert sorted(path.name for path in spot.data.iterdir() if path.is_dir()) == ["logs"]

    def test_two_copies_of_a_folder_do_not_share_their_data() -> None:
        with place(PLACES[0]) as spot, serving(spot.data):
            copy = spot.folder / "copy"
            copy.mkdir()
            location = (spot.data / "LOCATION").read_text()
            (copy / "LOCATION").write_text(location)
            with pytest.raises(DataFolderError, match=re.escape(f"The data folder {location.strip()} is in use by process {os.getpid()}")):
                serving(copy).__enter__()

    def test_data_that_has_gone_is_not_replaced_in_silence() -> None:
        with place(PLACES[0]) as spot:
            spot.data.mkdir()
            (spot.data / "LOCATION").write_text("/nowhere/at/all\n")
            with pytest.raises(EmbeddedError, match="LOCATION names /nowhere/at/all, which is gone"):
                serving(spot.data).__enter__()
