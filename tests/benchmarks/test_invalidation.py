"""The benchmark of the lag, small: that it runs, and prints a line for each way of listening and state of the link."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def lines_of(*options):
    run = subprocess.run(
        [sys.executable, "invalidation.py", "--rounds", "10", *options],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [line.split() for line in run.stdout.splitlines()[1:]]


def test_it_runs_and_says_whether_the_goals_were_met():
    lines = lines_of("--stalls", "1", "--max-staleness", "0.2")
    assert [line[:2] for line in lines] == [
        ["asyncio", "well"],
        ["threads", "well"],
        ["asyncio", "stalled"],
        ["threads", "stalled"],
    ]
    assert {line[-1] for line in lines} <= {"met", "missed"}


@pytest.mark.slow
def test_a_stalled_link_is_noticed_in_time_and_by_nothing_but_its_silence():
    for line in lines_of("--stalls", "3")[2:]:
        assert line[-1] == "met"
        assert float(line[4]) > 100
