"""Answers under fire, in short, and that it is noticed when they do not hold."""

import json
import subprocess
import sys
from typing import Any

from tests.chaos.ground import REPOSITORY

NAMES = {
    *("lost", "duplicated", "reordered", "changed", "provider_calls", "ledger_rows", "ledger_mismatch"),
    *("takeover_s_median", "takeover_s_max"),
}
FINDINGS = ("lost", "duplicated", "reordered", "changed", "ledger_mismatch", "uncompleted")


def chaos(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit status, the last line, and everything that was said."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos.stream", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )
    said = run.stderr + run.stdout
    assert run.stdout, said
    return run.returncode, json.loads(run.stdout.splitlines()[-1]), said


def test_no_word_of_an_answer_is_lost_doubled_moved_or_changed_whoever_is_killed() -> None:
    # All at once take longest to come back, and the suite may have little of a processor left for them.
    code, outcome, said = chaos("--turns", "8", "--again", "1", "--only", "kill_web", "kill_worker", "kill_relay", "kill_redis")
    assert code == 0, said
    assert outcome.keys() >= NAMES
    assert [outcome[name] for name in FINDINGS] == [0] * len(FINDINGS)
    assert outcome["turns_hit"] >= 8
    assert outcome["provider_calls"] >= 8
    assert outcome["connections"] > outcome["readers"] > 0


def test_text_that_is_shown_before_it_is_written_is_found_changed() -> None:
    code, outcome, said = chaos("--turns", "8", "--only", "kill_worker", "--sabotage", "hasty")
    assert code == 1, said
    assert outcome["changed"] > 0, said


def test_text_that_a_worker_writes_who_has_lost_its_turn_is_found_changed() -> None:
    code, outcome, said = chaos("--turns", "9", "--only", "pause_worker", "--sabotage", "unfenced")
    assert code == 1, said
    assert outcome["changed"] > 0, said
