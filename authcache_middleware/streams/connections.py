"""Connections of one's own to a Redis, for commands that may block for longer than a request could wait."""

from __future__ import annotations

from typing import Final, final

from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.redis.store import Commands
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, SystemClock

__all__ = ["Connections", "Here"]

_TURN: Final = 1.0
_MAX_CONNECTIONS: Final = 32


@final
class Here:
    """What one event loop, or one process, has."""

    def __init__(self, runtime: AsyncRuntime | BlockingRuntime, commands: Commands) -> None:
        self.runtime = runtime
        self.commands = commands
        self.has_joined = False


@final
class Connections:
    """Opened where they are first wanted: each event loop and each process, also a forked one, has its own.

    ``timeout``: the longest that a command may take, blocking ones included, and that connecting may take.
    """

    def __init__(self, runtime: type[AsyncRuntime | BlockingRuntime], redis: object, *, timeout: float) -> None:
        self._runtime = runtime
        self._target = RedisTarget(
            redis,
            asynchronous=runtime is AsyncRuntime,
            timeout=timeout,
            connect_timeout=timeout,
            max_connections=_MAX_CONNECTIONS,
            wait_replicas=0,
        )
        self._here: dict[object, Here] = {}
        self._block = min(_TURN, self._target.longest_block)

    def here(self) -> Here:
        """The connections of whoever calls."""
        place = self._runtime.place()
        return self._here.get(place) or self._opened(place)

    def _opened(self, place: object) -> Here:
        for other, opened in list(self._here.items()):  # a closed loop's, or a forked child's parent's
            if opened.runtime.is_over():
                self._here.pop(other, None)
        commands = self._target.open(Breaker(SystemClock.monotonic, Reporter())).commands
        assert commands is not None  # noqa: S101 - what a RedisTarget opens is a Redis
        return self._here.setdefault(place, Here(self._runtime(), commands))

    def turn(self, left: float) -> tuple[float, float]:
        """Seconds to block on the server and then to sleep: together one second, or what is left if that is less.

        So a command comes once a second where nothing happens, also where a client's own timeout forbids to block for
        that long.
        """
        turn = max(0.001, min(_TURN, left))
        block = max(0.001, min(turn, self._block))
        return block, turn - block

    async def aclose(self) -> None:
        """Close those of whoever calls; a ready client stays open."""
        opened = self._here.pop(self._runtime.place(), None)
        if opened is not None:
            await opened.commands.aclose()
