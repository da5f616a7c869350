"""The scripts of a checkout's ``benchmarks/``, which no installation has: which there are, and running one of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import authcache_middleware

__all__ = ["benchmarks", "folder", "run"]


def folder() -> Path | None:
    """``benchmarks/`` beside the package; ``None`` where the package was installed by itself."""
    found = Path(authcache_middleware.__file__).resolve().parent.parent / "benchmarks"
    return found if (found / "reported.py").exists() else None


def benchmarks(place: Path) -> dict[str, str]:
    """The scripts that are run by themselves: a name, and the first line of what each says of itself."""
    found = {}
    for script in sorted(place.glob("*.py")):
        text = script.read_text(encoding="utf-8")
        if "\n@click.command" in text:
            found[script.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def run(script: Path, arguments: tuple[str, ...]) -> int:
    """Its exit status, once it has ended."""
    return subprocess.run([sys.executable, str(script), *arguments], check=False).returncode  # noqa: S603
