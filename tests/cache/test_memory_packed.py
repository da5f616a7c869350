"""Users who are asked for less than others are packed, behind the same two fences."""

from __future__ import annotations

import threading
from types import MappingProxyType

import pytest

from authcache_middleware.cache import memory as memory_module
from authcache_middleware.cache.memory import Memory
from authcache_middleware.testing import ManualClock
from authcache_middleware.users.record import NO_REVOCATIONS, Record, Revocations

NODE = "127.0.0.1:1"
READY, MORE = 4, 100
ODD = {"name": "Ann", "tags": ("a", "b"), "deep": MappingProxyType({"raw": b"\x00", "none": None, "list": (1, 2.5)})}
REVOKED = Revocations(17, MappingProxyType({"t:one": 18}))


def record(version: int = 1, revocations: Revocations = NO_REVOCATIONS) -> Record:
    fields = MappingProxyType({**ODD, "version": version})
    return Record("https://id.example", "é", fields, revocations, 1, 2, 3)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory(clock, monkeypatch) -> Memory:
    monkeypatch.setattr(memory_module, "_MOST_READY", READY)
    memory = Memory(entries=READY + MORE, ttl=60.0, max_staleness=1.0, now=clock.monotonic, mutex=threading.Lock())
    memory.follow([NODE])
    memory.credit(NODE, clock.monotonic())
    return memory


def keep(memory: Memory, key: str, kept: Record | None = None, *, seconds: float = 50.0) -> None:
    reading = memory.begin(key)
    memory.keep(reading, kept or record(), seconds=seconds, ends_in=seconds)
    memory.end(reading)


def crowd(memory: Memory, count: int = 2 * READY) -> None:
    """So many others that whoever was there before is packed."""
    for number in range(count):
        keep(memory, f"crowd:{number}")


def is_packed(memory: Memory, key: str) -> bool:
    return key not in memory._records._kept


@pytest.mark.parametrize("revocations", [NO_REVOCATIONS, REVOKED])
def test_a_packed_user_is_the_same_and_ready_again_once_asked_for_twice(memory, revocations) -> None:
    keep(memory, "user:1", record(7, revocations))
    crowd(memory)
    assert is_packed(memory, "user:1")
    held = len(memory)
    assert memory.entry("user:1").record == record(7, revocations)
    assert is_packed(memory, "user:1"), "the others are asked for more often"
    assert memory.entry("user:1").record == record(7, revocations)
    assert not is_packed(memory, "user:1")
    assert memory.entry("user:1") is memory.entry("user:1")
    assert len(memory) == held


def test_what_is_heard_takes_the_packed_ones_away_too(memory) -> None:
    keep(memory, "user:1")
    crowd(memory)
    memory.drop("user:1")
    assert memory.entry("user:1") is None
    memory.flush()
    assert len(memory) == 0
    assert memory.entry("crowd:0") is None


def test_without_trust_nothing_packed_is_answered(memory, clock) -> None:
    keep(memory, "user:1")
    crowd(memory)
    clock.advance(1.5)
    assert memory.entry("user:1") is None
    assert memory.stale_record("user:1", 5.0) == record()
    memory.credit(NODE, clock.monotonic())
    assert memory.entry("user:1") is not None


def test_a_packed_user_ends_with_his_time(memory, clock) -> None:
    keep(memory, "user:1", seconds=10.0)
    keep(memory, "user:2", seconds=30.0)
    crowd(memory)
    clock.advance(10.0)
    memory.credit(NODE, clock.monotonic())
    assert memory.entry("user:1") is None
    assert memory.entry("user:2") is not None


def test_a_newer_record_leaves_nothing_older_behind(memory, clock) -> None:
    keep(memory, "user:1", record(1), seconds=50.0)
    crowd(memory)
    keep(memory, "user:1", record(2), seconds=5.0)
    assert memory.entry("user:1").record == record(2)
    clock.advance(10.0)
    memory.credit(NODE, clock.monotonic())
    crowd(memory)
    assert memory.entry("user:1") is None


def test_memory_stays_within_its_bound(memory) -> None:
    crowd(memory, 10 * (READY + MORE))
    assert READY + MORE // 2 <= len(memory) <= READY + MORE
