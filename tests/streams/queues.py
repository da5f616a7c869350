"""One way to drive both kinds of queue, so that no test is written twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from faces import wait_until

from authcache_middleware.queue import AsyncQueue, Queue, QueueCounts, QueueEntry


class QueueDriver:
    """A queue and the way to call it: ``driver("put", …)`` returns what the caller would get."""

    def __init__(self, queue: Any, run: Any, url: Any, name: str) -> None:
        self.queue = queue
        self._run = run
        self.url = url
        self.name = name

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._run(getattr(self.queue, method)(*arguments, **options))

    def consume(self, most: int, *arguments: Any, **options: Any) -> list[list[QueueEntry]]:
        """So many batches at most, each acknowledged."""
        batches: list[list[QueueEntry]] = []
        if isinstance(self.queue, Queue):
            consumed = self.queue.consume(*arguments, **options)
            for batch in consumed:
                self.queue.acknowledge(batch)
                batches.append(batch)
                if len(batches) == most:
                    consumed.close()  # type: ignore[attr-defined]
            return batches

        async def collected() -> None:
            consumed = self.queue.consume(*arguments, **options)
            async for batch in consumed:
                await self.queue.acknowledge(batch)
                batches.append(batch)
                if len(batches) == most:
                    break
            await consumed.aclose()

        self._run(collected())
        return batches


@contextmanager
def queueing(kind: str, redis: Any, name: str, **options: Any) -> Iterator[QueueDriver]:
    """A queue of that kind, ``async`` or ``blocking``, closed at the end."""
    if kind == "blocking":
        with Queue(redis, name, **options) as queue:
            yield QueueDriver(queue, lambda result: result, redis, name)
        return
    with asyncio.Runner() as runner:
        driver = QueueDriver(AsyncQueue(redis, name, **options), runner.run, redis, name)
        yield driver
        driver("aclose")


@contextmanager
def ready_queue(kind: str, source: Callable[[], tuple[Any, Callable[[], Any]]], name: str, **options: Any) -> Any:
    """The same over a ready client; ``source`` gives it, where it is used, and a way to close it."""
    if kind == "blocking":
        client, close = source()
        yield QueueDriver(Queue(client, name, **options), lambda result: result, client, name)
        close()
        return
    with asyncio.Runner() as runner:

        async def made() -> Any:
            return source()

        client, close = runner.run(made())
        yield QueueDriver(AsyncQueue(client, name, **options), runner.run, client, name)
        runner.run(close())


def url_source(kind: str, url: str, protocol: int) -> Callable[[], tuple[Any, Callable[[], Any]]]:
    """A client of one server."""

    def source() -> tuple[Any, Callable[[], Any]]:
        module: Any = redis.asyncio if kind == "async" else redis
        client = module.Redis.from_url(url, protocol=protocol, socket_timeout=2.0)
        return client, client.aclose if kind == "async" else client.close

    return source


def tell(driver: QueueDriver) -> None:
    """All that is asked of a server; ``redeliver_after`` is short and ``max_deliveries`` 5."""
    driver("put", {"number": "1"})
    for delivery in range(1, 6):
        entries = wait_until(lambda: driver("read", wait=0.1))
        assert [(entry.fields, entry.deliveries) for entry in entries] == [({"number": b"1"}, delivery)]
    wait_until(lambda: driver("read", wait=0.1) == [] and driver("counts").parked)
    assert driver("requeue_parked") == 1
    assert len(driver.consume(1)) == 1
    assert driver("read", wait=0.1) == []
    assert driver("counts") == QueueCounts(waiting=0, held=0, parked=0)
