"""Connections that stay open, watched until their user may be there no longer.

A request is answered from what is known when it comes; a connection that stays open must hear of what comes later.

- *Its token ends*: at ``exp`` and the leeway, by the wall clock.
- *Something happens to its user*: memory hears of his key, and his record is read again. While memory is trusted and
  has held the record, that is all: nobody polls, and a thousand idle connections cost what one does. At the record's
  own end it is read again in any case, and at that of a session which must be on record.
- *Nobody would hear of it*: memory is off or not trusted, or does not hold the record (it is somebody else's value, or
  too large, or Redis was gone). Then it is read again every ``max_staleness`` seconds, every second without that.
- *Nobody knows*: where no answer can be had, the connection stays for ``keep_open_for`` seconds, and then ends, also
  where his reading has not begun by then. One that was due has a second for its answer, however short that time is.

A user is known here by the key of his record: his connections share one reading of it. A connection is on the books
before the first reading that it depends on, and so is a user whose key is heard of during one: he is read again. When
everything may have changed, the readings are spread over that same time, so that no crowd falls upon Redis. Who was
heard of by his own key goes before the crowd, and has places at the readings that it cannot take.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, final

from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import InvalidTokenError, UnavailableError, frames_of
from authcache_middleware.runtime import Background, Cell, Clock, Runtime, Stop
from authcache_middleware.sessions.timetable import Timetable
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import Record

__all__ = ["Admit", "End", "EndReason", "Watch", "Watches"]

EndReason = Literal["expired", "revoked", "unavailable"]
"""Why a connection ends: its token's time is over; its user may enter no longer, whatever the cause; nobody knows."""
End = Callable[[EndReason], Coroutine[Any, Any, None]]
"""What ends a connection. It is called once, and awaited in a task of its own."""
Admit = Callable[[Record, Claims], float]
"""Until when, by the wall clock, a record lets the bearer of a token in, if nothing happens to it.

Raises ``InvalidTokenError`` where it does not, and ``UnavailableError`` where that cannot be said."""

_USUAL_EVERY: Final = 1.0
_MOST_READINGS: Final = 32  # at once: a crowd of connections leaves room for requests, at Redis and at the loader
_OF_THE_HEARD: Final = 8  # of these are for users whose keys were heard of: they may have been thrown out
_HEARD: Final = -math.inf  # when they are due: before everybody, and in turn among themselves
_PATIENCE: Final = 1.0  # for the answer to a reading that was due, before silence counts as none
_MOST_LOOKS: Final = 256  # in one turn of the event loop

_log = logging.getLogger("authcache_middleware")


@final
class Watch:
    """One connection that is watched."""

    __slots__ = ("_end", "_mark", "_watches", "claims", "key")

    def __init__(
        self, watches: Watches, claims: Claims, key: str, end: End, mark: Callable[[str], None] | None
    ) -> None:
        self._watches: Watches | None = watches
        self._end = end
        self._mark = mark
        self.claims = claims
        """What the token says by which the connection is open."""
        self.key = key
        """The key of its user's record."""

    @property
    def is_over(self) -> bool:
        """Whether it is watched no longer."""
        return self._watches is None

    def renew(self, claims: Claims) -> None:
        """From here on the connection stands on another token, which was verified, and speaks for the same user.

        ``InvalidTokenError`` where it has ended, or speaks for somebody else.
        """
        if (claims.issuer, claims.subject) != (self.claims.issuer, self.claims.subject):
            raise InvalidTokenError("subject")
        if self._watches is None:
            raise InvalidTokenError("ended")
        self.claims = claims
        self._watches.renewed(self)

    def seen(self) -> None:
        """Its user has done something: he is marked as seen, as by a request, where that is kept."""
        if self._mark is not None:
            self._mark(self.key)

    def release(self) -> None:
        """The connection is over, or nobody has to watch it any more; again is no harm."""
        if self._watches is not None:
            self._watches.released(self)
            self._watches = None

    def ending(self, reason: EndReason) -> Coroutine[Any, Any, None]:
        """The end, to be awaited; it is watched no longer."""
        self.release()
        return self._end(reason)


class _Reading:
    """One reading of a user's record, for those connections that there were when it began."""

    __slots__ = ("until", "was_heard", "watches")

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.watches = tuple(watches)
        self.until: float | None = None
        """Until when it holds what was read; ``None`` where it says nothing of one of them."""
        self.was_heard = False
        """Whether something was heard of the user meanwhile, or another connection of his begun."""


