"""The benchmark of the lag, small: that it runs, and prints a line for each way of listening."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def test_it_runs_and_says_whether_the_goal_was_met():
    run = subprocess.run(
        [sys.executable, "invalidation.py", "--rounds", "10"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for listener in ("asyncio", "threads"):
        (line,) = (line for line in run.stdout.splitlines() if listener in line)
        assert line.split()[-1] in {"met", "missed"}
