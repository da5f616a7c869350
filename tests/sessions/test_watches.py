"""Connections that stay open: when their users are read again, and what ends them."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from types import MappingProxyType

import pytest

from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.runtime import AsyncRuntime
from authcache_middleware.sessions import watches as module
from authcache_middleware.sessions.watches import Watches
from authcache_middleware.testing import ManualClock
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import NO_REVOCATIONS, Record

NODE = "127.0.0.1:1"
LEEWAY, KEPT = 5.0, 10.0


def claims(subject: str = "1", *, ends: float = 4e9, scopes: tuple[str, ...] = ()) -> Claims:
    return Claims(subject, None, ends, 0.0, None, None, scopes, MappingProxyType({}))


class World:
    """Users, and what is read of them; the test says what comes of a reading, and turns the clock."""

    def __init__(self, *, max_staleness: float, kept: float = KEPT) -> None:
        self.clock = ManualClock()
        self.memory = Memory(
            entries=1000, ttl=60.0, max_staleness=max_staleness, now=self.clock.monotonic, mutex=threading.Lock()
        )
        self.out: set[str] = set()
        self.broken_rule = False
        self.until = math.inf
        self.down = False
        self.cached = True
        self.gate: asyncio.Event | None = None
        self.read: list[str] = []
        self.under_way = self.most_under_way = 0
        self.ended: list[tuple[str, str]] = []
        self.watches = Watches(
            runtime=AsyncRuntime(),
            memory=self.memory,
            clock=self.clock,
            read=self.record,
            admit=self.admit,
            leeway=LEEWAY,
            max_staleness=max_staleness,
            keep_open_for=kept,
        )

    async def record(self, claims: Claims) -> Record:
        """As the flow does it: registered before it is read, and kept unless something was heard meanwhile."""
        self.read.append(claims.subject)
        key = f"user:{claims.subject}"
        reading = self.memory.begin(key)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            user = None if claims.subject in self.out else MappingProxyType({"name": "Ann"})
            record = Record(None, claims.subject, user, NO_REVOCATIONS, 0, 1, 3_600_000)
            await (asyncio.sleep(0) if self.gate is None else self.gate.wait())
            if self.down:
                raise UnavailableError("redis")
            if reading is not None and self.cached:
                self.memory.keep(reading, record, seconds=30.0, ends_in=3600.0)
            return record
        finally:
            self.under_way -= 1
            if reading is not None:
                self.memory.end(reading)

    def admit(self, record: Record, claims: Claims) -> float:
        if self.broken_rule:
            raise UnavailableError("is_active")
        if record.user is None or "old" in claims.scopes:
            raise InvalidTokenError("unknown")
        if self.until <= self.clock.wall():
            raise InvalidTokenError("session")
        return self.until

    def begin(self, name: str, said: Claims | None = None) -> module.Watch:
        said = claims(name[0]) if said is None else said  # without members it is false

        async def end(reason: str) -> None:
            self.ended.append((name, reason))

        return self.watches.begin(said, f"user:{said.subject}", end)

    def trust(self) -> None:
        self.memory.follow([NODE])
        self.hear()

    def hear(self) -> None:
        """The link has heard of everything until now."""
        self.memory.credit(NODE, self.clock.monotonic())

    async def turn(self, seconds: float = 0.0, *, linked: bool = True) -> list[str]:
        """Let so much time pass; whom it was read about."""
        self.clock.advance(seconds)
        if linked and self.memory._heard:
            self.hear()
        before = len(self.read)
        for _ in range(5):
            self.watches._ring()
            for _ in range(10):
                await asyncio.sleep(0)
        return self.read[before:]

    async def close(self) -> None:
        if self.gate is not None:
            self.gate.set()
        await self.watches._runtime.aclose()

    def holds_nothing(self) -> bool:
        w = self.watches
        tables = w._due, w._kept, w._ends
        return not (len(w) or w._users or w._idle or w._readings or w._ending or any(map(len, tables)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Memory is trusted."""
    world = World(max_staleness=1.0)
    world.trust()
    yield world
    await world.close()


@pytest.fixture
async def forgetful() -> AsyncIterator[World]:
    """Memory is off."""
    world = World(max_staleness=0.0)
    yield world
    await world.close()


# With memory


async def test_a_user_is_read_once_at_the_start_and_then_left_alone(world) -> None:
    world.begin("1a")
    world.begin("1b")
    assert await world.turn() == ["1"]
    for _ in range(100):
        assert await world.turn(0.9) == []
    assert world.ended == []


