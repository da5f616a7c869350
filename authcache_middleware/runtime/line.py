"""Waiting that can be cut from outside, without a task of its own: for what may take hours, ten thousand times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar, final

__all__ = ["CutError", "Gate", "Line"]

T = TypeVar("T")


class CutError(Exception):
    """What was awaited goes on no more, or came too late: the line was cut."""


class Gate(asyncio.Event):
    """Is opened once, by ``set``; who waits for it comes through then, and everybody after."""


@final
class Line:
    """Awaits what it is handed until it is cut, and nothing after; for the tasks of one event loop.

    Cutting is to what is awaited as if the task that awaits it were cancelled: ``CancelledError`` is raised where it
    waits, and it may clean up. The task itself is not cancelled: it gets a ``CutError``. Nothing is paid for it but the
    steps of one more generator, while a task for each wait would cost a kilobyte and twenty microseconds.
    """

    __slots__ = ("_waits", "is_cut")

    def __init__(self) -> None:
        self.is_cut = False
        self._waits: list[_Wait[Any]] = []

    def wait(self, begin: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """What the awaitable gives; ``CutError`` where the line is cut before it has, or was already."""
        return _Wait(self, begin, self._waits)

    def cut(self) -> None:
        """End every wait, and all that are to come; returns at once."""
        self.is_cut = True
        for wait in self._waits:
            wait.cut()


class _Wait(Generic[T]):
    __slots__ = ("_awaited", "_begin", "_is_told", "_line", "_waits")

    def __init__(self, line: Line, begin: Callable[[], Awaitable[T]], waits: list[_Wait[Any]]) -> None:
        self._line = line
        self._begin = begin
        self._waits = waits
        self._awaited: asyncio.Future[Any] | None = None
        self._is_told = False

    def cut(self) -> None:
        """Tell what is awaited, once: what it awaits then, to clean up, is its own affair."""
        if self._awaited is not None and not self._is_told:
            self._is_told = self._awaited.cancel()

    def __await__(self) -> Generator[Any, Any, T]:
        if self._line.is_cut:
            raise CutError
        self._waits.append(self)
        try:
            value = yield from self._steps(_awaited(self._begin()))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._line.is_cut and (task is None or not task.cancelling()):
                raise CutError from None
            raise  # somebody has cancelled the task: that is not for us to keep
        finally:
            self._waits.remove(self)
        if self._line.is_cut:
            raise CutError
        return value

    def _steps(self, inner: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """``yield from inner``, with an eye on the future that it waits for."""
        step: Callable[[Any], Any] = inner.send
        with_what: Any = None
        while True:
            try:
                awaited = step(with_what)
            except StopIteration as done:
                value: T = done.value
                return value
            self._awaited = awaited
            if self._line.is_cut:
                self.cut()
            try:
                with_what = yield awaited
                step = inner.send
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is for what is awaited
                step, with_what, self._is_told = inner.throw, exc, True
            finally:
                self._awaited = None


def _awaited(awaitable: Awaitable[T]) -> Generator[Any, Any, T]:
    return (yield from awaitable.__await__())
