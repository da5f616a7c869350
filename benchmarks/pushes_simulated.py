"""The formula's witness: every request, load, expiry and invalidation of a small service, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate, count
from random import Random

from pushes_formula import Rates, Scale

from authcache_middleware.bounded import BoundedMap, Kept

LOADING = 0.02  # seconds that a load takes
TTLS = 3  # how long is counted, after one ttl in which memories fill


@dataclass(frozen=True, slots=True)
class Event:
    """A request to one of the processes, or a change of the user, which is invalidated, where there is none."""

    when: float
    user: int
    process: int | None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was counted, per second; and the share of the busiest primary in the pushed keys, over the mean share."""

    rates: Rates
    busiest_primary: float


def zipf(users: int, exponent: float = 1.0) -> list[float]:
    """How active users are if the second asks half as often as the first, the third a third as often, and so on."""
    return [1 / place**exponent for place in range(1, users + 1)]


def simulate(scale: Scale, weights: list[float], seed: int) -> Simulated:
    """``weights`` has one number for each user."""
    service = _Service(scale, Random(seed))
    service.begin(weights)
    service.run(scale.ttl, weights)
    service.forget_counts()
    service.run((1 + TTLS) * scale.ttl, weights)
    return service.counted(TTLS * scale.ttl)


def replay(scale: Scale, events: Sequence[Event], *, count_from: float) -> Simulated:
    """What those events come to from a moment on, in a service that began with nothing at second 0."""
    service = _Service(scale, Random(0))
    for event in events:
        if not service.counts and event.when >= count_from:
            service.come_to(count_from)
            service.forget_counts()
            service.counts = True
        service.come_to(event.when)
        if event.process is None:
            service.end(event.user)
        else:
            service.request(event.user, event.process)
    return service.counted(events[-1].when - count_from)


class _Remembered(Kept):
    """A user in the memory of one process."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


@dataclass(slots=True)
class _Service:
    """Redis and the processes. A key is missing, or holds the lease of a process, or a record."""

    scale: Scale
    random: Random
    now: float = 0.0
    numbers: count[int] = field(default_factory=count)  # one for each value ever written: an old one's expiry is void
    values: dict[int, int] = field(default_factory=dict)
    holders: dict[int, int] = field(default_factory=dict)  # user -> the process whose lease stands there
    waiting: dict[int, set[int]] = field(default_factory=dict)
    readers: dict[int, set[int]] = field(default_factory=dict)  # the tracking table
    memories: list[BoundedMap[int, _Remembered]] = field(init=False)
    due: list[tuple[float, int, str, int]] = field(default_factory=list)  # when, number, what, user
    seen: Counter[str] = field(default_factory=Counter)
    pushed: Counter[int] = field(default_factory=Counter)  # by primary, keys
    heard: Counter[int] = field(default_factory=Counter)  # by process, with per-key tracking

    counts: bool = False

    def __post_init__(self) -> None:
        self.memories = [BoundedMap(self.scale.entries) for _ in range(self.scale.processes)]

    def begin(self, weights: list[float]) -> None:
        """In the middle of things: records of all ages, so that they do not end all at once."""
        for user, weight in enumerate(weights):
            asked = self.scale.requests * weight * len(weights) / sum(weights)
            if self.random.random() < asked / (1 + asked):
                self._put(user, "expire", self.random.uniform(0, self.scale.ttl))
            if self.scale.invalidations:
                self._invalidate_later(user)

    def counted(self, seconds: float) -> Simulated:
        """What was counted in so many seconds."""
        pushes = sum(self.pushed.values())
        rates = Rates(
            requests=self.seen["request"] / seconds,
            reads=self.seen["read"] / seconds,
            misses=self.seen["miss"] / seconds,
            broadcast=pushes / seconds,
            per_key=sum(self.heard.values()) / seconds,
            tracked=len(self.values),
            kept=sum(map(len, self.memories)) / self.scale.processes,
            overtaken=0.0,
        )
        return Simulated(rates, max(self.pushed.values()) * self.scale.primaries / pushes)

    def forget_counts(self) -> None:
        self.seen, self.pushed, self.heard = Counter(), Counter(), Counter()

    def run(self, until: float, weights: list[float]) -> None:
        users, cumulated = range(len(weights)), list(accumulate(weights))
        rate = self.scale.users * self.scale.requests / self.scale.ttl
        while self.now < until:
            following = self.now + self.random.expovariate(rate)
            self.come_to(following)
            (user,) = self.random.choices(users, cum_weights=cumulated)
            self.request(user, (user + self.random.randrange(self.scale.reach)) % self.scale.processes)

    def come_to(self, moment: float) -> None:
        """Whatever is due by then happens."""
        while self.due and self.due[0][0] <= moment:
            self.now, number, what, user = heappop(self.due)
            self._come_due(number, what, user)
        self.now = moment

    def _come_due(self, number: int, what: str, user: int) -> None:
        if what == "invalidate":
            self.end(user)
            self._invalidate_later(user)
        elif self.values.get(user) == number:  # nothing has replaced it meanwhile
            if what == "expire":
                self.end(user)
            else:
                self._fill(user)

    def request(self, user: int, process: int) -> None:
        self.seen["request"] += 1
        entry = self.memories[process].get(user)
        if (entry is None or entry.until <= self.now) and self.holders.get(user) != process:
            self._read(user, process)

    def _read(self, user: int, process: int) -> None:
        self.seen["read"] += 1
        self.readers.setdefault(user, set()).add(process)
        if user not in self.values:
            self.seen["miss"] += 1
            self._write(user, "fill", LOADING, writer=process)
            self.holders[user] = process
        elif user in self.holders:
            self.waiting.setdefault(user, set()).add(process)
        else:
            self._remember(user, process)

    def _remember(self, user: int, process: int) -> None:
        self.memories[process].put(user, _Remembered(self.now + self.scale.memory_ttl))

    def _fill(self, user: int) -> None:
        self._write(user, "expire", self.scale.ttl, writer=self.holders.pop(user))
        self._wake(user)

    def end(self, user: int) -> None:
        """What stands there goes: a record, or a lease, whose holder starts again."""
        if self.values.pop(user, None) is None:
            return  # nobody hears of a DEL of what is not there
        self._push(user, writer=None)
        holder = self.holders.pop(user, None)
        if holder is not None:
            self._read(user, holder)
            self._wake(user)

    def _wake(self, user: int) -> None:
        for process in self.waiting.pop(user, ()):
            self._read(user, process)

    def _write(self, user: int, then: str, after: float, *, writer: int) -> None:
        self._put(user, then, after)
        self._push(user, writer=writer)

    def _put(self, user: int, then: str, after: float) -> None:
        self.values[user] = next(self.numbers)
        heappush(self.due, (self.now + after, self.values[user], then, user))

    def _push(self, user: int, *, writer: int | None) -> None:
        """Broadcast: to all. Per key: to those who have read it since its last push, but not to who wrote it."""
        self.pushed[user % self.scale.primaries] += 1
        for process in self.readers.pop(user, ()):
            if process != writer:
                self.heard[process] += 1
                self.memories[process].pop(user)

    def _invalidate_later(self, user: int) -> None:
        after = self.random.expovariate(self.scale.invalidations / self.scale.ttl)
        heappush(self.due, (self.now + after, next(self.numbers), "invalidate", user))
