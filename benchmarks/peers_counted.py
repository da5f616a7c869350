"""What is not timed in slices: requests for callgrind, a storm on one cold user, the room that users take."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis.asyncio
from peers_faces import PATIENCE_S, load, ours, token_of
from peers_requests import (
    AUDIENCE,
    ISSUER,
    SECRET,
    SUBJECT,
    USER,
    bare_asgi,
    headers_of,
    padded_claims,
    receive,
    scope_of,
    send,
)
from scale_measured import token_of as quick_token_of

from authcache_middleware import AsyncAuthCache, asgi
from authcache_middleware.testing import MemoryStore
from authcache_middleware.users.record import NO_REVOCATIONS, Record, pack_record, read_record

__all__ = ["KINDS", "LOADER_S", "Room", "Storm", "requests", "room", "storm"]

Headers = list[tuple[bytes, bytes]]
KINDS: Final = ("bare", "memory", "no token", "garbage")
LOADER_S: Final = 0.05
_STORM: Final = 1000
_LONG: Final = 100_000.0
_HOT: Final = 2000
_TIMES: Final = 3
_CLAIMS: Final = {"iss": ISSUER, "aud": AUDIENCE, **padded_claims()}


async def requests(kind: str, count: int) -> None:
    """So many requests and nothing else, the same each time: there is no Redis, and memory is trusted by decree."""
    auth = _trusting()
    guarded = asgi.AuthCacheMiddleware(bare_asgi, auth=auth)
    app = bare_asgi if kind == "bare" else guarded
    headers = headers_of({"no token": None, "garbage": "not.a-token"}.get(kind, token_of()))
    for _ in range(10):  # all of which cancel out
        await guarded(scope_of(headers), receive, send)
    hits = auth.stats().memory_hits
    for _ in range(count):
        await app(scope_of(headers), receive, send)
    if kind == "memory" and auth.stats().memory_hits - hits != count:
        raise RuntimeError("memory did not answer")
    await auth.aclose()


def _trusting(**others: Any) -> AsyncAuthCache[Any]:
    """A face that has no link and trusts its memory all the same."""
    options: dict[str, Any] = {
        "load_user": load,
        "keys": SECRET,
        "algorithms": ["HS256"],
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "max_staleness": _LONG,
        "memory_ttl": _LONG,
        **others,
    }
    auth: AsyncAuthCache[Any] = AsyncAuthCache(MemoryStore(), **options)
    memory = auth._engine().memory  # noqa: SLF001
    memory.follow(["nobody"])
    memory.credit("nobody", auth._options.clock.monotonic())  # noqa: SLF001
    return auth


@dataclass(frozen=True, slots=True)
class Storm:
    """What became of 1,000 requests for one user whom nobody knows."""

    loads: int
    gets: int
    """GET and MGET that the server was sent."""
    connections: int
    """Opened for commands, from the first request of the process on."""
    links: int
    p99_ms: float


async def storm(url: str) -> Storm:
    """A new face, one request for somebody else, then all at once."""
    loads = 0

    async def slow(user_id: str) -> dict[str, Any]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(LOADER_S)
        return {**USER, "id": user_id}

    auth = ours(url, prefix=f"storm{time.monotonic_ns()}:user:", load_user=slow)
    app = asgi.AuthCacheMiddleware(bare_asgi, auth=auth)
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    async with contextlib.aclosing(client):
        before = await _connections(client)
        await app(scope_of(headers_of(token_of("1"))), receive, send)
        end = time.monotonic() + PATIENCE_S
        while not auth.stats().memory_trusted and time.monotonic() < end:
            await asyncio.sleep(0.01)
        headers, loads = headers_of(token_of(SUBJECT)), 0
        await client.config_resetstat()
        took: list[float] = []

        async def one() -> None:
            began = time.perf_counter()
            await app(scope_of(headers), receive, send)
            took.append(time.perf_counter() - began)

        await asyncio.gather(*(one() for _ in range(_STORM)))
        calls: Any = await client.info("commandstats")
        sent = {name.removeprefix("cmdstat_"): each["calls"] for name, each in calls.items()}
        gets = sent.get("get", 0) + sent.get("mget", 0)
        gets -= sent.get("eval", 0) + sent.get("evalsha", 0)  # each script does one inside the server
        after = await _connections(client)
    await auth.aclose()
    links = after["subscribed"] - before["subscribed"]
    return Storm(loads, gets, after["all"] - before["all"] - links, links, sorted(took)[int(_STORM * 0.99)] * 1000)


async def _connections(client: Any) -> dict[str, int]:
    clients = await client.client_list()
    return {"all": len(clients), "subscribed": sum(int(one["sub"]) > 0 for one in clients)}


@dataclass(frozen=True, slots=True)
class Room:
    """What known users and tokens take in memory, and what they add to a full garbage collection."""

    users: int
    user_bytes: float
    tokens: int
    token_bytes: float
    """Beside those that the token itself is; with what is kept ready of its user."""
    collection_ms: float
    """What a full collection takes longer than after they were let go."""
    empty_collection_ms: float


async def room(users: int, tokens: int) -> Room:
    """Fills the memory of a face and asks for its users, each with a token; no Redis takes part."""
    most = {"memory_entries": 4 * users + 50_000, "token_entries": 4 * tokens + 50_000}  # nobody makes room for others
    auth = _trusting(**most, token_bytes=1 << 40)
    memory = auth._engine().memory  # noqa: SLF001
    empty = _resident()
    for number in range(users):
        _keep(memory, str(number), auth.key(str(number)))
    with_users = _resident()
    hot: list[Headers] = []
    for number in range(tokens):
        asked = _asked(str(number))
        own = sys.getsizeof(asked[0][1])
        await auth.authenticate(asked)
        if number >= tokens - _HOT:
            hot.append(asked)
    with_tokens = _resident()
    if auth.stats().memory_hits != tokens or (len(memory), auth.stats().token_entries) != (users, tokens):
        raise RuntimeError(f"some were not kept: {len(memory):,} users, {auth.stats()}")
    for _ in range(_TIMES):  # so that as many as may be are kept as objects
        for asked in hot:
            await auth.authenticate(asked)
    full_ms = _collection_ms()
    await auth.aclose()
    del auth, memory, hot
    empty_ms = _collection_ms()  # right after, since the machine is not the same minutes later
    return Room(
        users,
        (with_users - empty) / users,
        tokens,
        (with_tokens - with_users) / tokens - own,
        full_ms - empty_ms,
        empty_ms,
    )


def _keep(memory: Any, subject: str, key: str) -> None:
    """As a GET of this user's record would."""
    now_ms = int(time.time() * 1000)
    record = Record(ISSUER, subject, {**USER, "id": subject}, NO_REVOCATIONS, now_ms, 5, now_ms + 3_600_000)
    reading = memory.begin(key)
    read = read_record(pack_record(record), issuer=ISSUER, subject=subject)
    memory.keep(reading, read, seconds=_LONG, ends_in=_LONG)
    memory.end(reading)


def _asked(subject: str) -> Headers:
    """The headers of a request with a new token."""
    return [(b"authorization", b"Bearer " + quick_token_of(int(subject), secret=SECRET, **_CLAIMS).encode())]


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _collection_ms() -> float:
    took = []
    for _ in range(9):
        began = time.process_time()
        gc.collect()
        took.append(time.process_time() - began)
    return statistics.median(took) * 1000
