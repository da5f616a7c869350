"""What a request costs as more processes share a Redis and its users: a measurement of ``scale.py``.

As a script it takes how many processes, how often, and the URL of a Redis, and prints what it found as JSON. It starts
the processes, which are this script too, and lets all of them begin each phase together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import redis
from scale_measured import cache, headers_of, token_of

__all__ = ["processes"]

_USERS = 512
_AT_ONCE = 64
_LOAD_S = 0.02
_WARM_S = 60.0
_PHASES = ("cold", "memory", "redis")
_CHILD = "child"


def processes(url: str, count: int, repeats: int) -> dict[str, float]:
    """So many processes, each with requests for the same users: whom nobody knows, then from memory, then from Redis.

    The costs of requests are those of one process, medians of all; the server's are of all requests together.
    """
    found: dict[str, float] = {"processes": count}
    with redis.Redis.from_url(url, protocol=2) as observer, _started(url, count, repeats) as children:
        for phase in _PHASES:
            before = _server_cpu(observer)
            answers = _through(children)
            requests = sum(each["requests"] for each in answers)
            found[f"{phase}_us"] = statistics.median(each["us"] for each in answers)
            if phase != "memory":
                found[f"server_{phase}_us"] = (_server_cpu(observer) - before) / requests * 1e6
            if phase == "cold":
                found["loads_per_user"] = sum(each["loads"] for each in answers) / _USERS
    return found


@contextlib.contextmanager
def _started(url: str, count: int, repeats: int) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, __file__, _CHILD, str(repeats), url]
    with contextlib.ExitStack() as stack:
        children = []
        for _ in range(count):
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
            stack.enter_context(child)
            stack.callback(child.kill)
            children.append(child)
        for child in children:
            _line_of(child)  # it is ready
        yield children


def _through(children: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    """All of them do their next phase."""
    for child in children:
        assert child.stdin is not None  # noqa: S101 - it is a pipe
        child.stdin.write("go\n")
        child.stdin.flush()
    return [json.loads(_line_of(child)) for child in children]


def _line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a process has ended early")
    return line


def _server_cpu(observer: redis.Redis) -> float:
    found: Any = observer.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


async def _child(url: str, repeats: int) -> None:
    loads = 0

    async def load(user_id: str) -> dict[str, Any]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(_LOAD_S)
        return {"id": user_id, "name": "Ada", "email": f"ada{user_id}@example.com", "status": "active"}

    requests = [headers_of(token_of(number)) for number in range(_USERS)]
    async with cache(url, load_user=load) as auth, cache(url, load_user=load, max_staleness=0.0) as asking:
        somebody = headers_of(token_of(_USERS))
        for one in (auth, asking):
            await one.authenticate(somebody)
        end = time.monotonic() + _WARM_S
        while not auth.stats().memory_trusted and time.monotonic() < end:
            await asyncio.sleep(0.01)

        async def from_memory() -> None:
            for headers in requests:
                if auth.recall(headers) is None:
                    raise RuntimeError("memory did not answer")

        phases: dict[str, tuple[Callable[[], Awaitable[None]], int]] = {
            "cold": (lambda: _in_batches(auth.authenticate, random.sample(requests, _USERS)), 1),
            "memory": (from_memory, repeats),
            "redis": (lambda: _in_batches(asking.authenticate, requests), repeats),
        }
        print("ready", flush=True)  # noqa: T201 - for who has started it
        for name, (step, times) in phases.items():
            await asyncio.to_thread(sys.stdin.readline)
            if name == "memory":
                await _settled(auth, requests)
            loads, began = 0, time.process_time()
            for _ in range(times):
                await step()
            us = (time.process_time() - began) / times / _USERS * 1e6
            print(json.dumps({"us": us, "requests": times * _USERS, "loads": loads}), flush=True)  # noqa: T201


async def _in_batches(ask: Callable[[Any], Awaitable[Any]], requests: list[Any]) -> None:
    for first in range(0, len(requests), _AT_ONCE):
        await asyncio.gather(*map(ask, requests[first : first + _AT_ONCE]))


async def _settled(auth: Any, requests: list[Any]) -> None:
    """Until nothing is pushed any more and all are in memory."""
    end = time.monotonic() + _WARM_S
    while any(auth.recall(headers) is None for headers in requests):
        if time.monotonic() > end:
            raise RuntimeError("memory does not answer")
        await _in_batches(auth.authenticate, requests)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == _CHILD:
        asyncio.run(_child(sys.argv[3], int(sys.argv[2])))
    else:
        print(json.dumps(processes(sys.argv[3], int(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201 - for scale.py
