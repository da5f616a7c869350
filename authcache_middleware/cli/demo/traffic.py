"""Many requests at once, and what came back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from authcache_middleware.cli.demo.child import Child
from authcache_middleware.cli.demo.stage import Stage

__all__ = ["Call", "Traffic", "send"]


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One ``GET /me`` to be sent."""

    service: Child
    user_id: int
    token: str


@dataclass(slots=True)
class Traffic:
    """What became of the calls."""

    statuses: Counter[int] = field(default_factory=Counter)
    mixed_up: int = 0
    """Answers that showed another user than the token's."""
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds that each call took."""

    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """The latency that this share of the calls did not exceed, in seconds."""
        return sorted(self.latencies)[(len(self.latencies) - 1) * percent // 100]


async def send(stage: Stage, calls: Iterable[Call], *, at_once: int) -> Traffic:
    """Sends the calls in their order, so many at a time."""
    traffic = Traffic()
    waiting = iter(calls)

    async def worker() -> None:
        for call in waiting:
            started = time.perf_counter()
            response = await stage.call(call.service, "/me", call.token)
            traffic.latencies.append(time.perf_counter() - started)
            traffic.statuses[response.status_code] += 1
            traffic.mixed_up += response.is_success and response.json()["id"] != call.user_id

    started = time.perf_counter()
    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(worker())
    traffic.seconds = time.perf_counter() - started
    return traffic
