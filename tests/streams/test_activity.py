"""Last activity, from requests to Redis: with both faces, on a real server, by a clock that is turned by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import faces
import pytest
import redis
from faces import ISSUER, SECRET, Driver, headers, token_for, wait_until

from authcache_middleware import AsyncAuthCache, AuthCache, ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.activity import Activity, ActivityRow
from authcache_middleware.issuers import Issuer
from authcache_middleware.queue import AsyncQueue, Queue
from authcache_middleware.redis.store import RedisStore
from authcache_middleware.runtime import finish
from authcache_middleware.streams.activity import ActivityFlow, rows_in
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.testing.server import EmbeddedServer, free_ports

TESTS = Path(__file__).parents[1]
NEVER = {"flush_every": 10_000.0}  # by itself


def driven(kind: str, redis_url: str, **options: Any) -> AbstractContextManager[Driver]:
    """As it is elsewhere, and patient: on a busy machine Redis may be slow."""
    return faces.driven(kind, redis_url, **{"store_timeout": 2.0, "connect_timeout": 2.0, "deadline": 10.0, **options})


def living(kind: str, redis_url: str, **options: Any) -> AbstractContextManager[Driver]:
    """As it is elsewhere, and patient: on a busy machine Redis may be slow."""
    return faces.living(kind, redis_url, **{"store_timeout": 2.0, "connect_timeout": 2.0, "deadline": 10.0, **options})


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def seen(prefix) -> str:
    return prefix.removesuffix("user:") + "seen:"


def load(user_id: str) -> dict[str, Any]:
    return {"id": user_id, "disabled": user_id == "disabled"}


def story_of(driver: Driver) -> Any:
    return getattr(driver.face, "_story", driver.face)


def flush(driver: Driver) -> None:
    async def flushed() -> None:
        await story_of(driver)._engine().activity.flush()

    driver._run(flushed()) if isinstance(driver.face, AsyncAuthCache) else finish(flushed())


def counts(driver: Driver) -> tuple[int, int, int]:
    stats = driver.there(driver.face.stats)
    return stats.activity_writes, stats.activity_failures, stats.activity_dropped


def test_a_user_is_seen_by_his_requests_and_written_at_most_once_in_a_while(kind, redis_url, client, prefix, seen):
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "clock": clock, "activity": Activity(**NEVER)}
    with driven(kind, redis_url, **options) as driver:
        began = clock.wall()
        driver.enter("1", lifetime=3600, now=began)
        assert client.zscore(seen, "1") is None
        flush(driver)
        assert client.zscore(seen, "1") == pytest.approx(began, abs=0.001)
        clock.advance(29)
        driver.enter("1", now=began, lifetime=3600)
        flush(driver)
        assert client.zscore(seen, "1") == pytest.approx(began, abs=0.001)
        clock.advance(1)
        flush(driver)
        assert client.zscore(seen, "1") == pytest.approx(began + 29, abs=0.001)
        assert counts(driver) == (2, 0, 0)
        assert client.exists(prefix + "1")


def test_closing_writes_what_is_left(kind, redis_url, client, prefix, seen) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix, activity=Activity(**NEVER)) as driver:
        driver.enter("1")
        flush(driver)
        client.delete(seen)
        driver.enter("1")
    assert client.zcard(seen) == 1


def test_it_is_written_in_the_background(kind, redis_url, client, prefix, seen) -> None:
    with living(kind, redis_url, load_user=load, prefix=prefix, activity=Activity(flush_every=0.02)) as driver:
        driver.enter("1")
        wait_until(lambda: client.zcard(seen))


def test_what_memory_answers_counts_and_what_is_refused_does_not(kind, redis_url, client, prefix, seen) -> None:
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER), "max_staleness": 5.0}
    with living(kind, redis_url, **options) as driver:
        one = headers(token_for("1"))
        driver("authenticate", one)
        wait_until(lambda: driver.there(driver.face.stats).memory_trusted)
        wait_until(lambda: driver("authenticate", one) and driver.there(lambda: driver.face.recall(one)))
        flush(driver)
        client.delete(seen)
        assert driver.there(lambda: driver.face.recall(one)) is not None
        with pytest.raises(InvalidTokenError):
            driver.enter("disabled")
        driver("resolve", driver("authenticate", headers(token_for("2"))).auth.claims)
    assert set(client.zrange(seen, 0, -1)) == {b"1", b"2"}


def test_a_look_at_a_connection_that_is_open_is_no_activity(kind, redis_url, client, prefix, seen) -> None:
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER), "clock": clock}
    with driven(kind, redis_url, **options) as driver:
        claims = driver.enter("1", now=clock.wall(), lifetime=3600).auth.claims
        flush(driver)
        began = clock.wall()
        clock.advance(40)
        driver("resolve", claims)
    assert client.zscore(seen, "1") == pytest.approx(began, abs=0.001)


def test_nothing_is_written_where_it_is_off(kind, redis_url, client, prefix, seen) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix) as driver:
        driver.enter("1")
        for call in (lambda: driver("presence", "1"), lambda: driver("online"), lambda: driver("count_online")):
            with pytest.raises(ConfigurationError, match=r"^activity: "):
                call()
    assert not client.exists(seen)


def test_presence_knows_the_last_time_and_whether_it_is_recent(kind, redis_url, prefix) -> None:
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER), "clock": clock}
    with driven(kind, redis_url, **options) as driver:
        stranger = driver("presence", "stranger")
        assert (stranger.last_seen, stranger.is_online, stranger.is_connected) == (None, False, False)
        began = clock.wall()
        driver.enter("1", now=began, lifetime=3600)
        assert driver("presence", "1").is_online, "what this process has seen counts before it is written"
        flush(driver)
        clock.advance(60)
        found = driver("presence", "1")
        assert found.last_seen == pytest.approx(began, abs=0.001)
        assert found.is_online
        clock.advance(1)
        assert not driver("presence", "1").is_online
        assert not found.is_connected


def test_who_has_a_session_is_connected_until_it_ends(kind, redis_url, prefix) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix, activity=Activity(**NEVER)) as driver:
        token = token_for("1", claims={"sid": "s1"})
        driver._run(driver.face.login("1", token=token))
        assert driver("presence", "1").is_connected
        driver("logout", token)
        assert not driver("presence", "1").is_connected


def test_who_is_online_is_listed_and_counted_by_windows(kind, redis_url, prefix) -> None:
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER), "clock": clock}
    with driven(kind, redis_url, **options) as driver:
        for user in ("1", "2", "3"):
            driver.enter(user, now=clock.wall(), lifetime=3600)
            flush(driver)
            clock.advance(40)

        def ask(method: str, **how: Any) -> Any:
            return driver._run(getattr(driver.face, method)(**how))

        assert ask("online") == ["3"]
        assert ask("online", within=200.0) == ["3", "2", "1"]
        assert ask("online", within=200.0, limit=2) == ["3", "2"]
        assert [ask("count_online", within=within) for within in (1.0, 60.0, 100.0, 3600.0)] == [0, 1, 2, 3]
        for wrong in ({"within": 0}, {"within": float("nan")}, {"limit": 0}, {"limit": 10**9}):
            with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: "):
                ask("online", **wrong)


def test_those_who_never_come_again_are_forgotten(kind, redis_url, client, prefix, seen) -> None:
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "activity": Activity(keep=600.0, **NEVER), "clock": clock}
    with driven(kind, redis_url, **options) as driver:
        driver.enter("1", now=clock.wall(), lifetime=3600)
        flush(driver)
        clock.advance(599)
        flush(driver)
        assert client.zcard(seen) == 1
        clock.advance(61)
        flush(driver)
        assert client.zcard(seen) == 0


def test_what_another_process_has_seen_later_stays(kind, redis_url, client, prefix, seen) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix, activity=Activity(**NEVER)) as driver:
        client.zadd(seen, {"1": time.time() + 100})
        before = client.zscore(seen, "1")
        driver.enter("1")
        flush(driver)
        assert client.zscore(seen, "1") == before


def issuers() -> list[Issuer]:
    return [
        Issuer(
            name, keys=SECRET, algorithms=["HS256"], audience="orders", alias=alias, load_user=load
        )
        for name, alias in ((ISSUER, "a"), ("https://other.example", "b"))
    ]  # fmt: skip


def test_each_issuer_has_users_of_its_own(kind, redis_url, client, prefix, seen) -> None:
    name = prefix + "q"
    queue = AsyncQueue(redis_url, name) if kind == "async" else Queue(redis_url, name)
    options = {"issuers": issuers(), "prefix": prefix, "activity": Activity(queue=queue, **NEVER)}
    with driven(kind, redis_url, **options) as driver:
        driver.enter("1")
        driver.enter("b:1", issuer="https://other.example")
        flush(driver)
        assert client.zrange(f"{seen}a", 0, -1) == [b"1"]
        assert client.zrange(f"{seen}b", 0, -1) == [b"b:1"]
        driver._run(queue.aclose() if kind == "async" else queue.close())
    ((_, fields),) = client.xrange(f"queue:{name}")
    assert sorted(row[::2] for row in json.loads(fields[b"rows"])) == [["1", "a"], ["b:1", "b"]]
    assert {(row.user_id, row.issuer) for row in rows_in({"rows": fields[b"rows"]})} == {("1", "a"), ("b:1", "b")}


def test_while_redis_is_gone_users_are_kept_as_far_as_there_is_room(kind, prefix, seen, caplog) -> None:
    (port,) = free_ports(1)
    clock = ManualClock()
    options = {
        "load_user": load,
        "prefix": prefix,
        "on_outage": "load",
        "store_timeout": 0.1,
        "connect_timeout": 0.1,
        "clock": clock,
        "activity": Activity(entries=2, **NEVER),
    }
    with EmbeddedServer(port) as own, driven(kind, own.url, **options) as driver:
        driver.enter("1", now=clock.wall(), lifetime=3600)
        flush(driver)
        own.kill()
        clock.advance(100)
        for user in ("1", "2", "3"):
            driver.enter(user, now=clock.wall(), lifetime=3600)
        for _ in range(2):
            flush(driver)
        assert counts(driver) == (1, 2, 1)
        assert caplog.text.count("last activity cannot be written") == 1
        own.start()
        clock.advance(5)  # and the breaker lets one through
        flush(driver)
        assert counts(driver) == (3, 2, 1)
        with redis.Redis.from_url(own.url) as again:
            assert set(again.zrange(seen, 0, -1)) == {b"1", b"2"}


def test_another_type_under_the_key_is_an_outage_of_this_alone(kind, redis_url, client, prefix, seen) -> None:
    client.set(seen, "x")
    with driven(kind, redis_url, load_user=load, prefix=prefix, activity=Activity(**NEVER)) as driver:
        assert driver.enter("1").user["id"] == "1"
        flush(driver)
        assert counts(driver) == (0, 1, 0)
        with pytest.raises(UnavailableError, match="another type"):
            driver("presence", "1")
    assert client.get(seen) == b"x"


def test_a_queue_that_is_full_gets_the_rows_when_it_has_room(kind, redis_url, client, prefix, seen) -> None:
    name, clock = prefix + "q", ManualClock()
    queue = (AsyncQueue if kind == "async" else Queue)(redis_url, name, max_length=1)
    options = {"load_user": load, "prefix": prefix, "clock": clock, "activity": Activity(queue=queue, **NEVER)}
    with driven(kind, redis_url, **options) as driver:
        client.xadd(f"queue:{name}", {"in": "the way"})
        driver.enter("1", now=clock.wall(), lifetime=3600)
        flush(driver)
        assert counts(driver) == (1, 1, 0)
        assert client.zcard(seen) == 1
        client.xtrim(f"queue:{name}", 0)
        flush(driver)
        ((_, fields),) = client.xrange(f"queue:{name}")
        assert [row.user_id for row in rows_in({"rows": fields[b"rows"]})] == ["1"]
        client.xtrim(f"queue:{name}", 0)
        flush(driver)
        assert client.xlen(f"queue:{name}") == 0
        driver._run(queue.aclose() if kind == "async" else queue.close())


def test_another_type_under_the_queues_key_is_an_outage_that_passes(kind, redis_url, client, prefix, caplog) -> None:
    name, clock, seen = prefix + "q", ManualClock(), prefix.replace("user:", "seen:")
    client.set(f"queue:{name}", "x")
    queue = (AsyncQueue if kind == "async" else Queue)(redis_url, name)
    options = {"load_user": load, "prefix": prefix, "clock": clock, "activity": Activity(queue=queue, flush_every=0.02)}
    with living(kind, redis_url, **options) as driver:
        driver.enter("1", now=clock.wall(), lifetime=3600)
        wait_until(lambda: counts(driver)[1] > 1)
        assert client.zcard(seen) == 1
        client.delete(f"queue:{name}")
        wait_until(lambda: client.xlen(f"queue:{name}"))
        client.delete(f"queue:{name}")
        client.set(f"queue:{name}", "x")
        driver.enter("2", now=clock.wall(), lifetime=3600)
        with pytest.raises(UnavailableError, match="another type"):
            driver._run(queue.put({"a": "b"}))
        driver._run(driver.face.aclose() if kind == "async" else driver.face.close())
        driver._run(queue.aclose() if kind == "async" else queue.close())
    assert client.zcard(seen) == 2
    assert caplog.text.count("cannot be written (another type of value") == 2


def test_whatever_fails_in_a_flush_is_counted_and_said_once_without_its_words(
    kind, redis_url, prefix, caplog, monkeypatch
) -> None:
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER)}
    said = "a secret"
    with driven(kind, redis_url, **options) as driver:
        driver.enter("1")

        async def fail(*_: Any, **__: Any) -> None:
            raise LookupError(said)

        with monkeypatch.context() as patched:
            patched.setattr(ActivityFlow, "_write", fail)
            for _ in range(2):
                flush(driver)
        assert counts(driver) == (0, 2, 0)
        flush(driver)
        assert counts(driver) == (1, 2, 0)
    assert caplog.text.count("last activity cannot be written (LookupError)") == 1
    assert "secret" not in caplog.text


def test_a_closing_that_fails_closes_the_connections_all_the_same(kind, redis_url, prefix, monkeypatch) -> None:
    options = {"load_user": load, "prefix": prefix, "activity": Activity(**NEVER)}
    with driven(kind, redis_url, **options) as driver:
        driver.enter("1")
        closed: list[object] = []

        async def close(store: object) -> None:
            closed.append(store)

        async def fail(*_: Any, **__: Any) -> None:
            raise LookupError

        with monkeypatch.context() as patched:
            patched.setattr(ActivityFlow, "flush", fail)
            patched.setattr(RedisStore, "aclose", close)
            with pytest.raises(LookupError):
                driver._run(driver.face.aclose()) if kind == "async" else driver.face.close()
        assert len(closed) == 1
        driver._run(finished(closed[0])) if kind == "async" else finish(finished(closed[0]))


async def finished(store: Any) -> None:
    await store.aclose()


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("flush_every", 0),
        ("write_every", True),
        ("keep", float("inf")),
        ("entries", 0),
        ("entries", 1.5),
        ("queue", "q"),
    ],
)
def test_what_cannot_be_is_refused_by_name(argument, wrong) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{argument}: "):
        Activity(**{argument: wrong})


def test_what_a_face_cannot_have_is_refused(redis_url) -> None:
    def options(**more: Any) -> dict[str, Any]:
        return {"load_user": load, "keys": SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None, **more}

    for face, redis_or_store, activity in (
        (AuthCache, redis_url, True),
        (AuthCache, MemoryStore(), Activity()),
        (AuthCache, redis_url, Activity(queue=AsyncQueue(redis_url, "q"))),
        (AsyncAuthCache, redis_url, Activity(queue=Queue(redis_url, "q"))),
    ):
        with pytest.raises(ConfigurationError, match=r"^activity: "):
            face(redis_or_store, **options(activity=activity))


def test_a_row_shows_no_user() -> None:
    assert "secret" not in repr(ActivityRow("secret", 1.0))


ROWS = [
    b"",
    b"{}",
    b"[1]",
    b'[["1"]]',
    b"[[1, 2, null]]",
    b'[["1", "2", null]]',
    b"\xff",
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b'[["1", 1' + b"0" * 400 + b", null]]", id="too large for a float"),
    pytest.param(b'[["1", 1' + b"0" * 5000 + b", null]]", id="too long for a number"),
    b'[["1", 1e999, null]]',
    b'[["1", NaN, null]]',
    b'[["1", true, null]]',
]


@pytest.mark.parametrize("rows", ROWS)
def test_what_are_no_rows_is_said_so(rows) -> None:
    with pytest.raises(ValueError):
        rows_in({"rows": rows})


PROCESS = """
import os, sys
sys.path[:0] = [sys.argv[3]]
from faces import headers, settings, token_for
from authcache_middleware import AuthCache
from authcache_middleware.activity import Activity

def load(user_id):
    return {"id": user_id}

auth = AuthCache(sys.argv[1], **settings(load_user=load, prefix=sys.argv[2], activity=Activity(flush_every=1000)))
auth.authenticate(headers(token_for("parent")))
if child := os.fork():
    os.waitpid(child, 0)
else:
    assert auth.presence("parent").last_seen is None, "a child has its parent's marks"
    auth.authenticate(headers(token_for("child")))
    sys.exit(0)
"""


def test_a_process_that_ends_writes_what_is_left_and_its_children_theirs(redis_url, client, prefix, seen) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROCESS, redis_url, prefix, str(TESTS)]
    subprocess.run(command, timeout=60, check=True)
    assert set(client.zrange(seen, 0, -1)) == {b"parent", b"child"}
