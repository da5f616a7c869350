"""redis-py's two clients of a cluster, as one: what differs between them, and what they do not do by themselves."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any, Final, Protocol, final

import redis
import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import RedisClusterException

from authcache_middleware.cache.link import Wire
from authcache_middleware.redis.cluster_view import slot_of
from authcache_middleware.redis.wire import AsyncWire, BlockingWire
from authcache_middleware.runtime import at_most

__all__ = ["Address", "AsyncClusterClient", "BlockingClusterClient", "ClusterClient", "Command", "name_of"]

Address = tuple[str, int]
Command = tuple[str | bytes | int, ...]

_LEARN_WITHIN: Final = 2.0
_REMEMBERED: Final = 10.0
"""Seconds for which it is known who answered in the place of a slot's owner: much longer than any command takes."""


def name_of(address: Address) -> str:
    """``host:port``, as redis-py names its nodes."""
    return f"{address[0]}:{address[1]}"


class ClusterClient(Protocol):
    """A client of a cluster. ``node`` is whatever the client uses for one. Raises what redis-py raises."""

    async def execute(self, *command: str | bytes | int) -> Any:
        """The reply to one command, by the client's own ways: its map, its redirections."""
        ...

    async def together(self, node: Any, *commands: Command) -> list[Any]:
        """The replies to commands sent on one connection to that node; errors are replies too."""
        ...

    def is_ready(self) -> bool:
        """Whether the client has a map by now."""
        ...

    def owner(self, key: str) -> Any:
        """The node that the client sends the key's commands to; ``None`` where it does not know one. Asks nobody."""
        ...

    def owner_name(self, key: str) -> str | None:
        """The name of that node."""
        ...

    async def redirected(self, key: str, address: Address) -> Any:
        """The node at that address, which the client may not know yet, and which has answered for the key for once."""
        ...

    def redirected_to(self, key: str) -> str | None:
        """The name of the node that has answered for a key of the same slot in the last seconds, if one has."""
        ...

    def known(self) -> list[Address]:
        """Where all nodes are that the client knows."""
        ...

    def mapped(self, address: Address) -> Address:
        """How the client reaches what the cluster calls by that address."""
        ...

    async def learn(self, alive: frozenset[str]) -> None:
        """Make the client ask the nodes of these names for its map, and no others, which might hang."""
        ...

    def wire(self, address: Address, timeout: float) -> Wire:
        """A new wire to that node, with the client's settings."""
        ...

    async def aclose(self) -> None:
        """Close what was opened beside the client."""
        ...


