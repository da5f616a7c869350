"""Asking several servers: one connection to each, and never the answer to an earlier question."""

from __future__ import annotations

import asyncio

import pytest

from authcache_middleware.cache.link import WireError
from authcache_middleware.redis.asking import Asking
from authcache_middleware.runtime import finish


class Servers:
    """What each says, in turn: an answer, an error, or a pause that a cancellation ends."""

    def __init__(self, **says: list) -> None:
        self.says = says
        self.log: list[str] = []
        self.open_wires: list[str] = []

    def wire(self, name: str, timeout: float) -> Wire:
        self.log.append(f"wire to {name}")
        return Wire(self, name)


class Wire:
    def __init__(self, servers: Servers, name: str) -> None:
        self.servers = servers
        self.name = name

    async def open(self) -> None:
        self.servers.open_wires.append(self.name)

    async def call(self, *command):
        self.servers.log.append(f"{self.name}: {' '.join(command)}")
        answer = self.servers.says[self.name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        return answer

    async def close(self) -> None:
        self.servers.open_wires.remove(self.name)


def test_a_connection_is_kept_from_one_look_to_the_next() -> None:
    servers = Servers(a=[1, 2])
    asking = Asking(servers.wire, "WHO")
    assert [finish(asking.look(1.0).ask("a")) for _ in range(2)] == [1, 2]
    assert servers.log == ["wire to a", "a: WHO", "a: WHO"]
    finish(asking.close())
    assert servers.open_wires == []


def test_one_look_asks_each_once() -> None:
    servers = Servers(a=[1])
    look = Asking(servers.wire, "WHO").look(1.0)
    assert [finish(look.ask("a")) for _ in range(2)] == [1, 1]


def test_a_server_that_fails_is_connected_to_anew_and_asked_last() -> None:
    servers = Servers(a=[WireError("gone"), 1], b=[2, 3])
    asking = Asking(servers.wire, "WHO")
    look = asking.look(1.0)
    assert finish(look.ask("a")) is None
    assert look.reason == "gone"
    assert servers.open_wires == []
    look = asking.look(1.0)
    assert look.ordered(["a", "b"]) == ["b", "a"]
    assert finish(look.ask("a")) == 1
    assert asking.look(1.0).ordered(["a", "b"]) == ["a", "b"]
    assert servers.log.count("wire to a") == 2


def test_of_those_that_fail_each_has_its_turn() -> None:
    servers = Servers(a=[WireError("gone")] * 3, b=[WireError("gone")] * 3)
    asking = Asking(servers.wire, "WHO")
    orders = []
    for _ in range(5):
        look = asking.look(1.0)
        orders.append(look.ordered("abc"))
        if len(orders) > 1:
            finish(look.ask(look.ordered("abc")[1]))
        else:
            finish(look.ask("a"))
            finish(look.ask("b"))
    assert orders == [["a", "b", "c"], ["c", "a", "b"], ["c", "b", "a"], ["c", "a", "b"], ["c", "b", "a"]]


def test_when_the_time_is_over_nobody_is_asked() -> None:
    servers = Servers(a=[1])
    assert finish(Asking(servers.wire, "WHO").look(0.0).ask("a")) is None
    assert servers.log == []


async def test_a_question_that_is_given_up_takes_its_connection_along() -> None:
    """Its answer would be read as the answer to the next one."""
    servers = Servers(a=[20.0, "new"])
    asking = Asking(servers.wire, "WHO")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asking.look(30.0).ask("a")
    assert servers.open_wires == []
    assert await asking.look(1.0).ask("a") == "new"
    assert servers.log.count("wire to a") == 2


def test_others_are_closed() -> None:
    servers = Servers(a=[1], b=[2])
    asking = Asking(servers.wire, "WHO")
    look = asking.look(1.0)
    finish(look.ask("a"))
    finish(look.ask("b"))
    finish(asking.keep(["b"]))
    assert servers.open_wires == ["b"]
