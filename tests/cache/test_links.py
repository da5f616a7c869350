"""Following the primaries: what each look does to memory, by a clock that is turned by hand."""

from __future__ import annotations

import logging
import threading
from types import MappingProxyType
from typing import Any

import pytest

from authcache_middleware.cache.links import Links, PrimariesUnknownError
from authcache_middleware.cache.memory import Memory
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock
from authcache_middleware.users.record import NO_REVOCATIONS, Record

RECORD = Record(None, "1", MappingProxyType({}), NO_REVOCATIONS, 0, 1, 3_600_000)
BOUND = 1.0


class Primary:
    """Equal by name and slots, as those of a topology are."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Primary) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class LinkTo:
    """Proves nothing by itself: the test says what it has heard."""

    def __init__(self, world: World, primary: Primary) -> None:
        self.world = world
        self.name = primary.name
        world.running.append(self.name)

    async def run(self, stop: Any) -> None:
        raise AssertionError

    def replaced(self) -> None:
        self.world.running.remove(self.name)


class World:
    """A topology whose every look finds what is written down: names, an error, or how many seconds it takes first."""

    changes = True

    def __init__(self, *looks: Any) -> None:
        self.clock = ManualClock()
        self.memory = Memory(entries=9, ttl=60.0, max_staleness=BOUND, now=self.clock.monotonic, mutex=threading.Lock())
        self.looks = list(looks)
        self.running: list[str] = []
        self.stopped: list[str] = []
        self.waits: list[float] = []
        self.seen: list[Any] = []
        self.is_closed = False
        self.sent_to = "a"

    # -- Topology

    async def primaries(self, timeout: float) -> list[Primary]:
        self.timeout = timeout
        while isinstance(found := self.looks.pop(0), float):
            self.clock.advance(found)
        if isinstance(found, Exception):
            raise found
        return [Primary(name) for name in found]

    def is_sent_to(self, names: Any, key: str) -> bool:
        return self.sent_to in names

    async def close(self) -> None:
        self.is_closed = True

    # -- Runtime and Background

    def background(self, work: Any, name: str) -> Any:
        world = self

        class Started:
            def stop(self) -> None:
                world.stopped.append(name)

        return Started()

    # -- Stop: after each look the links hear everything up to now, and the test looks

    is_set = False

    async def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.hear()
        self.seen.append((self.memory.is_trusted, self.memory.entry("user:1") is not None))
        self.keep()
        self.clock.advance(seconds)
        return not self.looks

    def hear(self) -> None:
        for name in self.running:
            self.memory.credit(name, self.clock.monotonic())

    def keep(self) -> None:
        reading = self.memory.begin("user:1")
        if reading is not None:
            self.memory.keep(reading, RECORD, seconds=100.0, ends_in=100.0)
            self.memory.end(reading)

    def run(self) -> World:
        async def at_start() -> None:
            """Nothing is told."""

        self.links = Links(
            self,
            runtime=self,  # type: ignore[arg-type]
            memory=self.memory,
            make_link=lambda primary: LinkTo(self, primary),  # type: ignore[arg-type,return-value]
            at_start=at_start,
            now=self.clock.monotonic,
            max_staleness=BOUND,
        )
        finish(self.links._follow(self))
        return self


AWAY = PrimariesUnknownError("the primaries do not agree")
TRUSTED, EMPTY, OFF = (True, True), (True, False), (False, False)


def test_the_same_primaries_leave_memory_as_it_is() -> None:
    world = World("ab", "ba", "ab").run()
    assert world.seen == [EMPTY, TRUSTED, TRUSTED]
    assert world.stopped == []
    assert world.is_closed


@pytest.mark.parametrize("others", ["abc", "a", "ac", "b"])
def test_any_change_of_them_empties_memory_and_drops_all_links(others) -> None:
    world = World("ab", "ab", others).run()
    assert world.seen == [EMPTY, TRUSTED, EMPTY]
    assert sorted(world.stopped) == ["authcache-link-a", "authcache-link-b"]
    assert sorted(world.running) == sorted(others)


def test_memory_is_off_when_the_last_look_is_too_old(caplog) -> None:
    world = World("ab", "ab", AWAY, AWAY, AWAY, "ab").run()
    # looks are half a bound apart, and a look proves what was the case a fifth of it before its beginning
    assert [trusted for trusted, _ in world.seen] == [True, True, True, False, False, True]
    assert world.seen[-1] == TRUSTED, "the links have heard everything meanwhile"
    assert caplog.text.count("memory is off") == 1


def test_a_look_that_was_late_proves_only_what_was_before_it() -> None:
    world = World("ab", 0.85, "ab").run()
    assert world.seen == [EMPTY, (False, False)]


def test_a_look_dates_back_a_fifth_of_the_bound_for_word_to_travel() -> None:
    world = World("ab")
    world.run()
    world.clock.advance(-world.waits[0])
    for seconds, trusted in [(0.79, True), (0.02, False)]:
        world.clock.advance(seconds)
        world.hear()
        assert world.memory.is_trusted is trusted


def test_looks_are_half_a_bound_apart_from_start_to_start_and_have_a_quarter() -> None:
    world = World("ab", 0.2, "ab", 0.7, "ab").run()
    assert world.waits == pytest.approx([0.5, 0.3, 0.0])
    assert world.timeout == 0.25


def test_a_primary_that_is_not_heard_of_leaves_memory_off() -> None:
    world = World("ab")
    world.hear = lambda: world.memory.credit("a", world.clock.monotonic())  # type: ignore[method-assign]
    assert world.run().seen == [OFF]


def test_only_what_a_followed_primary_has_answered_is_kept() -> None:
    world = World("ab").run()
    assert world.links.hear_of("user:1")
    world.sent_to = "c"
    assert not world.links.hear_of("user:1")


def test_a_fault_of_ours_is_logged_and_survived(caplog) -> None:
    world = World(ZeroDivisionError("confidential"), "ab").run()
    assert world.seen == [OFF, EMPTY]
    assert "ZeroDivisionError" in caplog.text


def test_where_they_never_change_one_look_is_enough(caplog) -> None:
    caplog.set_level(logging.WARNING)
    world = World(AWAY, "a", AssertionError())
    world.changes = False
    world.run()
    world.hear()
    assert world.memory.is_trusted
    world.clock.advance(0.9)
    assert world.memory.is_trusted


def test_a_link_that_could_not_be_started_is_started_at_the_next_look() -> None:
    class Short(World):
        failures = 1

        def background(self, work: Any, name: str) -> Any:
            if name.startswith("authcache-link-") and self.failures:
                self.failures -= 1
                self.running.clear()
                raise RuntimeError("can't start new thread")
            return super().background(work, name)

    world = Short(["a"], ["a"], ["a"], ["a"]).run()
    assert world.running == ["a"]
    assert world.seen[-1] == (True, True)
