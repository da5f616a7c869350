"""Records as they were last read from Redis, with their bytes: the same bytes say the same again.

Nobody is answered from here: Redis is asked each time, and what it answers is compared. What is spared is the work of
taking the bytes apart and of checking them, which is most of what a hit costs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.users.record import Record

__all__ = ["Read", "Reads"]

_MOST: Final = 1024
_MOST_BYTES: Final = 1 << 20


@final
class Read(Kept):
    """A record, the bytes that it was read from, and until when it is not to be refreshed."""

    __slots__ = ("fresh_until_ms", "packed", "ready", "record")

    def __init__(self, packed: bytes, record: Record, fresh_until_ms: int) -> None:
        self.packed = packed
        self.record = record
        self.fresh_until_ms = fresh_until_ms
        self.ready: Any = None
        """What whoever asks has made of the record, so that it is made once."""


@final
class Reads:
    """The last 1,024 of them, and no more than 1 MiB of bytes, by key."""

    def __init__(self, mutex: AbstractContextManager[Any]) -> None:
        self._mutex = mutex  # guards what changes the map; looking needs no lock
        self._reads: BoundedMap[str, Read] = BoundedMap(_MOST, _MOST_BYTES)
        self.find = self._reads.peek
        """What was last read under that key, if it is still here. Whoever uses it marks it as ``asked``."""

    def put(self, key: str, read: Read) -> None:
        """Instead of what was read under that key before."""
        with self._mutex:
            self._reads.put(key, read, len(read.packed))

    def forget(self, key: str) -> None:
        """There is no record under that key any more."""
        with self._mutex:
            self._reads.pop(key)

    def __len__(self) -> int:
        return len(self._reads)
