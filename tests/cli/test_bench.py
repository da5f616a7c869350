"""``authcache bench``: it finds a checkout's scripts and hands on what it is given, and says where there are none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import authcache_middleware

PACKAGE = Path(authcache_middleware.__file__).parent
in_a_checkout = pytest.mark.skipif(
    not (PACKAGE.parent / "benchmarks").is_dir(), reason="the benchmarks are not beside the package"
)


def bench(*arguments, cwd=None):
    code = "from authcache_middleware.cli import main; main()"
    # a copy of the package is nothing whose coverage says anything
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-c", code, "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=environment,
    )


@in_a_checkout
def test_without_a_name_they_are_listed_each_with_what_it_says_of_itself():
    listed = bench()
    assert listed.returncode == 0
    names = {line.split()[0] for line in listed.stdout.splitlines()[2:]}
    assert {"peers", "over-http", "scale", "invalidation", "stampede", "model", "open-loop", "all"} <= names
    assert "reported" not in names
    assert "  stampede      Many requests at once" in listed.stdout


@in_a_checkout
def test_a_script_gets_its_arguments_and_its_status_is_handed_back():
    helped = bench("open-loop", "--help")
    assert helped.returncode == 0
    assert "Usage: open_loop.py" in helped.stdout
    refused = bench("open_loop", "--rounds", "0")
    assert refused.returncode == 2
    assert "--rounds" in refused.stderr


@in_a_checkout
def test_a_name_that_is_none_of_theirs_is_refused():
    refused = bench("reported")
    assert refused.returncode == 2
    assert "no such benchmark" in refused.stderr


def test_an_installed_package_has_none_and_says_so(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "authcache_middleware", ignore=shutil.ignore_patterns("__pycache__"))
    refused = bench("stampede", "--help", cwd=tmp_path)  # where Python looks first
    assert refused.returncode == 1
    assert "run in a checkout" in refused.stderr
