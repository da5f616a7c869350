"""Verified tokens in this process's memory: their claims, never a verdict about anybody."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.packed import PackedMap
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["KnownToken", "RememberedTokens"]

_MOST_READY: Final = 10_000
_TIMES: Final = struct.Struct("<dd")


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

    The 10,000 that are asked for most are kept as objects; of any more only the times are, in bytes that the garbage
    collector does not walk: they are parsed again, and their signatures still not verified twice.
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
        ready, ready_bytes = entries, most_bytes
        self._packed: PackedMap[str | bytes] | None = None
        if entries > _MOST_READY:
            ready, ready_bytes = _MOST_READY, most_bytes * _MOST_READY // entries
            self._packed = PackedMap(entries - ready, most_bytes - ready_bytes)
        self._tokens: Final[BoundedMap[str | bytes, KnownToken]] = BoundedMap(ready, ready_bytes, evicted=self._pack)
        self._get = self._tokens.get
        self._mutex = mutex  # guards changes; ``find`` reads without it

    def find(self, credentials: str | bytes, now: float) -> KnownToken | None:
        """The token in these credentials, if it was verified before and would be now. Takes no lock."""
        token = self._get(credentials)
        return token if token is not None and token.earliest <= now < token.until else None

    def verify(self, token: str, credentials: str | bytes, now: float) -> KnownToken:
        """See ``TokenVerifier.verify``; what it finds is remembered under the credentials that hold the token."""
        known = self._unpacked(token, credentials, now) if self._packed else None
        if known is None:
            claims = self._verifier.verify(token, now)
            earliest, until = self._verifier.window(claims)
            known = self._known(claims, math.nextafter(earliest, math.inf), math.nextafter(until, -math.inf))
        with self._mutex:
            self._tokens.put(credentials, known, weight=len(credentials))
        return known

    def _known(self, claims: Claims, earliest: float, until: float) -> KnownToken:
        return KnownToken(claims, self._record_key(claims.subject), earliest, until)

    def _pack(self, known: KnownToken) -> None:
        if self._packed is not None:
            self._packed.put(known.key, _TIMES.pack(known.earliest, known.until))

    def _unpacked(self, token: str, credentials: str | bytes, now: float) -> KnownToken | None:
        """One that made room for others: only its times were kept, since its claims are in its text."""
        assert self._packed is not None  # noqa: S101 - looked at by whoever calls
        with self._mutex:
            times = self._packed.pop(credentials)
        if times is None:
            return None
        earliest, until = _TIMES.unpack(times)
        return self._known(self._verifier.recall(token, now), earliest, until) if earliest <= now < until else None

    def __len__(self) -> int:
        return len(self._tokens) + (0 if self._packed is None else len(self._packed))
