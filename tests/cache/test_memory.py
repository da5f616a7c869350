"""The two fences: what may be kept, and what may be answered from memory."""

from __future__ import annotations

import threading
from types import MappingProxyType

import pytest

from authcache_middleware.cache.memory import Memory
from authcache_middleware.testing import ManualClock
from authcache_middleware.users.record import NO_REVOCATIONS, Record

NODE = "127.0.0.1:1"


def record(name: str = "Ann") -> Record:
    return Record(None, "1", MappingProxyType({"name": name}), NO_REVOCATIONS, 0, 1, 3_600_000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory(clock) -> Memory:
    memory = Memory(entries=100, ttl=60.0, max_staleness=1.0, now=clock.monotonic, mutex=threading.Lock())
    memory.follow([NODE])
    memory.credit(NODE, clock.monotonic())
    return memory


def keep(memory, key="user:1", *, seconds=100.0) -> None:
    reading = memory.begin(key)
    memory.keep(reading, record(), seconds=seconds, ends_in=seconds)
    memory.end(reading)


def test_what_was_read_is_answered(memory) -> None:
    keep(memory)
    assert memory.entry("user:1").record == record()
    assert memory.entry("user:2") is None
    assert len(memory) == 1


@pytest.mark.parametrize(("seconds", "life"), [(10.0, 10.0), (100.0, 60.0)])
def test_an_entry_ends_with_its_time_or_the_ttl_of_memory(memory, clock, seconds, life) -> None:
    keep(memory, seconds=seconds)
    clock.advance(life - 0.5)
    memory.credit(NODE, clock.monotonic())
    assert memory.entry("user:1") is not None
    clock.advance(0.5)
    memory.credit(NODE, clock.monotonic())
    assert memory.entry("user:1") is None


def test_a_record_that_is_to_be_refreshed_is_not_kept(memory) -> None:
    keep(memory, seconds=0.0)
    assert len(memory) == 0


# -- the fill fence


def test_what_changed_while_it_was_read_is_not_kept(memory) -> None:
    reading = memory.begin("user:1")
    memory.drop("user:1")
    memory.keep(reading, record(), seconds=100, ends_in=100)
    assert memory.entry("user:1") is None


def test_every_reader_of_the_key_is_marked_and_no_other(memory) -> None:
    first, second, other = memory.begin("user:1"), memory.begin("user:1"), memory.begin("user:2")
    memory.drop("user:1")
    for reading in (first, second, other):
        memory.keep(reading, record(), seconds=100, ends_in=100)
        memory.end(reading)
    assert memory.entry("user:1") is None
    assert memory.entry("user:2") is not None
    assert memory._readers == {}


@pytest.mark.parametrize("happens", ["flush", "lose", "follow"])
def test_nothing_is_kept_across_a_flush_or_a_loss(memory, clock, happens) -> None:
    reading = memory.begin("user:1")
    {"flush": memory.flush, "lose": lambda: memory.lose(NODE), "follow": lambda: memory.follow([NODE])}[happens]()
    memory.credit(NODE, clock.monotonic())
    memory.keep(reading, record(), seconds=100, ends_in=100)
    memory.end(reading)
    assert memory.entry("user:1") is None


def test_nobody_registers_while_memory_is_not_trusted(memory, clock) -> None:
    clock.advance(1.5)
    assert memory.begin("user:1") is None


def test_what_was_read_is_not_kept_once_trust_has_gone(memory, clock) -> None:
    reading = memory.begin("user:1")
    clock.advance(1.5)
    memory.keep(reading, record(), seconds=100, ends_in=100)
    memory.credit(NODE, clock.monotonic())
    assert memory.entry("user:1") is None


# -- what the links hear


def test_what_is_heard_is_dropped(memory) -> None:
    keep(memory, "user:1")
    keep(memory, "user:2")
    memory.drop("user:1")
    memory.drop("user:unknown")
    assert memory.entry("user:1") is None
    assert memory.entry("user:2") is not None
    memory.flush()
    assert memory.entry("user:2") is None


# -- the trust fence


def test_memory_is_trusted_for_the_bound_and_no_longer(memory, clock) -> None:
    keep(memory)
    clock.advance(1.0)
    assert memory.entry("user:1") is not None
    clock.advance(0.001)
    assert memory.entry("user:1") is None
    assert not memory.is_trusted
    memory.credit(NODE, clock.monotonic() - 0.5)
    assert memory.entry("user:1") is not None, "the same link heard everything meanwhile"


def test_a_lost_link_ends_trust_at_once(memory) -> None:
    keep(memory)
    memory.lose(NODE)
    assert memory.entry("user:1") is None


def test_all_links_must_have_been_heard(memory, clock) -> None:
    memory.follow(["a", "b"])
    memory.credit("a", clock.monotonic())
    assert not memory.is_trusted
    memory.credit("b", clock.monotonic())
    assert memory.is_trusted
    clock.advance(0.9)
    memory.credit("a", clock.monotonic())
    clock.advance(0.2)
    assert not memory.is_trusted
    memory.credit("b", clock.monotonic())
    assert memory.is_trusted
    memory.lose("b")
    assert not memory.is_trusted


def test_a_primary_that_is_not_followed_says_nothing(memory, clock) -> None:
    memory.follow(["a"])
    memory.credit("b", clock.monotonic())
    assert not memory.is_trusted
    memory.credit("a", clock.monotonic())
    memory.lose("b")
    assert memory.is_trusted


def test_nobody_to_hear_is_no_trust(clock) -> None:
    memory = Memory(entries=9, ttl=60.0, max_staleness=1.0, now=clock.monotonic, mutex=threading.Lock())
    assert not memory.is_trusted
    memory.follow([])
    assert not memory.is_trusted


# -- stale memory


def test_stale_memory_answers_for_so_long_after_trust_has_gone(memory, clock) -> None:
    keep(memory)
    memory.lose(NODE)
    clock.advance(4.9)
    assert memory.stale_record("user:1", 5.0) is not None
    assert memory.stale_record("user:1", 1.0) is None
    clock.advance(0.2)
    assert memory.stale_record("user:1", 5.0) is None


def test_stale_memory_counts_from_the_last_moment_of_trust_however_often_the_link_fails(memory, clock) -> None:
    keep(memory)
    for _ in range(6):
        memory.lose(NODE)
        clock.advance(1.0)
    assert memory.stale_record("user:1", 5.0) is None
    assert memory.stale_record("user:1", 6.5) is not None


def test_stale_memory_holds_nothing_whose_invalidation_was_heard(memory) -> None:
    keep(memory, "user:1")
    keep(memory, "user:2")
    memory.drop("user:1")
    memory.lose(NODE)
    assert memory.stale_record("user:1", 5.0) is None
    assert memory.stale_record("user:2", 5.0) is not None
    memory.flush()
    assert memory.stale_record("user:2", 5.0) is None


def test_stale_memory_ends_with_the_record_and_not_with_the_ttl_of_memory(memory, clock) -> None:
    keep(memory, "user:1", seconds=100.0)
    keep(memory, "user:2", seconds=65.0)
    memory.lose(NODE)
    clock.advance(70)
    assert memory.stale_record("user:1", 300.0) is not None
    assert memory.stale_record("user:2", 300.0) is None


# -- who waits


def test_who_waits_is_woken_once_by_the_key_or_a_flush(memory) -> None:
    woken = []
    for name, key in (("one", "user:1"), ("two", "user:1"), ("three", "user:3"), ("four", "user:4")):
        memory.wait_for(key, lambda name=name: woken.append(name))
    memory.drop("user:1")
    memory.drop("user:1")
    assert woken == ["one", "two"]
    memory.flush()
    assert sorted(woken[2:]) == ["four", "three"]
    assert memory._waiters == {}


def test_who_waits_no_more_is_not_woken(memory) -> None:
    woken = []
    wake, other = (lambda: woken.append(1)), (lambda: woken.append(2))
    memory.wait_for("user:1", wake)
    memory.wait_for("user:1", other)
    memory.wait_no_more("user:1", wake)
    memory.drop("user:1")
    assert woken == [2]
    memory.wait_no_more("user:1", other)
    assert memory._waiters == {}


def test_memory_is_bounded(clock) -> None:
    memory = Memory(entries=10, ttl=60.0, max_staleness=1.0, now=clock.monotonic, mutex=threading.Lock())
    memory.follow([NODE])
    memory.credit(NODE, clock.monotonic())
    for number in range(100):
        keep(memory, f"user:{number}")
    assert len(memory) == 10
