"""A circuit breaker: a Redis that is gone costs microseconds instead of a timeout for each request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

from authcache_middleware.events import OutageBegan, OutageEnded
from authcache_middleware.reporter import Reporter

__all__ = ["Breaker"]

_FAILURES: Final = 3
_PAUSE: Final = 0.5


@final
class Breaker:
    """Opens after three failures in a row, with no success between; then lets one command through every half second.

    No state here needs a lock: in a race of threads one command more is let through, or one failure counted less.
    """

    __slots__ = ("_began", "_closed_again", "_failures", "_now", "_reporter")

    def __init__(self, now: Callable[[], float], reporter: Reporter) -> None:
        self._now = now
        self._reporter = reporter
        self._failures = 0
        self._began = math.inf
        self._closed_again = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether Redis is held to be gone."""
        return self._failures >= _FAILURES

    def admits(self) -> bool:
        """Whether a command may be sent now. Of an open breaker's every half second, one: it is the probe."""
        if self._failures < _FAILURES:
            return True
        now = self._now()
        if now < self._closed_again:
            return False
        self._closed_again = now + _PAUSE
        return True

    def succeeded(self) -> None:
        """The server has answered, whatever it said."""
        if self._failures:
            was_open, self._failures = self.is_open, 0
            if was_open:
                self._reporter.tell(OutageEnded(self._now() - self._began))

    def failed(self) -> None:
        """There was no answer."""
        self._failures += 1
        if self._failures == _FAILURES:
            self._began = self._now()
            self._closed_again = self._began + _PAUSE
            self._reporter.tell(OutageBegan())
