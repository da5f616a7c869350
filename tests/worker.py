"""One process of a test that needs several: ``python worker.py <face> <url> <prefix> <scenario> [seed]``.

The database is in Redis too, under keys beside the cache's, so that all processes see one and the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis
import redis.asyncio
from faces import headers, settings, token_for

from authcache_middleware import AsyncAuthCache, AuthCache, UnavailableError
from authcache_middleware.cache.memory import Memory
from authcache_middleware.cache.store import Store
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.redis.store import RedisStore
from authcache_middleware.reporter import Reporter

CALLERS = 50
USERS = 150
PATIENCE = 30.0  # of each command, in seconds: a loaded machine is slow, and no answer of this test is about that
CHANGES = 4
ASKS = 8
MAX_STALENESS = 0.3


class PlainSet:
    """The store with its compare-and-set replaced by a plain ``SET``: what must be found out."""

    def __init__(self, store: RedisStore, client: redis.Redis) -> None:
        self._client = client
        for name in vars(Store).keys() - {"compare_and_set"}:
            if not name.startswith("_"):
                setattr(self, name, getattr(store, name))

    async def compare_and_set(self, key, expected, value, *, ttl_ms):
        self._client.set(key, value, px=ttl_ms)
        return True


class Worker:
    """What both faces do alike: a database in Redis and a way to run many callers at once."""

    def __init__(self, kind: str, url: str, prefix: str, scenario: str, seed: int) -> None:
        self.kind, self.prefix, self.scenario = kind, prefix, scenario
        self.random = random.Random(seed)
        self.database = redis.Redis.from_url(url, max_connections=2 * USERS + CALLERS, socket_timeout=PATIENCE)
        if kind == "async":
            self.face = AsyncAuthCache(self.source(url), load_user=self.load_later, **self.options())
        else:
            self.face = AuthCache(self.source(url), load_user=self.load, **self.options())

    def options(self) -> dict:
        timing = {"store_timeout": PATIENCE, "connect_timeout": PATIENCE, "loader_timeout": PATIENCE, "deadline": 120.0}
        if self.scenario == "killed":  # what its heirs wait for is the end of its lease: loader_timeout + store_timeout
            timing |= {"store_timeout": 2.0, "loader_timeout": 0.5}
        if self.scenario in {"memory", "deaf"}:
            timing["max_staleness"] = MAX_STALENESS
        return settings(prefix=self.prefix, loader_concurrency=200, **timing)

    def source(self, url: str):
        if self.scenario != "plain-set":
            return url
        target = RedisTarget(
            url,
            asynchronous=self.kind == "async",
            timeout=PATIENCE,
            connect_timeout=PATIENCE,
            max_connections=32,
            wait_replicas=0,
        )
        return PlainSet(target.open(Breaker(time.monotonic, Reporter())).store, self.database)

    # -- the database

    def read(self, user_id: str) -> tuple[dict, float]:
        """The row, and how long it takes to get it here."""
        if self.scenario in {"stampede", "killed"}:
            self.database.incr(f"{self.prefix}loads")
            if self.scenario == "killed" and self.database.set(f"{self.prefix}holder", os.getpid(), nx=True):
                return {}, 60.0
            return {"id": user_id}, 0.05
        version = int(self.database.get(f"{self.prefix}row:{user_id}") or 0)
        return {"version": version}, self.random.uniform(0, 0.006)

    def load(self, user_id: str) -> dict:
        row, pause = self.read(user_id)
        time.sleep(pause)
        return row

    async def load_later(self, user_id: str) -> dict:
        row, pause = self.read(user_id)
        await asyncio.sleep(pause)
        return row

    # -- what a caller does, as a list of steps so that one story serves both faces

    def run(self, stories: list[Callable]) -> list:
        """All stories at once; each is a generator that yields ``(method, *arguments)`` or a pause in seconds."""
        if self.kind == "async":

            async def everything() -> list:
                results = await asyncio.gather(*(self.told(story()) for story in stories))
                await self.face.aclose()
                return results

            return asyncio.run(everything())
        with ThreadPoolExecutor(len(stories)) as threads:
            return list(threads.map(lambda story: self.told_here(story()), stories))

    async def told(self, story):
        answer = None
        while True:
            try:
                step = story.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, float):
                answer = await asyncio.sleep(step)
            else:
                try:
                    answer = await getattr(self.face, step[0])(*step[1:])
                except UnavailableError as exc:
                    answer = exc

    def told_here(self, story):
        answer = None
        while True:
            try:
                step = story.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, float):
                answer = time.sleep(step)
            else:
                try:
                    answer = getattr(self.face, step[0])(*step[1:])
                except UnavailableError as exc:
                    answer = exc


def caller(worker: Worker):
    """Ask once for the one user; served or not."""
    token = headers(token_for("cold"))

    def story():
        answer = yield "authenticate", token
        return not isinstance(answer, UnavailableError)

    return story


def changer(worker: Worker, user_id: str):
    """Change the row, invalidate, and only then say that this version is the least that may be seen."""

    def story():
        for _ in range(CHANGES):
            yield worker.random.uniform(0, 1.0 if worker.scenario in {"memory", "deaf"} else 0.02)
            version = worker.database.incr(f"{worker.prefix}row:{user_id}")
            answer = yield "invalidate", user_id
            assert answer is None, answer
            worker.database.eval(
                "if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) "
                "then redis.call('SET', KEYS[1], ARGV[1]) end",
                1,
                f"{worker.prefix}floor:{user_id}",
                version,
            )
        return 0, 0

    return story


def asker(worker: Worker, user_id: str):
    """Ask again and again; count the answers that are older than what had been invalidated before the question."""
    token = headers(token_for(user_id))

    def story():
        stale = asked = 0
        for _ in range(ASKS):
            yield worker.random.uniform(0, 0.012)
            floor = int(worker.database.get(f"{worker.prefix}floor:{user_id}") or 0)
            if worker.scenario in {"memory", "deaf"}:
                yield MAX_STALENESS + 0.01  # from here on memory may not be older than that floor
            answer = yield "authenticate", token
            assert not isinstance(answer, UnavailableError), answer
            asked += 1
            stale += answer.user.version < floor
        return asked, stale

    return story


def main() -> None:
    kind, url, prefix, scenario, *seed = sys.argv[1:]
    worker = Worker(kind, url, prefix, scenario, int(seed[0]) if seed else 0)
    worker.database.incr(f"{prefix}ready")
    while not worker.database.exists(f"{prefix}go"):
        time.sleep(0.002)
    if scenario in {"stampede", "killed"}:
        print(json.dumps({"served": sum(worker.run([caller(worker) for _ in range(CALLERS)]))}))
        return
    stories = []
    for number in range(USERS):
        stories += [changer(worker, str(number)), asker(worker, str(number))]
    if scenario == "deaf":
        Memory.drop = lambda _self, _key: None
    results = worker.run(stories)
    report = {"asked": sum(asked for asked, _ in results), "stale": sum(stale for _, stale in results)}
    print(json.dumps({**report, "from_memory": worker.face.stats().memory_hits}))


if __name__ == "__main__":
    main()
