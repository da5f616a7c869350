"""Commands to a cluster: sent to the node that has the key, so that it is known who has answered.

redis-py's own way is used for what it learns of the cluster. It does not do for users' keys: while slots move key by
key, its asyncio client sends ``ASKING`` and the command on different connections until it gives up, neither client goes
to a node that it does not know yet, and neither tells who has answered, or sends ``WAIT`` on the connection that wrote.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, Final, final

from redis.exceptions import AskError, ClusterError, ConnectionError, MovedError, ResponseError, SlotNotCoveredError  # noqa: A004
from redis.exceptions import TimeoutError as NoAnswerError

from authcache_middleware.redis.cluster_client import ClusterClient, Command, name_of
from authcache_middleware.redis.commands import wait_ms
from authcache_middleware.runtime import at_most

__all__ = ["ClusterCalls"]

_TURNS: Final = 2
_FIRST_WITHIN: Final = 2.0
_KEY_FIRST: Final = frozenset(
    (
        "GET", "SET", "DEL", "HGETALL",
        "XADD", "XDEL", "XLEN",
        "ZADD", "ZCOUNT", "ZRANGE", "ZREMRANGEBYSCORE", "ZSCORE",
    )
)  # fmt: skip


@final
class ClusterCalls:
    """The ``Calls`` of a ready client of a cluster, which is not closed here."""

    def __init__(self, client: ClusterClient, *, timeout: float, asynchronous: bool) -> None:
        self._client = client
        self._timeout = timeout
        self._asynchronous = asynchronous
        self._hung: set[str | None] = set()

    async def execute(self, *command: str | bytes | int) -> Any:
        """See ``Calls``."""
        # before its first command the client asks for its map, and for a list of all commands
        timeout = self._timeout if self._client.is_ready() else max(self._timeout, _FIRST_WITHIN)
        key = _key_of(command)
        if key is None:
            async with self._at_most(timeout):
                return await self._client.execute(*command)
        (reply,) = await self._on_one_connection(timeout, key, command)
        return reply

    async def execute_and_wait(self, *command: str | bytes | int, replicas: int) -> tuple[Any, int]:
        """See ``Calls``."""
        key = _key_of(command)
        if key is None:
            raise TypeError("only commands for a key can be waited for")
        wait = ("WAIT", replicas, wait_ms(self._timeout))
        reply, reached = await self._on_one_connection(2 * self._timeout, key, command, wait)
        return reply, reached

    async def aclose(self) -> None:
        """See ``Calls``."""
        await self._client.aclose()

    async def _on_one_connection(self, timeout: float, key: str, *commands: Command) -> list[Any]:
        """The replies of the node that has the key. Each command may be repeated without harm."""
        try:
            async with self._at_most(timeout):
                await self._leave_one_that_hangs(key)
                if not self._client.is_ready():  # a command of the client's own might go to any node at first
                    await self._client.learn(self._known())
                for turn in range(_TURNS):
                    try:
                        return await self._at_the_owner(key, commands)
                    except MovedError:
                        if turn == 0:  # others have moved too: one new map is cheaper than a redirection for each
                            await self._client.learn(self._known())
                            continue
                    except (ConnectionError, SlotNotCoveredError):
                        pass
                    # What is sent to one node teaches the client nothing: a command of its own does, also where that
                    # fails since the slot is on its way, or for want of a right.
                    with suppress(ClusterError, ResponseError, AttributeError):
                        await self._client.execute("TTL", key)
                return await self._at_the_owner(key, commands)
        except (TimeoutError, NoAnswerError):
            self._hung.add(self._client.owner_name(key))
            raise

    async def _leave_one_that_hangs(self, key: str) -> None:
        """Have the client ask the others who has the slot now: a command that was given up has taught it nothing."""
        owner = self._client.owner_name(key)
        if owner is not None and owner in self._hung:
            self._hung.discard(owner)
            await self._client.learn(self._known() - {owner})

    def _known(self) -> frozenset[str]:
        return frozenset(map(name_of, self._client.known()))

    async def _at_the_owner(self, key: str, commands: tuple[Command, ...]) -> list[Any]:
        node = self._client.owner(key)
        if node is None:
            raise SlotNotCoveredError
        replies = await self._client.together(node, *commands)
        if isinstance(replies[0], AskError) and not isinstance(replies[0], MovedError):
            node = await self._client.redirected(key, self._client.mapped((replies[0].host, replies[0].port)))
            _, *replies = await self._client.together(node, ("ASKING",), *commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _at_most(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        return at_most(seconds) if self._asynchronous else nullcontext()


def _key_of(command: Command) -> str | None:
    """The one key of a command, as this package sends them."""
    match command:
        case ("EVAL", _, 1, str() as key, *_):
            return key
        case ("XREAD", "COUNT", _, "BLOCK", _, "STREAMS", str() as key, _):
            return key
        case (str() as name, str() as key, *_) if name in _KEY_FIRST:
            return key
        case _:
            return None
