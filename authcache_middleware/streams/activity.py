"""Last activity, from memory to Redis and to a queue: seldom, many users at once, and never in a request."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, final

from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.last_seen import LastSeen
from authcache_middleware.redis.queue import Fields
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Runtime, Stop
from authcache_middleware.streams.marks import Mark, Marks

__all__ = ["ActivityFlow", "ActivityRow", "SeenUsers", "rows_in"]

_ROWS_OF_AN_ENTRY: Final = 500
_SECONDS_BETWEEN_TRIMS: Final = 60.0
_LONGEST_TIME: Final = 1e12

_log = logging.getLogger("authcache_middleware")


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """A user's last activity, as ``save_activity`` gets it: the larger ``last_seen`` of a user is the one to keep."""

    user_id: str = field(repr=False)
    last_seen: float
    """Seconds since 1970."""
    issuer: str | None = None
    """The issuer's alias; ``None`` where it has none."""


class SeenUsers(NamedTuple):
    """One issuer's sorted set, and which keys of records are of its users."""

    prefix: str
    alias: str | None
    last_seen: LastSeen


@final
class ActivityFlow:
    """Takes marks out of memory every ``flush_every`` seconds and writes them down.

    What cannot be written is kept, as far as there is room, and tried the next time. ``keep``: for how many seconds the
    sorted sets know of a user who is not seen again. ``put``: the queue that gets the same rows, if there is one.
    """

    def __init__(
        self,
        marks: Marks,
        users: Sequence[SeenUsers],
        *,
        flush_every: float,
        keep: float,
        most: int,
        put: Callable[[Fields], Awaitable[str]] | None,
        wall: Callable[[], float],
        runtime: Runtime,
        reporter: Reporter,
    ) -> None:
        self._marks = marks
        self._users = users
        self._flush_every = flush_every
        self._keep = keep
        self._most = most
        self._put = put
        self._wall = wall
        self._runtime = runtime
        self._reporter = reporter
        self._unqueued: dict[str, float] = {}
        self._trimmed_at = -math.inf
        self._is_told = False

    async def run(self, stop: Stop) -> None:
        """Flush again and again, until it is stopped."""
        while not await stop.wait(self._flush_every):
            await self.flush()

    async def flush(self, *, all_of_them: bool = False) -> None:
        """Write down whose time has come, or all. Never raises: what has failed is counted, and said once."""
        now = self._wall()
        try:
            await self._write(now, all_of_them=all_of_them)
            await self._queue()
            await self._trim(now)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the next flush comes
            self._reporter.activity_failures += 1
            if not self._is_told:
                why = exc if isinstance(exc, UnavailableError) else type(exc).__name__
                _log.warning("last activity cannot be written (%s): it is kept, and tried again", why)
            self._is_told = True
        else:
            self._is_told = False
        dropped, self._marks.dropped = self._marks.dropped, 0
        self._reporter.activity_dropped += dropped

    async def _write(self, now: float, *, all_of_them: bool) -> None:
        for batch in self._marks.batches(now, all_of_them=all_of_them):
            if not batch:
                await self._runtime.sleep(0)
                continue
            left = batch
            try:
                for users in self._users:
                    rows = [(key.removeprefix(users.prefix), at) for key, at in batch if key.startswith(users.prefix)]
                    if rows:
                        await users.last_seen.record(rows)
                left = []
            finally:
                self._marks.put_back(left)  # also where this was cancelled
            self._reporter.activity_writes += len(batch)
            if self._put is not None:
                self._remember(batch)

    def _remember(self, batch: Sequence[Mark]) -> None:
        for key, at in batch:
            if len(self._unqueued) < self._most or key in self._unqueued:
                self._unqueued[key] = at
            else:
                self._marks.dropped += 1

    async def _queue(self) -> None:
        """An entry goes to the queue before it is forgotten here: cancelled in between, it goes twice."""
        while self._put is not None and self._unqueued:
            some = list(self._unqueued.items())[:_ROWS_OF_AN_ENTRY]
            rows = [self._row(key, at) for key, at in some]
            await self._put({"type": "activity", "rows": json.dumps(rows, ensure_ascii=False, separators=(",", ":"))})
            for key, at in some:
                if self._unqueued.get(key) == at:  # and not seen again meanwhile
                    self._unqueued.pop(key, None)

    def _row(self, key: str, at: float) -> tuple[str, float, str | None]:
        users = next(users for users in self._users if key.startswith(users.prefix))
        return key.removeprefix(users.prefix), round(at, 3), users.alias

    async def _trim(self, now: float) -> None:
        if not 0 <= now - self._trimmed_at < _SECONDS_BETWEEN_TRIMS:
            for users in self._users:
                await users.last_seen.forget(now - self._keep)
            self._trimmed_at = now


def rows_in(fields: Mapping[str, bytes]) -> list[ActivityRow]:
    """The rows of a queue's entry. Raises ``ValueError`` where it is no such entry."""
    try:
        rows: Any = json.loads(fields.get("rows", b""))
    except RecursionError:
        raise ValueError("rows: must not be that deep") from None
    if not isinstance(rows, list):
        raise ValueError("rows: must be a list")  # noqa: TRY004 - one error for whatever is wrong with it
    found = []
    for row in rows:
        match row:
            case [str() as user_id, int() | float() as last_seen, str() | None as alias] if _is_time(last_seen):
                found.append(ActivityRow(user_id, float(last_seen), alias))
            case _:
                raise ValueError("rows: must be lists of a user, a time and an issuer or null")
    return found


def _is_time(number: float) -> bool:
    return not isinstance(number, bool) and abs(number) <= _LONGEST_TIME  # which no NaN is
