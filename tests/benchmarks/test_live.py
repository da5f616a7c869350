"""The benchmark of open connections, small: that it runs, and that those are closed who must be, and no others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def found_by(directory, *options):
    out = directory / "live.json"
    subprocess.run(
        [sys.executable, "live.py", "--json", out, *options],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    return json.loads(out.read_text(encoding="utf-8"))


def test_those_are_closed_who_must_be(tmp_path):
    options = "--connections", "20", "--seconds", "0.5", "--sockets", "20", "--revoked", "3"
    found = found_by(tmp_path, *options)
    ended = found["ended"]
    assert (ended["sockets"], ended["theirs"], ended["closed"], ended["others_closed"]) == (20, 6, 6, 0)
    assert len(ended["lags_ms"]) == 6
    assert found["held"]["connections"] == 20
    assert [goal["goal"] for goal in found["goals"]] == [4096, 2, 0, 6, 0, 1000]


@pytest.mark.slow
def test_a_thousand_websockets_and_ten_thousand_connections(tmp_path):
    found = found_by(tmp_path)
    ended = found["ended"]
    assert (ended["sockets"], ended["theirs"], ended["closed"], ended["others_closed"]) == (1000, 200, 200, 0)
    assert found["held"]["idle_commands"] < 100  # whoever polled would send thousands
