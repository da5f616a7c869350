"""The link to one primary: a connection that hears of every change of a user's key, whoever made it.

    SET beacon          on this very connection: a replica would refuse
    CLIENT TRACKING     of every key with our prefix, its messages redirected to this connection itself
    SUBSCRIBE           to those messages
    SET beacon          by way of the pool, as all commands go: it must be heard here, or nothing would be
    PING, PING, …       whose answers say how far hearing has come

What is lost is opened again, and memory starts empty each time.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final, Protocol, final

from authcache_middleware.cache.heartbeat import Heartbeat
from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import UnavailableError, frames_of
from authcache_middleware.events import LinkDown, LinkUp
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Stop

__all__ = ["Link", "Primary", "Wire", "WireError"]

_CHANNEL: Final = "__redis__:invalidate"
_ANSWER_WAIT: Final = 1.0
_BEACON_MS: Final = 1000
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_DEAF_PAUSE: Final = 30.0
_SHORTEST_WAIT: Final = 0.001

_log = logging.getLogger("authcache_middleware")


class WireError(Exception):
    """A wire is lost, or was refused what it asked for. ``reason`` may be shown: it holds nothing secret."""

    def __init__(self, reason: str, *, deaf: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.deaf = deaf
        """The server answers, and will never tell of changes: trying again soon would be of no use."""


class Wire(Protocol):
    """One connection of its own to one server, which never reconnects by itself. What fails raises ``WireError``."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def call(self, *command: str | int) -> Any:
        """The reply to a command; not to be used once subscribed."""
        ...

    async def send(self, *command: str | int) -> None:
        """Send a command, whose reply is read as a message."""
        ...

    async def read(self, timeout: float) -> list[Any] | None:
        """The next message; ``None`` when none has come after so many seconds."""
        ...

    async def close(self) -> None:
        """Disconnect; raises nothing."""
        ...


class Primary(Protocol):
    """A server that holds users' keys, and whose invalidations must be heard."""

    @property
    def name(self) -> str:
        """``host:port``, or the path of a socket."""
        ...

    def wire(self, timeout: float) -> Wire:
        """A new wire to it, not yet open, on which connecting and one command take no longer than ``timeout``."""
        ...

    def beacon(self, prefix: str) -> str | None:
        """A key with this prefix that is nobody's, belongs to this server, and is another at each call.

        ``None`` where no key with this prefix can belong to it: users' keys neither.
        """
        ...

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        """Write the key to this server by the way that users' keys are written; raises ``UnavailableError``."""
        ...


