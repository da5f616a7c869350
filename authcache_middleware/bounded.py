"""A map that keeps at most so many entries of at most so much weight: what is asked for stays longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

__all__ = ["BoundedMap", "Kept"]

K = TypeVar("K")

_LONGEST_SWEEP: Final = 32


class Kept:
    """What such a map keeps, each in one map at most. The attributes here are the map's."""

    __slots__ = ("asked", "key", "place", "weight")

    key: Any
    place: int
    weight: int
    asked: bool
    """Whether it was asked for since the hand last came by."""


V = TypeVar("V", bound=Kept)


@final
class BoundedMap(Generic[K, V]):
    """CLOCK: a hand goes round the entries, takes the first that nobody has asked for since it last came by.

    That is nearly the least recently used one, and asking costs no more than a mark: ``get`` changes no structure, so
    it needs no lock. Everything else does, and it is the caller's. The hand passes 32 entries at most at a time and
    then takes the one it stands at, so that no insertion takes long, however many there are. ``evicted`` is handed what
    had to make room.
    """

    __slots__ = ("_evicted", "_free", "_hand", "_kept", "_most", "_most_weight", "_ring", "_weight", "peek")

    def __init__(
        self, most: int, most_weight: int | None = None, *, evicted: Callable[[V], None] | None = None
    ) -> None:
        self._most = most
        self._evicted = evicted
        self._most_weight = most_weight
        self._weight = 0
        self._kept: Final[dict[K, V]] = {}
        self.peek: Callable[[K], V | None] = self._kept.get
        """What ``get`` returns, for whoever marks it himself: the lookup of the ``dict``, without a call of ours."""
        self._ring: list[V | None] = []
        self._free: list[int] = []
        self._hand = 0

    def get(self, key: K) -> V | None:
        """The value, marked as asked for. For any thread, at any time."""
        value = self._kept.get(key)
        if value is not None:
            value.asked = True
        return value

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep the value, in the place of others if there is no room; one that weighs more than the bound is not."""
        kept, most, most_weight = self._kept, self._most, self._most_weight
        if key in kept:
            self.pop(key)
        if most == 0 or (most_weight is not None and weight > most_weight):
            return
        while len(kept) >= most or (most_weight is not None and self._weight + weight > most_weight):
            self._evict()
        if self._free:
            index = self._free.pop()
        else:
            index = len(self._ring)
            self._ring.append(None)
        value.key, value.place, value.weight, value.asked = key, index, weight, False
        self._ring[index] = self._kept[key] = value
        self._weight += weight

    def pop(self, key: K) -> V | None:
        """Forget the key, and return what it held."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._ring[value.place] = None
            self._free.append(value.place)
            self._weight -= value.weight
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._ring, self._free = [], []
        self._weight = self._hand = 0

    def __len__(self) -> int:
        return len(self._kept)

    def _evict(self) -> None:
        ring, hand, passed = self._ring, self._hand, 0
        while True:
            hand = (hand + 1) % len(ring)
            value = ring[hand]
            if value is None:
                continue
            if not value.asked or passed == _LONGEST_SWEEP:
                self._hand = hand
                self.pop(value.key)
                if self._evicted is not None:
                    self._evicted(value)
                return
            value.asked = False
            passed += 1
