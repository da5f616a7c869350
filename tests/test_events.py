"""Counts and events: what each means, and that nobody who listens can do harm."""

from __future__ import annotations

from contextlib import suppress

import pytest
from faces import driven, headers, token_for

from authcache_middleware import ConfigurationError, RefusedError, UnavailableError
from authcache_middleware.events import (
    FillRefused,
    Hit,
    Invalidated,
    LinkDown,
    LinkUp,
    Loaded,
    Miss,
    OutageAnswer,
    OutageBegan,
    OutageEnded,
    Refused,
    Reporter,
    Unavailable,
)
from authcache_middleware.testing import ManualClock, MemoryStore


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (Hit("memory"), {"memory_hits"}),
        (Hit("redis"), {"redis_hits"}),
        (Miss(), {"misses"}),
        (Loaded(0.1, "miss", "found"), {"loads"}),
        (Loaded(0.1, "outage", "unknown"), {"loads"}),
        (Loaded(0.1, "miss", "failed"), {"loads", "failed_loads"}),
        (Loaded(0.1, "refresh", "found"), {"loads", "refreshes"}),
        (FillRefused("miss", lease_ended=False), {"fills_refused"}),
        (Invalidated("logout"), {"invalidations"}),
        (OutageAnswer("load"), {"outage_answers"}),
        (OutageBegan(), {"outages"}),
        (OutageEnded(1.0), set()),
        (LinkUp("node", 0.1), set()),
        (LinkDown("node", "why"), {"links_lost"}),
        (Refused(401, "expired"), {"refused"}),
        (Unavailable("redis"), {"unavailable"}),
    ],
)
def test_what_is_counted(event, counted) -> None:
    seen: list = []
    reporter = Reporter([seen.append])
    reporter.tell(event)
    assert {name for name, count in reporter.counts().items() if count} == counted
    assert seen == [event]


def test_an_observer_that_raises_is_said_once_and_the_others_hear_all_the_same(caplog) -> None:
    def raising(event):
        raise ValueError("secret")

    seen: list = []
    reporter = Reporter([raising, seen.append])
    reporter.tell(Miss())
    reporter.memory_hit()
    assert seen == [Miss(), Hit("memory")]
    assert caplog.text.count("ValueError") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("observers", [7, [7], [None]])
def test_observers_must_be_callable(observers) -> None:
    with pytest.raises(ConfigurationError, match=r"^observers: "):
        Reporter(observers)


@pytest.mark.parametrize("face", ["async", "blocking"])
def test_each_request_is_counted_once(face) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    events: list = []
    rows = {"1": {"name": "Ann"}, "2": {"disabled": True}, "3": OSError()}

    def load(user_id):
        if isinstance(rows.get(user_id), Exception):
            raise rows[user_id]
        return rows.get(user_id)

    with driven(face, store, load_user=load, clock=clock, observers=[events.append]) as driver:
        for subject in ("1", "1", "1", "2", "2", "3", "4"):
            with suppress(RefusedError, UnavailableError):
                driver.enter(subject, now=clock.wall())
        for odd in ([], headers("not.a.token"), [*headers("x"), *headers("y")]):
            with pytest.raises(RefusedError):
                driver("authenticate", odd)
        driver("invalidate", "1")
        stats = driver.face.stats()
        driver("authenticate", headers(token_for("1", now=clock.wall())))
    assert stats.memory_hits + stats.redis_hits + stats.misses == 7
    assert (stats.redis_hits, stats.misses, stats.loads, stats.failed_loads) == (3, 4, 4, 1)
    assert (stats.refused, stats.unavailable, stats.invalidations) == (2 + 1 + 3, 1, 1)
    assert [event.status for event in events if isinstance(event, Refused)] == [401, 401, 401, 401, 401, 400]
    assert not any("Ann" in repr(event) for event in events)
