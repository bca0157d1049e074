"""`make chaos`: the shipped processes under load while they and Redis are killed, paused and robbed; then the checker's verdict.

The last line of standard output is one flat JSON object; the exit status says whether everything held.
"""

import argparse
import asyncio
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from redis import Redis

from app.child import Child
from app.data_folder import claim
from app.embedded import bring_up, free_port, prepared
from app.settings import Settings
from db import migrate
from db.connection import connect
from tests.chaos import area, checker, disturb
from tests.chaos.checker import Evidence, Verdict
from tests.chaos.disturb import Disturber, Stage
from tests.chaos.ground import START_SECONDS, CannotRun, lives, starter, until_ready, work_folder

KILLED = ("web", "relay", "worker", "redis")
# Acknowledged commands in a second; fewer would prove little.
ENOUGH = 20
SHOWN = 10
READY = "SELECT count(*) = 3 FROM groups WHERE area = 'probe'"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the load lasts")
    parser.add_argument("--rate", type=float, default=40, help="commands per second that the load tries")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="decides what happens when, and what is asked")
    parser.add_argument("--only", nargs="+", choices=disturb.KINDS, default=disturb.KINDS, metavar="KIND", help="kinds of disturbance")
    parser.add_argument("--sabotage", help="break a promise on purpose: inbox or watermark")
    parser.add_argument("--patience", type=float, default=30, help="seconds without any movement after which what is missing is lost")
    parser.add_argument("--keep", action="store_true", help="keep the logs and records also when everything held")
    options = parser.parse_args(arguments)
    with work_folder() as folder:
        outcome, failures = _run(folder, options)
        # A sabotaged run fails as it should: there is nothing to look into.
        if options.keep or (failures and not options.sabotage):
            say(f"the logs and records are in {folder}")
            (folder / "kept").touch()
    sys.stdout.write("\n".join([*_table(outcome), *(f"FAILED: {failure}" for failure in failures), json.dumps(outcome)]) + "\n")
    return 1 if failures else 0


def _run(folder: Path, options: argparse.Namespace) -> tuple[dict[str, float], list[str]]:
    say(f"seed {options.seed}, {options.seconds:g} s")
    with claim(folder / "servers") as lifeline, prepared(folder / "servers", lifeline) as servers:
        children: list[Child] = []
        try:
            urls = bring_up(folder / "servers", servers)
            asyncio.run(_make_tables(urls.database_url))
            settings = Settings(
                env="testing",
                data_dir=str(folder / "data"),
                database_url=urls.database_url,
                redis_url=urls.redis_url,
                secret_key=secrets.token_urlsafe(48),
                log_level="warning",
                database_pool=8,
                backoff_first=0.2,
                backoff_most=1.0,
                relay_poll=0.1,
            )
            settings = msgspec.structs.replace(settings, **disturb.LEASES)
            start = starter(folder, settings, children)
            ports = [free_port(), free_port()]
            broken = [options.sabotage] if options.sabotage else []
            start("consumer", "tests.chaos.consumer", str(folder), urls.redis_url)
            postgres, redis = servers
            stage = Stage(
                web=[start(f"web-{port}", "tests.chaos.process", "web", *broken, port=port) for port in ports],
                relay=[start(f"relay-{number}", "tests.chaos.process", "relay", *broken) for number in range(2)],
                worker=[start(f"worker-{number}", "tests.chaos.process", "worker", *broken) for number in range(2)],
                postgres=postgres,
                redis=redis,
                redis_folder=_redis_folder(urls.redis_url),
            )
            until_ready(children, lambda: all(map(lives, ports)) and asyncio.run(_answer(urls.database_url, READY)))
            bases = [f"http://127.0.0.1:{port}" for port in ports]
            load = start("load", "tests.chaos.load", str(folder), str(options.seconds), str(options.rate), str(options.seed), *bases)
            chance = random.Random(options.seed)  # noqa: S311 - to be repeated, not to be secret
            with (folder / "disturbances.jsonl").open("a", buffering=1) as log:
                disturber = Disturber(stage, chance, log)
                disturber.run(options.seconds, options.only)
                say("the load ends; waiting until everything has settled")
                while load.exit_code is None:
                    disturber.watch()
            if load.exit_code != 0:
                raise CannotRun(f"The load failed ({load.exit_code}): {load.last_words(20)}")
            ended = time.monotonic()
            evidence = asyncio.run(checker.settled(folder, urls.database_url, urls.redis_url, patience=options.patience, say=say))
            say(f"settled after {time.monotonic() - ended:.1f} s")
        finally:
            for child in (*children, *(server.child for server in reversed(servers))):
                child.stop(START_SECONDS)
    return _judged(folder, evidence, disturber, options)


