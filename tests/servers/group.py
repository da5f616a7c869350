"""Several servers that belong together: a control connection to each, and an end that leaves nothing behind."""

from __future__ import annotations

from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from authcache_middleware.testing.server import EmbeddedServer

QUICK_REPLICATION = {
    "repl_diskless_sync": False,  # which waits 5 s for more replicas, and 1 s for the first one's word
    "repl_diskless_load": "flush-before-load",  # a replica looks for a finished file once a second
}


class Group:
    """Start it with ``with``. Its servers are ended, frozen and started again one by one, by their own methods."""

    def __init__(self, servers: list[EmbeddedServer]) -> None:
        self.servers: list[EmbeddedServer] = []
        self._clients: dict[int, redis.Redis] = {}
        for server in servers:
            self.add(server)

    def add(self, server: EmbeddedServer) -> None:
        """One more, not started yet."""
        self.servers.append(server)
        self._clients[server.port] = redis.Redis(
            port=server.port,
            protocol=3,
            decode_responses=True,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.ConnectionError],  # redis-py 5 asks this list before it retries
        )

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def close(self) -> None:
        """Ends even those that are frozen or wait for each other."""
        for client in self._clients.values():
            client.close()
        for server in self.servers:
            server.kill()
        for server in self.servers:
            server.stop()

    def ask(self, server: EmbeddedServer, *command: object) -> Any:
        """What that server answers, whatever the others say."""
        return self._clients[server.port].execute_command(*command)

    def at(self, port: int | str) -> EmbeddedServer:
        return next(server for server in self.servers if server.port == int(port))

    @property
    def running(self) -> list[EmbeddedServer]:
        return [server for server in self.servers if server.running]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
