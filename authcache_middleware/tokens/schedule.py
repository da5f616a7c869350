"""When keys are fetched from a provider: decisions over a time that is given. Pure: nothing waits, nothing is locked.

Three things can ask for a fetch, and each has its own rule:

- keys that grow old are *due*, and renewed while they still serve;
- a token whose key is not known *asks*, and so does any token while there are no keys. Unknown keys get one fetch in
  ``COOLDOWN`` seconds, however many they are: between two of these fetches they are refused unasked;
- after a failure nobody asks for ``COOLDOWN`` seconds. While there are no keys at all, which is an outage, the pause is
  1, 2, 4, … seconds up to that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final, final

__all__ = ["COOLDOWN", "Schedule"]

COOLDOWN: Final = 30.0
"""Seconds between two fetches for unknown keys, and after one that failed."""

_JITTER: Final = 0.1


@final
class Schedule:
    """What has been fetched, when, and so when the next fetch may begin. Its owner guards it.

    ``refresh``: seconds after which keys are renewed, up to a tenth earlier, so that not all processes ask at once.
    ``max_stale``: seconds for which they serve at most when that does not succeed. Both count from when the answer was
    asked for.
    """

    __slots__ = ("_asked_until", "_due_at", "_failures", "_good_at", "_max_stale", "_not_before", "_random", "_refresh")

    def __init__(self, *, refresh: float, max_stale: float, chance: Callable[[], float] = random.random) -> None:
        self._refresh = refresh
        self._max_stale = max_stale
        self._random = chance
        self._good_at = self._due_at = -math.inf
        self._not_before = self._asked_until = -math.inf
        self._failures = 0

    @property
    def ends_at(self) -> float:
        """When the present keys stop serving."""
        return self._good_at + self._max_stale

    @property
    def renews_at(self) -> float:
        """When the present keys are to be renewed, if not before."""
        return max(self._due_at, self._not_before)

    @property
    def has_failed(self) -> bool:
        """Whether the last fetch failed, so that an unknown key may be a good one."""
        return self._failures > 0

    def begin_anew(self) -> None:
        """In another process: what is under way, or has failed, was the other's."""
        self._not_before = self._asked_until = -math.inf
        self._failures = 0

    def may_ask(self, now: float) -> bool:
        """Whether a token whose key is not known may cause a fetch."""
        return self._not_before <= now and (self._asked_until <= now or now >= self.ends_at)

    def pause(self, now: float) -> float:
        """Seconds until the next fetch may be asked for."""
        return max(0.0, max(self._not_before, self._asked_until if now < self.ends_at else -math.inf) - now)

    def began(self, now: float, *, asked: bool) -> None:
        """A fetch has begun; until it ends, or is seen to be lost, it is the only one."""
        self._not_before = now + COOLDOWN
        if asked and now < self.ends_at:
            self._asked_until = now + COOLDOWN

    def succeeded(self, began: float) -> None:
        """The fetch that began then has brought keys."""
        self._good_at = began
        self._due_at = began + self._refresh * (1 - _JITTER * self._random())
        self._not_before = -math.inf
        self._failures = 0

    def failed(self, began: float, now: float) -> None:
        """The fetch that began then has brought nothing that can be used."""
        self._failures += 1
        pause = COOLDOWN if now < self.ends_at else min(2.0 ** min(self._failures - 1, 10), COOLDOWN)
        self._not_before = began + pause
