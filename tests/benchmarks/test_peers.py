"""The comparison with peers, as a trial: ours and the bare application, without any environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def test_a_trial_finds_a_figure_for_each_budget_of_cost(tmp_path):
    kept = ["--envs", str(tmp_path / "none"), "--json", str(tmp_path / "found.json")]
    run = subprocess.run(
        [sys.executable, "peers.py", "--quick", *kept],
        cwd=BENCHMARKS,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [budget["path"] for budget in found["budgets"]] == [
        "known token, user in memory",
        "known token, user in memory",
        "known token, user in Redis, 64 at once",
        "known token, user in Redis, one at a time",
        "known token, user in Redis, one at a time",
        "new token HS256, user in memory",
        "new token RS256, user in memory",
        "cold user, beside the loader",
        "refused: no token",
        "refused: garbage",
        "refused: bad signature",
        "through FastAPI, current user",
        "through Flask, current user",
    ]
    for budget in found["budgets"]:
        assert budget["held"] is (budget["measured"]["median"] <= budget["goal"])
        assert f" {'held' if budget['held'] else 'MISSED'}" in run.stdout
    assert found["versions"]["ours"]["redis"]
    assert {"processor", "load", "python"} <= set(found["machine"])
    assert found["skipped"] == {}
    assert not (tmp_path / "none").exists()