async def test_a_user_whom_memory_knows_is_not_read_at_all(world) -> None:
    await world.record(claims())
    world.begin("1")
    world.read.clear()
    assert await world.turn() == []


async def test_a_user_who_was_thrown_out_before_anybody_watched_is_noticed(world) -> None:
    world.out.add("1")
    world.begin("1")
    await world.turn()
    assert world.ended == [("1", "revoked")]


async def test_what_is_heard_ends_his_connections_and_no_others(world) -> None:
    for name in ("1a", "1b", "2a"):
        world.begin(name)
    await world.turn()
    world.out.add("1")
    world.memory.drop("user:1")
    world.memory.drop("user:3")
    assert await world.turn() == ["1"]
    assert sorted(world.ended) == [("1a", "revoked"), ("1b", "revoked")]
    assert len(world.watches) == 1


async def test_a_row_that_has_changed_ends_nothing(world) -> None:
    world.begin("1")
    await world.turn()
    world.memory.drop("user:1")
    assert await world.turn() == ["1"]
    assert (world.ended, await world.turn(30.0)) == ([], [])


async def test_of_one_user_those_end_whose_token_is_refused(world) -> None:
    world.begin("1a")
    world.begin("1b", claims("1", scopes=("old",)))
    await world.turn()
    assert world.ended == [("1b", "revoked")]


async def test_what_is_heard_during_a_reading_makes_it_read_again(world) -> None:
    world.begin("1")
    await world.turn()
    world.gate = asyncio.Event()
    world.memory.drop("user:1")
    assert await world.turn() == ["1"]
    world.out.add("1")
    world.memory.drop("user:1")  # the reading under way does not know of it
    world.gate.set()
    assert await world.turn() == ["1"]
    assert world.ended == [("1", "revoked")]


async def test_a_connection_that_begins_during_a_reading_is_not_judged_by_it(world) -> None:
    world.out.add("1")
    world.gate = asyncio.Event()
    world.begin("1a")
    await world.turn()
    world.out.clear()
    world.memory.drop("user:1")
    world.begin("1b")
    world.gate.set()
    assert await world.turn() == ["1"]
    assert world.ended == [("1a", "revoked")]  # what was read was so before the other one came


async def test_an_answer_that_somebody_else_got_is_judged_and_asked_for_again_before_it_ends_one(world) -> None:
    world.begin("1")
    await world.turn()
    world.out.add("1")
    world.memory.drop("user:1")
    await world.record(claims())
    assert await world.turn() == ["1"]
    assert world.ended == [("1", "revoked")]


async def test_what_redis_says_counts_where_memory_says_no(world) -> None:
    world.begin("1")
    await world.turn()
    world.memory.drop("user:1")
    world.out.add("1")
    await world.record(claims())
    world.out.clear()  # a login, whose word is on its way
    assert await world.turn() == ["1"]
    assert world.ended == []


async def test_a_user_is_read_again_when_his_session_ends(world) -> None:
    world.until = world.clock.wall() + 50.0
    world.begin("1")
    await world.turn()
    assert await world.turn(49.0) == []
    assert await world.turn(1.0) == ["1"]  # by its time alone: nothing is heard
    assert world.ended == [("1", "revoked")]


async def test_a_record_that_holds_for_no_time_is_read_every_max_staleness(world) -> None:
    world.watches._admit = lambda record, claims: world.clock.wall()
    world.begin("1")
    await world.turn()
    assert world.watches._idle == set()
    for _ in range(2 * int(KEPT)):
        await world.turn(1.0)
    assert (world.ended, world.watches._idle) == ([], set())
    world.down = True
    world.memory.drop("user:1")
    await world.turn()
    assert world.ended == [], "until now he was known, if from memory alone"


async def test_a_failed_reading_is_not_made_good_by_what_memory_has_got_meanwhile(world) -> None:
    world.begin("1")
    await world.turn()
    world.gate, world.down = asyncio.Event(), True
    world.memory.drop("user:1")
    await world.turn()
    world.out.add("1")
    gate, world.gate = world.gate, None
    world.down = False
    await world.record(claims())  # another request, which Redis answers
    world.down = True
    gate.set()
    await world.turn()
    assert (world.ended, world.watches._idle) == ([], set())
    world.down = False
    await world.turn(1.0)
    assert world.ended == [("1", "revoked")]


