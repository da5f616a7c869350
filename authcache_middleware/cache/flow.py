"""From a subject to his record: Redis, else one load for everybody. The order of its steps is what keeps it right.

    GET             a record: done. This is the hit, and the whole of it.
    claim           the lease: whoever set it is the holder; the others come back when it has changed
    load            the holder asks the database, *after* the lease stands
    HGETALL         and the revocations, also after it
    compare-and-set the record takes the lease's place, if it is still there

An invalidation is a ``DEL`` of the key. It takes the lease away as well, so a record that was loaded before it can not
be stored after it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, final

from authcache_middleware.cache.flights import Answered, Failed, Flight, Flights, LookAgain, Outcome, Refused
from authcache_middleware.cache.links import Links
from authcache_middleware.cache.loads import LoadError, Loads, to_ms
from authcache_middleware.cache.memory import Memory, Reading
from authcache_middleware.cache.outage import OutagePolicy
from authcache_middleware.cache.reads import Read, Reads
from authcache_middleware.cache.refresh import Refresher, refresh_window_ms
from authcache_middleware.cache.store import REDIS_GONE, Store
from authcache_middleware.errors import UnavailableError, frames_of
from authcache_middleware.events import FillRefused, Miss
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Cell, Clock, Runtime, Work
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import (
    ForeignValueError,
    Record,
    UnreadableValueError,
    is_lease,
    is_storable,
    new_lease,
    read_record,
)

__all__ = ["UserFlow", "Waits"]

_FIRST_POLL: Final = 0.005
_SLOWEST_POLL: Final = 0.05
_WOKEN_POLL: Final = 0.25
_PLACE_POLL: Final = 0.5
_PAUSE: Final = 0.5

_log = logging.getLogger("authcache_middleware")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long things may take, in seconds."""

    lease: float
    deadline: float


