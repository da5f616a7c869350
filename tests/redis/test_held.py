"""Connections that stay in hand answer as the client does, in any mishap, and are no more than the pool may have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from faces import wait_until
from redis.exceptions import ResponseError

from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.redis.held import AsyncHeld, BlockingHeld

KINDS = ("async", "blocking")
PATIENCE = 10.0


class Hands:
    """Either way of holding, called in the blocking way."""

    def __init__(self, kind: str, url: str, most: int, timeout: float) -> None:
        self.runner = asyncio.Runner() if kind == "async" else None
        self.target = RedisTarget(
            url,
            asynchronous=kind == "async",
            timeout=timeout,
            connect_timeout=PATIENCE,
            max_connections=most,
            wait_replicas=0,
        )
        self.client = self.target._client()
        self.held: Any = AsyncHeld(self.client, timeout) if kind == "async" else BlockingHeld(self.client)

    def execute(self, *command: Any) -> Any:
        return self.run(self.held.execute, *command)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.runner is None:
            return function(*arguments)
        return self.runner.run(function(*arguments))

    def at_once(self, *commands: tuple[Any, ...]) -> list[Any]:
        if self.runner is not None:

            async def gathered() -> list[Any]:
                return list(await asyncio.gather(*(self.held.execute(*command) for command in commands)))

            return self.runner.run(gathered())
        found: list[Any] = [None] * len(commands)

        def one(index: int) -> None:
            found[index] = self.held.execute(*commands[index])

        threads = [threading.Thread(target=one, args=(index,)) for index in range(len(commands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return found

    def close(self) -> None:
        self.run(self.held.give_all_back)
        if self.runner is None:
            self.client.close()
        else:
            self.runner.run(self.client.aclose())
            self.runner.close()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, server: Any) -> Iterator[Callable[..., Hands]]:
    made: list[Hands] = []

    def hands(most: int = 4, timeout: float = PATIENCE) -> Hands:
        made.append(Hands(request.param, server.url, most, timeout))
        return made[-1]

    yield hands
    for each in made:
        each.close()


@pytest.fixture
def other(server: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def own(other: redis.Redis, prefix: str) -> list[Any]:
    """The ids of the connections that have just asked for a key of this test."""
    del prefix
    return [client["id"] for client in other.client_list() if client["cmd"] != "client|list"]


def test_replies_are_those_of_the_client(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make()
    text, table = f"{prefix}tëxt", f"{prefix}table"
    other.set(text, b"\x00\r\nvalue")
    other.hset(table, mapping={"a": "1", "b": "2"})
    script = "return {redis.call('GET', KEYS[1]), ARGV[1]}"
    for command in (
        ("GET", text), ("GET", f"{prefix}nothing"), ("MGET", text, table, f"{prefix}nothing"), ("HGETALL", table),
        ("HGETALL", f"{prefix}nothing"), ("EVAL", script, 1, text, b"\xff"), ("EVAL", script, 1, text, 7),
        ("DEL", f"{prefix}nothing"), ("EXISTS", text),
    ):  # fmt: skip
        reply = hands.execute(*command)
        assert (type(reply), reply) == (type(expected := other.execute_command(*command)), expected), command


def test_one_connection_serves_one_command_after_another(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make()
    before = len(own(other, prefix))
    for _ in range(5):
        hands.execute("GET", prefix)
    assert len(own(other, prefix)) == before + 1
    hands.execute("EXISTS", prefix)  # the client's
    assert len(own(other, prefix)) == before + 1, "it was given back first"


def test_no_more_are_open_than_the_pool_may_have(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make(most=2)
    hands.at_once(("GET", prefix), ("GET", prefix))
    assert hands.at_once(("EXISTS", prefix), ("EXISTS", prefix)) == [0, 0]
    assert hands.at_once(("GET", prefix), ("EXISTS", prefix)) == [None, 0]


def test_one_that_died_in_hand_is_not_noticed(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make()
    other.set(prefix, b"here")
    known = own(other, prefix)
    hands.at_once(("GET", prefix), ("GET", prefix))
    (*killed,) = set(own(other, prefix)) - set(known)
    for each in killed:
        other.client_kill_filter(_id=each)
    assert hands.execute("GET", prefix) == b"here"
    assert hands.at_once(("GET", prefix), ("GET", prefix)) == [b"here", b"here"]


def test_an_error_of_the_server_leaves_the_connection_in_hand(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make()
    other.hset(prefix, "a", "1")
    hands.execute("GET", f"{prefix}nothing")
    before = own(other, prefix)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        hands.execute("GET", prefix)
    assert hands.execute("GET", f"{prefix}nothing") is None
    assert own(other, prefix) == before


def test_an_mget_that_fails_fails_as_the_clients(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make()
    other.set(prefix, b"here")
    assert hands.execute("MGET", prefix, prefix) == [b"here", b"here"]
    before = own(other, prefix)
    for _ in range(3):
        with pytest.raises(ResponseError, match="wrong number of arguments"):
            hands.execute("MGET")
        assert hands.execute("MGET", prefix, f"{prefix}nothing") == [b"here", None]
    assert own(other, prefix) == before
    for each in before:
        other.client_kill_filter(_id=each)
    assert hands.execute("MGET", f"{prefix}nothing", prefix) == [None, b"here"]


def test_a_late_answer_answers_nobody_else(make: Any, other: redis.Redis, prefix: str) -> None:
    hands = make(timeout=0.2)
    other.set(f"{prefix}1", b"one")
    other.set(f"{prefix}2", b"two")
    assert hands.execute("GET", f"{prefix}1") == b"one"
    for command in (("GET", f"{prefix}1"), ("MGET", f"{prefix}1", f"{prefix}1")):
        other.client_pause(400)
        with pytest.raises((redis.TimeoutError, TimeoutError)):
            hands.execute(*command)
        other.client_unpause()
        assert hands.execute("GET", f"{prefix}2") == b"two"


def test_who_is_cancelled_leaves_nothing_behind(server: Any, other: redis.Redis, prefix: str) -> None:
    hands = Hands("async", server.url, 4, PATIENCE)
    other.set(f"{prefix}1", b"one")
    other.set(f"{prefix}2", b"two")

    async def cancelled() -> Any:
        assert await hands.held.execute("GET", f"{prefix}1") == b"one"
        other.client_pause(400)
        asked = asyncio.ensure_future(hands.held.execute("GET", f"{prefix}1"))
        for _ in range(3):
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        other.client_unpause()
        return await hands.held.execute("GET", f"{prefix}2")

    try:
        assert hands.run(cancelled) == b"two"
    finally:
        hands.close()


def test_whoever_closes_gives_all_back(make: Any, other: redis.Redis, prefix: str) -> None:
    before = len(own(other, prefix))
    hands = make()
    hands.at_once(("GET", prefix), ("GET", prefix))
    hands.run(hands.held.give_all_back)
    hands.run(hands.client.connection_pool.disconnect)
    assert wait_until(lambda: len(own(other, prefix)) == before)
