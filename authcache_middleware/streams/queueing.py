"""A queue's story, told once for both faces: put, take, acknowledge, hand out again, park."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Final, final

from authcache_middleware.errors import ConfigurationError, QueueFullError, UnavailableError
from authcache_middleware.redis.queue import Fields, QueueStreams
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, SystemClock
from authcache_middleware.streams.connections import Connections
from authcache_middleware.streams.entries import QueueCounts, QueueEntry

__all__ = ["Consumption", "QueueStory"]

_ADDED_WHEN_PARKED: Final = "parked:"
_MOST_FIELDS: Final = 1000  # Lua's stack has an end
_MOST_AT_ONCE: Final = 1000
_LONGEST_WITHOUT_A_LOOK: Final = 15.0
_PAUSE_IN_AN_OUTAGE: Final = 1.0

_is_name = re.compile(r"[\x21-\x7e]{1,100}").fullmatch
_log = logging.getLogger("authcache_middleware")
_now = SystemClock.monotonic


@final
class QueueStory:
    """See ``AsyncQueue``, whose arguments these are."""

    def __init__(
        self,
        runtime: type[AsyncRuntime | BlockingRuntime],
        redis: object,
        name: str,
        *,
        max_length: int,
        redeliver_after: float,
        max_deliveries: int,
        timeout: float,
    ) -> None:
        if not isinstance(name, str) or _is_name(name) is None:
            raise ConfigurationError("name", "must be 1 to 100 characters of printable ASCII without spaces")
        for argument, count in (("max_length", max_length), ("max_deliveries", max_deliveries)):
            if type(count) is not int or count < 1:
                raise ConfigurationError(argument, "must be a whole number from 1")
        for argument, seconds in (("redeliver_after", redeliver_after), ("timeout", timeout)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
                raise ConfigurationError(argument, "must be a number of seconds")
            if seconds < 0.001:  # noqa: PLR2004 - a millisecond, Redis's smallest time
                raise ConfigurationError(argument, "must be at least a millisecond")
        self.name = name
        self.max_length = max_length
        self.redeliver_after = redeliver_after
        self.max_deliveries = max_deliveries
        self.connections = Connections(runtime, redis, timeout=timeout)
        self._suffix = secrets.token_hex(4)

    def consumer_name(self) -> str:
        """A name that no other process has: not even a forked child, which shares all else."""
        return f"{socket.gethostname()}-{os.getpid()}-{self._suffix}"

    def streams(self) -> QueueStreams:
        """The queue's commands, on the connections of whoever calls."""
        return QueueStreams(self.connections.here().commands, self.name)

    async def put(self, fields: Fields) -> str:
        """See ``AsyncQueue.put``."""
        _refuse_bad_fields(fields)
        entry_id = await self.streams().put(fields, most=self.max_length)
        if entry_id is None:
            raise QueueFullError
        return entry_id

    async def read(self, count: int, *, wait: float, consumer: str | None) -> list[QueueEntry]:
        """See ``AsyncQueue.read``."""
        return await Consumption(self, count, consumer).batch(wait)

    async def acknowledge(self, entries: Iterable[QueueEntry | str]) -> None:
        """See ``AsyncQueue.acknowledge``."""
        ids = [entry.id if isinstance(entry, QueueEntry) else entry for entry in entries]
        for first in range(0, len(ids), _MOST_AT_ONCE):
            await self.streams().acknowledge(ids[first : first + _MOST_AT_ONCE])

    async def counts(self) -> QueueCounts:
        """See ``AsyncQueue.counts``."""
        return QueueCounts(*await self.streams().counts())

    async def requeue_parked(self, count: int) -> int:
        """See ``AsyncQueue.requeue_parked``."""
        streams, done = self.streams(), 0
        for entry_id, fields in await streams.parked(count):
            await self.put({name: said for name, said in fields.items() if not name.startswith(_ADDED_WHEN_PARKED)})
            await streams.forget_parked(entry_id)  # in this order: killed in between, there are two of it
            done += 1
        return done

    async def park(self, entry: QueueEntry, reason: str) -> None:
        """Set an entry aside. In this order: killed in between, it is parked twice, and never lost."""
        said = {"id": entry.id, "reason": reason, "deliveries": str(entry.deliveries)}
        added = {f"{_ADDED_WHEN_PARKED}{name}": word for name, word in said.items()}
        if await self.streams().park({**entry.fields, **added}, most=self.max_length) is None:
            _log.error("queue %s: what is parked is as much as may be, so an entry stays where it is", self.name)
            return
        await self.streams().acknowledge([entry.id])
        _log.error("queue %s: an entry is parked (%s), handed out %d times", self.name, reason, entry.deliveries)

    async def aclose(self) -> None:
        """See ``AsyncQueue.aclose``."""
        await self.connections.aclose()

    def __repr__(self) -> str:
        return f"<Queue: {self.name}>"


