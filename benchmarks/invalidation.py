"""How long it takes from an invalidation's return until the memory of another cache has dropped the user.

Writer and listener share one process and nothing else: each has its connections, and the listener its link. A lag below
zero, where memory was quicker than the writer's reply, counts as zero.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.testing import EmbeddedServer, issue_token

__all__ = ["main"]

_SECRET = "only for this benchmark, Mz4kQ9vX2pL7wT5s"  # noqa: S105
_OPTIONS: dict[str, Any] = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None}
_GOAL_P99_MS = 10.0
_GUARD_S = 5.0
_HEADERS = [("Authorization", f"Bearer {issue_token(_SECRET, lifetime=3600)}")]


def _load(_user_id: str) -> dict[str, str]:
    return {"name": "Ann"}


def _percentile(lags: list[float], percent: float) -> float:
    return sorted(lags)[min(len(lags) - 1, int(len(lags) * percent / 100))] * 1000


async def _asyncio_listener(url: str, rounds: int, writer: AuthCache[Any]) -> list[float]:
    """The listener's event loop is polled in between, as one that serves other requests is."""
    lags = []
    async with AsyncAuthCache(url, load_user=_load, **_OPTIONS) as auth:
        await auth.authenticate(_HEADERS)
        while not auth.stats().memory_trusted:
            await asyncio.sleep(0.001)
        for _ in range(rounds):
            while auth.recall(_HEADERS) is None:
                await auth.authenticate(_HEADERS)
            returned = asyncio.get_running_loop().run_in_executor(None, _invalidate, writer)
            while auth.recall(_HEADERS) is not None:
                await asyncio.sleep(0)
            gone = time.perf_counter()
            lags.append(max(0.0, gone - await returned))
    return lags


def _thread_listener(url: str, rounds: int, writer: AuthCache[Any]) -> list[float]:
    lags = []
    with AuthCache(url, load_user=_load, **_OPTIONS) as auth:
        auth.authenticate(_HEADERS)
        _until(lambda: auth.stats().memory_trusted)
        for _ in range(rounds):
            while auth.recall(_HEADERS) is None:
                auth.authenticate(_HEADERS)
            returned: list[float] = []
            thread = threading.Thread(target=lambda: returned.append(_invalidate(writer)))  # noqa: B023 - joined below
            thread.start()
            _until(lambda: auth.recall(_HEADERS) is None)
            gone = time.perf_counter()
            thread.join()
            lags.append(max(0.0, gone - returned[0]))
    return lags


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _GUARD_S
    while not condition():
        if time.monotonic() > end:
            raise click.ClickException("nothing was heard")
        time.sleep(0)


def _invalidate(writer: AuthCache[Any]) -> float:
    writer.invalidate("1")
    return time.perf_counter()


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(10, 100_000), default=1000, show_default=True)
def main(rounds: int) -> None:
    """Starts a Valkey of its own; ends by itself."""
    table = Table("listener", "p50 ms", "p99 ms", "max ms", f"goal: p99 {_GOAL_P99_MS:g} ms", box=None)
    with EmbeddedServer() as server, AuthCache(server.url, load_user=_load, max_staleness=0.0, **_OPTIONS) as writer:
        measured = {
            "asyncio": asyncio.run(_asyncio_listener(server.url, rounds, writer)),
            "threads": _thread_listener(server.url, rounds, writer),
        }
    for name, lags in measured.items():
        p99 = _percentile(lags, 99)
        shown = [f"{_percentile(lags, 50):.2f}", f"{p99:.2f}", f"{max(lags) * 1000:.2f}"]
        table.add_row(name, *shown, "met" if p99 <= _GOAL_P99_MS else "missed")
    Console().print(table)


if __name__ == "__main__":
    main()
