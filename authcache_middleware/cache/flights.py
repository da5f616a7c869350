"""One load of a subject at a time in this process, shared by all who may have its answer.

Who may have it is a matter of order. An answer that Redis gave to a command says nothing to a request that began after
the command was sent: the user may have been thrown out between the two. So each command that can settle a flight is
*stamped* before it is sent, each joiner gets a *ticket*, and an answer serves only the tickets below its stamp. The
others look again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from authcache_middleware.runtime import Cell, Runtime
from authcache_middleware.users.record import Record

__all__ = ["Answered", "Failed", "Flight", "Flights", "LookAgain", "Outcome", "Refused", "Seat"]

_MAX_PAUSES: Final = 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """A record that holds for every ticket below the stamp."""

    record: Record
    stamp: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A load whose fill was refused, because the key was invalidated meanwhile.

    Its record is newer than every request whose ticket lies below the stamp, which was taken before the load began.
    """

    record: Record
    stamp: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Neither Redis nor the loader could say: 503 for all who waited.

    Without the exception behind it: what a loader raises may hold a row's values, and has been logged without them.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class LookAgain:
    """This flight ran out of its time, or was ended by somebody; who has time left starts another."""


Outcome = Answered | Refused | Failed | LookAgain


@final
class Flight:
    """One attempt to learn a subject's record."""

    __slots__ = ("began", "cell", "commands", "deadline", "key")

    def __init__(self, key: str, began: float, deadline: float, cell: Cell[Outcome]) -> None:
        self.key = key
        self.began = began
        self.deadline = deadline
        self.cell = cell
        self.commands = 0


class Seat(NamedTuple):
    """A place in a flight."""

    flight: Flight
    ticket: int
    leads: bool
    """Whether the flight is new, and to be flown by who got this seat."""


@final
class Flights:
    """The flights under way, by key, and the keys whose loads are paused after a failure."""

    def __init__(self, runtime: Runtime, monotonic: Callable[[], float]) -> None:
        self._runtime = runtime
        self._monotonic = monotonic
        self._mutex = runtime.mutex()  # guards both tables and each flight's count of commands
        self._open: dict[str, Flight] = {}
        self.find = self._open.get
        """The flight of that key that is under way, if there is one."""
        self._pauses: dict[str, float] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._open

    def has_younger_than(self, key: str, seconds: float) -> bool:
        """Whether a flight of that key is under way and began no longer ago than that."""
        flight = self._open.get(key)
        return flight is not None and self._monotonic() - flight.began < seconds

    def join(self, key: str, deadline: float) -> Seat | None:
        """A seat in the flight of that key, a new flight if there is none; ``None`` while the key is paused."""
        with self._mutex:
            flight = self._open.get(key)
            if flight is not None:
                return Seat(flight, flight.commands, leads=False)
            if self._pauses and self._is_paused(key):
                return None
            flight = self._open[key] = Flight(key, self._monotonic(), deadline, self._runtime.cell())
            return Seat(flight, 0, leads=True)

    def stamp(self, flight: Flight) -> int:
        """The stamp of a command about to be sent: above the ticket of everyone who is there already."""
        with self._mutex:
            flight.commands += 1
            return flight.commands

    def settle(self, flight: Flight, outcome: Outcome) -> None:
        """End the flight: nobody joins it from here on, and all who did get the outcome; the first one counts."""
        with self._mutex:
            if self._open.get(flight.key) is flight:  # and not its successor
                del self._open[flight.key]
        flight.cell.put(outcome)

    def pause(self, key: str, seconds: float) -> None:
        """Start no flight of that key for so long: whoever waited for a failed load would repeat it, one by one."""
        now = self._monotonic()
        with self._mutex:
            if len(self._pauses) >= _MAX_PAUSES:
                self._pauses = {paused: until for paused, until in self._pauses.items() if until > now}
            if len(self._pauses) < _MAX_PAUSES:  # a pause spares the loader; past the bound it is spared no more
                self._pauses[key] = now + seconds

    def _is_paused(self, key: str) -> bool:
        until = self._pauses.get(key)
        if until is None:
            return False
        if until > self._monotonic():
            return True
        del self._pauses[key]
        return False
