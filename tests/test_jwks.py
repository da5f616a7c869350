"""Keys that a provider publishes, over real HTTPS, through both faces: what is fetched when, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from faces import Driver, headers, living, wait_until
from provider import Provider, answering, dripping, hanging, jwk_of, trusting

from authcache_middleware import JWKS, AsyncAuthCache, ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.events import KeysFetched
from authcache_middleware.testing import ManualClock, MemoryStore

MANY = 50
REFRESH = 300.0
COOLDOWN = 30.0
DAY = 86_400.0


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=time.time())


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        running.rotate("one")
        yield running


def jwks(provider: Provider, **options: Any) -> JWKS:
    return JWKS(provider.url, **{"ssl_context": trusting(), "timeout": 20.0, **options})


@contextmanager
def served(kind: str, provider: Provider, clock: ManualClock, keys: JWKS | None = None, **options: Any):
    issuer = {"keys": keys or jwks(provider), "algorithms": ["ES256"], "issuer": provider.origin}
    with living(
        kind, MemoryStore(clock), **{"load_user": lambda _: {"id": 1}, "clock": clock, **issuer, **options}
    ) as one:
        yield one


@pytest.fixture
def driver(kind, provider, clock) -> Iterator[Driver]:
    with served(kind, provider, clock) as driver:
        yield driver


def enters(driver: Driver, token: str) -> bool:
    return driver("authenticate", headers(token)).user.id == 1


def refused(driver: Driver, token: str) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        driver("authenticate", headers(token))
    return caught.value.reason


def unavailable(driver: Driver, token: str) -> int:
    with pytest.raises(UnavailableError, match="keys") as caught:
        driver("authenticate", headers(token))
    return caught.value.retry_after


def stats(driver: Driver) -> Any:
    return driver.there(driver.face.stats)


def ended(driver: Driver, count: int) -> None:
    """Wait until so many fetches have ended."""
    wait_until(lambda: stats(driver).key_fetches >= count)


def test_nothing_is_fetched_before_a_token_comes_and_then_once(driver, provider) -> None:
    assert provider.fetches == 0
    assert all(enters(driver, provider.token("one")) for _ in range(3))
    assert provider.fetches == 1


def test_many_at_once_make_one_fetch(driver, provider) -> None:
    go = threading.Event()
    provider.answer = provider.publish_once(go)
    requests = [headers(provider.token("one")) for _ in range(MANY)]
    threading.Timer(0.2, go.set).start()
    assert [identity.user.id for identity in driver.at_once("authenticate", *requests)] == [1] * MANY
    assert provider.fetches == 1


def test_many_with_an_unknown_key_make_one_fetch(driver, provider, clock) -> None:
    enters(driver, provider.token("one"))
    requests = [headers(provider.token(f"unknown-{number}")) for number in range(MANY)]
    answers = driver.at_once("authenticate", *requests)
    assert [getattr(answer, "reason", None) for answer in answers] == ["key"] * MANY
    assert provider.fetches == 2


def test_an_unknown_key_is_not_asked_for_twice_by_one_request(driver, provider) -> None:
    assert refused(driver, provider.token("unknown")) == "key"
    assert provider.fetches == 1


def test_a_new_key_is_taken_after_one_fetch_and_a_removed_one_no_longer(driver, provider, clock) -> None:
    old = provider.token("one")
    assert enters(driver, old)
    provider.rotate("one", "two")
    assert enters(driver, provider.token("two"))
    assert enters(driver, old)
    assert provider.fetches == 2
    provider.rotate("two")
    clock.advance(REFRESH)
    assert enters(driver, old), "a known key does not wait for the renewal"
    ended(driver, 3)
    assert enters(driver, provider.token("two"))
    assert refused(driver, old) == "key", "a remembered token dies with its key"


def test_a_key_that_is_replaced_under_its_name_refuses_what_the_old_one_signed(driver, provider, clock) -> None:
    old = provider.token("one")
    assert enters(driver, old)
    del provider.keys["one"]
    provider.rotate("one")
    new = provider.token("one")
    assert refused(driver, new) == "signature"  # that name is known: nothing is fetched for it
    assert provider.fetches == 1
    clock.advance(REFRESH)
    enters(driver, old)
    ended(driver, 2)
    assert refused(driver, old) == "signature"
    assert enters(driver, new)


def test_a_key_without_a_name_may_be_replaced_too(driver, provider, clock) -> None:
    provider.published = [jwk_of(provider.keys["one"], None)]
    assert enters(driver, provider.token("one", kid=None))
    provider.keys["two"] = provider.keys.pop("one")
    provider.rotate("one")
    provider.published = [jwk_of(provider.keys["one"], None)]
    assert enters(driver, provider.token("one", kid=None))
    assert provider.fetches == 2
    assert refused(driver, provider.token("two", kid=None)) == "signature"


def test_keys_are_renewed_while_tokens_come_and_not_otherwise(driver, provider, clock) -> None:
    token = provider.token("one", lifetime=DAY)
    for count in range(1, 5):
        assert enters(driver, token)
        ended(driver, count)
        assert provider.fetches == count
        clock.advance(10 * REFRESH)
    assert stats(driver).token_entries == 1


def test_an_outage_is_lived_through_with_the_last_good_keys(driver, provider, clock, caplog) -> None:
    """An hour of it: known keys pass, unknown ones are 503, and the provider is asked once in thirty seconds."""
    token = provider.token("one")
    assert enters(driver, token)
    provider.answer = answering(status=500)
    with caplog.at_level(logging.WARNING):
        for step in range(30):
            clock.advance(120.0)
            before = stats(driver).key_fetches
            assert enters(driver, token)
            if provider.fetches > before:
                ended(driver, provider.fetches)
            assert 1 <= unavailable(driver, provider.token(f"unknown-{step}")) <= COOLDOWN
            wait_until(lambda: stats(driver).key_fetches == provider.fetches)
    assert 28 <= provider.fetches <= 1 + 3600 / COOLDOWN
    assert stats(driver).failed_key_fetches == provider.fetches - 1
    assert [record.getMessage() for record in caplog.records if "keys" in record.getMessage()] == [
        "the keys of 127.0.0.1 could not be fetched: status 500"
    ]
    provider.answer = None
    provider.rotate("two")
    clock.advance(COOLDOWN)
    assert enters(driver, provider.token("two"))
    assert refused(driver, token) == "key"


def test_after_max_stale_the_last_good_keys_serve_no_more(kind, provider, clock) -> None:
    with served(kind, provider, clock, jwks(provider, max_stale=600.0)) as driver:
        token = provider.token("one")
        assert enters(driver, token)
        provider.answer = answering(status=500)
        clock.advance(599.0)
        assert enters(driver, token)
        ended(driver, 2)
        clock.advance(1.0)
        assert unavailable(driver, token) >= 1
        clock.advance(COOLDOWN)
        assert unavailable(driver, token) == 2, "nobody can be let in: it is asked for more often"
        provider.answer = None
        clock.advance(2.0)
        assert enters(driver, token)


def test_a_flood_of_unknown_keys_costs_one_fetch_in_thirty_seconds(driver, provider, clock) -> None:
    token = provider.token("one", lifetime=DAY)
    enters(driver, token)
    for number in range(120):
        assert refused(driver, provider.token(f"unknown-{number}")) == "key"
        assert enters(driver, token)
        clock.advance(1.0)
    assert provider.fetches == 1 + 120 / COOLDOWN


def test_a_known_key_waits_for_no_fetch(driver, provider, clock) -> None:
    enters(driver, provider.token("one"))
    go = threading.Event()
    provider.answer = provider.publish_once(go)
    clock.advance(REFRESH)
    assert all(enters(driver, provider.token("one")) for _ in range(20))
    wait_until(lambda: provider.fetches == 2)
    waiting = threading.Thread(target=driver.at_once, args=("authenticate", headers(provider.token("two"))))
    waiting.start()
    assert all(enters(driver, provider.token("one")) for _ in range(20))
    assert stats(driver).key_fetches == 1
    provider.rotate("one", "two")
    go.set()
    waiting.join(60)
    assert enters(driver, provider.token("two"))
    assert provider.fetches == 2, "it has waited for the renewal, which brought its key"


def misbehaviours(provider: Provider) -> dict[str, Any]:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    return {
        "500": answering(status=500),
        "redirect": answering(status=302, Location=provider.url),
        "garbage": answering(b"<html>it works</html>"),
        "compressed": answering(b"\x1f\x8b", Content_Encoding="gzip"),
        "large by its own word": answering(b"{}", Content_Length="50000000"),
        "large": dripping(provider, body, b" " * 1_000_000, every=0),
        "cut off": lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        "not HTTP": lambda handler: handler.wfile.write(b"\0\1\2\3\r\n\r\n"),
    }


@pytest.mark.parametrize("how", misbehaviours(Provider(tls=False)))
def test_an_answer_that_cannot_be_used_is_503_and_costs_no_known_key(how, driver, provider, clock) -> None:
    good = provider.token("one")
    provider.answer = misbehaviours(provider)[how]
    assert unavailable(driver, good) == 1
    assert unavailable(driver, good) == 1, "the next one does not ask again at once"
    assert provider.fetches == 1
    provider.answer = None
    clock.advance(1.0)
    assert enters(driver, good)
    provider.answer = misbehaviours(provider)[how]
    clock.advance(REFRESH)
    assert enters(driver, good)
    ended(driver, 3)
    assert enters(driver, good)
    assert (provider.fetches, stats(driver).failed_key_fetches) == (3, 2)


def slow_ones(provider: Provider) -> dict[str, Any]:
    ok = b"HTTP/1.1 200 OK\r\n"
    return {
        "hang": hanging(provider),
        "headers in drips": dripping(provider, ok + b"X: ", b"x"),
        "body in drips": dripping(provider, ok + b"\r\n{", b" "),
    }


@pytest.mark.parametrize("how", slow_ones(Provider(tls=False)))
def test_a_slow_answer_ends_at_its_deadline(how, kind, provider, clock) -> None:
    with served(kind, provider, clock, jwks(provider, timeout=0.3)) as driver:
        provider.answer = slow_ones(provider)[how]
        answers = driver.at_once("authenticate", *[headers(provider.token("one"))] * 5)
        assert [type(answer) for answer in answers] == [UnavailableError] * 5
        assert provider.fetches <= 1
        assert stats(driver).failed_key_fetches == 1, "it has ended, and not only been left"


def test_a_handshake_that_hangs_ends_at_its_deadline(kind, clock) -> None:
    with Provider(tls=False) as silent:  # which waits for a request, and gets the beginning of a handshake
        silent.url = silent.url.replace("http:", "https:")
        with served(kind, silent, clock, jwks(silent, timeout=0.3)) as driver:
            assert unavailable(driver, silent.token("one")) == 1
            assert stats(driver).failed_key_fetches == 1


def test_a_provider_that_is_not_there_and_one_that_nobody_vouches_for(kind, provider, clock) -> None:
    with served(kind, provider, clock, JWKS(provider.url)) as driver:
        assert unavailable(driver, provider.token("one")) == 1
    assert provider.fetches == 0
    with Provider() as gone:
        pass
    with served(kind, gone, clock) as driver:
        assert unavailable(driver, gone.token("one")) == 1


def test_the_environment_is_not_asked_for_a_proxy(kind, provider, clock, monkeypatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with served(kind, provider, clock) as driver:
        assert enters(driver, provider.token("one"))
    with served(kind, provider, clock, jwks(provider, trust_env=True)) as driver:
        assert unavailable(driver, provider.token("one")) == 1


def test_a_broken_member_is_counted_and_told_of(kind, provider, clock, caplog) -> None:
    events: list[Any] = []
    provider.published += [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"}]
    with served(kind, provider, clock, observers=[events.append]) as driver:
        assert enters(driver, provider.token("one"))
        assert stats(driver).keys_skipped == 1
    assert [(event.outcome, event.skipped) for event in events if isinstance(event, KeysFetched)] == [("changed", 1)]
    assert "1 keys of 127.0.0.1 are broken, and left out" in caplog.text


def test_a_logout_may_need_a_key_too(driver, provider) -> None:
    token = provider.token("one")
    driver("logout", token)
    assert refused(driver, token) == "revoked"
    with pytest.raises(InvalidTokenError):
        driver("logout", provider.token("unknown"))


def test_a_face_that_is_closed_while_keys_are_fetched_is_closed_all_the_same(kind, provider, clock) -> None:
    with served(kind, provider, clock, jwks(provider, timeout=1.0)) as driver:
        enters(driver, provider.token("one"))
        provider.answer = hanging(provider)
        clock.advance(REFRESH)
        enters(driver, provider.token("one"))
        wait_until(lambda: provider.fetches == 2 or stats(driver).failed_key_fetches)
    assert driver.face.stats().failed_key_fetches == 1


def test_another_event_loop_waits_for_the_fetch_of_the_first(provider, clock) -> None:
    with served("async", provider, clock) as driver:
        go, request = threading.Event(), headers(provider.token("one"))
        provider.answer = provider.publish_once(go)
        first = threading.Thread(target=driver.at_once, args=("authenticate", request))
        first.start()
        wait_until(lambda: provider.fetches == 1)

        async def second() -> Any:
            entering = asyncio.create_task(driver.face.authenticate(request))
            await asyncio.sleep(0.05)
            go.set()
            try:
                return await entering
            finally:
                await driver.face.aclose()

        assert asyncio.run(second()).user.id == 1
        first.join(60)
        assert provider.fetches == 1


def test_a_caller_who_gives_up_does_not_end_the_fetch_for_the_others(provider, clock) -> None:
    with served("async", provider, clock) as driver:
        go = threading.Event()
        provider.answer = provider.publish_once(go)

        async def story() -> int:
            leader = asyncio.create_task(driver.face.authenticate(headers(provider.token("one"))))
            while provider.fetches == 0:
                await asyncio.sleep(0.005)
            follower = asyncio.create_task(driver.face.authenticate(headers(provider.token("one"))))
            await asyncio.sleep(0.02)
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            go.set()
            return (await follower).user.id

        assert driver._run(story()) == 1
        assert provider.fetches == 1


@pytest.mark.parametrize(
    ("url", "options", "argument"),
    [
        ("http://id.example/jwks", {}, "url"),
        ("http://127.0.0.1.id.example/jwks", {}, "url"),
        ("ftp://id.example/jwks", {}, "url"),
        ("https://user:secret@id.example/jwks", {}, "url"),
        ("https://id.example/jwks#keys", {}, "url"),
        ("https://id.example\\@evil.example/", {}, "url"),
        ("https:///jwks", {}, "url"),
        ("//id.example/jwks", {}, "url"),
        (b"https://id.example/jwks", {}, "url"),
        ("https://id.example/jwks", {"refresh": 0}, "refresh"),
        ("https://id.example/jwks", {"refresh": True}, "refresh"),
        ("https://id.example/jwks", {"max_stale": 10.0}, "max_stale"),
        ("https://id.example/jwks", {"timeout": float("inf")}, "timeout"),
        ("https://id.example/jwks", {"timeout": "3"}, "timeout"),
        ("https://id.example/jwks", {"max_bytes": 0}, "max_bytes"),
        ("https://id.example/jwks", {"ssl_context": True}, "ssl_context"),
        ("https://id.example/jwks", {"trust_env": 1}, "trust_env"),
    ],
)
def test_what_the_constructor_refuses(url, options, argument) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JWKS(url, **options)
    assert caught.value.argument == argument
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://id.example/jwks?a=b", "http://localhost:80/x", "http://[::1]/x", "http://127.1.2.3/x"]
)
def test_urls_that_are_taken(url) -> None:
    assert JWKS(url).url == url
    assert "jwks" not in repr(JWKS(url))


def test_a_provider_publishes_no_secrets(clock) -> None:
    with pytest.raises(ConfigurationError, match="algorithms"):
        AsyncAuthCache(
            MemoryStore(clock),
            load_user=lambda _: None,
            keys=JWKS("https://id.example/jwks"),
            algorithms=["HS256"],
            issuer=None,
            audience=None,
        )
