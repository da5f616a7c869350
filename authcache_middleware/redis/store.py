"""The store: what the flow asks for, as Redis commands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, final

from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.scripts import CLAIM, COMPARE_AND_DELETE, COMPARE_AND_SET, REVOKE
from authcache_middleware.users.record import NO_REVOCATIONS, Revocations

__all__ = ["Commands", "RedisStore"]


class Commands(Protocol):
    """A connected Redis: sends one command and gives its reply.

    Raises ``UnavailableError`` when there is none in time, ``ForeignValueError`` when the key holds another type.
    """

    async def send(self, *command: str | bytes | int) -> Any:
        """The reply to one command."""
        ...

    async def aclose(self) -> None:
        """Close what this opened itself."""
        ...


@final
class RedisStore:
    """The ``Store`` on a Redis or Valkey server. Every call is one command and one round trip."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._send = commands.send

    async def get(self, key: str) -> bytes | None:
        """``GET``."""
        value: bytes | None = await self._send("GET", key)
        return value

    async def claim(self, key: str, lease: bytes, *, ttl_ms: int) -> bytes:
        """A script: the lease and the look in one round trip."""
        standing: bytes = await self._send("EVAL", CLAIM, 1, key, lease, ttl_ms)
        return standing

    async def compare_and_set(self, key: str, expected: bytes, value: bytes, *, ttl_ms: int) -> bool:
        """A script: one form for every server."""
        return bool(await self._send("EVAL", COMPARE_AND_SET, 1, key, expected, value, ttl_ms))

    async def compare_and_delete(self, key: str, expected: bytes) -> bool:
        """A script: one form for every server."""
        return bool(await self._send("EVAL", COMPARE_AND_DELETE, 1, key, expected))

    async def delete(self, key: str) -> None:
        """``DEL``."""
        await self._send("DEL", key)

    async def revocations(self, key: str) -> Revocations:
        """``HGETALL``."""
        held: Mapping[bytes, bytes] = await self._send("HGETALL", key)
        return _revocations(held) if held else NO_REVOCATIONS

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        """A script, by the server's own clock."""
        await self._send("EVAL", REVOKE, 1, key, mark, lifetime, leeway)

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        """A script, by the server's own clock."""
        await self._send("EVAL", REVOKE, 1, key, "before", lifetime, leeway)

    async def aclose(self) -> None:
        """Close the connections if this package opened them."""
        await self._commands.aclose()


def _revocations(held: Mapping[bytes, bytes]) -> Revocations:
    before_s: int | None = None
    ids: dict[str, int] = {}
    try:
        for mark, until in held.items():
            if mark == b"before":
                before_s = int(until)
            else:
                ids[mark.decode()] = int(until)
    except ValueError:  # written by other hands: what cannot be read might be the very revocation that counts
        raise UnavailableError("the revocations are unreadable") from None
    return Revocations(before_s, MappingProxyType(ids))
