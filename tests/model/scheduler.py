"""Virtual time, and coroutines that run only when they are told to: every choice is made by one seeded generator.

A *place* stands for a process. It can be paused, while time goes on, and it can crash, with whatever it was doing.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class CrashedError(BaseException):
    """What is left of a crashed place has reached for the world: nothing happens any more."""


class Scheduler:
    """Events by time; those of one moment in any order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.current: Task | None = None
        self.trace: list[tuple[float, str, str]] = []
        self._events: list[tuple[float, float, int, Callable[[], None]]] = []
        self._made = 0

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._events, (max(when, self.now), self.chance.random(), self._made, event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.now + seconds, event)

    def run(self, *, steps: int | None = None, until: float | None = None) -> None:
        last = None if steps is None else self.steps + steps
        while self._events and (last is None or self.steps < last):
            if until is not None and self._events[0][0] > until:
                return
            when, _, _, event = heapq.heappop(self._events)
            self.now = when
            event()

    def tell(self, who: str, what: str) -> None:
        """A line of the trace, which is shown when something is found."""
        self.trace.append((self.now, who, what))

    def likely(self, share: float) -> bool:
        return self.chance.random() < share

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self.chance.random()


class Promise:
    """A value that will be there at some time, or not."""

    __slots__ = ("callbacks", "done", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.callbacks: list[Callable[[], None]] = []

    def put(self, value: Any = None) -> None:
        if self.done:
            return
        self.done, self.value = True, value
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class _Wait:
    __slots__ = ("promise", "timeout")

    def __init__(self, promise: Promise, timeout: float | None) -> None:
        self.promise = promise
        self.timeout = timeout

    def __await__(self):
        if not (yield self):
            raise TimeoutError
        return self.promise.value


class Place:
    """A process: its tasks, its clocks, and whether it runs."""

    def __init__(self, scheduler: Scheduler, name: str, *, skew: float = 0.0, uptime: float = 0.0) -> None:
        self.scheduler = scheduler
        self.name = name
        self.alive = True
        self.paused = False
        self.held = 0
        self.tasks: dict[Task, None] = {}
        self.clock = SimClock(scheduler, skew, uptime)
        self._backlog: list[Callable[[], None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None] = lambda: None) -> Task:
        return Task(self, coroutine, ended)

    async def wait(self, promise: Promise, timeout: float | None = None) -> Any:
        self.check()
        if promise.done and not self.scheduler.likely(0.1):
            return promise.value
        return await _Wait(promise, timeout)

    async def sleep(self, seconds: float) -> None:
        self.check()
        try:
            await _Wait(Promise(), seconds)
        except TimeoutError:
            self.check()

    def check(self) -> None:
        if not self.alive:
            raise CrashedError

    def run(self, step: Callable[[], None]) -> None:
        """Now, or when the place goes on."""
        if not self.alive:
            return
        if self.paused:
            self._backlog.append(step)
        else:
            step()

    def resume(self) -> None:
        self.paused = False
        backlog, self._backlog = self._backlog, []
        for step in backlog:
            self.scheduler.after(0.0, lambda step=step: self.run(step))

    def crash(self) -> None:
        """Everything it was doing is gone. What runs in ``finally`` reaches nothing but its own dead memory."""
        self.alive = False
        for task in list(self.tasks):
            task.drop()


class Task:
    """A coroutine in a place."""

    def __init__(self, place: Place, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        self.place = place
        self.finished = Promise()
        self.deleted_at = 0
        """When the last DEL that was answered to this task was executed."""
        self._coroutine = coroutine
        self._ended = ended
        self._turn = 0
        self._is_woken = False
        self._outcome: bool | BaseException | None = None
        place.tasks[self] = None
        self._wake(0, None)

    def cancel(self) -> None:
        if self._is_woken:
            self._outcome = asyncio.CancelledError()  # it takes the place of what it was woken with
        else:
            self._wake(self._turn, asyncio.CancelledError())

    def drop(self) -> None:
        self.place.tasks.pop(self, None)
        self._turn = -1
        with suppress(CrashedError):
            self._coroutine.close()

    def _wake(self, turn: int, outcome: bool | BaseException | None) -> None:
        if turn != self._turn:
            return  # it has been woken before
        self._turn += 1
        self._is_woken = True
        self._outcome = outcome
        scheduler = self.place.scheduler
        luck = scheduler.chance.random()
        delay = 0.0 if luck < 0.8 else 0.003 * scheduler.chance.random() if luck < 0.995 else scheduler.between(0, 0.3)
        scheduler.after(delay, lambda: self.place.run(self._step))

    def _step(self) -> None:
        if self not in self.place.tasks:
            return
        scheduler, outcome = self.place.scheduler, self._outcome
        scheduler.steps += 1
        self._is_woken = False
        before, scheduler.current = scheduler.current, self
        try:
            wait = (
                self._coroutine.throw(outcome) if isinstance(outcome, BaseException) else self._coroutine.send(outcome)
            )
        except (StopIteration, asyncio.CancelledError, CrashedError):
            self.place.tasks.pop(self, None)
            self._turn = -1
            self._ended()
            self.finished.put()
            return
        finally:
            scheduler.current = before
        assert self.place.held == 0, "something waits inside a mutex"
        turn = self._turn
        if wait.promise.done:
            self._wake(turn, True)
            return
        wait.promise.callbacks.append(lambda: self._wake(turn, True))
        if wait.timeout is not None:
            scheduler.after(wait.timeout, lambda: self._wake(turn, False))


class SimClock:
    """A place's clocks: neither stands still while the place is paused."""

    def __init__(self, scheduler: Scheduler, skew: float, uptime: float) -> None:
        self._scheduler = scheduler
        self._skew = 1_700_000_000.0 + skew
        self._uptime = uptime

    def wall(self) -> float:
        return self._skew + self._scheduler.now

    def monotonic(self) -> float:
        return self._uptime + self._scheduler.now
