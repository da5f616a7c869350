"""The benchmark of outages, small: that it runs, and that its bounds can fail."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def run(*command):
    return subprocess.run(
        [sys.executable, *command, "--seconds", "0.3", "--requests", "40"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_runs_and_says_whether_each_goal_was_met():
    done = run("outage.py", "--gone", "absent", "--face", "threads")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.split()[:2] == ["absent", "threads"]]
    assert len(lines) == 4
    assert {line[-1] for line in lines} <= {"met", "missed"}
    assert lines[3][2:7] == ["8", "8", "40", "0", "0"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["killed", "absent", "black-hole"])
@pytest.mark.parametrize("face", ["asyncio", "threads"])
def test_its_bounds_hold(way, face):
    done = run("outage.py", "--gone", way, "--face", face)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        ("redis.breaker as b; b._PAUSE = 0.0", "more attempts to connect"),
        ("cache.outage as o; o.OutageAnswer = None", "neither 200 nor 503"),
        ("runtime.on_a_loop as r; r.AsyncPlaces.enter = lambda self, _: r.asyncio.sleep(0)", "more loads at once"),
    ],
    ids=["no pause", "no fallback", "no cap"],
)
def test_what_breaks_them_is_noticed(mistake, noticed):
    code = f"import authcache_middleware.{mistake}; import outage; outage.main()"
    done = run("-c", code, "--face", "asyncio", "--gone", "absent")
    assert done.returncode == 1
    assert noticed in done.stderr
