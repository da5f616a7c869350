"""What is answered while Redis is gone, where the options allow anything but 503."""

from __future__ import annotations

from functools import partial
from typing import Final, final

from authcache_middleware.cache.flights import Answered, Failed, Flight, Flights, LookAgain, Outcome
from authcache_middleware.cache.loads import LoadError, Loads
from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import UnavailableError
from authcache_middleware.events import OutageAnswer
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Clock, Runtime, Work
from authcache_middleware.users.record import Record

__all__ = ["OutagePolicy"]

_PAUSE: Final = 0.5


@final
class OutagePolicy:
    """Stale memory first, if it is allowed for so long; then the database, if that is, behind few places."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        clock: Clock,
        memory: Memory,
        loads: Loads,
        loader: Work | None,
        serve_stale_for: float,
        reporter: Reporter,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._memory = memory
        self._loads = loads
        self._loader = loader
        self._serve_stale_for = serve_stale_for
        self._reporter = reporter
        self._flights = Flights(runtime, clock.monotonic)

    async def record(self, key: str, subject: str, deadline: float) -> Record | None:
        """The record without Redis; ``None`` where nothing is allowed or known. Raises ``UnavailableError``."""
        if self._serve_stale_for:
            record = self._memory.stale_record(key, self._serve_stale_for)
            if record is not None:
                self._reporter.tell(OutageAnswer("memory"))
                return record
        if self._loader is None:
            return None
        record = await self._shared(key, subject, deadline, self._loader)
        self._reporter.tell(OutageAnswer("load"))
        return record

    async def _shared(self, key: str, subject: str, deadline: float, loader: Work) -> Record:
        """One load for all who wait, of whom it answers those alone who were there before it began."""
        while (left := deadline - self._clock.monotonic()) > 0:
            seat = self._flights.join(key, deadline)
            if seat is None:
                raise UnavailableError("the loader failed a moment ago")
            if seat.leads:
                fly = self._fly(seat.flight, subject, loader)
                await self._runtime.start(fly, partial(self._flights.settle, seat.flight, LookAgain()))
            try:
                outcome = await seat.flight.cell.wait(left)
            except TimeoutError:
                break
            match outcome:
                case Answered(record, stamp) if seat.ticket < stamp:
                    return record
                case Failed(reason):
                    raise UnavailableError(reason)
        raise UnavailableError("deadline")

    async def _fly(self, flight: Flight, subject: str, loader: Work) -> None:
        outcome: Outcome = LookAgain()
        try:
            await loader.enter(max(0.0, flight.deadline - self._clock.monotonic()))
            stamp = self._flights.stamp(flight)
            record, _ = await self._loads.load(subject, loader, "outage")
            outcome = Answered(record, stamp)
        except TimeoutError:
            outcome = Failed("too many ask the database")
        except UnavailableError as exc:
            outcome = Failed(exc.reason)
        except LoadError:
            self._flights.pause(flight.key, _PAUSE)
            outcome = Failed("loader")
        finally:
            self._flights.settle(flight, outcome)
