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
            answered = question.join(key)
            if len(question.waiting) == _MOST:
                self._open = None
            if await answered:
                return question.answer(key)
            # who asked was cancelled: it is for somebody else to ask

    async def _lead(self, key: str) -> T:
        question = self._open = _Question[T](key)
        try:
            try:
                await asyncio.sleep(0)
            finally:
                if self._open is question:
                    self._open = None
            keys = list(question.waiting)
            question.answers = dict(zip(keys, await self._ask(keys), strict=True))
        except Exception as exc:
            question.failure = exc
            raise
        finally:
            question.end()
        return question.answer(key)


class _Question(Generic[T]):
    def __init__(self, first: str) -> None:
        self.waiting: dict[str, list[asyncio.Future[bool]]] = {first: []}
        self.answers: dict[str, T] | None = None
        self.failure: Exception | None = None

    def join(self, key: str) -> asyncio.Future[bool]:
        """Whether there will be an answer. One future for each who waits: cancelling him cancels what he awaits."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(key, []).append(answered)
        return answered

    def end(self) -> None:
        is_answered = self.answers is not None or self.failure is not None
        for waiting in self.waiting.values():
            for answered in waiting:
                if not answered.done():
                    answered.set_result(is_answered)

    def answer(self, key: str) -> T:
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)  # one of his own: a traceback belongs to one
        assert self.answers is not None  # noqa: S101 - nobody is told of an answer that is not there
        return self.answers[key]
