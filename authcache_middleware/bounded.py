"""A map that keeps at most so many entries of at most so much weight: what is asked for stays longest."""

from __future__ import annotations

from typing import Final, Generic, TypeVar, final

__all__ = ["BoundedMap"]

K = TypeVar("K")
V = TypeVar("V")

_LONGEST_SWEEP: Final = 32


class _Place(Generic[K, V]):
    __slots__ = ("asked", "index", "key", "value", "weight")

    def __init__(self, key: K, value: V, weight: int, index: int) -> None:
        self.key = key
        self.value = value
        self.weight = weight
        self.index = index
        self.asked = False


@final
class BoundedMap(Generic[K, V]):
    """CLOCK: a hand goes round the entries, takes the first that nobody has asked for since it last came by.

    That is nearly the least recently used one, and asking costs no more than a mark: ``get`` changes no structure, so
    it needs no lock. Everything else does, and it is the caller's. The hand passes 32 entries at most at a time and
    then takes the one it stands at, so that no insertion takes long, however many there are.
    """

    __slots__ = ("_free", "_hand", "_most", "_most_weight", "_places", "_ring", "_weight")

    def __init__(self, most: int, most_weight: int | None = None) -> None:
        self._most = most
        self._most_weight = most_weight
        self._weight = 0
        self._places: dict[K, _Place[K, V]] = {}
        self._ring: list[_Place[K, V] | None] = []
        self._free: list[int] = []
        self._hand = 0

    def get(self, key: K) -> V | None:
        """The value, marked as asked for. For any thread, at any time."""
        place = self._places.get(key)
        if place is None:
            return None
        place.asked = True
        return place.value

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep the value, in the place of others if there is no room; one that weighs more than the bound is not."""
        self.pop(key)
        if self._most == 0 or (self._most_weight is not None and weight > self._most_weight):
            return
        while len(self._places) >= self._most or self._is_too_heavy(weight):
            self._evict()
        if self._free:
            index = self._free.pop()
        else:
            index = len(self._ring)
            self._ring.append(None)
        self._ring[index] = self._places[key] = _Place(key, value, weight, index)
        self._weight += weight

    def pop(self, key: K) -> V | None:
        """Forget the key, and return what it held."""
        place = self._places.pop(key, None)
        if place is None:
            return None
        self._ring[place.index] = None
        self._free.append(place.index)
        self._weight -= place.weight
        return place.value

    def clear(self) -> None:
        """Forget everything."""
        self._places = {}
        self._ring, self._free = [], []
        self._weight = self._hand = 0

    def __len__(self) -> int:
        return len(self._places)

    def _is_too_heavy(self, weight: int) -> bool:
        return self._most_weight is not None and self._weight + weight > self._most_weight

    def _evict(self) -> None:
        passed = 0
        while True:
            self._hand = (self._hand + 1) % len(self._ring)
            place = self._ring[self._hand]
            if place is None:
                continue
            if not place.asked or passed == _LONGEST_SWEEP:
                self.pop(place.key)
                return
            place.asked = False
            passed += 1