async def test_after_a_flush_all_are_read_spread_over_max_staleness(world) -> None:
    names = [f"{number:03}" for number in range(200)]
    for name in names:
        world.begin(name, claims(name))
    await world.turn()
    world.memory.flush()
    soon = await world.turn()
    spread = [len(await world.turn(0.1)) for _ in range(10)]
    assert len(soon) <= 5
    assert len(soon) + sum(spread) == 200
    assert min(spread) >= 5
    assert max(spread) <= 45
    assert await world.turn(30.0) == []


async def test_a_flush_delays_nobody_who_is_due_at_once(world) -> None:
    world.begin("1")
    await world.turn()
    world.memory.drop("user:1")
    world.memory.flush()
    assert await world.turn() == ["1"]


async def test_only_so_many_are_read_at_once(world) -> None:
    for number in range(200):
        world.begin(f"{number:03}", claims(f"{number:03}"))
    for _ in range(2000):  # turns of the loop, and no time: each reading that ends lets the next begin
        await asyncio.sleep(0)
    assert len(set(world.read)) == 200
    assert world.most_under_way == module._MOST_READINGS - module._OF_THE_HEARD


async def test_who_was_heard_of_does_not_wait_behind_a_crowd(world) -> None:
    names = [f"{number:03}" for number in range(200)]
    for name in names:
        world.begin(name, claims(name))
    for _ in range(20):
        await world.turn()
    world.gate = asyncio.Event()  # the loader hangs
    world.memory.flush()
    await world.turn(1.0)
    assert world.under_way == module._MOST_READINGS - module._OF_THE_HEARD
    waiting = [name for name in names if f"user:{name}" in world.watches._due]
    for name in waiting[-1], waiting[-2]:
        world.out.add(name)
        world.memory.drop(f"user:{name}")
    assert await world.turn() == [waiting[-1], waiting[-2]]
    for name in waiting[:50]:
        world.memory.drop(f"user:{name}")
    await world.turn()
    assert world.most_under_way == module._MOST_READINGS


async def test_only_so_many_are_looked_at_in_one_turn(world) -> None:
    names = [f"{number:03}" for number in range(600)]
    for name in names:
        await world.record(claims(name))
    for name in names:
        world.begin(name, claims(name))
    world.read.clear()
    for idle in (256, 512, 600):
        pause = await world.watches._turn()
        assert (len(world.watches._idle), pause == 0.0) == (idle, idle < 600)
    assert world.read == []


async def test_while_the_link_is_lost_all_are_read_every_max_staleness(world) -> None:
    world.begin("1")
    world.begin("2")
    await world.turn()
    world.memory.lose(NODE)
    await world.turn(linked=False)
    for _ in range(5):
        assert sorted(await world.turn(1.0, linked=False)) == ["1", "2"]
    world.out.add("2")
    await world.turn(1.0, linked=False)
    assert world.ended == [("2", "revoked")]
    world.trust()  # the new link has emptied memory
    assert await world.turn(1.0) == ["1"]
    assert await world.turn(30.0) == []


async def test_a_link_that_is_late_is_noticed_without_being_told(world) -> None:
    world.begin("1")
    await world.turn()
    await world.turn(1.1, linked=False)
    assert world.watches._idle == set()
    assert await world.turn(1.0, linked=False) == ["1"]


async def test_the_task_sleeps_no_longer_than_memory_is_trusted(world) -> None:
    world.begin("1")
    await world.turn()
    world.clock.advance(0.4)
    now, wall = world.clock.monotonic(), world.clock.wall()
    assert min(world.watches._next_moments(now, wall)) == pytest.approx(0.601, abs=0.01)


async def test_a_record_that_memory_did_not_keep_is_read_every_max_staleness(world) -> None:
    world.cached = False
    world.begin("1")
    await world.turn()
    assert [await world.turn(0.5) for _ in range(4)] == [[], ["1"], [], ["1"]]
    world.cached = True
    assert [await world.turn(1.0) for _ in range(3)] == [["1"], [], []]


async def test_a_record_is_read_again_at_its_own_end(world) -> None:
    world.begin("1")
    await world.turn()
    assert await world.turn(3599.0) == []
    assert await world.turn(1.0) == ["1"]


# Without memory


async def test_without_memory_a_user_is_read_every_second(forgetful) -> None:
    forgetful.begin("1a")
    forgetful.begin("1b")
    await forgetful.turn()
    assert [await forgetful.turn(0.5) for _ in range(4)] == [[], ["1"], [], ["1"]]
    forgetful.out.add("1")
    await forgetful.turn(1.0)
    assert sorted(forgetful.ended) == [("1a", "revoked"), ("1b", "revoked")]


