"""One link's life, over a wire whose messages are written down beforehand."""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import MappingProxyType

import pytest

from authcache_middleware.cache.link import Link, WireError
from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import UnavailableError
from authcache_middleware.events import LinkDown, LinkUp
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock
from authcache_middleware.users.record import NO_REVOCATIONS, Record

NODE = "127.0.0.1:1"
CHANNEL = b"__redis__:invalidate"
RECORD = Record(None, "1", MappingProxyType({}), NO_REVOCATIONS, 0, 1, 3_600_000)


def changed(*keys: str) -> list:
    return [b"message", CHANNEL, [key.encode() for key in keys]]


FLUSHED = [b"message", CHANNEL, None]
PONG = [b"pong", b""]
BEACON = object()
"""The message that tells of the beacon, whatever its key is."""


class Script:
    """A primary and all its wires. ``says`` is what each connection reads, step by step: a message, a number of seconds
    that pass in silence, a function to be called, or an error."""

    name = NODE
    has_no_key = False

    def __init__(self, clock: ManualClock, *connections: list) -> None:
        self.clock = clock
        self.connections = deque(deque(steps) for steps in connections)
        self.sent: list[tuple] = []
        self.beacons: list[str] = []
        self.open_wires = 0
        self.pauses: list[float] = []
        self.touch_fails = False

    # -- Primary

    def wire(self, _timeout: float) -> Script:
        self.says = self.connections.popleft()
        return self

    def beacon(self, prefix: str) -> str | None:
        if self.has_no_key:
            return None
        self.beacons.append(f"{prefix}\x00beacon:{len(self.beacons)}")
        return self.beacons[-1]

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        if self.touch_fails:
            raise UnavailableError("redis")
        self.sent.append(("touch", key))

    # -- Wire

    async def open(self) -> None:
        if self.says and isinstance(self.says[0], OSError):
            raise WireError(type(self.says.popleft()).__name__)
        self.open_wires += 1

    async def call(self, *command):
        self.sent.append(command)
        if self.says and isinstance(self.says[0], WireError):
            raise self.says.popleft()
        return 7 if command == ("CLIENT", "ID") else b"OK"

    async def send(self, *command) -> None:
        self.sent.append(command)

    async def read(self, timeout: float):
        while self.says:
            step = self.says.popleft()
            if isinstance(step, float):
                if step > timeout:
                    self.says.appendleft(step - timeout)
                    step = timeout
                self.clock.advance(step)
                return None
            if callable(step):
                step()
                continue
            if isinstance(step, BaseException):
                raise step
            return changed(self.beacons[-1]) if step is BEACON else step
        raise WireError("the script is over")

    async def close(self) -> None:
        self.open_wires = max(0, self.open_wires - 1)

    # -- Stop: set when the last connection has been used

    @property
    def is_set(self) -> bool:
        return False

    async def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        return not self.connections


class World:
    def __init__(self, *connections: list) -> None:
        self.clock = ManualClock()
        self.events: list = []
        self.memory = Memory(entries=9, ttl=60.0, max_staleness=1.0, now=self.clock.monotonic, mutex=threading.Lock())
        self.memory.follow([NODE])
        self.script = Script(self.clock, *connections)
        self.seen: list = []

    def run(self) -> World:
        link = self.link = Link(
            self.script,
            memory=self.memory,
            prefix="user:",
            now=self.clock.monotonic,
            max_staleness=1.0,
            reporter=Reporter([self.events.append]),
        )
        finish(link.run(self.script))
        assert self.script.open_wires == 0
        return self

    def keep(self, key: str = "user:1") -> None:
        reading = self.memory.begin(key)
        self.memory.keep(reading, RECORD, seconds=100.0, ends_in=100.0)
        self.memory.end(reading)

    def look(self, key: str = "user:1") -> None:
        """Note whether memory is trusted, and whether it answers for the key."""
        self.seen.append((self.memory.is_trusted, self.memory.entry(key) is not None))


@pytest.fixture(autouse=True)
def _logging(caplog):
    caplog.set_level(logging.INFO)


def test_it_is_set_up_in_this_order() -> None:
    world = World([BEACON, PONG, PONG]).run()
    commands = world.script.sent
    first, second = world.script.beacons
    assert commands == [
        ("CLIENT", "ID"),
        ("SET", first, "", "PX", 1000),
        ("CLIENT", "TRACKING", "ON", "REDIRECT", 7, "BCAST", "PREFIX", "user:"),
        ("SUBSCRIBE", "__redis__:invalidate"),
        ("touch", second),
        ("PING",),
        ("PING",),
        ("PING",),
    ]


def test_memory_is_trusted_after_the_second_answer_and_follows_what_is_heard() -> None:
    world = World([])
    world.script.connections[0].extend(
        [
            BEACON,
            PONG,
            world.look,
            PONG,
            world.look,
            PONG,
            world.keep,
            lambda: world.keep("user:2"),
            world.look,
            changed("user:1", "user:other"),
            world.look,
            lambda: world.look("user:2"),
            FLUSHED,
            lambda: world.look("user:2"),
        ]
    )
    world.run()
    trusted, empty, gone = (True, True), (True, False), (False, False)
    assert world.seen == [gone, gone, trusted, empty, trusted, empty]
    assert world.events == [LinkUp(NODE, 0.0), LinkDown(NODE, "the script is over")]


