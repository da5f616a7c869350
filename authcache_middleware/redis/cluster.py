"""The primaries of a cluster: those on whom all of them agree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, final

from authcache_middleware.cache.link import Primary, Wire
from authcache_middleware.cache.links import PrimariesUnknownError
from authcache_middleware.cache.store import REDIS_GONE
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.asking import Asking, Look
from authcache_middleware.redis.cluster_client import Address, ClusterClient, name_of
from authcache_middleware.redis.cluster_view import Ranges, Shard, key_in, shards_in
from authcache_middleware.redis.store import Commands

__all__ = ["ClusterTopology"]

View = dict[str, Ranges]
"""The slots of each primary, by its id: what the nodes must agree on."""


@final
class ClusterTopology:
    """A ``Topology`` whose every primary is asked for all of them, and for their slots, on a connection kept for that.

    An old primary that has missed a failover is none of those on whom the others agree, so it has no say; while it is
    the only one asked that has heard of nothing, there is no agreement, and no view.
    """

    changes = True

    def __init__(self, client: ClusterClient, commands: Commands, *, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._commands = commands
        self._asking = Asking(client.wire, "CLUSTER", "SLOTS", now=now)
        self._view: View = {}
        self._reached: dict[str, Address] = {}
        self._must_learn = False

    async def primaries(self, timeout: float) -> Sequence[Primary]:
        """See ``Topology``. After a change the client is made to look as well."""
        look = self._asking.look(timeout)
        for address in look.ordered(dict.fromkeys([*self._reached.values(), *self._client.known()])):
            shards = await self._shards(address, look)
            if shards and await self._agree(shards, look):
                self._adopt(shards)
                await self._asking.keep(self._reached.values())
                await self._teach_the_client()
                return [_ClusterPrimary(shard.node_id, shard.address, self) for shard in shards]
        raise PrimariesUnknownError(f"the primaries do not agree, or not all answer: {look.reason}")

    async def _shards(self, address: Address, look: Look[Address]) -> list[Shard]:
        answer: list[Any] | None = await look.ask(address)
        if answer is None:
            return []
        shards = shards_in(answer, address[0])
        return [shard._replace(address=self._client.mapped(shard.address)) for shard in shards]

    async def _agree(self, shards: Sequence[Shard], look: Look[Address]) -> bool:
        """Whether each of these primaries says the same."""
        for shard in shards:
            if _view(await self._shards(shard.address, look)) != _view(shards):
                return False
        return True

    def _adopt(self, shards: Sequence[Shard]) -> None:
        view = _view(shards)
        if view != self._view:
            self._must_learn = self._must_learn or bool(self._view)
            self._view = view
        self._reached = {shard.node_id: shard.address for shard in shards}

    async def _teach_the_client(self) -> None:
        """A command that was given up while a node hung has taught the asyncio client nothing."""
        if self._must_learn:
            try:
                await self._client.learn(frozenset(map(name_of, self._reached.values())))
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next look tries again
                raise PrimariesUnknownError(type(exc).__name__) from None
            self._must_learn = False

    def is_sent_to(self, names: Collection[str], key: str) -> bool:
        """See ``Topology``. A key that was redirected lately must be sure of both nodes."""
        senders = {self._client.owner_name(key), self._client.redirected_to(key)} - {None}
        return bool(senders) and senders.issubset(names)

    async def close(self) -> None:
        """See ``Topology``."""
        await self._asking.close()

    def wire(self, address: Address, timeout: float) -> Wire:
        """A new wire to the primary there, with the client's settings."""
        return self._client.wire(address, timeout)

    def slots(self, node_id: str) -> Ranges:
        """The slots that the primary has now."""
        return self._view.get(node_id, ())

    async def touch(self, name: str, key: str, *, ttl_ms: int) -> None:
        """Write the key by way of the client, if that goes to the primary of this name."""
        await self._commands.insist("SET", key, "", "PX", ttl_ms)
        if not self.is_sent_to([name], key):
            raise UnavailableError(REDIS_GONE)  # by the way that users' keys are written this one is not reached


@final
class _ClusterPrimary:
    """An owner of slots, whichever they are."""

    def __init__(self, node_id: str, address: Address, topology: ClusterTopology) -> None:
        self._identity = (node_id, address)
        self._topology = topology

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ClusterPrimary) and other._identity == self._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def name(self) -> str:
        """See ``Primary``."""
        return name_of(self._identity[1])

    def wire(self, timeout: float) -> Wire:
        """See ``Primary``."""
        return self._topology.wire(self._identity[1], timeout)

    def beacon(self, prefix: str) -> str | None:
        """See ``Primary``."""
        return key_in(self._topology.slots(self._identity[0]), f"{prefix}\x00beacon:{os.urandom(8).hex()}:")

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        """See ``Primary``."""
        await self._topology.touch(self.name, key, ttl_ms=ttl_ms)


def _view(shards: Sequence[Shard]) -> View:
    return {shard.node_id: shard.slots for shard in shards}