async def test_what_this_process_ends_is_heard_without_a_link(forgetful) -> None:
    forgetful.begin("1")
    await forgetful.turn()
    forgetful.out.add("1")
    forgetful.memory.drop("user:1")
    await forgetful.turn()
    assert forgetful.ended == [("1", "revoked")]


# The token's end


async def test_a_connection_ends_with_its_token_and_the_leeway(world) -> None:
    ends = world.clock.wall() + 10.0
    world.begin("1a", claims(ends=ends))
    world.begin("1b", claims(ends=ends + 20.0))
    await world.turn()
    await world.turn(10.0 + LEEWAY - 0.01)
    assert world.ended == []
    await world.turn(0.01)
    assert world.ended == [("1a", "expired")]
    await world.turn(20.0)
    assert world.ended == [("1a", "expired"), ("1b", "expired")]
    assert world.holds_nothing()


async def test_what_ends_for_two_causes_at_once_ends_once(world) -> None:
    world.begin("1", claims(ends=world.clock.wall() + 1.0))
    await world.turn()
    world.out.add("1")
    world.memory.drop("user:1")
    await world.record(claims())
    await world.turn(1.0 + LEEWAY)
    assert len(world.ended) == 1


async def test_a_fresh_token_moves_the_end_and_is_judged(world) -> None:
    now = world.clock.wall()
    watch = world.begin("1", claims(ends=now + 10.0))
    await world.turn()
    watch.renew(claims(ends=now + 100.0))
    await world.turn()
    await world.turn(90.0)
    assert world.ended == []
    watch.renew(claims(ends=now + 200.0, scopes=("old",)))
    await world.turn()
    assert world.ended == [("1", "revoked")]


async def test_a_token_of_somebody_else_or_for_a_connection_that_is_over_is_refused(world) -> None:
    watch = world.begin("1")
    with pytest.raises(InvalidTokenError, match="subject"):
        watch.renew(claims("2"))
    watch.release()
    with pytest.raises(InvalidTokenError, match="ended"):
        watch.renew(claims())


# Nobody knows


async def test_while_nobody_knows_a_connection_is_kept_for_its_time(world) -> None:
    world.begin("1")
    await world.turn()
    await world.turn(5 * KEPT)  # idle: all this time it is known
    world.down = True
    world.memory.lose(NODE)
    await world.turn(linked=False)
    waited = 0.0
    while waited < KEPT - 0.5:
        await world.turn(0.5, linked=False)
        waited += 0.5
    assert world.ended == []
    await world.turn(0.5, linked=False)
    assert world.ended == [("1", "unavailable")]
    assert world.holds_nothing()


async def test_an_answer_in_time_starts_it_anew(world) -> None:
    world.begin("1")
    await world.turn()
    world.memory.lose(NODE)
    for down in (True, False, True):
        world.down = down
        for _ in range(8):
            await world.turn(1.0, linked=False)
    assert world.ended == []
    for _ in range(3):
        await world.turn(1.0, linked=False)
    assert world.ended == [("1", "unavailable")]


@pytest.mark.parametrize("ended_by", ["hangs", "fails"])
async def test_a_crowd_ends_in_its_time_though_it_was_not_read_by_then(world, ended_by) -> None:
    for number in range(100):
        world.begin(f"{number:03}", claims(f"{number:03}"))
    for _ in range(20):
        await world.turn()
    assert len(world.watches._idle) == 100
    world.gate = asyncio.Event()
    world.memory.flush()
    await world.turn(KEPT - 0.1)
    if ended_by == "fails":
        world.down = True
        world.gate.set()
    assert world.ended == []
    await world.turn(0.1)
    assert sorted(world.ended) == [(f"{number:03}", "unavailable") for number in range(100)]
    world.gate.set()
    await world.turn()
    assert world.holds_nothing()


async def test_who_comes_back_while_his_old_reading_hangs_is_kept_for_his_time(world) -> None:
    world.gate = asyncio.Event()
    world.begin("1a")
    await world.turn()
    await world.turn(KEPT)
    assert world.ended == [("1a", "unavailable")]
    world.begin("1b")
    await world.turn(KEPT - 0.1)
    assert world.ended == [("1a", "unavailable")]
    await world.turn(0.1)
    assert world.ended == [("1a", "unavailable"), ("1b", "unavailable")]
    world.gate.set()
    await world.turn()
    assert world.holds_nothing()


