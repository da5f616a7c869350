"""What connections that stay open cost, and how long they take to hear of their end.

First many of them in this process, through the middleware and without a network: bytes of one, processor time and
commands to Redis while all are idle, how long it takes until all were read again after FLUSHALL, and what they cost
where memory is off. Then WebSockets over uvicorn, in a process of its own: some of the users are revoked by another
process, and each of theirs must be closed, and no other. A lag is from the moment before the call to the client's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import resource
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import redis
from reported import Goal, Report, percentile, table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from authcache_middleware import AsyncAuthCache
from authcache_middleware.asgi import AuthCacheMiddleware
from authcache_middleware.testing import EmbeddedServer, issue_token

__all__ = ["main"]

_SECRET = "only for this benchmark, Mz4kQ9vX2pL7wT5s"  # noqa: S105
_OPTIONS: dict[str, Any] = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None}
_NOT_OF_CONNECTIONS = frozenset({"ping", "info", "client|id", "client|tracking", "config|get"})
_GOAL_BYTES = 4096.0
_GOAL_IDLE_US = 2.0
_GOAL_P99_MS = 1000.0  # max_staleness
_GUARD_S = 120.0
_AT_ONCE = 50

Scope = dict[str, Any]


async def _load(user_id: str) -> Mapping[str, str]:
    return {"id": user_id, "status": "active"}


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and waits for the end."""
    if scope["type"] == "lifespan":
        for part in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{part}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _token(user: str) -> str:
    return issue_token(_SECRET, subject=user, lifetime=3600)


# -- in this process


@dataclass(frozen=True, slots=True)
class _Held:
    """What connections cost while nothing happens."""

    connections: int
    bytes_each: float
    bytes_each_bare: float
    idle_us: float
    """Microseconds of processor time for one of them, in a second."""
    idle_commands: float
    """Commands to Redis in a second, for all of them."""
    flush_s: float
    polled_us: float
    """The same as ``idle_us``, where memory is off."""
    polled_commands: float


class _Connections:
    """Open connections of one application, each in a task of its own, as servers have them."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app
        self._tasks: list[asyncio.Task[None]] = []
        self._leave = asyncio.Event()

    async def open(self, headers: list[tuple[bytes, bytes]]) -> None:
        accepted = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._one(headers, accepted)))
        await accepted.wait()

    async def _one(self, headers: list[tuple[bytes, bytes]], accepted: asyncio.Event) -> None:
        connects = iter([{"type": "websocket.connect"}])

        async def receive() -> Mapping[str, Any]:
            for message in connects:
                return message
            await self._leave.wait()
            return {"type": "websocket.disconnect", "code": 1001}

        async def send(_message: Mapping[str, Any]) -> None:
            accepted.set()

        await self._app({"type": "websocket", "path": "/", "headers": headers, "subprotocols": []}, receive, send)

    async def close(self) -> None:
        self._leave.set()
        await asyncio.gather(*self._tasks)


async def _held(server: EmbeddedServer, count: int, seconds: float) -> _Held:
    headers = [[(b"authorization", b"Bearer " + _token(f"{number}").encode())] for number in range(count)]
    bare = await _bytes_each(_Connections(_app), headers, seconds)
    limits: dict[str, Any] = {"memory_entries": count, "token_entries": count, "refresh_ahead": False}
    with redis.Redis.from_url(server.url) as admin:
        async with AsyncAuthCache(server.url, load_user=_load, **limits, **_OPTIONS) as auth:
            await _warm(auth, headers)
            nothing = await _rates(admin, seconds)
            open_ = _Connections(AuthCacheMiddleware(_app, auth=auth))
            ours = await _bytes_each(open_, headers, seconds, close=False)
            await _until_quiet(auth, admin, count)
            idle = await _rates(admin, seconds)
            began = time.perf_counter()
            admin.flushall()
            await _until(lambda: _idle(auth) < count)
            await _until(lambda: _idle(auth) == count)
            flush_s = time.perf_counter() - began
            await open_.close()
        async with AsyncAuthCache(server.url, load_user=_load, max_staleness=0.0, **limits, **_OPTIONS) as auth:
            await _warm(auth, headers)
            open_ = _Connections(AuthCacheMiddleware(_app, auth=auth))
            for one in headers:
                await open_.open(one)
            await asyncio.sleep(min(2.0, seconds))  # the first looks, which come at once
            polled = await _rates(admin, seconds)
            await open_.close()
    each = 1e6 / count
    return _Held(
        connections=count,
        bytes_each=ours - bare,
        bytes_each_bare=bare,
        idle_us=(idle[0] - nothing[0]) * each,
        idle_commands=idle[1],
        flush_s=flush_s,
        polled_us=(polled[0] - nothing[0]) * each,
        polled_commands=polled[1],
    )


async def _warm(auth: AsyncAuthCache[Any], headers: list[list[tuple[bytes, bytes]]]) -> None:
    """All users and tokens are known, and memory is trusted: what comes later is the connections' own."""
    await auth.authenticate(headers[0])
    if auth._options.max_staleness:  # noqa: SLF001
        await _until(lambda: auth.stats().memory_trusted)
    for _ in range(2):  # a record is kept when it is read, not when it is stored
        for one in headers:
            await auth.authenticate(one)


