"""Ready clients of a cluster, and of what Sentinels name, for both faces; each with a way to close it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from servers.group import Group
from servers.sentinel_group import SentinelGroup

TIMEOUT = 2.0


def client_of(kind: str, group: Group, **settings: Any) -> Callable[[], tuple[Any, Callable[[], Any]]]:
    """A source for ``living``.

    Of a cluster, ``ports`` are others than its nodes' own to begin with; behind Sentinels, ``primary`` are settings for
    the connections to what they name alone, and ``sentinels`` for those to themselves.
    """
    settings = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, **settings}
    if isinstance(group, SentinelGroup):
        return partial(_behind_sentinels, kind, group, **settings)
    return partial(_of_cluster, kind, group, **settings)


def _of_cluster(kind: str, cluster: Any, ports: Mapping[int, int] | None = None, **settings: Any) -> Any:
    module: Any = redis.asyncio.cluster if kind == "async" else redis.cluster
    nodes = cluster.startup_nodes(lambda host, port: module.ClusterNode(host, (ports or {}).get(port, port)))
    client = module.RedisCluster(startup_nodes=nodes, **settings)
    return client, client.aclose if kind == "async" else client.close


def _behind_sentinels(
    kind: str,
    group: SentinelGroup,
    primary: Mapping[str, Any] | None = None,
    sentinels: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    module: Any = redis.asyncio.sentinel if kind == "async" else redis.sentinel
    sentinel = module.Sentinel(group.addresses, sentinel_kwargs={**settings, **(sentinels or {})})
    client = sentinel.master_for(group.name, **settings, **(primary or {}))
    everything = [client, *sentinel.sentinels]
    if kind == "blocking":
        return client, lambda: [one.close() for one in everything]

    async def close() -> None:
        for one in everything:
            await one.aclose()

    return client, close
