"""The benchmark of the streams, in small: that it runs, says everything, and fails when a target is missed."""

import asyncio
import json
import subprocess
import sys

from tests.app.processes import REPOSITORY
from tests.bench.streams.__main__ import TARGETS


async def test_a_small_run_says_everything_and_fails_when_a_target_is_missed() -> None:
    command = [sys.executable, "-m", "tests.bench.streams", "--scale", "0.01", "--target", "first_over_bare_p95_ms=-1"]
    run = await asyncio.to_thread(subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    *people, machines = run.stdout.splitlines()
    figures = json.loads(machines)
    assert set(TARGETS) <= set(figures)
    assert (figures["many_lost"], figures["provider_lost"]) == (0, 0)
    assert [line.split()[-1] for line in people if line.startswith("first_over_bare_p95_ms")] == ["MISSED"]
    assert run.returncode == 1, run.stderr
