"""How long it takes from an invalidation's return until the memory of another cache has dropped the user.

Writer and listener share one process and nothing else: each has its connections, and the listener its link. A lag below
zero, where memory was quicker than the writer's reply, counts as zero. A stalled link is one on which nothing comes
from the server any more while all stays open: the listener, whose commands go the same way, has to notice by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from reported import Goal, Report, percentile, table
from stalled_proxy import StallingProxy

from authcache_middleware import AsyncAuthCache, AuthCache, UnavailableError
from authcache_middleware.testing import EmbeddedServer, issue_token

__all__ = ["main"]

_SECRET = "only for this benchmark, Mz4kQ9vX2pL7wT5s"  # noqa: S105
_OPTIONS: dict[str, Any] = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None}
_GOAL_P99_MS = 10.0
_GUARD_S = 20.0
_COLUMNS = ("", "p50 ms", "p99 ms", "max ms")
_HEADERS = [("Authorization", f"Bearer {issue_token(_SECRET, lifetime=3600)}")]

_Invalidate = Callable[[], float]  # returns when it had been confirmed


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What happens to the link just before each invalidation, after a wait that hits any phase of its heartbeat."""

    max_staleness: float
    begin: Callable[[], AbstractContextManager[None]]

    def some_time(self) -> float:
        return 0.0 if self.begin is nullcontext else random.uniform(0, self.max_staleness / 2)


@dataclass(frozen=True, slots=True)
class _Course:
    """How long each took, with one kind of listener and of link."""

    listener: str
    link: str
    lags_ms: list[float]


def _load(_user_id: str) -> dict[str, str]:
    return {"name": "Ann"}


async def _asyncio_listener(url: str, rounds: int, invalidate: _Invalidate, trouble: _Trouble) -> list[float]:
    """The listener's event loop is polled in between, as one that serves other requests is."""
    lags = []
    async with AsyncAuthCache(url, load_user=_load, max_staleness=trouble.max_staleness, **_OPTIONS) as auth:
        for _ in range(rounds):
            end = time.monotonic() + _GUARD_S
            while not auth.stats().memory_trusted or auth.recall(_HEADERS) is None:
                with suppress(UnavailableError):  # the breaker may still be open
                    await auth.authenticate(_HEADERS)
                _heard_by(end)
                await asyncio.sleep(0)
            await asyncio.sleep(trouble.some_time())
            with trouble.begin():
                returned = asyncio.get_running_loop().run_in_executor(None, invalidate)
                while auth.recall(_HEADERS) is not None:
                    _heard_by(end)
                    await asyncio.sleep(0)
                gone = time.perf_counter()
                lags.append(max(0.0, gone - await returned))
    return lags


def _thread_listener(url: str, rounds: int, invalidate: _Invalidate, trouble: _Trouble) -> list[float]:
    lags = []
    with (
        AuthCache(url, load_user=_load, max_staleness=trouble.max_staleness, **_OPTIONS) as auth,
        ThreadPoolExecutor(1) as other,
    ):
        for _ in range(rounds):
            end = time.monotonic() + _GUARD_S
            while not auth.stats().memory_trusted or auth.recall(_HEADERS) is None:
                with suppress(UnavailableError):
                    auth.authenticate(_HEADERS)
                _heard_by(end)
                time.sleep(0)
            time.sleep(trouble.some_time())
            with trouble.begin():
                returned = other.submit(invalidate)
                while auth.recall(_HEADERS) is not None:
                    _heard_by(end)
                    time.sleep(0)
                gone = time.perf_counter()
                lags.append(max(0.0, gone - returned.result()))
    return lags


def _heard_by(end: float) -> None:
    if time.monotonic() > end:
        raise click.ClickException("nothing was heard")


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(10, 100_000), default=1000, show_default=True)
@click.option(
    "--stalls", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rounds with a stalled link."
)
@click.option("--max-staleness", type=click.FloatRange(0.05, 5), default=1.0, show_default=True, help="Seconds.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
def main(rounds: int, stalls: int, max_staleness: float, out: Path | None) -> None:
    """Starts a Valkey of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)  # lost links are what is wanted here
    report = Report("invalidation")
    shown = table("From an invalidation's return until a memory has dropped the user", *_COLUMNS)
    with EmbeddedServer() as server, AuthCache(server.url, load_user=_load, max_staleness=0.0, **_OPTIONS) as writer:

        def invalidate() -> float:
            writer.invalidate("1")
            return time.perf_counter()

        courses = _measured(server.url, rounds, invalidate, _Trouble(max_staleness, nullcontext), "well")
        with StallingProxy(server.port) as proxy:
            courses += _measured(proxy.url, stalls, invalidate, _Trouble(max_staleness, proxy.stalled), "stalled")
    for course in courses:
        name = f"{course.listener}, link {course.link}"
        most = max(course.lags_ms)
        shown.add_row(name, *(f"{lag:.2f}" for lag in (*(percentile(course.lags_ms, each) for each in (50, 99)), most)))
        if course.link == "well":
            p99 = percentile(course.lags_ms, 99)
            report.goals.append(Goal(f"{name}: p99", p99, _GOAL_P99_MS, at_least=False, unit="ms"))
        else:
            report.goals.append(Goal(f"{name}: the longest", most, max_staleness * 1000, at_least=False, unit="ms"))
    report.show([shown])
    report.write(out, max_staleness_s=max_staleness, courses=courses)


def _measured(url: str, rounds: int, invalidate: _Invalidate, trouble: _Trouble, link: str) -> list[_Course]:
    lags = {
        "asyncio": asyncio.run(_asyncio_listener(url, rounds, invalidate, trouble)),
        "threads": _thread_listener(url, rounds, invalidate, trouble),
    }
    return [_Course(listener, link, [lag * 1000 for lag in found]) for listener, found in lags.items()]


if __name__ == "__main__":
    main()
