"""What the observers measure: from events and counts to named numbers, the same for every library.

No label holds anything of a request or a user, nor an address: each takes one of a few words that stand here, and what
is none of them is ``other``. However odd the traffic, the number of time series stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

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
    OutageAnswer,
    OutageBegan,
    OutageEnded,
    Refused,
    Stats,
    Unavailable,
    WithoutCredentials,
)

__all__ = [
    "IN_STATS",
    "LOADS",
    "OF_EVENTS",
    "OF_STATS",
    "OTHER",
    "REQUESTS",
    "Measure",
    "Sample",
    "measured",
    "standing",
]

OTHER: Final = "other"
"""The label of what has no word here."""

_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

_REFUSALS: Final = (
    "algorithm", "audience", "claims", "duplicate", "expired", "header", "id_token", "inactive", "inactive_token",
    "issuer", "key", "lifetime", "malformed", "not_yet_valid", "origin", "oversized", "revoked", "scheme", "session",
    "signature", "subject", "typ", "unknown",
)  # fmt: skip
_OUTAGES: Final = (
    "Redis_refused_a_command", "closed", "deadline", "internal", "introspection", "is_active_or_user_type", "keys",
    "loader", "redis", "the_loader_failed_a_moment_ago", "the_revocations_are_unreadable",
    "too_many_ask_Redis_at_once", "too_many_ask_the_database",
)  # fmt: skip
_LINK_FAULTS: Final = ("ConnectionError", "TimeoutError", "ReadOnlyError", "no_answer", "primaries_changed")


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One number that is kept. A histogram's count is a count of its events, which so needs no measure of its own."""

    name: str
    """Words joined by dots, from the whole to the part."""
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    """In UCUM: ``s`` for seconds, or what is counted, in braces."""
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each label with its words, besides ``other``."""
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets."""


class Sample(NamedTuple):
    """An amount to be added, observed or shown: as the measure's kind is."""

    measure: Measure
    amount: float
    labels: tuple[str, ...]
    """In the order of ``measure.labels``."""


REQUESTS: Final = Measure(
    "requests",
    "counter",
    "{request}",
    "Requests with a good token, by who knew the user: this process's memory, Redis, or neither, so that he was loaded",
    {"source": ("memory", "redis", "load")},
)
_REFUSED: Final = Measure(
    "requests.refused",
    "counter",
    "{request}",
    "Requests refused for the credentials that they had",
    {"status": ("400", "401"), "reason": _REFUSALS},
)
_WITHOUT: Final = Measure(
    "requests.without_credentials",
    "counter",
    "{request}",
    "Requests without any credentials: answered with 401, or let in where that is allowed",
)
_UNAVAILABLE: Final = Measure(
    "requests.unavailable", "counter", "{request}", "Requests answered with 503", {"reason": _OUTAGES}
)
_OUTAGE_ANSWERS: Final = Measure(
    "requests.during_outage",
    "counter",
    "{request}",
    "Requests answered without Redis while it was gone: from the database, or from stale memory",
    {"source": ("load", "memory")},
)
LOADS: Final = Measure(
    "load.duration",
    "histogram",
    "s",
    "How long calls of the loader took",
    {"cause": ("miss", "refresh", "outage"), "outcome": ("found", "unknown", "failed")},
    _SHORT,
)
_FILLS_REFUSED: Final = Measure(
    "fills.refused",
    "counter",
    "{fill}",
    "Loaded users who were not stored: invalidated meanwhile, or after their lease had ended",
    {"cause": ("miss", "refresh"), "reason": ("invalidated", "lease_ended")},
)
_INVALIDATIONS: Final = Measure(
    "invalidations",
    "counter",
    "{call}",
    "Calls that begin or end a user's access, or renew what is known of him, confirmed by Redis",
    {"by": ("invalidate", "login", "logout", "logout_session", "revoke_user")},
)
_OUTAGES_BEGUN: Final = Measure("outages", "counter", "{outage}", "How often Redis was found to be gone")
_OUTAGES_ENDED: Final = Measure(
    "outage.duration", "histogram", "s", "How long Redis was gone, of outages that are over", bounds=_LONG
)
_LINKS_LOST: Final = Measure(
    "links.lost",
    "counter",
    "{link}",
    "How often a link to a primary was lost, so that memory was not trusted",
    {"reason": _LINK_FAULTS},
)
_LINKS_UP: Final = Measure(
    "link.lag", "histogram", "s", "How long the first answer took on each link that came up", bounds=_SHORT
)
_KEYS_FETCHED: Final = Measure(
    "keys.fetch.duration",
    "histogram",
    "s",
    "How long requests to identity providers for their keys took",
    {"outcome": ("changed", "same", "failed")},
    _SHORT,
)
_INTROSPECTED: Final = Measure(
    "introspection.duration",
    "histogram",
    "s",
    "How long requests to identity providers about opaque tokens took",
    {"outcome": ("active", "refused", "failed")},
    _SHORT,
)
_MEMORY_ENTRIES: Final = Measure("memory.entries", "gauge", "{user}", "Users in memory")
_TOKEN_ENTRIES: Final = Measure("token.entries", "gauge", "{token}", "Verified tokens in memory")
_TRUSTED: Final = Measure("memory.trusted", "gauge", "{face}", "Faces of this process whose memory may answer")
_MAY_EVICT: Final = Measure(
    "redis.may_evict", "gauge", "{face}", "Faces of this process whose Redis may forget revocations, for lack of memory"
)

