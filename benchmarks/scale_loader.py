"""What a cold user costs as the loader takes longer: a measurement of ``scale.py``, in a process of its own.

As a script it takes the loader's milliseconds, how often, and the URL of a Redis, and prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from scale_measured import cache, headers_of, token_of

__all__ = ["loader"]

_AT_ONCE = 32  # as many as load at once when nobody says otherwise
_WAITING = 50
_WARM_S = 60.0


async def loader(url: str, milliseconds: int, repeats: int) -> dict[str, float]:
    """Cold users 32 at once, each with a load of so long; and one cold user for whom 50 requests come at once."""
    loads = 0

    async def load(user_id: str) -> dict[str, Any]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(milliseconds / 1000)
        return {"id": user_id, "name": "Ada"}

    async with cache(url, load_user=load, loader_timeout=10.0) as auth:
        await auth.authenticate(headers_of(token_of(0)))
        end = time.monotonic() + _WARM_S
        while not auth.stats().memory_trusted and time.monotonic() < end:
            await asyncio.sleep(0.01)

        async def timed(headers: Any) -> float:
            began = time.perf_counter()
            await auth.authenticate(headers)
            return time.perf_counter() - began

        cold_us, added_ms, storm_loads = [], [], []
        for number in range(repeats + 1):  # the first is for warmth
            cold = [headers_of(token_of(_AT_ONCE * (number + 1) + user)) for user in range(_AT_ONCE)]
            began = time.process_time()
            took = await asyncio.gather(*map(timed, cold))
            cold_us.append((time.process_time() - began) / _AT_ONCE * 1e6)
            added_ms.append(statistics.median(took) * 1000 - milliseconds)
            before, storm = loads, headers_of(token_of(_AT_ONCE * (repeats + 10) + number))
            await asyncio.gather(*(timed(storm) for _ in range(_WAITING)))
            storm_loads.append(loads - before)
    return {
        "loader_ms": milliseconds,
        "cold_us": statistics.median(cold_us[1:]),
        "added_ms": statistics.median(added_ms[1:]),
        "loads_of_one": max(storm_loads),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(loader(sys.argv[3], int(sys.argv[1]), int(sys.argv[2])))))  # noqa: T201
