"""What a link's answers prove, and when to ask again. Pure.

One PING is outstanding at a time. Its answer credits the PING *before* it: a server with I/O threads may queue an
answer just ahead of a message that belongs before it, but no further ahead. What is credited is the moment when that
PING was *sent*: everything older has been heard.
"""

from __future__ import annotations

import math
from typing import Final, final

__all__ = ["Heartbeat"]

_PER_BOUND: Final = 4


@final
class Heartbeat:
    """The heartbeat of one link, from its first PING to its loss. All moments are by the reader's own clock."""

    __slots__ = ("_before", "_every", "_max_staleness", "_next", "_outstanding")

    def __init__(self, max_staleness: float) -> None:
        self._max_staleness = max_staleness
        self._every = max_staleness / _PER_BOUND
        self._next = -math.inf
        self._outstanding: float | None = None
        self._before: float | None = None

    def wait(self, now: float) -> float:
        """Seconds until something is to be done: a PING to be sent, or one to be given up. Zero or less: now."""
        if self._outstanding is not None:
            return self._outstanding + self._max_staleness - now
        return self._next - now

    def is_due(self, now: float) -> bool:
        """Whether a PING is to be sent."""
        return self._outstanding is None and now >= self._next

    def is_lost(self, now: float) -> bool:
        """Whether the outstanding PING has gone unanswered for so long that the link is worth nothing."""
        return self._outstanding is not None and now - self._outstanding >= self._max_staleness

    def lag(self, now: float) -> float:
        """How long the outstanding PING has been under way."""
        return 0.0 if self._outstanding is None else now - self._outstanding

    def sent(self, now: float) -> None:
        """A PING is about to be sent."""
        self._outstanding = now
        self._next = now + self._every

    def answered(self, now: float) -> float | None:
        """The PING was answered: the moment before which everything has been heard, once that can be said."""
        answered, self._outstanding = self._outstanding, None
        credited, self._before = self._before, answered
        if credited is None:
            self._next = now  # the first answer proves nothing: the second is wanted at once
        return credited
