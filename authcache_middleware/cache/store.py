"""The port to Redis: what a store must do, whatever it is made of."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from authcache_middleware.users.record import Revocations

__all__ = ["REDIS_GONE", "Store"]

REDIS_GONE: Final = "redis"
"""The reason of the ``UnavailableError`` that says nothing but that the store does not answer."""


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
        """What is revoked under the key; ``NO_REVOCATIONS`` when there is no such key."""
        ...

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        """Remember one revoked id for ``lifetime`` seconds from now, by the store's own clock.

        Ids whose time has come are dropped. Past 256 of them, all tokens issued up to now + ``leeway`` are revoked
        instead, and ``t:`` and ``i:`` ids forgotten. The key lives at least as long as anything in it.
        """
        ...

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        """Revoke every token issued at or before now (the store's clock, rounded up) + ``leeway``; never lowered."""
        ...

    async def may_evict(self) -> bool | None:
        """Whether it may forget what has been written before its time to live; ``None`` where that cannot be known."""
        ...

    async def aclose(self) -> None:
        """Release what this store opened itself."""
        ...
