"""Sessions on a real server: bounds, what other hands have written, and many logins at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
import redis
from faces import driven, headers, living, token_for, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from proxies import DOWN, StallingProxy
from test_store import BREAKER, target

from authcache_middleware import InvalidTokenError, LoginRefusedError, UnavailableError
from authcache_middleware.redis.scripts import LEAST_SESSION_MARK, MAX_REVOKED_IDS
from authcache_middleware.redis.store import RedisStore
from authcache_middleware.runtime import finish
from authcache_middleware.testing import MemoryStore
from authcache_middleware.testing.contract_of_sessions import begun

LATER = 4_000_000_000
DAY = 86_400
FOREIGN = [
    b"",
    b"\xff\xfe",
    b"1700000000",
    b"soon never {}",
    b"-5 4000000000 {}",
    b"1 2",
    b"\x00" * 300,
    b" 1 4000000000 {}",
]


@pytest.fixture
def other(every_redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(every_redis_url) as client:
        yield client


@pytest.fixture
def store(every_redis_url: str) -> Iterator[RedisStore]:
    store = target(every_redis_url, asynchronous=False).open(BREAKER).store
    yield store
    finish(store.aclose())


@pytest.fixture
def key(prefix: str, other) -> Iterator[str]:
    yield f"{prefix}1"
    other.delete(f"{prefix}1")


def test_the_key_lives_as_long_as_its_last_session_and_no_longer(store, key, other) -> None:
    now = int(time.time())
    for mark, seconds, longest in (("s:one", 500, 500), ("s:two", 100, 500), ("s:three", 900, 900)):
        finish(begun(store, key, mark, expires_s=now + seconds))
        assert other.ttl(key) in range(longest - 30, longest + 2)


@pytest.mark.parametrize("value", FOREIGN)
def test_a_session_that_cannot_be_read_lets_nobody_in(store, key, other, value) -> None:
    finish(begun(store, key, "s:good"))
    other.hset(key, "+s:odd", value)
    other.hset(key, b"+\xff\xff", value)
    assert set(finish(store.revocations(key)).sessions) == {"s:good"}


def test_the_name_of_a_session_that_is_no_text_is_nobody_s(store, key, other) -> None:
    other.hset(key, b"+s:\xff", b"1700000000000 4000000000 {}")
    assert finish(store.revocations(key)).sessions == {}
    assert finish(store.sessions(key)) == {}


@pytest.mark.parametrize("value", FOREIGN)
def test_one_that_cannot_be_read_is_the_first_to_go(store, key, other, value) -> None:
    """It might have been anybody's: its tokens are not to go on uncounted."""
    finish(begun(store, key, "s:good"))
    other.hset(key, "+s:odd", value)
    assert finish(begun(store, key, "s:new", most=2)).ended == ("s:odd",)
    held = finish(store.revocations(key))
    assert (set(held.sessions), set(held.ids)) == ({"s:good", "s:new"}, {"s:odd"})
    other.hset(key, "+s:odd2", value)
    finish(store.revoke_before(key, lifetime=DAY, leeway=0))
    held = finish(store.revocations(key))
    assert (held.sessions, set(held.ids)) == ({}, {"s:odd", "s:odd2", "s:good", "s:new"})
    assert other.ttl(key) > 0


def test_a_session_whose_own_value_cannot_be_read_begins_anew(store, key, other) -> None:
    other.hset(key, "+s:one", b"odd")
    said = finish(begun(store, key, "s:one", expires_s=LATER))
    assert said.expires_s == LATER
    assert said.created_ms > time.time() * 1000 - 60_000


def test_details_that_cannot_be_read_are_none(store, key, other, redis_url, prefix) -> None:
    with driven("blocking", redis_url, load_user=dict, prefix=prefix) as driver:
        with redis.Redis.from_url(redis_url) as client:
            for number, details in enumerate((b"", b"[", b"[1]", b'{"label":5}', b'{"label":"\xff"}', b"[" * 100_000)):
                name = prefix.replace("user:", "revoked:") + "1"
                client.hset(name, f"+s:{number}", b"1 4000000000 " + details)
            client.expire(name, 60)
        sessions = driver("sessions", "1")
    assert [(session.sid, session.label) for session in sessions] == [(str(number), None) for number in range(6)]