@final
class UserFlow:
    """The records of one issuer's users, for one event loop or for the threads of one process."""

    def __init__(
        self,
        store: Store,
        *,
        runtime: Runtime,
        clock: Clock,
        loader: Work,
        loads: Loads,
        memory: Memory,
        links: Links | None,
        refresher: Refresher | None,
        outage: OutagePolicy,
        keys: UserKeys,
        issuer: str | None,
        waits: Waits,
        needs_sessions: bool,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._loader = loader
        self._loads = loads
        self._memory = memory
        self._links = links
        self._refresher = refresher
        self._outage = outage
        self._keys = keys
        self._issuer = issuer
        self._waits = waits
        self._needs_sessions = needs_sessions
        self._reporter = reporter
        self._lease_ms = to_ms(waits.lease)
        self._flights = Flights(runtime, clock.monotonic)
        self._reads = Reads(runtime.mutex())
        self.find_read = self._reads.find
        """By key, what was last read of a record where memory had none, if it is still here."""
        self._told: set[str] = set()

    async def record(self, subject: str) -> Record:
        """The subject's record, where memory has none; within ``deadline`` seconds, or ``UnavailableError``.

        On the blocking face a load that was begun in time is waited for, since nothing can interrupt it.
        """
        key = self._keys.record(subject)
        monotonic = self._clock.monotonic  # named before it is called, see ``Story.recall_or_nobody``
        deadline = monotonic() + self._waits.deadline
        try:
            # A flight that is older than a lease may hang in a loader, while another process has filled the record.
            if self._flights.find(key) is None or not self._flights.has_younger_than(key, self._waits.lease):
                record = await self._stored(key, subject)
                if record is not None:
                    self._reporter.redis_hit()
                    return record
            self._reporter.tell(Miss())
            return await self._shared(key, subject, deadline)
        except UnavailableError as exc:
            answered = await self._outage.record(key, subject, deadline) if exc.reason == REDIS_GONE else None
            if answered is None:
                raise
            return answered

    async def _stored(self, key: str, subject: str) -> Record | None:
        """What one GET finds; kept in memory, unless it might be old before it is."""
        reading = self._memory.begin(key)
        try:
            return self._found(key, subject, await self._store.get(key), reading)
        except (UnreadableValueError, ForeignValueError):
            return None  # the flight decides what becomes of it
        finally:
            if reading is not None:
                self._memory.end(reading)

    def _found(self, key: str, subject: str, value: bytes | None, reading: Reading | None) -> Record | None:
        read = self._reads.find(key)
        if read is not None and read.packed == value:
            read.asked = True
        elif value is None or is_lease(value):
            if read is not None:
                self._reads.forget(key)
            return None
        else:
            record = self._read(value, subject)
            read = Read(value, record, self._fresh_until_ms(record))
            if reading is None:  # memory, which spares the GET as well, will not have it
                self._reads.put(key, read)
        self._use(key, subject, read, reading)
        return read.record

    def _fresh_until_ms(self, record: Record) -> int:
        return record.expires_at_ms - (0 if self._refresher is None else refresh_window_ms(record))

    def _use(self, key: str, subject: str, read: Read, reading: Reading | None) -> None:
        """Keep the record until it is to be refreshed; from then on each request looks whether it has been."""
        now_ms, record = self._clock.wall() * 1000, read.record
        if now_ms >= read.fresh_until_ms and self._refresher is not None and record.user is not None:
            self._refresher.refresh(key, subject, read.packed)
        if reading is not None and (self._links is None or self._links.hear_of(key)):
            seconds, ends_in = (read.fresh_until_ms - now_ms) / 1000, (record.expires_at_ms - now_ms) / 1000
            self._memory.keep(reading, record, seconds=seconds, ends_in=ends_in)

    async def _shared(self, key: str, subject: str, deadline: float) -> Record:
        refusals = 0
        while self._clock.monotonic() < deadline:
            seat = self._flights.join(key, deadline)
            if seat is None:
                raise UnavailableError("the loader failed a moment ago")
            if seat.leads:
                await self._runtime.start(self._fly(seat.flight, subject), partial(self._end, seat.flight))
            match await self._landed(seat.flight, subject, deadline):
                case Record() as record:
                    return record
                case Answered(record, stamp) if seat.ticket < stamp:
                    return record
                case Refused(record, stamp):
                    refusals += 1
                    # a user who is invalidated all the time would never be served: from the second time on
                    # he is, as without a cache, by a load that began after the request did
                    if refusals > 1 and seat.ticket < stamp:
                        return record
                case Failed(reason):
                    raise UnavailableError(reason)
        raise UnavailableError("deadline")

    async def _landed(self, flight: Flight, subject: str, deadline: float) -> Outcome | Record:
        """How the flight ends; or the record, where another process has filled it while this flight hangs."""
        while (left := deadline - self._clock.monotonic()) > 0:
            try:
                return await flight.cell.wait(min(left, self._waits.lease))
            except TimeoutError:
                record = await self._stored(flight.key, subject)
                if record is not None:
                    return record
        raise UnavailableError("deadline")

    async def _fly(self, flight: Flight, subject: str) -> None:
        outcome: Outcome = LookAgain()
        try:
            outcome = await self._outcome(flight, subject)
        except UnavailableError as exc:
            outcome = Failed(exc.reason)
        except LoadError:
            self._flights.pause(flight.key, _PAUSE)
            outcome = Failed("loader")
        except Exception as exc:  # noqa: BLE001 - a fault of ours is an outage too, and not for a task to keep
            _log.error("a load failed unexpectedly: %s\n%s", type(exc).__name__, frames_of(exc))
            outcome = Failed("internal")
        finally:  # also when the leader is killed: nobody may be left hanging
            self._flights.settle(flight, outcome)

    def _end(self, flight: Flight) -> None:
        self._flights.settle(flight, LookAgain())

    async def _outcome(self, flight: Flight, subject: str) -> Outcome:
        lease, pause = new_lease(), _FIRST_POLL
        while (left := flight.deadline - self._clock.monotonic()) > 0:
            changed = self._runtime.cell()
            wake = partial(changed.put, None)
            self._memory.wait_for(flight.key, wake)  # before the look: a change right after it is not missed
            try:
                outcome = await self._try(flight, subject, lease, left)
                if outcome is not None:
                    return outcome
                await _until(changed, min(_WOKEN_POLL if self._memory.is_trusted else pause, left))
            finally:
                self._memory.wait_no_more(flight.key, wake)
            pause = min(pause * 2, _SLOWEST_POLL)
        return LookAgain()

    async def _try(self, flight: Flight, subject: str, lease: bytes, left: float) -> Outcome | None:
        """One look at the key, with a place at the loader in hand if there is one; ``None`` to try again."""
        while True:
            try:
                await self._loader.enter(min(left, _PLACE_POLL))
                break
            except TimeoutError:  # all places are taken; perhaps another process had one
                stamp = self._flights.stamp(flight)
                record = await self._stored(flight.key, subject)
                left = flight.deadline - self._clock.monotonic()
                if record is not None:
                    return Answered(record, stamp)
                if left <= 0:
                    return None
        try:
            claim = await self._claim(flight, subject, lease)
        except BaseException:
            self._loader.leave()
            raise
        match claim:
            case bytes():
                return await self._load_and_fill(flight, subject, claim)
            case "foreign":
                return await self._load_uncached(flight, subject)
            case _:
                self._loader.leave()
                return claim

    async def _claim(self, flight: Flight, subject: str, lease: bytes) -> bytes | Answered | Literal["foreign"] | None:
        """The lease as it stands in Redis, if it is this flight's; ``None`` while it is another's."""
        stamp = self._flights.stamp(flight)
        try:
            standing = await self._store.claim(flight.key, lease, ttl_ms=self._lease_ms)
            if standing.startswith(lease):
                return standing
            if is_lease(standing):
                return None
            try:
                return Answered(self._read(standing, subject), stamp)
            except UnreadableValueError as exc:
                self._tell_once("an unreadable value (%s) stood under a user's key: deleted and loaded again", exc)
            await self._store.compare_and_delete(flight.key, standing)
        except ForeignValueError as exc:
            self._tell_foreign(exc)
            return "foreign"
        return None  # to be claimed at the next turn

    async def _load_and_fill(self, flight: Flight, subject: str, lease: bytes) -> Outcome:
        began, until = self._flights.stamp(flight), self._clock.monotonic() + self._waits.lease
        try:
            record, packed = await self._loads.load(subject, self._loader, "miss")
            if is_storable(record, packed):
                outcome = await self._fill(flight, lease, record, packed, began)
                if isinstance(outcome, Refused):
                    self._reporter.tell(FillRefused("miss", lease_ended=self._clock.monotonic() > until))
                return outcome
        except BaseException:
            await self._give_up(flight.key, lease)  # of a fill that happened, and was not confirmed, it takes nothing
            raise
        self._tell_once("a user of %s bytes is over the cap and is not cached", len(packed))
        await self._give_up(flight.key, lease)
        return Answered(record, began)

    async def _fill(self, flight: Flight, lease: bytes, record: Record, packed: bytes, began: int) -> Outcome:
        ttl_ms = record.expires_at_ms - record.loaded_at_ms
        stamp = self._flights.stamp(flight)
        try:
            filled = await self._store.compare_and_set(flight.key, lease, packed, ttl_ms=ttl_ms)
        except ForeignValueError as exc:
            self._tell_foreign(exc)
            return Answered(record, began)
        return Answered(record, stamp) if filled else Refused(record, began)

    async def _load_uncached(self, flight: Flight, subject: str) -> Outcome:
        began = self._flights.stamp(flight)  # without a lease nothing tells of an invalidation during the load
        record, _ = await self._loads.load(subject, self._loader, "miss")
        return Answered(record, began)

    async def _give_up(self, key: str, lease: bytes) -> None:
        try:
            await self._store.compare_and_delete(key, lease)
        except (UnavailableError, ForeignValueError):
            _log.warning("a lease could not be given back: it ends by itself in %.1f s", self._waits.lease)

    def _read(self, value: bytes, subject: str) -> Record:
        record = read_record(value, issuer=self._issuer, subject=subject)
        if self._needs_sessions and record.revocations.sessions is None:
            raise UnreadableValueError("without sessions")  # by a service that knows of none: to be loaded again
        return record

    def _tell_foreign(self, error: ForeignValueError) -> None:
        self._tell_once("a value that is not ours (%s) stands under a user's key: left alone, not cached", error)

    def _tell_once(self, message: str, argument: object) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.error(message, argument)


async def _until(changed: Cell[None], seconds: float) -> None:
    with suppress(TimeoutError):
        await changed.wait(seconds)
