"""What processes share of a provider's answers, through a real Redis; and what somebody who writes there can do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from faces import Driver, headers, living
from provider import Provider, answering
from test_introspection import introspection, issuer, refused

from authcache_middleware import InvalidTokenError, UnavailableError
from authcache_middleware.testing import ManualClock, MemoryStore

SECRET = "a cache secret of these tests, which nobody else has"


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        provider.rotate("one")
        yield provider


@pytest.fixture
def provider(running) -> Provider:
    running.opaque.clear()
    running.seen.clear()
    return running


def row(user_id: str) -> dict[str, str]:
    return {"id": user_id}


class World:
    """One provider, one Redis, and keys that no other test has."""

    def __init__(self, kind: str, provider: Provider, redis_url: str, prefix: str) -> None:
        self.kind, self.provider, self.store, self.prefix = kind, provider, redis_url, prefix
        self.clock = ManualClock(wall=time.time())

    @contextmanager
    def served(self, *, secret: Any = SECRET, url: str = "", store: Any = None, **options: Any) -> Iterator[Driver]:
        terms = introspection(self.provider, cache_secret=secret)
        terms.url += url
        patient = {"store_timeout": 5.0, "connect_timeout": 5.0, "deadline": 30.0}  # of a busy machine
        said = {"load_user": row, "clock": self.clock, "prefix": self.prefix, **patient, **issuer(self.provider, terms)}
        with living(self.kind, store or self.store, **{**said, **options}) as driver:
            yield driver


@pytest.fixture
def world(kind, provider, redis_url, prefix) -> World:
    return World(kind, provider, redis_url, prefix)


def user(driver: Driver, token: str) -> str:
    return driver("authenticate", headers(token)).user.id


@pytest.fixture
def answers(client, prefix) -> Callable[[], list[bytes]]:
    """The keys of all answers that are shared."""
    return lambda: list(client.scan_iter(f"{prefix.removesuffix('user:')}token:*"))


def test_one_answer_serves_all_who_have_the_secret(world, provider, client, answers) -> None:
    token = provider.hand_out("opaque-token-of-somebody")
    with world.served() as first:
        with world.served() as second:
            assert (user(first, token), user(second, token), provider.questions) == ("1", "1", 1)
            world.clock.advance(59.0)
            with world.served() as third:
                assert (user(third, token), provider.questions) == ("1", 1)
                world.clock.advance(1.0)
                assert (user(third, token), provider.questions) == ("1", 2), "its age goes with it"
    (key,) = answers()
    assert 0 < client.pttl(key) <= 60_000
    everything = b"".join(client.keys(f"{world.prefix.removesuffix('user:')}*")) + client.get(key)
    assert token.encode() not in everything
    assert b'"sub"' in everything, "sealed, not encrypted: as the documentation says"


def test_an_answer_ends_with_exp_in_redis_too(world, provider, client, answers) -> None:
    with world.served() as driver:
        user(driver, provider.hand_out("opaque-token", exp=world.clock.wall() + 20))
        (key,) = answers()
        assert 0 < client.pttl(key) <= 20_000
        with pytest.raises(InvalidTokenError):
            user(driver, provider.hand_out("expired", exp=world.clock.wall() - 20))
        assert answers() == [key]


@pytest.mark.parametrize(
    "other",
    [{"secret": None}, {"secret": "another secret of these tests, as long as it must be"}, {"url": "?tenant=2"}],
    ids=str,
)
def test_who_has_another_secret_or_question_shares_nothing(other, world, provider) -> None:
    token = provider.hand_out("opaque-token")
    with world.served() as first, world.served(**other) as second:
        assert (user(first, token), user(second, token)) == ("1", "1")
    assert sum(provider.seen.values()) == 2


def test_without_a_secret_nothing_of_a_token_is_in_redis(world, provider, client, answers) -> None:
    with world.served(secret=None) as driver:
        user(driver, provider.hand_out("opaque-token"))
    assert answers() == []


def test_refusals_fill_no_redis(world, provider, client, answers) -> None:
    with world.served() as driver:
        for number in range(5):
            assert refused(driver, f"unknown-{number}") == "inactive_token"
    assert answers() == []


def test_whoever_writes_to_redis_makes_nobody_out_of_it(world, provider, client, answers) -> None:
    """Another's answer under one's own key, an edited one, one that was made up, garbage, another type."""
    mine, theirs = provider.hand_out("mine", sub="7"), provider.hand_out("theirs", sub="admin")
    with world.served() as driver:
        user(driver, mine)
        (my_key,) = answers()
        user(driver, theirs)
        (their_key,) = set(answers()) - {my_key}
    good = client.get(my_key)
    forged = [
        client.get(their_key),
        good.replace(b'"sub": "7"', b'"sub": "8"'),
        b"\0" * 32 + good[32:],
        good[:32],
        good[:-1],
        good + b" ",
        b"",
        b"\xff" * 200_000,
    ]
    for number, value in enumerate(forged):
        client.set(my_key, value)
        before = provider.questions
        with world.served() as driver:
            assert user(driver, mine) == "7", number
            assert provider.questions == before + 1, number
    client.delete(my_key)
    client.hset(my_key, "a", "b")
    with world.served() as driver:
        assert user(driver, mine) == "7"
    client.delete(my_key)


def test_an_old_answer_that_is_put_back_is_too_old(world, provider, client, answers) -> None:
    token = provider.hand_out("opaque-token")
    with world.served() as driver:
        user(driver, token)
        (key,) = answers()
        old = client.get(key)
        provider.opaque.clear()
        world.clock.advance(60.0)
        client.set(key, old)
        assert refused(driver, token) == "inactive_token"


def test_an_answer_of_a_service_whose_rules_are_wider_is_read_by_ones_own(world, provider) -> None:
    token = provider.hand_out("opaque-token", aud=["billing"])
    with world.served(audience="billing") as wide:
        assert user(wide, token) == "1"
    with world.served() as narrow:
        assert refused(narrow, token) == "audience"


def test_a_logout_forgets_the_answer_everywhere(world, provider, client, answers) -> None:
    token = provider.hand_out("opaque-token")
    with world.served() as driver:
        with world.served() as other:
            user(driver, token)
            user(other, token)
            entries = driver.there(driver.face.stats).token_entries
            driver("logout", token)
            assert answers() == []
            assert driver.there(driver.face.stats).token_entries == entries - 1
            assert (refused(driver, token), refused(other, token)) == ("revoked", "revoked")


@pytest.mark.parametrize("told", [{"jti": "a"}, {"sid": "a"}, {"iat": 1_700_000_000}], ids=str)
def test_a_logout_holds_where_the_provider_tells_another_service_less_or_more(told, world, provider) -> None:
    """RFC 7662, section 2.2: what it says may depend on who asks."""
    options = {"require_iat": False, "max_token_lifetime": 10 * 366 * 86_400.0}
    plain = {"jti": None, "sid": None, "iat": None}
    for first, second in ((told, plain), (plain, told)):
        token = f"token-{len(provider.opaque)}"
        with world.served(**options) as one, world.served(url="?client=2", **options) as other:
            provider.hand_out(token, **{**plain, **first}, sub=token)  # another user each time
            assert user(one, token) == token
            provider.hand_out(token, **{**plain, **second}, sub=token)
            assert user(other, token) == token
            one("logout", token)
            assert (refused(one, token), refused(other, token)) == ("revoked", "revoked")


def test_a_question_that_is_answered_after_the_logout_lets_nobody_in(world, provider) -> None:
    """The answer is shared again; the record says what became of the token."""
    token = provider.hand_out("opaque-token")
    with world.served() as driver:
        user(driver, token)
        with world.served() as late:
            driver("logout", token)
            assert refused(late, token) == "revoked"
            world.clock.advance(60.0)
            assert refused(late, token) == "revoked"


def test_a_redis_that_is_gone_costs_a_question_and_lets_nobody_in_by_itself(world, provider) -> None:
    store = MemoryStore(world.clock)
    token = provider.hand_out("opaque-token")
    with world.served(store=store, on_outage="load") as driver:
        store.down = True
        assert user(driver, token) == "1"
        assert provider.questions == 1
        with pytest.raises(UnavailableError):
            driver("logout", token)
    with world.served(store=store) as driver, pytest.raises(UnavailableError, match="redis"):
        user(driver, token)


def test_many_at_once_who_find_an_answer_ask_nobody(world, provider) -> None:
    token = provider.hand_out("opaque-token")
    with world.served() as driver:
        user(driver, token)
    with world.served() as driver:
        got = driver.at_once("authenticate", *[headers(token)] * 20)
    assert [each.user.id for each in got] == ["1"] * 20
    assert provider.questions == 1


def test_an_answer_that_repeats_the_token_is_not_shared_and_names_no_revocation(
    world, provider, client, answers
) -> None:
    said = [
        lambda token: {"jti": token},
        lambda token: {"sid": token},
        lambda token: {"jti": token.swapcase(), "sid": f"session of {token}"},
        lambda token: {"token": token},
        lambda token: {"headers": {"authorization": [f"Bearer {token}"]}},
        lambda token: {"tokens": [{token.upper(): True}]},
    ]
    for number, of in enumerate(said):
        token = f"re/pe~at+ed/{number}=="
        provider.hand_out(token, **of(token))
        with world.served() as driver:
            assert user(driver, token) == "1"
            assert answers() == []
            driver("logout", token)
            assert refused(driver, token) == "revoked"
        marks = b"".join(client.hgetall(f"{world.prefix.removesuffix('user:')}revoked:1"))
        assert token.rstrip("=").lower().encode() not in marks.lower()


def test_an_answer_that_repeats_the_token_with_escapes_is_not_shared(world, provider, answers) -> None:
    token = "opaque/token"
    provider.hand_out(token, told=token)
    text = json.dumps(provider.opaque[token])
    for number, (plain, escaped) in enumerate([("/", "\\/"), ("opaque", "\\u006fpaque"), ("told", "told")]):
        provider.answer = answering(text.replace(plain, escaped).encode())
        try:
            with world.served() as driver:
                assert user(driver, token) == "1"
        finally:
            provider.answer = None
        assert answers() == [], number
