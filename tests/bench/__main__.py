"""`make bench-bus`: the bus measured against servers and processes of its own. Exit status 1 when a target is missed."""

import argparse
import json
import os
import secrets
import sys
import time
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path

import uvloop

from app import logs
from app.bootstrap import open_house
from app.data_folder import Servers
from app.embedded import serving
from app.processes import keep_what_is_loaded
from app.settings import Settings
from bus.message import SYSTEM
from db import migrate
from domain.accounts.commands import EnsureSigningKey
from tests.app.client import Person, running, sign_up, web
from tests.app.processes import room
from tests.bench import area, measure
from tests.bench.measure import Scale
from tests.bench.report import TARGETS, Figures, changed, missed, table

PEOPLE = 12
ACCOUNTS = 800


async def bench(settings: Settings, scale: Scale) -> Figures:
    await migrate.upgrade(settings.database_url)
    async with open_house(settings, modules=(area,)) as house:
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        accounts = await measure.add_accounts(house, ACCOUNTS)
        keep_what_is_loaded()
        figures = await measure.execute(house, accounts, scale)
        async with running(settings) as start:
            relay = start("relay")
            await measure.everything_published(house)  # A web process reads every entry, and would still be at those.
            async with web(settings) as server, server.client() as client:
                people: list[Person] = [await sign_up(client, email=f"ada.{number}@example.com") for number in range(PEOPLE)]
                figures |= await measure.delay(house, int(server.base.rpartition(":")[2]), people, scale)
            figures |= await measure.relay(house, accounts, scale)
            worker = start("worker")
            async with web(settings) as server:
                pids = {"executor": os.getpid(), "web": server.pid, "relay": relay.pid, "worker": worker.pid}
                figures |= await measure.memory(house, accounts, pids, scale)
                for process in (relay, worker, server):
                    if process.exit_code is not None:
                        raise AssertionError(f"{process.name} ended:\n{process.said()[-2000:]}")
    return figures


def servers(folder: Path, database_url: str | None, redis_url: str | None) -> AbstractContextManager[Servers]:
    """Those that are named, or our own, as durable as in production."""
    if bool(database_url) != bool(redis_url):
        raise SystemExit("Name both --database-url and --redis-url, or neither.")
    return nullcontext(Servers(database_url=database_url, redis_url=redis_url)) if database_url and redis_url else serving(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-bus", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="measure this part of what the targets are for")
    parser.add_argument("--target", action="append", default=[], metavar="NAME=VALUE", help="another value for a target")
    parser.add_argument("--database-url", help="an empty database, and")
    parser.add_argument("--redis-url", help="an empty Redis, instead of servers started for this run")
    options = parser.parse_args()
    promised = changed(TARGETS, options.target)
    began = time.monotonic()
    with room() as folder, servers(folder / "data", options.database_url, options.redis_url) as given:
        settings = Settings(
            env="production",
            public_url="https://fluentpro.example",
            data_dir=str(folder / "data"),
            database_url=given.database_url,
            redis_url=given.redis_url,
            secret_key=secrets.token_urlsafe(32),
        )
        with (folder / "bench.log").open("w", buffering=1) as log, redirect_stderr(log):
            logs.configure(settings, process="bench")
            figures = uvloop.run(bench(settings, Scale.of(options.scale)))
    figures["seconds"] = round(time.monotonic() - began, 1)
    sys.stdout.write(f"{table(figures, promised)}\n{json.dumps(figures)}\n")
    sys.exit(1 if missed(figures, promised) else 0)


if __name__ == "__main__":
    main()
