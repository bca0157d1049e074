"""Chaos in short, and that it notices: a whole run must find nothing, a sabotaged one what was sabotaged."""

import json
import subprocess
import sys
from typing import Any

from tests.chaos.disturb import KINDS
from tests.chaos.ground import REPOSITORY

NAMES = {
    *("acknowledged", "lost", "phantom", "duplicated", "out_of_order"),
    *("kills_web", "kills_relay", "kills_worker", "kills_redis", "pauses", "recovery_s_median", "recovery_s_max"),
}
FINDINGS = ("lost", "phantom", "duplicated", "out_of_order")
# After a crash PostgreSQL writes every file of its cluster to the disk before it answers: seconds, on a busy machine.
SHORT = [kind for kind in KINDS if kind != "kill_postgres"]


def chaos(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit status, the last line, and everything that was said."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos.run", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )
    said = run.stderr + run.stdout
    assert run.stdout, said
    return run.returncode, json.loads(run.stdout.splitlines()[-1]), said


def test_nothing_is_lost_invented_doubled_or_out_of_order_whoever_is_killed_paused_or_robbed() -> None:
    code, outcome, said = chaos("--seconds", "20", "--only", *SHORT)
    assert code == 0, said
    assert outcome.keys() >= NAMES
    assert [outcome[name] for name in FINDINGS] == [0, 0, 0, 0]
    assert outcome["acknowledged"] >= 20 * 20
    assert min(outcome[name] for name in NAMES if name.startswith("kills_")) >= 1
    assert outcome["pauses"] >= 4


def test_without_the_check_of_the_inbox_effects_are_found_twice() -> None:
    # Each brings again what was done since the confirmed positions were last copied: a second's worth, or nothing when nobody came to work.
    losses = ("flush", "delete_stream", "delete_group", "kill_redis_and_its_data")
    code, outcome, said = chaos("--seconds", "10", "--only", *losses, "--sabotage", "inbox", "--patience", "5")
    assert code == 1
    assert outcome["duplicated"] > 0, said
    assert "nobody killed web" in said


def test_with_a_watermark_that_moves_before_the_publishing_entries_are_found_lost() -> None:
    # Only a kill between the watermark and the publishing loses anything, so there have to be a few.
    code, outcome, said = chaos("--seconds", "20", "--only", "kill_redis", "--sabotage", "watermark", "--patience", "5")
    assert code == 1
    assert outcome["lost"] > 0, said
    assert "nobody killed redis" not in said