def _judged(folder: Path, evidence: Evidence, disturber: Disturber, options: argparse.Namespace) -> tuple[dict[str, float], list[str]]:
    verdict = checker.judge(evidence)
    (folder / "evidence.json").write_bytes(msgspec.json.encode((evidence, verdict)))
    outcome = _outcome(evidence, verdict, disturber, options)
    failures = [f"{name}: {text}" for name, found in _findings(verdict).items() for text in found[:SHOWN]]
    failures += [f"nobody killed {name}: more seconds are needed" for name in KILLED if not outcome[f"kills_{name}"]]
    if outcome["acknowledged_per_s"] < ENOUGH:
        failures.append(f"only {outcome['acknowledged_per_s']} commands/s were acknowledged, which must be {ENOUGH}")
    failures += [f"still owing: {text}" for text in evidence.owing]
    failures += [f"crashed: {crash}" for crash in disturber.crashes]
    refused = Counter(answer.status for answer in evidence.answers)
    say(f"answers by status: {dict(sorted(refused.items()))}; what happened: {dict(sorted(disturber.counts.items()))}")
    return outcome, failures


def _findings(verdict: Verdict) -> Mapping[str, list[str]]:
    return {name: getattr(verdict, name) for name in ("lost", "phantom", "duplicated", "out_of_order")}


def _outcome(evidence: Evidence, verdict: Verdict, disturber: Disturber, options: argparse.Namespace) -> dict[str, float]:
    counts = disturber.counts
    middle, most = checker.spread(checker.recoveries(evidence, disturber.at))
    done = len(checker.acknowledged(evidence))
    return {
        "acknowledged": done,
        **{name: len(found) for name, found in _findings(verdict).items()},
        "kills_web": counts["kill_web"],
        "kills_relay": counts["kill_relay"],
        "kills_worker": counts["kill_worker"],
        "kills_redis": counts["kill_redis"] + counts["kill_redis_and_its_data"],
        "pauses": sum(count for kind, count in counts.items() if kind.startswith("pause_")),
        "recovery_s_median": round(middle, 2),
        "recovery_s_max": round(most, 2),
        "kills_postgres": counts["kill_postgres"],
        "losses_redis": sum(counts[kind] for kind in disturb.LOSSES),
        "acknowledged_per_s": round(done / options.seconds, 1),
        "events": len(evidence.events),
        "effects": len(evidence.effects),
        "crashes": len(disturber.crashes),
        "seconds": options.seconds,
        "seed": options.seed,
    }


def _table(outcome: Mapping[str, float]) -> list[str]:
    return [f"{name.replace('_', ' '):<20}{value:>12g}" for name, value in outcome.items()]


def say(text: str) -> None:
    sys.stderr.write(f"chaos: {text}\n")


async def _make_tables(database_url: str) -> None:
    await migrate.upgrade(database_url)
    await _answer(database_url, area.TABLES)


async def _answer(database_url: str, statement: str) -> Any:
    connection = await connect(database_url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _redis_folder(url: str) -> Path:
    with cast("Any", Redis).from_url(url, decode_responses=True) as redis:
        return Path(redis.config_get("dir")["dir"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
