"""Who is there: from what is written down, and what this process has yet to write."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from authcache_middleware.redis.last_seen import LastSeen
from authcache_middleware.streams.marks import Marks

__all__ = ["Presence", "PresenceOf"]

_MOST_LISTED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of a user's activity."""

    last_seen: float | None
    """Seconds since 1970; ``None`` where he was not seen within what is kept."""
    is_online: bool
    """Whether that is recent."""
    is_connected: bool = False
    """Whether a session of his is on record, which ``login`` has put there and which has not ended."""


@final
class PresenceOf:
    """The users of one issuer. Raises ``UnavailableError`` where Redis does not answer."""

    def __init__(self, last_seen: LastSeen, marks: Marks, *, wall: Callable[[], float]) -> None:
        self._last_seen = last_seen
        self._marks = marks
        self._wall = wall

    async def of(self, subject: str, record_key: str, within: float) -> Presence:
        """One of them: what this process has seen counts at once."""
        since = self._since(within)
        at = max(await self._last_seen.of(subject) or -math.inf, self._marks.at(record_key) or -math.inf)
        return Presence(None if at == -math.inf else at, at >= since)

    async def online(self, within: float, limit: int) -> list[str]:
        """Those seen lately, the latest first, as far as it is written down."""
        if type(limit) is not int or not 1 <= limit <= _MOST_LISTED:
            raise ValueError(f"limit: must be a whole number from 1 to {_MOST_LISTED:,}")
        return await self._last_seen.since(self._since(within), limit)

    async def count(self, within: float) -> int:
        """How many they are."""
        return await self._last_seen.count(self._since(within))

    def _since(self, within: float) -> float:
        if isinstance(within, bool) or not isinstance(within, int | float) or not 0 < within < math.inf:
            raise ValueError("within: must be a number of seconds above 0")
        return self._wall() - within
