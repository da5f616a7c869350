"""Opaque tokens over real HTTPS, through both faces: who is asked when, what is believed, and what ends them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from faces import Driver, headers, living, wait_until
from provider import CLIENT, Provider, answering, dripping, hanging, trusting

from authcache_middleware import ConfigurationError, Introspection, InvalidTokenError, Issuer, UnavailableError
from authcache_middleware.testing import ManualClock, MemoryStore, issue_token

MANY = 40
OTHER_SECRET = "the other issuer's own secret, of more than 32 bytes"


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


def introspection(provider: Provider, **options: Any) -> Introspection:
    given = {"client_id": CLIENT[0], "client_secret": CLIENT[1], "ssl_context": trusting(), "timeout": 20.0}
    return Introspection(provider.introspection_url, **{**given, **options})


def issuer(provider: Provider, terms: Introspection | None, **options: Any) -> dict[str, Any]:
    keys = {"keys": provider.keys["one"].public_key(), "algorithms": ["ES256"], "audience": "orders"}
    return {**keys, "issuer": provider.origin, "introspection": terms, **options}


@contextmanager
def served(kind: str, provider: Provider, clock: ManualClock, terms: Introspection | None = None, **options: Any):
    store = options.pop("store", None) or MemoryStore(clock)
    said = {"load_user": lambda _: {"id": 1}, "clock": clock, **issuer(provider, terms or introspection(provider))}
    with living(kind, store, **{**said, **options}) as driver:
        yield driver


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


def unavailable(driver: Driver, token: str) -> str:
    with pytest.raises(UnavailableError) as caught:
        driver("authenticate", headers(token))
    return caught.value.reason


def stats(driver: Driver) -> Any:
    return driver.there(driver.face.stats)


# Who is asked


def test_an_opaque_token_is_asked_about_once_and_enters(driver, provider) -> None:
    token = provider.hand_out("opaque.1", scope="read write", client_id="app")
    identity = driver("authenticate", headers(token))
    assert (identity.user.identity, identity.auth.scopes) == ("1", ("read", "write"))
    assert identity.auth.claims["client_id"] == "app"
    assert "iss" not in identity.auth.claims, "the claims are those of the answer"
    assert all(enters(driver, token) for _ in range(3))
    assert provider.forms == [{"token": token, "token_type_hint": "access_token"}]
    assert (stats(driver).introspections, stats(driver).token_entries) == (1, 1)
    assert token not in repr(driver.face) + repr(identity.auth)


def test_a_jwt_is_verified_and_nobody_is_asked_about_it(driver, provider) -> None:
    assert enters(driver, provider.token("one"))
    assert refused(driver, provider.token("two", kid="one")) == "signature"
    assert refused(driver, "e30.e30.AA") == "algorithm"
    assert provider.questions == 0


def test_what_is_no_jwt_is_opaque(driver, provider) -> None:
    tokens = ["opaque", "a.b", "a.b.c.d.e", "AAA.e30.AA", "a+/b==", "W10.e30.AA", "e30", "ew.e30.AA"]
    assert [refused(driver, token) for token in tokens] == ["inactive_token"] * len(tokens)
    assert [form["token"] for form in provider.forms] == tokens


def test_what_may_be_a_jwt_is_shown_to_nobody_however_it_is_written(driver, provider) -> None:
    """It may be another issuer's, encrypted or broken on its way."""
    encrypted = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA"
    twice = "eyJhIjoxLCJhIjoyfQ.e30.AA"
    for token in [encrypted, twice, "e30.e30.AB", "e31.e30.AA", "e30.e30", "e30.", "e30.a+/b.AA=="]:
        assert refused(driver, token) in {"malformed", "header"}
        with pytest.raises(InvalidTokenError):
            driver("logout", token)
    with pytest.raises(InvalidTokenError):
        driver("logout", "e30=.e30=.AA==")
    assert provider.questions == 0


def test_without_introspection_an_opaque_token_is_refused_as_ever(kind, provider, clock) -> None:
    with served(kind, provider, clock, introspection=None) as driver:
        assert refused(driver, provider.hand_out("opaque")) == "malformed"
    assert provider.questions == 0


