"""Counts and events: what each means, and that nobody who listens can do harm."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress

import pytest
from faces import driven, headers, settings, token_for

from authcache_middleware import AsyncAuthCache, ConfigurationError, RefusedError, UnavailableError
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
    Stats,
    Unavailable,
    WithoutCredentials,
)
from authcache_middleware.reporter import Reporter
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
        (WithoutCredentials(), {"without_credentials"}),
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


@pytest.mark.parametrize("observers", [7, [7], [None], "abc", iter([print])])
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
    assert (stats.refused, stats.unavailable, stats.invalidations) == (2 + 1 + 2, 1, 1)
    assert stats.without_credentials == 1
    assert [event.status for event in events if isinstance(event, Refused)] == [401, 401, 401, 401, 400]
    assert not any("Ann" in repr(event) for event in events)


# -- over a face, with memory trusted by hand


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture(params=["async", "blocking"])
def face(request) -> str:
    return request.param


def trust(driver, clock) -> None:
    """What a link would do that has just heard from its primary."""
    (engine,) = getattr(driver.face, "_story", driver.face)._engines.values()
    engine.memory.follow(["node"])
    engine.memory.credit("node", clock.monotonic())


def counts(driver) -> dict[str, int]:
    """The counts that are not 0, as they are seen from outside."""
    stats = driver._run(_stats(driver)) if isinstance(driver.face, AsyncAuthCache) else driver.face.stats()
    return {name: getattr(stats, name) for name in Stats.__slots__ if getattr(stats, name)}


async def _stats(driver) -> Stats:
    return driver.face.stats()


def recalled(driver, token):
    async def within():
        return driver.face.recall(headers(token))

    return driver._run(within()) if isinstance(driver.face, AsyncAuthCache) else driver.face.recall(headers(token))


def test_whoever_answers_a_good_token_counts_once(face, store, clock) -> None:
    events: list = []
    options = {"clock": clock, "max_staleness": 1.0, "observers": [events.append]}
    with driven(face, store, load_user=lambda _user_id: {"id": 1}, **options) as driver:
        token = token_for(now=clock.wall())
        driver("authenticate", headers(token))  # loads
        trust(driver, clock)
        driver("authenticate", headers(token))  # one GET, and kept
        for _ in range(3):
            assert recalled(driver, token).user.id == 1
            assert driver("authenticate", headers(token)).user.id == 1
        told = counts(driver)
        clock.advance(1.5)
        assert recalled(driver, token) is None
        driver("authenticate", headers(token))
        assert counts(driver)["redis_hits"] == 2
    assert told == {
        "memory_hits": 6, "redis_hits": 1, "misses": 1, "loads": 1,
        "memory_entries": 1, "token_entries": 1, "memory_trusted": True,
    }  # fmt: skip
    assert [event for event in events if isinstance(event, Hit)] == [Hit("redis"), *[Hit("memory")] * 6, Hit("redis")]


def test_what_memory_cannot_answer_for_is_a_503_that_counts(face, store, clock) -> None:
    def rule(user):
        raise KeyError("no such rule")

    options = {"clock": clock, "max_staleness": 1.0, "is_active": rule}
    with driven(face, store, load_user=lambda _user_id: {"id": 1}, **options) as driver:
        token = token_for(now=clock.wall())
        for _ in range(2):
            with suppress(UnavailableError):
                driver("authenticate", headers(token))
            trust(driver, clock)
        with suppress(UnavailableError):
            driver("authenticate", headers(token))
        with pytest.raises(UnavailableError):
            recalled(driver, token)
        told = counts(driver)
    assert (told["memory_hits"], told["unavailable"]) == (1, 4)


def test_a_fact_that_nobody_observes_is_counted_and_handed_to_nobody() -> None:
    class Alone(Reporter):
        def _hand_out(self, event):
            pytest.fail("nobody is there")

    reporter = Alone()
    reporter.memory_hit()
    reporter.tell(Miss())
    assert {name: count for name, count in reporter.counts().items() if count} == {"memory_hits": 1, "misses": 1}


def test_one_event_serves_all_memory_hits() -> None:
    seen: list = []
    reporter = Reporter([seen.append])
    reporter.memory_hit()
    reporter.memory_hit()
    assert seen == [Hit("memory")] * 2
    assert seen[0] is seen[1]


async def test_requests_that_wait_for_another_count_once_each(store, clock) -> None:
    auth = AsyncAuthCache(store, load_user=lambda _user_id: {"id": 1}, **settings(clock=clock))
    tokens = [headers(token_for(str(number % 4), now=clock.wall())) for number in range(40)]
    await asyncio.gather(*map(auth.authenticate, tokens))
    stats = auth.stats()
    assert stats.redis_hits + stats.misses == 40
    assert (stats.memory_hits, stats.loads) == (0, 4)
    await auth.aclose()


def test_while_redis_is_gone_a_request_is_unavailable_and_nothing_else(face, store, clock) -> None:
    events: list = []
    options = {"clock": clock, "observers": [events.append, {}.__getitem__]}  # the second one raises
    with driven(face, store, load_user=lambda _user_id: {"id": 1}, **options) as driver:
        store.down = True
        for _ in range(2):
            with pytest.raises(UnavailableError):
                driver.enter(now=clock.wall())
        assert counts(driver) == {"unavailable": 2, "token_entries": 2}
        store.down = False
        assert driver.enter(now=clock.wall()).user.id == 1
    assert events[:2] == [Unavailable("redis")] * 2


@pytest.mark.parametrize(
    "row",
    [{"id": object()}, {"revoked_before": "yesterday"}, "Ann", OSError()],
    ids=["unstorable", "undated", "text", "raised"],
)
def test_a_load_whose_result_cannot_be_used_has_failed_and_counts_once(face, store, clock, row) -> None:
    def load(_user_id):
        if isinstance(row, Exception):
            raise row
        return row

    events: list = []
    with driven(face, store, load_user=load, clock=clock, observers=[events.append]) as driver:
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())
        told = counts(driver)
    assert told == {"misses": 1, "loads": 1, "failed_loads": 1, "unavailable": 1, "token_entries": 1}
    assert [event.outcome for event in events if isinstance(event, Loaded)] == ["failed"]


def test_a_load_is_no_failure_where_redis_fails_after_it(face, store, clock) -> None:
    def load(_user_id):
        store.down = True
        return {"id": 1}

    with driven(face, store, load_user=load, clock=clock) as driver:
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())
        assert counts(driver) == {"misses": 1, "loads": 1, "unavailable": 1, "token_entries": 1}


def test_a_request_without_credentials_is_not_refused_by_the_face_and_one_of_another_scheme_is(face, store) -> None:
    with driven(face, store, load_user=lambda _user_id: {"id": 1}) as driver:
        other_scheme = [("Authorization", "Basic abc")]
        for method, request in (
            ("recall", []),
            ("recall", other_scheme),
            ("recall", other_scheme * 2),
            ("authenticate", []),
            ("authenticate", other_scheme),
        ):
            with pytest.raises(RefusedError):
                asked(driver, method, request)
        assert counts(driver) == {"without_credentials": 2, "refused": 3}


def asked(driver, method, request):
    async def within():
        found = getattr(driver.face, method)(request)
        return await found if inspect.isawaitable(found) else found

    return driver._run(within()) if isinstance(driver.face, AsyncAuthCache) else getattr(driver.face, method)(request)


def test_an_observer_that_watches_is_given_the_counts_of_each_face(store, clock) -> None:
    class Watching:
        def __init__(self):
            self.sources = []

        def watch(self, stats):
            self.sources.append(stats)

        def __call__(self, event):
            pass

    watching = Watching()
    options = {"load_user": lambda _user_id: {"id": 1}, "clock": clock, "observers": [watching, print]}
    with driven("blocking", store, **options) as one, driven("blocking", store, **options):
        one.enter(now=clock.wall())
        assert [stats().misses for stats in watching.sources] == [1, 0]


def test_outside_of_its_event_loop_the_counts_tell_of_the_loop_too(store, clock) -> None:
    options = {"clock": clock, "max_staleness": 1.0}
    with driven("async", store, load_user=lambda _user_id: {"id": 1}, **options) as driver:
        assert not driver.face.stats().memory_trusted
        driver.enter(now=clock.wall())
        trust(driver, clock)
        driver.enter(now=clock.wall())
        stats = driver.face.stats()
        assert (stats.memory_trusted, stats.memory_entries) == (True, 1)
        clock.advance(1.5)
        assert not driver.face.stats().memory_trusted
