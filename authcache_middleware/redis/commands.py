"""Single commands over redis-py, behind a circuit breaker, with its errors translated."""

from __future__ import annotations

import logging
from typing import Any, Final, final

from redis.exceptions import RedisError, ResponseError

from authcache_middleware.cache.store import REDIS_GONE
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.runtime import at_most
from authcache_middleware.users.record import ForeignValueError

__all__ = ["AsyncCommands", "BlockingCommands"]

_LEAST_WAIT_MS: Final = 1

_log = logging.getLogger("authcache_middleware")


@final
class AsyncCommands:
    """``Commands`` over a client of ``redis.asyncio``.

    ``owned``: the client is closed with these commands, and its timeouts are ours; another one's calls get a timer.
    """

    def __init__(self, client: Any, *, timeout: float, owned: bool, breaker: Breaker) -> None:
        self._client = client
        self._execute = client.execute_command
        self._timeout = timeout
        self._owned = owned
        self._breaker = breaker

    async def send(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        if not self._breaker.admits():
            raise UnavailableError(REDIS_GONE)
        return await self.insist(*command)

    async def insist(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        try:
            if self._owned:
                reply = await self._execute(*command)
            else:
                async with at_most(self._timeout):
                    reply = await self._execute(*command)
        except Exception as exc:
            raise _translated(exc, self._breaker) from exc
        self._breaker.succeeded()
        return reply

    async def insist_and_wait(self, *command: str | bytes | int, replicas: int) -> Any:
        """See ``Commands``."""
        try:
            async with at_most(2 * self._timeout), self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command(*command)
                pipeline.execute_command("WAIT", replicas, _wait_ms(self._timeout))
                reply, reached = await pipeline.execute()
        except Exception as exc:
            raise _translated(exc, self._breaker) from exc
        self._breaker.succeeded()
        return _confirmed(reply, reached, replicas)

    async def aclose(self) -> None:
        """See ``Commands``."""
        if self._owned:
            await self._client.aclose()


@final
class BlockingCommands:
    """``Commands`` over a blocking client, whose own timeouts are all that bounds it."""

    def __init__(self, client: Any, *, timeout: float, owned: bool, breaker: Breaker) -> None:
        self._client = client
        self._execute = client.execute_command
        self._timeout = timeout
        self._owned = owned
        self._breaker = breaker

    async def send(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        if not self._breaker.admits():
            raise UnavailableError(REDIS_GONE)
        return await self.insist(*command)

    async def insist(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        try:
            reply = self._execute(*command)
        except Exception as exc:
            raise _translated(exc, self._breaker) from exc
        self._breaker.succeeded()
        return reply

    async def insist_and_wait(self, *command: str | bytes | int, replicas: int) -> Any:
        """See ``Commands``."""
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command(*command)
                pipeline.execute_command("WAIT", replicas, _wait_ms(self._timeout))
                reply, reached = pipeline.execute()
        except Exception as exc:
            raise _translated(exc, self._breaker) from exc
        self._breaker.succeeded()
        return _confirmed(reply, reached, replicas)

    async def aclose(self) -> None:
        """See ``Commands``."""
        if self._owned:
            self._client.close()


def _wait_ms(timeout: float) -> int:
    """A little less than the timeout of the connection, so that the server's word comes before it."""
    return max(_LEAST_WAIT_MS, int(timeout * 800))


def _confirmed(reply: Any, reached: int, replicas: int) -> Any:
    if reached < replicas:
        raise UnavailableError("the primary has it, too few replicas have confirmed it")
    return reply


def _translated(error: Exception, breaker: Breaker) -> Exception:
    if isinstance(error, ResponseError):
        breaker.succeeded()  # it answers
        if "WRONGTYPE" in str(error):  # a script's error has other words around it
            return ForeignValueError("another type")
    else:
        breaker.failed()
        if not isinstance(error, RedisError | OSError):  # a cluster without slots; a pool closed under a command
            _log.warning("redis-py raised %s", type(error).__name__)
    return UnavailableError(REDIS_GONE)
