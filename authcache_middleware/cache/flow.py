"""From a subject to his record: Redis, else one load for everybody. The order of its steps is what keeps it right.

    GET             a record: done. This is the hit, and the whole of it.
    claim           the lease: whoever set it is the holder; the others come back until it has changed
    load            the holder asks the database, *after* the lease stands
    HGETALL         and the revocations, also after it
    compare-and-set the record takes the lease's place, if it is still there

An invalidation is a ``DEL`` of the key. It takes the lease away as well, so a record that was loaded before it can not
be stored after it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, final

from authcache_middleware.cache.flights import Answered, Failed, Flight, Flights, LookAgain, Outcome, Refused
from authcache_middleware.cache.store import Store
from authcache_middleware.errors import UnavailableError
from authcache_middleware.runtime import Clock, Runtime, Work
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import (
    MAX_RECORD_BYTES,
    ForeignValueError,
    Record,
    UnreadableValueError,
    UnstorableUserError,
    is_lease,
    new_lease,
    pack_record,
    read_record,
)

__all__ = ["Durations", "UserFlow"]

_FIRST_POLL: Final = 0.005
_SLOWEST_POLL: Final = 0.05
_PLACE_POLL: Final = 0.5
_PAUSE: Final = 0.5

_log = logging.getLogger("authcache_middleware")


@dataclass(frozen=True, slots=True)
class Durations:
    """How long things last, in seconds."""

    ttl: float
    negative_ttl: float
    lease: float
    deadline: float


class _LoadError(Exception):
    """The loader gave no answer that can be used."""


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
        keys: UserKeys,
        issuer: str | None,
        durations: Durations,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._loader = loader
        self._keys = keys
        self._issuer = issuer
        self._durations = durations
        self._lease_ms = _ms(durations.lease)
        self._flights = Flights(runtime, clock.monotonic)
        self._told: set[str] = set()

    async def record(self, subject: str) -> Record:
        """The subject's record; within ``deadline`` seconds, or ``UnavailableError``."""
        key = self._keys.record(subject)
        deadline = self._clock.monotonic() + self._durations.deadline
        # A flight that is older than a lease may hang in a loader, while another process has filled the record.
        if not self._flights.has_younger_than(key, self._durations.lease):
            record = await self._stored(key, subject)
            if record is not None:
                return record
        return await self._shared(key, subject, deadline)

    async def _stored(self, key: str, subject: str) -> Record | None:
        try:
            value = await self._store.get(key)
            return None if value is None or is_lease(value) else self._read(value, subject)
        except (UnreadableValueError, ForeignValueError):
            return None  # the flight decides what becomes of it

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
                return await flight.cell.wait(min(left, self._durations.lease))
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
        except _LoadError:
            self._flights.pause(flight.key, _PAUSE)
            outcome = Failed("loader")
        except Exception as exc:  # noqa: BLE001 - a fault of ours is an outage too, and not for a task to keep
            _log.error("a load failed unexpectedly: %s\n%s", type(exc).__name__, _frames(exc))
            outcome = Failed("internal")
        finally:  # also when the leader is killed: nobody may be left hanging
            self._flights.settle(flight, outcome)

    def _end(self, flight: Flight) -> None:
        self._flights.settle(flight, LookAgain())

    async def _outcome(self, flight: Flight, subject: str) -> Outcome:
        lease, pause = new_lease(), _FIRST_POLL
        while (left := flight.deadline - self._clock.monotonic()) > 0:
            try:
                await self._loader.enter(min(left, _PLACE_POLL))
            except TimeoutError:  # all places are taken; perhaps another process had one
                outcome = await self._look(flight, subject)
            else:
                outcome = await self._turn(flight, subject, lease)
                if outcome is None:
                    await self._runtime.sleep(min(pause, left))
                    pause = min(pause * 2, _SLOWEST_POLL)
            if outcome is not None:
                return outcome
        return LookAgain()

    async def _look(self, flight: Flight, subject: str) -> Outcome | None:
        stamp = self._flights.stamp(flight)
        record = await self._stored(flight.key, subject)
        return None if record is None else Answered(record, stamp)

    async def _turn(self, flight: Flight, subject: str, lease: bytes) -> Outcome | None:
        """One look at the key with a place at the loader in hand; ``None`` while another holder has the lease."""
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
        began = self._flights.stamp(flight)
        try:
            record, packed = await self._load(subject)
            if len(packed) <= MAX_RECORD_BYTES:
                return await self._fill(flight, lease, record, packed, began)
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
        record, _ = await self._load(subject)
        return Answered(record, began)

    async def _load(self, subject: str) -> tuple[Record, bytes]:
        """What the database and the revocations say, as bytes and as those bytes read: every reader gets the same."""
        started = self._clock.monotonic()
        row = await self._row(subject)
        load_ms = _ms(self._clock.monotonic() - started)
        try:
            revocations = await self._store.revocations(self._keys.revocations(subject))
        except ForeignValueError as exc:
            raise UnavailableError("the revocations are unreadable") from exc
        now_ms = _ms(self._clock.wall())
        ttl = self._durations.negative_ttl if row is None else self._durations.ttl
        record = Record(self._issuer, subject, row, revocations, now_ms, load_ms, now_ms + _ms(ttl))
        try:
            packed = pack_record(record)
            return read_record(packed, issuer=self._issuer, subject=subject, max_bytes=len(packed)), packed
        except (UnstorableUserError, UnreadableValueError) as exc:
            _log.error("load_user returned what a record cannot hold: %s", exc)
            raise _LoadError from None

    async def _row(self, subject: str) -> Mapping[str, Any] | None:
        try:
            row = await self._loader.call(subject)
        except UnavailableError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the application's function raises
            _log.error("load_user raised %s\n%s", type(exc).__name__, _frames(exc))
            raise _LoadError from None
        if row is None or isinstance(row, Mapping):
            return row
        _log.error("load_user returned a %s: it must return a mapping or None", type(row).__name__)
        raise _LoadError

    async def _give_up(self, key: str, lease: bytes) -> None:
        try:
            await self._store.compare_and_delete(key, lease)
        except (UnavailableError, ForeignValueError):
            _log.warning("a lease could not be given back: it ends by itself in %.1f s", self._durations.lease)

    def _read(self, value: bytes, subject: str) -> Record:
        return read_record(value, issuer=self._issuer, subject=subject)

    def _tell_foreign(self, error: ForeignValueError) -> None:
        self._tell_once("a value that is not ours (%s) stands under a user's key: left alone, not cached", error)

    def _tell_once(self, message: str, argument: object) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.error(message, argument)


def _frames(error: Exception) -> str:
    """Where it was raised, without its message, which may hold values."""
    return "".join(traceback.format_tb(error.__traceback__))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
