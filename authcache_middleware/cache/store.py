"""The port to Redis: what a store must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from authcache_middleware.users.record import Revocations

__all__ = ["REDIS_GONE", "Begun", "NotBegun", "Store"]

REDIS_GONE: Final = "redis"
"""The reason of the ``UnavailableError`` that says nothing but that the store does not answer."""


@dataclass(frozen=True, slots=True, repr=False)
class Begun:
    """A session is on record."""

    created_ms: int
    """When it was first."""
    expires_s: int
    ended: tuple[str, ...] = ()
    """The marks of those that it took the place of."""

    def __repr__(self) -> str:
        return f"<Begun: {len(self.ended)} ended>"


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A session was not recorded, and nothing else was changed."""

    reason: Literal["ended", "max_sessions", "too_soon"]
    """It has been ended before, there are too many, or all tokens that are issued now are revoked."""
    seconds: int | None = None
    """``too_soon``: for how long they are."""


@runtime_checkable
class Store(Protocol):
    """Single keys with a time to live, compared and set in one step, and hashes of revocations.

    Every call either has happened when it returns, or raises ``UnavailableError`` (``REDIS_GONE``) and may or may not
    have happened; it takes no longer than the store's own timeouts allow. Each of them may be repeated without harm. A
    key that holds another type raises ``ForeignValueError``. On the blocking face these coroutines never suspend.
    """

    async def get(self, key: str) -> bytes | None:
        """The bytes under the key, ``None`` when there are none."""
        ...

    async def set(self, key: str, value: bytes, *, ttl_ms: int) -> None:
        """The key holds the value, whatever it held."""
        ...

    async def claim(self, key: str, lease: bytes, *, ttl_ms: int) -> bytes:
        """What stands under the key; if nothing did, now the lease with a suffix that no other execution writes.

        So who gets back a value that begins with his lease holds it, also where a lost reply made the store send the
        command twice. A copy that is executed late, after the lease was taken away, writes another value: it revives
        nothing.
        """
        ...

    async def compare_and_set(self, key: str, expected: bytes, value: bytes, *, ttl_ms: int) -> bool:
        """In one step: if the key holds the expected bytes, set the value and tell so."""
        ...

    async def compare_and_delete(self, key: str, expected: bytes) -> bool:
        """In one step: if the key holds the expected bytes, delete it and tell so."""
        ...

    async def elect(self, key: str, *, ttl_ms: int) -> bool:
        """In one step: if the key is absent, set it to anything and tell so."""
        ...

    async def delete(self, key: str) -> None:
        """The key is gone, whatever it held."""
        ...

    async def revocations(self, key: str) -> Revocations:
        """What is revoked under the key, and the sessions on record; ``NO_REVOCATIONS`` when there is no such key."""
        ...

    async def sessions(self, key: str) -> Mapping[str, bytes]:
        """The values of the sessions on record under the key, by their marks; those that have expired may be there."""
        ...

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
        """In one step: put a session on record, if it has not been ended, nor a cutoff lies ahead of now.

        One that is on record keeps its beginning, and its end if that is later. For a new one, of ``most`` or more
        others the oldest are revoked as by ``revoke_id``; or it is not begun. Nor is it, and nothing is written, while
        that would revoke all tokens issued up to a minute ago or later.
        """
        ...

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        """Remember one revoked id for ``lifetime`` seconds from now, by the store's own clock; its session is gone.

        Ids and sessions whose time has come are dropped. Past 256 ``s:`` ids, and past 256
        others, those that were revoked first are forgotten, and all tokens revoked that were issued up to the
        ``leeway`` after that with which they were. An ``s:`` id lives for 30 days and two minutes at least, and ends a
        session ``t:`` of the same name too. The key lives at least as long as anything in it.
        """
        ...

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        """Revoke every token issued at or before now (the store's clock, rounded up) + ``leeway``; never lowered.

        Each session on record is revoked too, as by ``revoke_id``.
        """
        ...

    async def may_evict(self) -> bool | None:
        """Whether it may forget what has been written before its time to live; ``None`` where that cannot be known."""
        ...

    async def aclose(self) -> None:
        """Release what this store opened itself."""
        ...
