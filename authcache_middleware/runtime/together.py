"""Asking together: what is asked for in one turn of the event loop goes out as one question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar, final

__all__ = ["Together"]

T = TypeVar("T")

_MOST: Final = 256


@final
class Together(Generic[T]):
    """Answers keys by asking for all of one turn at once.

    Who comes first waits for the turn to end and then asks for everyone, in his own task: no task and no timer are
    made. A question takes in nobody once it is on its way, so an answer is never older than who gets it. It has 256
    keys at most.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[Sequence[T]]]) -> None:
        self._ask = ask
        self._open: _Question[T] | None = None

    async def get(self, key: str) -> T:
        """The answer for this key; raises what the question raised."""
        while True:
            question = self._open
            if question is None:
                return await self._lead(key)
            # One future for each who waits: cancelling him cancels what he awaits.
            answer: asyncio.Future[T | _NoAnswer] = question.loop.create_future()
            question.waiting.append((key, answer))
            question.keys[key] = None
            if len(question.keys) == _MOST:
                self._open = None
            found = await answer
            if not isinstance(found, _NoAnswer):
                return found
            if (failure := found.failure) is not None:
                raise type(failure)(*failure.args)  # one of his own: a traceback belongs to one
            # who asked was cancelled: it is for somebody else to ask

    async def _lead(self, key: str) -> T:
        question = self._open = _Question[T](key)
        try:
            try:
                await asyncio.sleep(0)
            finally:
                if self._open is question:
                    self._open = None
            keys = list(question.keys)
            answers = dict(zip(keys, await self._ask(keys), strict=True))
        except BaseException as exc:
            question.fail(_NoAnswer(exc if isinstance(exc, Exception) else None))
            raise
        question.end(answers)
        return answers[key]


class _NoAnswer:
    """Instead of an answer: the question has failed, or without a failure nobody has asked it."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure


class _Question(Generic[T]):
    def __init__(self, first: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.keys: dict[str, None] = {first: None}
        self.waiting: list[tuple[str, asyncio.Future[T | _NoAnswer]]] = []

    def end(self, answers: dict[str, T]) -> None:
        for key, answer in self.waiting:
            if not answer.done():
                answer.set_result(answers[key])

    def fail(self, instead: _NoAnswer) -> None:
        for _, answer in self.waiting:
            if not answer.done():
                answer.set_result(instead)
