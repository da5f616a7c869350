"""The worker that brings last activity from the queue to the application's database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

from authcache_middleware.errors import ConfigurationError, UnavailableError, frames_of
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, Work
from authcache_middleware.streams.activity import ActivityRow, rows_in
from authcache_middleware.streams.entries import QueueEntry
from authcache_middleware.streams.queueing import Consumption, QueueStory

__all__ = ["ActivityWorker", "SaveActivity"]

SaveActivity = Callable[[Sequence[ActivityRow]], None] | Callable[[Sequence[ActivityRow]], Awaitable[None]]
"""The application's way to write last activity: called once for each batch, of 500 rows at most.

It commits before it returns. A batch may come twice, and an older one after a newer, so keep the larger value:
``SET last_seen = greatest(last_seen, …)``. What it raises is logged, and the batch comes again after the queue's
``redeliver_after``.
"""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0

_log = logging.getLogger("authcache_middleware")


@final
class ActivityWorker:
    """Calls ``save`` for each batch of a queue, and acknowledges it when that has returned."""

    def __init__(
        self,
        runtime: type[AsyncRuntime | BlockingRuntime],
        queue: QueueStory,
        save: SaveActivity,
        *,
        until: Callable[[], bool] | None,
        consumer: str | None,
    ) -> None:
        if not callable(save):
            raise ConfigurationError("save_activity", "must be callable")
        runtime.refuse("save_activity", save)
        self._queue = queue
        self._save = save
        self._until = until
        self._consumption = Consumption(queue, 1, consumer)
        self._pause = 0.0
        self._saved = 0

    async def run(self) -> int:
        """Work until it is enough; how many batches were saved."""
        runtime = self._queue.connections.here().runtime
        work = runtime.work(self._save, places=1, timeout=self._queue.redeliver_after)
        try:
            while batch := await self._consumption.batch_through_outages(self._until):
                await self._do(work, batch[0])
                await self._rest(runtime)
        finally:
            work.close()
            await self._consumption.leave()
        return self._saved

    async def _do(self, work: Work, entry: QueueEntry) -> None:
        try:
            rows = rows_in(entry.fields)
        except ValueError:
            await self._park(entry)
            return
        try:
            await work.enter(self._queue.redeliver_after)
            await work.call(rows)
        except Exception as exc:  # noqa: BLE001 - whatever the application's function raises
            _log.error("save_activity raised %s: the batch comes again\n%s", type(exc).__name__, frames_of(exc))
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause or _FIRST_PAUSE)
            return
        self._pause = 0.0
        self._saved += 1
        try:
            await self._queue.acknowledge([entry])
        except UnavailableError as exc:
            _log.warning("a batch is saved and cannot be acknowledged (%s): it comes again", exc)

    async def _park(self, entry: QueueEntry) -> None:
        try:
            await self._queue.park(entry, "malformed")
        except UnavailableError as exc:
            _log.warning("a malformed batch cannot be parked (%s): it comes again", exc)

    async def _rest(self, runtime: AsyncRuntime | BlockingRuntime) -> None:
        """After a failure the database is left alone for a while."""
        left = self._pause
        while left > 0 and not (self._until is not None and self._until()):
            await runtime.sleep(min(1.0, left))
            left -= 1.0
