"""Telling other services what has happened to a user's access, in a stream that any client may read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, final

from authcache_middleware.errors import UnavailableError
from authcache_middleware.events import InvalidatedBy
from authcache_middleware.redis.event_stream import EventStreamKey
from authcache_middleware.reporter import Reporter
from authcache_middleware.users.record import ForeignValueError

__all__ = ["Announcer"]

_TYPES: Final[Mapping[InvalidatedBy, str]] = {
    "login": "login",
    "logout": "logout",
    "logout_session": "logout",
    "revoke_user": "revoked",
    "invalidate": "invalidated",
}

_log = logging.getLogger("authcache_middleware")


@final
class Announcer:
    """Writes the events of one issuer's users, each when Redis has confirmed what it tells of.

    Events inform, and no guarantee depends on them: one that cannot be written is counted, and said once.
    """

    def __init__(
        self, stream: EventStreamKey, *, alias: str | None, length: int, wall: Callable[[], float], reporter: Reporter
    ) -> None:
        self._stream = stream
        self._alias = alias
        self._length = length
        self._wall = wall
        self._reporter = reporter
        self._is_told = False

    async def announce(self, by: InvalidatedBy, subject: str, sid: str | None) -> None:
        """Add one event."""
        fields = {"type": _TYPES[by], "user": subject, "at_ms": str(round(self._wall() * 1000))}
        if self._alias is not None:
            fields["issuer"] = self._alias
        if sid is not None:
            fields["sid"] = sid
        try:
            await self._stream.add(fields, length=self._length)
        except (UnavailableError, ForeignValueError) as exc:
            self._reporter.events_lost += 1
            if not self._is_told:
                self._is_told = True
                _log.warning("an event could not be written to the event stream (%s): not said again", exc)
