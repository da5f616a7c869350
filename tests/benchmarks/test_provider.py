"""The benchmark of providers, small: what it counts, and that its bounds can fail. Nothing is a matter of speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def run(*command):
    return subprocess.run(
        [sys.executable, *map(str, command), "--quick"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_provider_that_is_gone_refuses_no_known_token_and_is_asked_once_in_30_s(tmp_path):
    done = run("provider.py", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    hours = {each["way"]: each for each in found["hours"]}
    assert hours.keys() == {"well", "gone", "hanging"}
    for way in ("gone", "hanging"):
        assert (hours[way]["known_refused"], hours[way]["most_in_30_s"], hours[way]["after_rotation"]) == (0, 1, 1)
        assert hours[way]["fetches"] == 3
        assert hours[way]["unknown_unavailable"] == hours[way]["unknown"] == 90
    assert hours["well"]["unknown_unavailable"] == 0
    assert hours["well"]["fetches"] <= 4
    assert len(found["goals"]) == 6
    assert "a flood adds to the p99" in done.stdout


@pytest.mark.parametrize(
    "mistake",
    [
        "tokens.schedule as s; s.COOLDOWN = 5.0",
        "tokens.jwks as j; j.JWKS.__init__.__kwdefaults__.update(refresh=20.0, max_stale=60.0)",
    ],
    ids=["asked too often", "keys that end"],
)
@pytest.mark.slow
def test_what_breaks_the_bounds_is_noticed(mistake):
    done = run("-c", f"import authcache_middleware.{mistake}; import provider; provider.main()")
    assert done.returncode == 1
    assert "a known token was refused, or the provider was asked oftener" in done.stderr
