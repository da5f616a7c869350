"""The ways to wait: asyncio and blocking. The only place that knows asyncio, threads, and the time of day.

The flow is written once, as coroutines over a ``Runtime``. ``AsyncRuntime`` suspends them. ``BlockingRuntime`` never
does: it blocks the calling thread (or greenlet, where gevent has patched it) inside them, so that ``finish`` runs any
of them to its end with a single ``send``.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from authcache_middleware.errors import ConfigurationError, UnavailableError

__all__ = [
    "AsyncRuntime",
    "Background",
    "BlockingRuntime",
    "Cell",
    "Clock",
    "Runtime",
    "Stop",
    "SystemClock",
    "Work",
    "at_most",
    "finish",
    "is_async_callable",
]

T = TypeVar("T")

_LONGEST_JOIN = 2.0


class Clock(Protocol):
    """The time. Both in seconds."""

    def wall(self) -> float:
        """Seconds since 1970: what ``exp`` and ``iat`` are compared with."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment, never set back, which run on while the machine is suspended."""
        ...


class SystemClock:
    """The machine's own time."""

    wall = staticmethod(time.time)
    # CLOCK_MONOTONIC stands still in a suspended virtual machine, whose memory would be taken for fresh when it wakes
    monotonic = staticmethod(
        partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
    )


class Cell(Protocol[T]):
    """A place for one value that many may wait for."""

    def put(self, value: T) -> None:
        """Give the value to all who wait or will; a second one is ignored."""
        ...

    async def wait(self, timeout: float) -> T:
        """The value; ``TimeoutError`` when it is not there after that many seconds."""
        ...


class Work(Protocol):
    """A user's function behind a fixed number of places, so that only so many calls of it run at once."""

    async def enter(self, timeout: float) -> None:
        """Take a place; ``TimeoutError`` when none is free after that many seconds."""
        ...

    async def call(self, *arguments: Any) -> object:
        """Call the function. The place is given back when the function has really returned, however late.

        ``TimeoutError`` when it has not after its time, where this way of waiting can notice that.
        """
        ...

    def leave(self) -> None:
        """Give back a place that ``call`` was not reached with."""
        ...

    def close(self) -> None:
        """Start nothing more."""
        ...


class Stop(Protocol):
    """The wish that something in the background may end."""

    @property
    def is_set(self) -> bool:
        """Whether it was wished."""
        ...

    async def wait(self, seconds: float) -> bool:
        """Let that much time pass, or less if it is wished meanwhile; whether it was."""
        ...


class Background(Protocol):
    """Something that goes on beside the requests."""

    def stop(self) -> None:
        """Wish that it ends; returns at once."""
        ...


