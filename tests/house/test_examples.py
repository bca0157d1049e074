"""The consumers under `docs/examples` and the words of `docs/consuming.md`, against a stream that the shipped relay fills."""

import asyncio
import json
import os
import re
import select
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from redis import Redis

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from bus.harness import Harness
from bus.message import ANONYMOUS, Actor
from bus.transport import FIELDS
from domain.accounts.commands import ChangeProfile
from domain.types import AccountId
from tests.app.client import eventually, running
from tests.app.processes import room
from tests.factories import Registrations
from tests.house.copies import REPOSITORY
from tests.kills.servers import Servers, own_servers
from tests.node import NODE, installed, npm_in
from tests.support import ScriptedMailer, rows, value

STREAM, GROUP = "events.accounts", "crm"
PYTHON = [sys.executable, str(REPOSITORY / "docs" / "examples" / "python" / "consume.py")]
CONSUMERS = {"python": lambda: PYTHON, "node": lambda: [str(NODE), str(installed() / "consume.mjs")]}
# One page of memory, so that a consumer that nobody listens to stands still within its first hundred entries.
PIPE = 4096
BATCH = 100


class Effect(NamedTuple):
    key: str
    position: int
    type: str
    version: int
    data: str


class Consumer:
    """One of the examples in a process of its own."""

    def __init__(self, command: list[str], url: str, file: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*command, url, STREAM, GROUP, str(file), *options],
            cwd=file.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pipesize=PIPE,
        )

    def says(self, lines: int) -> list[str]:
        """The next lines, and not one byte of those behind them."""
        assert self.process.stdout is not None
        said: list[str] = []
        while len(said) < lines:
            assert select.select([self.process.stdout], [], [], 30)[0], f"nothing more within 30 s, after {said}"
            said.append(self.process.stdout.readline().decode().strip())
            assert said[-1], f"it ended: {self.process.communicate()[1].decode()}"
        return said

    def takes(self, events: int) -> None:
        """Listen until it has taken so many more, whatever it had before."""
        while events:
            events -= self.says(1)[0].startswith("took ")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ends(self) -> tuple[int, str]:
        """Its exit status, and what it said is wrong."""
        _, wrong = self.process.communicate(timeout=60)
        return self.process.returncode, wrong.decode()


Consume = Callable[..., Consumer]


@pytest.fixture(params=CONSUMERS)
def consume(request: pytest.FixtureRequest) -> Generator[Consume]:
    """Starts one of the examples, with a URL, a file and options; whatever is left of it ends with the test."""
    started: list[Consumer] = []

    def start(*arguments: Any) -> Consumer:
        started.append(Consumer(CONSUMERS[request.param](), *arguments))
        return started[-1]

    yield start
    for consumer in started:
        consumer.kill()


@pytest.fixture
def servers() -> Generator[Servers]:
    with room() as folder, own_servers(folder / "servers", postgres=False) as servers:
        yield servers


@pytest.fixture
async def house(settings: Settings, mailer: ScriptedMailer) -> AsyncGenerator[House]:
    """As the shipped one, by the clock of the relay's process."""
    async with open_house(settings, Ports(mailer=mailer)) as house:
        yield house


def connect(settings: Settings) -> Any:
    plain: Any = Redis
    return plain.from_url(settings.redis_url, decode_responses=True)


@pytest.fixture
def redis(settings: Settings) -> Generator[Any]:
    with connect(settings) as connection:
        yield connection


async def people(house: House, number: int) -> list[AccountId]:
    return [(await house.bus.execute(person, by=ANONYMOUS)).profile.id for person in Registrations.batch(number)]


async def change(house: House, accounts: list[AccountId], times: int) -> None:
    for number in range(times):
        account = accounts[number % len(accounts)]
        changed = ChangeProfile(account=account, expected=None, full_name=f"Name {number}x"[:20])
        await house.bus.execute(changed, by=Actor(kind="person", id=account))


async def published(house: House, redis: Any) -> None:
    """Until everything that has happened is in the stream."""

    async def all_of_it() -> bool:
        last = await value(house, "SELECT max(f.position) FROM feed f WHERE f.area = 'accounts'")
        waiting = await value(house, "SELECT count(*) FROM outbox WHERE kind = 'event'")
        return not waiting and bool(redis.exists(STREAM)) and redis.xinfo_stream(STREAM)["last-generated-id"] == f"{last}-0"

    await eventually(all_of_it, "the relay has published everything", 30)


def effects(file: Path) -> list[Effect]:
    with sqlite3.connect(file) as connection:
        return [Effect(*row) for row in connection.execute("SELECT key, position, type, version, data FROM timeline ORDER BY n")]


async def happened(house: House) -> list[Effect]:
    found = await rows(
        house,
        "SELECT e.key, f.position, e.name, e.v, e.data::text AS data FROM feed f JOIN events e ON e.id = f.event"
        " WHERE f.area = 'accounts' ORDER BY f.position",
    )
    return [Effect(row["key"], row["position"], row["name"], row["v"], row["data"]) for row in found]


