"""Putting a login on record, and saying which there are.

The order is that of an ending: the session is written and *answered* before the ``DEL`` is sent, so that whoever loads
the user after it finds the session, and who loaded before it finds his lease gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from authcache_middleware.cache.store import Begun, NotBegun, Store
from authcache_middleware.errors import LoginRefusedError, UnavailableError
from authcache_middleware.sessions.revocation import Revoker
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import ForeignValueError
from authcache_middleware.users.session import MAX_SESSIONS, Session, pack_details, pack_session, read_session

__all__ = ["Logins"]

_FOREIGN: Final = "another type of value stands under the key of the revocations"


@final
class Logins:
    """The sessions of one issuer's users, at most ``most`` of each."""

    def __init__(
        self,
        store: Store,
        *,
        keys: UserKeys,
        most: int | None,
        ends_oldest: bool,
        revoker: Revoker,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._keys = keys
        self._most = MAX_SESSIONS if most is None else most
        self._ends_oldest = ends_oldest
        self._revoker = revoker
        self._now = now

    async def begin(self, subject: str, mark: str, *, expires_s: int, **details: str | None) -> Session:
        """Record the session of this mark, and drop what is cached of the user."""
        packed = pack_details(**details)
        try:
            begun = await self._store.begin_session(
                self._keys.revocations(subject),
                mark,
                expires_s=expires_s,
                details=packed,
                most=self._most,
                ends_oldest=self._ends_oldest,
                lifetime=self._revoker.session_lifetime,
                leeway=self._revoker.leeway,
            )
        except ForeignValueError as exc:
            raise UnavailableError(_FOREIGN) from exc
        match begun:
            case NotBegun(reason, seconds):
                raise LoginRefusedError(reason, retry_after=seconds)
            case Begun(created_ms, ends, ended):
                await self._revoker.cached(subject, by="login", mark=mark)
                await self._revoker.announce_ended(subject, ended)
                session = read_session(mark, pack_session(created_ms, ends, packed))
        assert session is not None  # noqa: S101 - it was packed here
        return session

    async def live(self, subject: str) -> list[Session]:
        """Those that have neither ended nor expired, the oldest first."""
        try:
            held = await self._store.sessions(self._keys.revocations(subject))
        except ForeignValueError as exc:
            raise UnavailableError(_FOREIGN) from exc
        now = self._now()
        sessions = [session for mark, value in held.items() if (session := read_session(mark, value)) is not None]
        return sorted(
            (session for session in sessions if session.expires_at > now),
            key=lambda session: (session.created_at, session.sid),
        )
