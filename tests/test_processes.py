"""Several processes, one Redis: what they load together, and what none of them may ever see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faces import wait_until

WORKER = Path(__file__).with_name("worker.py")
SEED = int(os.environ.get("AUTHCACHE_SEED", 0)) or int.from_bytes(os.urandom(3))


@contextmanager
def workers(kinds: list[str], url: str, prefix: str, scenario: str, client) -> Iterator[list[subprocess.Popen]]:
    """The processes, all started and let go at one moment; none is left behind."""
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, kind, url, prefix, scenario, str(SEED + number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=WORKER.parent,
        )
        for number, kind in enumerate(kinds)
    ]
    try:
        wait_until(lambda: int(client.get(f"{prefix}ready") or 0) == len(kinds), guard=60)
        client.set(f"{prefix}go", 1)
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def reports(processes: list[subprocess.Popen]) -> list[dict]:
    answers = []
    for process in processes:
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0
        answers.append(json.loads(output))
    return answers


def interleaved(url: str, prefix: str, scenario: str, client) -> tuple[int, int]:
    with workers(["async", "blocking"], url, prefix, scenario, client) as processes:
        found = reports(processes)
    print(f"AUTHCACHE_SEED={SEED}: {found}")
    return sum(one["asked"] for one in found), sum(one["stale"] for one in found)


def test_no_schedule_lets_an_invalidated_row_be_seen(redis_url, prefix, client) -> None:
    """300 users' loads, changes and questions in random order, by an asyncio and a threaded process."""
    asked, stale = interleaved(redis_url, prefix, "real", client)
    assert asked == 2 * 150 * 8
    assert stale == 0


def test_the_same_schedules_find_stale_rows_without_the_compare_and_set(redis_url, prefix, client) -> None:
    _, stale = interleaved(redis_url, prefix, "plain-set", client)
    assert stale > 0


def remembered(url: str, prefix: str, scenario: str, client, *, kill_links: bool = False) -> list[dict]:
    with workers(["async", "blocking"], url, prefix, scenario, client) as processes:
        while kill_links and any(process.poll() is None for process in processes):
            client.client_kill_filter(_type="pubsub")
            time.sleep(0.7)
        found = reports(processes)
    print(f"AUTHCACHE_SEED={SEED}: {found}")
    assert all(one["asked"] == 150 * 8 for one in found)
    assert all(one["from_memory"] for one in found), "memory was never asked"
    return found


def test_no_schedule_lets_an_invalidated_row_be_seen_in_memory_for_longer_than_allowed(
    redis_url, prefix, client
) -> None:
    """Each question is asked once max_staleness has passed since an invalidation returned, in either process."""
    assert sum(one["stale"] for one in remembered(redis_url, prefix, "memory", client)) == 0


def test_the_same_schedules_find_stale_rows_where_memory_does_not_hear(redis_url, prefix, client) -> None:
    assert sum(one["stale"] for one in remembered(redis_url, prefix, "deaf", client)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_nor_while_the_links_are_killed_again_and_again(redis_url, prefix, client, round_) -> None:
    found = remembered(redis_url, prefix, "memory", client, kill_links=True)
    assert sum(one["stale"] for one in found) == 0


def test_a_cold_user_is_loaded_once_by_eight_processes_of_fifty_callers(redis_url, prefix, client) -> None:
    with workers(["async", "blocking"] * 4, redis_url, prefix, "stampede", client) as processes:
        served = [report["served"] for report in reports(processes)]
    assert served == [50] * 8
    assert int(client.get(f"{prefix}loads")) == 1


@pytest.mark.parametrize("kinds", [["async"] * 4, ["blocking"] * 4], ids=["async", "blocking"])
def test_a_holder_that_is_killed_costs_one_more_load_and_nobody_hangs(redis_url, prefix, client, kinds) -> None:
    with workers(kinds, redis_url, prefix, "killed", client) as processes:
        holder = int(wait_until(lambda: client.get(f"{prefix}holder")))
        os.kill(holder, signal.SIGKILL)
        survivors = [process for process in processes if process.pid != holder]
        assert len(survivors) == 3
        served = [report["served"] for report in reports(survivors)]
    assert served == [50] * 3
    assert int(client.get(f"{prefix}loads")) == 2
