"""Counts what happened, and hands it to whoever wants to know."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import fields
from typing import ClassVar, Final

from authcache_middleware.errors import ConfigurationError, MissingTokenError, RefusedError
from authcache_middleware.events import (
    Event,
    FillRefused,
    Hit,
    Introspected,
    Invalidated,
    KeysFetched,
    LinkDown,
    LinkUp,
    Loaded,
    Miss,
    Observer,
    OutageAnswer,
    OutageBegan,
    OutageEnded,
    Refused,
    Stats,
    Unavailable,
    WithoutCredentials,
)

__all__ = ["Reporter"]

_log = logging.getLogger("authcache_middleware")

_COUNTS: Final = tuple(field.name for field in fields(Stats) if field.type == "int" and "entries" not in field.name)


class Reporter:
    """Counts events and hands them to the observers.

    Counts are plain attributes: where nobody observes, a memory hit is one addition and no event. An addition to an
    attribute is not interrupted by CPython's other threads; on free-threaded builds some may be lost.
    """

    __slots__ = ("_observers", "_told", *_COUNTS, "is_observed", "redis_may_evict")

    memory_hits: int
    redis_hits: int
    misses: int
    loads: int
    failed_loads: int
    refreshes: int
    fills_refused: int
    invalidations: int
    outage_answers: int
    outages: int
    links_lost: int
    key_fetches: int
    failed_key_fetches: int
    keys_skipped: int
    introspections: int
    failed_introspections: int
    refused: int
    without_credentials: int
    unavailable: int
    activity_writes: int
    activity_failures: int
    activity_dropped: int
    events_lost: int
    redis_may_evict: bool | None
    is_observed: bool
    """Whether anybody is told. Where nobody is, a hit may as well be added to its count from outside."""

    _MEMORY_HIT: ClassVar = Hit("memory")
    _REDIS_HIT: ClassVar = Hit("redis")

    def __init__(self, observers: Collection[Observer] = ()) -> None:
        if not isinstance(observers, Collection):  # an iterator would be used up before a forked child asks for it
            raise ConfigurationError("observers", "must be a list of callables")
        self._observers = tuple(observers)
        if not all(map(callable, self._observers)):
            raise ConfigurationError("observers", "must be callables that take an event")
        self._told = False
        self.is_observed = bool(self._observers)
        self.redis_may_evict = None
        for name in _COUNTS:
            setattr(self, name, 0)

    # Facts of nearly every request: no event is made that nobody looks at.

    def memory_hit(self) -> None:
        """A request's user was known to this process."""
        self.memory_hits += 1
        if self._observers:
            self._hand_out(self._MEMORY_HIT)

    def redis_hit(self) -> None:
        """A request's user was known to Redis."""
        self.redis_hits += 1
        if self._observers:
            self._hand_out(self._REDIS_HIT)

    def nobody(self) -> None:
        """A request had no credentials at all."""
        self.without_credentials += 1
        if self._observers:
            self._hand_out(WithoutCredentials())

    def refusal(self, error: RefusedError) -> None:
        """A request was refused, or had no credentials at all."""
        if isinstance(error, MissingTokenError) and error.absent:
            self.nobody()
            return
        self.refused += 1
        if self._observers:
            self._hand_out(Refused(error.status, error.reason))

    def tell(self, event: Event) -> None:
        """Count the event, and hand it to the observers."""
        self._count(event)
        if self._observers:
            self._hand_out(event)

    def counts(self) -> dict[str, int]:
        """Every count, by the name that it has in ``Stats``."""
        return {name: getattr(self, name) for name in _COUNTS}

    def _count(self, event: Event) -> None:  # noqa: C901, PLR0912 - a table, one line for each event
        match event:
            case Hit(tier="redis"):
                self.redis_hits += 1
            case Hit():
                self.memory_hits += 1
            case Miss():
                self.misses += 1
            case Loaded(cause=cause, outcome=outcome):
                self.loads += 1
                self.failed_loads += outcome == "failed"
                self.refreshes += cause == "refresh"
            case FillRefused():
                self.fills_refused += 1
            case Invalidated():
                self.invalidations += 1
            case OutageAnswer():
                self.outage_answers += 1
            case OutageBegan():
                self.outages += 1
            case LinkDown():
                self.links_lost += 1
            case KeysFetched(outcome=outcome, skipped=skipped):
                self.key_fetches += 1
                self.failed_key_fetches += outcome == "failed"
                self.keys_skipped += skipped
            case Introspected(outcome=outcome):
                self.introspections += 1
                self.failed_introspections += outcome == "failed"
            case Refused():
                self.refused += 1
            case WithoutCredentials():
                self.without_credentials += 1
            case Unavailable():
                self.unavailable += 1
            case LinkUp() | OutageEnded():
                pass

    def _hand_out(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is no fault of the request
                if not self._told:
                    self._told = True
                    _log.error("an observer raised %s for %s: not said again", type(exc).__name__, type(event).__name__)
