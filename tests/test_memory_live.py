"""Memory on real servers: what is heard, what is not, and for how long a process may not know."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from faces import wait_until
from live import Live, living
from proxies import DOWN, StallingProxy

from authcache_middleware import AsyncAuthCache
from authcache_middleware.testing.server import EmbeddedServer

RECALLS = 1000


class Database:
    """One row, and how often it was asked for."""

    def __init__(self) -> None:
        self.name = "Ann"
        self.loads = 0

    def load(self, user_id: str) -> dict[str, Any]:
        self.loads += 1
        return {"id": user_id, "name": self.name}


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def live(kind, redis_url, prefix, database) -> Iterator[Live]:
    with living(kind, redis_url, prefix=prefix, load_user=database.load) as live:
        live.remember()
        yield live


def commands(client: redis.Redis) -> dict[str, int]:
    """How often the server was sent each command, but for the link's heartbeat and this question itself."""
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}
    return {name: count for name, count in calls.items() if name not in {"ping", "info"}}


def forgotten(live: Live) -> bool:
    return live.recall() is None


def test_what_is_remembered_costs_redis_nothing(kind, database) -> None:
    def recalls() -> int:
        return sum(live.face.recall(live.headers("1")).user.name == "Ann" for _ in range(RECALLS))

    with EmbeddedServer() as own, redis.Redis.from_url(own.url) as other:
        with living(kind, own.url, load_user=database.load) as live:
            live.remember()
            before, hits = commands(other), live.stats().memory_hits
            assert before["get"] > 0
            assert live.there(recalls) == RECALLS
            assert live.enter().name == "Ann"
            assert commands(other) == before
            assert live.stats().memory_hits == hits + RECALLS + 1
            assert database.loads == 1


def test_a_del_by_another_client_is_heard(live, client, database) -> None:
    database.name = "Bea"
    assert client.delete(live.face.key("1")) == 1
    wait_until(lambda: forgotten(live))
    assert live.is_trusted()
    assert (live.enter().name, database.loads) == ("Bea", 2)
    assert live.stats().links_lost == 0


def test_a_flushed_database_is_heard(kind, database) -> None:
    with EmbeddedServer() as own, living(kind, own.url, load_user=database.load) as live:
        live.remember()
        database.name = "Bea"
        with redis.Redis.from_url(own.url) as other:
            other.flushdb()
        wait_until(lambda: forgotten(live))
        assert (live.enter().name, database.loads) == ("Bea", 2)
        assert live.stats().links_lost == 0


def test_a_link_that_is_killed_comes_back_by_itself(kind, database) -> None:
    with EmbeddedServer() as own, living(kind, own.url, load_user=database.load) as live:
        live.remember()
        with redis.Redis.from_url(own.url) as other:
            assert other.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
            # a poll could miss memory being off, which is soon over: the loss is counted, and memory comes back empty
            wait_until(lambda: live.stats().links_lost == 1)
            wait_until(live.is_trusted)
            assert live.recall() is None
            assert (live.enter().name, database.loads) == ("Ann", 1)  # Redis still has it
            wait_until(lambda: live.enter() and live.recall())
            other.delete(live.face.key("1"))
            wait_until(lambda: forgotten(live))


def test_nothing_is_answered_beyond_max_staleness_when_invalidations_do_not_arrive(kind, database) -> None:
    bound = 0.3
    with EmbeddedServer() as own, StallingProxy(own.port) as proxy, redis.Redis.from_url(own.url) as direct:
        with living(kind, proxy.url, load_user=database.load, max_staleness=bound) as live:
            live.remember()
            database.name = "Bea"
            assert direct.ping()  # connected before it counts

            def timed() -> tuple[float, bool]:
                return time.monotonic(), live.face.recall(live.headers("1")) is not None

            proxy.stall(DOWN)
            deleted = time.monotonic()
            assert direct.delete(live.face.key("1")) == 1
            answered = []
            while time.monotonic() < deleted + 2 * bound:
                began, is_answered = live.there(timed)
                if is_answered:
                    answered.append(began - deleted)
            print(f"{len(answered)} stale answers, the last {max(answered, default=0):.3f} s after the DEL")
            assert max(answered, default=0.0) <= bound
            assert not live.is_trusted()
            proxy.resume()
            wait_until(live.is_trusted)
            assert live.recall() is None
            assert wait_until(lambda: live.enter().name) == "Bea"


@pytest.mark.parametrize("by", ["async", "blocking"])
def test_an_invalidation_by_one_face_is_obeyed_by_the_other(live, by, redis_url, prefix, database) -> None:
    with living(by, redis_url, prefix=prefix, load_user=database.load) as other:
        other.remember()
        database.name = "Bea"
        other("invalidate", "1")
        assert other.recall() is None  # at once: no link is needed to tell it
        wait_until(lambda: forgotten(live))
        assert [live.enter().name, other.enter().name, database.loads] == ["Bea", "Bea", 2]


def test_without_the_right_to_track_all_works_and_memory_stays_off(kind, database, caplog, monkeypatch) -> None:
    monkeypatch.setattr(
        "authcache_middleware.cache.link._DEAF_PAUSE", 0.02
    )  # tried again at once, told once all the same
    with EmbeddedServer() as own, redis.Redis.from_url(own.url) as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-client|tracking")
        url = own.url.replace("://", "://limited:pw@")
        with living(kind, url, load_user=database.load, max_staleness=0.1) as live:
            with caplog.at_level(logging.WARNING, "authcache_middleware"):
                assert live.enter().name == "Ann"
                wait_until(lambda: refusals(admin) >= 3)
            assert not live.is_trusted()
            database.name = "Bea"
            assert (live.enter().name, live.recall()) == ("Ann", None)
            live("invalidate", "1")
            assert (live.enter().name, database.loads) == ("Bea", 2)
    said = [record.getMessage() for record in caplog.records if "memory is off" in record.getMessage()]
    assert len(said) == 1
    assert "pw" not in said[0]


def refusals(admin: redis.Redis) -> int:
    """How often a link was refused the command."""
    return admin.info("commandstats").get("cmdstat_client|tracking", {}).get("rejected_calls", 0)


def test_without_memory_nothing_runs_in_the_background(kind, redis_url, prefix, database, client) -> None:
    with living(kind, redis_url, prefix=prefix, load_user=database.load, max_staleness=0.0) as live:
        assert live.enter().name == "Ann"
        assert live.recall() is None
        assert not live.is_trusted()
        assert background(live) == []
        client.delete(live.face.key("1"))
        assert (live.enter().name, database.loads) == ("Ann", 2)


def test_with_memory_something_does(live) -> None:
    assert any(name.startswith("authcache-link-") for name in background(live))


def background(live: Live) -> list[str]:
    """The names of the package's threads and tasks."""
    names = [thread.name for thread in threading.enumerate()]
    if isinstance(live.face, AsyncAuthCache):
        names = live.there(lambda: [task.get_name() for task in asyncio.all_tasks()])
    return [name for name in names if name.startswith("authcache-link")]