@pytest.mark.parametrize("message", [[BEACON], [PONG, BEACON]])
def test_a_beacon_that_one_answer_has_overtaken_is_heard_too(message) -> None:
    assert World([*message, PONG, PONG, PONG]).run().events[:1] == [LinkUp(NODE, 0.0)]


def test_without_the_beacon_memory_stays_off_and_it_is_said_once(caplog) -> None:
    deaf = [changed("user:1"), PONG, PONG]
    world = World(deaf, deaf, deaf).run()
    assert not world.memory.is_trusted
    assert caplog.text.count("does not tell of changed keys") == 1
    assert min(world.script.pauses) >= 15.0, "trying again soon would be of no use"
    assert world.events == []


def test_a_server_that_falls_silent_before_the_beacon_is_asked_again_soon() -> None:
    world = World([5.0], [5.0]).run()
    assert max(world.script.pauses) <= 1.0
    assert not world.memory.is_trusted


def test_a_server_that_refuses_is_asked_seldom_and_one_that_is_away_soon(caplog) -> None:
    world = World([WireError("NoPermissionError", deaf=True)], [OSError()], [OSError()]).run()
    refused, *away = world.script.pauses
    assert refused >= 15.0
    assert max(away) <= 1.0
    assert caplog.text.count("NoPermissionError") == 1


def test_pauses_grow_and_begin_anew_after_it_was_up() -> None:
    lost = [OSError()]
    up = [BEACON, PONG, PONG, PONG]
    pauses = World(lost, lost, lost, lost, lost, lost, up, lost).run().script.pauses
    for number, pause in enumerate(pauses[:6]):
        longest = min(0.05 * 2 ** (number + 1), 1.0)
        assert longest / 2 <= pause <= longest
    assert pauses[6] <= 0.05


def test_what_was_in_memory_is_gone_with_the_link_and_with_the_next_one() -> None:
    world = World([], [])
    world.script.connections[0].extend([BEACON, PONG, PONG, PONG, world.keep, world.look])
    world.script.connections[1].extend([BEACON, PONG, PONG, PONG, world.look])
    world.run()
    assert world.seen == [(True, True), (True, False)]
    assert not world.memory.is_trusted


def test_an_answer_that_does_not_come_is_a_loss_at_the_bound() -> None:
    world = World([BEACON, PONG, PONG, PONG, 0.25, 5.0], []).run()
    assert LinkDown(NODE, "no answer") in world.events


def test_an_answer_that_comes_too_late_is_a_loss_too() -> None:
    """The server was away for longer than the bound: by now it may be a replica that has missed something."""
    world = World([])
    late = lambda: world.clock.advance(1.5)  # noqa: E731
    world.script.connections[0].extend([BEACON, PONG, PONG, PONG, 0.25, late, PONG, PONG, world.look])
    world.run()
    assert world.seen == []
    assert LinkDown(NODE, "no answer") in world.events


def test_a_pool_that_does_not_reach_the_server_is_a_loss() -> None:
    world = World([BEACON, PONG, PONG, PONG])
    world.script.touch_fails = True
    assert world.run().events == []
    assert ("PING",) not in world.script.sent


def test_a_primary_that_no_key_belongs_to_is_heard_without_a_beacon() -> None:
    world = World([])
    world.script.has_no_key = True
    world.script.connections[0].extend([PONG, PONG, world.keep, world.look])
    world.run()
    assert world.seen == [(True, True)]
    assert [command[0] for command in world.script.sent[:4]] == ["CLIENT", "CLIENT", "SUBSCRIBE", "PING"]


def test_a_link_that_is_replaced_proves_nothing_more(caplog) -> None:
    """In a thread it may read on for a moment, while others are followed."""
    world = World([])
    follow = lambda: (world.link.replaced(), world.memory.follow([NODE]))  # noqa: E731
    world.script.connections[0].extend([BEACON, PONG, PONG, PONG, world.look, follow, PONG, PONG, world.look])
    world.run()
    assert world.seen == [(True, False), (False, False)]
    assert world.events == [LinkUp(NODE, 0.0), LinkDown(NODE, "primaries changed")]
    assert caplog.text == ""


def test_a_fault_of_ours_is_logged_and_survived(caplog) -> None:
    world = World([BEACON, ZeroDivisionError("confidential")], [BEACON, PONG, PONG, PONG]).run()
    assert "ZeroDivisionError" in caplog.text
    assert LinkUp(NODE, 0.0) in world.events


def test_messages_of_other_kinds_are_passed_over() -> None:
    world = World([])
    world.script.connections[0].extend(
        [[b"subscribe", CHANNEL, 1], BEACON, PONG, PONG, [b"other", b"x"], PONG, world.keep, world.look]
    )
    assert world.run().seen == [(True, True)]


def test_keys_that_are_no_utf8_harm_nothing() -> None:
    world = World([])
    world.script.connections[0].extend(
        [BEACON, PONG, PONG, PONG, world.keep, [b"message", CHANNEL, [b"user:\xff", b"user:1"]], world.look]
    )
    assert world.run().seen == [(True, False)]
