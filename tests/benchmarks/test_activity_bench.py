"""The benchmark of last activity, small: writes within their bound, one call for each batch, no last value lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def found_by(directory, *options):
    out = directory / "activity.json"
    command = [sys.executable, "activity.py", "--json", out, *options]
    subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=280, check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def holds(found):
    assert [goal["met"] for goal in found["goals"]] == [True] * 8, found
    for course in found["courses"]:
        assert course["saves"] == course["entries"] > 0
        assert course["users"] <= course["rows"] <= course["bound"]
        assert course["wrong"] == 0


def test_writes_stay_within_their_bound_and_each_batch_is_one_call(tmp_path):
    found = found_by(tmp_path, "--users", "50", "--requests", "1000", "--rate", "100", "--seconds", "0.5")
    holds(found)
    assert [course["requests"] for course in found["courses"]] == [1000, 100]


@pytest.mark.slow
def test_a_thousand_users_and_a_hundred_thousand_requests(tmp_path):
    holds(found_by(tmp_path))
