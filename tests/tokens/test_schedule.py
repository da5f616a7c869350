"""When keys are fetched: a table of moments, and rules that hold in any order of events."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.tokens.schedule import COOLDOWN, Schedule

NOW = 1000.0


def schedule(refresh: float = 300.0, max_stale: float = 86_400.0) -> Schedule:
    return Schedule(refresh=refresh, max_stale=max_stale, chance=lambda: 0.0)


def fetched(at: float = NOW, **options: float) -> Schedule:
    made = schedule(**options)
    made.began(at, asked=True)
    made.succeeded(at)
    return made


def test_a_new_one_may_ask_at_once_and_has_nothing_to_renew() -> None:
    made = schedule()
    assert made.may_ask(NOW)
    assert not made.has_failed
    assert made.ends_at < NOW


def test_keys_are_due_after_a_while_and_serve_for_longer() -> None:
    made = fetched()
    assert made.renews_at == NOW + 300
    assert made.ends_at == NOW + 86_400


def test_chance_brings_them_forward_by_a_tenth_at_most() -> None:
    made = Schedule(refresh=300.0, max_stale=1000.0, chance=lambda: 1.0)
    made.began(NOW, asked=True)
    made.succeeded(NOW)
    assert made.renews_at == NOW + 270


def test_the_first_fetch_leaves_the_next_unknown_key_its_own() -> None:
    """A provider may rotate just after this process has started."""
    assert fetched().may_ask(NOW)


def test_unknown_keys_get_one_fetch_in_thirty_seconds() -> None:
    made = fetched()
    made.began(NOW + 1, asked=True)
    assert not made.may_ask(NOW + 2)
    made.succeeded(NOW + 1)
    assert not made.may_ask(NOW + 1 + COOLDOWN - 0.1)
    assert made.pause(NOW + 11) == COOLDOWN - 10
    assert made.may_ask(NOW + 1 + COOLDOWN)


def test_a_renewal_leaves_an_unknown_key_its_fetch() -> None:
    made = fetched()
    made.began(NOW + 300, asked=False)
    made.succeeded(NOW + 300)
    assert made.may_ask(NOW + 301)


def test_after_a_failure_nobody_asks_for_a_while() -> None:
    made = fetched()
    made.began(NOW + 300, asked=False)
    made.failed(NOW + 300, NOW + 303)
    assert made.has_failed
    assert not made.may_ask(NOW + 304)
    assert made.renews_at == NOW + 300 + COOLDOWN
    assert made.may_ask(NOW + 300 + COOLDOWN)


def test_without_any_keys_the_pauses_grow() -> None:
    made, now, pauses = schedule(), NOW, []
    for _ in range(8):
        made.began(now, asked=True)
        made.failed(now, now)
        pauses.append(made.pause(now))
        now += pauses[-1]
        assert made.may_ask(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_another_process_does_not_wait_for_what_this_one_has_begun() -> None:
    made = schedule()
    made.began(NOW, asked=True)
    assert not made.may_ask(NOW + 1)
    made.begin_anew()
    assert made.may_ask(NOW + 1)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.0, 29.0, 30.0, 100.0, 5000.0]), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_unknown_keys_never_get_more_than_their_share(steps) -> None:
    """However time passes and whatever fails: with keys in hand, at most one fetch in thirty seconds is theirs."""
    made, now, theirs = fetched(max_stale=1e9), NOW, []
    for passed, fails, is_due in steps:
        now += passed
        asked = not is_due
        if made.may_ask(now) if asked else made.renews_at <= now:
            if asked:
                theirs.append(now)
            made.began(now, asked=asked)
            if fails:
                made.failed(now, now)
            else:
                made.succeeded(now)
    assert all(later - earlier >= COOLDOWN for earlier, later in pairwise(theirs))
