"""Commands on connections that stay in hand: without what redis-py's client does around each of them.

The client takes a connection out of its pool for each command, looks whether it has died, has its instruments count it
and gives it back: that costs more than the command. Here one is used for one command after another. Connections, their
settings, parser and pool are redis-py's own, and so is every command but the few below. No more connections are open
than without: before the client needs one, one goes back to the pool.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, ResponseError

from authcache_middleware.redis.bulks import ErrorReplyError, read_values, stream_of
from authcache_middleware.runtime import at_most

__all__ = ["AsyncHeld", "BlockingHeld"]

_HELD: Final = ("GET", "MGET", "EVAL", "HGETALL", "DEL")
"""What a request sends, hit or miss. None of them blocks."""
_TRIED_AGAIN: Final = (RedisConnectionError, ReadOnlyError)  # once, by the client: as its own settings say


@final
class AsyncHeld:
    """The commands of one event loop, each with one timer: redis-py's, for sending, is a task before Python 3.12."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._client = client
        self._pool = client.connection_pool
        self._take = _taking(self._pool)
        self._timeout = timeout
        self._reads = _reads(client)
        self._idle: list[Any] = []

    async def execute(self, *command: str | bytes | int) -> Any:
        """The reply as the client returns it; raises what the client raises, and tries again where it does."""
        if command[0] not in self._reads:
            await self.give_back()
            return await self._client.execute_command(*command)
        connection = self._idle.pop() if self._idle else await self._taken()
        try:
            async with at_most(self._timeout):
                await connection.send_packed_command([_packed(command)], check_health=False)
                reply = await _reply(connection, command)
        except ErrorReplyError:  # what it is the client knows
            await self._given_back(connection)
            return await self._client.execute_command(*command)
        except BaseException as exc:
            if isinstance(exc, ResponseError) and not isinstance(exc, ReadOnlyError):
                self._idle.append(connection)  # this is an answer, with nothing left to be read
                raise
            # What is still to be read on it must not answer somebody else.
            await connection.disconnect(nowait=True)
            await self._given_back(connection)
            if not isinstance(exc, _TRIED_AGAIN):
                raise
            await self.give_all_back()  # they may have died with it: the pool looks
            return await self._client.execute_command(*command)
        self._idle.append(connection)
        read = self._reads[command[0]]
        return reply if read is None else read(reply)

    async def give_back(self) -> None:
        """One idle connection, if there is one, is the pool's again."""
        if self._idle:
            await self._given_back(self._idle.pop())

    async def give_all_back(self) -> None:
        """All of them."""
        while self._idle:
            await self.give_back()

    async def _taken(self) -> Any:
        connection = await self._take()
        connection.socket_timeout = None
        return connection

    async def _given_back(self, connection: Any) -> None:
        connection.socket_timeout = self._timeout
        await self._pool.release(connection)


@final
class BlockingHeld:
    """The same for any number of threads; the timeouts are the connections' own."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._pool = client.connection_pool
        self._take = _taking(self._pool)
        self._reads = _reads(client)
        self._idle: list[Any] = []

    def execute(self, *command: str | bytes | int) -> Any:
        """See ``AsyncHeld``."""
        if command[0] not in self._reads:
            self.give_back()
            return self._client.execute_command(*command)
        connection = self._popped() or self._take()
        try:
            connection.send_packed_command([_packed(command)], check_health=False)
            reply = connection.read_response()
        except BaseException as exc:
            if isinstance(exc, ResponseError) and not isinstance(exc, ReadOnlyError):
                self._idle.append(connection)
                raise
            connection.disconnect()
            self._pool.release(connection)
            if not isinstance(exc, _TRIED_AGAIN):
                raise
            self.give_all_back()
            return self._client.execute_command(*command)
        self._idle.append(connection)
        read = self._reads[command[0]]
        return reply if read is None else read(reply)

    def give_back(self) -> None:
        """See ``AsyncHeld``."""
        if (connection := self._popped()) is not None:
            self._pool.release(connection)

    def give_all_back(self) -> None:
        """See ``AsyncHeld``."""
        while self._idle:
            self.give_back()

    def _popped(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:  # not looked at before: another thread might take the last one in between
            return None


async def _reply(connection: Any, command: tuple[str | bytes | int, ...]) -> Any:
    stream = stream_of(connection) if command[0] == "MGET" else None
    if stream is None:
        return await connection.read_response()
    try:
        return await read_values(stream, len(command) - 1)
    except (InvalidResponse, ValueError, EOFError, OSError) as exc:
        raise RedisConnectionError from exc


def _taking(pool: Any) -> Callable[[], Any]:
    """``get_connection``, which before redis-py 5.3 wants to know what for."""
    what = inspect.signature(pool.get_connection).parameters.get("command_name")
    return (lambda: pool.get_connection("GET")) if what and what.default is what.empty else pool.get_connection


def _reads(client: Any) -> dict[str | bytes | int, Callable[[Any], Any] | None]:
    """By command, what the client makes of its reply; ``None`` where nothing."""
    return {name: client.response_callbacks.get(name) for name in _HELD}


def _packed(command: tuple[str | bytes | int, ...]) -> bytes:
    """The command as an array of bulk strings (RESP)."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
