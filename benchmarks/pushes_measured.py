"""What pushes cost on this machine: a Valkey of one's own, listeners in another process, and the CPU that each used."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import redis
from redis.asyncio import Connection

MARK = "user:mark"  # its push makes the listening process report
CHANNEL = "__redis__:invalidate"
VALUE = b"x" * 200
WRITES = 1200
PER_KEY_LINKS, PER_KEY_READERS = 32, 2


@dataclass(frozen=True, slots=True)
class Fanout:
    """The server's CPU seconds for a ``SET`` whose key is pushed to ``listeners`` connections."""

    listeners: int
    alone: float
    in_eights: float


@dataclass(frozen=True, slots=True)
class Listening:
    """One asyncio listener: the pushes it got per second, its CPU seconds for each, and if each came by itself."""

    rate: float
    each: float
    alone: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found.

    ``untracked`` and ``tracked``: the server's CPU seconds for two reads and a write of a key, without and with per-key
    tracking by both readers, among 32 links.
    """

    fanout: list[Fanout]
    listening: list[Listening]
    untracked: float
    tracked: float


@dataclass(frozen=True, slots=True)
class _Listeners:
    pipe: Pipe
    ids: list[int]

    def report(self, client: redis.Redis) -> tuple[int, float]:
        """Pushes and CPU seconds since the last report, when all writes so far have arrived."""
        client.set(MARK, b"")
        pushes, cpu = self.pipe.recv()
        return pushes, cpu


def measure(listeners: tuple[int, ...] = (0, 8, 32)) -> Measured:
    """What writes, reads and listening cost; it takes about ten seconds."""
    from authcache_middleware.testing import EmbeddedServer

    with EmbeddedServer() as server, redis.Redis.from_url(server.url, protocol=2) as client:
        fanout = []
        for count in listeners:
            with _listening(server.port, count):
                fanout.append(Fanout(count, _alone(client), _in_eights(client)))
        with _listening(server.port, 1) as one:
            listening = [_listen_at(client, one, rate) for rate in (100, 1_000)]
            listening.append(_listen_at(client, one, 8_000, together=8))
        with _listening(server.port, PER_KEY_LINKS, broadcast=False) as links:
            untracked = _read_and_write(client, server.port, [])
            tracked = _read_and_write(client, server.port, links.ids)
        return Measured(fanout, listening, untracked, tracked)


def _alone(client: redis.Redis) -> float:
    before = _server_cpu(client)
    for number in range(WRITES):
        _write(client, number)
    return (_server_cpu(client) - before) / WRITES


def _in_eights(client: redis.Redis) -> float:
    before = _server_cpu(client)
    for first in range(0, 4 * WRITES, 8):
        _write_together(client, range(first, first + 8))
    return (_server_cpu(client) - before) / (4 * WRITES)


def _listen_at(client: redis.Redis, listeners: _Listeners, rate: int, together: int = 1) -> Listening:
    """A second of writes."""
    listeners.report(client)
    began = time.monotonic()
    for first in range(0, rate, together):
        time.sleep(max(0.0, began + first / rate - time.monotonic()))
        _write_together(client, range(first, first + together))
    pushes, cpu = listeners.report(client)
    return Listening(pushes / (time.monotonic() - began), cpu / pushes, alone=together == 1)


def _read_and_write(client: redis.Redis, port: int, redirects: list[int]) -> float:
    with ExitStack() as closing:
        readers = [redis.Connection(host="127.0.0.1", port=port, protocol=2) for _ in range(PER_KEY_READERS)]
        for reader in readers:
            closing.callback(reader.disconnect)
        for reader, link in zip(readers, redirects, strict=False):
            _ask(reader, "CLIENT", "TRACKING", "ON", "REDIRECT", link)
        before = _server_cpu(client)
        for number in range(WRITES):
            for reader in readers:
                _ask(reader, "GET", f"user:{number}")
            _write(client, number)
        return (_server_cpu(client) - before) / WRITES


def _ask(connection: redis.Connection, *command: str | int) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def _write(client: redis.Redis, number: int) -> None:
    client.set(f"user:{number}", VALUE, px=60_000)


def _write_together(client: redis.Redis, numbers: range) -> None:
    with client.pipeline(transaction=False) as batch:
        for number in numbers:
            batch.set(f"user:{number}", VALUE, px=60_000)
        batch.execute()


def _server_cpu(client: redis.Redis) -> float:
    used: Any = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


@contextmanager
def _listening(port: int, count: int, *, broadcast: bool = True) -> Iterator[_Listeners]:
    """A process with ``count`` links, from when all of them listen."""
    spawning = multiprocessing.get_context("spawn")  # nothing of this process, least of all its sockets
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_listen_in_a_process, args=(port, count, broadcast, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(10):
            raise TimeoutError("the listening process does not start")
        yield _Listeners(ours, ours.recv())
    finally:
        process.terminate()
        process.join()
        ours.close()


def _listen_in_a_process(port: int, count: int, broadcast: bool, pipe: Pipe) -> None:
    asyncio.run(_listen(port, count, broadcast, pipe))


async def _listen(port: int, count: int, broadcast: bool, pipe: Pipe) -> None:
    links = [Connection(host="127.0.0.1", port=port, protocol=2, socket_timeout=None) for _ in range(count)]
    ids = [await subscribed(link, broadcast) for link in links]
    pipe.send(ids)
    await asyncio.gather(*(_count(link, pipe if place == 0 else None) for place, link in enumerate(links)))
    await asyncio.sleep(60)  # no links: there is nothing to do but to be ended


async def subscribed(link: Connection, broadcast: bool) -> int:
    """Its id, once it hears of keys: of all with the prefix, or of those for whom it is named as the one to tell."""
    await link.connect()
    number = int(await answer(link, "CLIENT", "ID"))
    if broadcast:  # redirected to itself: in RESP2 a subscription is what carries the pushes
        await answer(link, "CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX", "user:")
    await answer(link, "SUBSCRIBE", CHANNEL)
    return number


async def answer(link: Connection, *command: str | int) -> Any:
    """The server's reply."""
    await link.send_command(*command)
    return await link.read_response()


async def _count(link: Connection, pipe: Pipe | None) -> None:
    pushes, since = 0, time.process_time()
    while True:
        _, _, keys = await link.read_response()
        pushes += len(keys)
        if pipe is not None and MARK.encode() in keys:
            now = time.process_time()
            pipe.send((pushes, now - since))
            pushes, since = 0, time.process_time()
