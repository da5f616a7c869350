"""What the formula of pushes says of a large service whose users are not alike: commands, loads, room, staleness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from pushes_formula import (
    HEARD_IN_BURST,
    PUSH_IN_BURST,
    Rates,
    Scale,
    rates,
)

__all__ = ["COMMANDS_OF_A_MISS", "RECORD_BYTES", "Popularity", "Predicted", "commands", "predicted", "zipf_parts"]

COMMANDS_OF_A_MISS = 3  # beside its GET: a script that claims, HGETALL of what was revoked, a script that fills
RECORD_BYTES = 304.0  # of the server, for the record of 8 fields (MEMORY USAGE); ``model.py`` measures it again
READY_BYTES, PACKED_BYTES = 1433.0, 430.0  # of a process, for a user of 8 fields; ``scale.py`` measures them
READY = 10_000  # the users who are asked for most answer at once, the others are packed
PINGS = 4.0  # of a link, in each ``max_staleness``
LAG = 0.0001  # seconds from the server's reply to the writer until an idle process has heard
_ALONE, _GROWTH = 1000, 1.02  # the first users are a part each; further parts grow

Popularity = tuple[list[float], list[float]]
"""How active a user of each part is, and how many users are in it."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A service in a second; bytes and shares are no rates."""

    ttl: float
    entries: int
    processes: int
    primaries: int
    requests: float
    from_memory: float
    """The share of the requests. It is 0 where there are more pushes than a primary can send or a process can hear."""
    loads: float
    commands: float
    commands_of_primary: float
    pings_of_primary: float
    pushes_heard: float
    """By each process."""
    pushes_sent: float
    """By each primary, to all processes together."""
    process_core: float
    """The share of a core that hearing takes, where pushes come in bursts."""
    primary_core: float
    redis_bytes: float
    """Of each primary, for records."""
    process_bytes: float
    """Of each process, for users in memory."""
    lag_ms: float
    """From an invalidation until a process has heard of it, in the mean: the way, and what comes before it."""
    overtaken: float
    """Answers from memory that an invalidation on its way would have changed."""


def zipf_parts(users: int, exponent: float) -> Popularity:
    """Zipf: the user in place n asks in proportion to 1 / n ** exponent. Parts of about the same activity."""
    weights, counts = [], []
    first = 1
    while first <= users:
        size = 1 if first < _ALONE else min(users - first + 1, int(first * (_GROWTH - 1)) or 1)
        weights.append((first + (size - 1) / 2) ** -exponent)
        counts.append(float(size))
        first += size
    return weights, counts


def predicted(scale: Scale, popularity: Popularity, *, max_staleness: float = 1.0) -> Predicted:
    """Of the service with broadcast; ``max_staleness=0`` is without memory."""
    found = rates(scale, *popularity)
    hearing = found.broadcast * HEARD_IN_BURST
    sending = found.broadcast * scale.processes / scale.primaries * PUSH_IN_BURST
    remembers = max_staleness > 0 and max(hearing, sending) < 1
    if not remembers:
        found = replace(found, reads=found.requests, kept=0.0, overtaken=0.0)
    links = scale.processes if max_staleness > 0 else 0  # to each primary
    pings = links * PINGS / max_staleness if links else 0.0
    heard = found.broadcast if links else 0.0
    lag = LAG + _queue(hearing) if remembers else 0.0
    every = commands(found, scale)
    sent = heard * scale.processes / scale.primaries
    return Predicted(
        ttl=scale.ttl,
        entries=scale.entries,
        processes=scale.processes,
        primaries=scale.primaries,
        requests=found.requests,
        from_memory=found.answered_by_memory if remembers else 0.0,
        loads=found.misses,
        commands=every,
        commands_of_primary=every / scale.primaries + pings,
        pings_of_primary=pings,
        pushes_heard=heard,
        pushes_sent=sent,
        process_core=heard * HEARD_IN_BURST,
        primary_core=sent * PUSH_IN_BURST,
        redis_bytes=found.tracked * RECORD_BYTES / scale.primaries,
        process_bytes=min(found.kept, READY) * READY_BYTES + max(0.0, found.kept - READY) * PACKED_BYTES,
        lag_ms=lag * 1000,
        overtaken=found.overtaken * lag,
    )


def commands(found: Rates, scale: Scale) -> float:
    """That requests and invalidations send in a second; a GET counts as one where several go in one MGET, too."""
    return found.reads + COMMANDS_OF_A_MISS * found.misses + scale.users * scale.invalidations / scale.ttl


def _queue(hearing: float) -> float:
    """The mean wait behind pushes that came before (M/D/1)."""
    return HEARD_IN_BURST * hearing / (2 * (1 - hearing)) if hearing < 1 else inf