@final
class Consumption:
    """One consumer's way through a queue, batch by batch. Where nothing comes it sends one command a second."""

    def __init__(self, queue: QueueStory, count: int, consumer: str | None) -> None:
        if type(count) is not int or not 1 <= count <= _MOST_AT_ONCE:
            raise ValueError(f"count: must be a whole number from 1 to {_MOST_AT_ONCE}")
        if consumer is not None and (not isinstance(consumer, str) or _is_name(consumer) is None):
            raise ValueError("consumer: must be 1 to 100 characters of printable ASCII without spaces")
        self._queue = queue
        self._count = count
        self._consumer = consumer or queue.consumer_name()
        self._last = "0-0"
        self._look_at = -math.inf
        self._is_told = False

    async def batch(self, wait: float = math.inf, until: Callable[[], bool] | None = None) -> list[QueueEntry]:
        """The next entries, one at least; none when the time is over, or ``until`` is true between two commands."""
        end = _now() + wait
        while True:
            if until is not None and until():
                return []
            if _now() >= self._look_at:
                entries = await self._taken()
                if entries:
                    return entries
            left = end - _now()
            if left <= 0:
                return []
            quiet = self._look_at - _now()
            if quiet > 0:
                await self._turn(min(left, quiet))

    async def batch_through_outages(self, until: Callable[[], bool] | None) -> list[QueueEntry]:
        """The same without end of time; while Redis does not answer it is asked once a second, and that is logged."""
        while True:
            try:
                batch = await self.batch(until=until)
            except UnavailableError as exc:
                if not self._is_told:
                    _log.warning("queue %s: cannot be read (%s), tried again until it can", self._queue.name, exc)
                self._is_told = True
                await self._queue.connections.here().runtime.sleep(_PAUSE_IN_AN_OUTAGE)
                continue
            self._is_told = False
            return batch

    async def leave(self) -> None:
        """Have the queue forget this consumer, unless he holds something."""
        try:
            await self._queue.streams().leave(self._consumer)
        except UnavailableError:
            _log.info("queue %s: a consumer could not take his leave, and is forgotten after a day", self._queue.name)

    async def _taken(self) -> list[QueueEntry]:
        here = self._queue.connections.here()
        streams = QueueStreams(here.commands, self._queue.name)
        idle_ms = max(1, round(self._queue.redeliver_after * 1000))
        if not here.has_joined:
            await streams.join()
            here.has_joined = True
        found = await streams.take(self._consumer, self._count, idle_ms=idle_ms)
        if found is None:  # somebody has deleted the key: begin anew
            await streams.join()
            found = await streams.take(self._consumer, self._count, idle_ms=idle_ms) or ("0-0", [])
        self._last, taken = found
        entries = []
        for one in taken:
            if one.deliveries > self._queue.max_deliveries:
                await self._queue.park(QueueEntry(one.id, one.fields, one.deliveries - 1), "deliveries")
            else:
                entries.append(QueueEntry(one.id, one.fields, one.deliveries))
        if not taken:
            self._look_at = _now() + min(_LONGEST_WITHOUT_A_LOOK, self._queue.redeliver_after / 4)
        return entries

    async def _turn(self, left: float) -> None:
        here = self._queue.connections.here()
        block, pause = self._queue.connections.turn(left)
        streams = QueueStreams(here.commands, self._queue.name)
        if await streams.wait(self._last, block_ms=max(1, int(block * 1000))):
            self._look_at = -math.inf
        elif pause > 0:
            await here.runtime.sleep(pause)


def _refuse_bad_fields(fields: Fields) -> None:
    if not fields or len(fields) > _MOST_FIELDS:
        raise ValueError(f"fields: must be 1 to {_MOST_FIELDS}")
    for name, said in fields.items():
        if not isinstance(name, str) or not isinstance(said, str | bytes):
            raise TypeError("fields: must map str to str or bytes")
