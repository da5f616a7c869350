"""Asking in turn: of the threads that ask for one key at once, one asks for all who have come by then."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar, final

from authcache_middleware.runtime.in_a_thread import BlockingRuntime

__all__ = ["InTurn"]

T = TypeVar("T")

_LONGEST: Final = 2.0


@final
class InTurn(Generic[T]):
    """Answers a key by one question at a time; for threads, or greenlets.

    Who comes while a question for his key is on its way waits until it is answered, and shares the next one with all
    who have come meanwhile. A question takes in nobody once it is on its way, so an answer is never older than who gets
    it. Whoever has waited for two seconds asks by himself.
    """

    def __init__(self, ask: Callable[[str], Awaitable[T]]) -> None:
        self._ask = ask
        self._mutex = threading.Lock()  # guards the table
        self._next: dict[str, _Question[T] | None] = {}
        """Of each key that is being asked for, the question after this one, if somebody waits for it."""

    async def get(self, key: str) -> T:
        """The answer for this key; raises what the question raised."""
        while True:
            with self._mutex:
                if key not in self._next:
                    self._next[key] = None
                    break
                question = self._next[key]
                leads = question is None
                if question is None:
                    question = self._next[key] = _Question()
            if leads:
                return await self._ask_next(key, question)
            try:
                if await question.is_answered.wait(_LONGEST):
                    return question.answer()
            except TimeoutError:
                return await self._ask(key)
            # who was to ask is gone: it is for somebody else to ask
        try:
            return await self._ask(key)
        finally:
            self._pass_on(key)

    async def _ask_next(self, key: str, question: _Question[T]) -> T:
        """Asks for all who wait, when the question before this one is over."""
        try:
            await question.may_be_asked.wait(_LONGEST)
        except BaseException as exc:
            self._give_up(key, question)
            if isinstance(exc, TimeoutError):
                return await self._ask(key)
            raise
        try:
            question.found = [await self._ask(key)]
        except Exception as exc:
            question.failure = exc
            raise
        finally:
            self._pass_on(key)
            question.is_answered.put(question.found is not None or question.failure is not None)
        return question.found[0]

    def _pass_on(self, key: str) -> None:
        with self._mutex:
            question = self._next.pop(key)
            if question is None:
                return
            self._next[key] = None  # it is closed: who comes from here on shares the one after it
        question.may_be_asked.put(None)

    def _give_up(self, key: str, question: _Question[T]) -> None:
        with self._mutex:
            still_waits = self._next.get(key) is question
            if still_waits:
                self._next[key] = None
        if not still_waits:  # its turn has come in this very moment
            self._pass_on(key)
        question.is_answered.put(False)


class _Question(Generic[T]):
    def __init__(self) -> None:
        runtime = BlockingRuntime()
        self.may_be_asked = runtime.cell()
        self.is_answered = runtime.cell()
        self.found: list[T] | None = None
        self.failure: Exception | None = None

    def answer(self) -> T:
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)  # one of his own: a traceback belongs to one
        assert self.found is not None  # noqa: S101 - nobody is told of an answer that is not there
        return self.found[0]
