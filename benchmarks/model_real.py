"""A small service for real, whose requests are those of the simulation: faces that share a Redis, and what they did.

Each face stands for a process; all share this one and its event loop, and nothing else. What was done is what the
server counted (INFO commandstats), what the faces counted, and what a further link has heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import redis
import redis.asyncio
from pushes_formula import Scale
from pushes_measured import subscribed
from pushes_simulated import LOADING, Event
from scale_measured import cache, headers_of, token_of

from authcache_middleware import AsyncAuthCache
from authcache_middleware.testing import EmbeddedServer

__all__ = ["Counted", "Played", "counted", "events_of"]

_WARM_S = 60.0
_SOMEBODY = 10**9  # who is in no schedule


@dataclass(frozen=True, slots=True)
class Played:
    """The events when they really happened, and from which of those moments on it was counted."""

    events: list[Event]
    count_from: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What a real run came to, per second unless it says otherwise."""

    requests: float
    from_memory: float
    """The share of the requests that no Redis was asked for."""
    gets: float
    leases: float
    revocations: float
    """``HGETALL`` of what was revoked."""
    fills: float
    scripts: float
    """``EVAL``: a claim, which writes a lease where nothing stands, or a fill."""
    deletes: float
    loads: float
    pushes: float
    """Keys of which each process was told."""
    records: float
    """In Redis, at the end; no rate."""
    kept: float
    """Entries in the memory of each face, at the end; no rate."""
    record_bytes: float
    """What the server needs for one of them; no rate."""
    late_ms: float
    """How late requests were begun, p99; no rate. Where it is long the machine was too busy for this."""

    @property
    def commands(self) -> float:
        """All that were sent for requests and invalidations."""
        return self.gets + self.scripts + self.revocations + self.deletes


def events_of(scale: Scale, weights: Sequence[float], seconds: float, seed: int) -> list[Event]:
    """Requests and invalidations at random moments, in order."""
    chance = random.Random(seed)
    cumulated, users = list(accumulate(weights)), range(len(weights))
    requests = int(scale.users * scale.requests / scale.ttl * seconds)
    asked = chance.choices(users, cum_weights=cumulated, k=requests)
    events = [Event(chance.uniform(0, seconds), user, chance.randrange(scale.processes)) for user in asked]
    changes = int(scale.users * scale.invalidations / scale.ttl * seconds)
    events += [Event(chance.uniform(0, seconds), chance.choice(users), None) for _ in range(changes)]
    return sorted(events, key=lambda event: event.when)


def counted(scale: Scale, events: Sequence[Event], *, count_from: float) -> tuple[Counted, Played]:
    """Plays the events in their time, on a Valkey of its own; what came before ``count_from`` does not count.

    A busy machine is late with some of them: they are returned with the moments that they had.
    """
    with EmbeddedServer() as server, redis.Redis.from_url(server.url, protocol=2) as observer:
        return asyncio.run(_Service(server, observer, scale, events, count_from).run())


