"""Whom the looks at a cluster believe, over nodes that say what is written down."""

from __future__ import annotations

from typing import Any

import pytest

from authcache_middleware.cache.link import WireError
from authcache_middleware.cache.links import PrimariesUnknownError
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.cluster import ClusterTopology
from authcache_middleware.redis.cluster_client import Address
from authcache_middleware.runtime import finish

A, B, C, D = (("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.1", 3), ("10.0.0.1", 4))


def map_of(**slots: tuple[int, int]) -> list[Any]:
    """An answer to ``CLUSTER SLOTS``, by the names of the nodes here."""
    return [
        [first, last, [globals()[name][0].encode(), globals()[name][1], name.encode()]]
        for name, (first, last) in slots.items()
    ]


BEFORE = map_of(A=(0, 9), B=(10, 19), C=(20, 29))
AFTER = map_of(D=(0, 9), B=(10, 19), C=(20, 29))  # A's replica D has taken over


class Client:
    """A client of a cluster whose nodes say so; also the only wire there is, and ``Commands``."""

    def __init__(self, **says: Any) -> None:
        self.says = {globals()[name]: answer for name, answer in says.items()}
        self.asked: list[Address] = []
        self.learnt: list[frozenset[str]] = []
        self.learning_fails = False
        self.owner: str | None = None
        self.redirected: str | None = None
        self.known_nodes = [A, B, C, D]

    def wire(self, address: Address, timeout: float) -> Any:
        client = self

        class Wire:
            async def open(self) -> None:
                client.asked.append(address)

            async def call(self, *command: str) -> Any:
                assert command == ("CLUSTER", "SLOTS")
                answer = client.says.get(address)
                if answer is None:
                    raise WireError("TimeoutError")
                return answer

            async def close(self) -> None:
                """Nothing is open."""

        return Wire()

    def known(self) -> list[Address]:
        return self.known_nodes

    def mapped(self, address: Address) -> Address:
        return address

    async def learn(self, alive: frozenset[str]) -> None:
        if self.learning_fails:
            raise ConnectionError
        self.learnt.append(alive)

    def owner_name(self, key: str) -> str | None:
        return self.owner

    def redirected_to(self, key: str) -> str | None:
        return self.redirected

    async def insist(self, *command: Any) -> None:
        """Every command is confirmed."""


def topology_of(client: Client) -> ClusterTopology:
    return ClusterTopology(client, client)  # type: ignore[arg-type]


def look(topology: ClusterTopology) -> list[str]:
    return sorted(primary.name for primary in finish(topology.primaries(1.0)))


def test_those_on_whom_all_agree_are_the_primaries() -> None:
    assert look(topology_of(Client(A=BEFORE, B=BEFORE, C=BEFORE, D=BEFORE))) == [
        "10.0.0.1:1",
        "10.0.0.1:2",
        "10.0.0.1:3",
    ]


@pytest.mark.parametrize(
    "says",
    [
        {"A": BEFORE, "B": BEFORE, "D": BEFORE},  # C does not answer
        {"A": BEFORE, "B": BEFORE, "C": AFTER, "D": BEFORE},  # C has heard, and D not
        {"A": BEFORE, "B": BEFORE, "C": AFTER, "D": AFTER},  # B has not
        {"A": BEFORE, "B": BEFORE, "C": map_of(A=(0, 9), B=(10, 20), C=(21, 29)), "D": BEFORE},  # a slot is moving
        {"A": map_of(), "B": map_of(), "C": map_of(), "D": map_of()},
        {},
    ],
)
def test_where_one_of_them_differs_nothing_is_known(says) -> None:
    with pytest.raises(PrimariesUnknownError, match="agree"):
        look(topology_of(Client(**says)))


@pytest.mark.parametrize("old", [BEFORE, None], ids=["says so still", "is silent"])
def test_an_old_primary_has_no_say_when_the_others_name_another(old) -> None:
    client = Client(A=BEFORE, B=BEFORE, C=BEFORE, D=BEFORE)
    topology = topology_of(client)
    before = finish(topology.primaries(1.0))
    client.says = {A: old, B: AFTER, C: AFTER, D: AFTER}
    after = finish(topology.primaries(1.0))
    assert sorted(primary.name for primary in after) == ["10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4"]
    assert len(set(before) & set(after)) == 2, "a link to the same primary is as good"


def test_after_a_change_the_client_is_made_to_ask_the_living_and_until_it_has_nothing_is_known() -> None:
    client = Client(A=BEFORE, B=BEFORE, C=BEFORE, D=BEFORE)
    topology = topology_of(client)
    look(topology)
    look(topology)
    assert client.learnt == []
    client.says = {B: AFTER, C: AFTER, D: AFTER}
    client.learning_fails = True
    with pytest.raises(PrimariesUnknownError):
        look(topology)
    client.learning_fails = False
    look(topology)
    look(topology)
    assert client.learnt == [frozenset({"10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4"})]


def test_other_slots_of_the_same_primaries_are_no_other_primaries_and_beacons_follow() -> None:
    client = Client(A=BEFORE, B=BEFORE, C=BEFORE)
    topology = topology_of(client)
    before = finish(topology.primaries(1.0))
    moved = map_of(A=(0, 8000), B=(8001, 16000), C=(16001, 16383))
    client.says = {A: moved, B: moved, C: moved}
    after = finish(topology.primaries(1.0))
    assert set(before) == set(after)
    assert {hash(primary) for primary in before} == {hash(primary) for primary in after}
    keys = [primary.beacon("user:") for primary in before for _ in range(2)]
    assert None not in keys
    assert len(set(keys)) == 6
    assert [primary.beacon("{a}user:") is None for primary in after] == [True, False, True]  # {a} is slot 15495


def test_connections_are_kept_to_the_primaries_alone() -> None:
    client = Client(A=BEFORE, B=BEFORE, C=BEFORE, D=BEFORE)
    topology = topology_of(client)
    client.known_nodes = [D]
    look(topology)
    look(topology)
    assert client.asked == [D, A, B, C]
    finish(topology.close())
    look(topology)
    assert client.asked == [D, A, B, C, A, B, C]


@pytest.mark.parametrize(
    ("owner", "redirected", "is_sent"),
    [
        ("a", None, True),
        ("x", None, False),
        (None, None, False),
        ("a", "b", True),
        ("a", "x", False),
        ("x", "a", False),
    ],
)
def test_a_key_is_sent_to_them_only_if_nobody_else_may_have_answered(owner, redirected, is_sent) -> None:
    client = Client()
    client.owner, client.redirected = owner, redirected
    assert topology_of(client).is_sent_to({"a", "b"}, "user:1") is is_sent


def test_a_beacon_that_goes_to_another_server_is_said_to_be_lost() -> None:
    """Else the link would take its server for deaf, and come back much later."""
    client = Client(A=BEFORE, B=BEFORE, C=BEFORE)
    primary = finish(topology_of(client).primaries(1.0))[0]
    client.owner = primary.name
    finish(primary.touch("user:\x00", ttl_ms=1))
    client.owner = "10.0.0.1:4"
    with pytest.raises(UnavailableError):
        finish(primary.touch("user:\x00", ttl_ms=1))