def test_without_keys_only_opaque_tokens_enter(kind, provider, clock) -> None:
    with served(kind, provider, clock, keys=None, algorithms=()) as driver:
        assert enters(driver, provider.hand_out("opaque"))
        assert refused(driver, provider.token("one")) == "algorithm"
        assert refused(driver, issue_token(OTHER_SECRET)) == "algorithm"


def test_another_spelling_of_the_header_asks_nothing(driver, provider) -> None:
    token = provider.hand_out("opaque")
    for credentials in (f"Bearer {token}", f"bearer {token}", f"BEARER   {token}", f"Bearer {' ' * 50}{token}"):
        assert driver("authenticate", [("Authorization", credentials)]).user.id == 1
    assert provider.questions == 1
    assert stats(driver).token_entries == 2


def test_what_can_be_no_token_is_asked_about_by_nobody(driver, provider) -> None:
    for token in ["x" * 8193, "a b", "a\nb", "ä", ""]:
        with pytest.raises(InvalidTokenError):
            driver("logout", token)
    assert provider.questions == 0


# What is believed


def test_only_true_is_active_and_what_is_no_answer_is_503(driver, provider) -> None:
    for number, active in enumerate(["true", 1, 1.0, None, [], {"a": 1}, "false", 0]):
        provider.hand_out(f"token-{number}")
        provider.opaque[f"token-{number}"]["active"] = active
        assert unavailable(driver, f"token-{number}") == "introspection"


WRONG = {
    "no sub": ({"sub": None}, "subject"),
    "an odd sub": ({"sub": ["1"]}, "subject"),
    "of another issuer": ({"iss": "https://evil.example"}, "issuer"),
    "for another audience": ({"aud": ["billing"]}, "audience"),
    "for nobody named": ({"aud": None}, "audience"),
    "expired": ({"exp": 1000, "iat": 900}, "expired"),
    "exp in a text": ({"exp": "4102444800"}, "claims"),
    "not yet": ({"nbf": time.time() + 900}, "not_yet_valid"),
    "of the future": ({"iat": time.time() + 900}, "not_yet_valid"),
    "without iat": ({"iat": None}, "claims"),
    "without iat and exp": ({"iat": None, "exp": None}, "claims"),
    "lives too long": ({"exp": time.time() + 40 * 86_400}, "lifetime"),
    "issued too long ago, without exp": ({"iat": time.time() - 31 * 86_400, "exp": None}, "expired"),
    "an odd jti": ({"jti": 7}, "claims"),
    "an odd scope": ({"scope": ["read"]}, "claims"),
    "an odd client": ({"client_id": 7}, "claims"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, "claims"),
    "DPoP": ({"token_type": "DPoP"}, "typ"),
    "a refresh token": ({"token_type": "refresh_token"}, "typ"),
    "a refresh token, said elsewhere": ({"token_use": "refresh_token"}, "typ"),
    "an ID token": ({"typ": "ID"}, "typ"),
    "an odd type": ({"token_type": 1}, "typ"),
}  # fmt: skip


def test_active_is_not_enough(driver, provider) -> None:
    tokens = {
        what: provider.hand_out(f"token-{number}", **said) for number, (what, (said, _)) in enumerate(WRONG.items())
    }
    assert {what: refused(driver, token) for what, token in tokens.items()} == {
        what: reason for what, (_, reason) in WRONG.items()
    }
    kept = [token for what, token in tokens.items() if WRONG[what][1] not in ("expired", "not_yet_valid")]
    before = provider.questions
    assert "not raised" not in [refused(driver, token) for token in kept]
    assert provider.questions == before, "a refusal is kept"


def test_what_may_be_left_out_or_said(driver, provider) -> None:
    for number, said in enumerate(
        [
            {"iss": provider.origin},
            {"aud": ["billing", "orders"]},
            {"token_type": None, "token_use": "access_token"},
            {"token_type": "bearer", "typ": "Bearer"},
            {"jti": None},
            {"exp": None},
            {"nbf": time.time() - 1},
        ]
    ):
        assert enters(driver, provider.hand_out(f"token-{number}", **said))


