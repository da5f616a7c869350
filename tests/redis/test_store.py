"""The store on Redis, in both ways of waiting, and the one in memory: one contract."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.redis.store import RedisStore
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock, MemoryStore, StoreContract

BREAKER = Breaker(time.monotonic, Reporter())


def target(url: str, *, asynchronous: bool) -> RedisTarget:
    return RedisTarget(url, asynchronous=asynchronous, timeout=1, connect_timeout=1, max_connections=4, wait_replicas=0)


class OnRedis(StoreContract):
    @pytest.fixture
    def key(self, run, store: RedisStore) -> Iterator[str]:
        key = f"{uuid.uuid4().hex}:user:1"
        yield key
        run(store.delete(key))

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        return time.sleep  # the server's own clock: nobody can turn it

    def test_revocations_written_by_other_hands_are_not_guessed_at(self, store, run, key, every_redis_url) -> None:
        with redis.Redis.from_url(every_redis_url) as other:
            other.hset(key, "t:one", "soon")
        with pytest.raises(UnavailableError):
            run(store.revocations(key))


class TestAsyncRedisStore(OnRedis):
    @pytest.fixture
    def run(self) -> Iterator[Callable]:
        with asyncio.Runner() as runner:
            yield runner.run

    @pytest.fixture
    def store(self, every_redis_url: str, run: Callable) -> Iterator[RedisStore]:
        async def opened() -> RedisStore:
            return target(every_redis_url, asynchronous=True).open(BREAKER).store

        store = run(opened())
        yield store
        run(store.aclose())


class TestBlockingRedisStore(OnRedis):
    @pytest.fixture
    def run(self) -> Callable:
        return finish

    @pytest.fixture
    def store(self, every_redis_url: str) -> Iterator[RedisStore]:
        store = target(every_redis_url, asynchronous=False).open(BREAKER).store
        yield store
        finish(store.aclose())


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock)

    @pytest.fixture
    def run(self) -> Callable:
        return finish

    @pytest.fixture
    def key(self) -> str:
        return "user:1"

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> Callable[[float], None]:
        return clock.advance

    def test_a_store_that_is_down_says_so(self, store: MemoryStore) -> None:
        store.down = True
        with pytest.raises(UnavailableError):
            finish(store.get("user:1"))
