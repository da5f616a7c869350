"""Redis forgets everything while requests go on coming: each user is loaded once, and by few at a time."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from faces import headers, settings, token_for, wait_until

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.testing.server import EmbeddedServer

RATE = 500.0  # requests a second, whatever becomes of those before
MOST = 128  # but no more at once, as a server would let in: a machine that is too slow gets them later
TWICE = 10  # every so manieth user asks twice at once

Requests = list[list[tuple[str, str]]]


class Database:
    """A row for everybody; how often each was asked for, and how many asked at once."""

    def __init__(self) -> None:
        self.takes = 0.0
        self.loads: Counter[str] = Counter()
        self.most = 0
        self._now = 0
        self._mutex = threading.Lock()

    def forget_counts(self) -> None:
        self.loads, self.most = Counter(), 0

    def load(self, user_id: str) -> dict[str, Any]:
        self._begin(user_id)
        time.sleep(self.takes)
        self._end()
        return {"id": user_id}

    async def aload(self, user_id: str) -> dict[str, Any]:
        self._begin(user_id)
        await asyncio.sleep(self.takes)
        self._end()
        return {"id": user_id}

    def _begin(self, user_id: str) -> None:
        with self._mutex:
            self.loads[user_id] += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def _end(self) -> None:
        with self._mutex:
            self._now -= 1


class Tasks:
    """The asynchronous face."""

    def __init__(self, url: str, database: Database, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._auth = AsyncAuthCache(url, load_user=database.aload, **options)

    def ask(self, requests: Requests, rate: float | None) -> list[Any]:
        return self._runner.run(self._ask(requests, rate))

    def stats(self) -> Any:
        async def stats() -> Any:
            await asyncio.sleep(0.01)  # the link's turn
            return self._auth.stats()

        return self._runner.run(stats())

    def close(self) -> None:
        self._runner.run(self._auth.aclose())
        self._runner.close()

    async def _ask(self, requests: Requests, rate: float | None) -> list[Any]:
        places = asyncio.Semaphore(MOST)

        async def ask(one: list[tuple[str, str]]) -> Any:
            async with places:
                return await self._auth.authenticate(one)

        tasks, began = [], time.monotonic()
        for number, one in enumerate(requests):
            if rate is not None and (early := began + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(ask(one)))
        return await asyncio.gather(*tasks, return_exceptions=True)


class Threads:
    """The blocking face."""

    def __init__(self, url: str, database: Database, **options: Any) -> None:
        self._auth = AuthCache(url, load_user=database.load, **options)
        self.close = self._auth.close
        self.stats = self._auth.stats

    def ask(self, requests: Requests, rate: float | None) -> list[Any]:
        with ThreadPoolExecutor(MOST) as threads:
            answers, began = [], time.monotonic()
            for number, one in enumerate(requests):
                if rate is not None and (early := began + number / rate - time.monotonic()) > 0:
                    time.sleep(early)
                answers.append(threads.submit(self._auth.authenticate, one))
            return [answer.exception() or answer.result() for answer in answers]


def asked_by(users: list[str]) -> Requests:
    return [headers(token_for(user)) for user in users]


@pytest.fixture(params=[Tasks, Threads])
def storm(request) -> Callable[..., Database]:
    """A function that lets it come, and gives the database as it was asked in it."""

    def run(count: int, *, cap: int, takes: float) -> Database:
        database = Database()
        # what is slow here is the machine
        patient = {"deadline": 100.0, "store_timeout": 10.0, "connect_timeout": 10.0, "loader_timeout": 20.0}
        options = settings(max_staleness=5.0, loader_concurrency=cap, **patient)
        users = [str(number) for number in range(count)]
        random.Random(3).shuffle(users)
        coming = asked_by([user for user in users for _ in range(2 if int(user) % TWICE == 0 else 1)])
        with EmbeddedServer() as server, redis.Redis.from_url(server.url) as other:
            face = request.param(server.url, database, **options)
            try:
                for _ in range(2):  # what the first loads, the second keeps in memory
                    face.ask(asked_by(users), None)
                assert (face.stats().unavailable, face.stats().refused) == (0, 0)
                assert set(database.loads.values()) == {1}
                wait_until(lambda: face.stats().memory_trusted)
                database.forget_counts()
                database.takes = takes
                other.flushall()
                wait_until(lambda: face.stats().memory_entries == 0)
                began = time.monotonic()
                answers = face.ask(coming, RATE)
                rate = len(answers) / (time.monotonic() - began)
                stats = face.stats()
            finally:
                face.close()
        assert Counter(type(answer).__name__ for answer in answers) == {"Identity": len(coming)}
        assert (stats.unavailable, stats.refused) == (0, 0)
        print(
            f"{request.param.__name__}: {len(coming):,} requests of {count:,} users answered with 200 at {rate:.0f}/s; "
            f"{database.loads.total():,} loads, {max(database.loads.values())} a user at most, {database.most} at once "
            f"(cap {cap})"
        )
        return database

    return run


def test_who_is_forgotten_is_loaded_once_and_by_few_at_a_time(storm) -> None:
    database = storm(200, cap=4, takes=0.012)  # 333 loads a second at most
    assert database.loads == {str(number): 1 for number in range(200)}
    assert database.most == 4


@pytest.mark.slow
def test_ten_thousand_are_forgotten(storm) -> None:
    database = storm(10_000, cap=32, takes=0.05)
    assert database.loads == {str(number): 1 for number in range(10_000)}
    assert database.most <= 32
