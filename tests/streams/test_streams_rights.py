"""The fewest rights for what is here: with exactly these all works, and each of them is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from faces import driven, settings
from streams.queues import queueing, tell

from authcache_middleware import AuthCache, UnavailableError
from authcache_middleware.activity import Activity
from authcache_middleware.event_stream import EventStream
from authcache_middleware.testing.server import EmbeddedServer

USUAL = ("~user:*", "~revoked:*", "~refresh:*", "+get", "+mget", "+set", "+del", "+eval", "+hgetall", "+time")
ACTIVITY = ("~seen:*", "+zadd", "+zremrangebyscore", "+zscore", "+zrange", "+zcount")
QUEUE = (
    "~queue:*", "~parked:*", "+eval", "+xadd", "+xlen", "+xrange", "+xread", "+xreadgroup", "+xpending", "+xclaim",
    "+xack", "+xdel", "+xgroup|create", "+xgroup|delconsumer", "+xinfo|stream", "+xinfo|consumers",
)  # fmt: skip

EVENTS = ("~authcache:events", "+xadd")
FOLLOWING = ("~authcache:events", "+eval", "+xrange", "+xrevrange", "+xread")


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


def limited(server: EmbeddedServer, rights: Collection[str]) -> str:
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "resetchannels", "-@all", *rights)
    return server.url.replace("://", "://limited:pw@")


def load(user_id: str) -> dict[str, Any]:
    return {"id": user_id}


def live_through_activity(kind: str, url: str) -> None:
    with driven(kind, url, load_user=load, activity=Activity(), store_timeout=4.0, deadline=20.0) as driver:
        driver.enter("1")
        driver("presence", "1")
        driver("online")
        driver("count_online")
        driver("aclose" if kind == "async" else "close")
        assert driver.there(driver.face.stats).activity_failures == 0
        assert driver("online") == ["1"]


def live_through_a_queue(kind: str, url: str) -> None:
    with queueing(kind, url, "work", redeliver_after=0.02) as driver:
        tell(driver)
        assert len(driver.consume(1, until=lambda: True)) == 0


def live_through_events(url: str, follower: str) -> None:
    with AuthCache(
        url, **settings(load_user=load, event_stream="authcache:events", store_timeout=2.0, deadline=10.0)
    ) as auth:
        auth.invalidate("1")
        assert auth.stats().events_lost == 0
    with EventStream(follower, "authcache:events") as stream:
        following = stream.events("0", until=second_time())
        assert next(following).type == "invalidated"
        assert next(following, None) is None
        assert next(stream.events("$", until=second_time()), None) is None


def second_time() -> Callable[[], bool]:
    turns = iter([False, False, True])
    return lambda: next(turns)


def of_follower(server: EmbeddedServer, rights: Collection[str]) -> str:
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "follower", "reset", "on", ">pw", "resetchannels", "-@all", *rights)
    return server.url.replace("://", "://follower:pw@")


def test_with_exactly_these_all_works(own, kind, caplog) -> None:
    live_through_activity(kind, limited(own, [*USUAL, *ACTIVITY]))
    live_through_a_queue(kind, limited(own, QUEUE))
    live_through_events(limited(own, [*USUAL, *EVENTS]), of_follower(own, FOLLOWING))
    assert not [record for record in caplog.records if "cannot" in record.getMessage()]


@pytest.mark.slow
@pytest.mark.parametrize("missing", ACTIVITY)
def test_activity_needs_each_of_them(own, missing) -> None:
    url = limited(own, [right for right in (*USUAL, *ACTIVITY) if right != missing])
    with pytest.raises((UnavailableError, AssertionError)):
        live_through_activity("blocking", url)


@pytest.mark.slow
@pytest.mark.parametrize("missing", EVENTS)
def test_telling_needs_each_of_them(own, missing) -> None:
    url = limited(own, [right for right in (*USUAL, *EVENTS) if right != missing])
    with pytest.raises(AssertionError):
        live_through_events(url, own.url)


@pytest.mark.slow
@pytest.mark.parametrize("missing", FOLLOWING)
def test_following_needs_each_of_them(own, missing, caplog) -> None:
    url = limited(own, [*USUAL, *EVENTS])
    with suppress(StopIteration, AssertionError):
        live_through_events(url, of_follower(own, [right for right in FOLLOWING if right != missing]))
    assert "cannot be read" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("missing", QUEUE)
def test_a_queue_needs_each_of_them(own, missing) -> None:
    url = limited(own, [right for right in QUEUE if right != missing])
    if missing == "+xgroup|delconsumer":  # for want of it consumers are not forgotten, and nothing is lost
        live_through_a_queue("blocking", url)
        with redis.Redis.from_url(own.url) as admin:
            assert admin.xinfo_consumers("queue:work", "workers")
        return
    with pytest.raises((UnavailableError, AssertionError)):
        live_through_one_look(url)


def live_through_one_look(url: str) -> None:
    """``consume`` waits through whatever is refused: here one look must do."""
    with queueing("blocking", url, "work", redeliver_after=0.02) as driver:
        driver.consume = lambda most: [driver("acknowledge", driver("read"))][:most]  # type: ignore[method-assign]
        tell(driver)


def test_the_readme_names_them() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("no README beside these tests")
    named = set(re.findall(r"[+&~][a-z_:|*-]+", readme.read_text().replace("\\|", "|")))
    assert not {*ACTIVITY, *QUEUE, *EVENTS, *FOLLOWING} - named