async def _bytes_each(
    connections: _Connections, headers: list[list[tuple[bytes, bytes]]], seconds: float, *, close: bool = True
) -> float:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for each in headers:
        await connections.open(each)
    await asyncio.sleep(min(1.0, seconds / 2))  # what each was begun with is over
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    if close:
        await connections.close()
    return held / len(headers)


async def _rates(admin: redis.Redis, seconds: float) -> tuple[float, float]:
    """Processor time and commands in a second, while the loop has nothing else to do."""
    commands, busy, began = _commands(admin), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    busy, lasted = time.process_time() - busy, time.perf_counter() - began
    return busy / lasted, (_commands(admin) - commands) / lasted


def _commands(admin: redis.Redis) -> int:
    stats: Mapping[str, Any] = admin.info("commandstats")
    named = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    return sum(calls for name, calls in named.items() if name not in _NOT_OF_CONNECTIONS)


def _idle(auth: AsyncAuthCache[Any]) -> int:
    watches = auth._engine().watches  # noqa: SLF001
    return 0 if watches is None else len(watches._idle)  # noqa: SLF001


async def _until_quiet(auth: AsyncAuthCache[Any], admin: redis.Redis, count: int) -> None:
    """All are idle and stay so; what was begun with each may still be heard of."""
    before = -1
    async with asyncio.timeout(_GUARD_S):
        while _idle(auth) < count or before != _commands(admin):
            before = _commands(admin)
            await asyncio.sleep(0.5)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_GUARD_S):
        while not condition():
            await asyncio.sleep(0.005)


# -- over HTTP


@dataclass(frozen=True, slots=True)
class _Ended:
    """What became of WebSockets over HTTP, some of whose users were revoked."""

    sockets: int
    revoked_users: int
    theirs: int
    closed: int
    """How many of theirs were closed with 4401 and ``revoked``."""
    others_closed: int
    lags_ms: list[float]