def test_an_audience_may_be_waived_and_is_looked_at_where_it_is_said(kind, provider, clock) -> None:
    with served(kind, provider, clock, introspection(provider, require_audience=False)) as driver:
        assert enters(driver, provider.hand_out("without", aud=None))
        assert refused(driver, provider.hand_out("other", aud="billing")) == "audience"


def test_claims_that_are_required_are_required_of_answers(kind, provider, clock) -> None:
    with served(kind, provider, clock, required=["exp", "tenant"]) as driver:
        assert enters(driver, provider.hand_out("good", tenant="a"))
        assert refused(driver, provider.hand_out("no-tenant")) == "claims"
        assert refused(driver, provider.hand_out("no-exp", tenant="a", exp=None)) == "claims"


# For how long


def test_an_answer_is_asked_for_again_after_its_ttl(driver, provider, clock) -> None:
    token = provider.hand_out("token")
    assert enters(driver, token)
    provider.opaque.clear()
    clock.advance(59.0)
    assert enters(driver, token)
    clock.advance(1.0)
    assert refused(driver, token) == "inactive_token"
    assert provider.questions == 2


def test_an_answer_is_never_kept_past_exp(driver, provider, clock) -> None:
    token = provider.hand_out("token", exp=clock.wall() + 30)
    assert enters(driver, token)
    clock.advance(29.0)
    assert enters(driver, token)
    assert provider.questions == 1
    clock.advance(2.0)
    assert enters(driver, token), "the provider's clock may be behind, by the leeway"
    assert enters(driver, token)
    assert provider.questions == 3, "it was asked each time"
    clock.advance(5.0)
    assert refused(driver, token) == "expired"


def test_an_answer_is_not_used_by_a_clock_that_was_set_back(driver, provider, clock) -> None:
    token = provider.hand_out("token", iat=clock.wall() - 7000)
    assert enters(driver, token)
    clock._wall -= 3600.0
    provider.opaque.clear()
    assert refused(driver, token) == "inactive_token"


def test_a_refusal_ends_what_was_said_before_for_a_clock_that_was_set_back_too(driver, provider, clock) -> None:
    token = provider.hand_out("token")
    assert enters(driver, token)
    clock.advance(60.0)
    provider.opaque.clear()
    assert refused(driver, token) == "inactive_token"
    clock._wall -= 59.0
    assert refused(driver, token) == "inactive_token"


def test_a_refusal_is_kept_for_a_short_time(driver, provider, clock) -> None:
    assert refused(driver, "token") == "inactive_token"
    provider.hand_out("token")
    clock.advance(9.0)
    assert refused(driver, "token") == "inactive_token"
    clock.advance(1.0)
    assert enters(driver, "token")


def test_with_ttls_of_nothing_each_request_asks(kind, provider, clock) -> None:
    with served(kind, provider, clock, introspection(provider, cache_ttl=0, negative_ttl=0)) as driver:
        token = provider.hand_out("token")
        assert enters(driver, token)
        assert enters(driver, token)
        provider.opaque.clear()
        assert refused(driver, token) == "inactive_token"
        provider.hand_out("token")
        assert enters(driver, token)
        assert provider.questions == 4
        assert stats(driver).token_entries == 0


# Many at once, and a provider that fails


def test_many_at_once_ask_once(driver, provider) -> None:
    go = threading.Event()
    provider.answer = provider.publish_once(go)
    token = provider.hand_out("token")
    threading.Timer(0.2, go.set).start()
    answers = driver.at_once("authenticate", *[headers(token)] * MANY)
    assert [answer.user.id for answer in answers] == [1] * MANY
    assert provider.questions == 1


def test_only_so_many_are_asked_about_at_once_and_the_others_wait(kind, provider, clock) -> None:
    most, running, lock = [0], [0], threading.Lock()

    def count(handler) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        provider.opaque[provider.forms[-1]["token"]] = {}
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b'{"active": false}')

    provider.answer = count
    with served(kind, provider, clock, introspection(provider, concurrency=2)) as driver:
        answers = driver.at_once("authenticate", *[headers(f"token-{number}") for number in range(12)])
    assert [answer.reason for answer in answers] == ["inactive_token"] * 12
    assert (most[0], provider.questions) == (2, 12)


