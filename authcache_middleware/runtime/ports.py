"""What the flow needs of the way it is waited for, as protocols; and the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar, cast

__all__ = [
    "Background",
    "Cell",
    "Clock",
    "Places",
    "Runtime",
    "Stop",
    "SystemClock",
    "Work",
    "WorkClosedError",
    "finish",
    "is_async_callable",
]

T = TypeVar("T")


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


class WorkClosedError(Exception):
    """A function was not called, since the places at it are closed."""


class Places(Protocol):
    """A fixed number of places, so that only so many do something at once."""

    async def enter(self, timeout: float) -> None:
        """Take a place; ``TimeoutError`` when none is free after that many seconds."""
        ...

    def leave(self) -> None:
        """Give it back."""
        ...


class Work(Protocol):
    """A user's function behind a fixed number of places, so that only so many calls of it run at once."""

    async def enter(self, timeout: float) -> None:
        """Take a place; ``TimeoutError`` when none is free after that many seconds."""
        ...

    async def call(self, *arguments: Any) -> object:
        """Call the function. The place is given back when the function has really returned, however late.

        ``TimeoutError`` when it has not after its time, where this way of waiting can notice that; ``WorkClosedError``
        where the places were closed first.
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

    place: ClassVar[Callable[[], object]]
    """Where the caller runs, his event loop or his process: a runtime is only good for the place it was made in."""

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


def is_async_callable(function: object) -> bool:
    """Whether calling it gives something to await: ``async def``, one behind ``partial``, or in ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    if asyncio.iscoroutinefunction(function):
        return True
    return asyncio.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - its kind is asked for
