"""Services in step: following what happens to users' access, at whichever service, in whichever language.

A face with ``event_stream="authcache:events"`` adds to that Redis Stream what its calls have done, once Redis has
confirmed it. ``auth.events()`` follows it; so do ``AsyncEventStream`` and ``EventStream``, which need no face, and any
client with ``XREAD``. The fields of an entry are texts::

    type    login, logout, revoked (all sessions of the user) or invalidated (his row changed)
    user    the user's id, as in his tokens
    at_ms   when, in milliseconds since 1970
    issuer  the issuer's alias; left out where it has none
    sid     the session that began or ended; left out where there is none

Events inform, and nothing depends on them: what was logged out is refused everywhere whether or not anybody listens.
One may be missing where Redis did not take it (``stats().events_lost``), or come twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Self, final

from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, finish
from authcache_middleware.streams.connections import Connections
from authcache_middleware.streams.following import NEWEST, Following, StreamEvent, checked_stream

__all__ = ["AsyncEventStream", "EventStream", "StreamEvent"]

_TIMEOUT: Final = 2.0


@final
class AsyncEventStream:
    """An event stream for asyncio applications.

    ``redis``: a URL or a ready ``redis.asyncio`` client, which must not decode responses. ``key``: of the stream.
    ``timeout``: seconds that a command may take. Nothing is opened before it is needed; each event loop has
    connections of its own. Raises ``ConfigurationError``.
    """

    def __init__(self, redis: object, key: str, *, timeout: float = _TIMEOUT) -> None:
        self._key = checked_stream(key)
        self._connections = Connections(AsyncRuntime, redis, timeout=timeout)

    async def events(
        self, after: str = NEWEST, *, until: Callable[[], bool] | None = None
    ) -> AsyncIterator[StreamEvent]:
        """Events without end, each as it comes.

        ``after``: the id of the last one that is known, ``"0"`` for all that the stream still has, ``"$"`` for those
        that come after the first step of the iteration. Where some behind it may have been trimmed, an event of the
        type ``gap`` says so. Waits for events, and while Redis does not answer, which is logged and not raised.
        ``until`` is asked about once a second whether to end.
        """
        following = Following(self._connections, self._key, after, until)
        while (event := await following.next()) is not None:
            yield event

    async def aclose(self) -> None:
        """Close the connections of this event loop; a ready client stays open. May be used again after."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()


@final
class EventStream:
    """The same for blocking code: it waits in the calling thread and otherwise does as its namesake."""

    def __init__(self, redis: object, key: str, *, timeout: float = _TIMEOUT) -> None:
        self._key = checked_stream(key)
        self._connections = Connections(BlockingRuntime, redis, timeout=timeout)

    def events(self, after: str = NEWEST, *, until: Callable[[], bool] | None = None) -> Iterator[StreamEvent]:
        """See ``AsyncEventStream.events``."""
        following = Following(self._connections, self._key, after, until)
        while (event := finish(following.next())) is not None:
            yield event

    def close(self) -> None:
        """Close the connections of this process; a ready client stays open. May be used again after."""
        finish(self._connections.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
