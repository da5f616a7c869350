"""Verified tokens in this process's memory: their claims, never a verdict about anybody."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.packed import PackedMap, pack, unpack
from authcache_middleware.tokens.answers import Introspected
from authcache_middleware.tokens.claims import Claims, parts_of, put_together
from authcache_middleware.tokens.keys import KeySet
from authcache_middleware.tokens.remote import RemoteKeys
from authcache_middleware.tokens.router import TokenRouter
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["KnownToken", "RememberedTokens"]

_MOST_READY: Final = 1000
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_MOST_AROUND_IT: Final = len("Bearer ") + 1
_SHORT: Final = 100
_DOTS: Final = 2


@final
class KnownToken(Kept):
    """What a verified token says, and the moments between which the same keys would find the same; never changed."""

    __slots__ = ("claims", "earliest", "keys", "record_key", "source", "until")

    def __init__(  # noqa: PLR0917 - names at a call cost a new token a fiftieth
        self,
        claims: Claims,
        record_key: str,
        earliest: float,
        until: float,
        source: RemoteKeys | None,
        keys: KeySet | None,
    ) -> None:
        self.claims = claims
        self.record_key = record_key
        """The key of its user's record."""
        self.earliest = earliest
        self.until = until
        self.source = source
        """Where its keys are fetched from; ``None`` where they are given, and so never change."""
        self.keys = keys

    def is_good(self, now: float) -> bool:
        """Whether the same keys would find the same now, and nothing is to be done for them."""
        source = self.source
        return self.earliest <= now < self.until and (source is None or source.settled() is self.keys)

    def is_of_current_keys(self) -> bool:
        """Whether they serve now, though perhaps something is to be done for them."""
        return self.source is None or self.source.current() is self.keys


