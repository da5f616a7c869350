"""How many Sentinels must say the same before memory is trusted."""

from __future__ import annotations

import time

import pytest
from faces import wait_until
from live import Live, living
from servers.on_groups import client_of
from servers.sentinel_group import SentinelGroup

pytestmark = pytest.mark.slow
PATIENT = {"store_timeout": 2.0, "deadline": 20.0, "max_staleness": 0.8}


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


def load(user_id: str) -> dict:
    return {"id": user_id}


def watched(live: Live) -> list[bool]:
    """Whether memory is trusted, looked at again and again through two bounds."""
    end, held = time.monotonic() + 2 * PATIENT["max_staleness"], []
    while time.monotonic() < end:
        held.append(live.is_trusted())
        time.sleep(0.02)
    return held


def test_more_than_half_must_answer_and_one_that_hangs_does_no_harm(kind) -> None:
    with SentinelGroup() as group, living(kind, client_of(kind, group), load_user=load, **PATIENT) as live:
        live.remember()
        group.sentinels[0].freeze()
        time.sleep(PATIENT["max_staleness"])  # the first look after it waits in vain, and counts for nothing
        wait_until(live.is_trusted)
        held = watched(live)
        print(f"memory was trusted {held.count(True)} of {len(held)} times")
        assert held.count(True) > len(held) / 2
        group.sentinels[1].freeze()
        wait_until(lambda: not live.is_trusted())
        time.sleep(PATIENT["max_staleness"])
        assert True not in watched(live), "one of three is not more than half"
        assert live.enter()["id"] == "1", "Redis is asked"
        group.sentinels[1].thaw()
        live.remember()


def test_one_that_names_another_server_is_enough_to_leave_memory_off(kind) -> None:
    with SentinelGroup() as group, living(kind, client_of(kind, group), load_user=load, **PATIENT) as live:
        live.remember()
        dissenter = group.sentinels[2]
        group.ask(dissenter, "SENTINEL", "REMOVE", group.name)
        group.ask(dissenter, "SENTINEL", "MONITOR", group.name, "127.0.0.1", group.servers[3].port, 3)
        wait_until(lambda: not live.is_trusted())
        assert live.enter()["id"] == "1"
        group.ask(dissenter, "SENTINEL", "REMOVE", group.name)
        live.remember()
