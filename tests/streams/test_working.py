"""The worker: one call for each batch, and nothing lost when it fails or is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from authcache_middleware import ConfigurationError
from authcache_middleware.activity import ActivityRow, run_worker, run_worker_async
from authcache_middleware.queue import AsyncQueue, Queue
from authcache_middleware.testing.server import EmbeddedServer

SHORT = 0.5
"""Longer than a batch takes on a busy machine: who is late is given up, and his batch comes again."""


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def name(prefix) -> str:
    return prefix + "activity"


@pytest.fixture
def queue(redis_url, name) -> Iterator[Queue]:
    with Queue(redis_url, name, redeliver_after=SHORT) as made:
        yield made


def put(queue: Queue, *rows: tuple[str, float]) -> None:
    queue.put({"type": "activity", "rows": json.dumps([[user_id, at, None] for user_id, at in rows])})


def work(kind: str, url: str, name: str, save: Callable[..., Any], until: Callable[[], bool], **options: Any) -> int:
    options = {"redeliver_after": SHORT, **options}
    if kind == "blocking":
        with Queue(url, name, **options) as queue:
            return run_worker(queue, save, until=until)

    async def working() -> int:
        async with AsyncQueue(url, name, **options) as queue:
            return await run_worker_async(queue, save, until=until)

    return asyncio.run(working())


def is_empty(queue: Queue) -> bool:
    found = queue.counts()
    return not found.waiting and not found.held


def test_each_batch_is_one_call_and_then_gone(kind, redis_url, name, queue) -> None:
    calls: list[list[tuple[str, float]]] = []

    def save(rows: Sequence[ActivityRow]) -> None:
        calls.append([(row.user_id, row.last_seen) for row in rows])

    put(queue, ("1", 10.0), ("2", 11.5))
    put(queue, ("1", 20.0))
    assert work(kind, redis_url, name, save, lambda: is_empty(queue), redeliver_after=60.0) == 2
    assert calls == [[("1", 10.0), ("2", 11.5)], [("1", 20.0)]]


def test_an_async_function_is_awaited_where_it_can_be(redis_url, name, queue) -> None:
    saved: list[str] = []

    async def save(rows: Sequence[ActivityRow]) -> None:
        await asyncio.sleep(0)
        saved.extend(row.user_id for row in rows)

    put(queue, ("1", 10.0))
    assert work("async", redis_url, name, save, lambda: is_empty(queue)) == 1
    assert saved == ["1"]
    with pytest.raises(ConfigurationError, match=r"^save_activity: "):
        run_worker(queue, save)
    for wrong in (None, "save"):
        with pytest.raises(ConfigurationError, match=r"^save_activity: "):
            run_worker(queue, wrong)  # type: ignore[arg-type]


def test_a_batch_that_could_not_be_saved_comes_again_after_a_while(kind, redis_url, name, queue, caplog) -> None:
    calls: list[tuple[str, float]] = []
    said = "what holds a secret"

    def save(rows: Sequence[ActivityRow]) -> None:
        calls.append((rows[0].user_id, time.monotonic()))
        if len(calls) == 1:
            raise OSError(said)

    put(queue, ("1", 10.0))
    put(queue, ("2", 10.0))
    assert work(kind, redis_url, name, save, lambda: is_empty(queue)) == 2
    assert sorted(user_id for user_id, _ in calls) == ["1", "1", "2"]
    assert calls[1][1] - calls[0][1] >= 1.0
    assert "save_activity raised OSError" in caplog.text
    assert "secret" not in caplog.text


def test_what_is_no_batch_is_parked_and_the_others_go_on(kind, redis_url, client, name, queue) -> None:
    saved: list[str] = []
    queue.put({"type": "activity", "rows": "nonsense"})
    queue.put({"other": "x"})
    queue.put({"type": "activity", "rows": "[" * 100_000})
    put(queue, ("1", 10.0))
    until = lambda: is_empty(queue)  # noqa: E731
    assert work(kind, redis_url, name, lambda rows: saved.extend(row.user_id for row in rows), until) == 1
    assert saved == ["1"]
    reasons = [fields[b"parked:reason"] for _, fields in client.xrange(f"parked:{name}")]
    assert reasons == [b"malformed"] * 3


def test_a_saved_batch_that_cannot_be_acknowledged_comes_again(kind, name, caplog) -> None:
    with EmbeddedServer() as own, Queue(own.url, name) as queue, redis.Redis.from_url(own.url) as admin:
        put(queue, ("1", 10.0))
        calls: list[int] = []

        def save(rows: Sequence[ActivityRow]) -> None:
            admin.execute_command("ACL", "SETUSER", "default", "-xack")
            calls.append(len(rows))

        assert work(kind, own.url, name, save, lambda: len(calls) > 1) == 2
        assert calls == [1, 1]
        assert queue.counts().held == 1
        assert "saved and cannot be acknowledged" in caplog.text


WORKER = """
import sqlite3, sys, time
from authcache_middleware.activity import run_worker
from authcache_middleware.queue import Queue

def save(rows):
    with sqlite3.connect(sys.argv[3]) as database:
        for number, row in enumerate(rows):
            if row.user_id == "kill me":
                database.commit()  # half of the batch is there
                print("in mid-batch", flush=True)
                time.sleep(1000)
            database.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
                (row.user_id, row.last_seen),
            )

run_worker(Queue(sys.argv[1], sys.argv[2]), save)
"""


def test_a_worker_killed_in_mid_batch_loses_no_row(kind, redis_url, name, queue, tmp_path) -> None:
    """At least once, and the last value wins."""
    file = tmp_path / "users.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE seen (user TEXT PRIMARY KEY, at REAL)")
        database.commit()
    expected: dict[str, float] = {}
    for batch in range(10):
        rows = [(str(user), float(batch)) for user in range(5 * batch, 5 * batch + 20)]
        if batch == 3:
            rows.insert(10, ("kill me", 0.0))
        put(queue, *rows)
        expected.update(rows)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, redis_url, name, str(file)], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"in mid-batch\n"
        worker.send_signal(signal.SIGKILL)
    assert queue.counts().held == 1

    def save(rows: Sequence[ActivityRow]) -> None:
        with closing(sqlite3.connect(file)) as database, database:
            database.executemany(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
                [(row.user_id, row.last_seen) for row in rows],
            )

    assert work(kind, redis_url, name, save, lambda: is_empty(queue)) == 7
    with closing(sqlite3.connect(file)) as database:
        assert dict(database.execute("SELECT user, at FROM seen")) == expected
    assert queue.counts().parked == 0
