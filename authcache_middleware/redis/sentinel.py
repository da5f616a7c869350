"""The primary that Sentinels name: asked of all of them, and followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, final

from authcache_middleware.cache.link import Primary, Wire
from authcache_middleware.cache.links import PrimariesUnknownError
from authcache_middleware.cache.store import REDIS_GONE
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.asking import Asking
from authcache_middleware.redis.primaries import beacon
from authcache_middleware.redis.store import Commands
from authcache_middleware.redis.wire import AsyncWire, BlockingWire

__all__ = ["SentinelTopology"]


class _Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@final
class SentinelTopology:
    """A ``Topology`` of one server, which becomes another one.

    Counted are the answers of more than half of the Sentinels that the client knows, and they must be the same. The one
    that leads a failover knows first; the others hear of it from him, as much as two seconds later.
    """

    changes = True

    def __init__(self, pool: Any, commands: Commands, *, asynchronous: bool) -> None:
        self._pool = pool
        self._commands = commands
        self._asynchronous = asynchronous
        self._wire = AsyncWire if asynchronous else BlockingWire
        self._sentinels = [client.connection_pool for client in pool.sentinel_manager.sentinels]
        self._asking = Asking(self._to_sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", pool.service_name)
        self._seen: _Address | None = None

    async def primaries(self, timeout: float) -> Sequence[Primary]:
        """See ``Topology``. Where it is another one, the pool's connections to the old one are closed."""
        look = self._asking.look(timeout)
        named: Counter[_Address] = Counter()
        for number in look.ordered(range(len(self._sentinels))):
            answer = await look.ask(number)
            if answer is not None:
                named[_Address(answer[0].decode(), int(answer[1]))] += 1
        if len(named) > 1:
            raise PrimariesUnknownError("the Sentinels name different primaries")
        if 2 * named.total() <= len(self._sentinels):
            raise PrimariesUnknownError(f"too few Sentinels name a primary ({look.reason})")
        (address,) = named
        if address != self._seen:
            await self._leave_the_old_one(address)
        return [_SentinelPrimary(address, self)]

    async def _leave_the_old_one(self, address: _Address) -> None:
        """Its connections in use too: redis-py's asyncio pool would take them back, and use them for ever."""
        if self._seen is not None:
            closing = self._pool.disconnect(inuse_connections=True)
            if self._asynchronous:
                await closing
        self._seen = address

    def is_sent_to(self, names: Collection[str], key: str) -> bool:
        """See ``Topology``."""
        del key
        return self.leads_to(names)

    def leads_to(self, names: Collection[str]) -> bool:
        """Whether the pool's last connection was made to one of these."""
        address = self._pool.master_address
        return address is not None and str(_Address(*address)) in names

    async def close(self) -> None:
        """See ``Topology``."""
        await self._asking.close()

    def wire(self, address: _Address, timeout: float) -> Wire:
        """A new wire to that server, with the pool's settings."""
        fixed = _AsyncFixed(address) if self._asynchronous else _Fixed(address)
        settings = {**self._pool.connection_kwargs, "connection_pool": fixed}
        return self._wire(self._pool.connection_class, settings, timeout)

    async def touch(self, address: _Address, key: str, *, ttl_ms: int) -> None:
        """Write the key by way of the pool, if that leads to this address."""
        await self._commands.insist("SET", key, "", "PX", ttl_ms)
        if not self.leads_to([str(address)]):
            raise UnavailableError(REDIS_GONE)  # by the way that users' keys are written this one is not reached

    def _to_sentinel(self, number: int, timeout: float) -> Wire:
        pool = self._sentinels[number]
        return self._wire(pool.connection_class, pool.connection_kwargs, timeout)


@final
class _SentinelPrimary:
    """The server at an address, as long as Sentinels name it."""

    def __init__(self, address: _Address, topology: SentinelTopology) -> None:
        self._address = address
        self._topology = topology

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SentinelPrimary) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    @property
    def name(self) -> str:
        """See ``Primary``."""
        return str(self._address)

    def wire(self, timeout: float) -> Wire:
        """See ``Primary``."""
        return self._topology.wire(self._address, timeout)

    def beacon(self, prefix: str) -> str:
        """See ``Primary``."""
        return beacon(prefix)

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        """See ``Primary``."""
        await self._topology.touch(self._address, key, ttl_ms=ttl_ms)


class _Fixed:
    """In the place of the pool that a Sentinel's connection asks where to connect to: always the same address."""

    is_master = True
    check_connection = False

    def __init__(self, address: _Address) -> None:
        self._address = address

    def get_master_address(self) -> tuple[str, int]:
        return self._address


class _AsyncFixed:
    """The same for ``redis.asyncio``."""

    is_master = True
    check_connection = False

    def __init__(self, address: _Address) -> None:
        self._address = address

    async def get_master_address(self) -> tuple[str, int]:
        return self._address
