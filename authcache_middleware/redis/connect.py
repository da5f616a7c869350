"""From a URL or a ready client to something that sends commands: the one door to redis-py."""

from __future__ import annotations

import codecs
import logging
from typing import Any, Final, NamedTuple, final
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from authcache_middleware.cache.links import Topology
from authcache_middleware.cache.store import Store
from authcache_middleware.errors import ConfigurationError
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.cluster import ClusterTopology
from authcache_middleware.redis.cluster_calls import ClusterCalls
from authcache_middleware.redis.cluster_client import AsyncClusterClient, BlockingClusterClient
from authcache_middleware.redis.commands import AsyncCalls, BlockingCalls, RedisCommands
from authcache_middleware.redis.held import AsyncHeld, BlockingHeld
from authcache_middleware.redis.primaries import OnePrimary, SingleServer
from authcache_middleware.redis.sentinel import SentinelTopology
from authcache_middleware.redis.store import Commands, RedisStore
from authcache_middleware.runtime import AsyncPlaces, BlockingPlaces, is_async_callable

__all__ = ["Opened", "RedisTarget"]

_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_COMMANDS_AHEAD: Final = 4  # whose longest time is waited for, at most, until a connection is free
_RETRIED: Final = (redis.exceptions.ConnectionError, redis.exceptions.ReadOnlyError)
_SHARE_TO_BLOCK: Final = 0.6
_READS_ELSEWHERE: Final = ("read_from_replicas", "load_balancing_strategy")

_log = logging.getLogger("authcache_middleware")


class Opened(NamedTuple):
    """What one event loop, or one process, has of a Redis."""

    store: Store
    topology: Topology | None
    """Whose invalidations must be heard; ``None`` where none can be."""
    commands: Commands | None = None
    """What the store sends its commands with; ``None`` where it is no Redis."""