@pytest.mark.parametrize("kept", [0.0, 0.2])
@pytest.mark.parametrize("memory", [True, False])
async def test_who_is_known_stays_however_short_that_time_is(memory, kept) -> None:
    world = World(max_staleness=1.0 if memory else 0.0, kept=kept)  # not trusted yet, as in a face's first moments
    world.begin("1")
    for _ in range(50):
        await world.turn(0.1)
    if memory:
        world.trust()
        await world.turn(1.0)
        assert world.watches._idle == {"user:1"}
        world.memory.drop("user:1")
        await world.turn()
        world.memory.flush()
        await world.turn(1.0)
    assert world.ended == []
    world.down = True
    world.memory.flush()
    await world.turn()
    await world.turn(1.0)
    await world.turn(kept)
    assert world.ended == [("1", "unavailable")]
    await world.watches._runtime.aclose()


async def test_a_reading_has_its_time_and_no_more_where_none_is_kept(forgetful) -> None:
    forgetful.watches._keep_open_for = 0.0
    forgetful.begin("1")
    await forgetful.turn()
    forgetful.gate = asyncio.Event()
    await forgetful.turn(1.0)
    await forgetful.turn(module._PATIENCE - 0.1)
    assert forgetful.ended == []
    await forgetful.turn(0.1)
    assert forgetful.ended == [("1", "unavailable")]


@pytest.mark.parametrize("knows", ["redis", "memory"])
async def test_a_rule_that_fails_is_no_answer(world, knows) -> None:
    world.begin("1")
    await world.turn()
    world.broken_rule = True
    world.memory.drop("user:1")
    if knows == "memory":
        await world.record(claims())
    await world.turn()
    assert world.watches._idle == set()
    world.broken_rule = False
    await world.turn(1.0)
    assert world.watches._idle == {"user:1"}


@pytest.mark.parametrize("cached", [True, False])
async def test_a_rule_that_fails_for_too_long_ends_a_connection(world, cached) -> None:
    world.broken_rule, world.cached = True, cached
    world.begin("1")
    await world.turn()
    for _ in range(int(KEPT)):
        assert world.ended == []
        await world.turn(1.0)
    assert world.ended == [("1", "unavailable")]


@pytest.mark.parametrize("where", ["_read", "_admit", "_clock"])
async def test_a_fault_of_ours_leaves_connections_watched(forgetful, caplog, where) -> None:
    watches, message = forgetful.watches, "a value"
    right = getattr(watches, where)
    forgetful.begin("1")
    await forgetful.turn()

    class Faulty:
        def __call__(self, *_arguments):
            raise RuntimeError(message)

        wall = monotonic = __call__

    setattr(watches, where, Faulty())
    forgetful.clock.advance(1.0)
    watches._ring()
    for _ in range(10):
        await asyncio.sleep(0)
    setattr(watches, where, right)
    forgetful.out.add("1")
    await forgetful.turn(1.0)
    assert forgetful.ended == [("1", "revoked")]
    assert "RuntimeError" in caplog.text
    assert message not in caplog.text


# Nothing is left


async def test_what_is_released_ends_never_and_leaves_nothing(world) -> None:
    watches = [world.begin(f"{number}", claims(f"{number}", ends=world.clock.wall() + 1)) for number in range(50)]
    assert len(world.watches) == 50
    await world.turn()
    for watch in watches:
        watch.release()
        watch.release()
    assert world.holds_nothing()
    world.memory.flush()
    await world.turn(100.0)
    assert world.ended == []


async def test_the_task_ends_with_the_last_connection_and_comes_with_the_next(world) -> None:
    for _ in range(2):
        watch = world.begin("1")
        await world.turn()
        assert world.watches._task is not None
        watch.release()
        await world.turn()
        assert world.watches._task is None


async def test_a_release_during_a_reading_leaves_nothing(world) -> None:
    world.gate = asyncio.Event()
    watch = world.begin("1")
    await world.turn()
    watch.release()
    world.gate.set()
    await world.turn()
    assert world.holds_nothing()


async def test_closing_ends_what_is_watched(world) -> None:
    world.begin("1")
    world.begin("2")
    await world.turn()
    await world.watches.aclose()
    await world.watches._runtime.aclose()
    assert sorted(world.ended) == [("1", "unavailable"), ("2", "unavailable")]
    assert world.holds_nothing()
