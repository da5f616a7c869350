"""What last activity costs Redis and the database: writes and calls of save_activity, counted beside their bounds.

In one process, and over HTTP through uvicorn. A process writes each user at most once in ``write_every`` seconds, and
once more when it ends; each batch that a worker takes from the queue is one call.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import run
from typing import Any

import click
import redis
from http_apps import AUDIENCE, ISSUER, SECRET
from http_generator import Plan
from http_servers import SERVERS, Served
from reported import Goal, Report, table

from authcache_middleware import AsyncAuthCache
from authcache_middleware.activity import Activity, ActivityRow, run_worker
from authcache_middleware.queue import AsyncQueue, Queue
from authcache_middleware.testing import EmbeddedServer, issue_token

__all__ = ["main"]

_QUEUE = "activity"
_BATCH = 500
_AT_ONCE = 100
_ROUNDED = 0.001
_COLUMNS = (
    "",
    "requests",
    "seconds",
    "users written",
    "bound",
    "ZADD",
    "queued",
    "save_activity",
    "rows",
)
_EVERY = Activity()


@dataclass(frozen=True, slots=True)
class _Course:
    """What one way of asking has cost."""

    name: str
    requests: int
    users: int
    seconds: float
    written: int
    """Users, each time that one was written."""
    zadd: int
    """Commands."""
    entries: int
    """Put into the queue."""
    saves: int
    """Calls of ``save_activity``."""
    rows: int
    """Of all calls."""
    wrong: int
    """Users whose last value in the database is not the one in Redis."""

    @property
    def bound(self) -> int:
        """Users, by the time that it took; the last time is the end's."""
        return self.users * (math.floor(self.seconds / _EVERY.write_every) + 2)


class _Database:
    """A worker in a thread of this process, and the users whom it was given."""

    def __init__(self, url: str) -> None:
        self.saves = 0
        self.rows = 0
        self.seen: dict[str, float] = {}
        self._queue = Queue(url, _QUEUE)
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="worker")

    def _save(self, rows: Sequence[ActivityRow]) -> None:
        self.saves += 1
        self.rows += len(rows)
        for row in rows:
            self.seen[row.user_id] = max(row.last_seen, self.seen.get(row.user_id, 0.0))

    def _work(self) -> None:
        run_worker(self._queue, self._save, until=lambda: self._is_over and self._is_done())

    def _is_done(self) -> bool:
        counts = self._queue.counts()
        return not counts.waiting and not counts.held

    @contextmanager
    def working(self) -> Iterator[None]:
        """Until the queue is empty."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over = True
            self._thread.join()
            self._queue.close()


def _load(user_id: str) -> dict[str, str]:
    return {"id": user_id}


def _tokens(users: int) -> list[str]:
    return [
        issue_token(SECRET, subject=str(user), issuer=ISSUER, audience=AUDIENCE, lifetime=36_000)
        for user in range(users)
    ]


async def _in_process(url: str, users: int, requests: int) -> None:
    """Many at a time, as an event loop has them."""
    headers = [[("Authorization", f"Bearer {token}")] for token in _tokens(users)]
    rules: dict[str, Any] = {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": AUDIENCE}
    async with (
        AsyncQueue(url, _QUEUE) as queue,
        AsyncAuthCache(url, load_user=_load, activity=Activity(queue=queue), **rules) as auth,
    ):

        async def ask(user: int) -> None:
            if auth.recall(headers[user]) is None:
                await auth.authenticate(headers[user])

        for first in range(0, requests, _AT_ONCE):
            asked = range(first, min(requests, first + _AT_ONCE))
            await asyncio.gather(*(ask(number % users) for number in asked))


def _over_http(url: str, users: int, rate: float, seconds: float) -> None:
    uvicorn = next(kind for kind in SERVERS if kind.name == "uvicorn")
    with Served(uvicorn, "activity", url) as served:
        served.wait_until_it_answers()
        tokens = _tokens(users)
        served.ask_all(tokens)
        plan = Plan(served.port, random.sample(tokens, len(tokens)), rate, seconds, connections=50)
        generator = [sys.executable, str(Path(__file__).with_name("http_generator.py"))]
        asked = run(generator, input=json.dumps(asdict(plan)), text=True, capture_output=True, check=True)  # noqa: S603
        found = json.loads(asked.stdout)
        if set(found["statuses"]) != {"200"}:
            raise click.ClickException(f"answers: {found['statuses']}")


def _course(name: str, users: int, requests: int, ask: Any) -> _Course:
    with EmbeddedServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        database = _Database(server.url)
        began = time.monotonic()
        with database.working():
            ask(server.url)
            seconds = time.monotonic() - began
        counted = client.info("commandstats")
        in_redis = dict(client.zrange("seen:", 0, -1, withscores=True))
        wrong = sum(abs(database.seen.get(user, 0.0) - at) > _ROUNDED for user, at in in_redis.items())
        return _Course(
            name,
            requests,
            users,
            seconds,
            database.rows,  # whatever is written is queued as well
            counted.get("cmdstat_zadd", {"calls": 0})["calls"],
            int(client.xinfo_stream(f"queue:{_QUEUE}")["entries-added"]),
            database.saves,
            database.rows,
            wrong + (users - len(in_redis)),
        )


@click.command(help=__doc__)
@click.option("--users", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@click.option("--requests", type=click.IntRange(1, 100_000_000), default=100_000, show_default=True, help="In process.")
@click.option(
    "--rate", type=click.FloatRange(1, 100_000), default=500.0, show_default=True, help="Over HTTP, a second."
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="Over HTTP.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
def main(users: int, requests: int, rate: float, seconds: float, out: Path | None) -> None:
    """Starts a Valkey of its own for each; ends by itself."""
    report = Report("activity")
    courses = [
        _course("in process", users, requests, lambda url: asyncio.run(_in_process(url, users, requests))),
        _course(
            f"over HTTP, {rate:g}/s",
            users,
            users + round(rate * seconds),
            lambda url: _over_http(url, users, rate, seconds),
        ),
    ]
    shown = table(f"{users:,} users, and what Redis and the database were asked to write", *_COLUMNS)
    for course in courses:
        figures = course.written, course.bound, course.zadd, course.entries, course.saves, course.rows
        shown.add_row(
            course.name, f"{course.requests:,}", f"{course.seconds:.1f}", *(f"{figure:,}" for figure in figures)
        )
        flushes = math.ceil(course.seconds / _EVERY.flush_every) + 1
        report.goals += [
            Goal(f"{course.name}: users written", course.written, course.bound, at_least=False),
            Goal(f"{course.name}: ZADD", course.zadd, flushes * math.ceil(users / _BATCH), at_least=False),
            Goal(
                f"{course.name}: calls beside batches",
                abs(course.saves - course.entries),
                0,
                at_least=False,
            ),
            Goal(f"{course.name}: users whose last value is not in the database", course.wrong, 0, at_least=False),
        ]
    report.show([shown])
    report.write(out, courses=[{**asdict(course), "bound": course.bound} for course in courses])


if __name__ == "__main__":
    main()
