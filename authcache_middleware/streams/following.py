"""Following an event stream: from an id on, through outages, and aware of what was trimmed meanwhile."""

from __future__ import annotations

import logging
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from authcache_middleware.errors import ConfigurationError, UnavailableError
from authcache_middleware.redis.event_stream import BEFORE_ALL, EventStreamKey
from authcache_middleware.runtime import SystemClock
from authcache_middleware.streams.connections import Connections
from authcache_middleware.users.record import ForeignValueError

__all__ = ["NEWEST", "Following", "StreamEvent", "checked_stream"]

NEWEST: Final = "$"
_AT_ONCE: Final = 100
_LONGEST_WITHOUT_A_LOOK: Final = 15.0
_PAUSE_IN_AN_OUTAGE: Final = 1.0

_PARTS_END: Final = 2**64

_id_parts = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?").fullmatch
_is_at_ms = re.compile(r"[0-9]{1,15}").fullmatch
_is_key = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_log = logging.getLogger("authcache_middleware")
_now = SystemClock.monotonic


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that has happened to a user's access, at this service or another."""

    id: str
    """Of Redis: to go on from here another time, ``after`` it."""
    type: str
    """``login``, ``logout``, ``revoked`` (all of the user's sessions) or ``invalidated`` (his row changed).

    ``gap``: behind ``id`` events may have been trimmed, or the stream was deleted. Whoever keeps a state of his own by
    these events begins anew. Other services may write types of their own.
    """
    at: float
    """Seconds since 1970, by the clock of who wrote it."""
    user_id: str | None = field(default=None, repr=False)
    issuer: str | None = None
    """The issuer's alias, where it has one."""
    sid: str | None = field(default=None, repr=False)
    """The session, of a ``login`` and of the ``logout`` of one that has a ``sid``."""


@final
class Following:
    """One reader's way through a stream."""

    def __init__(self, connections: Connections, key: str, after: str, until: Callable[[], bool] | None) -> None:
        if not isinstance(after, str) or (after != NEWEST and not _is_id(after)):
            raise ValueError('after: must be the id of an event, "0" for all there are, or "$" for those to come')
        self._connections = connections
        self._key = key
        self._at: str | None = None if after == NEWEST else BEFORE_ALL if after == "0" else after
        self._must_be_there = self._at not in (None, BEFORE_ALL)
        self._until = until
        self._found: deque[StreamEvent] = deque()
        self._look_at = -math.inf
        self._is_told = False

    async def next(self) -> StreamEvent | None:
        """The next event; waits for it, also while Redis does not answer. ``None`` where ``until`` is true before."""
        while not self._found:
            if self._until is not None and self._until():
                return None
            try:
                await self._look()
                self._is_told = False
            except (UnavailableError, ForeignValueError) as exc:
                if not self._is_told:
                    _log.warning("the event stream cannot be read (%s), tried again until it can", exc)
                self._is_told = True
                await self._connections.here().runtime.sleep(_PAUSE_IN_AN_OUTAGE)
        return self._found.popleft()

    async def _look(self) -> None:
        here = self._connections.here()
        stream = EventStreamKey(here.commands, self._key)
        if self._at is None:
            self._at = await stream.last()
            self._must_be_there = self._at != BEFORE_ALL
        if _now() < self._look_at:
            block, pause = self._connections.turn(self._look_at - _now())
            if not await stream.wait(self._at, block_ms=max(1, int(block * 1000))):
                await here.runtime.sleep(pause)
                return
        is_there, entries, last = await stream.behind(self._at, _AT_ONCE)
        if self._must_be_there and not is_there:
            self._found.append(StreamEvent(self._at, "gap", SystemClock.wall()))
            # It is said once. A stream that ends before this place would be waited for in vain: it has begun anew.
            self._at, self._must_be_there = (self._at, False) if entries else (last, last != BEFORE_ALL)
        for entry_id, fields in entries:
            self._found.append(_event(entry_id, fields))
            self._at, self._must_be_there = entry_id, True
        self._look_at = _now() + _LONGEST_WITHOUT_A_LOOK if len(entries) < _AT_ONCE else -math.inf


def checked_stream(key: object) -> str:
    """The key of an event stream, if it may be one."""
    if not isinstance(key, str) or _is_key(key) is None:
        raise ConfigurationError("event_stream", "must be 1 to 200 characters of printable ASCII without spaces")
    return key


def _is_id(text: str) -> bool:
    """Whether it may be an entry's, with others behind it."""
    parts = _id_parts(text)
    if parts is None:
        return False
    milliseconds, number = int(parts[1]), int(parts[2] or 0)
    return max(milliseconds, number) < _PARTS_END and milliseconds + number < 2 * (_PARTS_END - 1)


def _event(entry_id: str, fields: Mapping[str, str]) -> StreamEvent:
    """Whatever somebody has written, it is an event: what is no time in it gives way to that of its id."""
    at_ms = fields.get("at_ms", "")
    if _is_at_ms(at_ms) is None:
        at_ms = entry_id.partition("-")[0]
    return StreamEvent(
        entry_id,
        fields.get("type", "unknown"),
        int(at_ms) / 1000,
        fields.get("user"),
        fields.get("issuer"),
        fields.get("sid"),
    )
