"""A map of bytes within its bounds, and out of the garbage collector's sight."""

from __future__ import annotations

import gc
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware import packed as packed_module
from authcache_middleware.packed import PackedMap, pack, thawed, unpack

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=4).map(MappingProxyType), st.integers(), st.text())
def test_what_was_packed_comes_back_the_same_and_read_only(fields, number, text) -> None:
    back, others = unpack(pack(fields, number, text, {"until": number}))
    assert (back, others) == (fields, (number, text, {"until": number}))
    assert _forms(back) == _forms(fields)


def _forms(value: object) -> object:
    """The very types, all through."""
    if isinstance(value, MappingProxyType):
        return MappingProxyType, {name: _forms(inner) for name, inner in value.items()}
    return (tuple, [_forms(inner) for inner in value]) if isinstance(value, tuple) else type(value)


def test_a_thawed_copy_can_be_changed_and_changes_nothing() -> None:
    value = MappingProxyType({"tags": ("a", MappingProxyType({"deep": 1}))})
    copy = thawed(value)
    copy["tags"][1]["deep"] = 2
    copy["tags"].append("b")
    assert value == MappingProxyType({"tags": ("a", MappingProxyType({"deep": 1}))})


@given(
    most=st.integers(0, 12),
    most_weight=st.none() | st.integers(0, 40),
    operations=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "get", "pop", "clear"]),
            st.text("ab", min_size=1, max_size=6) | st.integers(0, 12),
            st.binary(max_size=9),
        ),
        max_size=80,
    ),
)
def test_it_never_holds_more_than_it_may_and_never_anything_else(most, most_weight, operations) -> None:
    packed, last = PackedMap[str | int](most, most_weight), {}
    for operation, key, value in operations:
        match operation:
            case "put":
                packed.put(key, value)
                last[key] = value
            case "get":
                assert (key in packed) == (packed.get(key) is not None)
                assert packed.get(key) in (None, last.get(key))
            case "pop":
                assert packed.pop(key) in (None, last.pop(key, None))
                assert packed.pop(key) is None
                assert key not in packed
            case _:
                packed.clear()
                last.clear()
                assert len(packed) == 0
        held = {name: value for name in last if (value := packed.pop(name)) is not None}
        assert held.items() <= last.items()
        assert len(held) <= most
        assert most_weight is None or sum(map(len, held.values())) <= most_weight
        assert len(packed) == 0
        for name, value in held.items():
            packed.put(name, value)


def test_what_is_asked_for_stays() -> None:
    packed = PackedMap[int](20)
    packed.put(-1, b"asked for")
    packed.put(-2, b"left alone")
    for number in range(100):
        packed.put(number, b"value")
        assert packed.get(-1) == b"asked for"
    assert -2 not in packed
    assert len(packed) <= 20


def test_asked_again_is_who_was_asked_for_not_long_ago() -> None:
    packed = PackedMap[int](20)
    assert not packed.is_asked_again(1)
    assert packed.is_asked_again(1)
    for number in range(2, 2000):
        assert not packed.is_asked_again(number)
    assert not packed.is_asked_again(1)


@pytest.mark.parametrize("shards", [1, 4])
def test_the_newest_are_there_and_the_oldest_are_not(monkeypatch, shards) -> None:
    monkeypatch.setattr(packed_module, "_ENTRIES_OF_A_SHARD", 1000 // shards)
    packed = PackedMap[str](1000)
    assert len(packed._shards) == shards
    for number in range(3333):
        packed.put(str(number), b"value")
        assert number < 2000 or shards > 1 or len(packed) == 1000
    assert 900 <= len(packed) <= 1000
    assert all(packed.pop(str(number)) for number in range(2533, 3333))
    assert not any(packed.pop(str(number)) for number in range(2133))


def test_the_garbage_collector_does_not_walk_it() -> None:
    packed = PackedMap[str | int](100)
    for number in range(50):
        packed.put(str(number), b"value")
        packed.put(hash(str(number)), b"value")
    assert not any(gc.is_tracked(shard.young) or gc.is_tracked(shard.old) for shard in packed._shards)