@final
class RedisTarget:
    """Where the Redis is: a URL, of which each event loop and each process opens its own pool, or a ready client.

    A ready client keeps its own settings and its own loop, and is not closed here. Connections are opened by the first
    commands, never in a constructor.
    """

    def __init__(
        self,
        source: object,
        *,
        asynchronous: bool,
        timeout: float,
        connect_timeout: float,
        max_connections: int,
        wait_replicas: int,
    ) -> None:
        self._source = source
        self._asynchronous = asynchronous
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._wait_replicas = wait_replicas
        self._max_connections = max_connections
        if isinstance(source, str):
            self._refuse_bad_url(source)
        else:
            self._refuse_bad_client(source)

    def open(self, breaker: Breaker) -> Opened:
        """A store for the running loop, or for this process."""
        client, owned = self._client(), isinstance(self._source, str)
        pool = getattr(client, "connection_pool", None)
        if pool is None:
            return self._cluster(client, breaker)
        places = (AsyncPlaces if self._asynchronous else BlockingPlaces)(self._max_connections) if owned else None
        calls = self._calls(client, owned)
        commands = RedisCommands(calls, breaker, places, place_wait=_COMMANDS_AHEAD * self._timeout)
        store = RedisStore(
            commands,
            wait_replicas=self._wait_replicas,
            gathers=self._asynchronous,
            takes_turns=not self._asynchronous,
        )
        if hasattr(pool, "get_master_address"):
            return Opened(store, SentinelTopology(pool, commands, asynchronous=self._asynchronous), commands)
        return Opened(store, SingleServer(OnePrimary(pool, commands, asynchronous=self._asynchronous)), commands)

    @property
    def longest_block(self) -> float:
        """Seconds for which a command may block on the server, so that its answer comes before any timeout."""
        own = None if isinstance(self._source, str) else _timeout_of(self._source)
        return _SHARE_TO_BLOCK * (self._timeout if own is None else min(own, self._timeout))

    def _calls(self, client: Any, owned: bool) -> AsyncCalls | BlockingCalls:
        if self._asynchronous:
            held = AsyncHeld(client, self._timeout) if owned else None
            return AsyncCalls(client, timeout=self._timeout, owned=owned, held=held)
        return BlockingCalls(client, timeout=self._timeout, owned=owned, held=BlockingHeld(client) if owned else None)

    def _cluster(self, ready: Any, breaker: Breaker) -> Opened:
        client = AsyncClusterClient(ready) if self._asynchronous else BlockingClusterClient(ready)
        calls = ClusterCalls(client, timeout=self._timeout, asynchronous=self._asynchronous)
        commands = RedisCommands(calls, breaker)
        # Nothing is gathered: keys of one command must be of one node.
        store = RedisStore(commands, wait_replicas=self._wait_replicas, takes_turns=not self._asynchronous)
        return Opened(store, ClusterTopology(client, commands), commands)

    def _client(self) -> Any:
        if not isinstance(self._source, str):
            return self._source
        module: Any = redis.asyncio if self._asynchronous else redis
        return module.Redis.from_pool(module.ConnectionPool.from_url(self._source, **self._settings()))

    def _settings(self) -> dict[str, Any]:
        # RESP2: under RESP3 redis-py 8.1 hands out connections that the server has closed. One retry, on a new
        # connection, covers one that died idle, and one to a server that is no primary any more: its name may lead to
        # another by now. A server that does not answer is not asked twice.
        retry: Any = redis.asyncio.retry.Retry if self._asynchronous else redis.retry.Retry
        return {
            "protocol": 2,
            "decode_responses": False,
            "encoding": "utf-8",
            "max_connections": self._max_connections,
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._connect_timeout,
            "retry_on_timeout": False,
            "retry_on_error": list(_RETRIED),  # redis-py 5 asks this list before it retries
            "retry": retry(NoBackoff(), 1, supported_errors=_RETRIED),
        }

    def _refuse_bad_url(self, url: str) -> None:
        if not url.startswith(_SCHEMES):
            raise ConfigurationError("redis", f"the URL must begin with one of {', '.join(_SCHEMES)}")
        # redis-py lets the URL have the last word, which would undo our timeouts
        taken = sorted(self._settings().keys() & parse_qs(urlsplit(url).query).keys())
        if taken:
            raise ConfigurationError("redis", f"the URL must not set {', '.join(taken)}")
        try:
            pool = self._client().connection_pool
            pool.connection_class(**pool.connection_kwargs)  # connects to nothing, and refuses what it does not know
        except Exception as exc:  # noqa: BLE001 - a URL may hold a password: only the kind of error goes on
            raise ConfigurationError("redis", f"the URL cannot be used ({type(exc).__name__})") from None

    def _refuse_bad_client(self, client: Any) -> None:
        execute = getattr(client, "execute_command", None)
        if not callable(execute) or not hasattr(client, "get_encoder"):
            raise ConfigurationError("redis", f"must be a URL, a Redis client or a store, not {type(client).__name__}")
        if is_async_callable(execute) != self._asynchronous:
            wanted = "redis.asyncio.Redis" if self._asynchronous else "redis.Redis"
            raise ConfigurationError("redis", f"this face needs a client of the kind of {wanted}")
        if client.get_encoder().decode_responses:
            raise ConfigurationError("redis", "records are bytes: the client must not be set to decode_responses")
        if not _is_utf8(client.get_encoder().encoding):  # what the link hears must be the names that were sent
            raise ConfigurationError("redis", "keys are UTF-8: the client must not be set to another encoding")
        pool = getattr(client, "connection_pool", None)
        if any(getattr(client, name, None) for name in _READS_ELSEWHERE) or not getattr(pool, "is_master", True):
            # a replica that lags answers with what has been invalidated already
            raise ConfigurationError("redis", "the client must read from primaries, not from replicas")
        if getattr(pool, "cache", None) is not None:
            raise ConfigurationError("redis", "the client must not have a cache of its own (cache_config)")
        if not self._asynchronous and not _has_timeout(client):
            _log.warning("the Redis client has no socket_timeout: a server that hangs will hang every request")


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def _has_timeout(client: Any) -> bool:
    return _timeout_of(client) is not None


def _timeout_of(client: Any) -> float | None:
    pool = getattr(client, "connection_pool", None)
    settings = client.get_connection_kwargs() if pool is None else pool.connection_kwargs  # without one: a cluster
    timeout: float | None = settings.get("socket_timeout")
    return timeout
