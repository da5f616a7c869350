"""How many invalidations a scale of use sends to each process and each Redis primary, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, expm1, inf

# CPU seconds. Measured on a shared machine of 2 cores with CPython 3.11, redis-py 8.1, Redis 7.0 and Valkey 9.1, all on
# the loopback interface; they vary with the machine, and `pushes.py --real` measures them on this one.
SET_IN_BURST = 13e-6  # the server, a SET that nobody listens to, 8 at a time
SET_ALONE = 70e-6  # the same, one at a time (Valkey; Redis 105)
PUSH_IN_BURST = (
    1.3e-6  # the server, per pushed key and listener: 8 SETs at a time, (160 to 192 - 13) us / 128 listeners
)
PUSH_ALONE = 4.9e-6  # the same, one SET at a time: (732 - 105) us / 128 listeners (Redis; Valkey 4.6)
TRACKED_READ = 1.15e-6  # the server, in excess for a key read under per-key tracking (1.0 to 1.3)
HEARD_IN_BURST = 25e-6  # an asyncio process, per push: 20,000 a second take half a core
HEARD_ALONE = 198e-6  # the same when it has to wake up for each (a thread: 119)

WRITES_OF_A_MISS = 2  # the lease, then the record
_MANY = 50.0  # e to the power of it is longer than anything here
END_OF_A_RECORD = 1  # its expiry, or the DEL of an invalidation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A service in use. Rates of one user are per ``ttl``; durations are seconds.

    ``users``: those whose requests come at random, ``requests`` of them in a ``ttl`` each. ``spread``: over how many of
    the processes the requests of one user go (None: all, as behind a balancer that does not look). ``entries``: of one
    process's memory.
    """

    users: int
    processes: int
    primaries: int = 1
    requests: float = 100.0
    spread: int | None = None
    invalidations: float = 0.0
    ttl: float = 3600.0
    entries: int = 100_000
    memory_ttl: float = 60.0

    @property
    def reach(self) -> int:
        """The processes that one user's requests go to."""
        return self.processes if self.spread is None else min(self.spread, self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happens in a second in the whole of a service.

    ``broadcast`` counts what **each** process hears, ``per_key`` what **all** processes hear together. ``tracked`` is
    how many records there are, and how many keys the tables of all primaries hold, at most; ``kept``: the entries of
    one process's memory, among them what has ended and need not go yet. ``overtaken``: the answers from memory that an
    invalidation would have changed, for each second that it takes to be heard.
    """

    requests: float
    reads: float
    misses: float
    broadcast: float
    per_key: float
    tracked: float
    kept: float
    overtaken: float

    @property
    def answered_by_memory(self) -> float:
        """The share of the requests that do not ask Redis."""
        return 1 - self.reads / self.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cores: of one primary's and of one process's, for pushes alone; the lower price of a push and the higher."""

    primary: tuple[float, float]
    process: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _User:
    """A user's record: loaded at a miss, it lives ``life`` seconds, and is missing from then until he asks again."""

    count: float
    here: float  # requests per second at each of the processes that he reaches
    life: float
    loads: float  # per second
    touched: float  # the share of the processes he reaches that read a record before it ends

    @property
    def present(self) -> float:
        return self.loads * self.life

    def stays(self, turn: float, most: float) -> float:
        """How long an entry answers, if the hand of the memory comes by every ``turn`` seconds: ``most`` at most.

        The hand (CLOCK) takes an entry that was not asked for since it last came by.
        """
        if turn >= most:
            return most
        spared = -expm1(-self.here * turn)
        whole = int(most / turn)
        here = turn * (1 - spared**whole) / (1 - spared) if spared < 1 else most
        return min(most, here + (most - whole * turn) * spared**whole)

    def occupies(self, turn: float) -> float:
        """The share of the time in which it has a place in one memory, where what has ended stays until it must go."""
        longest = min(self.life, turn * exp(min(_MANY, self.here * turn)))
        return self.present * self.here * longest / (1 + self.here * longest)

    def reads(self, kept: float) -> float:
        """How often one process reads one record."""
        return max(self.touched, self.here * self.life / (1 + self.here * kept))


def rates(scale: Scale, weights: Sequence[float] = (1.0,), counts: Sequence[float] | None = None) -> Rates:
    """What ``scale`` comes to.

    ``weights``: how active a user of each part is, against each other; ``counts``: how many of the users are in each
    part, against each other (alike, if nobody says).
    """
    users = _users(scale, weights, counts or [1.0] * len(weights))
    turn, ends = _turn(scale, users), scale.invalidations / scale.ttl
    misses = sum(user.count * user.loads for user in users)
    stays = [user.stays(turn, scale.memory_ttl) for user in users]
    return Rates(
        requests=scale.users * scale.requests / scale.ttl,
        reads=misses
        + sum(
            user.count * user.loads * scale.reach * user.reads(kept) for user, kept in zip(users, stays, strict=True)
        ),
        misses=misses,
        broadcast=misses * (WRITES_OF_A_MISS + END_OF_A_RECORD),
        per_key=sum(user.count * user.loads * scale.reach * user.touched for user in users),
        tracked=sum(user.count * user.present for user in users),
        kept=sum(user.count * user.occupies(turn) for user in users) * scale.reach / scale.processes,
        overtaken=sum(
            user.count * ends * scale.reach * user.present * user.here * kept / (1 + user.here * kept) * user.here
            for user, kept in zip(users, stays, strict=True)
        ),
    )


def cost_of_broadcast(scale: Scale, pushes: float) -> Cost:
    """``pushes``: the keys pushed in a second, each of them to every process."""
    sent = pushes * scale.processes / scale.primaries
    return Cost(
        primary=(sent * PUSH_IN_BURST, sent * PUSH_ALONE), process=(pushes * HEARD_IN_BURST, pushes * HEARD_ALONE)
    )


def cost_per_key(scale: Scale, per_second: Rates) -> Cost:
    """Each push is a message of its own, so the server's lower price is not to be had; the reads cost more as well."""
    sent = (per_second.per_key * PUSH_ALONE + per_second.reads * TRACKED_READ) / scale.primaries
    heard = per_second.per_key / scale.processes
    return Cost(primary=(sent, sent), process=(heard * HEARD_IN_BURST, heard * HEARD_ALONE))


def most_users(processes: int, *, of_primary: float, of_process: float, ttl: float = 3600.0) -> tuple[float, float]:
    """How many users may be active in a ``ttl`` before broadcast takes these shares of a core, with one primary.

    Each of them is loaded once. The first figure is for pushes that come one by one, the second for pushes in bursts.
    """
    loads = 1 / (WRITES_OF_A_MISS + END_OF_A_RECORD)
    alone = min(of_primary / (processes * PUSH_ALONE), of_process / HEARD_ALONE)
    in_bursts = min(of_primary / (processes * PUSH_IN_BURST), of_process / HEARD_IN_BURST)
    return alone * loads * ttl, in_bursts * loads * ttl


def _users(scale: Scale, weights: Sequence[float], counts: Sequence[float]) -> list[_User]:
    ends = scale.invalidations / scale.ttl
    life = -expm1(-ends * scale.ttl) / ends if ends else scale.ttl
    users = []
    everybody = sum(counts)
    every_request = sum(weight * count for weight, count in zip(weights, counts, strict=True))
    for weight, count in zip(weights, counts, strict=True):
        asks = scale.requests / scale.ttl * weight * everybody / every_request
        here = asks / scale.reach
        touched = here / (here + ends) * (1 - exp(-(here + ends) * scale.ttl))
        users.append(_User(scale.users * count / everybody, here, life, 1 / (life + 1 / asks), touched))
    return users


def _turn(scale: Scale, users: list[_User]) -> float:
    """How long the hand of one process's memory takes to come round; for ever where there is room for everybody."""

    def held(turn: float) -> float:
        return sum(user.count * user.occupies(turn) for user in users) * scale.reach / scale.processes

    low, high = 0.0, 2 * scale.ttl
    if held(high) <= scale.entries:
        return inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if held(middle) <= scale.entries else (low, middle)
    return low