def test_who_finds_no_place_in_time_gets_503_and_known_tokens_pass(kind, provider, clock) -> None:
    with served(kind, provider, clock, introspection(provider, concurrency=1, timeout=0.4)) as driver:
        token = provider.hand_out("token")
        assert enters(driver, token)
        provider.answer = hanging(provider)
        waiting = threading.Thread(
            target=driver.at_once, args=("authenticate", *[headers(f"unknown-{number}") for number in range(5)])
        )
        waiting.start()
        wait_until(lambda: provider.questions == 2)
        assert all(enters(driver, token) for _ in range(20))
        waiting.join(60)
        assert provider.questions <= 3
        provider.answer = None
        clock.advance(1.0)
        assert refused(driver, "unknown-0") == "inactive_token"


def misbehaviours(provider: Provider) -> dict[str, Any]:
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    good = b'{"active": true, "sub": "1", "aud": "orders", "iat": 1700000000, "exp": 1700001000}'
    return {
        "500 with an answer": answering(good, status=500),
        "401": answering(b"{}", status=401),
        "redirect": answering(status=307, Location=provider.introspection_url),
        "garbage": answering(b"<html>it works</html>"),
        "a list": answering(b"[true]"),
        "active twice": answering(b'{"active": false, "active": true, "sub": "1"}'),
        "nothing": answering(b"{}"),
        "large by its own word": answering(b"{}", Content_Length="50000000"),
        "large": dripping(provider, ok, b" " * 1_000_000, every=0),
        "cut off": lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        "compressed": answering(b"\x1f\x8b", Content_Encoding="gzip"),
        "not HTTP": lambda handler: handler.wfile.write(b"\0\1\2\3\r\n\r\n"),
        "hang": hanging(provider),
        "drips": dripping(provider, ok + b"{", b" "),
    }


@pytest.mark.parametrize("how", misbehaviours(Provider(tls=False)))
def test_no_answer_is_503_and_never_401(how, kind, provider, clock) -> None:
    timeout = 0.3 if how in ("hang", "drips") else 20.0
    with served(kind, provider, clock, introspection(provider, timeout=timeout)) as driver:
        provider.answer = misbehaviours(provider)[how]
        token = provider.hand_out("token")
        assert unavailable(driver, token) == "introspection"
        assert unavailable(driver, token) == "introspection"
        assert provider.questions == 1, "the next one does not ask again at once"
        assert stats(driver).failed_introspections == 1
        provider.answer = None
        clock.advance(1.0)
        assert enters(driver, token)


def test_a_client_that_the_provider_does_not_know_is_503_and_is_told_of_once(kind, provider, clock, caplog) -> None:
    with served(kind, provider, clock, introspection(provider, client_secret="another")) as driver:
        token = provider.hand_out("a-token-of-somebody")
        for _ in range(3):
            assert unavailable(driver, token) == "introspection"
            clock.advance(1.0)
    assert caplog.text.count("was asked about a token, and gave no answer: status 401") == 1
    assert token not in caplog.text
    assert "another" not in caplog.text


def test_a_provider_that_is_not_there_is_503(kind, clock) -> None:
    with Provider() as gone:
        gone.rotate("one")
    with served(kind, gone, clock) as driver:
        assert unavailable(driver, "token") == "introspection"
        assert enters(driver, gone.token("one")), "JWTs need nobody"


def test_a_caller_who_gives_up_does_not_end_it_for_the_others(provider, clock) -> None:
    with served("async", provider, clock) as driver:
        go = threading.Event()
        provider.answer = provider.publish_once(go)
        request = headers(provider.hand_out("token"))

        async def story() -> int:
            leader = asyncio.create_task(driver.face.authenticate(request))
            while provider.questions == 0:
                await asyncio.sleep(0.005)
            follower = asyncio.create_task(driver.face.authenticate(request))
            await asyncio.sleep(0.02)
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            go.set()
            return (await follower).user.id

        assert driver._run(story()) == 1
        assert provider.questions == 1


# What ends a token


