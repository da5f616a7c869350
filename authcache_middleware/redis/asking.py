"""Asking several servers what they know of each other: one connection to each, kept open from one look to the next."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Any, Generic, TypeVar, final

from authcache_middleware.cache.link import Wire, WireError

__all__ = ["Asking", "Look"]

S = TypeVar("S", bound=Hashable)


@final
class Asking(Generic[S]):
    """The open connections, by server; ``wire`` makes one on which nothing takes longer than so many seconds."""

    def __init__(
        self, wire: Callable[[S, float], Wire], *command: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._now = now
        self._command = command
        self._wires: dict[S, Wire] = {}
        self._silent: dict[S, None] = {}  # in the order in which they were asked in vain

    def look(self, timeout: float) -> Look[S]:
        """One look, which takes little longer than so many seconds at most."""
        return Look(lambda server: self._answer(server, timeout), self._silent, self._now, timeout)

    async def _answer(self, server: S, timeout: float) -> Any:
        # put back only when its answer has been read: else the next one on it would be the answer to this question
        wire = self._wires.pop(server, None)
        is_answered = False
        try:
            if wire is None:
                wire = self._wire(server, timeout)
                await wire.open()
            answer = await wire.call(*self._command)
            is_answered = True
        finally:
            if is_answered and wire is not None:
                self._wires[server] = wire
            elif wire is not None:
                await wire.close()
        return answer

    async def keep(self, servers: Collection[S]) -> None:
        """Close the connections to all others."""
        for server in self._wires.keys() - servers:
            await self._wires.pop(server).close()

    async def close(self) -> None:
        """Close all of them."""
        await self.keep(())


@final
class Look(Generic[S]):
    """The answers of one moment: each server is asked once."""

    def __init__(
        self, answer: Callable[[S], Awaitable[Any]], silent: dict[S, None], now: Callable[[], float], timeout: float
    ) -> None:
        self._answer = answer
        self._silent = silent
        self._now = now
        self._until = now() + timeout
        self._answers: dict[S, Any] = {}
        self.reason = "no server answers"
        """Why there was no answer, the last time that there was none."""

    async def ask(self, server: S) -> Any:
        """The server's answer; ``None`` where there is none, or no time is left."""
        if server not in self._answers:
            self._answers[server] = await self._asked(server)
        return self._answers[server]

    async def _asked(self, server: S) -> Any:
        if self._now() >= self._until:
            return None
        try:
            answer = await self._answer(server)
        except WireError as exc:
            self.reason = exc.reason
            self._silent.pop(server, None)
            self._silent[server] = None
            return None
        self._silent.pop(server, None)
        return answer

    def ordered(self, servers: Collection[S]) -> list[S]:
        """Those first that answered the last time, then the one that was asked in vain the longest ago.

        One that hangs uses up the time that is left: the others would never be asked again.
        """
        silent = [server for server in self._silent if server in servers]
        return [server for server in servers if server not in self._silent] + silent