@pytest.mark.parametrize("lifetime", [LEAST_SESSION_MARK, 61 * DAY])
def test_marks_that_go_leave_a_cutoff_at_the_time_of_their_ending(store, key, other, lifetime) -> None:
    """And no later, however long they would have lived: those who are logged in go on."""
    now = int(time.time())
    # ended one and two days ago, and a year's worth of others
    other.hset(key, "s:first", f"{now + lifetime - 2 * DAY} {now - 2 * DAY + 5}")
    other.hset(key, "s:second", f"{now + lifetime - DAY} {now - DAY + 5}")
    for number in range(MAX_REVOKED_IDS - 1):
        other.hset(key, f"s:{number}", f"{now + lifetime} {now}")
    finish(begun(store, key, "s:here"))
    held = finish(store.revocations(key))
    assert (len(held.ids), held.before_s) == (MAX_REVOKED_IDS, now - 2 * DAY + 5)
    assert "s:first" not in held.ids
    finish(begun(store, key, "s:there", most=1, leeway=9))
    held = finish(store.revocations(key))
    assert (len(held.ids), held.before_s) == (MAX_REVOKED_IDS, now - DAY + 5)
    assert "s:here" in held.ids


def test_marks_of_other_hands_are_given_a_cutoff_that_stays(store, key, other) -> None:
    """The latest that each can need, once and for all: nobody waits for it for ever."""
    now = int(time.time())
    for number in range(MAX_REVOKED_IDS):
        other.hset(key, mapping={f"s:{number}": now + 61 * DAY, f"t:{number}": now + DAY})
    other.hset(key, "s:5", now + LEAST_SESSION_MARK - DAY)
    finish(store.revoke_id(key, "s:one", lifetime=61 * DAY, leeway=5))
    held = finish(store.revocations(key))
    assert (len(held.ids), held.before_s) == (2 * MAX_REVOKED_IDS, now - DAY + 60)
    first = other.hgetall(key)
    cutoffs = [int(value.split()[1]) - now for name, value in first.items() if name[1:2] == b":"]
    assert set(cutoffs) <= set(range(120))
    finish(store.revoke_id(key, "s:one", lifetime=61 * DAY, leeway=5))
    assert {**first, b"s:one": b""} == {**other.hgetall(key), b"s:one": b""}


def test_a_mark_that_cannot_be_read_is_not_lost_for_nothing(store, key, other) -> None:
    """Where it has to go, everything until now goes with it."""
    for number in range(MAX_REVOKED_IDS):
        other.hset(key, f"s:{number}", "odd")
    finish(store.revoke_id(key, "s:one", lifetime=LEAST_SESSION_MARK + DAY, leeway=90))
    assert other.hlen(key) == MAX_REVOKED_IDS + 1  # with the cutoff
    assert int(other.hget(key, "before")) - time.time() == pytest.approx(60, abs=30)


def test_a_token_that_was_a_session_is_remembered_until_it_would_have_ended(store, key) -> None:
    """Who has many short ones is not logged out for it."""
    now = int(time.time())
    finish(begun(store, key, "t:one", expires_s=now + 600))
    finish(begun(store, key, "t:two", expires_s=now + 600, most=1))
    assert finish(store.revocations(key)).ids["t:one"] - now in range(700, 760)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("begin"),
            st.sampled_from(["s:a", "s:b", "s:c", "t:a", "t:d"]),
            st.sampled_from([400, 100_000]),
            st.integers(1, 3),
            st.booleans(),
        ),
        st.tuples(st.just("id"), st.sampled_from(["s:a", "s:b", "t:a", "t:d", "i:1"]), st.sampled_from([100, 900])),
        st.tuples(st.just("before"), st.sampled_from([-1, -1, 60])),
    ),
    max_size=12,
)


@given(operations=OPERATIONS)
@settings(max_examples=60)
def test_the_store_in_memory_does_the_same(redis_url, operations) -> None:
    key, real, double = (
        f"same:{time.time_ns()}",
        target(redis_url, asynchronous=False).open(BREAKER).store,
        MemoryStore(),
    )
    before = math.floor(time.time())
    try:
        for operation in operations:
            time.sleep(0.001)  # which of two is older is told by the millisecond
            assert done(real, key, operation) == done(double, key, operation), operation
            assert seen(real, key, before) == seen(double, key, before), operation
    finally:
        finish(real.delete(key))
        finish(real.aclose())


def done(store, key, operation):
    match operation:
        case ("begin", mark, seconds, most, ends_oldest):
            expires_s = math.floor(time.time()) // 100 * 100 + seconds
            said = finish(
                begun(store, key, mark, expires_s=expires_s, most=most, ends_oldest=ends_oldest, lifetime=999)
            )
            return getattr(said, "reason", None), getattr(said, "ended", None)
        case ("id", mark, lifetime):
            finish(store.revoke_id(key, mark, lifetime=lifetime, leeway=5))
        case ("before", leeway):
            finish(store.revoke_before(key, lifetime=900, leeway=leeway))
    return None


