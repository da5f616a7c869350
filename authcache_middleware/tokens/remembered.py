"""Verified tokens in this process's memory: their claims, never a verdict about anybody."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["KnownToken", "RememberedTokens"]


@final
class KnownToken(Kept):
    """What a verified token says, and the moments between which verification would find the same; never changed."""

    __slots__ = ("claims", "earliest", "record_key", "until")

    def __init__(self, claims: Claims, record_key: str, earliest: float, until: float) -> None:
        self.claims = claims
        self.record_key = record_key
        """The key of its user's record."""
        self.earliest = earliest
        self.until = until


@final
class RememberedTokens:
    """A verifier that parses a token, and verifies its signature, once.

    Tokens are known by the very credentials that they came in: another spelling of one is another token. What is found
    here has its time checked again; in the last instant where rounding could matter it is verified again. An entry
    lives at most as long as the verifier, whose keys and rules do not change.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        record_key: Callable[[str], str],
        entries: int,
        most_bytes: int,
        mutex: AbstractContextManager[Any],
    ) -> None:
        self._verifier = verifier
        self._record_key = record_key
        self._tokens: Final[BoundedMap[str | bytes, KnownToken]] = BoundedMap(entries, most_bytes)
        self._get = self._tokens.get
        self._mutex = mutex  # guards changes; ``find`` reads without it

    def find(self, credentials: str | bytes, now: float) -> KnownToken | None:
        """The token in these credentials, if it was verified before and would be now. Takes no lock."""
        token = self._get(credentials)
        return token if token is not None and token.earliest <= now < token.until else None

    def verify(self, token: str, credentials: str | bytes, now: float) -> KnownToken:
        """See ``TokenVerifier.verify``; what it finds is remembered under the credentials that hold the token."""
        claims = self._verifier.verify(token, now)
        earliest, until = self._verifier.window(claims)
        known = KnownToken(
            claims,
            self._record_key(claims.subject),
            math.nextafter(earliest, math.inf),
            math.nextafter(until, -math.inf),
        )
        with self._mutex:
            self._tokens.put(credentials, known, weight=len(credentials))
        return known

    def __len__(self) -> int:
        return len(self._tokens)
