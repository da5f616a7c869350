"""The one primary behind an ordinary client: how to open a wire to it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, final

from authcache_middleware.cache.link import Primary, Wire
from authcache_middleware.redis.store import Commands
from authcache_middleware.redis.wire import AsyncWire, BlockingWire

__all__ = ["OnePrimary", "SingleServer", "beacon"]


def beacon(prefix: str) -> str:
    """A key that is nobody's, since no subject holds a control character; another one at each call."""
    return f"{prefix}\x00beacon:{os.urandom(8).hex()}"


@final
class OnePrimary:
    """The server that a pool leads to."""

    def __init__(self, pool: Any, commands: Commands, *, asynchronous: bool) -> None:
        self._pool = pool
        self._commands = commands
        self._wire = AsyncWire if asynchronous else BlockingWire

    @property
    def name(self) -> str:
        """See ``Primary``."""
        settings = self._pool.connection_kwargs
        return str(settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}")

    def wire(self, timeout: float) -> Wire:
        """See ``Primary``."""
        return self._wire(self._pool.connection_class, self._pool.connection_kwargs, timeout)

    def beacon(self, prefix: str) -> str:
        """See ``Primary``."""
        return beacon(prefix)

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        """See ``Primary``. Sent behind an open breaker too: the link would not ask, did the server not answer again."""
        await self._commands.insist("SET", key, "", "PX", ttl_ms)


@final
class SingleServer:
    """A ``Topology`` of one server, always the same."""

    changes = False

    def __init__(self, primary: Primary) -> None:
        self._primary = primary

    async def primaries(self, timeout: float) -> Sequence[Primary]:
        """See ``Topology``."""
        del timeout
        return [self._primary]

    def is_sent_to(self, names: Collection[str], key: str) -> bool:
        """See ``Topology``."""
        del names, key
        return True

    async def close(self) -> None:
        """See ``Topology``."""