class _OverClient:
    """What both clients have in common."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._strangers: dict[Address, Any] = {}
        self._redirected: dict[int, tuple[str, float]] = {}

    def is_ready(self) -> bool:
        return bool(self._client.nodes_manager.slots_cache)

    def owner(self, key: str) -> Any:
        try:
            return self._client.get_node_from_key(key)
        except RedisClusterException:  # the client has not been used yet, or nobody has the slot
            return None

    def owner_name(self, key: str) -> str | None:
        owner = self.owner(key)
        return None if owner is None else str(owner.name)

    def redirected_to(self, key: str) -> str | None:
        if not self._redirected:
            return None
        name, until = self._redirected.get(slot_of(key), ("", -math.inf))
        return name if time.monotonic() < until else None

    def _note(self, key: str, address: Address) -> None:
        self._redirected[slot_of(key)] = (name_of(address), time.monotonic() + _REMEMBERED)

    def known(self) -> list[Address]:
        manager = self._client.nodes_manager
        nodes = [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
        return list(dict.fromkeys((node.host, int(node.port)) for node in nodes))

    def mapped(self, address: Address) -> Address:
        host, port = self._client.nodes_manager.remap_host_port(*address)
        return host, int(port)

    def _ask_these_alone(self, alive: frozenset[str]) -> dict[str, Any]:
        """Take the others out of the nodes that the client asks for its map; they are returned."""
        nodes = self._client.nodes_manager.startup_nodes
        if alive.isdisjoint(nodes):
            return {}
        taken = {name: nodes.pop(name, None) for name in list(nodes) if name not in alive}
        return {name: node for name, node in taken.items() if node is not None}  # another thread may do the same

    def _put_back(self, others: dict[str, Any]) -> None:
        manager = self._client.nodes_manager
        if not getattr(manager, "_dynamic_startup_nodes", True):  # else they are what the cluster has told
            for name, node in others.items():
                manager.startup_nodes.setdefault(name, node)


@final
class AsyncClusterClient(_OverClient):
    """A ``ClusterClient`` on an event loop; whoever awaits it sets the time."""

    async def execute(self, *command: str | bytes | int) -> Any:
        """See ``ClusterClient``."""
        return await self._client.execute_command(*command)

    async def together(self, node: Any, *commands: Command) -> list[Any]:
        """See ``ClusterClient``."""
        queued = [redis.asyncio.cluster.PipelineCommand(at, *command) for at, command in enumerate(commands)]
        await node.execute_pipeline(queued)
        return [one.result for one in queued]

    async def redirected(self, key: str, address: Address) -> Any:
        """See ``ClusterClient``."""
        self._note(key, address)
        node = self._client.get_node(*address) or self._strangers.get(address)
        if node is None:
            settings = self._client.nodes_manager.connection_kwargs
            node = self._strangers[address] = redis.asyncio.cluster.ClusterNode(*address, **settings)
        return node

    async def learn(self, alive: frozenset[str]) -> None:
        """See ``ClusterClient``."""
        others = self._ask_these_alone(alive)
        try:
            async with at_most(_LEARN_WITHIN):
                had_map = self.is_ready()
                await self._client.initialize()  # here, where there is more time than for a command
                if had_map:  # else it has just asked for it
                    await self._client.nodes_manager.initialize()
        finally:
            self._put_back(others)
            manager = self._client.nodes_manager
            kept = [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
            for node in others.values():
                if not any(node is other for other in kept):
                    with suppress(Exception):  # gone already
                        await node.disconnect()

    def wire(self, address: Address, timeout: float) -> Wire:
        """See ``ClusterClient``."""
        node = next(iter(self._client.nodes_manager.startup_nodes.values()))
        settings = {**node.connection_kwargs, "host": address[0], "port": address[1]}
        return AsyncWire(node.connection_class, settings, timeout)

    async def aclose(self) -> None:
        """See ``ClusterClient``."""
        for node in self._strangers.values():
            await node.disconnect()
        self._strangers.clear()


@final
class BlockingClusterClient(_OverClient):
    """A blocking ``ClusterClient``, bounded by its own timeouts."""

    async def execute(self, *command: str | bytes | int) -> Any:
        """See ``ClusterClient``."""
        return self._client.execute_command(*command)

    async def together(self, node: Any, *commands: Command) -> list[Any]:
        """See ``ClusterClient``."""
        with self._client.get_redis_connection(node).pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    async def redirected(self, key: str, address: Address) -> Any:
        """See ``ClusterClient``."""
        self._note(key, address)
        node = self._client.get_node(*address) or self._strangers.get(address)
        if node is None:
            node = self._strangers[address] = redis.cluster.ClusterNode(*address)
        return node

    async def learn(self, alive: frozenset[str]) -> None:
        """See ``ClusterClient``."""
        others = self._ask_these_alone(alive)
        try:
            self._client.nodes_manager.initialize()
        finally:
            self._put_back(others)

    def wire(self, address: Address, timeout: float) -> Wire:
        """See ``ClusterClient``."""
        node = next(iter(self._client.nodes_manager.startup_nodes.values()))
        pool = self._client.get_redis_connection(node).connection_pool
        settings = {**pool.connection_kwargs, "host": address[0], "port": address[1]}
        return BlockingWire(pool.connection_class, settings, timeout)

    async def aclose(self) -> None:
        """See ``ClusterClient``."""
        for node in self._strangers.values():
            if node.redis_connection is not None:
                node.redis_connection.close()
        self._strangers.clear()