class _User:
    """One user's connections."""

    __slots__ = ("known_at", "watches")

    def __init__(self, now: float) -> None:
        self.watches: set[Watch] = set()
        self.known_at = now
        """Up to when it is known that he may be here; while he is idle, now."""


@final
class Watches:
    """All connections that are watched on one event loop, by one task."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        memory: Memory,
        clock: Clock,
        read: Callable[[Claims], Awaitable[Record]],
        admit: Admit,
        leeway: float,
        max_staleness: float,
        keep_open_for: float,
    ) -> None:
        self._runtime = runtime
        self._memory = memory
        self._clock = clock
        self._read = read
        self._admit = admit
        self._leeway = leeway
        self._every = max_staleness or _USUAL_EVERY
        self._keep_open_for = keep_open_for
        self._users: dict[str, _User] = {}
        # Each user's key is being read or due to be. Idle ones are due when their record ends.
        self._due: Timetable[str] = Timetable()
        # Until when the others are kept if nothing is known by then: each user's key is here or idle.
        self._kept: Timetable[str] = Timetable()
        self._readings: dict[str, _Reading] = {}
        self._idle: set[str] = set()
        self._ends: Timetable[Watch] = Timetable()
        self._ending: list[tuple[Watch, EndReason]] = []
        self._bell: Cell[None] | None = None
        self._task: Background | None = None

    def begin(self, claims: Claims, key: str, end: End, mark: Callable[[str], None] | None = None) -> Watch:
        """Watch a connection from here on, until it ends or is released.

        The user is read once at the start: he was let in before somebody watched.
        """
        watch = Watch(self, claims, key, end, mark)
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = _User(self._clock.monotonic())
        user.watches.add(watch)
        self.renewed(watch)
        if self._task is None:
            self._memory.listen(self._heard)
            self._task = self._runtime.background(self._run, "authcache-watches")
        return watch

    def renewed(self, watch: Watch) -> None:
        """Its claims are others."""
        self._ends.put(watch, watch.claims.expires_at + self._leeway)
        self._wake(watch.key, self._clock.monotonic())
        self._ring()

    def released(self, watch: Watch) -> None:
        """It is watched no longer."""
        self._ends.drop(watch)
        user = self._users[watch.key]
        user.watches.remove(watch)
        if not user.watches:
            del self._users[watch.key]
            self._idle.discard(watch.key)
            self._due.drop(watch.key)
            self._kept.drop(watch.key)

    async def aclose(self) -> None:
        """End all connections, since nobody watches them any longer; starts their ends and waits for none."""
        for user in self._users.values():
            self._ending += [(watch, "unavailable") for watch in user.watches]
        await self._start_ends()

    def __len__(self) -> int:
        return sum(len(user.watches) for user in self._users.values())

    # -- what happens

    def _heard(self, key: str | None) -> None:
        """That key has changed, or anything may have."""
        if key is None:
            self._wake_all(self._users)
        elif key in self._users:
            self._wake(key, _HEARD)
        else:
            return
        self._ring()

    def _wake_all(self, keys: Iterable[str]) -> None:
        now = self._clock.monotonic()
        for key in keys:
            self._wake(key, now + random.random() * self._every)  # noqa: S311 - no secret

    def _wake(self, key: str, moment: float) -> None:
        """Read the user's record then, or before, if that was to be."""
        if key in self._readings:
            self._readings[key].was_heard = True
            if key not in self._kept:  # the reading is older than this connection
                self._keep(key, moment)
            return
        self._leave_idle(key)
        due = self._due.moment(key)
        if due is None or moment < due:
            self._put(key, moment)

    def _put(self, key: str, moment: float) -> None:
        self._due.put(key, moment)
        self._keep(key, moment)

    def _keep(self, key: str, due: float) -> None:
        """Until nobody has known for too long, but until an answer can have come in any case."""
        asked = max(due, self._clock.monotonic())
        self._kept.put(key, max(self._users[key].known_at + self._keep_open_for, asked + _PATIENCE))

    def _leave_idle(self, key: str) -> None:
        if key in self._idle:
            self._idle.remove(key)
            self._users[key].known_at = now = self._clock.monotonic()
            self._keep(key, now)

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.put(None)

    # -- the one task

    async def _run(self, stop: Stop) -> None:
        while self._users and not stop.is_set:
            self._bell = self._runtime.cell()
            try:
                pause = await self._turn()
            except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave connections unwatched
                _log.error("watching connections failed unexpectedly: %s\n%s", type(exc).__name__, frames_of(exc))
                pause = self._every
            with suppress(TimeoutError):
                await self._bell.wait(pause)
        self._task = self._bell = None

    async def _turn(self) -> float:
        """Do what is due; seconds until something is again, unless the bell rings before."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        if self._idle and not self._memory.is_trusted:
            self._wake_all(tuple(self._idle))
        while (expired := self._ends.pop(wall)) is not None:
            self._ending.append((expired, "expired"))
        while (unknown := self._kept.pop(now)) is not None:
            self._due.drop(unknown)
            self._ending += [(watch, "unavailable") for watch in self._users[unknown].watches]
        for _ in range(_MOST_LOOKS):
            if not self._has_room() or (key := self._due.pop(now)) is None:
                break
            await self._look(key)
        await self._start_ends()
        return max(0.0, min(self._next_moments(now, wall)))

    def _has_room(self) -> bool:
        """Whether who is due first may be read now."""
        taken = 0 if self._due.next() == _HEARD else _OF_THE_HEARD
        return len(self._readings) < _MOST_READINGS - taken

    def _next_moments(self, now: float, wall: float) -> list[float]:
        moments = [self._every]
        if self._idle:  # the moment after: at the last one that is trusted it still is
            moments.append(self._memory.trusted_until - now + 0.001)
        if self._has_room() and (due := self._due.next()) is not None:
            moments.append(due - now)
        if (ends := self._kept.next()) is not None:
            moments.append(ends - now)
        if (ends := self._ends.next()) is not None:
            moments.append(ends - wall)
        return moments

    async def _look(self, key: str) -> None:
        self._leave_idle(key)
        entry = self._memory.entry(key)
        if entry is not None:  # read by somebody else, and trusted: he would have been told of anything newer
            refused, until = self._judge(self._users[key].watches, entry.record)
            if not refused:  # what ends a connection is for Redis to say: it may know of a login of a moment ago
                if until is not None:
                    self._users[key].known_at = self._clock.monotonic()
                self._settle(key, until)
                return
        reading = self._readings[key] = _Reading(self._users[key].watches)
        await self._runtime.start(self._read_again(key, reading), partial(self._has_read, key))

    async def _read_again(self, key: str, reading: _Reading) -> None:
        began = self._clock.monotonic()
        try:
            record = await self._read(reading.watches[0].claims)
        except UnavailableError:
            return
        except Exception as exc:  # noqa: BLE001 - a fault of ours: nobody knows
            _log.error("a connection's user could not be read: %s\n%s", type(exc).__name__, frames_of(exc))
            return
        refused, reading.until = self._judge(reading.watches, record)
        self._ending += [(watch, "revoked") for watch in refused]
        if reading.until is not None and key in self._users:
            self._users[key].known_at = began

    def _has_read(self, key: str) -> None:
        """The reading is over, whatever came of it."""
        reading = self._readings.pop(key)
        if key in self._users:
            if reading.was_heard and reading.until is not None:
                self._put(key, _HEARD)
            else:
                self._settle(key, reading.until)
        self._ring()

    def _settle(self, key: str, until: float | None) -> None:
        """Idle where memory will hear of the user, else to be read again."""
        now = self._clock.monotonic()
        if until is None:  # that was the answer: whoever is kept no longer ends in the next turn
            self._due.put(key, now + self._every)
            self._kept.put(key, self._users[key].known_at + self._keep_open_for)
            return
        entry, holds_for = self._memory.entry(key), until - self._clock.wall()
        if entry is not None and holds_for > 0:
            self._idle.add(key)
            self._kept.drop(key)
            self._due.put(key, min(entry.ends, now + holds_for))
        else:
            self._put(key, now + self._every)

    def _judge(self, watches: Iterable[Watch], record: Record) -> tuple[list[Watch], float | None]:
        """Whom the record lets in no longer, and until when it lets in the others; ``None`` where it is silent."""
        refused, until, says = list[Watch](), math.inf, True
        for watch in watches:
            try:
                until = min(until, self._admit(record, watch.claims))
            except InvalidTokenError:
                refused.append(watch)
            except UnavailableError:  # the application's rule has failed
                says = False
            except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave the others unjudged
                _log.error("a connection could not be judged: %s\n%s", type(exc).__name__, frames_of(exc))
                says = False
        return refused, until if says else None

    async def _start_ends(self) -> None:
        ending, self._ending = self._ending, []
        for watch, reason in ending:
            if not watch.is_over:
                await self._runtime.start(watch.ending(reason), _nothing)


def _nothing() -> None:
    pass
