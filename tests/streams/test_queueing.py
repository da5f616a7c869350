"""Queues on a real server: put, take, acknowledge, hand out again, park; with both faces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from faces import wait_until
from streams.queues import QueueDriver, queueing, ready_queue, tell, url_source

from authcache_middleware import ConfigurationError, UnavailableError
from authcache_middleware.errors import QueueFullError
from authcache_middleware.queue import AsyncQueue, Queue, QueueCounts, QueueEntry
from authcache_middleware.testing.server import EmbeddedServer, free_ports

SHORT = 0.05


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def name(prefix) -> str:
    return prefix + "work"


def numbers(entries: list[QueueEntry]) -> list[int]:
    return [int(entry.fields["number"]) for entry in entries]


def put(driver: QueueDriver, *each: int) -> None:
    for number in each:
        driver("put", {"number": str(number)})


def read_again(driver: QueueDriver, **options: Any) -> list[QueueEntry]:
    return wait_until(lambda: driver("read", **options))


def test_what_was_put_comes_out_once_in_its_order(kind, every_redis_url, name) -> None:
    with queueing(kind, every_redis_url, name) as driver:
        put(driver, 1, 2, 3)
        first = driver("read", 2)
        assert numbers(first) == [1, 2]
        assert [entry.deliveries for entry in first] == [1, 1]
        assert first[0].id < first[1].id
        assert numbers(driver("read")) == [3]
        assert driver("read") == []


def test_bytes_and_text_arrive_as_bytes(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        driver("put", {"text": "é", "bytes": b"\x00\xff"})
        (entry,) = driver("read")
        assert entry.fields == {"text": "é".encode(), "bytes": b"\x00\xff"}


def test_any_client_may_put(kind, redis_url, client, name) -> None:
    client.xadd(f"queue:{name}", {"number": "7"})
    with queueing(kind, redis_url, name) as driver:
        assert numbers(driver("read")) == [7]


def test_what_is_acknowledged_is_gone_and_may_be_acknowledged_again(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        put(driver, 1, 2, 3)
        entries = driver("read", 2)
        assert driver("counts") == QueueCounts(waiting=1, held=2, parked=0)
        driver("acknowledge", entries)
        driver("acknowledge", [entries[0].id])
        driver("acknowledge", [])
        assert driver("counts") == QueueCounts(waiting=1, held=0, parked=0)
        assert client.xlen(f"queue:{name}") == 1


def test_a_full_queue_says_so_and_throws_nothing_away(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name, max_length=2) as driver:
        put(driver, 1, 2)
        with pytest.raises(QueueFullError):
            put(driver, 3)
        held = driver("read", 1)
        with pytest.raises(QueueFullError):
            put(driver, 3)
        driver("acknowledge", held)
        put(driver, 3)
        assert numbers(driver("read")) == [2, 3]


def test_what_a_dead_consumer_held_is_handed_to_another(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name, redeliver_after=10 * SHORT) as driver:
        put(driver, 1, 2)
        assert numbers(driver("read", consumer="dead")) == [1, 2]
        again = read_again(driver, count=1, consumer="other")
        assert numbers(again) == [1]
        assert again[0].deliveries == 2
        assert numbers(read_again(driver, consumer="other")) == [2]
        held = {one["name"]: one["pending"] for one in client.xinfo_consumers(f"queue:{name}", "workers")}
        assert held[b"other"] == 2


def test_what_is_held_for_less_long_stays_with_its_holder(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        put(driver, 1)
        assert numbers(driver("read", consumer="slow")) == [1]
        assert driver("read", consumer="other") == []


def test_what_is_handed_out_too_often_is_parked_and_can_be_put_back(kind, redis_url, client, name, caplog) -> None:
    with queueing(kind, redis_url, name, redeliver_after=SHORT, max_deliveries=2) as driver:
        put(driver, 666)
        assert [read_again(driver)[0].deliveries for _ in range(2)] == [1, 2]
        wait_until(lambda: driver("read") == [] and driver("counts").parked == 1)
        assert driver("counts") == QueueCounts(waiting=0, held=0, parked=1)
        ((_, parked),) = client.xrange(f"parked:{name}")
        assert parked[b"number"] == b"666"
        assert (parked[b"parked:reason"], parked[b"parked:deliveries"]) == (b"deliveries", b"2")
        assert "handed out 2 times" in caplog.text
        assert driver("requeue_parked") == 1
        assert driver("requeue_parked") == 0
        (entry,) = driver("read")
        assert (entry.fields, entry.deliveries) == ({"number": b"666"}, 1)


def test_good_entries_are_handed_out_beside_one_that_is_parked(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name, redeliver_after=SHORT, max_deliveries=1) as driver:
        put(driver, 1)
        assert numbers(driver("read")) == [1]
        put(driver, 2)
        wait_until(lambda: driver("counts").held == 1)
        time_over = wait_until(lambda: idle_of_all(driver) >= SHORT)
        assert time_over
        assert numbers(driver("read")) == [2]
        assert driver("counts") == QueueCounts(waiting=0, held=1, parked=1)


def idle_of_all(driver: QueueDriver) -> float:
    with redis.Redis.from_url(driver.url) as client:
        pending = client.xpending_range(f"queue:{driver.name}", "workers", "-", "+", 10)
    return min(one["time_since_delivered"] for one in pending) / 1000


def test_a_batch_is_no_larger_for_what_is_handed_out_again(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name, redeliver_after=SHORT) as driver:
        put(driver, 1)
        assert numbers(driver("read")) == [1]
        put(driver, 2, 3)
        wait_until(lambda: idle_of_all(driver) >= SHORT)
        assert numbers(driver("read", 2)) == [1, 2]


def test_where_no_more_may_be_parked_the_entry_stays(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name, redeliver_after=SHORT, max_deliveries=1, max_length=1) as driver:
        client.xadd(f"parked:{name}", {"number": "0"})
        put(driver, 1)
        assert numbers(driver("read")) == [1]
        wait_until(lambda: idle_of_all(driver) >= SHORT)
        assert driver("read") == []
        assert driver("counts") == QueueCounts(waiting=0, held=1, parked=1)


def test_a_reader_waits_until_something_comes(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        driver("read")
        timer = threading.Timer(0.2, client.xadd, (f"queue:{name}", {"number": "1"}))
        timer.start()
        began = time.monotonic()
        assert numbers(driver("read", wait=30.0)) == [1]
        assert time.monotonic() - began < 15
        timer.join()


def test_a_reader_waits_no_longer_than_it_was_told(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        began = time.monotonic()
        assert driver("read", wait=0.1) == []
        assert time.monotonic() - began >= 0.1


def test_a_deleted_queue_begins_anew(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        put(driver, 1)
        held = driver("read")
        client.delete(f"queue:{name}")
        driver("acknowledge", held)
        assert driver("counts") == QueueCounts(waiting=0, held=0, parked=0)
        assert driver("read") == []
        put(driver, 2)
        assert numbers(driver("read")) == [2]


def test_an_entry_that_somebody_deleted_while_it_was_held_is_forgotten(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name, redeliver_after=SHORT) as driver:
        put(driver, 1)
        (entry,) = driver("read")
        client.xdel(f"queue:{name}", entry.id)
        wait_until(lambda: not client.xpending(f"queue:{name}", "workers")["pending"] or driver("read"))
        assert driver("read") == []


def test_batches_are_consumed_until_it_is_enough(kind, redis_url, client, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        put(driver, *range(5))
        assert [numbers(batch) for batch in driver.consume(2, 2)] == [[0, 1], [2, 3]]
        assert [numbers(batch) for batch in driver.consume(9, 2, until=lambda: driver_is_empty(client, name))] == [[4]]
        assert client.xinfo_consumers(f"queue:{name}", "workers") == []  # who leaves is forgotten


def driver_is_empty(client: redis.Redis, name: str) -> bool:
    return client.xlen(f"queue:{name}") == 0


def test_who_leaves_with_something_in_his_hands_is_remembered(redis_url, client, name) -> None:
    with Queue(redis_url, name) as queue:
        queue.put({"number": "1"})
        consumed = queue.consume(consumer="hasty")
        next(consumed)
        consumed.close()
        assert [one["name"] for one in client.xinfo_consumers(f"queue:{name}", "workers")] == [b"hasty"]


def test_an_idle_consumer_sends_about_a_command_a_second(name) -> None:
    with EmbeddedServer() as own, redis.Redis.from_url(own.url) as client, Queue(own.url, name) as queue:
        queue.read()
        client.config_resetstat()
        queue.read(wait=1.5)
        sent = client.info("commandstats")
        assert sent["cmdstat_xread"]["calls"] == 2
        assert sent["cmdstat_eval"]["calls"] == 1


def test_a_client_that_waits_less_long_is_asked_as_seldom(name, redis_url) -> None:
    with redis.Redis.from_url(redis_url, socket_timeout=0.8) as impatient, Queue(impatient, name) as queue:
        began = time.monotonic()
        assert queue.read(wait=1.1) == []
        assert time.monotonic() - began >= 1.1


async def use_one_loop(queue: AsyncQueue) -> None:
    await queue.put({"number": "1"})
    assert len(await queue.read(wait=5.0)) == 1
    await queue.aclose()


async def leave_one_open(queue: AsyncQueue) -> None:
    await queue.put({"number": "1"})
    assert len(await queue.read(wait=5.0)) == 1


def test_each_event_loop_has_connections_of_its_own(redis_url, name) -> None:
    queue = AsyncQueue(redis_url, name)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for runner in (first, second, first):
            runner.run(leave_one_open(queue))
        for runner in (first, second):
            runner.run(queue.aclose())
            runner.run(use_one_loop(queue))


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_ready_client_of_either_protocol_will_do(kind, redis_url, name, protocol) -> None:
    with ready_queue(kind, url_source(kind, redis_url, protocol), name, redeliver_after=SHORT) as driver:
        tell(driver)


def test_consuming_survives_a_server_that_is_away(kind, name, caplog) -> None:
    (port,) = free_ports(1)
    with EmbeddedServer(port) as own, queueing(kind, own.url, name, timeout=0.5) as driver:
        put(driver, 1)
        assert len(driver.consume(1)) == 1
        own.kill()
        with pytest.raises(UnavailableError):
            put(driver, 2)

        def start_and_put() -> None:
            own.start()
            with redis.Redis.from_url(own.url) as client:
                client.xadd(f"queue:{name}", {"number": "3"})

        timer = threading.Timer(1.3, start_and_put)  # while it is asked twice
        timer.start()
        assert [numbers(batch) for batch in driver.consume(1)] == [[3]]
        timer.join()
        assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize("face", [AsyncQueue, Queue])
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("name", "with space"),
        ("name", ""),
        ("max_length", 0),
        ("max_length", True),
        ("max_deliveries", 0),
        ("redeliver_after", 0),
        ("redeliver_after", float("nan")),
        ("timeout", "1"),
        ("redis", "http://x"),
    ],
)
def test_what_cannot_be_is_refused_by_name(face, argument, wrong) -> None:
    with pytest.raises(ConfigurationError, match=f"^{argument}: "):
        face(**{"redis": "redis://localhost", "name": "work", argument: wrong})


def test_bad_entries_are_refused_by_name(kind, redis_url, name) -> None:
    with queueing(kind, redis_url, name) as driver:
        for fields, error in (({}, ValueError), ({1: "x"}, TypeError), ({"x": 1}, TypeError)):
            with pytest.raises(error, match=r"^fields: "):
                driver("put", fields)
        with pytest.raises(ValueError, match=r"^count: "):
            driver("read", 0)
        with pytest.raises(ValueError, match=r"^consumer: "):
            driver("read", consumer="a b")


def test_what_is_in_an_entry_stands_in_no_repr(redis_url, name) -> None:
    assert "secret" not in repr(QueueEntry("1-0", {"x": b"secret"}))
    assert repr(Queue(redis_url, name)) == f"<Queue: {name}>"
    assert repr(AsyncQueue(redis_url, name)) == f"<AsyncQueue: {name}>"


FORKED = """
import os, sys
from authcache_middleware.queue import Queue
queue = Queue(sys.argv[1], sys.argv[2])
queue.put({"number": "1"})
if child := os.fork():
    os.waitpid(child, 0)
    queue.put({"number": "3"})
    print(len(queue.read()), len({entry.id for entry in queue.read()}))
else:
    queue.put({"number": "2"})
    os._exit(0)
"""


def test_a_forked_child_has_connections_of_its_own(redis_url, name) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, redis_url, name],
        capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.stdout.split() == ["3", "0"]
