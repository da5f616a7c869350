"""The calculation of how far broadcast scales, as its reader runs it: small, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def run(*command):
    return subprocess.run(
        [sys.executable, *command, "--simulated-users", "300"],
        cwd=BENCHMARKS,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )


def cells_of(printed, heading):
    (line,) = (line for line in printed.splitlines() if heading in line)
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_formula_and_simulation_agree_on_the_published_figures():
    done = run("pushes.py", "--users", "250000")
    assert done.returncode == 0, done.stdout + done.stderr
    lease_and_fill = cells_of(done.stdout, "a primary's core: lease and fill")
    assert [cell.split(" - ")[0] for cell in lease_and_fill] == ["<0.001", "0.072", "3.6", "3.6", "0.018"]
    with_expiry = cells_of(done.stdout, "a primary's core: broadcast")
    assert with_expiry[2].split(" - ")[0] == "5.4"
    assert cells_of(done.stdout, "│       100 │")[-1] == "240,000 - 920,000"


@pytest.mark.parametrize(
    "mistake",
    [
        "END_OF_A_RECORD = 0",  # a record's end is not pushed
        "_User.reads = lambda user, kept: user.here * user.life",  # memory answers nothing
    ],
)
def test_a_wrong_formula_is_noticed(mistake):
    done = run("-c", f"import pushes_formula; pushes_formula.{mistake}; import pushes; pushes.main()")
    assert done.returncode == 1
    assert "differ by more than" in done.stderr
