"""The store: what the flow asks for, as Redis commands."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol, final

from authcache_middleware.cache.store import REDIS_GONE, Begun, NotBegun
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.scripts import BEGIN_SESSION, CLAIM, COMPARE_AND_DELETE, COMPARE_AND_SET, REVOKE
from authcache_middleware.runtime import InTurn, Together
from authcache_middleware.users.record import NO_REVOCATIONS, Revocations
from authcache_middleware.users.session import SESSION_SIGN, ends_s

__all__ = ["Commands", "RedisStore"]

_SESSION_SIGN: Final = SESSION_SIGN.encode()


class Commands(Protocol):
    """A connected Redis: sends one command and gives its reply.

    Raises ``UnavailableError`` when there is none in time, ``ForeignValueError`` when the key holds another type.
    """

    async def send(self, *command: str | bytes | int) -> Any:
        """The reply to one command; in an outage that is known of, an error at once."""
        ...

    async def insist(self, *command: str | bytes | int) -> Any:
        """The same, tried in any case."""
        ...

    async def insist_and_wait(self, *command: str | bytes | int, replicas: int) -> Any:
        """The same, with ``WAIT`` behind it on the very connection that wrote.

        Raises ``UnavailableError`` too where the write has happened and so many replicas have not confirmed it.
        """
        ...

    async def aclose(self) -> None:
        """Close what this opened itself."""
        ...


@final
class RedisStore:
    """The ``Store`` on a Redis or Valkey server. Every call is one command and one round trip.

    What ends somebody's access is sent in any case, and confirmed by so many replicas. With ``gathers`` all ``get`` of
    one turn of the event loop are one command; with ``takes_turns`` threads that ask for one key at once share one.
    """

    def __init__(
        self, commands: Commands, *, wait_replicas: int = 0, gathers: bool = False, takes_turns: bool = False
    ) -> None:
        self._commands = commands
        self._get_one: Callable[[str], Coroutine[Any, Any, bytes | None]] = self._get
        if gathers:
            self._get_one = Together(self._get_all).get
        elif takes_turns:
            self._get_one = InTurn(self._get).get
        self._send = commands.send
        self._insist = partial(commands.insist_and_wait, replicas=wait_replicas) if wait_replicas else commands.insist

    def get(self, key: str) -> Coroutine[Any, Any, bytes | None]:
        """``GET``, or a share of one ``MGET``."""
        return self._get_one(key)  # not a coroutine of its own, around each

    async def _get(self, key: str) -> bytes | None:
        value: bytes | None = await self._send("GET", key)
        return value

    async def _get_all(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        if len(keys) == 1:
            return [await self._send("GET", keys[0])]
        values: Sequence[bytes | None] = await self._send("MGET", *keys)
        return values

    async def set(self, key: str, value: bytes, *, ttl_ms: int) -> None:
        """``SET … PX``."""
        await self._send("SET", key, value, "PX", ttl_ms)

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

    async def elect(self, key: str, *, ttl_ms: int) -> bool:
        """``SET … NX PX``."""
        return bool(await self._send("SET", key, "", "NX", "PX", ttl_ms))

    async def delete(self, key: str) -> None:
        """``DEL``."""
        await self._insist("DEL", key)

    async def revocations(self, key: str) -> Revocations:
        """``HGETALL``."""
        held: Mapping[bytes, bytes] = await self._send("HGETALL", key)
        return _revocations(held) if held else NO_REVOCATIONS

    async def sessions(self, key: str) -> Mapping[str, bytes]:
        """``HGETALL``."""
        held: Mapping[bytes, bytes] = await self._send("HGETALL", key)
        return _sessions(held)

    async def begin_session(
        self,
        key: str,
        mark: str,
        *,
        expires_s: int,
        details: bytes,
        most: int,
        ends_oldest: bool,
        lifetime: int,
        leeway: int,
    ) -> Begun | NotBegun:
        """A script, by the server's own clock."""
        said = await self._insist(
            "EVAL", BEGIN_SESSION, 1, key, mark, expires_s, details, most, int(ends_oldest), lifetime, leeway
        )
        match said:
            case [b"begun", int(created_ms), int(expires_s), list(ended)]:
                return Begun(created_ms, expires_s, tuple(each.decode(errors="replace") for each in ended))
            case [b"ended"]:
                return NotBegun("ended")
            case [b"max_sessions"]:
                return NotBegun("max_sessions")
            case [b"too_soon", int(seconds)]:
                return NotBegun("too_soon", seconds)
            case _:
                raise UnavailableError(REDIS_GONE)

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        """A script, by the server's own clock."""
        await self._insist("EVAL", REVOKE, 1, key, mark, lifetime, leeway)

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        """A script, by the server's own clock."""
        await self._insist("EVAL", REVOKE, 1, key, "before", lifetime, leeway)

    async def may_evict(self) -> bool | None:
        """``INFO memory``, for which a right may be missing."""
        try:
            said = await self._send("INFO", "memory")
        except UnavailableError:
            return None
        policy = _eviction_policy(said)
        return None if policy is None else policy != "noeviction"

    async def aclose(self) -> None:
        """Close the connections if this package opened them."""
        await self._commands.aclose()


def _eviction_policy(said: object) -> str | None:
    """redis-py's clients read ``INFO`` into a mapping; a cluster's answers come one for each node."""
    match said:
        case {"maxmemory_policy": str() as policy}:
            return policy
        case {}:
            of_nodes = {_eviction_policy(of_node) for of_node in said.values() if isinstance(of_node, dict)}
            return next((policy for policy in of_nodes if policy != "noeviction"), next(iter(of_nodes), None))
        case _:
            return None


def _revocations(held: Mapping[bytes, bytes]) -> Revocations:
    before_s: int | None = None
    ids: dict[str, int] = {}
    try:
        for mark, until in held.items():
            if mark == b"before":
                before_s = int(until)
            elif not mark.startswith(_SESSION_SIGN):
                ids[mark.decode()] = int(until.split(b" ", 1)[0])  # behind it is what only the scripts read
    except ValueError:  # written by other hands: what cannot be read might be the very revocation that counts
        raise UnavailableError("the revocations are unreadable") from None
    sessions = {mark: ends for mark, value in _sessions(held).items() if (ends := ends_s(value)) is not None}
    return Revocations(before_s, MappingProxyType(ids), MappingProxyType(sessions))


def _sessions(held: Mapping[bytes, bytes]) -> dict[str, bytes]:
    sessions: dict[str, bytes] = {}
    for mark, value in held.items():
        if mark.startswith(_SESSION_SIGN):
            with suppress(UnicodeDecodeError):  # no text is nobody's: none of a token's names is like that
                sessions[mark[len(_SESSION_SIGN) :].decode()] = value
    return sessions
