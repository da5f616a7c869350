"""The benchmarks whose results are kept and drawn, as a trial: that they run, and what they write down."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside these tests")


def run(*command, status=0):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=BENCHMARKS, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def found_by(out, *command):
    printed = run(*command, "--json", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["command"].startswith(f"python benchmarks/{command[0]} ")
    assert {"cores", "load", "load afterwards", "processor", "python"} <= found["machine"].keys()
    assert "redis" in found["versions"]
    assert "\nload " in printed
    return found


def test_the_same_requests_are_made_of_the_bare_application_and_of_ours(tmp_path):
    found = found_by(tmp_path / "http.json", "over_http.py", "--quick")
    assert [(load["server"], load["rate"], load["bad"]) for load in found["loads"]] == [("uvicorn", 200, 0)] * 2
    assert {load["app"] for load in found["loads"]} == {"bare", "memory"}
    for load in found["loads"]:
        assert load["answered"] == load["outcome"]["scheduled"] == 50
        assert (load["costs"]["commands"], load["costs"]["loads"]) == (0, 0)
    assert found["skipped"] == {"saturation": "a trial"}


def test_tokens_that_are_refused_fail_the_run():
    code = "import http_apps; http_apps.AUDIENCE = 'elsewhere'; import over_http; over_http.main()"
    assert "warming up was answered with [401]" in run("-c", code, "--quick", status=1)


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "scale.json"
    found_by(out, "scale.py", "--quick")
    return out


def test_costs_of_a_size_are_written_down_beside_their_yardstick(scale):
    (token,) = json.loads(scale.read_text(encoding="utf-8"))["token"]
    assert 480 <= token["bytes"] <= 520
    assert min(token["known_us"], token["new_us"], token["pyjwt_us"]) > 0


def test_one_load_for_many_at_once_is_counted_beside_cache_aside(tmp_path):
    found = found_by(tmp_path / "stampede.json", "stampede.py", "--quick")
    loads = {storm["way"]: storm["loads"] for storm in found["storms"]}
    assert (loads["ours, asyncio"], loads["ours, threads"]) == (1, 1)
    assert loads["cache-aside"] > 1
    assert {storm["failed"] for storm in found["storms"]} == {0}
    assert [goal["met"] for goal in found["goals"][:3]] == [True] * 3  # loads, GETs, connections: no matter of speed


def test_requests_at_a_fixed_rate_are_counted_beside_plain_gets(tmp_path):
    found = found_by(tmp_path / "open_loop.json", "open_loop.py", "--quick")
    ways = {course["way"]: course for course in found["courses"]}
    assert set(ways) == {"nothing", "gets", "ours"}
    for course in ways.values():
        assert (course["requests"], course["failed"]) == (100, 0)
    assert ways["ours"]["memory_hits"] + ways["ours"]["redis_hits"] == 100
    assert ways["ours"]["redis_hits"] > 50
    assert ways["gets"]["memory_hits"] == ways["gets"]["redis_hits"] == 0


def test_a_request_that_raises_at_a_fixed_rate_fails_the_run():
    code = "import open_loop; open_loop._nothing = None; open_loop.main()"
    assert "requests have failed" in run("-c", code, "--quick", status=1)


def test_a_second_load_of_ours_fails_the_run():
    code = (
        "import stampede_ways as w; w.WAYS['ours, asyncio'] = w.WAYS['cache-aside']; import stampede; stampede.main()"
    )
    assert "more than once" in run("-c", code, "--quick", status=1)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_results_are_drawn_and_others_are_left_alone(tmp_path, scale):
    (tmp_path / "other.json").write_text('{"benchmark": "something else"}', encoding="utf-8")
    printed = run("plots.py", "--into", tmp_path / "drawn", scale, tmp_path / "other.json")
    assert "other.json: nothing to draw" in printed
    assert (tmp_path / "drawn" / "scale.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "drawn" / "scale.svg").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["uvicorn", "granian", "gunicorn"])
def test_every_server_serves_every_application(tmp_path, server):
    if shutil.which(server, path=str(Path(sys.executable).parent)) is None:
        pytest.skip(f"{server} is not installed")
    options = ["--server", server, "--rounds", "1", "--seconds", "1", "--rate", "50", "--users", "10"]
    options += [f"--app={app}" for app in ("bare", "memory", "redis", "peer")]  # no environment is made
    found = found_by(tmp_path / "http.json", "over_http.py", *options)
    assert {load["app"] for load in found["loads"]} == {"bare", "memory", "redis", "peer"}
    assert {load["bad"] for load in found["loads"]} == {0}
    for load in found["loads"]:
        assert (load["costs"]["commands"] > 0) == (load["app"] in {"redis", "peer"})
        assert load["costs"]["loads"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", ["users", "concurrency", "record", "processes", "loader"])
def test_every_kind_of_size_is_measured(tmp_path, size):
    found = found_by(tmp_path / "scale.json", "scale.py", "--quick", "--only", size)
    assert len(found[size]) == 1
