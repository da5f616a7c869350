"""Ways in which many requests at once find one user: ours on both faces, and cache-aside as it is usually written."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Self

import redis.asyncio

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.testing import issue_token

__all__ = ["WAYS", "Database", "Way"]

_SECRET = "only for this benchmark, Hc2mT8xJ5vR9wL4k"  # noqa: S105
_PATIENT = {"store_timeout": 10.0, "connect_timeout": 10.0, "deadline": 60.0, "loader_timeout": 20.0}
_OPTIONS: dict[str, Any] = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None, **_PATIENT}
_THREADS = 256


class Database:
    """Knows everybody, and takes its time."""

    def __init__(self, takes: float) -> None:
        self._takes = takes
        self._mutex = threading.Lock()
        self.loads = 0

    def load(self, user_id: str) -> dict[str, Any]:
        """The row."""
        self._count()
        time.sleep(self._takes)
        return {"id": user_id, "name": "Ann"}

    async def aload(self, user_id: str) -> dict[str, Any]:
        """The same, awaited."""
        self._count()
        await asyncio.sleep(self._takes)
        return {"id": user_id, "name": "Ann"}

    def _count(self) -> None:
        with self._mutex:
            self.loads += 1


class Way(AbstractContextManager[Any]):
    """One way to find a user, given a Redis, a database, and how many ask at once at most."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def ask(self, user_id: str, times: int) -> list[float]:
        """So many times at once: the seconds that each has taken, negative where it has failed."""
        return self._runner.run(self._all(user_id, times))

    def is_ready(self) -> bool:
        """Whether it need not be waited for any longer."""
        return True

    async def _all(self, user_id: str, times: int) -> list[float]:
        began = time.perf_counter()
        return await asyncio.gather(*(self._timed(user_id, began) for _ in range(times)))

    async def _timed(self, user_id: str, began: float) -> float:
        """Counted from when all of them came."""
        try:
            await self._one(user_id)
        except Exception:  # noqa: BLE001 - whatever it is, the request has failed
            return began - time.perf_counter()
        return time.perf_counter() - began

    async def _one(self, user_id: str) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._runner.run(self._close())
        self._runner.close()


class _Ours(Way):
    def __init__(self, url: str, database: Database, _requests: int) -> None:
        super().__init__()
        self._auth = AsyncAuthCache(url, load_user=database.aload, **_OPTIONS)
        self._headers: dict[str, list[tuple[str | bytes, str | bytes]]] = {}

    def is_ready(self) -> bool:
        async def trusted() -> bool:
            await asyncio.sleep(0.01)  # the link's turn
            return self._auth.stats().memory_trusted

        return self._runner.run(trusted())

    async def _one(self, user_id: str) -> None:
        await self._auth.authenticate(self._headers[user_id])

    async def _all(self, user_id: str, times: int) -> list[float]:
        self._headers[user_id] = _headers(user_id)
        return await super()._all(user_id, times)

    async def _close(self) -> None:
        await self._auth.aclose()


class _OursInThreads(Way):
    """A thread for each request, 256 at most."""

    def __init__(self, url: str, database: Database, requests: int) -> None:
        super().__init__()
        self._auth = AuthCache(url, load_user=database.load, **_OPTIONS)
        self._threads = ThreadPoolExecutor(min(requests, _THREADS))

    def is_ready(self) -> bool:
        return self._auth.stats().memory_trusted

    def ask(self, user_id: str, times: int) -> list[float]:
        headers = _headers(user_id)
        began = time.perf_counter()

        def one(_: int) -> float:
            try:
                self._auth.authenticate(headers)
            except Exception:  # noqa: BLE001
                return began - time.perf_counter()
            return time.perf_counter() - began

        return list(self._threads.map(one, range(times)))

    async def _close(self) -> None:
        self._threads.shutdown()
        self._auth.close()


class _Naive(Way):
    """Cache-aside, as it is usually written, with a pool that opens as many connections as are wanted."""

    def __init__(self, url: str, database: Database, requests: int) -> None:
        super().__init__()
        self._load = database.aload
        self._client = redis.asyncio.Redis.from_url(url, max_connections=requests + 1)

    async def _one(self, user_id: str) -> None:
        name = f"naive:{user_id}"
        if await self._client.get(name) is None:
            row = await self._load(user_id)
            await self._client.set(name, row["name"], ex=3600)

    async def _close(self) -> None:
        await self._client.aclose()


class _NaiveByDefault(_Naive):
    """The same with the pool as it comes: redis-py 8 raises when 100 connections are open."""

    def __init__(self, url: str, database: Database, requests: int) -> None:
        super().__init__(url, database, requests)
        self._client = redis.asyncio.Redis.from_url(url)


WAYS: dict[str, Callable[[str, Database, int], Way]] = {
    "ours, asyncio": _Ours,
    "ours, threads": _OursInThreads,
    "cache-aside": _Naive,
    "cache-aside, default pool": _NaiveByDefault,
}


def _headers(user_id: str) -> list[tuple[str | bytes, str | bytes]]:
    return [("Authorization", f"Bearer {issue_token(_SECRET, subject=user_id, lifetime=3600)}")]
