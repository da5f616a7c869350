"""Ending what was given: one token, a session, all tokens of a user, or what is cached of him.

The order is what makes it safe without a transaction: the revocation is written and *answered* before the ``DEL`` is
sent. Whoever loads the user after the ``DEL`` finds the revocation; whoever loaded before it finds his lease gone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, final

from authcache_middleware.cache.store import Store
from authcache_middleware.errors import ConfigurationError, UnavailableError, frames_of
from authcache_middleware.events import Invalidated, InvalidatedBy
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Clock, Work
from authcache_middleware.sessions.eviction import tell_of_eviction
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import MAX_LEEWAY, USUAL_MAX_LIFETIME
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.policy import text_mark, token_mark
from authcache_middleware.users.record import ForeignValueError

__all__ = ["Announce", "Revoker"]

Announce = Callable[[InvalidatedBy, str, str | None], Awaitable[None]]
"""Tells other services what was done to which user, and to which of his sessions; it never raises."""

_PLACE_WAIT: Final = 1.0

_log = logging.getLogger("authcache_middleware")


@final
class Revoker:
    """Revokes and invalidates for the users of one issuer.

    A revocation lives as long as what it ends, at any service that shares the store. For a user that is as long as any
    token issued until now can last: ``max_token_lifetime``, of this service or the usual one, whichever is longer. A
    token ends for everybody at its ``exp``. To both comes the largest leeway twice: for an ``iat`` that lies ahead, and
    for an ``exp`` that has just passed.
    """

    def __init__(
        self,
        store: Store,
        *,
        keys: UserKeys,
        max_token_lifetime: float,
        leeway: float,
        forget: Callable[[str], None],
        save: Work | None,
        clock: Clock,
        reporter: Reporter,
        announce: Announce | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._forget = forget
        self._save = save
        self._has_looked = False
        self._clock = clock
        self._reporter = reporter
        self._announce = announce
        self.leeway = math.ceil(leeway)
        self._token_lifetime = max_token_lifetime
        self._user_lifetime = _with_leeways(max(max_token_lifetime, USUAL_MAX_LIFETIME))
        self.session_lifetime = self._user_lifetime
        """A session may go on getting tokens wherever its end is not known yet, and so is remembered as long."""

    async def token(self, claims: Claims, *, now: float) -> None:
        """Revoke the token's session, by its ``sid``; where it has none the token, by its ``jti`` or its ``iat``.

        An opaque one also by its text, and for as long as a session: another service may take it for longer than this
        one, since its end need not be known.
        """
        mark = token_mark(claims) if claims.session_id is None else f"s:{claims.session_id}"
        marks = [each for each in (mark, text_mark(claims)) if each is not None]
        if not marks:
            raise ConfigurationError(
                "token", "has neither jti nor iat, so nothing names it alone: revoke_user ends all of the user's"
            )
        lifetime = _with_leeways(max(self._token_lifetime, claims.expires_at - now))
        if claims.session_id is not None or claims.opaque_id is not None:
            lifetime = max(lifetime, self.session_lifetime)
        # Its mark may be folded into a cutoff, which then has to reach an iat that lies ahead.
        ahead = 0 if claims.issued_at is None else math.ceil(min(max(claims.issued_at - now, 0), MAX_LEEWAY))
        await self._end(claims.subject, *marks, lifetime=lifetime, leeway=self.leeway + ahead, by="logout")

    async def session(self, subject: str, sid: str) -> None:
        """Revoke a session, on record or not: its tokens, and those that it would still be given."""
        await self._end(subject, f"s:{sid}", lifetime=self.session_lifetime, leeway=self.leeway, by="logout_session")

    async def user(self, subject: str) -> None:
        """Revoke every token that the user was given until now.

        The row is written first, so that whoever loads it after the DEL finds it there. Where that fails, Redis is told
        all the same, and then the failure is raised.
        """
        is_saved = self._save is None or await self._saved(self._save, subject)
        key = self._keys.revocations(subject)
        try:
            await self._store.revoke_before(key, lifetime=self._user_lifetime, leeway=self.leeway)
        except ForeignValueError as exc:
            raise UnavailableError("another type of value stands under the key of the revocations") from exc
        await self.cached(subject, by="revoke_user")
        await self._look_at_eviction()
        if not is_saved:
            raise UnavailableError("save_revocation")

    async def cached(self, subject: str, *, by: InvalidatedBy = "invalidate", mark: str = "") -> None:
        """Drop the record, or the lease of whoever is loading it; here at once, elsewhere as soon as it is heard.

        What this process remembers is dropped also where Redis has not confirmed: it is what was wished.
        """
        key = self._keys.record(subject)
        try:
            await self._store.delete(key)
        finally:
            self._forget(key)
        self._reporter.tell(Invalidated(by))
        if self._announce is not None:
            await self._announce(by, subject, mark[2:] if mark.startswith("s:") else None)

    async def announce_ended(self, subject: str, marks: Iterable[str]) -> None:
        """Tell other services of sessions that have made room for another; their revocations are confirmed."""
        if self._announce is not None:
            for ended in marks:
                await self._announce("logout_session", subject, ended[2:] if ended.startswith("s:") else None)

    async def _end(self, subject: str, *marks: str, lifetime: int, leeway: int, by: InvalidatedBy) -> None:
        key = self._keys.revocations(subject)
        try:
            for mark in marks:
                await self._store.revoke_id(key, mark, lifetime=lifetime, leeway=leeway)
        except ForeignValueError as exc:
            raise UnavailableError("another type of value stands under the key of the revocations") from exc
        await self.cached(subject, by=by, mark=marks[0])
        await self._look_at_eviction()

    async def _saved(self, save: Work, subject: str) -> bool:
        before_s = math.ceil(self._clock.wall()) + self.leeway
        try:
            await save.enter(_PLACE_WAIT)
            await save.call(subject, before_s)
        except Exception as exc:  # noqa: BLE001 - whatever the application's function raises
            _log.error("save_revocation raised %s\n%s", type(exc).__name__, frames_of(exc))
            return False
        return True

    async def _look_at_eviction(self) -> None:
        if self._reporter.redis_may_evict is None and not self._has_looked:
            self._has_looked = True
            await tell_of_eviction(self._store, self._reporter)


def _with_leeways(seconds: float) -> int:
    return math.ceil(seconds + 2 * MAX_LEEWAY)
