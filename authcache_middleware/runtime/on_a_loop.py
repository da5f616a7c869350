"""Waiting on an event loop: the flow's coroutines are suspended."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast

from authcache_middleware.runtime.ports import Background, Cell, Stop, Work, WorkClosedError, is_async_callable

__all__ = ["AsyncPlaces", "AsyncRuntime", "at_most"]

T = TypeVar("T")


def at_most(seconds: float) -> AbstractAsyncContextManager[Any]:
    """Raises ``TimeoutError`` where its body takes longer. For coroutines on an event loop."""
    return asyncio.timeout(seconds)


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

    place: ClassVar[Callable[[], object]] = staticmethod(asyncio.get_running_loop)

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


class AsyncPlaces:
    """A semaphore of the event loop whose waiting has an end; who came first gets in first."""

    def __init__(self, places: int) -> None:
        self._semaphore = asyncio.Semaphore(places)

    async def enter(self, timeout: float) -> None:
        """See ``Places``."""
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # free: does not suspend, needs no timer
            return
        async with asyncio.timeout(timeout):
            await self._semaphore.acquire()

    def leave(self) -> None:
        """See ``Places``."""
        self._semaphore.release()


class _AwaitedWork(AsyncPlaces):
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


class _ThreadedWork(AsyncPlaces):
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
                raise WorkClosedError from exc  # between the place and the call
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