@pytest.mark.parametrize("said", [{}, {"jti": None}, {"jti": None, "iat": None}, {"exp": None}], ids=str)
def test_a_logout_ends_the_token_and_no_other(said, kind, provider, clock) -> None:
    store = MemoryStore(clock)
    options = {"store": store, "require_iat": False}
    with served(kind, provider, clock, **options) as driver, served(kind, provider, clock, **options) as other:
        token, kept = provider.hand_out("token", **said), provider.hand_out("other", iat=time.time() - 500)
        for each in (driver, other):
            assert enters(each, token)
            assert enters(each, kept)
        driver("logout", token)
        for each in (driver, other):
            assert refused(each, token) == "revoked", "though it is remembered, and the provider calls it active"
            assert enters(each, kept)
        clock.advance(61.0)
        assert refused(driver, token) == "revoked"


@pytest.mark.parametrize("said", [{}, {"iat": None}, {"jti": None}, {"sid": "OPQ-abcDEF"}], ids=str)
def test_a_logout_ends_all_spellings_of_a_provider_without_case(said, kind, provider, clock) -> None:
    spellings = ["OPQ-abcDEF", "opq-ABCdef", "opq-abcdef="]
    for ended in spellings:
        with served(kind, provider, clock, require_iat=False) as driver:
            for token in spellings:
                provider.hand_out(token, **{"jti": spellings[0], **said})
                assert enters(driver, token)
            driver("logout", ended)
            assert [refused(driver, token) for token in spellings] == ["revoked"] * 3


def test_an_answer_with_neither_iat_nor_exp_is_refused(kind, provider, clock) -> None:
    """It would be good again when its logout is forgotten."""
    with served(kind, provider, clock, require_iat=False) as driver:
        assert refused(driver, provider.hand_out("opaque", iat=None, exp=None)) == "claims"


def test_a_logout_is_remembered_for_as_long_as_any_service_may_take_the_token(kind, provider, clock) -> None:
    store = MemoryStore(clock)
    short = {"store": store, "max_token_lifetime": 60.0}
    with served(kind, provider, clock, **short) as brief, served(kind, provider, clock, store=store) as usual:
        for seconds in (0.0, 1000.0):  # the second is too old for the first service
            token = provider.hand_out(f"opaque-{seconds}", iat=clock.wall() - 1 - seconds, exp=None)
            assert enters(usual, token)
            brief("logout", token)
            for _ in range(3):
                assert refused(usual, token) == "revoked"
                clock.advance(86_400.0)


def test_answers_are_kept_by_their_bytes(kind, provider, clock) -> None:
    with served(kind, provider, clock, token_bytes=50_000, token_entries=1000) as driver:
        tokens = [provider.hand_out(f"opaque-{number}", told="x" * 20_000) for number in range(10)]
        assert all(enters(driver, token) for token in tokens)
        assert stats(driver).token_entries == 2
        assert enters(driver, tokens[-1])
        assert provider.questions == 10
        assert enters(driver, tokens[0])
        assert provider.questions == 11, "the introspector has forgotten it too"


def test_a_logout_needs_no_provider_where_the_answer_is_known(driver, provider, clock) -> None:
    token = provider.hand_out("token")
    assert enters(driver, token)
    provider.opaque.clear()
    driver("logout", token)
    provider.hand_out("token")
    assert refused(driver, token) == "revoked"


def test_a_logout_that_nobody_can_explain_ends_nothing_and_says_so(driver, provider, clock) -> None:
    with pytest.raises(InvalidTokenError, match="inactive_token"):
        driver("logout", "token")
    provider.answer = answering(status=500)
    with pytest.raises(UnavailableError):
        driver("logout", "another")


def test_a_token_that_is_not_valid_yet_can_be_logged_out(driver, provider, clock) -> None:
    token = provider.hand_out("token", nbf=clock.wall() + 30)
    assert refused(driver, token) == "not_yet_valid"
    driver("logout", token)
    clock.advance(60.0)
    assert refused(driver, token) == "revoked"


