"""A real primary with its replica, and three Sentinels that watch them, in about half a second."""

from __future__ import annotations

from typing import Any

from faces import wait_until
from servers.group import QUICK_REPLICATION, Group

from authcache_middleware.testing.server import EmbeddedServer, free_ports

# ms. Pings stay at the default: a replica counts as a candidate for five of their periods, and during a failover
# Sentinel asks it only once a second, whatever INFO-PERIOD says.
PERIODS = ("INFO-PERIOD", 100, "PUBLISH-PERIOD", 100, "ASK-PERIOD", 100, "MIN-LINK-RECONNECT-PERIOD", 100)
QUICK_TILT = ("TILT-PERIOD", 1000)  # a Sentinel that was not scheduled for 2 s mistrusts its clock for 30 s
LOST = {"s_down", "disconnected"}
LIMITS = ("down-after-milliseconds", 500, "failover-timeout", 2000)


class SentinelGroup(Group):
    """``with SentinelGroup() as group:``. ``settings`` are those of ``valkey.conf``, for primary and replica.

    After ``kill``, ``freeze``, ``thaw`` or ``start`` of a server, ``settle`` waits until all that run agree. A failover
    takes about 1.5 s, and a second one starts no sooner than 4 s after the first (twice the ``failover-timeout``).
    """

    name = "main"

    def __init__(self, **settings: Any) -> None:
        ports = free_ports(5)
        settings = {**QUICK_REPLICATION, **settings}
        self.data = [
            EmbeddedServer(ports[0], **settings),
            EmbeddedServer(ports[1], replicaof=f"127.0.0.1 {ports[0]}", **settings),
        ]
        self.sentinels = [EmbeddedServer(port, sentinel=True) for port in ports[2:]]
        super().__init__([*self.data, *self.sentinels])

    def start(self) -> None:
        """Returns when all Sentinels know each other and the replica, 20 s at most."""
        super().start()
        wait_until(lambda: self._is_linked(self.data[1]))
        for sentinel in self.sentinels:
            self.ask(sentinel, "SENTINEL", "DEBUG", *PERIODS, *QUICK_TILT)
            self.ask(sentinel, "SENTINEL", "MONITOR", self.name, "127.0.0.1", self.data[0].port, 2)
            self.ask(sentinel, "SENTINEL", "SET", self.name, *LIMITS)
        self.settle()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What ``redis.sentinel.Sentinel`` takes."""
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    def primary(self) -> EmbeddedServer:
        """The server that the first running Sentinel names."""
        return self._named(next(sentinel for sentinel in self.sentinels if sentinel.running))

    def replica(self) -> EmbeddedServer:
        """The other one."""
        return next(server for server in self.data if server is not self.primary())

    def settle(self) -> None:
        """Wait until all running Sentinels name one running primary, and whatever else runs is seen to follow it."""
        wait_until(self._settled)

    def _settled(self) -> bool:
        primary = self.primary()
        return primary.running and all(
            self._knows(server, primary) if server in self.sentinels else self._is_linked(server)
            for server in self.running
            if server is not primary
        )

    def _knows(self, sentinel: EmbeddedServer, primary: EmbeddedServer) -> bool:
        replicas = self.ask(sentinel, "SENTINEL", "REPLICAS", self.name)
        others = self.ask(sentinel, "SENTINEL", "SENTINELS", self.name)
        healthy = {
            int(seen["port"]) for seen in [*replicas, *others] if not LOST.intersection(seen["flags"].split(","))
        }
        return (
            self._named(sentinel) is primary
            and self.ask(primary, "ROLE")[0] == "master"
            and self.ask(sentinel, "SENTINEL", "MASTER", self.name)["flags"] == "master"
            and healthy == {server.port for server in self.running} - {primary.port, sentinel.port}
        )

    def _named(self, sentinel: EmbeddedServer) -> EmbeddedServer:
        _, port = self.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return self.at(port)

    def _is_linked(self, server: EmbeddedServer) -> bool:
        role = self.ask(server, "ROLE")
        return role[0] == "slave" and role[3] == "connected"
