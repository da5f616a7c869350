"""Which node a command goes to, and on which connection, over a client that says what is written down."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    ConnectionError,  # noqa: A004
    MovedError,
    NoPermissionError,
    SlotNotCoveredError,
    TimeoutError,  # noqa: A004
)

from authcache_middleware.redis.cluster_calls import ClusterCalls
from authcache_middleware.runtime import finish


class Client:
    """``says``: the replies of each conversation with one node, or its error. ``learns``: the owners after lessons."""

    def __init__(self, *says: Any, learns: list[str | None] | None = None, lesson: Exception | None = None) -> None:
        self.says = list(says)
        self.learns = learns or []
        self.lesson = lesson
        self.has_map = True
        self.name: str | None = "a"
        self.log: list[Any] = []

    def is_ready(self) -> bool:
        return self.has_map

    async def execute(self, *command: Any) -> Any:
        self.log.append(command)
        if self.learns:
            self.name = self.learns.pop(0)
        if self.lesson is not None:
            raise self.lesson
        return "by the client"

    async def together(self, node: Any, *commands: Any) -> list[Any]:
        self.log.append((node, *commands))
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def owner(self, key: str) -> Any:
        return self.name

    owner_name = owner

    def known(self) -> list[tuple[str, int]]:
        return [("a", 1), ("b", 2)]

    def mapped(self, address: tuple[str, int]) -> tuple[str, int]:
        return address[0], address[1] + 1000

    async def redirected(self, key: str, address: tuple[str, int]) -> Any:
        self.log.append(("redirected", key, address))
        return f"node at {address}"

    async def learn(self, alive: frozenset[str]) -> None:
        self.log.append(("learn", alive))

    async def aclose(self) -> None:
        self.log.append("closed")


def calls_of(client: Client) -> ClusterCalls:
    return ClusterCalls(client, timeout=0.25, asynchronous=False)  # type: ignore[arg-type]


def get(client: Client) -> Any:
    return finish(calls_of(client).execute("GET", "user:1"))


def test_a_client_that_has_no_map_asks_for_it_before_its_first_command() -> None:
    """redis-py would send its own first commands anywhere, several at once to the wrong node."""
    client = Client([b"x"])
    client.has_map = False
    assert get(client) == b"x"
    assert [step[0] for step in client.log] == ["learn", "a"]


GET = ("GET", "user:1")
TTL = ("TTL", "user:1")


def test_a_key_s_command_goes_to_its_node_and_others_where_the_client_likes() -> None:
    client = Client([b"record"])
    assert get(client) == b"record"
    assert finish(calls_of(client).execute("INFO", "memory")) == "by the client"
    assert client.log == [("a", GET), ("INFO", "memory")]


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "user:1", b"", "PX", 1),
        ("DEL", "user:1"),
        ("HGETALL", "user:1"),
        ("EVAL", "script", 1, "user:1", "user:2"),
        ("XADD", "user:1", "*", "name", "value"),
        ("XDEL", "user:1", "1-0"),
        ("XLEN", "user:1"),
        ("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", "user:1", "0-0"),
        ("ZADD", "user:1", "GT", 1, "member"),
        ("ZCOUNT", "user:1", 1, "+inf"),
        ("ZRANGE", "user:1", "+inf", 1, "BYSCORE", "REV"),
        ("ZREMRANGEBYSCORE", "user:1", "-inf", 1),
        ("ZSCORE", "user:1", "member"),
    ],
)
def test_every_command_of_the_store_has_its_key(command) -> None:
    client = Client([1, 1])
    finish(calls_of(client).execute_and_wait(*command, replicas=1))
    assert client.log == [("a", command, ("WAIT", 1, 200))]


def test_wait_is_sent_on_the_connection_that_wrote_and_only_there() -> None:
    client = Client([1, 2])
    assert finish(calls_of(client).execute_and_wait("DEL", "user:1", replicas=2)) == (1, 2)
    with pytest.raises(TypeError):
        finish(calls_of(client).execute_and_wait("INFO", "memory", replicas=2))


def test_a_node_that_names_another_for_once_is_believed_on_one_connection() -> None:
    client = Client([AskError("7 10.0.0.9:5")], ["OK", b"record"])
    assert get(client) == b"record"
    target = ("10.0.0.9", 1005)
    assert client.log == [("a", GET), ("redirected", "user:1", target), (f"node at {target}", ("ASKING",), GET)]


def test_with_wait_too() -> None:
    client = Client([AskError("7 10.0.0.9:5"), 0], ["OK", 1, 1])
    assert finish(calls_of(client).execute_and_wait("DEL", "user:1", replicas=1)) == (1, 1)
    assert client.log[-1][1:] == (("ASKING",), ("DEL", "user:1"), ("WAIT", 1, 200))


@pytest.mark.parametrize("error", [ConnectionError(), SlotNotCoveredError()])
@pytest.mark.parametrize("lesson", [None, ClusterError("TTL exhausted."), AttributeError(), NoPermissionError()])
def test_the_client_learns_by_a_command_of_its_own(error, lesson) -> None:
    client = Client(error, [b"record"], learns=["b"], lesson=lesson)
    assert get(client) == b"record"
    assert client.log == [("a", GET), TTL, ("b", GET)]


def test_where_a_slot_has_moved_the_client_takes_a_new_map_and_then_follows_the_redirection() -> None:
    """The node that was asked for the map may not have heard of it."""
    client = Client([MovedError("7 10.0.0.9:5")], [MovedError("7 10.0.0.9:5")], [b"record"], learns=["b"])
    assert get(client) == b"record"
    assert client.log == [("a", GET), ("learn", frozenset({"a:1", "b:2"})), ("a", GET), TTL, ("b", GET)]


def test_a_client_without_a_map_asks_for_one() -> None:
    client = Client([b"record"], learns=["b"])
    client.name = None
    assert get(client) == b"record"
    assert client.log == [TTL, ("b", GET)]


def test_what_does_not_help_is_not_tried_for_ever() -> None:
    client = Client(*[ConnectionError()] * 9)
    with pytest.raises(ConnectionError):
        get(client)
    assert client.log == [("a", GET), TTL, ("a", GET), TTL, ("a", GET)]


def test_other_errors_are_the_reply() -> None:
    client = Client([ClusterDownError("CLUSTERDOWN")])
    with pytest.raises(ClusterDownError):
        get(client)
    assert client.log == [("a", GET)]


def test_a_node_that_hangs_is_left_at_the_next_command() -> None:
    client = Client(TimeoutError(), [b"record"], [b"record"])
    client.name = "a:1"
    calls = calls_of(client)
    with pytest.raises(TimeoutError):
        finish(calls.execute(*GET))
    for _ in range(2):
        assert finish(calls.execute(*GET)) == b"record"
    assert client.log == [("a:1", GET), ("learn", frozenset({"b:2"})), ("a:1", GET), ("a:1", GET)]


def test_it_closes_what_was_opened_beside_the_client() -> None:
    client = Client()
    finish(calls_of(client).aclose())
    assert client.log == ["closed"]
