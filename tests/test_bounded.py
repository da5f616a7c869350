"""A map that stays within its bounds, and keeps what is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.bounded import BoundedMap, Kept


class Number(Kept):
    __slots__ = ("number",)

    def __init__(self, number: int = 0) -> None:
        self.number = number


@given(
    most=st.integers(1, 8),
    most_weight=st.none() | st.integers(1, 30),
    operations=st.lists(
        st.tuples(st.sampled_from(["put", "get", "pop", "clear"]), st.integers(0, 12), st.integers(1, 12)), max_size=80
    ),
)
def test_it_never_holds_more_than_it_may_and_never_anything_else(most, most_weight, operations) -> None:
    bounded, last = BoundedMap[int, Kept](most, most_weight), {}
    for operation, key, weight in operations:
        match operation:
            case "put":
                last[key] = (Kept(), weight)
                bounded.put(key, last[key][0], weight)
                if most_weight is None or weight <= most_weight:
                    assert bounded.get(key) is last[key][0]
            case "get":
                assert bounded.get(key) in (None, last.get(key, (None,))[0])
            case "pop":
                bounded.pop(key)
                assert bounded.get(key) is None
            case _:
                bounded.clear()
                assert len(bounded) == 0
        held = [one for one in last if bounded.get(one) is not None]
        assert len(held) == len(bounded) <= most
        assert most_weight is None or sum(last[one][1] for one in held) <= most_weight


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    bounded = BoundedMap[int, Number](10)
    for number in range(10):
        bounded.put(number, Number(number))
    for number in range(100, 150):
        assert bounded.get(3).number == 3
        bounded.put(number, Number(number))
    assert bounded.get(3).number == 3
    assert [number for number in range(10) if bounded.get(number) is not None] == [3]


def test_where_everything_is_asked_for_something_goes_all_the_same() -> None:
    bounded = BoundedMap[int, Number](1000)
    for number in range(1000):
        bounded.put(number, Number(number))
        bounded.get(number)
    bounded.put(-1, Number(-1))
    assert bounded.get(-1) is not None
    assert len(bounded) == 1000


@pytest.mark.parametrize(("most", "most_weight", "weight"), [(0, None, 1), (5, 3, 4)])
def test_what_has_no_room_at_all_is_not_kept(most, most_weight, weight) -> None:
    bounded = BoundedMap[str, Number](most, most_weight)
    bounded.put("key", Number(), weight)
    assert bounded.get("key") is None
    assert len(bounded) == 0


def test_a_heavy_one_takes_the_place_of_several() -> None:
    bounded = BoundedMap[int, Number](10, 10)
    for number in range(10):
        bounded.put(number, Number(number))
    bounded.put(99, Number(99), 7)
    assert bounded.get(99).number == 99
    assert len(bounded) == 4
