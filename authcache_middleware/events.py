"""What happened: counts, and for whoever wants to know more a frozen event for each fact.

No event holds a token, a key, a subject or the value of a claim. Counts are of one face in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import ClassVar, Final, Literal, Protocol, TypeAlias, runtime_checkable

from authcache_middleware.errors import ConfigurationError, MissingTokenError, RefusedError

__all__ = [
    "Event",
    "FillRefused",
    "Hit",
    "Invalidated",
    "KeysFetched",
    "LinkDown",
    "LinkUp",
    "Loaded",
    "Miss",
    "Observer",
    "OutageAnswer",
    "OutageBegan",
    "OutageEnded",
    "Refused",
    "Reporter",
    "Stats",
    "Unavailable",
    "WatchingObserver",
    "WithoutCredentials",
]

_log = logging.getLogger("authcache_middleware")


@dataclass(frozen=True, slots=True)
class Hit:
    """A request's user was known to this process (``memory``) or to Redis (``redis``)."""

    tier: Literal["memory", "redis"]


@dataclass(frozen=True, slots=True)
class Miss:
    """Neither memory nor Redis knew a request's user: it loads him, or waits for somebody who does."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The loader has been called."""

    seconds: float
    cause: Literal["miss", "refresh", "outage"]
    outcome: Literal["found", "unknown", "failed"]


@dataclass(frozen=True, slots=True)
class FillRefused:
    """What was loaded was not stored: the user was invalidated meanwhile, or the lease ended first."""

    cause: Literal["miss", "refresh"]
    lease_ended: bool
    """The load took longer than the lease: no invalidation is needed to explain it."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link to one primary hears of invalidations; memory is trusted once all are up."""

    node: str
    """``host:port``, or the path of a socket."""
    lag: float
    """Seconds that the server's first answer took."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link to one primary is lost, and no memory is trusted until it is up again."""

    node: str
    reason: str
    """One word, or the class of an error."""


@dataclass(frozen=True, slots=True)
class OutageBegan:
    """Redis has not answered several times in a row: it is left alone for moments, and no request waits for it."""


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """Redis answers again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class OutageAnswer:
    """A request was answered without Redis, as the options allow: from the database, or from stale memory."""

    source: Literal["load", "memory"]


@dataclass(frozen=True, slots=True)
class Invalidated:
    """A call that ends or renews what is known of a user was confirmed by Redis."""

    by: Literal["invalidate", "logout", "revoke_user"]


@dataclass(frozen=True, slots=True)
class KeysFetched:
    """A provider was asked for its keys."""

    seconds: float
    outcome: Literal["changed", "same", "failed"]
    skipped: int
    """How many keys of the answer were broken, and left out."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request was refused with 400 or 401, for the credentials that it had."""

    status: int
    reason: str
    """The word of ``RefusedError.reason``."""


@dataclass(frozen=True, slots=True)
class WithoutCredentials:
    """A request had no credentials at all: the middleware answers 401, or with ``optional`` lets it in."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A request was answered with 503."""

    reason: str
    """The words of ``UnavailableError.reason``."""


Event: TypeAlias = (
    Hit
    | Miss
    | Loaded
    | FillRefused
    | LinkUp
    | LinkDown
    | OutageBegan
    | OutageEnded
    | OutageAnswer
    | Invalidated
    | KeysFetched
    | Refused
    | WithoutCredentials
    | Unavailable
)

Observer: TypeAlias = Callable[[Event], None]
"""Is called with every event, in the thread or event loop where it happened: quick, and without waiting.

What it raises is logged once and does no harm."""


@runtime_checkable
class WatchingObserver(Protocol):
    """An observer that wants the counts too: some facts are too frequent to be counted from events."""

    def watch(self, stats: Callable[[], Stats]) -> None:
        """Is called once by each face that the observer is given to, with its ``stats``: to be kept and called later.

        It may be called in any thread, and in a forked child, where it tells of the child.
        """
        ...

    def __call__(self, event: Event, /) -> None:
        """See ``Observer``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What ``stats()`` returns: counts since the start of this process, and how things stand.

    Every request with a good token counts once as ``memory_hits``, ``redis_hits`` or ``misses`` (while Redis is gone as
    none of them, unless memory is trusted); every request that is not answered with a user once as ``refused``,
    ``without_credentials`` or ``unavailable``.
    """

    memory_hits: int = 0
    """Requests whose user was in trusted memory."""
    redis_hits: int = 0
    """Requests whose user one ``GET`` found."""
    misses: int = 0
    """Requests whose user had to be loaded, by them or by another that they waited for."""
    loads: int = 0
    """Calls of the loader, for whatever cause, failed ones included."""
    failed_loads: int = 0
    """Calls of the loader that raised, were late, or returned what cannot be used."""
    refreshes: int = 0
    """Calls of the loader ahead of a record's end."""
    fills_refused: int = 0
    """Loads whose result was not stored because of an invalidation, or of a lease that had ended."""
    invalidations: int = 0
    """Calls of ``invalidate``, ``logout`` and ``revoke_user`` that Redis has confirmed."""
    outage_answers: int = 0
    """Requests answered without Redis: from the database or from stale memory."""
    outages: int = 0
    """How often Redis was found to be gone."""
    links_lost: int = 0
    """How often a link to a primary was lost."""
    key_fetches: int = 0
    """Requests to providers for their keys, failed ones included."""
    failed_key_fetches: int = 0
    """Those that brought no keys that can be used."""
    keys_skipped: int = 0
    """Keys of all answers that were broken, and left out."""
    refused: int = 0
    """Requests that ``recall`` or ``authenticate`` refused with 400 or 401, for the credentials that they had. A 403 is
    the application's and not counted."""
    without_credentials: int = 0
    """Requests without any credentials: answered with 401, or let in by a middleware that is ``optional``."""
    unavailable: int = 0
    """Requests that ``recall`` or ``authenticate`` had no answer for: 503."""

    memory_entries: int = 0
    """Users in memory now."""
    token_entries: int = 0
    """Verified tokens in memory now."""
    memory_trusted: bool = False
    """Whether memory may answer now."""
    redis_may_evict: bool | None = None
    """Whether the server's ``maxmemory-policy`` lets it forget revocations; ``None`` where it did not say."""


_COUNTS: Final = tuple(field.name for field in fields(Stats) if field.type == "int" and "entries" not in field.name)


class Reporter:
    """Counts events and hands them to the observers.

    Counts are plain attributes: where nobody observes, a memory hit is one addition and no event. An addition to an
    attribute is not interrupted by CPython's other threads; on free-threaded builds some may be lost.
    """

    __slots__ = ("_observers", "_told", *_COUNTS, "redis_may_evict")

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
    refused: int
    without_credentials: int
    unavailable: int
    redis_may_evict: bool | None

    _MEMORY_HIT: ClassVar = Hit("memory")
    _REDIS_HIT: ClassVar = Hit("redis")

    def __init__(self, observers: Collection[Observer] = ()) -> None:
        if not isinstance(observers, Collection):  # an iterator would be used up before a forked child asks for it
            raise ConfigurationError("observers", "must be a list of callables")
        self._observers = tuple(observers)
        if not all(map(callable, self._observers)):
            raise ConfigurationError("observers", "must be callables that take an event")
        self._told = False
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

    def refusal(self, error: RefusedError) -> None:
        """A request was refused, or had no credentials at all."""
        if isinstance(error, MissingTokenError) and error.absent:
            self.without_credentials += 1
            if self._observers:
                self._hand_out(WithoutCredentials())
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
