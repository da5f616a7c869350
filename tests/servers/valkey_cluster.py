"""A real cluster: three primaries and their three replicas, in about two seconds."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faces import wait_until
from servers.group import QUICK_REPLICATION, Group

from authcache_middleware.testing.server import EmbeddedServer, free_ports

SLOTS = [(0, 5460), (5461, 10922), (10923, 16383)]
SETTINGS = {
    "cluster_enabled": True,
    "cluster_node_timeout": 1000,  # ms: a failover takes about 1.5 s
    "cluster_allow_replica_migration": False,
    **QUICK_REPLICATION,
}


class Cluster(Group):
    """``with Cluster() as cluster:``. The nodes find each other's names in files written before they start.

    ``settings`` are those of ``valkey.conf``, for all nodes. What the nodes think of each other changes with them:
    after ``kill``, ``freeze``, ``thaw`` or ``start`` of a node, ``settle`` waits until all that run agree.
    """

    def __init__(self, **settings: Any) -> None:
        ports = free_ports(4 * len(SLOTS))
        self._directory = tempfile.TemporaryDirectory(prefix="authcache-cluster-")
        self._buses = {port: ports.pop() for port in ports[: 2 * len(SLOTS)]}
        self._ids = {port: secrets.token_hex(20) for port in self._buses}
        self._settings = settings
        super().__init__([self._node(port, bus) for port, bus in self._buses.items()])

    def _node(self, port: int, bus: int) -> EmbeddedServer:
        ours = {
            **SETTINGS,
            "cluster_port": bus,  # the default is 10000 above, which may be no port
            "cluster_config_file": self._file(port),
        }
        return EmbeddedServer(port, **{**ours, **self._settings})

    def join(self) -> EmbeddedServer:
        """One more primary, without slots; returns when all nodes know it, and it serves. It stays until the end."""
        port, bus = free_ports(2)
        joined = self._node(port, bus)
        self.add(joined)
        joined.start()
        self._ids[port] = self.ask(joined, "CLUSTER", "MYID")
        self.ask(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(self._knows_all(server) and self._is_well(server) for server in self.running))
        return joined

    def _knows_all(self, server: EmbeddedServer) -> bool:
        lines = [line.split() for line in self.ask(server, "CLUSTER", "NODES").splitlines()]
        strange = any({"handshake", "noaddr"} & set(flags.split(",")) for _, _, flags, *_ in lines)
        return not strange and {line[0] for line in lines} == set(self._ids.values())

    def start(self) -> None:
        """Returns when every node says that the cluster is whole, 20 s at most."""
        for server in self.servers:
            self._file(server.port).write_text(self._nodes(server.port))
        super().start()
        self.settle()

    def close(self) -> None:
        super().close()
        self._directory.cleanup()

    def startup_nodes(self, kind: Callable[[str, int], Any]) -> list[Any]:
        """The running nodes, as the ``ClusterNode`` of ``redis.cluster`` or of ``redis.asyncio.cluster``."""
        return [kind("127.0.0.1", server.port) for server in self.running]

    def primaries(self) -> list[EmbeddedServer]:
        """The owners of slots, in the order of the slots, as the first running node sees it."""
        return list(dict.fromkeys(self.at(owner) for _, _, owner, _ in self._view(self.running[0])))

    def replicas(self, primary: EmbeddedServer) -> list[EmbeddedServer]:
        """Those that serve it, as the first running node sees it."""
        found = {
            port for _, _, owner, others in self._view(self.running[0]) if owner == primary.port for port in others
        }
        return [self.at(port) for port in sorted(found)]

    def slot(self, key: str) -> int:
        return int(self.ask(self.running[0], "CLUSTER", "KEYSLOT", key))

    def owner(self, slot: int) -> EmbeddedServer:
        """The primary that has the slot, as the first running node sees it."""
        return self.at(self._owner(self.running[0], slot))

    def migrate_slot(self, slot: int, target: EmbeddedServer) -> None:
        """Move the slot and its keys to another primary; returns when all running nodes know."""
        arguments = ("SLOTSRANGE", slot, slot, "NODE", self._ids[target.port])
        self.ask(self.owner(slot), "CLUSTER", "MIGRATESLOTS", *arguments)
        wait_until(lambda: {self._owner(server, slot) for server in self.running} == {target.port})

    def move_keys(self, slot: int, target: EmbeddedServer, *, between: Callable[[], object] = lambda: None) -> None:
        """The same key by key, as before Valkey 9; ``between`` is called before the keys leave and when they have."""
        source = self.owner(slot)
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[source.port])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[target.port])
        between()
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        between()
        for server in (target, source, *self.primaries()):
            self.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", self._ids[target.port])
        wait_until(lambda: {self._owner(server, slot) for server in self.running} == {target.port})

    def ask_importing(self, server: EmbeddedServer, *command: object) -> Any:
        """What a node answers to which the slot is only moving."""
        with self._clients[server.port].pipeline(transaction=False) as pipeline:
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*command)
            return pipeline.execute()[-1]

    def settle(self) -> None:
        """Wait until all running nodes agree on owners and replicas, and every slot and every replica is served."""
        wait_until(self._settled)

    def _settled(self) -> bool:
        views = [self._view(server) for server in self.running]
        known = {port for _, _, owner, others in views[0] for port in (owner, *others)}
        return (
            all(view == views[0] for view in views)
            and known == {server.port for server in self.running}
            and sum(last - first + 1 for first, last, _, _ in views[0]) == SLOTS[-1][1] + 1
            and all(self._is_well(server) for server in self.running)
        )

    def _is_well(self, server: EmbeddedServer) -> bool:
        role = self.ask(server, "ROLE")
        linked = role[0] == "master" or role[3] == "connected"
        return linked and "cluster_state:ok" in self.ask(server, "CLUSTER", "INFO")

    def _view(self, server: EmbeddedServer) -> list[tuple[int, int, int, tuple[int, ...]]]:
        """First slot, last slot, owner and replicas of each range; replicas that have failed are not among them."""
        return sorted(
            (first, last, nodes[0][1], tuple(sorted(node[1] for node in nodes[1:])))
            for first, last, *nodes in self.ask(server, "CLUSTER", "SLOTS")
        )

    def _owner(self, server: EmbeddedServer, slot: int) -> int | None:
        return next((owner for first, last, owner, _ in self._view(server) if first <= slot <= last), None)

    def _file(self, port: int) -> Path:
        return Path(self._directory.name) / f"{port}.conf"

    def _nodes(self, myself: int) -> str:
        """What that node would have written down, had it been in this cluster before."""
        lines = []
        for number, (port, bus) in enumerate(self._buses.items()):
            shard, is_replica = number % len(SLOTS), number >= len(SLOTS)
            primary = list(self._ids.values())[shard] if is_replica else "-"
            flags = ("myself," if port == myself else "") + ("slave" if is_replica else "master")
            slots = "" if is_replica else " {}-{}".format(*SLOTS[shard])
            address = f"127.0.0.1:{port}@{bus}"
            lines.append(f"{self._ids[port]} {address} {flags} {primary} 0 0 {shard + 1} connected{slots}")
        return "\n".join([*lines, f"vars currentEpoch {len(SLOTS)} lastVoteEpoch 0", ""])
