"""What a request costs as users, concurrency, tokens and records grow. Each of these runs in a process of its own.

Costs are processor time of this process, in microseconds a request. As a script it takes the name of a measurement and
its size, and the URL of a Redis, and prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hmac
import itertools
import json
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import jwt
import redis.asyncio

from authcache_middleware import AsyncAuthCache
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import NO_REVOCATIONS, Record, pack_record

__all__ = ["MEASUREMENTS", "cache", "concurrency", "headers_of", "record", "store", "token", "token_of", "users"]

_SECRET = "only for this benchmark, Wp6dB3yS9nF1kZ7q"  # noqa: S105
_LONG_S = 24 * 3600.0
_PATIENT: dict[str, Any] = {"store_timeout": 30.0, "connect_timeout": 10.0, "deadline": 60.0}
_ASKED = 2000
_AT_ONCE = 64
_BATCH = 256
_FEW = 20  # while memory is not trusted yet
_FIELDS = 8
_ids = itertools.count()
_WARM_S = 60.0

Headers = list[tuple[str | bytes, str | bytes]]


async def users(url: str, count: int, repeats: int) -> dict[str, float]:
    """So many users with a token each, in memory: the room that they take, garbage collections, and hits."""
    found = await _filled(url, count, repeats)
    # Right after they were let go, since the machine is not the same minutes later.
    found["gc_added_ms"] = found["gc_ms"] - _collection_ms()
    found["gc_objects_added"] = found["gc_objects"] - len(gc.get_objects())
    return found


async def _filled(url: str, count: int, repeats: int) -> dict[str, float]:
    most = 4 * count + 50_000  # nobody makes room for others
    async with cache(url, memory_entries=most, token_entries=most, token_bytes=1 << 40) as auth:
        await store(auth, url, count, _FIELDS)
        before = _resident()
        began = time.process_time()
        for numbers in _batches(count):
            await _all(auth.resolve(_claims(number)) for number in numbers)
        user_us = (time.process_time() - began) / count * 1e6
        while auth.stats().memory_entries < count:  # on a busy machine memory may not have been trusted for a while
            for numbers in _batches(count):
                await _all(auth.resolve(_claims(number)) for number in numbers)
        with_users = _resident()
        own, keep = 0, max(1, count // _ASKED)
        some: list[str] = []  # text, which the garbage collector need not walk
        for numbers in _batches(count):
            tokens = [token_of(number) for number in numbers]
            await _all(auth.authenticate(headers_of(one)) for one in tokens)
            own += sum(map(len, tokens)) + len("Bearer ") * len(tokens)
            some += [one for number, one in zip(numbers, tokens, strict=True) if number % keep == 0]
        with_tokens = _resident()
        stats = auth.stats()
        if (stats.memory_entries, stats.token_entries, stats.loads) != (count, count, 0):
            raise RuntimeError(f"not everybody is in memory: {stats}")
        sample = [headers_of(one) for one in some]
        first_us = await _cost(lambda: _one_by_one(map(auth.authenticate, sample)), len(sample), 1)
        hit_us = await _cost(lambda: _recall(auth, sample), len(sample), repeats)
        if auth.stats().redis_hits != stats.redis_hits:
            raise RuntimeError("Redis was asked")
        gc_ms, objects = _collection_ms(), len(gc.get_objects())
    return {
        "users": count,
        "bytes_per_user": (with_users - before) / count,
        "bytes_per_token": (with_tokens - with_users - own) / count,
        "own_bytes_per_token": own / count,
        "gc_ms": gc_ms,
        "gc_objects": objects,
        "fill_us": user_us,
        "first_hit_us": first_us,
        "hit_us": hit_us,
    }


async def concurrency(url: str, count: int, repeats: int) -> dict[str, float]:
    """So many requests at once for users who are in Redis, beside as many bare GETs of redis-py."""
    async with cache(url, max_staleness=0.0) as auth:
        await store(auth, url, count, _FIELDS)
        names = [auth.key(str(number)) for number in range(count)]
        headers = [headers_of(token_of(number)) for number in range(count)]
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_AT_ONCE, timeout=None, protocol=2)
        async with contextlib.aclosing(redis.asyncio.Redis.from_pool(pool)) as client:
            times = max(1, _ASKED // count)
            ours, gets = [], []
            for _ in range(repeats):  # in turn
                ours.append(await _cost(lambda: _all(map(auth.authenticate, headers)), count, times, warm=True))
                gets.append(await _cost(lambda: _all(map(client.get, names)), count, times, warm=True))
    return {
        "concurrency": count,
        "ours_us": statistics.median(ours),
        "get_us": statistics.median(gets),
        "ratio": statistics.median(one / other for one, other in zip(ours, gets, strict=True)),
    }


async def token(url: str, size: int, repeats: int) -> dict[str, float]:
    """A token of about so many bytes: when it is known, and when it is new, beside ``jwt.decode``."""
    padding = "x" * max(0, (size - len(token_of(0))) * 3 // 4)
    padded = [token_of(0, note=padding) for _ in range(_ASKED // 4)]
    async with cache(url) as auth, cache(url, token_entries=1) as forgetful:
        await store(auth, url, 1, _FIELDS)
        for one in (auth, forgetful):
            await _trusted(one, padded[0])
        known, new = [headers_of(padded[0])] * _ASKED, [headers_of(one) for one in padded]
        known_us = await _cost(lambda: _recall(auth, known), len(known), repeats)
        new_us, decode_us = [], []
        for _ in range(repeats + 1):  # in turn; the first is for warmth
            new_us.append(await _cost(lambda: _one_by_one(map(forgetful.authenticate, new)), len(new), 1))
            decode_us.append(await _cost(lambda: _decode(padded), len(padded), 1))
        if forgetful.stats().redis_hits > _FEW:
            raise RuntimeError("memory did not answer")
    return {
        "bytes": len(padded[0]),
        "known_us": known_us,
        "new_us": statistics.median(new_us[1:]),
        "pyjwt_us": statistics.median(decode_us[1:]),
        "ratio": statistics.median(one / other for one, other in zip(new_us[1:], decode_us[1:], strict=True)),
    }


async def record(url: str, fields: int, repeats: int) -> dict[str, float]:
    """Users whose rows have so many fields: from memory, and from Redis 64 at once, beside bare GETs of the same."""
    async with cache(url) as auth, cache(url, max_staleness=0.0) as asking:
        size = await store(auth, url, _AT_ONCE, fields)
        tokens = [token_of(number) for number in range(_AT_ONCE)]
        headers = [headers_of(one) for one in tokens]
        names = [auth.key(str(number)) for number in range(_AT_ONCE)]
        await _trusted(auth, *tokens)
        times = _ASKED // _AT_ONCE
        memory_us = await _cost(lambda: _recall(auth, headers), _AT_ONCE, times * repeats)
        redis_us = await _cost(lambda: _all(map(asking.authenticate, headers)), _AT_ONCE, times, warm=True)
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_AT_ONCE, timeout=None, protocol=2)
        async with contextlib.aclosing(redis.asyncio.Redis.from_pool(pool)) as client:
            get_us = await _cost(lambda: _all(map(client.get, names)), _AT_ONCE, times, warm=True)
    return {"fields": fields, "bytes": size, "memory_us": memory_us, "redis_us": redis_us, "get_us": get_us}


MEASUREMENTS: dict[str, Callable[[str, int, int], Coroutine[Any, Any, dict[str, float]]]] = {
    "users": users,
    "concurrency": concurrency,
    "token": token,
    "record": record,
}


@contextlib.asynccontextmanager
async def cache(url: str, **options: Any) -> AsyncIterator[AsyncAuthCache[Any]]:
    """A face for users who are in Redis already: nobody is to be loaded unless ``load_user`` says how."""

    async def load(_user_id: str) -> None:
        raise RuntimeError("everybody is in Redis")

    rules = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None, "memory_ttl": _LONG_S}
    # Long enough that a machine which is busy elsewhere does not lose its trust in the middle.
    async with AsyncAuthCache(
        url, **{"load_user": load, "max_staleness": 60.0, **rules, **_PATIENT, **options}
    ) as auth:
        yield auth


async def store(auth: AsyncAuthCache[Any], url: str, count: int, fields: int = _FIELDS) -> int:
    """As a load would have left them in Redis; returns how long one is."""
    now_ms, size = int(time.time() * 1000), 0
    async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
        for numbers in _batches(count):
            async with client.pipeline(transaction=False) as pipeline:
                for number in numbers:
                    ends_ms = now_ms + int(_LONG_S * 1000)
                    made = Record(None, str(number), _row(number, fields), NO_REVOCATIONS, now_ms, 5, ends_ms)
                    packed = pack_record(made)
                    size = len(packed)
                    pipeline.set(auth.key(str(number)), packed, px=int(_LONG_S * 1000))
                await pipeline.execute()
    # Its own writes are pushed to it: they come before it begins.
    await auth.resolve(_claims(0))
    end = time.monotonic() + _WARM_S
    while auth._options.max_staleness and not auth.stats().memory_trusted and time.monotonic() < end:  # noqa: SLF001
        await asyncio.sleep(0.01)
    return size


def _row(number: int, fields: int) -> dict[str, Any]:
    row = {
        "id": number, "name": f"Ada Lovelace {number}", "email": f"ada{number}@example.com", "status": "active",
        "role": "admin", "plan": "pro", "created_at": "2025-01-01T00:00:00", "last_activity_at": "2026-01-01T00:00:00",
    }  # fmt: skip
    more = {f"setting_{extra}": f"value {extra} of {number}" for extra in range(fields - len(row))}
    return {**dict(list(row.items())[:fields]), **more}


def _claims(number: int) -> Claims:
    now = time.time()
    members = {"sub": str(number), "iat": now, "exp": now + _LONG_S}
    return Claims(str(number), None, now + _LONG_S, now, None, None, (), members)


def token_of(number: int, *, secret: str = _SECRET, **claims: str) -> str:
    """As ``issue_token`` makes them, ten times faster: a million are wanted."""
    now = int(time.time())
    members = {"sub": str(number), "iat": now, "exp": now + int(_LONG_S), "jti": f"{next(_ids):022}", **claims}
    signed = _HEADER + b"." + _segment(members)
    signature = hmac.digest(secret.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def _segment(members: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(members, separators=(",", ":")).encode()).rstrip(b"=")


_HEADER = _segment({"alg": "HS256", "typ": "JWT"})


def headers_of(token: str) -> Headers:
    """Those of a request with this token, and no others."""
    return [(b"authorization", b"Bearer " + token.encode())]


async def _trusted(auth: AsyncAuthCache[Any], *tokens: str) -> None:
    """Until memory answers for all of them."""
    end = time.monotonic() + _WARM_S
    while any(auth.recall(headers_of(token)) is None for token in tokens):
        if time.monotonic() > end:
            raise RuntimeError("memory does not answer")
        await _all(auth.authenticate(headers_of(token)) for token in tokens)
        await asyncio.sleep(0.01)


def _batches(count: int) -> Iterable[range]:
    return (range(first, min(count, first + _BATCH)) for first in range(0, count, _BATCH))


async def _all(asked: Iterable[Awaitable[Any]]) -> None:
    """All at once."""
    await asyncio.gather(*asked)


async def _one_by_one(asked: Iterable[Awaitable[Any]]) -> None:
    for one in asked:
        await one


async def _recall(auth: AsyncAuthCache[Any], headers: Iterable[Headers]) -> None:
    for one in headers:
        if auth.recall(one) is None:
            raise RuntimeError("memory did not answer")


async def _decode(tokens: Iterable[str]) -> None:
    for one in tokens:
        jwt.decode(one, _SECRET, algorithms=["HS256"])


async def _cost(step: Callable[[], Awaitable[None]], requests: int, times: int, *, warm: bool = False) -> float:
    """Microseconds of processor time for each of so many requests: the median of the times."""
    if warm:
        await step()
    took = []
    for _ in range(times):
        began = time.process_time()
        await step()
        took.append(time.process_time() - began)
    return statistics.median(took) / requests * 1e6


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _collection_ms() -> float:
    """A full garbage collection; processor time, so that neighbours do not count."""
    took = []
    for _ in range(7):
        began = time.process_time()
        gc.collect()
        took.append(time.process_time() - began)
    return statistics.median(took) * 1000


if __name__ == "__main__":
    _name, _size, _repeats, _url = sys.argv[1:]
    print(json.dumps(asyncio.run(MEASUREMENTS[_name](_url, int(_size), int(_repeats)))))  # noqa: T201 - for scale.py
