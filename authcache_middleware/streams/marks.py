"""Who was seen and is not written down yet: a bounded table in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, final

__all__ = ["Mark", "Marks"]

Mark = tuple[str, float]
"""The key of a user's record, and when he was seen, in seconds since 1970."""

_BATCH: Final = 500
_LOOKED_AT_IN_A_ROW: Final = 5000


@final
class Marks:
    """Marks of one process, for any thread: each change is a single operation on a dict, which nothing interrupts.

    ``most``: how many may wait. ``every``: seconds from one time that a user is handed out to the next.
    """

    def __init__(self, most: int, every: float) -> None:
        self._most = most
        self._every = every
        self._seen: dict[str, float] = {}
        # When each user was handed out, in two generations of the same length: none lives on for ever.
        self._out: dict[str, float] = {}
        self._out_before: dict[str, float] = {}
        self._turned_at = -math.inf
        self.dropped = 0
        """How many were not kept since there was no room."""

    def mark(self, key: str, at: float) -> None:
        """He was seen now. Called for each request."""
        seen = self._seen
        if len(seen) < self._most or key in seen:
            seen[key] = at
        else:
            self.dropped += 1

    def at(self, key: str) -> float | None:
        """When he was seen, if that is not written down yet."""
        return self._seen.get(key)

    def batches(self, now: float, *, all_of_them: bool) -> Iterator[list[Mark]]:
        """Those whose time has come, or all: taken out, in lists of 500 at most. Some are empty: a chance to rest."""
        self._turn(now)
        batch: list[Mark] = []
        for looked_at, key in enumerate(list(self._seen), start=1):
            if all_of_them or now - self._handed_out(key) >= self._every:
                at = self._seen.pop(key, None)  # the newest: he may have been seen since the list was made
                if at is not None:
                    self._out[key] = now
                    batch.append((key, at))
            if len(batch) == _BATCH or (not batch and looked_at % _LOOKED_AT_IN_A_ROW == 0):
                yield batch
                batch = []
        if batch:
            yield batch

    def put_back(self, marks: Iterable[Mark]) -> None:
        """These could not be written down: their time has come still."""
        for key, at in marks:
            self._out.pop(key, None)
            self._out_before.pop(key, None)
            if len(self._seen) < self._most or key in self._seen:
                self._seen.setdefault(key, at)
            else:
                self.dropped += 1

    def _handed_out(self, key: str) -> float:
        at = self._out.get(key)
        return self._out_before.get(key, -math.inf) if at is None else at

    def _turn(self, now: float) -> None:
        if not 0 <= now - self._turned_at < self._every:
            self._out_before, self._out, self._turned_at = self._out, {}, now

    def __len__(self) -> int:
        return len(self._seen)