@final
class Link:
    """Carries what one primary tells into memory, until it is stopped."""

    def __init__(
        self,
        primary: Primary,
        *,
        memory: Memory,
        prefix: str,
        now: Callable[[], float],
        max_staleness: float,
        reporter: Reporter,
    ) -> None:
        self._primary = primary
        self._memory = memory
        self._prefix = prefix
        self._now = now
        self._max_staleness = max_staleness
        self._reporter = reporter
        self._is_up = False
        self._is_over = False
        self._told = False

    def replaced(self) -> None:
        """It is stopped, since the primaries are others now; a thread may still be reading for a moment."""
        was_up, self._is_up, self._is_over = self._is_up, False, True
        if was_up:
            self._reporter.tell(LinkDown(self._primary.name, "primaries changed"))

    async def run(self, stop: Stop) -> None:
        """Serve; connect again, after a pause, whenever the connection is lost."""
        pause = _FIRST_PAUSE
        while not stop.is_set:
            try:
                await self._serve_or_fail(stop)
            except WireError as exc:
                pause = _FIRST_PAUSE if self._is_up else min(pause * 2, _LONGEST_PAUSE)
                self._tell(exc)
                # spread, so that a server that comes back is not met by everybody at once
                if await stop.wait(random.uniform(0.5, 1.0) * (_DEAF_PAUSE if exc.deaf else pause)):  # noqa: S311
                    return

    async def _serve_or_fail(self, stop: Stop) -> None:
        try:
            await self._serve(stop)
        except WireError:
            raise
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave memory off for ever
            _log.error("a link failed unexpectedly: %s\n%s", type(exc).__name__, frames_of(exc))
            raise WireError(type(exc).__name__) from None

    async def _serve(self, stop: Stop) -> None:
        self._is_up = False
        wire = self._primary.wire(max(self._max_staleness, 2 * _FIRST_PAUSE))
        try:
            await wire.open()
            await self._subscribe(wire)
            self._memory.flush()
            await self._hear_the_beacon(wire)
            await self._listen(wire, stop)
        finally:
            self._memory.lose(self._primary.name)
            await wire.close()

    async def _subscribe(self, wire: Wire) -> None:
        number = await wire.call("CLIENT", "ID")
        beacon = self._primary.beacon(self._prefix)
        if beacon is not None:
            await wire.call("SET", beacon, "", "PX", _BEACON_MS)
        # before SUBSCRIBE, after which RESP2 allows nothing but PING
        await wire.call("CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX", self._prefix)
        await wire.call("SUBSCRIBE", _CHANNEL)

    async def _hear_the_beacon(self, wire: Wire) -> None:
        beacon = self._primary.beacon(self._prefix)
        if beacon is None:
            return
        try:
            await self._primary.touch(beacon, ttl_ms=_BEACON_MS)
        except UnavailableError:
            raise WireError("the pool does not reach the server") from None
        for _ in range(2):  # one answer may have been queued ahead of the message, a second cannot
            await wire.send("PING")
            if await self._is_heard(beacon, wire):
                return
        raise WireError("the server does not tell of changed keys", deaf=True)

    async def _is_heard(self, beacon: str, wire: Wire) -> bool:
        """Whether the beacon is among what comes before the next answer."""
        heard, until = False, self._now() + _ANSWER_WAIT
        while (left := until - self._now()) > 0:
            message = await wire.read(left)
            if message is None:
                break
            if message[0] == b"pong":
                return heard
            heard = beacon in self._hear(message) or heard
        raise WireError("no answer")

    async def _listen(self, wire: Wire, stop: Stop) -> None:
        heartbeat = Heartbeat(self._max_staleness)
        while not stop.is_set:
            now = self._now()
            if heartbeat.is_due(now):
                heartbeat.sent(now)
                await wire.send("PING")
            message = await wire.read(max(heartbeat.wait(now), _SHORTEST_WAIT))
            now = self._now()
            # Also when an answer has come at last: a server that was away for so long may be a replica by now.
            if heartbeat.is_lost(now):
                raise WireError("no answer")
            if message is None:
                continue
            if message[0] == b"pong":
                self._credit(heartbeat, now)
            else:
                self._hear(message)

    def _credit(self, heartbeat: Heartbeat, now: float) -> None:
        lag = heartbeat.lag(now)
        credited = heartbeat.answered(now)
        if credited is None or self._is_over:
            return
        self._memory.credit(self._primary.name, credited)
        if not self._is_up:
            self._is_up, self._told = True, False
            self._reporter.tell(LinkUp(self._primary.name, lag))

    def _hear(self, message: list[Any]) -> list[str]:
        """Drop what has changed; the keys, none where it may be all of them."""
        if message[0] != b"message":
            return []
        if message[2] is None:  # FLUSHALL, FLUSHDB
            self._memory.flush()
            return []
        keys = [key.decode("utf-8", "replace") for key in message[2]]
        for key in keys:
            self._memory.drop(key)
        return keys

    def _tell(self, error: WireError) -> None:
        if self._is_over:
            return
        if self._is_up:
            self._reporter.tell(LinkDown(self._primary.name, error.reason))
        if not self._told:
            self._told = True
            level = logging.ERROR if error.deaf else logging.WARNING
            _log.log(level, "memory is off, since the link to %s is down: %s", self._primary.name, error.reason)
