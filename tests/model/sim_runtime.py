"""The ``Runtime`` port over the scheduler, in the three kinds that there are: awaited, with threads, blocking."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from scheduler import Place, Promise, Task

Kind = Literal["awaited", "threaded", "blocking"]


class SimRuntime:
    """``awaited`` cuts off a load that is late, ``threaded`` leaves it running, ``blocking`` waits for it."""

    def __init__(self, place: Place, kind: Kind) -> None:
        self._place = place
        self._kind = kind
        self._started: dict[Task, None] = {}
        self._background: list[_Background] = []

    def mutex(self) -> Any:
        return _Mutex(self._place)

    def cell(self) -> Any:
        return _Cell(self._place)

    def work(self, function: Callable[..., Any], *, places: int, timeout: float) -> Any:
        return _Work(self._place, self._kind, function, places, timeout)

    async def start(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        if self._kind == "blocking":
            try:
                await coroutine
            finally:
                ended()
            return
        self._place.check()
        task = self._place.spawn(coroutine, lambda: (self._started.pop(task, None), ended()))
        self._started[task] = None

    def background(self, work: Callable[[Any], Coroutine[Any, Any, None]], name: str) -> Any:
        self._place.check()
        started = _Background(self._place, work, cancels=self._kind != "blocking")
        self._background.append(started)
        return started

    async def sleep(self, seconds: float) -> None:
        await self._place.sleep(seconds)

    def place(self) -> object:
        return self._place

    def is_over(self) -> bool:
        return not self._place.alive

    async def aclose(self) -> None:
        while self._started or self._background:
            for started in self._background:
                started.stop()
            for task in [*self._started, *(started.task for started in self._background)]:
                await self._place.wait(task.finished)
            self._background = [started for started in self._background if not started.task.finished.done]


class _Mutex:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._is_held = False

    def __enter__(self) -> None:
        assert not self._is_held, "a mutex is taken twice: a real one would hang"
        self._is_held = True
        self._place.held += 1

    def __exit__(self, *_exc: object) -> None:
        self._is_held = False
        self._place.held -= 1


class _Cell:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._promise = Promise()

    def put(self, value: Any) -> None:
        self._promise.put(value)

    async def wait(self, timeout: float) -> Any:
        return await self._place.wait(self._promise, timeout)


class _Work:
    def __init__(self, place: Place, kind: Kind, function: Callable[..., Any], places: int, timeout: float) -> None:
        self._place = place
        self._kind = kind
        self._function = function
        self._free = places
        self._timeout = timeout
        self._queue: deque[Promise] = deque()

    async def enter(self, timeout: float) -> None:
        if self._free:
            self._free -= 1
            return
        turn = Promise()
        self._queue.append(turn)
        try:
            await self._place.wait(turn, timeout)
        except BaseException:
            if turn.done:
                self.leave()
            else:
                self._queue.remove(turn)
            raise

    async def call(self, *arguments: Any) -> Any:
        if self._kind == "blocking":
            try:
                return await self._function(*arguments)
            finally:
                self.leave()
        returned = Promise()
        task = self._place.spawn(self._kept(returned, arguments), self.leave)
        try:
            kind, value = await self._place.wait(returned, self._timeout)
        except BaseException:
            if self._kind == "awaited":
                task.cancel()
            raise
        if kind == "raised":
            raise value
        return value

    async def _kept(self, returned: Promise, arguments: Any) -> None:
        try:
            returned.put(("returned", await self._function(*arguments)))
        except Exception as exc:
            returned.put(("raised", exc))

    def leave(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done:
                turn.put()
                return
        self._free += 1

    def close(self) -> None:
        """Nothing is held open."""


class _Background:
    def __init__(self, place: Place, work: Callable[[Any], Coroutine[Any, Any, None]], *, cancels: bool) -> None:
        self._place = place
        self._cancels = cancels
        self._stopped = Promise()
        self.task = place.spawn(work(self))

    @property
    def is_set(self) -> bool:
        return self._stopped.done

    async def wait(self, seconds: float) -> bool:
        try:
            await self._place.wait(self._stopped, seconds)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        self._stopped.put()
        if self._cancels:
            self.task.cancel()
