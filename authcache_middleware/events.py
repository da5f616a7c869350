"""What happened: counts, and for whoever wants to know more a frozen event for each fact.

No event holds a token, a key, a subject or the value of a claim. Counts are of one face in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

__all__ = [
    "Event",
    "FillRefused",
    "Hit",
    "Introspected",
    "Invalidated",
    "InvalidatedBy",
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
    "Stats",
    "Unavailable",
    "WatchingObserver",
    "WithoutCredentials",
]

InvalidatedBy: TypeAlias = Literal["invalidate", "login", "logout", "logout_session", "revoke_user"]
"""The call that did it."""


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
    """A call that begins or ends a user's access, or renews what is known of him, was confirmed by Redis."""

    by: InvalidatedBy


@dataclass(frozen=True, slots=True)
class KeysFetched:
    """A provider was asked for its keys."""

    seconds: float
    outcome: Literal["changed", "same", "failed"]
    skipped: int
    """How many keys of the answer were broken, and left out."""


@dataclass(frozen=True, slots=True)
class Introspected:
    """A provider was asked about an opaque token."""

    seconds: float
    outcome: Literal["active", "refused", "failed"]
    """``refused``: it is not active, or the rules speak against what the answer says of it."""


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
    | Introspected
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
    """Calls that begin or end a user's access, or renew what is known of him, which Redis has confirmed."""
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
    introspections: int = 0
    """Requests to providers about opaque tokens, failed ones included."""
    failed_introspections: int = 0
    """Those that brought no answer that can be used."""
    refused: int = 0
    """Requests that ``recall`` or ``authenticate`` refused with 400 or 401, for the credentials that they had. A 403 is
    the application's and not counted."""
    without_credentials: int = 0
    """Requests without any credentials: answered with 401, or let in by a middleware that is ``optional``."""
    unavailable: int = 0
    """Requests that ``recall`` or ``authenticate`` had no answer for: 503."""
    activity_writes: int = 0
    """Users whose last activity was written to Redis, each time that it was."""
    activity_failures: int = 0
    """Writes of it, of many users at once, that Redis or the queue did not take: they are tried again."""
    activity_dropped: int = 0
    """Users who were seen and not noted, since as many as may be were waiting to be written."""
    events_lost: int = 0
    """Events that could not be written to the event stream."""

    memory_entries: int = 0
    """Users in memory now."""
    token_entries: int = 0
    """Verified tokens in memory now."""
    memory_trusted: bool = False
    """Whether memory may answer now."""
    redis_may_evict: bool | None = None
    """Whether the server's ``maxmemory-policy`` lets it forget revocations; ``None`` where it did not say."""