class _Service:
    def __init__(
        self, server: EmbeddedServer, observer: redis.Redis, scale: Scale, events: Sequence[Event], count_from: float
    ) -> None:
        self._server = server
        self._observer = observer
        self._scale = scale
        self._events = events
        self._count_from = count_from
        self._headers = {user: headers_of(token_of(user)) for user in {event.user for event in events}}
        self._faces: list[AsyncAuthCache[Any]] = []
        self._heard = 0
        self._late: list[float] = []
        self._played: list[Event] = []

    async def run(self) -> tuple[Counted, Played]:
        async with contextlib.AsyncExitStack() as stack:
            options = {
                "load_user": _load, "ttl": self._scale.ttl, "ttl_jitter": 0.0, "refresh_ahead": False,
                "memory_entries": self._scale.entries, "memory_ttl": self._scale.memory_ttl, "max_staleness": 5.0,
            }  # fmt: skip
            for _ in range(self._scale.processes):
                self._faces.append(await stack.enter_async_context(cache(self._server.url, **options)))
            self._writer = await stack.enter_async_context(cache(self._server.url, **{**options, "max_staleness": 0.0}))
            await self._ready()
            listening = asyncio.create_task(self._listen())
            try:
                return await self._through()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _ready(self) -> None:
        """Every memory is trusted; connections are there."""
        end = time.monotonic() + _WARM_S
        for face in (*self._faces, self._writer):
            await face.authenticate(headers_of(token_of(_SOMEBODY)))
        while not all(face.stats().memory_trusted for face in self._faces):
            if time.monotonic() > end:
                raise RuntimeError("memory is not trusted")
            await asyncio.sleep(0.01)
        await self._writer.invalidate(str(_SOMEBODY))

    async def _listen(self) -> None:
        link = redis.asyncio.Connection(host="127.0.0.1", port=self._server.port, protocol=2, socket_timeout=None)
        await subscribed(link, True)
        try:
            while True:
                _, _, keys = await link.read_response()
                self._heard += len(keys)
        finally:
            await link.disconnect()

    async def _through(self) -> tuple[Counted, Played]:
        loop = asyncio.get_running_loop()
        began, under_way, before, first = loop.time(), set[asyncio.Task[None]](), None, 0
        for event in self._events:
            if before is None and event.when >= self._count_from:
                self._observer.config_resetstat()
                before = self._totals()
                first = len(self._played)
            await asyncio.sleep(max(0.0, began + event.when - loop.time()))
            self._played.append(replace(event, when=loop.time() - began))
            self._late.append(self._played[-1].when - event.when)
            task = asyncio.create_task(self._play(event))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if before is None:
            raise ValueError("nothing is to be counted")
        count_from = self._played[first].when
        found = self._made(self._played[-1].when - count_from, before, self._totals())
        return found, Played(self._played, count_from)

    async def _play(self, event: Event) -> None:
        if event.process is None:
            await self._writer.invalidate(str(event.user))
        else:
            await self._faces[event.process].authenticate(self._headers[event.user])

    def _totals(self) -> dict[str, float]:
        stats = [face.stats() for face in self._faces]
        memory, asked = sum(each.memory_hits for each in stats), sum(each.redis_hits + each.misses for each in stats)
        loads = sum(each.loads for each in stats)
        return {"memory": memory, "requests": memory + asked, "loads": loads, "pushes": self._heard}

    def _made(self, seconds: float, before: dict[str, float], after: dict[str, float]) -> Counted:
        done = {name: (after[name] - before[name]) / seconds for name in after}
        calls: Any = self._observer.info("commandstats")
        sent = {name.removeprefix("cmdstat_"): each["calls"] / seconds for name, each in calls.items()}
        scripts = sent.get("eval", 0) + sent.get("evalsha", 0)
        leases = sent.get("time", 0)  # only a claim that wrote its lease has asked for the time
        records, size = self._records()
        return Counted(
            requests=done["requests"],
            from_memory=done["memory"] / done["requests"],
            gets=sent.get("get", 0) + sent.get("mget", 0) - scripts,  # each script does one inside the server
            leases=leases,
            revocations=sent.get("hgetall", 0),
            fills=sent.get("set", 0) - leases,
            scripts=scripts,
            deletes=sent.get("del", 0),
            loads=done["loads"],
            pushes=done["pushes"],
            records=records,
            kept=sum(face.stats().memory_entries for face in self._faces) / len(self._faces),
            record_bytes=size,
            late_ms=sorted(self._late)[int(len(self._late) * 0.99)] * 1000,
        )

    def _records(self) -> tuple[float, float]:
        names = list(self._observer.scan_iter(match="user:*", count=1000))
        with self._observer.pipeline(transaction=False) as batch:
            for name in names:
                batch.memory_usage(name)
            sizes = [size for size in batch.execute() if size is not None]
        return len(sizes), sum(sizes) / max(1, len(sizes))


async def _load(user_id: str) -> dict[str, Any]:
    await asyncio.sleep(LOADING)
    return {
        "id": int(user_id), "name": f"Ada Lovelace {user_id}", "email": f"ada{user_id}@example.com",
        "status": "active", "role": "admin", "plan": "pro", "created_at": "2025-01-01T00:00:00",
        "last_activity_at": "2026-01-01T00:00:00",
    }  # fmt: skip
