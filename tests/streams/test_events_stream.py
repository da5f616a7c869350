"""What is told to other services, and how it is followed: with both faces, on a real server."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import faces
import pytest
import redis
from faces import ISSUER, SECRET, Driver, token_for

from authcache_middleware import AsyncAuthCache, AuthCache, ConfigurationError, InvalidTokenError
from authcache_middleware.event_stream import AsyncEventStream, EventStream, StreamEvent
from authcache_middleware.issuers import Issuer
from authcache_middleware.runtime import BlockingRuntime, finish
from authcache_middleware.streams.connections import Connections
from authcache_middleware.streams.following import Following
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.testing.server import EmbeddedServer, free_ports


def driven(kind: str, redis_url: str, **options: Any) -> AbstractContextManager[Driver]:
    """As it is elsewhere, and patient: on a busy machine Redis may be slow."""
    return faces.driven(kind, redis_url, **{"store_timeout": 2.0, "connect_timeout": 2.0, "deadline": 10.0, **options})


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def key(prefix) -> str:
    return prefix.removesuffix("user:") + "events"


def load(user_id: str) -> dict[str, Any]:
    return {"id": user_id}


def followed(kind: str, url: str, key: str, after: str, most: int, **options: Any) -> list[StreamEvent]:
    """So many events at most, or those until ``until``."""
    found: list[StreamEvent] = []
    if kind == "blocking":
        with EventStream(url, key) as stream:
            for event in stream.events(after, **options):
                found.append(event)
                if len(found) == most:
                    break
        return found

    async def follow() -> None:
        async with AsyncEventStream(url, key) as stream:
            async for event in stream.events(after, **options):
                found.append(event)
                if len(found) == most:
                    break

    asyncio.run(follow())
    return found


def add(client: redis.Redis, key: str, *users: object) -> list[str]:
    return [client.xadd(key, {"type": "logout", "user": str(user), "at_ms": "1500"}).decode() for user in users]


def users(events: list[StreamEvent]) -> list[str | None]:
    return [event.user_id for event in events]


def session_token(driver: Driver) -> str:
    token = token_for("1", claims={"sid": "s1"}, token_id="the jti of a token")
    driver._run(driver.face.login("1", token=token))
    return token


def test_every_call_that_ends_or_renews_access_is_told_in_plain_texts(kind, redis_url, client, prefix, key) -> None:
    """The payload that other languages read: every field of it."""
    clock = ManualClock()
    options = {"load_user": load, "prefix": prefix, "event_stream": key, "clock": clock}
    clock.advance(time.time() - clock.wall())
    with driven(kind, redis_url, **options) as driver:
        token = session_token(driver)
        driver("logout", token)
        driver("logout_session", "1", "s2")
        driver("logout", token_for("2"))
        driver("revoke_user", "1")
        driver("invalidate", "é")
        at_ms = str(round(clock.wall() * 1000))
    told = [{name.decode(): said.decode() for name, said in fields.items()} for _, fields in client.xrange(key)]
    assert told == [
        {"type": "login", "user": "1", "at_ms": at_ms, "sid": "s1"},
        {"type": "logout", "user": "1", "at_ms": at_ms, "sid": "s1"},
        {"type": "logout", "user": "1", "at_ms": at_ms, "sid": "s2"},
        {"type": "logout", "user": "2", "at_ms": at_ms},
        {"type": "revoked", "user": "1", "at_ms": at_ms},
        {"type": "invalidated", "user": "é", "at_ms": at_ms},
    ]


def test_a_session_that_made_room_for_another_is_told_of(kind, redis_url, client, prefix, key) -> None:
    options = {"load_user": load, "prefix": prefix, "event_stream": key, "max_sessions": 1}
    with driven(kind, redis_url, **options) as driver:
        for sid in ("s1", "s1", "s2"):
            driver("login", "1", sid=sid, expires_at=time.time() + 60)
    told = [(fields[b"type"], fields[b"sid"]) for _, fields in client.xrange(key)]
    assert told == [(b"login", b"s1"), (b"login", b"s1"), (b"login", b"s2"), (b"logout", b"s1")]


def test_it_is_told_after_the_fact(redis_url, client, prefix, key) -> None:
    """Whoever hears of a logout finds the token refused."""
    found: list[str] = []
    with AuthCache(redis_url, **options_of(prefix, key)) as other, EventStream(redis_url, key) as stream:
        token = token_for("1")
        ready = threading.Event()

        def follow() -> None:
            for _ in stream.events("0", until=lambda: ready.set() or bool(found)):
                try:
                    other.authenticate([("authorization", f"Bearer {token}")])
                    found.append("let in")
                except InvalidTokenError as exc:
                    found.append(exc.reason)

        listener = threading.Thread(target=follow)
        listener.start()
        assert ready.wait(20)
        with AuthCache(redis_url, **options_of(prefix, key)) as auth:
            auth.authenticate([("authorization", f"Bearer {token}")])
            auth.logout(token)
        listener.join(20)
    assert found == ["revoked"]


def options_of(prefix: str, key: str | None, **more: Any) -> dict[str, Any]:
    ours = {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": "orders", "load_user": load}
    return {
        **ours,
        "prefix": prefix,
        "event_stream": key,
        "max_staleness": 0.0,
        "store_timeout": 2.0,
        "deadline": 10.0,
        **more,
    }


def test_of_several_issuers_it_is_told_whose_user_it_is(kind, redis_url, client, prefix, key) -> None:
    issuers = [
        Issuer(name, keys=SECRET, algorithms=["HS256"], audience="orders", alias=alias, load_user=load)
        for name, alias in ((ISSUER, "a"), ("https://other.example", "b"))
    ]
    with driven(kind, redis_url, issuers=issuers, prefix=prefix, event_stream=key) as driver:
        driver._run(driver.face.revoke_user("1", issuer="https://other.example"))
    ((_, fields),) = client.xrange(key)
    assert fields[b"issuer"] == b"b"


def test_nothing_is_told_where_nobody_asked(kind, redis_url, client, prefix) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix) as driver:
        driver("invalidate", "1")
        with pytest.raises(ConfigurationError, match=r"^event_stream: "):
            one_of(driver, "0")
    assert not list(client.scan_iter(match=prefix.removesuffix("user:") + "*"))


def one_of(driver: Driver, after: str, until: Callable[[], bool] | None = None) -> StreamEvent | None:
    if isinstance(driver.face, AsyncAuthCache):

        async def first() -> StreamEvent | None:
            events = driver.face.events(after, until=until)
            try:
                return await anext(events, None)
            finally:
                await events.aclose()

        return driver._run(first())
    return next(driver.face.events(after, until=until), None)


def test_an_event_that_cannot_be_written_is_counted_and_stops_nothing(kind, redis_url, client, prefix, caplog) -> None:
    key = prefix.removesuffix("user:") + "events"
    client.set(key, "another type")
    with driven(kind, redis_url, load_user=load, prefix=prefix, event_stream=key) as driver:
        for _ in range(2):
            token = token_for("1")
            driver("logout", token)
            with pytest.raises(InvalidTokenError):
                driver("authenticate", [("authorization", f"Bearer {token}")])
        assert driver.there(driver.face.stats).events_lost == 2
    assert caplog.text.count("could not be written to the event stream") == 1


def test_the_stream_is_trimmed(kind, redis_url, client, prefix, key) -> None:
    options = {"load_user": load, "prefix": prefix, "event_stream": key, "event_stream_length": 10}
    with driven(kind, redis_url, **options) as driver:
        for _ in range(250):
            driver("invalidate", "1")
    assert 10 <= client.xlen(key) < 250


def test_the_face_follows_what_it_and_others_have_told(kind, redis_url, client, prefix, key) -> None:
    with driven(kind, redis_url, load_user=load, prefix=prefix, event_stream=key) as driver:
        add(client, key, "elsewhere")
        first = one_of(driver, "0")
        assert first is not None
        assert (first.type, first.user_id, first.at, first.issuer, first.sid) == (
            "logout",
            "elsewhere",
            1.5,
            None,
            None,
        )
        driver("invalidate", "here")
        second = one_of(driver, first.id)
        assert second is not None
        assert (second.type, second.user_id) == ("invalidated", "here")
        assert one_of(driver, second.id, until=lambda: True) is None


def test_a_reader_goes_on_where_he_was_without_a_gap(kind, redis_url, client, key) -> None:
    add(client, key, *range(250))
    first = followed(kind, redis_url, key, "0", 120)
    rest = followed(kind, redis_url, key, first[-1].id, 130)
    assert users(first + rest) == [str(number) for number in range(250)]


def test_those_to_come_are_those_after_the_first_step(kind, redis_url, client, key) -> None:
    add(client, key, "before")
    timer = threading.Timer(0.3, add, (client, key, "after"))
    timer.start()
    assert users(followed(kind, redis_url, key, "$", 1)) == ["after"]
    timer.join()


def test_a_gap_is_said_and_what_is_left_follows(kind, redis_url, client, key) -> None:
    ids = add(client, key, 1, 2, 3, 4)
    client.xtrim(key, 2, approximate=False)
    events = followed(kind, redis_url, key, ids[0], 3)
    assert [(event.type, event.user_id) for event in events] == [("gap", None), ("logout", "3"), ("logout", "4")]
    assert events[0].id == ids[0]
    assert users(followed(kind, redis_url, key, ids[2], 1)) == ["4"], "whose own place is there has missed nothing"
    assert users(followed(kind, redis_url, key, "0", 2)) == ["3", "4"]


def test_a_stream_that_was_deleted_is_a_gap_that_is_said_once(kind, redis_url, client, key) -> None:
    (known,) = add(client, key, 1)
    client.delete(key)
    turns = iter([False, False, True])
    assert [event.type for event in followed(kind, redis_url, key, known, 9, until=lambda: next(turns))] == ["gap"]
    add(client, key, 2)
    assert [event.type for event in followed(kind, redis_url, key, known, 2)] == ["gap", "logout"]


def test_a_gap_is_said_once(redis_url, client, key) -> None:
    (known,) = add(client, key, 1)
    client.delete(key)
    following = Following(Connections(BlockingRuntime, redis_url, timeout=2.0), key, known, None)
    assert finish(following.next()).type == "gap"
    for _ in range(2):
        following._look_at = -math.inf  # some seconds later
        finish(following._look())
    assert not following._found


def test_what_others_wrote_is_passed_on_as_far_as_it_can_be_read(redis_url, client, key) -> None:
    client.xadd(key, {"type": "promoted", "at_ms": "soon", b"\xff": b"\xff"}, id="1234-5")
    (event,) = followed("blocking", redis_url, key, "0", 1)
    assert event == StreamEvent("1234-5", "promoted", 1.234)


@pytest.mark.parametrize("at_ms", ["9" * 400, "9" * 5000, "-5", "", "1e5", "\u0661"])
def test_an_event_with_a_time_that_is_none_is_told_with_that_of_its_id(kind, redis_url, client, key, at_ms) -> None:
    add(client, key, 1)
    (seconds, micros), bad = client.time(), client.xadd(key, {"type": "logout", "user": "2", "at_ms": at_ms}).decode()
    add(client, key, 3)
    events = followed(kind, redis_url, key, "0", 3)
    assert users(events) == ["1", "2", "3"]
    assert events[1].at == int(bad.partition("-")[0]) / 1000 >= int((seconds + micros / 1e6) * 1000) / 1000


def test_behind_an_id_of_the_future_there_is_a_gap_and_then_what_comes(kind, redis_url, client, key) -> None:
    add(client, key, 1)
    timer = threading.Timer(0.3, add, (client, key, 2))
    timer.start()
    events = followed(kind, redis_url, key, "99999999999999-0", 2)
    assert [(event.type, event.user_id) for event in events] == [("gap", None), ("logout", "2")]
    timer.join()


def test_a_stream_that_has_begun_anew_with_smaller_ids_is_followed(redis_url, client, key) -> None:
    client.xadd(key, {"type": "logout", "user": "1"}, id="50-1")
    following = Following(Connections(BlockingRuntime, redis_url, timeout=2.0), key, "0", None)
    assert finish(following.next()).user_id == "1"
    client.delete(key)
    following._look_at = -math.inf  # some seconds later
    assert finish(following.next()).type == "gap"
    client.xadd(key, {"type": "logout", "user": "2"}, id="7-1")
    assert finish(following.next()).user_id == "2"
    following._look_at = -math.inf
    client.xadd(key, {"type": "logout", "user": "3"}, id="7-2")
    assert finish(following.next()).user_id == "3"


def test_following_survives_a_server_that_is_away(kind, key, caplog) -> None:
    (port,) = free_ports(1)
    with EmbeddedServer(port) as own:
        url = own.url
    restarted = EmbeddedServer(port)

    def start_and_add() -> None:
        restarted.start()
        with redis.Redis.from_url(url) as client:
            add(client, key, "after")

    timer = threading.Timer(1.3, start_and_add)  # while it is asked twice
    timer.start()
    try:
        assert users(followed(kind, url, key, "0", 1)) == ["after"]
    finally:
        timer.join()
        restarted.kill()
    assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_ready_client_of_either_protocol_will_do(redis_url, client, key, protocol) -> None:
    add(client, key, 1)
    with redis.Redis.from_url(redis_url, protocol=protocol, socket_timeout=2.0) as ready:
        events = EventStream(ready, key).events("0")
        assert next(events).user_id == "1"
        timer = threading.Timer(0.2, add, (client, key, 2))
        timer.start()
        assert next(events).user_id == "2"
        timer.join()


def test_no_user_stands_in_a_repr() -> None:
    assert "secret" not in repr(StreamEvent("1-0", "logout", 1.0, user_id="secret", sid="secret"))


MOST = f"{2**64 - 1}-{2**64 - 1}"
"""The last id there can be: nothing comes behind it."""


@pytest.mark.parametrize("after", ["x", "", "1-", "-", 5, str(2**64), f"1-{2**64}", MOST, "9" * 21])
def test_a_place_that_cannot_be_is_refused(redis_url, key, after) -> None:
    with pytest.raises(ValueError, match=r"^after: "):
        next(EventStream(redis_url, key).events(after))


@pytest.mark.parametrize("wrong", ["", "a b", 5, "user:events"])
def test_a_stream_that_cannot_be_is_refused(redis_url, wrong) -> None:
    with pytest.raises(ConfigurationError, match=r"^event_stream: "):
        AuthCache(redis_url, **options_of("user:", wrong))
    if wrong != "user:events":
        with pytest.raises(ConfigurationError, match=r"^event_stream: "):
            EventStream(redis_url, wrong)


def test_a_store_has_no_stream() -> None:
    with pytest.raises(ConfigurationError, match=r"^event_stream: "):
        AuthCache(MemoryStore(), **options_of("user:", "events"))
    with pytest.raises(ConfigurationError, match=r"^event_stream_length: "):
        AuthCache("redis://x", **options_of("user:", "events", event_stream_length=0))
