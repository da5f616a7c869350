"""What is due when."""

from __future__ import annotations

import random

import pytest

from authcache_middleware.sessions.timetable import Timetable


@pytest.fixture
def table() -> Timetable[str]:
    return Timetable()


def test_what_is_due_first_comes_first(table) -> None:
    for item, moment in (("late", 9.0), ("soon", 1.0), ("then", 2.0)):
        table.put(item, moment)
    assert table.next() == 1.0
    assert [table.pop(8.9), table.pop(8.9), table.pop(8.9)] == ["soon", "then", None]
    assert table.pop(9.0) == "late"
    assert (table.next(), len(table)) == (None, 0)


def test_what_is_due_at_the_same_moment_comes_in_its_order() -> None:
    table: Timetable[object] = Timetable()
    items = [object() for _ in range(5)]  # which nobody could sort
    for item in items:
        table.put(item, 1.0)
    assert [table.pop(1.0) for _ in items] == items


@pytest.mark.parametrize(("moved_to", "due"), [(1.0, 1.0), (9.0, 9.0)])
def test_what_is_moved_has_one_moment(table, moved_to, due) -> None:
    table.put("a", 5.0)
    table.put("a", moved_to)
    assert (table.next(), table.moment("a"), len(table)) == (due, due, 1)
    assert table.pop(due) == "a"
    assert table.pop(100.0) is None


def test_what_is_dropped_is_never_due(table) -> None:
    table.put("a", 1.0)
    table.put("b", 2.0)
    table.drop("a")
    table.drop("nobody")
    assert "a" not in table
    assert table.moment("a") is None
    assert (table.next(), table.pop(9.0), table.pop(9.0)) == (2.0, "b", None)


def test_it_holds_no_more_than_twice_what_is_on_it(table) -> None:
    for number in range(10_000):
        table.put(f"connection {number}", 1e9 + number)
        if number >= 10:
            table.drop(f"connection {number - 10}")
        table.put("moves on", float(number))
    assert len(table) == 11
    assert len(table._heap) <= 2 * 11 + 64


def test_it_agrees_with_a_list_that_is_sorted(table) -> None:
    chance, said = random.Random(7), {}
    for now in range(2000):
        item = f"{chance.randrange(50)}"
        match chance.randrange(4):
            case 0:
                table.drop(item)
                said.pop(item, None)
            case 1:
                found = table.pop(now)
                due = min(said.values(), default=now + 1)
                assert (found is None) == (due > now)
                if found is not None:
                    assert said.pop(found) == due
            case _:
                said[item] = moment = now + chance.random() * 40
                table.put(item, moment)
        assert table.next() == min(said.values(), default=None)
