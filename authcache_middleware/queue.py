"""A small queue on Redis Streams, awaited or blocking: for what must be done once at least, and by one of several.

What is put stays until somebody has acknowledged it. Who dies with entries in his hands has them handed out to another
after ``redeliver_after``; what was handed out ``max_deliveries`` times and never acknowledged is parked. So each entry
arrives at least once, and after a failure perhaps twice: what is done with it must bear that. It is kept as well as
Redis keeps it (persistence, replicas, ``noeviction``).

In Redis: the stream ``queue:<name>`` with the consumer group ``workers``, and the stream ``parked:<name>``. Any client
may put with ``XADD queue:<name> * field value …``. Acknowledged entries are deleted, so there is one group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final, Self, final

from authcache_middleware.errors import QueueFullError
from authcache_middleware.redis.queue import Fields
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, finish
from authcache_middleware.streams.entries import QueueCounts, QueueEntry
from authcache_middleware.streams.queueing import Consumption, QueueStory

__all__ = ["AsyncQueue", "Queue", "QueueCounts", "QueueEntry", "QueueFullError"]

_MAX_LENGTH: Final = 100_000
_REDELIVER_AFTER: Final = 60.0
_MAX_DELIVERIES: Final = 5
_TIMEOUT: Final = 2.0


@final
class AsyncQueue:
    """A queue for asyncio applications.

    ``redis``: a URL or a ready ``redis.asyncio`` client, which must not decode responses. ``name``: which queue.
    ``max_length``: with so many entries waiting and held it is full, and ``put`` says so; as many are parked at most.
    ``redeliver_after``: seconds after which what a consumer holds is handed to another: longer than a batch takes.
    ``max_deliveries``: how often an entry is handed out before it is parked. ``timeout``: seconds that one command may
    take; a ready client keeps its own too. Nothing is opened before it is needed; each event loop has connections of
    its own. Raises ``ConfigurationError``, which names the argument.

    Every method raises ``UnavailableError`` where Redis does not answer: then it may or may not have happened; and
    where one of the queue's keys holds another type.
    """

    def __init__(
        self,
        redis: object,
        name: str,
        *,
        max_length: int = _MAX_LENGTH,
        redeliver_after: float = _REDELIVER_AFTER,
        max_deliveries: int = _MAX_DELIVERIES,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._story = QueueStory(
            AsyncRuntime,
            redis,
            name,
            max_length=max_length,
            redeliver_after=redeliver_after,
            max_deliveries=max_deliveries,
            timeout=timeout,
        )

    async def put(self, fields: Fields) -> str:
        """Add an entry and return its id; Redis has it then. Raises ``QueueFullError`` where there is no room."""
        return await self._story.put(fields)

    async def read(self, count: int = 100, *, wait: float = 0.0, consumer: str | None = None) -> list[QueueEntry]:
        """So many entries at most, the oldest first; none where none came within ``wait`` seconds.

        They are held by this consumer until they are acknowledged. ``consumer`` is its name; by default each process
        has one.
        """
        return await self._story.read(count, wait=wait, consumer=consumer)

    async def consume(
        self, count: int = 100, *, consumer: str | None = None, until: Callable[[], bool] | None = None
    ) -> AsyncIterator[list[QueueEntry]]:
        """Batches without end, each of ``count`` entries at most: acknowledge each when it is done with.

        Waits for entries, and while Redis does not answer; that is logged, and not raised. ``until`` is asked about
        once a second and between batches whether to end.
        """
        consumption = Consumption(self._story, count, consumer)
        try:
            while batch := await consumption.batch_through_outages(until):
                yield batch
        finally:
            await consumption.leave()

    async def acknowledge(self, entries: Iterable[QueueEntry | str]) -> None:
        """These entries, or those of these ids, are done with. May be repeated."""
        await self._story.acknowledge(entries)

    async def counts(self) -> QueueCounts:
        """How many entries wait, are held, are parked."""
        return await self._story.counts()

    async def requeue_parked(self, count: int = 100) -> int:
        """Put so many of the parked entries back, the oldest first, as new ones; how many there were."""
        return await self._story.requeue_parked(count)

    async def aclose(self) -> None:
        """Close the connections of this event loop; a ready client stays open. May be used again after."""
        await self._story.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return repr(self._story).replace("Queue", "AsyncQueue", 1)


@final
class Queue:
    """The same for blocking code: every method waits in the calling thread and otherwise does as its namesake.

    For any number of threads or greenlets; a forked child opens connections of its own.
    """

    def __init__(
        self,
        redis: object,
        name: str,
        *,
        max_length: int = _MAX_LENGTH,
        redeliver_after: float = _REDELIVER_AFTER,
        max_deliveries: int = _MAX_DELIVERIES,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._story = QueueStory(
            BlockingRuntime,
            redis,
            name,
            max_length=max_length,
            redeliver_after=redeliver_after,
            max_deliveries=max_deliveries,
            timeout=timeout,
        )

    def put(self, fields: Fields) -> str:
        """See ``AsyncQueue.put``."""
        return finish(self._story.put(fields))

    def read(self, count: int = 100, *, wait: float = 0.0, consumer: str | None = None) -> list[QueueEntry]:
        """See ``AsyncQueue.read``."""
        return finish(self._story.read(count, wait=wait, consumer=consumer))

    def consume(
        self, count: int = 100, *, consumer: str | None = None, until: Callable[[], bool] | None = None
    ) -> Iterator[list[QueueEntry]]:
        """See ``AsyncQueue.consume``."""
        consumption = Consumption(self._story, count, consumer)
        try:
            while batch := finish(consumption.batch_through_outages(until)):
                yield batch
        finally:
            finish(consumption.leave())

    def acknowledge(self, entries: Iterable[QueueEntry | str]) -> None:
        """See ``AsyncQueue.acknowledge``."""
        finish(self._story.acknowledge(entries))

    def counts(self) -> QueueCounts:
        """See ``AsyncQueue.counts``."""
        return finish(self._story.counts())

    def requeue_parked(self, count: int = 100) -> int:
        """See ``AsyncQueue.requeue_parked``."""
        return finish(self._story.requeue_parked(count))

    def close(self) -> None:
        """Close the connections of this process; a ready client stays open. May be used again after."""
        finish(self._story.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._story)


def story_of(queue: AsyncQueue | Queue) -> QueueStory:
    """What is behind a queue, for this package alone."""
    return queue._story  # noqa: SLF001
