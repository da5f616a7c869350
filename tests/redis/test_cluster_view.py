"""What a node says of the owners of slots, and the keys that lie in them."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from authcache_middleware.redis.cluster_view import Shard, key_in, shards_in, slot_of

A, B = b"a" * 40, b"b" * 40


def test_the_owners_are_read_with_all_their_ranges() -> None:
    answer = [
        [0, 10, [b"10.0.0.1", 7000, A, []], [b"10.0.0.3", 7000, b"c" * 40, []]],
        [11, 11, [b"10.0.0.2", 7001, B, [b"hostname", b"b.example"]]],
        [12, 16383, [b"10.0.0.1", 7000, A]],
    ]
    assert shards_in(answer, "asked") == [
        Shard("a" * 40, ("10.0.0.1", 7000), ((0, 10), (12, 16383))),
        Shard("b" * 40, ("10.0.0.2", 7001), ((11, 11),)),
    ]


def test_the_same_slots_are_the_same_in_any_order_and_whatever_replicas_there_are() -> None:
    first = [[0, 1, [b"h", 1, A], [b"r", 2, B]], [5, 9, [b"h", 1, A]]]
    second = [[5, 9, [b"h", 1, A]], [0, 1, [b"h", 1, A]]]
    assert shards_in(first, "") == shards_in(second, "")


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_that_does_not_know_its_address_is_where_it_was_asked(host) -> None:
    assert shards_in([[0, 16383, [host, 7000, A]]], "here")[0].address == ("here", 7000)


def test_nobody_owns_anything() -> None:
    assert shards_in([], "here") == []


@pytest.mark.parametrize(
    "key", ["user:1", "{a}b", "a{b}c{d}", "{}a", "a{}b{c}", "{", "}", "a}b{c", "{{a}}", "user:ü", "\x00", ""]
)
def test_slots_are_those_of_redis(key) -> None:
    assert slot_of(key) == key_slot(key.encode())


@pytest.mark.parametrize("ranges", [((0, 5460),), ((5461, 10922), (16000, 16001)), ((77, 77),), ((16383, 16383),)])
def test_a_key_is_found_in_any_slots(ranges) -> None:
    key = key_in(ranges, "user:\x00beacon:1:")
    assert key is not None
    assert key.startswith("user:\x00beacon:1:")
    assert any(first <= key_slot(key.encode()) <= last for first, last in ranges)


def test_no_key_lies_in_no_slots() -> None:
    assert key_in((), "user:") is None


def test_braces_in_the_prefix_put_all_keys_in_one_slot() -> None:
    slot = key_slot(b"app")
    stem = "{app}:user:\x00beacon:1:"
    assert key_in(((slot, slot),), stem) == f"{stem}0"
    assert key_in(((0, slot - 1), (slot + 1, 16383)), stem) is None
