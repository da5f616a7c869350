"""The formula's witness: every request, load, expiry and invalidation of a small service, one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate, count
from random import Random

from pushes_formula import Rates, Scale

LOADING = 0.05  # seconds that a load takes
TTLS = 3  # how long is counted, after one ttl in which memories fill


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
    seconds = TTLS * scale.ttl
    seen = service.seen
    return Simulated(
        Rates(
            requests=seen["request"] / seconds,
            reads=seen["read"] / seconds,
            misses=seen["miss"] / seconds,
            broadcast=sum(service.pushed.values()) / seconds,
            per_key=sum(service.heard.values()) / seconds,
            tracked=len(service.readers),
        ),
        busiest_primary=max(service.pushed.values()) * scale.primaries / sum(service.pushed.values()),
    )


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
    memories: list[dict[int, float]] = field(default_factory=list)  # user -> until when
    due: list[tuple[float, int, str, int]] = field(default_factory=list)  # when, number, what, user
    seen: Counter[str] = field(default_factory=Counter)
    pushed: Counter[int] = field(default_factory=Counter)  # by primary, keys
    heard: Counter[int] = field(default_factory=Counter)  # by process, with per-key tracking

    def begin(self, weights: list[float]) -> None:
        """In the middle of things: records of all ages, so that they do not end all at once."""
        self.memories = [{} for _ in range(self.scale.processes)]
        for user, weight in enumerate(weights):
            asked = self.scale.requests * weight * len(weights) / sum(weights)
            if self.random.random() < asked / (1 + asked):
                self._put(user, "expire", self.random.uniform(0, self.scale.ttl))
            if self.scale.invalidations:
                self._invalidate_later(user)

    def forget_counts(self) -> None:
        self.seen, self.pushed, self.heard = Counter(), Counter(), Counter()

    def run(self, until: float, weights: list[float]) -> None:
        users, cumulated = range(len(weights)), list(accumulate(weights))
        rate = self.scale.users * self.scale.requests / self.scale.ttl
        while self.now < until:
            following = self.now + self.random.expovariate(rate)
            while self.due and self.due[0][0] <= following:
                self.now, number, what, user = heappop(self.due)
                self._come_due(number, what, user)
            self.now = following
            (user,) = self.random.choices(users, cum_weights=cumulated)
            self._request(user, (user + self.random.randrange(self.scale.reach)) % self.scale.processes)

    def _come_due(self, number: int, what: str, user: int) -> None:
        if what == "invalidate":
            self._end(user)
            self._invalidate_later(user)
        elif self.values.get(user) == number:  # nothing has replaced it meanwhile
            if what == "expire":
                self._end(user)
            else:
                self._fill(user)

    def _request(self, user: int, process: int) -> None:
        self.seen["request"] += 1
        if self.memories[process].get(user, 0.0) <= self.now and self.holders.get(user) != process:
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
        memory = self.memories[process]
        memory.pop(user, None)
        if len(memory) >= self.scale.entries:
            del memory[next(iter(memory))]
        memory[user] = self.now + self.scale.memory_ttl

    def _fill(self, user: int) -> None:
        self._write(user, "expire", self.scale.ttl, writer=self.holders.pop(user))
        self._wake(user)

    def _end(self, user: int) -> None:
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
                self.memories[process].pop(user, None)

    def _invalidate_later(self, user: int) -> None:
        after = self.random.expovariate(self.scale.invalidations / self.scale.ttl)
        heappush(self.due, (self.now + after, next(self.numbers), "invalidate", user))
