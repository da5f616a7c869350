"""A virtual environment for each group of peers: they pin versions that exclude each other.

An environment is named after what is in it, so one that is there is right. It holds what this package needs and not the
package itself, which is taken from this checkout: all checkouts share the environments of one place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENVIRONMENTS", "ROOT", "Environment", "NotInstalledError", "default_place", "python_of"]

ROOT = Path(__file__).resolve().parent.parent
"""What holds the package that is measured."""
_GUARD_S = 900.0


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed together, and the modules of ``peers_apps`` that are measured there."""

    name: str
    requirements: tuple[str, ...]
    peers: tuple[str, ...]


ENVIRONMENTS = (
    Environment(
        "starlette", ("starlette",), ("starlette_pyjwt", "starlette_pyjwt_redis", "starlette_base_http_middleware")
    ),
    Environment(
        "fastapi",
        ("fastapi", "sqlalchemy[asyncio]", "aiosqlite"),
        ("fastapi_dependency_redis", "fastapi_dependency_sqlalchemy"),
    ),
    Environment(
        "fastapi-users",
        ("fastapi-users[sqlalchemy,redis]", "aiosqlite", "uvicorn", "httptools", "granian"),
        ("fastapi_users_jwt", "fastapi_users_redis"),
    ),
    Environment("litestar", ("litestar[jwt,redis]",), ("litestar_jwt",)),
    Environment("authx", ("authx", "fastapi"), ("authx_dependency",)),
    Environment(
        "flask",
        ("flask-jwt-extended", "flask-login", "flask-sqlalchemy"),
        ("flask_jwt_extended_lookup", "flask_login_request_loader"),
    ),
    Environment("drf-simplejwt", ("djangorestframework-simplejwt",), ("drf_simplejwt",)),
)


class NotInstalledError(Exception):
    """pip could not put these together; the message is the end of what it said."""


def default_place() -> Path:
    """Where environments are kept when nobody says: below the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "authcache-benchmarks"


def python_of(environment: Environment, place: Path) -> Path:
    """The interpreter of ``environment``, which is made where it is not there yet. Raises ``NotInstalledError``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = (*project["dependencies"], *environment.requirements)
    digest = hashlib.sha256("\0".join((sys.version, *wanted)).encode()).hexdigest()[:10]
    home = place / f"{environment.name}-{digest}"
    python = home / "bin" / "python"
    done = home / "complete"  # written last: what was cut short is made anew
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
        done.touch()
    return python


def _run(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_GUARD_S, check=True)  # noqa: S603 - our own words
    except subprocess.CalledProcessError as exc:
        errors = [line for line in exc.stderr.splitlines() if not line.startswith("WARNING")]
        raise NotInstalledError(" ".join(errors[-3:])) from exc
    except subprocess.TimeoutExpired as exc:
        raise NotInstalledError(f"{command[0]} took longer than {_GUARD_S:g} s") from exc
