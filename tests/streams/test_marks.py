"""Who is handed out when, and what has no room."""

from __future__ import annotations

import threading
from itertools import pairwise

from authcache_middleware.streams.marks import Marks


def out(marks: Marks, now: float, *, all_of_them: bool = False) -> dict[str, float]:
    return dict(mark for batch in marks.batches(now, all_of_them=all_of_them) for mark in batch)


def test_a_user_is_handed_out_once_with_the_last_time_that_he_was_seen() -> None:
    marks = Marks(10, 30.0)
    for at in (1.0, 2.0):
        marks.mark("user:1", at)
    assert (marks.at("user:1"), marks.at("user:2"), len(marks)) == (2.0, None, 1)
    assert out(marks, 5.0) == {"user:1": 2.0}
    assert out(marks, 10.0) == {}
    assert marks.at("user:1") is None


def test_he_is_handed_out_again_when_his_time_has_come_and_not_before() -> None:
    marks = Marks(10, 30.0)
    marks.mark("user:1", 1.0)
    assert out(marks, 5.0)
    for now in range(6, 35):
        marks.mark("user:1", now)
        assert out(marks, now) == {}
    assert out(marks, 35.0) == {"user:1": 34}


def test_the_time_holds_for_each_user_whenever_he_came() -> None:
    """The table of who was handed out is thrown away in two halves: nobody's time is forgotten by that."""
    marks = Marks(100, 30.0)
    handed_out: dict[str, list[int]] = {}
    for now in range(0, 300, 5):
        for user in range(20):
            if now >= 5 * user:  # not all in step
                marks.mark(f"user:{user}", now)
        for key in out(marks, now):
            handed_out.setdefault(key, []).append(now)
        marks.mark(f"late:{now}", now)
    for times in handed_out.values():
        assert all(later - earlier >= 30 for earlier, later in pairwise(times))
        assert times[-1] > 265 or len(times) == 1
    assert len(marks._out) + len(marks._out_before) <= 2 * (20 + 30 // 5)


def test_at_the_end_all_are_handed_out() -> None:
    marks = Marks(10, 30.0)
    marks.mark("user:1", 1.0)
    assert out(marks, 1.0)
    marks.mark("user:1", 2.0)
    assert out(marks, 2.0, all_of_them=True) == {"user:1": 2.0}


def test_who_was_put_back_is_handed_out_at_once_unless_he_was_seen_meanwhile() -> None:
    marks = Marks(10, 30.0)
    for key in ("user:1", "user:2"):
        marks.mark(key, 1.0)
    taken = out(marks, 5.0)
    marks.mark("user:2", 6.0)
    marks.put_back(taken.items())
    assert out(marks, 7.0) == {"user:1": 1.0, "user:2": 6.0}


def test_who_finds_no_room_is_counted_and_who_is_there_goes_on() -> None:
    marks = Marks(2, 30.0)
    for key in ("a", "b", "c", "a"):
        marks.mark(key, 1.0)
    assert (len(marks), marks.dropped) == (2, 1)
    taken = out(marks, 5.0)
    for key in ("c", "d"):
        marks.mark(key, 2.0)
    marks.put_back(taken.items())
    assert (len(marks), marks.dropped) == (2, 3)


def test_many_come_in_batches_of_which_some_are_a_rest() -> None:
    marks = Marks(100_000, 30.0)
    for user in range(12_345):
        marks.mark(f"user:{user}", 1.0)
    sizes = [len(batch) for batch in marks.batches(1.0, all_of_them=False)]
    assert sizes == [500] * 24 + [345]
    for user in range(12_345):
        marks.mark(f"user:{user}", 2.0)
    assert [len(batch) for batch in marks.batches(3.0, all_of_them=False)] == [0, 0]


def test_threads_may_mark_while_others_are_handed_out() -> None:
    marks = Marks(100_000, 0.01)
    found: dict[str, float] = {}

    def mark(first: int) -> None:
        for turn in range(3):
            for user in range(first, first + 2000):
                marks.mark(f"user:{user}", turn)

    threads = [threading.Thread(target=mark, args=(2000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found |= out(marks, 0.0, all_of_them=True)
    found |= out(marks, 0.0, all_of_them=True)
    assert found == {f"user:{user}": 2 for user in range(8000)}
