"""Refreshing ahead: a record that is asked for near its end is loaded again while it still answers.

No lease is written over a record. One process is elected by a key of its own, and its fill replaces exactly the bytes
that it read *before* it loaded: whoever invalidates meanwhile wins.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, final

from authcache_middleware.cache.loads import LoadError, Loads
from authcache_middleware.cache.store import Store
from authcache_middleware.errors import UnavailableError
from authcache_middleware.events import FillRefused
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Runtime, Stop, Work
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import ForeignValueError, Record, is_storable

__all__ = ["Refresher", "refresh_window_ms"]

_LEAST_MS: Final = 10_000
_LOADS: Final = 20
_SHARE: Final = 10
_PLACE_WAIT: Final = 0.05

_log = logging.getLogger("authcache_middleware")


def refresh_window_ms(record: Record) -> int:
    """How long before its end a record is refreshed by whoever asks for it.

    Ten seconds, or twenty times its load where that is more, and never more than a tenth of its life: a user who is
    asked for that often does not end, and few others are loaded for nobody. Negative records are not refreshed.
    """
    if record.user is None:
        return 0
    life_ms = record.expires_at_ms - record.loaded_at_ms
    return min(max(_LEAST_MS, _LOADS * record.load_ms), life_ms // _SHARE)


@final
class Refresher:
    """Loads records of one issuer's users again, in the background."""

    def __init__(
        self,
        store: Store,
        *,
        runtime: Runtime,
        loader: Work,
        loads: Loads,
        keys: UserKeys,
        lease_ms: int,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._loader = loader
        self._loads = loads
        self._keys = keys
        self._lease_ms = lease_ms
        self._reporter = reporter
        self._mutex = runtime.mutex()  # guards the set
        self._under_way: set[str] = set()

    def refresh(self, key: str, subject: str, seen: bytes) -> None:
        """Load the subject again in the background, unless somebody does already; ``seen`` is what Redis held."""
        with self._mutex:
            if key in self._under_way:
                return
            self._under_way.add(key)
        try:
            self._runtime.background(partial(self._run, key, subject, seen), "authcache-refresh")
        except BaseException:
            self._under_way.discard(key)
            raise

    async def _run(self, key: str, subject: str, seen: bytes, _stop: Stop) -> None:
        try:
            if await self._store.elect(self._keys.refresh(subject), ttl_ms=self._lease_ms):
                await self._renew(key, subject, seen)
        except (UnavailableError, ForeignValueError, LoadError):
            pass  # said where it happened; the record answers on until its end
        finally:
            with self._mutex:
                self._under_way.discard(key)

    async def _renew(self, key: str, subject: str, seen: bytes) -> None:
        try:
            await self._loader.enter(_PLACE_WAIT)
        except TimeoutError:
            return  # those who must wait for a load come first
        record, packed = await self._loads.load(subject, self._loader, "refresh")
        if not is_storable(record, packed):
            return
        ttl_ms = record.expires_at_ms - record.loaded_at_ms
        if not await self._store.compare_and_set(key, seen, packed, ttl_ms=ttl_ms):
            self._reporter.tell(FillRefused("refresh", lease_ended=False))
