"""Who is there: the calls that tell it, and what an event loop or a process needs to find out."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from authcache_middleware.access import AccessCalls, checked_subject
from authcache_middleware.activity import Activity
from authcache_middleware.errors import ConfigurationError
from authcache_middleware.queue import AsyncQueue
from authcache_middleware.streams.presence import Presence, PresenceOf

__all__ = ["ONLINE_WITHIN", "PresenceCalls", "checked_activity"]

ONLINE_WITHIN: Final = 60.0
"""Seconds since he was last seen for which a user is online, unless another number is asked for."""
_LISTED: Final = 1000


class PresenceCalls(AccessCalls):
    """The part of a ``Story`` that tells of last activity."""

    async def presence(
        self, user_id: str, *, within: float = ONLINE_WITHIN, issuer: str | None = None
    ) -> Presence:  # fmt: skip
        """When the user was last seen, whether that is ``within`` so many seconds, and whether he is logged in.

        Two round trips. What another process has seen in the last ``flush_every`` seconds may not be known yet, and the
        clocks of the processes are compared. Of several issuers, ``issuer`` says whose user he is. Raises
        ``UnavailableError``, and ``ConfigurationError`` where ``activity`` is not switched on.
        """
        name, subject = self._issuer(issuer), checked_subject(user_id)
        seen = await self._presence_of(name).of(subject, self._issuers[name].keys.record(subject), within)
        return replace(seen, is_connected=bool(await self.sessions(subject, issuer=name)))

    async def online(
        self, *, within: float = ONLINE_WITHIN, limit: int = _LISTED, issuer: str | None = None
    ) -> list[str]:
        """The ids of users seen ``within`` so many seconds, the latest first, ``limit`` at most (up to 100,000).

        One round trip. Raises as ``presence`` does.
        """
        return await self._presence_of(self._issuer(issuer)).online(within, limit)

    async def count_online(self, *, within: float = ONLINE_WITHIN, issuer: str | None = None) -> int:
        """How many users were seen ``within`` so many seconds: a minute, a day, as far as ``keep`` reaches.

        One round trip. Raises as ``presence`` does.
        """
        return await self._presence_of(self._issuer(issuer)).count(within)

    def _presence_of(self, issuer: str | None) -> PresenceOf:
        presence = self._engine().presence.get(issuer)
        if presence is None:
            raise ConfigurationError("activity", "is not switched on")
        return presence


def checked_activity(activity: Activity | None, *, asynchronous: bool, has_redis: bool) -> Activity | None:
    """The option, if it can be had by this face on this store."""
    if activity is None:
        return None
    if not has_redis:
        raise ConfigurationError("activity", "needs a Redis, and not a Store")
    if activity.queue is not None and isinstance(activity.queue, AsyncQueue) is not asynchronous:
        raise ConfigurationError("activity", f"its queue must be {'an AsyncQueue' if asynchronous else 'a Queue'} here")
    return activity
