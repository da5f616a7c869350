"""Requests whose cost is counted: nothing but ours takes part, and all of it is the same each time.

``python counted.py requests KIND COUNT`` does so many of them, for callgrind to count their instructions;
``python counted.py blocks`` prints what they hold in memory, in a process that nothing traces.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Generator
from typing import Any

from faces import settings, token_for

from authcache_middleware import AsyncAuthCache
from authcache_middleware.asgi import AuthCacheMiddleware
from authcache_middleware.redis.store import RedisStore
from authcache_middleware.testing import MemoryStore

__all__ = ["Counted", "app", "batching", "headers_of", "known", "receive", "scope_of", "send", "together"]

ROW = {
    "id": 12345,
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "status": "active",
    "role": "admin",
    "plan": "pro",
    "created_at": "2025-01-01",
    "last_activity_at": "2026-01-01",
}


async def load(_user_id: str) -> dict[str, Any]:
    return ROW


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    pass


def headers_of(token: str) -> list[tuple[bytes, bytes]]:
    usual = [(b"host", b"example"), (b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip")]
    return [*usual, (b"authorization", b"Bearer " + token.encode())]


def scope_of(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("x", 80),
        "client": ("y", 1),
        "extensions": {},
    }


class Shelf:
    """Commands on one value for every key, each answered in the next turn of the loop; they are listed by name."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.sent: list[str] = []

    async def send(self, *command: Any) -> Any:
        self.sent.append(command[0])
        await asyncio.sleep(0)
        if command[0] == "GET":
            return await self.store.get(command[1])
        assert command[0] == "MGET"
        return [await self.store.get(key) for key in command[1:]]

    insist = insist_and_wait = send

    async def aclose(self) -> None:
        pass


def trusting(**options: Any) -> AsyncAuthCache[Any]:
    """A face whose memory is trusted by decree, and for long; inside a running loop."""
    given = settings(**{"load_user": load, "max_staleness": 10_000.0, "memory_ttl": 10_000.0, **options})
    auth: AsyncAuthCache[Any] = AsyncAuthCache(MemoryStore(), **given)
    memory = auth._engine().memory
    memory.follow(["nobody"])
    memory.credit("nobody", auth._options.clock.monotonic())
    return auth


async def batching(subjects: list[str]) -> tuple[AsyncAuthCache[Any], Shelf]:
    """A face without memory, on a shelf that has the records of these users."""
    shelf = Shelf()
    async with AsyncAuthCache(shelf.store, **settings(load_user=load)) as filler:
        for subject in subjects:
            await filler.authenticate([("authorization", f"Bearer {token_for(subject)}")])
    return AsyncAuthCache(RedisStore(shelf, gathers=True), **settings(load_user=load)), shelf


async def known() -> tuple[AuthCacheMiddleware, list[tuple[bytes, bytes]], AsyncAuthCache[Any]]:
    """The middleware and the headers of a request that it answers from memory."""
    auth, headers = trusting(), headers_of(token_for("12345"))
    middleware = AuthCacheMiddleware(app, auth=auth)
    for _ in range(3):
        await middleware(scope_of(headers), receive, send)
    assert auth.recall(headers) is not None
    return middleware, headers, auth


class Counted:
    """A coroutine, and how often it gave up its turn."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self.suspensions = 0

    def __await__(self) -> Generator[Any, None, None]:
        waiting = self._coroutine.__await__()
        while True:
            try:
                awaited = waiting.send(None)
            except StopIteration:
                return
            self.suspensions += 1
            yield awaited


async def together(count: int) -> tuple[list[int], float, list[str]]:
    """Of requests that come at once: how often each gave up its turn, what it held meanwhile, and what was sent."""
    subjects = [str(number) for number in range(count)]
    auth, shelf = await batching(subjects)
    middleware = AuthCacheMiddleware(app, auth=auth)
    headers = [headers_of(token_for(subject)) for subject in subjects]
    for each in headers:  # tokens that are new cost more
        await middleware(scope_of(each), receive, send)
    scopes = [scope_of(each) for each in headers]
    shelf.sent.clear()
    requests = [Counted(middleware(scope, receive, send)) for scope in scopes]
    tasks = [asyncio.ensure_future(request) for request in requests]
    before = sys.getallocatedblocks()
    await asyncio.sleep(0)  # each comes as far as it can
    waiting = (sys.getallocatedblocks() - before) / count
    await asyncio.gather(*tasks)
    await auth.aclose()
    return [request.suspensions for request in requests], waiting, shelf.sent


async def _held_while_the_application_runs(middleware: Any, headers: Any) -> int:
    """Blocks; ``middleware`` is made of an application and hands it the request."""
    inside = [0]

    async def looking(_scope: Any, _receive: Any, _send: Any) -> None:
        inside[0] = sys.getallocatedblocks()

    asked = middleware(looking)
    scopes = [scope_of(headers) for _ in range(20)]
    found = []
    for scope in scopes:
        before = sys.getallocatedblocks()
        await asked(scope, receive, send)
        found.append(inside[0] - before)
    return min(found[5:])


async def _left_behind(middleware: AuthCacheMiddleware, headers: Any) -> int:
    """Blocks that 500 requests do not give back."""
    found = []
    for _ in range(3):
        before = sys.getallocatedblocks()
        for _ in range(500):
            await middleware(scope_of(headers), receive, send)
        found.append(sys.getallocatedblocks() - before)
    return min(found)


async def _blocks() -> dict[str, float]:
    gc.disable()  # what is collected in between would be counted as given back
    middleware, headers, auth = await known()
    bare = await _held_while_the_application_runs(lambda inner: inner, headers)
    ours = await _held_while_the_application_runs(lambda inner: AuthCacheMiddleware(inner, auth=auth), headers)
    left = await _left_behind(middleware, headers)
    await auth.aclose()
    batched = min([(await together(64))[1] for _ in range(3)])
    return {"memory hit": ours - bare, "left behind": left, "batched hit": batched}


async def _requests(kind: str, count: int) -> None:
    middleware, headers, auth = await known()
    asked = {"bare": app, "memory": middleware}[kind]
    for _ in range(count):
        await asked(scope_of(headers), receive, send)
    await auth.aclose()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["blocks"]:
            print(json.dumps(asyncio.run(_blocks())))
        case ["requests", kind, count]:
            asyncio.run(_requests(kind, int(count)))
