"""Users in this process's memory, and the two fences that make it safe to answer from there.

*The fill fence*: an invalidation may be heard between a GET's reply and the keeping of it. So a reader registers before
his GET is sent, what is heard marks every registered reader of that key, and only an unmarked one keeps what he read.

*The trust fence*: each link to a primary says up to which moment it has heard of every invalidation. Memory answers
only while that moment is no longer ago than ``max_staleness``, on every link.

The users who are asked for most, 1,000 of them, are kept as objects that answer at once; any more are packed into
bytes again, which take less space, and which the garbage collector does not walk.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.packed import PackedMap
from authcache_middleware.users.record import Record, repack_record, reread_record

__all__ = ["Entry", "Memory", "Reading"]

_NEVER: Final = -math.inf
_MOST_READY: Final = 1000
_TIMES: Final = struct.Struct("<dd")


@final
class Entry(Kept):
    """A record and until when it may be used."""

    __slots__ = ("ends", "ready", "record", "until", "user")

    def __init__(self, record: Record, until: float, ends: float) -> None:
        self.record = record
        self.until = until
        """When this memory lets go of it."""
        self.ends = ends
        """When the record itself ends."""
        self.user: Any = None
        """What whoever asks has made of the record, so that it is made once; it goes when the record goes."""
        self.ready: tuple[Any, Any] | None = None
        """And what of the record and a token's claims, which stand before it."""


@final
class Reading:
    """A reader's registration: made before his GET, marked by whatever is heard of his key before he is done."""

    __slots__ = ("epoch", "is_marked", "key")

    def __init__(self, key: str, epoch: int) -> None:
        self.key = key
        self.epoch = epoch
        self.is_marked = False


