"""What the scripts make of one user's revocations and sessions, said again in Python for the store in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from authcache_middleware.cache.store import Begun, NotBegun
from authcache_middleware.redis.scripts import LEAST_SESSION_MARK, MAX_REVOKED_IDS
from authcache_middleware.tokens.verifier import MAX_LEEWAY
from authcache_middleware.users.record import Revocations
from authcache_middleware.users.session import ends_s, pack_session

__all__ = ["RevokedHash"]

_MARGIN: Final = int(2 * MAX_LEEWAY)


@dataclass(slots=True)
class _Session:
    created_ms: int
    expires_s: int
    details: bytes


@dataclass(slots=True)
class RevokedHash:
    """One hash. ``now`` is whole seconds, rounded up; each call drops what has ended by then."""

    before_s: int | None = None
    ids: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, _Session] = field(default_factory=dict)
    until: float = 0.0
    """When the key ends."""

    def revocations(self) -> Revocations:
        """As ``Store.revocations`` returns them."""
        sessions = {mark: session.expires_s for mark, session in self.sessions.items()}
        return Revocations(self.before_s, MappingProxyType(dict(self.ids)), MappingProxyType(sessions))

    def values(self) -> dict[str, bytes]:
        """As ``Store.sessions`` returns them."""
        return {
            mark: pack_session(session.created_ms, session.expires_s, session.details)
            for mark, session in self.sessions.items()
        }

    def put_session(self, mark: str, value: bytes) -> None:
        """What another client's ``HSET`` of a session would do, of one that can be read."""
        expires_s = ends_s(value)
        assert expires_s is not None  # noqa: S101 - a test's own
        created, _, details = value.split(b" ", 2)
        self.sessions[mark] = _Session(int(created), expires_s, details)

    def revoke_id(self, mark: str, now: int, lifetime: int, leeway: int) -> None:
        """See ``Store.revoke_id``."""
        self._prune(now)
        self._revoke(mark, now, lifetime)
        token = f"t:{mark[2:]}"
        if mark.startswith("s:") and token in self.sessions:
            self._revoke(token, now, lifetime)
        self._close(0, now, lifetime, leeway)

    def revoke_before(self, now: int, lifetime: int, leeway: int) -> None:
        """See ``Store.revoke_before``."""
        self._prune(now)
        for mark in list(self.sessions):
            self._revoke(mark, now, lifetime)
        self._close(now + leeway, now, lifetime, leeway)

    def begin_session(
        self,
        mark: str,
        now_ms: int,
        *,
        expires_s: int,
        details: bytes,
        most: int,
        ends_oldest: bool,
        lifetime: int,
        leeway: int,
    ) -> Begun | NotBegun:
        """See ``Store.begin_session``."""
        now = math.ceil(now_ms / 1000)
        self._prune(now)
        if mark in self.ids:
            return NotBegun("ended")
        if now <= (self.before_s or 0):
            return NotBegun("too_soon", (self.before_s or 0) - now + 1)
        ended: list[str] = []
        standing = self.sessions.get(mark)
        if standing is None:
            others = sorted(self.sessions, key=lambda each: (self.sessions[each].created_ms, each))
            if len(others) >= most and not ends_oldest:
                return NotBegun("max_sessions")
            ended = others[: max(0, len(others) - most + 1)]
            for each in ended:
                life = self.sessions[each].expires_s - now + _MARGIN if each.startswith("t:") else lifetime
                self._revoke(each, now, min(life, lifetime))
            standing = _Session(now_ms, expires_s, details)
        session = _Session(standing.created_ms, max(standing.expires_s, expires_s), details)
        self.sessions[mark] = session
        self._close(0, now, 0, leeway)
        return Begun(session.created_ms, session.expires_s, tuple(ended))

    def _prune(self, now: int) -> None:
        self.ids = {mark: till for mark, till in self.ids.items() if till > now}
        self.sessions = {mark: session for mark, session in self.sessions.items() if session.expires_s > now}

    def _revoke(self, mark: str, now: int, lifetime: int) -> None:
        if mark.startswith("s:"):
            lifetime = max(lifetime, LEAST_SESSION_MARK)
        self.ids[mark] = max(self.ids.get(mark, 0), now + lifetime)
        self.sessions.pop(mark, None)

    def _close(self, cutoff: int, now: int, lifetime: int, leeway: int) -> None:
        ends = [*self.ids.values(), *(session.expires_s for session in self.sessions.values()), now + lifetime]
        self.until = max(self.until, *ends)
        tokens = [mark for mark in self.ids if not mark.startswith("s:")]
        if len(tokens) > MAX_REVOKED_IDS:
            cutoff = now + leeway
            for mark in tokens:
                del self.ids[mark]
        ended = sorted((mark for mark in self.ids if mark.startswith("s:")), key=lambda mark: self.ids[mark])
        for mark in ended[: max(0, len(ended) - MAX_REVOKED_IDS)]:
            cutoff = max(cutoff, min(self.ids.pop(mark) - LEAST_SESSION_MARK + leeway, now + leeway))
        if cutoff > (self.before_s or 0):
            self.before_s = cutoff
