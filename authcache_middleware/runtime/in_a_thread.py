"""Waiting in a thread or greenlet: the flow's coroutines never suspend, so one ``send`` runs each to its end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Final, Generic, TypeVar

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.runtime.ports import Background, Cell, Stop, Work, finish, is_async_callable

__all__ = ["BlockingPlaces", "BlockingRuntime", "cut_off"]

T = TypeVar("T")

_LONGEST_JOIN: Final = 2.0


@contextmanager
def cut_off(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Calls ``cut`` from another thread where the body takes longer: it must make whatever blocks there return."""
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class BlockingRuntime:
    """Waiting by blocking the calling thread or greenlet. Its coroutines never suspend."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._background: list[_BackgroundThread] = []

    @staticmethod
    def mutex() -> AbstractContextManager[Any]:
        """See ``Runtime``."""
        return threading.Lock()

    def cell(self) -> Cell[Any]:
        """A slot behind an event."""
        return _EventCell()

    def work(self, function: Callable[..., object], *, places: int, timeout: float) -> Work:
        """The caller's own thread runs it; nothing can interrupt it, so the timeout goes unused here."""
        del timeout
        return _DirectWork(function, places)

    async def start(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """Here and now, to its end."""
        try:
            await coroutine
        finally:
            ended()

    def background(self, work: Callable[[Stop], Coroutine[Any, Any, None]], name: str) -> Background:
        """In a daemon thread (a greenlet, where gevent has patched threads); stopping makes it end soon."""
        started = _BackgroundThread(work, name)
        self._background = [other for other in self._background if other.thread.is_alive()]
        self._background.append(started)
        return started

    async def sleep(self, seconds: float) -> None:
        """See ``Runtime``."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this runtime does

    @staticmethod
    def refuse(argument: str, function: Callable[..., object]) -> None:
        """An ``async def``, which only an event loop can wait for."""
        if is_async_callable(function):
            raise ConfigurationError(argument, "is async: the blocking face needs a plain function")

    place: ClassVar[Callable[[], object]] = staticmethod(os.getpid)  # a forked child has another

    def is_over(self) -> bool:
        """Whether this is a child, which has none of the threads that its parent's runtime served."""
        return self._process != os.getpid()

    async def aclose(self) -> None:
        """Stop the threads of the background, and wait for them as long as one read of theirs may take."""
        while self._background:
            started = self._background.pop()
            started.stop()
            started.thread.join(_LONGEST_JOIN)


class _BackgroundThread:
    def __init__(self, work: Callable[[Stop], Coroutine[Any, Any, None]], name: str) -> None:
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=lambda: finish(work(self)), name=name, daemon=True)
        self.thread.start()

    @property
    def is_set(self) -> bool:
        return self._stopped.is_set()

    async def wait(self, seconds: float) -> bool:
        return self._stopped.wait(seconds)

    def stop(self) -> None:
        self._stopped.set()


class _EventCell(Generic[T]):
    _value: T

    def __init__(self) -> None:
        self._filled = threading.Event()

    def put(self, value: T) -> None:
        if not self._filled.is_set():
            self._value = value
            self._filled.set()

    async def wait(self, timeout: float) -> T:
        if not self._filled.wait(timeout):
            raise TimeoutError
        return self._value


class BlockingPlaces:
    """A semaphore for threads or greenlets."""

    def __init__(self, places: int) -> None:
        self._semaphore = threading.BoundedSemaphore(places)

    async def enter(self, timeout: float) -> None:
        """See ``Places``."""
        if not self._semaphore.acquire(timeout=timeout):
            raise TimeoutError

    def leave(self) -> None:
        """See ``Places``."""
        self._semaphore.release()


class _DirectWork(BlockingPlaces):
    def __init__(self, function: Callable[..., object], places: int) -> None:
        super().__init__(places)
        self._function = function

    async def call(self, *arguments: Any) -> object:
        try:
            return self._function(*arguments)
        finally:
            self.leave()

    def close(self) -> None:
        """Nothing is held open."""
