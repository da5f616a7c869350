"""Who is there, and what happens: the calls that tell it, once for both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from authcache_middleware.access import AccessCalls, checked_subject
from authcache_middleware.activity import Activity
from authcache_middleware.errors import ConfigurationError
from authcache_middleware.options import Options
from authcache_middleware.queue import AsyncQueue
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime
from authcache_middleware.streams.connections import Connections
from authcache_middleware.streams.following import NEWEST, Following, StreamEvent, checked_stream
from authcache_middleware.streams.presence import Presence, PresenceOf

__all__ = ["ONLINE_WITHIN", "PresenceCalls", "checked_activity"]

ONLINE_WITHIN: Final = 60.0
"""Seconds since he was last seen for which a user is online, unless another number is asked for."""
_LISTED: Final = 1000
_BLOCKING_TIMEOUT: Final = 2.0


class PresenceCalls(AccessCalls):
    """The part of a ``Story`` that tells of last activity, and of what happens at other services."""

    _runtime: type[AsyncRuntime | BlockingRuntime]
    _source: object | None
    """The Redis that was given, ``None`` for a store."""
    _followed: Connections | None = None
    """Connections of their own for those who follow: their commands block."""

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

    async def events(
        self, after: str = NEWEST, *, until: Callable[[], bool] | None = None
    ) -> AsyncIterator[StreamEvent]:
        """What happens to users' access at all services that share the event stream, without end, each as it comes.

        ``after``: the id of the last event that is known, ``"0"`` for all that the stream still has, ``"$"`` for those
        that come after the first step of the iteration. Where some behind it may have been trimmed, an event of the
        type ``gap`` says so. Waits for events, and while Redis does not answer, which is logged and not raised.
        ``until`` is asked about once a second whether to end. Raises ``ConfigurationError`` where there is no
        ``event_stream``.
        """
        following = self.following(after, until)
        while (event := await following.next()) is not None:
            yield event

    def following(self, after: str, until: Callable[[], bool] | None) -> Following:
        """What ``events`` goes through."""
        if self._options.event_stream is None or self._source is None:
            raise ConfigurationError("event_stream", "is not given")
        if self._followed is None:
            timeout = max(_BLOCKING_TIMEOUT, self._options.store_timeout)
            self._followed = Connections(self._runtime, self._source, timeout=timeout)
        return Following(self._followed, self._options.event_stream, after, until)

    def _presence_of(self, issuer: str | None) -> PresenceOf:
        presence = self._engine().presence.get(issuer)
        if presence is None:
            raise ConfigurationError("activity", "is not switched on")
        return presence


def checked_activity(options: Options, *, asynchronous: bool, has_redis: bool) -> Activity | None:
    """The option ``activity``, if this face can have it, and ``event_stream``, on what it was given for a Redis."""
    activity = options.activity
    if activity is not None and not isinstance(activity, Activity):
        raise ConfigurationError("activity", "must be an Activity or None")
    if options.event_stream is not None and checked_stream(options.event_stream).startswith(options.prefix):
        raise ConfigurationError("event_stream", "must not begin with the prefix of users' keys")
    for name, given in (("activity", activity), ("event_stream", options.event_stream)):
        if given is not None and not has_redis:
            raise ConfigurationError(name, "needs a Redis, and not a Store")
    if activity is None or activity.queue is None or isinstance(activity.queue, AsyncQueue) is asynchronous:
        return activity
    raise ConfigurationError("activity", f"its queue must be {'an AsyncQueue' if asynchronous else 'a Queue'} here")