@final
class RememberedTokens:
    """A verifier that parses a token, and verifies its signature, once.

    Tokens are known by the very credentials that they came in: another spelling of one is another token. What is found
    here has its time checked again; in the last instant where rounding could matter it is verified again. An entry is
    good for the very set of keys that verified it: with a key that was removed, or any other change, it is verified
    again. The rules of the verifier do not change.

    The 1,000 that are asked for most are kept as objects that answer at once. Of any more the claims are kept as bytes,
    which the garbage collector does not walk, under a hash of the credentials, which are longer than the claims.
    """

    def __init__(
        self,
        router: TokenRouter | TokenVerifier,
        *,
        record_key: Callable[[Claims], str],
        entries: int,
        most_bytes: int,
        mutex: AbstractContextManager[Any],
    ) -> None:
        self._router = router
        self._record_key = record_key
        ready, ready_bytes = entries, most_bytes
        self._packed: PackedMap[int] | None = None
        if entries > _MOST_READY:
            ready, ready_bytes = _MOST_READY, most_bytes // 2
            self._packed = PackedMap(entries - ready, most_bytes - ready_bytes)
        self._tokens: Final[BoundedMap[str | bytes, KnownToken]] = BoundedMap(ready, ready_bytes, evicted=self._pack)
        self.peek = self._tokens.peek
        """See ``BoundedMap``: what ``find`` looks at, for whoever looks at the rest himself."""
        self._mutex = mutex  # guards changes; ``find`` reads without it

    def find(self, credentials: str | bytes, now: float) -> KnownToken | None:
        """The token in these credentials, if it was verified before, would be now, and its keys are settled.

        Takes no lock for one that is ready.
        """
        token = self._known(credentials, now)
        if token is None or not token.is_good(now):
            return None
        token.asked = True
        return token

    def verify(self, token: str, credentials: str | bytes, now: float) -> KnownToken:
        """See ``TokenVerifier.verify``; what it finds is remembered under the credentials that hold the token."""
        known = self.peek(credentials)
        if known is not None and known.earliest <= now < known.until and known.is_of_current_keys():
            known.asked = True
            return known
        return self.verify_new(token, credentials, now)

    def verify_new(self, token: str, credentials: str | bytes, now: float) -> KnownToken:
        """The same for credentials that ``peek`` does not know."""
        # Said here of most garbage, which comes in floods: an exception costs again in each function it passes through.
        if len(token) < _SHORT and token.count(".") < _DOTS:
            raise InvalidTokenError("malformed")
        if self._packed is not None and hash(credentials) in self._packed:
            known = self._unpacked(credentials, now, self._packed)
            if known is not None and known.is_of_current_keys():
                return known
        verifier = self._router.pick(token)
        source = verifier.keys if isinstance(verifier.keys, RemoteKeys) else None
        keys = verifier.keys.current()  # first: where it is replaced in between, the entry is never found
        claims = verifier.verify(token, now)
        earliest, until = verifier.window(claims)
        earliest, until = math.nextafter(earliest, math.inf), math.nextafter(until, -math.inf)
        known = KnownToken(claims, self._record_key(claims), earliest, until, source, keys)
        # Without keys they have come since, and nobody knows which ones it was verified with.
        if keys is not None:
            self._keep(known, token, credentials)
        return known

    def introspected(self, found: Introspected, token: str, credentials: str | bytes, now: float) -> KnownToken:
        """What an opaque token is, remembered for as long as its issuer need not be asked again."""
        known = KnownToken(
            found.claims,
            self._record_key(found.claims),
            earliest=now,
            until=math.nextafter(found.until, -math.inf),
            source=None,
            keys=None,
        )
        if now < known.until:
            self._keep(known, token, credentials, more=found.size)
        return known

    def forget(self, token: str) -> None:
        """Drop the token in the spellings that are usual; any other ends by itself, and is good for no more."""
        for scheme in ("Bearer", "bearer"):
            with self._mutex:
                for credentials in (f"{scheme} {token}", f"{scheme} {token}".encode()):
                    self._tokens.pop(credentials)
                    if self._packed is not None:
                        self._packed.pop(hash(credentials))

    def _keep(self, known: KnownToken, token: str, credentials: str | bytes, *, more: int = 0) -> None:
        # A client who writes his token with ever more spaces before it takes nobody's place.
        if len(credentials) <= len(token) + _MOST_AROUND_IT:
            with self._mutex:
                self._tokens.put(credentials, known, weight=len(credentials) + more)

    def _pack(self, known: KnownToken) -> None:
        if self._packed is not None:
            keys = None if known.keys is None else known.keys.number
            rest = keys, known.record_key, known.earliest, known.until, known.weight, *parts_of(known.claims)
            # Put together, which makes bytes of their very length: those of ``pack`` leave a gap behind them.
            self._packed.put(hash(known.key), _digest(known.key) + pack(known.claims.members, *rest))

    def _known(self, credentials: str | bytes, now: float) -> KnownToken | None:
        token = self.peek(credentials)
        if token is None and self._packed is not None and hash(credentials) in self._packed:
            return self._unpacked(credentials, now, self._packed)
        return token

    def _unpacked(self, credentials: str | bytes, now: float, packed: PackedMap[int]) -> KnownToken | None:
        """One that made room for others; ready again, if it is asked for more than once in a while."""
        name = hash(credentials)
        with self._mutex:
            value = packed.get(name)
            if value is None or not value.startswith(_digest(credentials)):
                return None
            known = self._read(value)
            if known is None or not known.earliest <= now < known.until:
                packed.pop(name)
                return None
            if packed.is_asked_again(name):
                packed.pop(name)
                self._tokens.put(credentials, known, known.weight)
            return known

    def _read(self, value: bytes) -> KnownToken | None:
        """What was packed; ``None`` where its issuer's keys are others now."""
        members, (number, record_key, earliest, until, weight, *parts) = unpack(value[_DIGEST_BYTES:])
        claims, source, keys = put_together(members, parts), None, None
        if number is not None:
            verifier = self._router.of(claims.issuer)
            keys = None if verifier is None else verifier.keys.current()
            if verifier is None or keys is None or keys.number != number:
                return None
            source = verifier.keys if isinstance(verifier.keys, RemoteKeys) else None
        known = KnownToken(claims, record_key, earliest, until, source, keys)
        known.weight = weight
        return known

    def __len__(self) -> int:
        return len(self._tokens) + (0 if self._packed is None else len(self._packed))


def _digest(credentials: str | bytes) -> bytes:
    octets = credentials.encode("utf-8", "surrogatepass") if isinstance(credentials, str) else credentials
    return hashlib.sha256(octets).digest()