@final
class Memory:
    """Records by key, for one engine; ``now`` is a clock that runs on while the machine is suspended."""

    def __init__(
        self,
        *,
        entries: int,
        ttl: float,
        max_staleness: float,
        now: Callable[[], float],
        mutex: AbstractContextManager[Any],
    ) -> None:
        self._records: BoundedMap[str, Entry] = BoundedMap(min(entries, _MOST_READY), evicted=self._pack)
        self.peek = self._records.peek
        """The entry if it is ready, whether or not it may be used: for whoever looks at trust and time himself."""
        self._packed: PackedMap[str] | None = PackedMap(entries - _MOST_READY) if entries > _MOST_READY else None
        self._ttl = ttl
        self._max_staleness = max_staleness
        self._now = now
        self._mutex = mutex  # guards all that follows; ``record`` reads the first two without it
        self.trusted_until = _NEVER
        """Until when it may answer, unless it hears from all links again before that; perhaps long ago."""
        self._heard: dict[str, float] = {}
        self._epoch = 0
        self._readers: dict[str, list[Reading]] = {}
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._went_stale = _NEVER
        self._listener: Callable[[str | None], None] | None = None

    def entry(self, key: str) -> Entry | None:
        """The entry, if there is one and it may be trusted. Never waits, and takes no lock for one that is ready.

        Trust is looked at first: an entry that was fetched before might have been taken away, and trust renewed, while
        this thread was not running.
        """
        clock, peek = self._now, self.peek  # named before they are called, see ``Story.recall_or_nobody``
        now = clock()
        if now > self.trusted_until:
            return None
        entry = peek(key)
        if entry is None:
            if self._packed is None:
                return None
            with self._mutex:
                entry = self._unpacked(key, self._packed)
            if entry is None:
                return None
        entry.asked = True
        return entry if now < entry.until else None

    def stale_record(self, key: str, most: float) -> Record | None:
        """The record although memory is not trusted, if it was no longer than ``most`` seconds ago.

        Never one whose invalidation has been heard, nor one whose own time has passed.
        """
        now = self._now()
        with self._mutex:
            last_trusted = max(self.trusted_until, self._went_stale)
            entry = self._records.get(key)
            if entry is None and self._packed is not None:
                entry = self._unpacked(key, self._packed)
            return entry.record if entry is not None and now <= last_trusted + most and now < entry.ends else None

    @property
    def is_trusted(self) -> bool:
        """Whether it may answer now."""
        return self._now() <= self.trusted_until

    def __len__(self) -> int:
        return len(self._records) + (0 if self._packed is None else len(self._packed))

    # -- what is asked for least is packed

    def _pack(self, entry: Entry) -> None:
        if self._packed is not None and self._now() < entry.ends:
            self._packed.put(entry.key, _TIMES.pack(entry.until, entry.ends) + repack_record(entry.record))

    def _unpacked(self, key: str, packed: PackedMap[str]) -> Entry | None:
        """The entry; ready from now on, if it is asked for more than once in a while."""
        value = packed.get(key)
        if value is None:
            return None
        entry = Entry(reread_record(value[_TIMES.size :]), *_TIMES.unpack_from(value))
        if packed.is_asked_again(key):
            packed.pop(key)
            self._records.put(key, entry)
        return entry

    def _forget(self, key: str) -> None:
        self._records.pop(key)
        if self._packed is not None:
            self._packed.pop(key)

    # -- the fill fence

    def begin(self, key: str) -> Reading | None:
        """Register a reader before his GET is sent; ``None`` where nothing he reads could be kept."""
        if not self.is_trusted:
            return None
        with self._mutex:
            reading = Reading(key, self._epoch)
            self._readers.setdefault(key, []).append(reading)
            return reading

    def keep(self, reading: Reading, record: Record, *, seconds: float, ends_in: float) -> None:
        """Keep what the reader's GET has returned, for so many seconds at most, unless it may be old already.

        ``ends_in``: seconds until the record itself ends, for use while memory is not trusted. Looking and keeping are
        one critical section: what is heard waits, and then finds the entry.
        """
        now = self._now()
        with self._mutex:
            fresh = not reading.is_marked and reading.epoch == self._epoch and now <= self.trusted_until
            if fresh and seconds > 0:
                self._forget(reading.key)
                self._records.put(reading.key, Entry(record, now + min(seconds, self._ttl), now + ends_in))

    def end(self, reading: Reading) -> None:
        """The reader is done, whatever became of his GET."""
        with self._mutex:
            readers = self._readers[reading.key]
            readers.remove(reading)
            if not readers:
                del self._readers[reading.key]

    # -- what the links hear

    def drop(self, key: str) -> None:
        """The key has changed."""
        with self._mutex:
            self._forget(key)
            for reading in self._readers.get(key, ()):
                reading.is_marked = True
            waiters = self._waiters.pop(key, ())
        for wake in waiters:
            wake()
        if self._listener is not None:
            self._listener(key)

    def flush(self) -> None:
        """Anything may have changed: a new link, a flushed server, another set of primaries."""
        with self._mutex:
            self._epoch += 1
            self._records.clear()
            if self._packed is not None:
                self._packed.clear()
            self._went_stale = _NEVER
            waiters = [wake for waiting in self._waiters.values() for wake in waiting]
            self._waiters.clear()
        for wake in waiters:
            wake()
        if self._listener is not None:
            self._listener(None)

    # -- the trust fence

    def follow(self, nodes: Collection[str]) -> None:
        """These primaries, and no others, must be heard from here on; nothing is kept of before."""
        with self._mutex:
            self._heard = dict.fromkeys(nodes, _NEVER)
            self._judge()
        self.flush()

    def credit(self, node: str, moment: float) -> None:
        """Every invalidation on that primary that is older than ``moment`` has been heard."""
        with self._mutex:
            if node in self._heard:
                self._heard[node] = moment
                self._judge()

    def lose(self, node: str) -> None:
        """The link to that primary is lost: what is in memory is trusted no more, and no reader keeps anything."""
        with self._mutex:
            self._epoch += 1
            if node in self._heard:
                if self.trusted_until > self._went_stale:
                    self._went_stale = min(self.trusted_until, self._now())
                self._heard[node] = _NEVER
                self._judge()

    def _judge(self) -> None:
        self.trusted_until = min(self._heard.values(), default=_NEVER) + self._max_staleness

    # -- who waits for a change

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """Call ``heard`` with every key that is heard of from here on, and with ``None`` when it may be any; for good.

        Only one listens. He is called when memory has let go of the key already.
        """
        self._listener = heard

    def wait_for(self, key: str, wake: Callable[[], None]) -> None:
        """Call ``wake`` once when the key is heard of, or everything is flushed; from any thread."""
        with self._mutex:
            self._waiters.setdefault(key, []).append(wake)

    def wait_no_more(self, key: str, wake: Callable[[], None]) -> None:
        """Take back a ``wait_for``, called or not."""
        with self._mutex:
            waiting = self._waiters.get(key, [])
            if wake in waiting:
                waiting.remove(wake)
            if not waiting:
                self._waiters.pop(key, None)
