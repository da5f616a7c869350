"""The model of large services: what a small real one counts, and what the formula makes of popularity and memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def run(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=BENCHMARKS, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model.json"
    done = run("model.py", "--quick", "--json", out)
    assert out.exists(), done.stdout + done.stderr  # on a busy machine the formula may be further off than it allows
    return json.loads(out.read_text(encoding="utf-8"))


def test_formula_and_simulation_say_what_the_server_and_the_faces_have_counted(found):
    checks = {check["name"]: check for check in found["checks"]}
    for name in ("GETs/s", "commands/s", "loads/s", "pushes/s a process", "from memory", "bytes in Redis"):
        assert checks[name]["simulated"] == pytest.approx(checks[name]["real"], rel=0.15), name
        assert checks[name]["formula"] == pytest.approx(checks[name]["real"], rel=0.3), name
    real = {name: check["real"] for name, check in checks.items()}
    assert real["pushes/s a process"] == pytest.approx(3 * real["loads/s"], rel=0.1)  # lease, record, its end
    assert real["loads/s"] > 50


def test_no_process_can_hear_as_much_as_a_short_ttl_has_to_say(found):
    by_ttl = {row["ttl"]: row for row in found["rows"] if row["sweep"] == "ttl" and row["spread"] == "any"}
    assert by_ttl[900]["process_core"] > 1
    assert by_ttl[900]["from_memory"] == by_ttl[900]["overtaken"] == 0
    assert by_ttl[900]["commands"] > by_ttl[900]["requests"]
    assert max(by_ttl[86_400]["process_core"], by_ttl[86_400]["primary_core"]) < 1
    assert by_ttl[86_400]["from_memory"] > 0.3


def test_more_memory_and_fewer_processes_a_user_spare_redis(found):
    for spread in ("any", "2"):
        rows = [row for row in found["rows"] if row["sweep"] == "entries" and row["spread"] == spread]
        shares = [row["from_memory"] for row in sorted(rows, key=lambda row: row["entries"])]
        assert shares == sorted(shares)
        assert shares[-1] > shares[0]
    by_spread = {row["spread"]: row for row in found["rows"] if row["sweep"] == "entries" and row["entries"] == 100_000}
    assert by_spread["2"]["commands"] < by_spread["any"]["commands"] / 2


def test_without_memory_nothing_is_pushed_and_each_request_asks(found):
    (row,) = (row for row in found["rows"] if row["sweep"] == "without memory")
    assert (row["pushes_heard"], row["pings_of_primary"], row["process_bytes"]) == (0, 0, 0)
    assert row["commands"] > row["requests"]


@pytest.mark.slow
def test_a_formula_that_forgets_the_end_of_records_fails_the_run():
    code = "import pushes_formula; pushes_formula.END_OF_A_RECORD = 0; import model; model.main()"
    done = run("-c", code, "--quick")
    assert done.returncode == 1
    assert "differ by more than 15%: pushes/s a process" in done.stderr
