"""A server that may forget revocations is said so, once: nothing here can make up for it."""

from __future__ import annotations

import logging

from authcache_middleware.cache.store import Store
from authcache_middleware.reporter import Reporter

__all__ = ["tell_of_eviction"]

_log = logging.getLogger("authcache_middleware")


async def tell_of_eviction(store: Store, reporter: Reporter) -> None:
    """Ask the server, remember what it said for ``stats()``, and log an error where revocations are not safe."""
    reporter.redis_may_evict = await store.may_evict()
    if reporter.redis_may_evict:
        _log.error("Redis may evict revocations, and logged out tokens would pass: set maxmemory-policy noeviction")
