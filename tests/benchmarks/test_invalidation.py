"""The benchmark of the lag, small: that it runs, and what it writes for each way of listening and state of the link."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def found_by(directory, *options):
    out = directory / "invalidation.json"
    subprocess.run(
        [sys.executable, "invalidation.py", "--rounds", "10", "--json", out, *options],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(out.read_text(encoding="utf-8"))


def test_every_lag_is_written_down_and_the_goals_beside(tmp_path):
    found = found_by(tmp_path, "--stalls", "1", "--max-staleness", "0.2")
    assert [(course["listener"], course["link"], len(course["lags_ms"])) for course in found["courses"]] == [
        ("asyncio", "well", 10),
        ("threads", "well", 10),
        ("asyncio", "stalled", 1),
        ("threads", "stalled", 1),
    ]
    assert [goal["goal"] for goal in found["goals"]] == [10, 10, 200, 200]


@pytest.mark.slow
def test_a_stalled_link_is_noticed_in_time_and_by_nothing_but_its_silence(tmp_path):
    found = found_by(tmp_path, "--stalls", "3")
    assert [goal["met"] for goal in found["goals"][2:]] == [True, True]
    for course in found["courses"][2:]:
        assert max(course["lags_ms"]) > 100
