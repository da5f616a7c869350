"""What is to be done when: moments, and what is due at each. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar, final

__all__ = ["Timetable"]

K = TypeVar("K", bound=Hashable)

_FEW: Final = 64


@final
class Timetable(Generic[K]):
    """Items, each with one moment, by any clock.

    An item that is taken off, or moved, leaves its old place in the heap; once those are more than half, the heap is
    made anew. So it holds what is on it, and no more than as much again.
    """

    __slots__ = ("_heap", "_number", "_of")

    def __init__(self) -> None:
        self._of: dict[K, tuple[float, int, K]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._number = 0  # of two with the same moment the first comes first, and items are never compared

    def put(self, item: K, moment: float) -> None:
        """The item is due at that moment, and at no other that was said before."""
        self._number += 1
        self._of[item] = place = (moment, self._number, item)
        heappush(self._heap, place)
        self._tidy()

    def drop(self, item: K) -> None:
        """The item is never due, on it or not."""
        if self._of.pop(item, None) is not None:
            self._tidy()

    def pop(self, now: float) -> K | None:
        """The item that was due first, no longer on it; ``None`` where none is due yet."""
        moment = self.next()
        if moment is None or moment > now:
            return None
        item = heappop(self._heap)[2]
        del self._of[item]
        return item

    def next(self) -> float | None:
        """The first moment at which something is due; ``None`` for nothing at all."""
        while self._heap and self._of.get(self._heap[0][2]) is not self._heap[0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def moment(self, item: K) -> float | None:
        """When the item is due; ``None`` where it is not on it."""
        place = self._of.get(item)
        return None if place is None else place[0]

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, item: K) -> bool:
        return item in self._of

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._of) + _FEW:
            self._heap = list(self._of.values())
            heapify(self._heap)