async def test_a_consumer_that_is_killed_goes_on_with_every_effect_once_and_in_order(
    consume: Consume, settings: Settings, house: House, redis: Any, tmp_path: Path
) -> None:
    file = tmp_path / "crm.sqlite"
    async with running(settings) as start:
        start("relay")
        await change(house, await people(house, 3), 2 * BATCH + 20)
        await published(house, redis)

    first = consume(settings.redis_url, file)
    assert all(line.startswith("took ") for line in first.says(10))
    first.kill()
    done = len(effects(file))
    assert 10 <= done < BATCH, "it was to be killed with effects that are committed, but not acknowledged"
    assert redis.xpending(STREAM, GROUP)["pending"] == BATCH

    second = consume(settings.redis_url, file)
    assert all(line.startswith("had ") for line in second.says(done))
    assert all(line.startswith("took ") for line in second.says(BATCH))
    second.kill()

    assert consume(settings.redis_url, file, "--once").ends()[0] == 0
    assert effects(file) == await happened(house)
    assert redis.xpending(STREAM, GROUP)["pending"] == 0


async def test_a_consumer_goes_on_when_redis_comes_back_without_its_data_and_when_it_loses_them(
    consume: Consume, settings: Settings, servers: Servers, mailer: ScriptedMailer, tmp_path: Path
) -> None:
    file, lone = tmp_path / "crm.sqlite", msgspec.structs.replace(settings, redis_url=servers.url("valkey"))
    async with open_house(lone, Ports(mailer=mailer)) as house, running(lone) as start:
        start("relay")
        accounts = await people(house, 2)
        consumer = consume(lone.redis_url, file)
        await change(house, accounts, 10)
        consumer.takes(12)
        servers.kill("valkey")
        await change(house, accounts, 5)
        servers.start("valkey")
        await change(house, accounts, 5)
        consumer.takes(10)
        with connect(lone) as redis:
            redis.flushdb()
        await change(house, accounts, 5)
        consumer.takes(5)
        consumer.kill()
        assert effects(file) == await happened(house)


async def test_a_second_consumer_of_the_same_file_is_refused(
    consume: Consume, settings: Settings, house: House, harness: Harness, tmp_path: Path
) -> None:
    await people(house, 1)
    await harness.settle()
    consume(settings.redis_url, tmp_path / "crm.sqlite").says(1)
    status, wrong = consume(settings.redis_url, tmp_path / "crm.sqlite").ends()
    assert (status, "database is locked" in wrong) == (1, True)


CONSUMING = (REPOSITORY / "docs" / "consuming.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", CONSUMING, re.MULTILINE | re.DOTALL)
SCRIPTS = [body for kind, body in BLOCKS if kind == "sh"]
COMMANDS = [shlex.split(line) for kind, body in BLOCKS if kind == "redis" for line in body.splitlines()]


def checkout(folder: Path) -> Path:
    """The examples without their packages, where what they write disturbs nobody."""
    copy = folder / "checkout"
    shutil.copytree(REPOSITORY / "docs" / "examples", copy / "docs" / "examples", ignore=shutil.ignore_patterns("node_modules"))
    return copy


def test_the_lock_names_every_package_by_its_content_and_none_by_its_place() -> None:
    lock = json.loads((REPOSITORY / "docs" / "examples" / "node" / "package-lock.json").read_text())
    packages = [about for place, about in lock["packages"].items() if place]
    assert packages
    assert [about for about in packages if "resolved" in about or not about["integrity"].startswith("sha512-")] == []


def test_every_block_of_the_document_is_run() -> None:
    assert len(BLOCKS) == len(SCRIPTS) + sum(kind == "redis" for kind, _ in BLOCKS) == CONSUMING.count("```") // 2
    assert (len(SCRIPTS), len(COMMANDS)) == (2, 7)


async def test_the_examples_run_as_the_document_says_and_one_goes_on_where_the_other_ended(
    settings: Settings, house: House, harness: Harness, tmp_path: Path
) -> None:
    accounts, folder = await people(house, 1), checkout(tmp_path)
    tools = {"PATH": f"{npm_in(tmp_path)}:{Path(sys.executable).parent}:{os.environ['PATH']}", "npm_config_prefer_offline": "true"}
    for script in SCRIPTS:
        await change(house, accounts, 3)
        await harness.settle()
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euo", "pipefail", "-c", script],
            env={**os.environ, **tools, "FLUENTPRO_REDIS_URL": settings.redis_url},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("took ") >= 3
        assert effects(folder / "crm.sqlite") == await happened(house)


async def test_the_commands_of_the_document_do_what_it_says(house: House, harness: Harness, redis: Any) -> None:
    accounts = await people(house, 1)
    await harness.settle()
    answers = {" ".join(command[:2]): redis.execute_command(*command) for command in COMMANDS}
    assert answers["XACK events.accounts"] == 1
    [[_, entries]] = answers["XREADGROUP GROUP"]
    assert entries == redis.xrange(STREAM)
    groups = {group["name"]: group["lag"] for group in redis.xinfo_groups(STREAM) if group["name"].startswith("crm")}
    assert groups == {"crm": 0, "crm-from-now": 0}
    await change(house, accounts, 1)
    await harness.settle()
    [[_, [entry]]] = redis.xreadgroup("crm-from-now", "consumer", {STREAM: ">"})
    assert entry == redis.xrevrange(STREAM, count=1)[0]


def test_the_document_names_every_field_of_an_entry() -> None:
    table = CONSUMING.partition("| field | |\n")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[1:])) == list(FIELDS)