class Runtime(Protocol):
    """What the flow needs of the way it is waited for."""

    @staticmethod
    def mutex() -> AbstractContextManager[Any]:
        """A lock for short critical sections, inside which nothing waits."""
        ...

    def cell(self) -> Cell[Any]:
        """An empty cell."""
        ...

    def work(self, function: Callable[..., object], *, places: int, timeout: float) -> Work:
        """The function behind its places."""
        ...

    async def start(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """Set the coroutine going so that it ends whatever becomes of the caller; it may have ended on return.

        ``ended`` is called when it is over, also where it was cancelled before its first step or never began.
        """
        ...

    def background(self, work: Callable[[Stop], Coroutine[Any, Any, None]], name: str) -> Background:
        """Set something going that waits for most of its time, until it is stopped or this runtime is closed."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...

    @staticmethod
    def place() -> object:
        """Where the caller runs, his event loop or his process: a runtime is only good for the place it was made in."""
        ...

    def is_over(self) -> bool:
        """Whether its place is gone, and with it all that was waiting there."""
        ...

    async def aclose(self) -> None:
        """Stop what is in the background, and wait for what was started."""
        ...


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose every await ends at once: the whole of the blocking face's event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    coroutine.close()
    raise RuntimeError("a port of the blocking face suspended: it can only be awaited by an event loop")


def at_most(seconds: float) -> AbstractAsyncContextManager[Any]:
    """Raises ``TimeoutError`` where its body takes longer. For coroutines on an event loop."""
    return asyncio.timeout(seconds)


def is_async_callable(function: object) -> bool:
    """Whether calling it gives something to await: ``async def``, one behind ``partial``, or in ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    if asyncio.iscoroutinefunction(function):
        return True
    return asyncio.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - its kind is asked for


class AsyncRuntime:
    """Waiting on the event loop that runs when it is made; it belongs to that loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        self._background: set[_BackgroundTask] = set()

    @staticmethod
    def mutex() -> AbstractContextManager[Any]:
        """A real lock although one loop needs none: the rule is one for both faces, and it costs 50 ns."""
        return threading.Lock()

    def cell(self) -> Cell[Any]:
        """A future of this loop."""
        return _FutureCell(self._loop.create_future())

    def work(self, function: Callable[..., object], *, places: int, timeout: float) -> Work:
        """An ``async def`` is awaited here, a plain function runs in a thread of its own pool."""
        if is_async_callable(function):
            return _AwaitedWork(cast("Callable[..., Awaitable[object]]", function), places, timeout)
        return _ThreadedWork(function, places, timeout)

    async def start(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """In a task of its own: cancelling a caller does not cancel what others wait for."""
        try:
            task = self._loop.create_task(coroutine)
        except BaseException:
            ended()
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: ended())

    def background(self, work: Callable[[Stop], Coroutine[Any, Any, None]], name: str) -> Background:
        """In a task, in a context of its own: it belongs to no request. Stopping cancels it."""
        started = _BackgroundTask(self._loop, work, name)
        self._background.add(started)
        started.task.add_done_callback(lambda _: self._background.discard(started))
        return started

    async def sleep(self, seconds: float) -> None:
        """See ``Runtime``."""
        await asyncio.sleep(seconds)

    @staticmethod
    def refuse(argument: str, function: Callable[..., object]) -> None:
        """Nothing: what is not awaited here runs in a thread."""

    @staticmethod
    def place() -> object:
        """The running event loop."""
        return asyncio.get_running_loop()

    def is_over(self) -> bool:
        """Whether the loop has been closed."""
        return self._loop.is_closed()

    async def aclose(self) -> None:
        """Wait for the flights under way: each of them ends by its own deadline."""
        while tasks := self._tasks | {started.task for started in self._background}:
            for started in self._background:  # again in each turn: one that is ending may have set another going
                started.stop()
            await asyncio.wait(tasks)


class _BackgroundTask:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Callable[[Stop], Coroutine[Any, Any, None]], name: str
    ) -> None:
        self.is_set = False
        self.task = contextvars.Context().run(partial(loop.create_task, work(self), name=name))

    async def wait(self, seconds: float) -> bool:
        if not self.is_set:
            await asyncio.sleep(seconds)
        return self.is_set

    def stop(self) -> None:
        # Said as well, since a cancellation can be lost: before Python 3.12 asyncio.wait_for, which redis-py uses,
        # swallows one that comes in the moment when what it waits for is done.
        self.is_set = True
        self.task.cancel()


class _FutureCell(Generic[T]):
    def __init__(self, future: asyncio.Future[T]) -> None:
        self._future = future

    def put(self, value: T) -> None:
        if not self._future.done() and not self._future.get_loop().is_closed():
            self._future.set_result(value)

    async def wait(self, timeout: float) -> T:
        if self._future.done():
            return self._future.result()
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._future)


class _Places:
    """A semaphore of the event loop whose waiting has an end."""

    def __init__(self, places: int) -> None:
        self._semaphore = asyncio.Semaphore(places)

    async def enter(self, timeout: float) -> None:
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # free: does not suspend, needs no timer
            return
        async with asyncio.timeout(timeout):
            await self._semaphore.acquire()

    def leave(self) -> None:
        self._semaphore.release()


class _AwaitedWork(_Places):
    def __init__(self, function: Callable[..., Awaitable[object]], places: int, timeout: float) -> None:
        super().__init__(places)
        self._function = function
        self._timeout = timeout

    async def call(self, *arguments: Any) -> object:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._function(*arguments)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                raise RuntimeError("the function cancelled itself") from None  # its failure, not our end
            raise
        finally:
            self.leave()

    def close(self) -> None:
        """Nothing is held open."""


class _ThreadedWork(_Places):
    def __init__(self, function: Callable[..., object], places: int, timeout: float) -> None:
        super().__init__(places)
        self._function = function
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="authcache-loader")  # starts none yet

    async def call(self, *arguments: Any) -> object:
        loop = asyncio.get_running_loop()
        try:
            called = loop.run_in_executor(
                self._threads, contextvars.copy_context().run, _call_for_a_future, self._function, *arguments
            )
        except BaseException as exc:
            self.leave()
            if isinstance(exc, RuntimeError):
                raise UnavailableError("closed") from exc  # by ``close``, between the place and the call
            raise
        called.add_done_callback(self._returned)
        async with asyncio.timeout(self._timeout):
            return await asyncio.shield(called)

    def _returned(self, called: asyncio.Future[object]) -> None:
        self.leave()
        if not called.cancelled():
            called.exception()  # has been seen: a late failure has nobody left to tell

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _call_for_a_future(function: Callable[..., object], *arguments: Any) -> object:
    """The function's result; what it raises is something that a future can hold, or nobody would ever hear of it."""
    try:
        return function(*arguments)
    except (StopIteration, asyncio.CancelledError) as exc:
        raise RuntimeError(f"the function raised {type(exc).__name__}") from exc


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

    @staticmethod
    def place() -> object:
        """The process: a forked child has another."""
        return os.getpid()

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


class _DirectWork:
    def __init__(self, function: Callable[..., object], places: int) -> None:
        self._function = function
        self._places = threading.BoundedSemaphore(places)

    async def enter(self, timeout: float) -> None:
        if not self._places.acquire(timeout=timeout):
            raise TimeoutError

    async def call(self, *arguments: Any) -> object:
        try:
            return self._function(*arguments)
        finally:
            self.leave()

    def leave(self) -> None:
        self._places.release()

    def close(self) -> None:
        """Nothing is held open."""
