"""The ``authcache`` command; it needs the extra ``cli``, and its ``demo`` the extra ``demo``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command that the process's arguments name."""
    try:
        from authcache_middleware.cli.commands import authcache
    except ModuleNotFoundError as missing:
        if missing.name not in {"click", "rich"}:
            raise
        sys.exit(f"authcache needs {missing.name}: python -m pip install 'authcache-middleware[cli]'")
    authcache()
