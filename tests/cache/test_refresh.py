"""Refreshing ahead: loaded again in the background, while the record still answers."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

import pytest
from faces import ISSUER, driven, wait_until

from authcache_middleware import InvalidTokenError
from authcache_middleware.cache.refresh import refresh_window_ms
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.users.record import NO_REVOCATIONS, Record


@pytest.mark.parametrize(
    ("life_s", "load_ms", "window_s"),
    [(3600, 5, 10), (3600, 2000, 40), (3600, 100_000, 360), (60, 5, 6), (1, 5, 0.1)],
)
def test_the_window(life_s, load_ms, window_s) -> None:
    record = Record(None, "1", MappingProxyType({}), NO_REVOCATIONS, 0, load_ms, life_s * 1000)
    assert refresh_window_ms(record) == window_s * 1000


def test_that_there_is_no_such_user_is_not_refreshed() -> None:
    assert refresh_window_ms(Record(None, "1", None, NO_REVOCATIONS, 0, 5, 3_600_000)) == 0


class World:
    def __init__(self, driver, store, clock, loads) -> None:
        self.driver, self.store, self.clock, self.loads = driver, store, clock, loads
        self.during_the_load = lambda: None
        self.row = {"name": "old"}

    def load(self, user_id):
        self.loads.append(user_id)
        row = dict(self.row)
        if len(self.loads) > 1:
            self.during_the_load()
        return row

    def enter(self):
        return self.driver.enter("1", now=self.clock.wall()).user.name

    def settle(self) -> None:
        """Wait for what goes on in the background."""
        story = getattr(self.driver.face, "_story", self.driver.face)
        (engine,) = story._engines.values()

        async def until_done() -> None:
            async with asyncio.timeout(20):
                while engine.of(ISSUER).users._refresher._under_way:
                    await asyncio.sleep(0.001)

        if story is self.driver.face:
            self.driver._run(until_done())
        else:
            wait_until(lambda: not engine.of(ISSUER).users._refresher._under_way)


@pytest.fixture(params=["async", "blocking"])
def world(request):
    clock = ManualClock()
    store = MemoryStore(clock)
    world = World(None, store, clock, [])
    options = {"load_user": lambda user_id: world.load(user_id), "clock": clock, "refresh_ahead": True}
    with driven(request.param, store, **options) as driver:
        world.driver = driver
        yield world


def test_near_its_end_a_record_answers_and_is_loaded_again_once(world) -> None:
    assert world.enter() == "old"
    world.clock.advance(3580)
    world.enter()
    world.settle()
    assert world.loads == ["1"], "not yet"
    world.clock.advance(15)
    world.row = {"name": "new"}
    assert world.enter() == "old"
    world.settle()
    assert world.loads == ["1", "1"]
    world.clock.advance(60)
    assert world.enter() == "new", "the record did not end"
    assert world.loads == ["1", "1"]


def test_one_process_is_elected(world) -> None:
    world.enter()
    world.clock.advance(3595)
    finish(world.store.elect("refresh:1", ttl_ms=2250))
    world.enter()
    world.settle()
    assert world.loads == ["1"]


def test_an_invalidation_wins_over_a_refresh(world) -> None:
    world.enter()
    world.clock.advance(3595)
    world.during_the_load = lambda: finish(world.store.delete("user:1"))
    world.enter()
    world.settle()
    assert finish(world.store.get("user:1")) is None
    assert world.driver.face.stats().fills_refused == 1
    world.during_the_load = lambda: None
    world.row = {"disabled": True}
    with pytest.raises(InvalidTokenError):
        world.enter()


def test_a_refresh_that_fails_leaves_the_record(world) -> None:
    def fail():
        raise OSError

    world.enter()
    world.clock.advance(3595)
    world.during_the_load = fail
    assert world.enter() == "old"
    world.settle()
    assert world.enter() == "old"
    stats = world.driver.face.stats()
    assert (stats.refreshes, stats.failed_loads) == (1, 1)