def seen(store, key, before):
    held = finish(store.revocations(key))
    # in steps of 100 seconds: the two are not asked at one moment
    return (
        held.before_s is not None,
        {mark: (until - before) // 100 for mark, until in held.ids.items()},
        {mark: (ends - before) // 100 for mark, ends in held.sessions.items()},
        finish(store.sessions(key)).keys(),
    )


# -- many at once

MOST = 3
LOGINS = 48


@pytest.fixture
def faces(redis_url, prefix) -> Iterator[dict]:
    """Eight clients of one server, each with its connections, for each way of being full."""
    with ExitStack() as opened:
        yield {
            rule: [
                opened.enter_context(
                    driven(
                        "blocking", redis_url, load_user=lambda user_id: {"id": user_id}, prefix=prefix,
                        max_sessions=MOST, on_max_sessions=rule, require_session=True, store_timeout=5.0,
                        connect_timeout=5.0, deadline=30.0,
                    )
                )
                for _ in range(8)
            ]
            for rule in ("end_oldest", "refuse")
        }  # fmt: skip


def at_once(drivers, user: str, watch) -> tuple[list[str], list[str]]:
    """The tokens that were put on record, and those that were not; meanwhile somebody counts."""
    tokens = [token_for(user, claims={"sid": f"{user}-{number}"}) for number in range(LOGINS)]
    over, counted = threading.Event(), []

    def count() -> None:
        while not over.is_set():
            counted.append(len(watch("sessions", user)))

    def login(number: int) -> bool:
        try:
            drivers[number % len(drivers)]("login", user, token=tokens[number])
        except LoginRefusedError:
            return False
        return True

    counter = threading.Thread(target=count)
    counter.start()
    try:
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(login, range(LOGINS)))
    finally:
        over.set()
        counter.join()
    assert counted
    assert max(counted) <= MOST
    begun = [token for token, answer in zip(tokens, answers, strict=True) if answer]
    return begun, [token for token in tokens if token not in begun]


def may_enter(driver, token: str) -> bool:
    try:
        driver("authenticate", headers(token))
    except InvalidTokenError:
        return False
    return True


def test_however_many_log_in_at_once_so_many_are_in(faces) -> None:
    drivers = faces["end_oldest"]
    begun, refused = at_once(drivers, "1", drivers[-1])
    assert (len(begun), refused) == (LOGINS, [])
    on_record = {session.sid for session in drivers[0]("sessions", "1")}
    inside = [number for number, token in enumerate(begun) if may_enter(drivers[number % 8], token)]
    assert len(on_record) == MOST
    assert {f"1-{number}" for number in inside} == on_record


def test_or_so_many_are_let_in_and_no_more(faces) -> None:
    drivers = faces["refuse"]
    begun, refused = at_once(drivers, "2", drivers[-1])
    assert len(begun) == MOST
    assert all(may_enter(drivers[0], token) for token in begun)
    assert not any(may_enter(drivers[1], token) for token in refused)


# -- what a memory that hears late knows


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_who_has_just_logged_in_is_refused_by_no_memory(kind, server, prefix) -> None:
    """It asks Redis before it says no; who is known to it is let in all the while."""
    options = {"load_user": lambda user_id: {"id": user_id}, "prefix": prefix, "require_session": True}
    first, second = (token_for("1", claims={"sid": sid}) for sid in ("first", "second"))
    with (
        StallingProxy(server.port) as proxy,
        driven("blocking", server.url, **options) as near,
        living(kind, proxy.url, max_staleness=4.0, store_timeout=0.5, **options) as far,
    ):
        near("login", "1", token=first)

        def is_in_memory() -> bool:
            far("authenticate", headers(first))
            return far.there(lambda: far.face.recall(headers(first))) is not None

        wait_until(is_in_memory)
        proxy.stall(DOWN)
        near("login", "1", token=second)
        with pytest.raises(UnavailableError):
            far("authenticate", headers(second))
        assert far.there(lambda: far.face.recall(headers(first))) is not None
        proxy.resume()
        assert wait_until(lambda: entered(far, second)).user.id == "1"


def entered(driver, token: str):
    with suppress(UnavailableError):
        return driver("authenticate", headers(token))