async def _ended(server: EmbeddedServer, port: int, sockets: int, revoked_users: int, pause: float) -> _Ended:
    users = [f"{number}" for number in range(max(revoked_users, sockets // 2))]
    owners = [users[number % len(users)] for number in range(sockets)]
    gate = asyncio.Semaphore(_AT_ONCE)
    clients = await asyncio.gather(*(_opened(port, user, gate) for user in owners))
    out = set(random.sample(users, revoked_users))
    ends: dict[int, tuple[float, str]] = {}
    reading = [asyncio.create_task(_read(number, client, ends)) for number, client in enumerate(clients)]
    await asyncio.sleep(pause)  # all are watched
    began: dict[str, float] = {}
    async with AsyncAuthCache(server.url, load_user=_load, max_staleness=0.0, **_OPTIONS) as auth:

        async def revoke(user: str) -> None:
            began[user] = time.perf_counter()
            await auth.revoke_user(user)

        await asyncio.gather(*map(revoke, out))
    theirs = [number for number, user in enumerate(owners) if user in out]
    with contextlib.suppress(TimeoutError):
        await _until(lambda: all(number in ends for number in theirs))
    await asyncio.sleep(pause)  # whoever else is closed by mistake
    found = dict(ends)
    await asyncio.gather(*(client.close() for client in clients))
    await asyncio.gather(*reading)
    good = [number for number in theirs if found.get(number, (0, ""))[1] == "4401 revoked"]
    return _Ended(
        sockets=sockets,
        revoked_users=revoked_users,
        theirs=len(theirs),
        closed=len(good),
        others_closed=len(set(found) - set(theirs)),
        lags_ms=[(found[number][0] - began[owners[number]]) * 1000 for number in good],
    )


async def _opened(port: int, user: str, gate: asyncio.Semaphore) -> ClientConnection:
    async with gate:
        headers = {"Authorization": f"Bearer {_token(user)}"}
        return await connect(f"ws://127.0.0.1:{port}/", additional_headers=headers, ping_interval=None)


async def _read(number: int, client: ClientConnection, ends: dict[int, tuple[float, str]]) -> None:
    try:
        await client.recv()
    except ConnectionClosed as exc:
        said = "nothing" if exc.rcvd is None else f"{exc.rcvd.code} {exc.rcvd.reason}"
        ends[number] = time.perf_counter(), said


@contextlib.asynccontextmanager
async def _service(url: str) -> AsyncIterator[int]:
    """uvicorn, in a process of its own; the port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", url, stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        async with asyncio.timeout(30):
            yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


def _serve(url: str) -> None:
    import socket

    import uvicorn

    _allow_files(6000)
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    auth = AsyncAuthCache(url, load_user=_load, **_OPTIONS)
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - to who started this
    config = uvicorn.Config(AuthCacheMiddleware(_app, auth=auth), log_level="critical", ws_ping_interval=None)
    uvicorn.Server(config).run(sockets=[listening])


async def _over_http(server: EmbeddedServer, sockets: int, revoked_users: int, pause: float) -> _Ended:
    async with _service(server.url) as port:
        return await _ended(server, port, sockets, revoked_users, pause)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
    if hard < count:
        raise click.ClickException(f"{count} files are needed, and {hard} allowed: ulimit -n")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("authcache_middleware")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@click.command(help=__doc__)
@click.option("--connections", type=click.IntRange(10, 10_000), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=5.0, show_default=True, help="Of idleness.")
@click.option("--sockets", type=click.IntRange(4, 5000), default=1000, show_default=True, help="Over HTTP.")
@click.option("--revoked", type=click.IntRange(1, 2500), default=100, show_default=True, help="Users.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
def main(connections: int, seconds: float, sockets: int, revoked: int, out: Path | None) -> None:
    """Starts a Valkey of its own; ends by itself."""
    _allow_files(2 * sockets + 200)
    report = Report("live")
    with _quiet(), EmbeddedServer() as server:
        held = asyncio.run(_held(server, connections, seconds))
    with _quiet(), EmbeddedServer() as server:
        ended = asyncio.run(_over_http(server, sockets, revoked, min(2.0, seconds)))
    p99, most = percentile(ended.lags_ms, 99), max(ended.lags_ms)
    report.goals += [
        Goal("bytes of a connection", held.bytes_each, _GOAL_BYTES, at_least=False),
        Goal("processor time of an idle one in a second", held.idle_us, _GOAL_IDLE_US, at_least=False, unit="us"),
        Goal("commands of all idle ones in a second", held.idle_commands, 0, at_least=False),
        Goal("of the revoked users' WebSockets: closed", ended.closed, ended.theirs, at_least=True),
        Goal("others closed", ended.others_closed, 0, at_least=False),
        Goal("from the call to the client's end: p99", p99, _GOAL_P99_MS, at_least=False, unit="ms"),
    ]
    idle = table(f"{held.connections:,} connections in one process", "", "with memory", "without")
    idle.add_row("processor time of one in a second, us", f"{held.idle_us:.2f}", f"{held.polled_us:.2f}")
    idle.add_row("commands of all in a second", f"{held.idle_commands:,.0f}", f"{held.polled_commands:,.0f}")
    idle.add_row("bytes of one", f"{held.bytes_each:,.0f}", "")
    idle.add_row("bytes of one without the middleware", f"{held.bytes_each_bare:,.0f}", "")
    idle.add_row("all read again after FLUSHALL, s", f"{held.flush_s:.2f}", "")
    lags = table(
        f"{ended.sockets:,} WebSockets over uvicorn, {ended.revoked_users} users revoked",
        "closed", "of", "others closed", "p50 ms", "p99 ms", "max ms",
    )  # fmt: skip
    lags.add_row(
        f"{ended.closed}", f"{ended.theirs}", f"{ended.others_closed}",
        f"{percentile(ended.lags_ms, 50):.1f}", f"{p99:.1f}", f"{most:.1f}",
    )  # fmt: skip
    report.show([idle, lags])
    report.write(out, held=held, ended=ended)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:  # by this script itself
        _serve(sys.argv[2])
    else:
        main()