def test_revoke_user_ends_those_that_were_there_before_and_those_that_say_nothing(kind, provider, clock) -> None:
    with served(kind, provider, clock, require_iat=False) as driver:
        old, silent = provider.hand_out("old", iat=clock.wall()), provider.hand_out("silent", iat=None)
        assert enters(driver, old)
        assert enters(driver, silent)
        driver("revoke_user", "1")
        assert (refused(driver, old), refused(driver, silent)) == ("revoked", "revoked")
        clock.advance(30.0)
        assert enters(driver, provider.hand_out("new", iat=clock.wall()))
        assert refused(driver, provider.hand_out("silent-too", iat=None)) == "revoked"


def test_a_user_who_is_disabled_is_out_at_once(kind, provider, clock) -> None:
    row = {"id": 1, "disabled": False}
    with served(kind, provider, clock, load_user=lambda _: dict(row)) as driver:
        assert enters(driver, provider.hand_out("token"))
        row["disabled"] = True
        driver("invalidate", "1")
        assert refused(driver, "token") == "inactive"


# Several issuers


def test_an_opaque_token_is_of_the_one_issuer_that_is_asked(kind, provider, clock) -> None:
    shop = "https://shop.example"
    others = Issuer(
        shop,
        keys=OTHER_SECRET,
        algorithms=["HS256"],
        audience="orders",
        alias="shop",
        load_user=lambda _: {"id": 2},
    )
    ours = issuer(provider, introspection(provider), alias="staff", load_user=lambda _: {"id": 1})
    issuers = [others, Issuer(ours.pop("issuer"), **ours)]
    with living(kind, MemoryStore(clock), issuers=issuers, clock=clock) as driver:
        identity = driver("authenticate", headers(provider.hand_out("token")))
        assert (identity.user.id, identity.user.identity) == (1, "staff:1")
        foreign = issue_token(OTHER_SECRET, issuer=shop, audience="orders", subject="1")
        assert driver("authenticate", headers(foreign)).user.identity == "shop:1"
        assert refused(driver, provider.hand_out("theirs", iss=shop)) == "issuer"
        driver("logout", "token")
        assert refused(driver, "token") == "revoked"
        assert driver("authenticate", headers(foreign)).user.id == 2


def test_two_issuers_cannot_both_be_asked(provider, clock) -> None:
    def one(name: str, alias: str) -> Issuer:
        said = issuer(provider, introspection(provider), alias=alias, load_user=lambda _: None)
        return Issuer(**{**said, "issuer": name})

    with pytest.raises(ConfigurationError, match="introspection: is for one issuer"):
        with living(
            "blocking", MemoryStore(clock), issuers=[one("https://a.example", "a"), one("https://b.example", "b")]
        ):
            pass


# What is refused at once


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"url": "http://id.example/introspect"}, "url"),
        ({"url": "https://id.example/introspect#a"}, "url"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": b"secret"}, "client_secret"),
        ({"client_secret": "\ud800"}, "client_secret"),
        ({"cache_ttl": -1}, "cache_ttl"),
        ({"negative_ttl": "10"}, "negative_ttl"),
        ({"cache_secret": "short"}, "cache_secret"),
        ({"cache_secret": "ab" * 40}, "cache_secret"),
        ({"cache_secret": 7}, "cache_secret"),
        ({"require_audience": None}, "require_audience"),
        ({"timeout": 0}, "timeout"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"ssl_context": True}, "ssl_context"),
        ({"trust_env": 1}, "trust_env"),
    ],
)
def test_what_the_constructor_refuses(options, argument) -> None:
    given = {"url": "https://id.example/introspect", "client_id": "a", "client_secret": "secret", **options}
    with pytest.raises(ConfigurationError) as caught:
        Introspection(given.pop("url"), **given)
    assert caught.value.argument == argument
    assert "secret" not in str(caught.value).replace("_secret", "").replace("secrets.", "")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"keys": None, "introspection": None}, "keys"),
        ({"keys": None}, "algorithms"),
        ({"introspection": "https://id.example/introspect"}, "introspection"),
    ],
)
def test_what_a_face_refuses(options, argument, provider, clock) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with served("blocking", provider, clock, **options):
            pass
    assert caught.value.argument == argument


def test_nothing_shows_its_secrets(provider) -> None:
    terms = introspection(provider, cache_secret="a cache secret of the tests, which is long")
    assert repr(terms) == "<Introspection: 127.0.0.1>"
