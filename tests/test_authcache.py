"""The two faces: logging out, revoking, real clients, and what they need before they start."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
import traceback
import warnings

import fakeredis
import pydantic
import pytest
import redis
import redis.asyncio
from faces import AUDIENCE, ISSUER, SECRET, driven, headers, settings, token_for, wait_until
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.cache import CacheConfig
from redis.sentinel import Sentinel

from authcache_middleware import (
    AsyncAuthCache,
    AuthCache,
    ConfigurationError,
    InvalidTokenError,
    MissingTokenError,
    UnavailableError,
)
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock, MemoryStore, issue_token

FACES = ["async", "blocking"]
DAY = 86_400.0


def load(user_id):
    return {"id": user_id}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture(params=FACES)
def face(request) -> str:
    return request.param


@pytest.fixture
def driver(face, store, clock):
    with driven(face, store, load_user=load, clock=clock) as driver:
        yield driver


def refused(driver, token) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        driver("authenticate", headers(token))
    return caught.value.reason


def test_what_a_request_gets(driver, clock) -> None:
    identity = driver("authenticate", headers(token_for("7", now=clock.wall(), scope="read write", claims={"x": 1})))
    user, auth = identity
    assert (user.identity, user.id, auth.scopes) == ("7", "7", ("read", "write"))
    assert (auth.claims.subject, auth.claims["x"], auth.claims.issuer) == ("7", 1, ISSUER)


def test_a_request_without_a_token(driver) -> None:
    with pytest.raises(MissingTokenError):
        driver("authenticate", [("Host", "example")])


def test_a_logout_ends_this_token_alone(driver, clock) -> None:
    ended, other = token_for(now=clock.wall()), token_for(now=clock.wall())
    driver("authenticate", headers(ended))
    driver("logout", ended)
    assert refused(driver, ended) == "revoked"
    assert driver("authenticate", headers(other)).user.id == "1"


def test_a_logout_before_the_first_request_counts_too(driver, clock) -> None:
    token = token_for(now=clock.wall())
    driver("logout", token)
    assert refused(driver, token) == "revoked"


def test_a_logout_by_iat_ends_every_token_without_jti_of_that_moment(driver, clock) -> None:
    ended = token_for(now=clock.wall(), token_id=None)
    same = token_for(now=clock.wall(), token_id=None, scope="more")
    named = token_for(now=clock.wall())
    later = token_for(now=clock.wall() + 1, token_id=None)
    driver("logout", ended)
    assert refused(driver, ended) == refused(driver, same) == "revoked"
    for token in (named, later):
        driver("authenticate", headers(token))


def test_a_token_that_has_expired_for_everybody_needs_no_logout(driver, clock, store) -> None:
    token = token_for(now=clock.wall(), lifetime=10)
    clock.advance(10 + 60)
    driver("logout", token)
    assert store.calls == []


def test_a_token_that_has_expired_here_is_ended_where_the_leeway_is_larger(face, store, clock) -> None:
    with (
        driven(face, store, load_user=load, clock=clock, leeway=0) as strict,
        driven(face, store, load_user=load, clock=clock, leeway=60) as patient,
    ):
        token = token_for(now=clock.wall(), lifetime=10)
        clock.advance(10 + 59)
        patient("authenticate", headers(token))
        assert refused(strict, token) == "expired"
        strict("logout", token)
        assert refused(patient, token) == "revoked"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_that_is_not_valid_yet_can_be_logged_out(driver, clock, claim) -> None:
    begins = clock.wall() + 3600
    token = token_for(now=clock.wall(), lifetime=7200, claims={claim: begins})
    assert refused(driver, token) == "not_yet_valid"
    driver("logout", token)
    clock.advance(7200)
    assert refused(driver, token) == "revoked"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        "a.b.c",
        issue_token(SECRET[::-1], issuer=ISSUER, audience=AUDIENCE, now=1),
        issue_token(SECRET, issuer="https://other.example", audience=AUDIENCE, now=1),
        issue_token(SECRET, issuer=ISSUER, audience="others", now=1),
    ],
)
def test_a_forged_token_cannot_be_logged_out_even_when_it_has_expired(driver, store, token) -> None:
    with pytest.raises(InvalidTokenError):
        driver("logout", token)
    assert store.calls == []


def test_a_token_that_nothing_names_cannot_be_logged_out(face, store, clock) -> None:
    with driven(face, store, load_user=load, clock=clock, require_iat=False) as driver:
        token = token_for(now=clock.wall(), token_id=None, claims={"iat": None})
        with pytest.raises(ConfigurationError, match=r"^token: .*jti.*iat"):
            driver("logout", token)
        driver("revoke_user", "1")
        assert refused(driver, token) == "revoked"


def test_a_revoked_user_is_out_with_every_token_until_now(driver, clock) -> None:
    before = [token_for(now=clock.wall() - 100, lifetime=3600), token_for(now=clock.wall())]
    other = token_for("2", now=clock.wall())
    driver("authenticate", headers(before[0]))
    driver("revoke_user", "1")
    assert [refused(driver, token) for token in before] == ["revoked"] * 2
    driver("authenticate", headers(other))
    within = token_for(now=clock.wall() + 5)
    assert refused(driver, within) == "revoked"
    clock.advance(6)
    driver("authenticate", headers(token_for(now=clock.wall())))


def test_a_revocation_outlives_every_token_that_it_ends(face, store, clock) -> None:
    with driven(face, store, load_user=load, clock=clock, max_token_lifetime=2 * DAY) as driver:
        longest = token_for(now=clock.wall() + 5, lifetime=2 * DAY)
        single = token_for("2", now=clock.wall() + 5, lifetime=2 * DAY)
        driver("revoke_user", "1")
        driver("logout", single)
        clock.advance(2 * DAY + 9)
        assert refused(driver, longest) == "revoked"
        assert refused(driver, single) == "revoked"
        clock.advance(2)
        assert refused(driver, longest) == "expired"


@pytest.mark.parametrize("leeway", [0.0, 60.0])
def test_a_user_revoked_where_tokens_are_short_is_out_where_they_are_long(face, store, clock, leeway) -> None:
    """The services share the Redis, not the options."""
    with (
        driven(face, store, load_user=load, clock=clock, max_token_lifetime=3600, leeway=0) as short,
        driven(face, store, load_user=load, clock=clock, leeway=leeway) as long,
    ):
        token = token_for(now=clock.wall(), lifetime=30 * DAY)
        short("revoke_user", "1")
        clock.advance(30 * DAY + leeway - 1)
        assert refused(long, token) == "revoked"
        clock.advance(1)
        assert refused(long, token) == "expired"


def test_a_token_logged_out_without_a_leeway_is_out_with_the_largest(face, store, clock) -> None:
    with (
        driven(face, store, load_user=load, clock=clock, max_token_lifetime=3600, leeway=0) as strict,
        driven(face, store, load_user=load, clock=clock, leeway=60) as patient,
    ):
        token = token_for(now=clock.wall(), lifetime=3600)
        strict("logout", token)
        clock.advance(3600 + 59)
        assert refused(patient, token) == "revoked"


def test_a_token_without_iat_stays_logged_out_until_its_own_end(face, store, clock) -> None:
    options = {"require_iat": False, "max_token_lifetime": DAY}
    with driven(face, store, load_user=load, clock=clock, **options) as driver:
        token = token_for(now=clock.wall(), lifetime=DAY, claims={"iat": None})
        driver("logout", token)
        clock.advance(DAY - 1)
        assert refused(driver, token) == "revoked"


def test_the_revocation_is_written_before_the_record_is_deleted(driver, store, clock) -> None:
    token = token_for(now=clock.wall())
    driver("authenticate", headers(token))
    for method, argument, written in (("logout", token, "revoke_id"), ("revoke_user", "1", "revoke_before")):
        store.calls.clear()
        driver(method, argument)
        assert store.calls == [written, "delete"]


@pytest.mark.parametrize("failing", ["revoke_id", "delete"])
def test_a_logout_that_is_not_confirmed_says_so(driver, store, clock, failing) -> None:
    async def down(*_arguments, **_options):
        raise UnavailableError("redis")

    setattr(store, failing, down)
    with pytest.raises(UnavailableError):
        driver("logout", token_for(now=clock.wall()))


def test_claims_are_resolved_as_the_user_is_now(driver, clock) -> None:
    token = token_for(now=clock.wall(), lifetime=60)
    claims = driver("authenticate", headers(token)).auth.claims
    assert driver("resolve", claims).user.id == "1"
    driver("logout", token)
    with pytest.raises(InvalidTokenError, match="revoked"):
        driver("resolve", claims)


def test_claims_whose_time_has_passed_are_not_resolved(driver, clock) -> None:
    claims = driver("authenticate", headers(token_for(now=clock.wall(), lifetime=60))).auth.claims
    clock.advance(64)
    driver("resolve", claims)
    clock.advance(1)
    with pytest.raises(InvalidTokenError, match="expired"):
        driver("resolve", claims)


def test_claims_of_another_issuer_are_not_resolved(face, store, clock, driver) -> None:
    claims = driver("authenticate", headers(token_for(now=clock.wall()))).auth.claims
    with driven(face, store, load_user=load, clock=clock, issuer="https://other.example") as other:
        with pytest.raises(InvalidTokenError, match="issuer"):
            other("resolve", claims)


def test_the_key_of_a_user(driver) -> None:
    assert driver.face.key("42") == "user:42"
    with pytest.raises(ValueError, match=r"^user_id: "):
        driver.face.key("")


def raising(fields):
    raise ValueError(f"{fields['email']} is not as it should be")


class Strict(pydantic.BaseModel):
    email: int


@pytest.mark.parametrize("option", [{"is_active": raising}, {"user_type": raising}, {"user_type": Strict}])
def test_what_the_application_raises_over_a_row_is_503_and_shows_none_of_it(face, store, option, caplog) -> None:
    with driven(face, store, load_user=lambda _user_id: {"email": "ann@example.org"}, **option) as driver:
        with pytest.raises(UnavailableError, match="is_active or user_type") as caught:
            driver.enter()
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "is_active or user_type raised" in caplog.text
    assert "in _judged" in caplog.text
    assert "ann@" not in caplog.text + "".join(traceback.format_exception(caught.value))


# -- real servers and ready clients --------------------------------------------------------------------------------


def ready_client(face: str, url: str, **options):
    return (redis.asyncio.Redis if face == "async" else redis.Redis).from_url(url, **options)


def test_a_ready_client_is_used_and_left_open(face, redis_url, prefix) -> None:
    client = ready_client(face, redis_url, socket_timeout=1)
    with driven(face, client, load_user=load, prefix=prefix) as driver:
        assert driver.enter().user.id == "1"
        driver.close()
        answer = client.get(driver.face.key("1"))
        assert (driver._run(answer) if face == "async" else answer) is not None
        if face == "async":
            driver._run(client.aclose())
        else:
            client.close()


def test_fakeredis_will_do(face, prefix) -> None:
    client = (fakeredis.FakeAsyncRedis if face == "async" else fakeredis.FakeRedis)()
    with driven(face, client, load_user=load, prefix=prefix) as driver:
        token = token_for()
        driver("authenticate", headers(token))
        driver("logout", token)
        assert refused(driver, token) == "revoked"
        driver("revoke_user", "1")
        if face == "async":
            driver._run(client.aclose())


def test_a_hit_is_exactly_one_command_on_the_server(face, redis_url, prefix, client) -> None:
    with driven(face, redis_url, load_user=load, prefix=prefix) as driver:
        driver.enter()
        before = client.info("stats")["total_commands_processed"]
        for _ in range(20):
            driver.enter()
        assert client.info("stats")["total_commands_processed"] - before == 20 + 1  # and the INFO before


def test_a_del_by_any_client_counts(face, redis_url, prefix, client) -> None:
    rows = iter([{"name": "old"}, {"name": "new"}])
    with driven(face, redis_url, load_user=lambda _user_id: next(rows), prefix=prefix) as driver:
        assert [driver.enter().user.name for _ in range(2)] == ["old", "old"]
        client.delete(driver.face.key("1"))
        assert driver.enter().user.name == "new"


def test_the_record_gets_its_ttl(face, redis_url, prefix, client) -> None:
    with driven(face, redis_url, load_user=lambda user_id: None if user_id == "0" else {}, prefix=prefix) as driver:
        driver.enter("1")
        with pytest.raises(InvalidTokenError):
            driver.enter("0")
        assert 3_590_000 < client.pttl(driver.face.key("1")) <= 3_600_000
        assert 29_000 < client.pttl(driver.face.key("0")) <= 30_000


def test_a_password_in_the_url_works_and_is_not_shown(face, redis_url, prefix, client) -> None:
    client.acl_setuser("tester", enabled=True, passwords=["+hunter2"], commands=["+@all"], keys=["*"])
    with driven(face, redis_url.replace("://", "://tester:hunter2@"), load_user=load, prefix=prefix) as driver:
        assert driver.enter().user.id == "1"
        assert "hunter2" not in repr(driver.face)
    with driven(face, redis_url.replace("://", "://tester:wrong@"), load_user=load, prefix=prefix) as driver:
        with pytest.raises(UnavailableError):
            driver.enter()


def test_a_server_that_is_not_there_is_503(face) -> None:
    with driven(face, "redis://127.0.0.1:1", load_user=load) as driver:
        started = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            driver.enter()
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert time.monotonic() - started < 5


# -- what is refused before anything runs --------------------------------------------------------------------------


async def load_later(user_id):
    return {"id": user_id}


class Callable:
    async def __call__(self, user_id):
        return {"id": user_id}


@pytest.mark.parametrize("loader", [load_later, Callable(), AsyncAuthCache.invalidate])
def test_the_blocking_face_refuses_an_async_loader(loader) -> None:
    with pytest.raises(ConfigurationError, match=r"^load_user: .*blocking"):
        AuthCache("redis://localhost", **settings(load_user=loader))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("load_user", None),
        ("load_user", "load"),
        ("keys", "short"),
        ("keys", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"),
        ("keys", []),
        ("algorithms", []),
        ("algorithms", ["none"]),
        ("algorithms", ["HS256", "RS256"]),
        ("algorithms", "HS256"),
        ("issuer", ""),
        ("issuer", 7),
        ("audience", ""),
        ("audience", []),
        ("leeway", -1),
        ("leeway", 61),
        ("leeway", True),
        ("typ", "JWT"),
        ("required", "jti"),
        ("subject_claim", ""),
        ("max_token_lifetime", 0),
        ("max_token_lifetime", float("inf")),
        ("require_iat", "no"),
        ("prefix", "user"),
        ("alias", "A:b"),
        ("ttl", 0),
        ("ttl", -1),
        ("ttl", "3600"),
        ("ttl", True),
        ("ttl", float("nan")),
        ("ttl", float("inf")),
        ("negative_ttl", -1),
        ("loader_timeout", 0),
        ("store_timeout", -0.1),
        ("deadline", 4.25),
        ("deadline", None),
        ("loader_concurrency", 0),
        ("loader_concurrency", 1.5),
        ("loader_concurrency", True),
        ("max_connections", 0),
        ("is_active", "status"),
        ("is_active", load_later),
        ("user_type", "User"),
        ("user_type", load_later),
        ("memory_entries", -1),
        ("memory_entries", True),
        ("memory_entries", 1e3),
        ("memory_ttl", 0),
        ("memory_ttl", float("inf")),
        ("max_staleness", -1),
        ("max_staleness", False),
        ("max_staleness", None),
        ("max_staleness", float("nan")),
        ("max_staleness", 1e-9),
        ("token_entries", -1),
        ("token_bytes", 1.5),
        ("token_bytes", (1 << 40) + 1),
        ("ttl_jitter", -0.1),
        ("ttl_jitter", 0.51),
        ("ttl_jitter", True),
        ("ttl_jitter", float("nan")),
        ("ttl_jitter", "0.1"),
        ("refresh_ahead", 1),
        ("refresh_ahead", None),
        ("revoked_before", ""),
        ("revoked_before", None),
        ("save_revocation", "save"),
        ("wait_replicas", -1),
        ("wait_replicas", True),
        ("wait_replicas", 101),
        ("on_outage", "LOAD"),
        ("on_outage", None),
        ("outage_concurrency", 0),
        ("serve_stale_for", -1),
        ("serve_stale_for", True),
        ("serve_stale_for", float("nan")),
        ("keep_open_for", -1),
        ("keep_open_for", False),
        ("serve_stale_for", 60),  # without memory there is nothing stale to serve
        ("observers", None),
        ("observers", print),
        ("observers", ["log"]),
        ("observers", iter([print])),
    ],
)
@pytest.mark.parametrize("kind", [AsyncAuthCache, AuthCache])
def test_a_bad_option_is_named(kind, option, value) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind("redis://localhost", **{**settings(load_user=load), option: value})
    assert str(caught.value).startswith(f"{option}: ")
    assert (caught.value.argument, isinstance(caught.value, ValueError)) == (option, True)


@pytest.mark.parametrize("option", ["load_user", "keys", "algorithms", "issuer", "audience"])
@pytest.mark.parametrize("kind", [AsyncAuthCache, AuthCache])
def test_an_option_left_out_is_named(kind, option) -> None:
    options = settings(load_user=load)
    del options[option]
    with pytest.raises(ConfigurationError, match=f"^{option}: must be given"):
        kind("redis://localhost", **options)


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="ttll"):
        AuthCache("redis://localhost", **settings(load_user=load, ttll=1))


def cluster_that_reads_from_replicas() -> RedisCluster:
    with warnings.catch_warnings(action="ignore"):  # newer versions of redis-py prefer another name for it
        return RedisCluster("localhost", read_from_replicas=True)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (AuthCache, "localhost:6379"),
        (AuthCache, "http://user:hunter2@localhost"),
        (AuthCache, "redis://user:hunter2@localhost:port"),
        (AuthCache, "redis://user:hunter2@localhost?socket_timeout=soon"),
        (AuthCache, "redis://user:hunter2@localhost?nonsense=1"),
        (AuthCache, "redis://user:hunter2@localhost?decode_responses=true"),
        (AsyncAuthCache, "redis://user:hunter2@localhost?socket_timeout=30&protocol=3"),
        (AsyncAuthCache, "rediss://user:hunter2@localhost/2?timeout=30"),
        (AuthCache, Sentinel([("localhost", 1)]).slave_for("mymaster")),
        (AsyncAuthCache, AsyncSentinel([("localhost", 1)]).slave_for("mymaster")),
        (AuthCache, redis.Redis(protocol=3, cache_config=CacheConfig())),
        (AsyncAuthCache, cluster_that_reads_from_replicas()),
        (AuthCache, None),
        (AuthCache, object()),
        (AuthCache, redis.asyncio.Redis()),
        (AuthCache, redis.Redis(decode_responses=True)),
        (AuthCache, redis.Redis(encoding="latin-1")),
        (AsyncAuthCache, redis.asyncio.Redis(encoding="no such thing")),
        (AsyncAuthCache, redis.Redis()),
        (AsyncAuthCache, redis.asyncio.Redis(decode_responses=True)),
        (AsyncAuthCache, ""),
    ],
)
def test_a_bad_redis_is_named_and_its_password_is_not(kind, source) -> None:
    with pytest.raises(ConfigurationError, match=r"^redis: ") as caught:
        kind(source, **settings(load_user=load))
    # redis-py's errors leave their text out of their repr
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}{caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_blocking_client_without_a_timeout_is_warned_of(redis_url, caplog) -> None:
    with redis.Redis.from_url(redis_url, socket_timeout=None) as client, caplog.at_level(logging.WARNING):
        AuthCache(client, **settings(load_user=load)).close()
    assert "socket_timeout" in caplog.text


@pytest.mark.parametrize("url", ["rediss://localhost", "unix:///tmp/nobody.sock", "redis://:pw@localhost:6379/3"])
@pytest.mark.parametrize("kind", [AsyncAuthCache, AuthCache])
def test_nothing_is_opened_before_the_first_request(kind, url) -> None:
    assert "pw" not in repr(kind(url, **settings(load_user=load)))


def test_the_options_show_in_the_signature() -> None:
    for kind in (AsyncAuthCache, AuthCache):
        parameters = inspect.signature(kind).parameters
        assert next(iter(parameters)) == "redis"
        assert parameters["ttl"].default == 3600.0


def test_context_managers_close(redis_url, prefix) -> None:
    options = settings(load_user=load, prefix=prefix)
    with AuthCache(redis_url, **options) as auth:
        auth.authenticate(headers(token_for()))
        assert auth._story._engines
    assert not auth._story._engines

    async def main() -> None:
        async with AsyncAuthCache(redis_url, **options) as auth:
            await auth.authenticate(headers(token_for()))
            assert auth._engines
        assert not auth._engines

    asyncio.run(main())


def test_a_closed_face_lets_the_threads_of_its_loaders_go() -> None:
    loaders: list[threading.Thread] = []

    def load_here(user_id: str) -> dict:
        loaders.append(threading.current_thread())
        return {"id": user_id}

    async def main() -> None:
        auth = AsyncAuthCache(MemoryStore(ManualClock()), **settings(load_user=load_here))
        await auth.authenticate(headers(token_for()))
        engines = list(auth._engines.values())  # kept, or they would end with what holds them
        assert loaders[0].is_alive()
        await auth.aclose()
        await asyncio.to_thread(wait_until, lambda: not loaders[0].is_alive())
        assert engines

    asyncio.run(main())


def test_a_face_closed_without_use_is_no_trouble() -> None:
    AuthCache("redis://localhost", **settings(load_user=load)).close()
    asyncio.run(AsyncAuthCache("redis://localhost", **settings(load_user=load)).aclose())


def test_a_coroutine_that_suspends_is_not_finished() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        finish(asyncio.sleep(0))
