"""One bare connection of redis-py, with the settings of a pool: for a link, which must notice every loss.

redis-py's ``PubSub`` connects again behind one's back, and what was told meanwhile is lost in silence. A bare
``Connection`` does so only when it is used after an error, so a wire is not used after one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar, final

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from authcache_middleware.cache.link import WireError
from authcache_middleware.runtime import at_most

__all__ = ["AsyncWire", "BlockingWire", "wire_settings"]

T = TypeVar("T")

# What redis-py's pools hand to connections for purposes of their own: RESP3 and caching.
_NOT_OURS: Final = ("maint", "orig_", "oss_cluster_", "himport_", "cache", "event_dispatcher", "retry_on_")


def wire_settings(settings: Mapping[str, Any], retry: object, timeout: float) -> dict[str, Any]:
    """A pool's settings, for a connection that speaks RESP2 and is never mended unseen."""
    return {
        **{name: value for name, value in settings.items() if not name.startswith(_NOT_OURS)},
        "protocol": 2,
        "decode_responses": False,
        "health_check_interval": 0,
        "retry": retry,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }


# Answers of a server that is not, or not now, the one to ask: another day it would serve.
_PASSING: Final = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.AskError,  # MOVED too
    redis.exceptions.ClusterDownError,  # MASTERDOWN too
    redis.exceptions.TryAgainError,
)


@final
class AsyncWire:
    """A ``Wire`` on an event loop."""

    def __init__(self, connection_class: type[Any], settings: Mapping[str, Any], timeout: float) -> None:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        self._connection = connection_class(**wire_settings(settings, retry, timeout))
        self._timeout = timeout

    async def open(self) -> None:
        """See ``Wire``."""
        await self._checked(self._connection.connect())

    async def call(self, *command: str | int) -> Any:
        """See ``Wire``."""
        await self.send(*command)
        return await self._checked(self._connection.read_response())

    async def send(self, *command: str | int) -> None:
        """See ``Wire``."""
        await self._checked(self._connection.send_command(*command))

    async def read(self, timeout: float) -> list[Any] | None:
        """See ``Wire``."""
        try:
            message: list[Any] | None = await self._connection.read_response(timeout=timeout)
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None
        return message

    async def close(self) -> None:
        """See ``Wire``."""
        with suppress(Exception):  # it was lost already
            await self._connection.disconnect(nowait=True)

    async def _checked(self, waiting: Awaitable[T]) -> T:
        try:
            async with at_most(self._timeout):
                return await waiting
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None


@final
class BlockingWire:
    """A ``Wire`` in a thread of its own."""

    def __init__(self, connection_class: type[Any], settings: Mapping[str, Any], timeout: float) -> None:
        retry = redis.retry.Retry(NoBackoff(), 0)
        self._connection = connection_class(**wire_settings(settings, retry, timeout))

    async def open(self) -> None:
        """See ``Wire``."""
        try:
            self._connection.connect()
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None

    async def call(self, *command: str | int) -> Any:
        """See ``Wire``."""
        await self.send(*command)
        try:
            return self._connection.read_response()
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None

    async def send(self, *command: str | int) -> None:
        """See ``Wire``."""
        try:
            self._connection.send_command(*command)
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None

    async def read(self, timeout: float) -> list[Any] | None:
        """See ``Wire``."""
        try:
            if not self._connection.can_read(timeout=timeout):
                return None
            message: list[Any] = self._connection.read_response()
        except Exception as exc:  # noqa: BLE001 - whatever it is, this wire is lost
            raise _lost(exc) from None
        return message

    async def close(self) -> None:
        """See ``Wire``."""
        with suppress(Exception):  # it was lost already
            self._connection.disconnect()


def _lost(error: Exception) -> WireError:
    """With the class of the error alone: its text may hold an address, or what a server said of a user."""
    name = type(error).__name__
    if not isinstance(error, redis.ResponseError) or isinstance(error, _PASSING):
        return WireError(name)
    code = str(error).partition(" ")[0]
    return WireError(f"{name} ({code})" if code.isalpha() else name, deaf=True)
