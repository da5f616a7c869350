"""What a worker of uvicorn serves: a plain ASGI application, and on each answer a word of who gave it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from faces import settings

from authcache_middleware import AsyncAuthCache
from authcache_middleware.asgi import AuthCacheMiddleware

PAUSE = 0.02


def load_user(user_id: str) -> dict[str, Any]:
    return {"id": user_id, "name": Path(os.environ["ROW"]).read_text()}


auth = AsyncAuthCache(
    os.environ["REDIS"],
    load_user=load_user,
    **settings(
        prefix=os.environ["PREFIX"],
        max_staleness=float(os.environ["MAX_STALENESS"]),
        store_timeout=float(os.environ["STORE_TIMEOUT"]),
        connect_timeout=float(os.environ["STORE_TIMEOUT"]),
        deadline=20.0,
        leeway=0.0,
    ),
)


class Ticker:
    """Ticks on the event loop, and knows the longest time between two ticks."""

    longest = 0.0

    async def tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


ticker = Ticker()


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        ticking = asyncio.create_task(ticker.tick())
        for part in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{part}.complete"})
        ticking.cancel()
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["user"].name.encode()})


protected = AuthCacheMiddleware(app, auth=auth)


async def application(scope, receive, send) -> None:
    async def told(message) -> None:
        if message["type"] == "http.response.start":
            stats = auth.stats()
            said = {
                "Pid": os.getpid(),
                "Hits": stats.memory_hits,
                "Trusted": stats.memory_trusted,
                "Gap": ticker.longest,
            }
            added = [(f"x-{name}".lower().encode(), str(value).encode()) for name, value in said.items()]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    if scope["type"] == "http":
        await asyncio.sleep(PAUSE)
    await protected(scope, receive, told)
