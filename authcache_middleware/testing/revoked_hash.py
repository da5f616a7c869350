"""What the scripts make of one user's revocations and sessions, said again in Python for the store in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from authcache_middleware.cache.store import Begun, NotBegun
from authcache_middleware.redis.scripts import LEAST_SESSION_MARK, LOGIN_MARGIN, MAX_REVOKED_IDS
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
    cutoffs: dict[str, int] = field(default_factory=dict)
    """Of each id, the cutoff that says as much of what was issued until it was revoked."""
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
        self._revoke(mark, now, lifetime, leeway)
        token = f"t:{mark[2:]}"
        if mark.startswith("s:") and token in self.sessions:
            self._revoke(token, now, lifetime, leeway)
        self._close(0, now, lifetime)

    def revoke_before(self, now: int, lifetime: int, leeway: int) -> None:
        """See ``Store.revoke_before``."""
        self._prune(now)
        for mark in list(self.sessions):
            self._revoke(mark, now, lifetime, leeway)
        self._close(now + leeway, now, lifetime)

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
        before = dict(self.ids), dict(self.cutoffs), dict(self.sessions)
        standing = self.sessions.get(mark)
        if standing is None:
            others = sorted(self.sessions, key=lambda each: (self.sessions[each].created_ms, each))
            if len(others) >= most and not ends_oldest:
                return NotBegun("max_sessions")
            ended = others[: max(0, len(others) - most + 1)]
            for each in ended:
                life = self.sessions[each].expires_s - now + _MARGIN if each.startswith("t:") else lifetime
                self._revoke(each, now, min(life, lifetime), leeway)
            standing = _Session(now_ms, expires_s, details)
        reached = self._excess(now)[1]
        if reached > (self.before_s or 0) and now <= reached + LOGIN_MARGIN:
            self.ids, self.cutoffs, self.sessions = before
            return NotBegun("too_soon", reached + LOGIN_MARGIN - now + 1)
        session = _Session(standing.created_ms, max(standing.expires_s, expires_s), details)
        self.sessions[mark] = session
        self._close(0, now, 0)
        return Begun(session.created_ms, session.expires_s, tuple(ended))

    def _prune(self, now: int) -> None:
        self.ids = {mark: till for mark, till in self.ids.items() if till > now}
        self.cutoffs = {mark: self.cutoffs[mark] for mark in self.ids}
        self.sessions = {mark: session for mark, session in self.sessions.items() if session.expires_s > now}

    def _revoke(self, mark: str, now: int, lifetime: int, leeway: int) -> None:
        if mark.startswith("s:"):
            lifetime = max(lifetime, LEAST_SESSION_MARK)
        self.ids[mark] = max(self.ids.get(mark, 0), now + lifetime)
        self.cutoffs[mark] = max(self.cutoffs.get(mark, 0), now + leeway)
        self.sessions.pop(mark, None)

    def _excess(self, now: int) -> tuple[list[str], int]:
        """The ids that are too many, and the cutoff that takes their place."""
        folded: list[str] = []
        for are_sessions in (False, True):
            kind = [mark for mark in self.ids if mark.startswith("s:") is are_sessions]
            kind.sort(key=lambda mark: (self.cutoffs[mark], mark))
            folded += kind[: max(0, len(kind) - MAX_REVOKED_IDS)]
        return folded, max((min(self.cutoffs[mark], now + _MARGIN) for mark in folded), default=0)

    def _close(self, cutoff: int, now: int, lifetime: int) -> None:
        ends = [*self.ids.values(), *(session.expires_s for session in self.sessions.values()), now + lifetime]
        self.until = max(self.until, *ends)
        folded, reached = self._excess(now)
        for mark in folded:
            del self.ids[mark]
        cutoff = max(cutoff, reached)
        if cutoff > (self.before_s or 0):
            self.before_s = cutoff
