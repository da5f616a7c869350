"""Single commands over redis-py, behind a circuit breaker, with its errors translated."""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol, final

from redis.exceptions import ClusterError, RedisError, ResponseError

from authcache_middleware.cache.store import REDIS_GONE
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.held import AsyncHeld, BlockingHeld
from authcache_middleware.runtime import Places, at_most
from authcache_middleware.users.record import ForeignValueError

__all__ = ["AsyncCalls", "BlockingCalls", "Calls", "RedisCommands", "wait_ms"]

_LEAST_WAIT_MS: Final = 1
_NO_CONNECTION_LEFT: Final = ("Too many connections", "No connection available.")
_CONGESTED: Final = "too many ask Redis at once"
_REFUSED: Final = "Redis refused a command"

_log = logging.getLogger("authcache_middleware")


class Calls(Protocol):
    """A client of redis-py, in one of its two ways of waiting. Raises what that raises."""

    async def execute(self, *command: str | bytes | int) -> Any:
        """The reply to one command."""
        ...

    async def execute_and_wait(self, *command: str | bytes | int, replicas: int) -> tuple[Any, int]:
        """The reply, and how many replicas have confirmed it, asked on the very connection that wrote."""
        ...

    async def aclose(self) -> None:
        """Close the client, if it is this package's own."""
        ...


@final
class AsyncCalls:
    """A client of ``redis.asyncio``: one that is ours has our timeouts, another one's calls get a timer.

    ``held`` is there for one that is ours: who shares his pool wants his connections back.
    """

    def __init__(self, client: Any, *, timeout: float, owned: bool, held: AsyncHeld | None = None) -> None:
        self._client = client
        self._timeout = timeout
        self._owned = owned
        self._held = held
        self._execute = client.execute_command if held is None else held.execute

    async def execute(self, *command: str | bytes | int) -> Any:
        """See ``Calls``."""
        if self._owned:
            return await self._execute(*command)
        async with at_most(self._timeout):
            return await self._execute(*command)

    async def execute_and_wait(self, *command: str | bytes | int, replicas: int) -> tuple[Any, int]:
        """See ``Calls``."""
        if self._held is not None:
            await self._held.give_back()
        async with at_most(2 * self._timeout), self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAIT", replicas, wait_ms(self._timeout))
            reply, reached = await pipeline.execute()
        return reply, reached

    async def aclose(self) -> None:
        """See ``Calls``."""
        if self._held is not None:
            await self._held.give_all_back()
        if self._owned:
            await self._client.aclose()


@final
class BlockingCalls:
    """A blocking client, whose own timeouts are all that bounds it."""

    def __init__(self, client: Any, *, timeout: float, owned: bool, held: BlockingHeld | None = None) -> None:
        self._client = client
        self._timeout = timeout
        self._owned = owned
        self._held = held
        self._execute = client.execute_command if held is None else held.execute

    async def execute(self, *command: str | bytes | int) -> Any:
        """See ``Calls``."""
        return self._execute(*command)

    async def execute_and_wait(self, *command: str | bytes | int, replicas: int) -> tuple[Any, int]:
        """See ``Calls``."""
        if self._held is not None:
            self._held.give_back()
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAIT", replicas, wait_ms(self._timeout))
            reply, reached = pipeline.execute()
        return reply, reached

    async def aclose(self) -> None:
        """See ``Calls``."""
        if self._held is not None:
            self._held.give_all_back()
        if self._owned:
            self._client.close()


@final
class RedisCommands:
    """``Commands`` over either way of calling.

    ``places``: as many as the client has connections; a command waits for one for ``place_wait`` seconds at most.
    Without them a pool that is used up by too many requests at once would look like a Redis that is gone, and be made
    one by the breaker.
    """

    def __init__(
        self, calls: Calls, breaker: Breaker, places: Places | None = None, *, place_wait: float = 1.0
    ) -> None:
        self._calls = calls
        self._execute = calls.execute
        self._breaker = breaker
        self._places = places
        self._place_wait = place_wait

    async def send(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        if not self._breaker.admits():
            raise UnavailableError(REDIS_GONE)
        if self._places is None:
            return await self._answer(*command)
        is_probe = self._breaker.is_open
        await self._enter(self._places)
        try:
            if self._breaker.is_open and not is_probe:  # while this one waited
                raise UnavailableError(REDIS_GONE)
            return await self._answer(*command)
        finally:
            self._places.leave()

    async def insist(self, *command: str | bytes | int) -> Any:
        """See ``Commands``."""
        if self._places is None:
            return await self._answer(*command)
        await self._enter(self._places)
        try:
            return await self._answer(*command)
        finally:
            self._places.leave()

    async def insist_and_wait(self, *command: str | bytes | int, replicas: int) -> Any:
        """See ``Commands``."""
        if self._places is None:
            return await self._confirmed_answer(*command, replicas=replicas)
        await self._enter(self._places)
        try:
            return await self._confirmed_answer(*command, replicas=replicas)
        finally:
            self._places.leave()

    async def _enter(self, places: Places) -> None:
        try:
            await places.enter(self._place_wait)
        except TimeoutError:
            raise UnavailableError(REDIS_GONE if self._breaker.is_open else _CONGESTED) from None

    async def _answer(self, *command: str | bytes | int) -> Any:
        try:
            reply = await self._execute(*command)
        except Exception as exc:
            raise self._translated(exc) from exc
        self._breaker.succeeded()
        return reply

    async def _confirmed_answer(self, *command: str | bytes | int, replicas: int) -> Any:
        failed: Exception | None = None
        try:
            reply, reached = await self._calls.execute_and_wait(*command, replicas=replicas)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is translated
            failed = self._translated(exc)
        # Raised out here, where nothing is chained: redis-py's pipelines quote the command, and the key in it.
        if failed is not None:
            raise failed
        self._breaker.succeeded()
        if reached < replicas:
            raise UnavailableError("the primary has it, too few replicas have confirmed it")
        return reply

    async def aclose(self) -> None:
        """See ``Commands``."""
        await self._calls.aclose()

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, ResponseError):
            self._breaker.succeeded()  # it answers
            if "WRONGTYPE" in str(error):  # a script's error has other words around it
                return ForeignValueError("another type")
            if not isinstance(error, ClusterError):
                # It is full, read-only, or short of a right. What it knows to be revoked it still knows, so this is
                # nothing that the database may be asked instead for.
                return UnavailableError(_REFUSED)
        elif str(error) in _NO_CONNECTION_LEFT:  # of a ready client's own pool: nothing was asked
            return UnavailableError(_CONGESTED)
        else:
            self._breaker.failed()
            if not isinstance(error, RedisError | OSError):  # a cluster without slots; a pool closed under a command
                _log.warning("redis-py raised %s", type(error).__name__)
        return UnavailableError(REDIS_GONE)


def wait_ms(timeout: float) -> int:
    """A little less than the timeout of the connection, so that the server's word comes before it."""
    return max(_LEAST_WAIT_MS, int(timeout * 800))
