"""A store in this process's memory, for tests that need no server."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Mapping

from authcache_middleware.cache.store import Begun, NotBegun
from authcache_middleware.errors import UnavailableError
from authcache_middleware.runtime import Clock, SystemClock
from authcache_middleware.testing.revoked_hash import RevokedHash
from authcache_middleware.users.record import NO_REVOCATIONS, ForeignValueError, Revocations

__all__ = ["MemoryStore"]


class MemoryStore:
    """A ``Store`` that behaves as the one on Redis does, by the clock it is given. For both faces and any thread.

    ``down = True`` makes every call fail as it does when Redis is gone; ``calls`` lists the name of each call made.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.down = False
        self.calls: list[str] = []
        self._clock = clock or SystemClock()
        self._mutex = threading.Lock()
        self._claims = itertools.count()
        self._values: dict[str, tuple[bytes, float]] = {}
        self._revocations: dict[str, RevokedHash] = {}

    async def get(self, key: str) -> bytes | None:
        """See ``Store``."""
        self._called("get")
        with self._mutex:
            return self._value(key)

    async def set(self, key: str, value: bytes, *, ttl_ms: int) -> None:
        """See ``Store``."""
        self._called("set")
        self.put(key, value, ttl_ms=ttl_ms)

    async def claim(self, key: str, lease: bytes, *, ttl_ms: int) -> bytes:
        """See ``Store``."""
        self._called("claim")
        with self._mutex:
            standing = self._value(key)
            if standing is None:
                standing = b"%b:%d" % (lease, next(self._claims))
                self._set(key, standing, ttl_ms)
            return standing

    async def compare_and_set(self, key: str, expected: bytes, value: bytes, *, ttl_ms: int) -> bool:
        """See ``Store``."""
        self._called("compare_and_set")
        with self._mutex:
            same = self._value(key) == expected
            if same:
                self._set(key, value, ttl_ms)
            return same

    async def compare_and_delete(self, key: str, expected: bytes) -> bool:
        """See ``Store``."""
        self._called("compare_and_delete")
        with self._mutex:
            same = self._value(key) == expected
            if same:
                del self._values[key]
            return same

    async def elect(self, key: str, *, ttl_ms: int) -> bool:
        """See ``Store``."""
        self._called("elect")
        with self._mutex:
            absent = self._value(key) is None
            if absent:
                self._set(key, b"", ttl_ms)
            return absent

    async def delete(self, key: str) -> None:
        """See ``Store``."""
        self._called("delete")
        with self._mutex:
            self._values.pop(key, None)
            self._revocations.pop(key, None)

    async def revocations(self, key: str) -> Revocations:
        """See ``Store``."""
        self._called("revocations")
        with self._mutex:
            held = self._hash(key)
            return NO_REVOCATIONS if held is None else held.revocations()

    async def sessions(self, key: str) -> Mapping[str, bytes]:
        """See ``Store``."""
        self._called("sessions")
        with self._mutex:
            held = self._hash(key)
            return {} if held is None else held.values()

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
        """See ``Store``."""
        self._called("begin_session")
        with self._mutex:
            held = self._hash(key) or RevokedHash()
            answer = held.begin_session(
                mark,
                math.floor(self._clock.wall() * 1000),
                expires_s=expires_s,
                details=details,
                most=most,
                ends_oldest=ends_oldest,
                lifetime=lifetime,
                leeway=leeway,
            )
            if isinstance(answer, Begun):
                self._revocations[key] = held
            return answer

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        """See ``Store``."""
        self._called("revoke_id")
        with self._mutex:
            held = self._hash(key) or RevokedHash()
            held.revoke_id(mark, math.ceil(self._clock.wall()), lifetime, leeway)
            self._revocations[key] = held

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        """See ``Store``."""
        self._called("revoke_before")
        with self._mutex:
            held = self._hash(key) or RevokedHash()
            held.revoke_before(math.ceil(self._clock.wall()), lifetime, leeway)
            self._revocations[key] = held

    async def may_evict(self) -> bool | None:
        """See ``Store``: it never does."""
        return False

    async def aclose(self) -> None:
        """Nothing was opened."""

    def put(self, key: str, value: bytes, *, ttl_ms: int = 3_600_000) -> None:
        """What another client's ``SET`` would do."""
        with self._mutex:
            self._revocations.pop(key, None)
            self._set(key, value, ttl_ms)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise UnavailableError("redis")

    def _set(self, key: str, value: bytes, ttl_ms: int) -> None:
        self._values[key] = value, self._clock.wall() + ttl_ms / 1000

    def _value(self, key: str) -> bytes | None:
        if key in self._revocations:
            raise ForeignValueError("another type")
        value, until = self._values.get(key, (None, math.inf))
        return value if until > self._clock.wall() else None

    def _hash(self, key: str) -> RevokedHash | None:
        if self._value_type_is_bytes(key):
            raise ForeignValueError("another type")
        held = self._revocations.get(key)
        return held if held is not None and held.until > math.ceil(self._clock.wall()) else None

    def _value_type_is_bytes(self, key: str) -> bool:
        return key in self._values and self._values[key][1] > self._clock.wall()
