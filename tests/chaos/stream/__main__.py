"""`make chaos-stream`: answers that are given while those who give, number, announce and show them are killed; then the checker's verdict.

The last line of standard output is one flat JSON object; the exit status says whether everything held.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from app import logs
from app.bootstrap import open_house
from app.child import Child
from app.data_folder import claim, write_whole
from app.embedded import bring_up, free_port, prepared
from app.settings import PREFIX, Settings, as_environ
from bus.message import SYSTEM
from db import migrate
from domain.accounts.commands import EnsureSigningKey
from domain.practice.commands import KeepStreams, SeedScenarios
from tests.chaos.ground import REPOSITORY, START_SECONDS, CannotRun, Starter, lives, starter, until_ready, work_folder
from tests.chaos.stream import checker, disturb, sabotage
from tests.chaos.stream.checker import Evidence, Verdict
from tests.chaos.stream.disturb import Cast, Disturber
from tests.chaos.stream.records import End, Tail

FINDINGS = ("lost", "duplicated", "reordered", "changed", "ledger_mismatch", "uncompleted")
TAKEOVER = 10.0
SHOWN = 10
SETTLED = 60.0
LANES = 8


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos-stream", description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="how many turns must have been hit by a kill while they were answered")
    parser.add_argument("--lanes", type=int, default=LANES, help="how many conversations are held at the same time")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="decides who is killed when, and what is said how fast")
    parser.add_argument("--only", nargs="+", choices=disturb.DECK, default=list(disturb.DECK), metavar="KIND", help="kinds of disturbance")
    parser.add_argument("--again", type=float, default=0.5, help="how likely a kill is followed by another one during the same answers")
    parser.add_argument("--sabotage", choices=sabotage.KINDS, help="break a promise on purpose")
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
    say(f"seed {options.seed}, {options.turns} turns")
    began = time.monotonic()
    with claim(folder / "servers") as lifeline, prepared(folder / "servers", lifeline) as servers:
        children: list[Child] = []
        try:
            urls = bring_up(folder / "servers", servers)
            provider = free_port()
            settings = Settings(
                env="testing",
                data_dir=str(folder / "data"),
                database_url=urls.database_url,
                redis_url=urls.redis_url,
                secret_key=secrets.token_urlsafe(48),
                log_level="warning",
                database_pool=8,
                llm_url=f"http://127.0.0.1:{provider}/v1",
                llm_model="slow",
                access_token_seconds=7200,
                # Nobody is refused for having been interrupted too often.
                tokens_per_conversation=10**8,
                tokens_per_day=10**9,
            )
            start = starter(folder, settings, children)
            start("provider", "tests.chaos.stream.provider", str(folder), str(provider), str(options.seed))
            module, *broken = ["tests.chaos.stream.sabotage", options.sabotage] if options.sabotage else ["app.cli"]
            ports = [free_port(), free_port()]
            postgres, redis = servers
            cast = Cast(
                worker=[start(name, module, *broken, "worker", llm_key=name) for name in ("worker-0", "worker-1")],
                web=[start(f"web-{port}", module, *broken, "web", port=port) for port in ports],
                relay=[start(f"relay-{number}", module, *broken, "relay") for number in range(2)],
                postgres=postgres,
                redis=redis,
            )
            asyncio.run(_furnish(settings))
            until_ready(children, lambda: all(map(lives, ports)))
            say(f"everybody is there after {time.monotonic() - began:.1f} s")
            disturber = _disturbed(folder, options, cast, start, [f"http://127.0.0.1:{port}" for port in ports], urls.database_url)
            evidence = asyncio.run(checker.collect(folder, urls.database_url, settings.secret_key))
            trail = _trail_holds(settings)
        finally:
            for child in (*children, *(server.child for server in reversed(servers))):
                child.stop(START_SECONDS)
    return _judged(folder, evidence, disturber, options, trail=trail, seconds=time.monotonic() - began)


async def _furnish(settings: Settings) -> None:
    logs.configure(settings, process="chaos")
    await migrate.upgrade(settings.database_url)
    async with open_house(settings) as house:
        for command in (EnsureSigningKey(), SeedScenarios(), KeepStreams()):
            await house.bus.execute(command, by=SYSTEM)


def _disturbed(folder: Path, options: argparse.Namespace, cast: Cast, start: Starter, bases: Sequence[str], database_url: str) -> Disturber:
    """Until everybody was answered, and every reader has read up to the end."""
    clients = start("clients", "tests.chaos.stream.clients", str(folder), str(options.seed), str(options.turns), str(options.lanes), *bases)
    chance = random.Random(options.seed)  # noqa: S311 - to be repeated, not to be secret
    with (folder / "blows.jsonl").open("a", buffering=1) as log:
        disturber = Disturber(cast, Tail(folder / "calls.jsonl"), log, chance, disturb.dealt(options.only), options.again)
        while not (folder / "said").exists():
            disturber.watch()
            if clients.exit_code is not None:
                raise CannotRun(f"The clients failed ({clients.exit_code}): {clients.last_words(30)}")
        disturber.put_right()
    say("everything is said; the readers read up to the end")
    deadline = time.monotonic() + SETTLED
    while (last := asyncio.run(checker.heads(database_url))) is None:
        if time.monotonic() > deadline:
            raise CannotRun(f"After {SETTLED:.0f} s somebody is still being answered.")
        time.sleep(0.2)
    write_whole(folder / "end.json", msgspec.json.encode(End(last=last)))
    if clients.wait(SETTLED) != 0:
        raise CannotRun(f"The clients failed ({clients.exit_code}): {clients.last_words(30)}")
    return disturber


def _trail_holds(settings: Settings) -> bool:
    environ = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "COVERAGE"))}
    verified = subprocess.run(
        [sys.executable, "-m", "app.cli", "audit", "verify"],
        cwd=REPOSITORY,
        env={**environ, **as_environ(settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    say(verified.stdout.strip() or verified.stderr.strip())
    return verified.returncode == 0


def _judged(
    folder: Path, evidence: Evidence, disturber: Disturber, options: argparse.Namespace, *, trail: bool, seconds: float
) -> tuple[dict[str, float], list[str]]:
    verdict = checker.judge(evidence)
    (folder / "evidence.json").write_bytes(msgspec.json.encode((evidence, verdict)))
    outcome = _outcome(evidence, verdict, disturber, options, trail=trail, seconds=seconds)
    failures: list[str] = []
    for name in FINDINGS:
        found = getattr(verdict, name)
        failures += [f"{name}: {text}" for text in found[:SHOWN]]
    if outcome["turns_hit"] < options.turns:
        failures.append(f"only {outcome['turns_hit']:g} turns were hit by a kill while they were answered, which must be {options.turns}")
    if outcome["takeover_s_max"] > TAKEOVER:
        failures.append(f"another worker went on only after {outcome['takeover_s_max']} s, which may be {TAKEOVER:g}")
    if not trail:
        failures.append("the audit trail does not hold")
    failures += [f"crashed: {crash}" for crash in disturber.crashes[:SHOWN]]
    return outcome, failures


def _outcome(
    evidence: Evidence, verdict: Verdict, disturber: Disturber, options: argparse.Namespace, *, trail: bool, seconds: float
) -> dict[str, float]:
    counts = disturber.counts
    takeovers = verdict.takeovers
    return {
        "turns": len(evidence.asked),
        "turns_hit": len(evidence.asked) - len(checker.unhurt(evidence)),
        **{name: len(getattr(verdict, name)) for name in FINDINGS},
        "provider_calls": sum(not call.ended for call in evidence.calls),
        "ledger_rows": len(evidence.ledger),
        "orphaned": sum(entry.outcome == "orphaned" for entry in evidence.ledger),
        "takeovers": len(takeovers),
        "takeover_s_median": round(median(takeovers), 2) if takeovers else 0.0,
        "takeover_s_max": round(max(takeovers), 2) if takeovers else 0.0,
        **{kind.replace("kill", "kills").replace("pause", "pauses"): counts[kind] for kind in disturb.DECK},
        "readers": len({(heard.conversation, heard.reader) for heard in evidence.heard}),
        "connections": len({(heard.conversation, heard.reader, heard.connection) for heard in evidence.heard}),
        "heard": len(evidence.heard),
        "rows": len(evidence.log),
        "audit_trail_holds": int(trail),
        "seconds": round(seconds, 1),
        "seed": options.seed,
    }


def _table(outcome: Mapping[str, float]) -> list[str]:
    return [f"{name.replace('_', ' '):<20}{value:>12g}" for name, value in outcome.items()]


def say(text: str) -> None:
    sys.stderr.write(f"chaos-stream: {text}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
