"""Last activity and presence: what is switched on with ``activity=Activity()``, and the worker that saves it.

Requests mark their users in memory. Every few seconds one task (or thread) of the process writes to Redis who was seen,
many at once: the sorted set ``seen:`` or ``seen:<alias>``, whose scores are seconds since 1970. With a ``queue`` the
same rows go on to the application's database: a worker calls ``save_activity`` once for each batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.queue import AsyncQueue, Queue, story_of
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, finish
from authcache_middleware.streams.activity import ActivityRow
from authcache_middleware.streams.presence import Presence
from authcache_middleware.streams.working import ActivityWorker, SaveActivity

__all__ = ["Activity", "ActivityRow", "Presence", "SaveActivity", "run_worker", "run_worker_async"]

_DAY: Final = 24 * 60 * 60.0
_SHORTEST: Final = 0.01
_LONGEST: Final = 3660 * _DAY
_MOST: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """``activity=Activity()``: remember when each user was last seen. Raises ``ConfigurationError``."""

    flush_every: float = 5.0
    """Seconds from one write to Redis to the next: as much is lost where a process is killed."""
    write_every: float = 30.0
    """Seconds from one write for the same user to the next, at least, in each process."""
    keep: float = 30 * _DAY
    """Seconds for which it is known when a user was seen who does not come again."""
    entries: int = 100_000
    """How many users may wait in memory to be written, which Redis's outage makes more of."""
    queue: AsyncQueue | Queue | None = None
    """Gets the same rows, for ``save_activity``: an ``AsyncQueue`` of ``AsyncAuthCache``, a ``Queue`` of the other."""

    def __post_init__(self) -> None:
        for name in ("flush_every", "write_every", "keep"):
            seconds = getattr(self, name)
            if (
                isinstance(seconds, bool)
                or not isinstance(seconds, int | float)
                or not _SHORTEST <= seconds <= _LONGEST
            ):
                raise ConfigurationError(name, "must be seconds, from 0.01 to ten years")
        if type(self.entries) is not int or not 1 <= self.entries <= _MOST:
            raise ConfigurationError("entries", f"must be a whole number from 1 to {_MOST:,}")
        if self.queue is not None and not isinstance(self.queue, AsyncQueue | Queue):
            raise ConfigurationError("queue", "must be an AsyncQueue or a Queue")


def run_worker(
    queue: Queue, save_activity: SaveActivity, *, until: Callable[[], bool] | None = None, consumer: str | None = None
) -> int:
    """Call ``save_activity`` for each batch of the queue; how many there were, once ``until`` is true.

    ``until`` is asked about once a second and between batches; without it this works for ever. An outage of Redis is
    waited through. ``consumer``: this worker's name, which no other has; by default each process has one. Raises
    ``ConfigurationError`` where ``save_activity`` is async.
    """
    return finish(ActivityWorker(BlockingRuntime, story_of(queue), save_activity, until=until, consumer=consumer).run())


async def run_worker_async(
    queue: AsyncQueue,
    save_activity: SaveActivity,
    *,
    until: Callable[[], bool] | None = None,
    consumer: str | None = None,
) -> int:
    """The same on an event loop, in a task of its own for instance. A plain ``save_activity`` runs in a thread."""
    return await ActivityWorker(AsyncRuntime, story_of(queue), save_activity, until=until, consumer=consumer).run()
