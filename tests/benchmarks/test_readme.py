"""The README's figures: that they are those of the results that are kept, and how they are written."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")

MACHINE = {"processor": "Abacus", "cores": 2, "python": "3.13.0", "load": [0.1, 0.1, 0.1]}
README = "before\n<!-- figures of benchmarks/readme.py -->\nold\n<!-- end of figures -->\nafter\n"


def run(*command, status=0):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=BENCHMARKS, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def peers(ratio, held):
    def spread(median):
        return {"median": median, "low": median, "high": median, "count": 1}

    budget = {"path": "in memory", "yardstick": "routing", "goal": 0.25, "held": held, "measured": spread(ratio)}
    row = {"plain_us": spread(10), "peer_us": spread(1060), "ours_us": spread(12.5), "peer_to_ours": spread(84.8)}
    return {
        "benchmark": "peers", "command": "python", "machine": {**MACHINE, "load afterwards": [1.0]},
        "versions": {"ours": {"redis": "8.1.0"}}, "budgets": [budget], "peers": {"x": row}, "names": {"x": "Peer X"},
    }  # fmt: skip


@pytest.fixture
def kept(tmp_path):
    for number, (ratio, held) in enumerate([(0.2, True), (0.3001, False), (0.21, True)], start=1):
        (tmp_path / f"peers-{number}.json").write_text(json.dumps(peers(ratio, held)), encoding="utf-8")
    goal = {"name": "p99", "found": 1234.5, "goal": 3, "at_least": False, "unit": "ms", "met": False}
    storm = {"machine": MACHINE, "versions": {}, "goals": [goal]}
    (tmp_path / "stampede.json").write_text(json.dumps(storm), encoding="utf-8")
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


def test_the_figures_in_the_readme_are_those_of_the_results():
    if not list((BENCHMARKS / "results").glob("*.json")):
        pytest.skip("no results are kept yet")
    run("readme.py", "--check")


def test_figures_stand_between_the_marks_with_what_each_run_has_found(kept):
    run("readme.py", "--results", kept, "--readme", kept / "README.md")
    text = (kept / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("-->\nafter\n")
    assert "old" not in text
    assert "Measured on Abacus, 2 cores, Python 3.13.0, redis 8.1.0, load 0.1 before." in text
    assert "| in memory | routing | 0.25 | 0.2 | 0.3 | 0.21 | **missed** in 1 of 3 |" in text
    assert "| Peer X | 10 | 1,050 | 2.5 | 84.8 |" in text
    assert "| stampede | p99 | 1,230 ms | at most 3 ms | **missed** |" in text
    run("readme.py", "--results", kept, "--readme", kept / "README.md", "--check")


def test_a_figure_that_was_typed_by_hand_is_noticed(kept):
    readme = kept / "README.md"
    run("readme.py", "--results", kept, "--readme", readme)
    readme.write_text(readme.read_text(encoding="utf-8").replace("0.21", "0.20"), encoding="utf-8")
    assert "does not say what the results say" in run(
        "readme.py", "--results", kept, "--readme", readme, "--check", status=1
    )


def test_what_is_done_is_left_out_the_next_time(tmp_path):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("needs matplotlib")
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    planned = run("all.py", "--plan", "--into", tmp_path, "--only", "model", "--only", "stampede")
    assert "model         is there" in planned
    assert "about 0.7 minutes in all" in planned
    (tmp_path / "model.json").unlink()
    ran = run("all.py", "--quick", "--into", tmp_path, "--only", "stampede")
    assert "stampede: " in ran
    assert json.loads((tmp_path / "stampede.json").read_text(encoding="utf-8"))["benchmark"] == "stampede"
    assert "loads" in (tmp_path / "stampede.txt").read_text(encoding="utf-8")
    assert (tmp_path / "stampede.png").exists()
    again = run("all.py", "--quick", "--into", tmp_path, "--only", "stampede")
    assert "about 0 minutes in all" in again


def test_a_trial_is_not_kept_among_the_results():
    assert "give another folder" in run("all.py", "--quick", status=2)
