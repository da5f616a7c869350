"""Verified tokens in this process's memory: their claims, never a verdict about anybody."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["RememberedTokens"]


@final
class _Entry:
    """Claims, and the moments between which verification would find the same; never changed."""

    __slots__ = ("claims", "earliest", "until")

    def __init__(self, claims: Claims, earliest: float, until: float) -> None:
        self.claims = claims
        self.earliest = earliest
        self.until = until


@final
class RememberedTokens:
    """A verifier that parses a token, and verifies its signature, once.

    Tokens are known by their exact text: another spelling of one is another token. What is found here has its time
    checked again; in the last instant where rounding could matter it is verified again. An entry lives at most as long
    as the verifier, whose keys and rules do not change.
    """

    def __init__(
        self, verifier: TokenVerifier, *, entries: int, most_bytes: int, mutex: AbstractContextManager[Any]
    ) -> None:
        self._verifier = verifier
        self._entries: Final[BoundedMap[str, _Entry]] = BoundedMap(entries, most_bytes)
        self._mutex = mutex  # guards changes; ``claims`` reads without it

    def claims(self, token: str, now: float) -> Claims | None:
        """The claims, if this token was verified before and would be now. Takes no lock."""
        entry = self._entries.get(token)
        return entry.claims if entry is not None and entry.earliest <= now < entry.until else None

    def verify(self, token: str, now: float) -> Claims:
        """See ``TokenVerifier.verify``."""
        known = self.claims(token, now)
        if known is not None:
            return known
        claims = self._verifier.verify(token, now)
        earliest, until = self._verifier.window(claims)
        entry = _Entry(claims, math.nextafter(earliest, math.inf), math.nextafter(until, -math.inf))
        with self._mutex:
            self._entries.put(token, entry, weight=len(token))
        return claims

    def __len__(self) -> int:
        return len(self._entries)