OF_EVENTS: Final = (
    REQUESTS, _REFUSED, _WITHOUT, _UNAVAILABLE, _OUTAGE_ANSWERS, LOADS, _FILLS_REFUSED, _INVALIDATIONS,
    _OUTAGES_BEGUN, _OUTAGES_ENDED, _LINKS_LOST, _LINKS_UP, _KEYS_FETCHED, _INTROSPECTED,
)  # fmt: skip
"""What ``measured`` tells of."""

OF_STATS: Final = (REQUESTS, _MEMORY_ENTRIES, _TOKEN_ENTRIES, _TRUSTED, _MAY_EVICT)
"""What ``standing`` tells of. Requests stand in both: an observer takes them from one, or they would count twice."""

IN_STATS: Final = (Hit, Miss)
"""The events whose facts ``standing`` has: whoever calls it passes them over."""


def measured(event: Event) -> Sample | None:  # noqa: C901, PLR0912 - a table, one line for each event
    """What the event adds; ``None`` where that is nothing, or the event is not known here."""
    match event:
        case Hit(tier):
            return _sample(REQUESTS, 1, tier)
        case Miss():
            return _sample(REQUESTS, 1, "load")
        case Refused(status, reason):
            return _sample(_REFUSED, 1, str(status), reason)
        case WithoutCredentials():
            return _sample(_WITHOUT, 1)
        case Unavailable(reason):
            return _sample(_UNAVAILABLE, 1, reason)
        case OutageAnswer(source):
            return _sample(_OUTAGE_ANSWERS, 1, source)
        case Loaded(seconds, cause, outcome):
            return _sample(LOADS, seconds, cause, outcome)
        case FillRefused(cause, lease_ended):
            return _sample(_FILLS_REFUSED, 1, cause, "lease_ended" if lease_ended else "invalidated")
        case Invalidated(by):
            return _sample(_INVALIDATIONS, 1, by)
        case OutageBegan():
            return _sample(_OUTAGES_BEGUN, 1)
        case OutageEnded(seconds):
            return _sample(_OUTAGES_ENDED, seconds)
        case LinkDown(reason=reason):
            return _sample(_LINKS_LOST, 1, reason)
        case LinkUp(lag=lag):
            return _sample(_LINKS_UP, lag)
        case KeysFetched(seconds, outcome):
            return _sample(_KEYS_FETCHED, seconds, outcome)
        case Introspected(seconds, outcome):
            return _sample(_INTROSPECTED, seconds, outcome)
        case _:  # of a later version
            return None


def standing(all_stats: list[Stats]) -> Iterator[Sample]:
    """What the faces that share an observer have counted, and how things stand with them, together."""
    for source, count in (("memory", "memory_hits"), ("redis", "redis_hits"), ("load", "misses")):
        yield Sample(REQUESTS, sum(getattr(stats, count) for stats in all_stats), (source,))
    yield Sample(_MEMORY_ENTRIES, sum(stats.memory_entries for stats in all_stats), ())
    yield Sample(_TOKEN_ENTRIES, sum(stats.token_entries for stats in all_stats), ())
    yield Sample(_TRUSTED, sum(stats.memory_trusted for stats in all_stats), ())
    yield Sample(_MAY_EVICT, sum(stats.redis_may_evict is True for stats in all_stats), ())


def _sample(measure: Measure, amount: float, *words: str) -> Sample:
    labels = zip(words, measure.labels.values(), strict=True)
    return Sample(measure, amount, tuple(_bounded(word, known) for word, known in labels))


def _bounded(word: str, known: tuple[str, ...]) -> str:
    word = word.replace(" ", "_")
    return word if word in known else OTHER
