"""Several issuers in one face: whose keys are tried, whose user it is; and issuers that say where their keys are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from faces import Driver, headers, wait_until
from provider import Provider, hanging, trusting

from authcache_middleware import (
    JWKS,
    AsyncAuthCache,
    AuthCache,
    ConfigurationError,
    InvalidTokenError,
    Issuer,
    UnavailableError,
)
from authcache_middleware.testing import ManualClock, MemoryStore, issue_token
from authcache_middleware.wsgi import AuthCacheMiddleware

STAFF = "https://staff.example"
SHOP = "https://shop.example/"
SECRETS = {
    STAFF: "the staff's own secret, of more than thirty-two bytes",
    SHOP: "the shop's own secret, of more than 32 bytes",
}
DISCOVERY = "/.well-known/openid-configuration"


def token(issuer: str = STAFF, *, signed_for: str | None = None, **claims: Any) -> str:
    options = {"issuer": issuer, "audience": "orders", "subject": "admin", **claims}
    return issue_token(SECRETS[signed_for or issuer], **options)


class Rows:
    """A loader for each issuer, each with a table of its own."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str]] = []
        self.disabled: set[tuple[str, str]] = set()

    def of(self, name: str):
        def load(user_id: str) -> dict[str, Any]:
            self.loaded.append((name, user_id))
            return {"name": f"{name}'s {user_id}", "disabled": (name, user_id) in self.disabled}

        return load


def issuer(name: str, alias: str, rows: Rows, **options: Any) -> Issuer:
    given = {"keys": SECRETS.get(name), "algorithms": ["HS256"], "audience": "orders", "alias": alias}
    return Issuer(name, **{**given, "load_user": rows.of(alias), **options})


@contextmanager
def serving(kind: str, redis: Any, issuers: list[Issuer], **options: Any) -> Iterator[Driver]:
    exact = {"ttl_jitter": 0.0, "refresh_ahead": False, "max_staleness": 0.0, **options}
    if kind == "blocking":
        with AuthCache(redis, issuers=issuers, **exact) as face:
            yield Driver(face, lambda result: result)
        return
    with asyncio.Runner() as runner:
        driver = Driver(AsyncAuthCache(redis, issuers=issuers, **exact), runner.run)
        yield driver
        driver.close()


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=time.time())


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def driver(kind, store, rows) -> Iterator[Driver]:
    with serving(kind, store, [issuer(STAFF, "staff", rows), issuer(SHOP, "shop", rows)]) as driver:
        yield driver


def enter(driver: Driver, text: str) -> Any:
    return driver("authenticate", headers(text))


def refused(driver: Driver, text: str) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        enter(driver, text)
    return caught.value.reason


# Whose user it is


def test_one_subject_of_two_issuers_is_two_users(driver, rows) -> None:
    staff, shop = enter(driver, token(STAFF)), enter(driver, token(SHOP))
    assert (staff.user.name, shop.user.name) == ("staff's admin", "shop's admin")
    assert (staff.user.identity, shop.user.identity) == ("staff:admin", "shop:admin")
    assert (staff.auth.identity, staff.auth.claims.subject, staff.auth.claims.issuer) == ("staff:admin", "admin", STAFF)
    assert staff.user != shop.user
    assert rows.loaded == [("staff", "admin"), ("shop", "admin")]
    assert (enter(driver, token(STAFF)).user, enter(driver, token(SHOP)).user) == (staff.user, shop.user)
    assert len(rows.loaded) == 2


@pytest.mark.parametrize("name", [STAFF, SHOP])
def test_what_ends_one_leaves_the_other_alone(name, driver, rows, store) -> None:
    other = SHOP if name == STAFF else STAFF
    alias = "staff" if name == STAFF else "shop"
    good, ended = token(other), token(name)
    before = (enter(driver, good), enter(driver, ended))
    assert before
    rows.disabled.add((alias, "admin"))
    _run(driver, "invalidate", "admin", issuer=name)
    assert refused(driver, ended) == "inactive"
    rows.disabled.clear()
    _run(driver, "invalidate", "admin", issuer=name)
    assert enter(driver, ended)
    driver("logout", ended)
    assert refused(driver, ended) == "revoked"
    assert enter(driver, token(name))
    _run(driver, "revoke_user", "admin", issuer=name)
    assert refused(driver, token(name)) == "revoked"
    assert enter(driver, good).user.name.endswith("admin")
    assert rows.loaded.count(("shop" if alias == "staff" else "staff", "admin")) == 1


def _run(driver: Driver, method: str, *arguments: Any, **options: Any) -> Any:
    return driver._run(getattr(driver.face, method)(*arguments, **options))


@pytest.mark.parametrize("name", [STAFF, SHOP])
def test_sessions_are_those_of_one_of_them(name, kind, store, rows) -> None:
    other = SHOP if name == STAFF else STAFF
    both = [issuer(STAFF, "staff", rows), issuer(SHOP, "shop", rows)]
    with serving(kind, store, both, require_session=True, max_sessions=1) as driver:
        tokens = {each: token(each, claims={"sid": "one"}) for each in (STAFF, SHOP)}
        driver("login", "admin", token=tokens[name])
        assert enter(driver, tokens[name])
        assert refused(driver, tokens[other]) == "session"
        driver("login", "admin", sid="one", expires_at=time.time() + 60, issuer=other)
        assert enter(driver, tokens[other])
        assert enter(driver, tokens[name])
        driver("logout_session", "admin", "one", issuer=other)
        assert (driver("sessions", "admin", issuer=other), refused(driver, tokens[other])) == ([], "revoked")
        assert [session.sid for session in driver("sessions", "admin", issuer=name)] == ["one"]
        assert enter(driver, tokens[name])
        with pytest.raises(ValueError, match="issuer: is not the token's"):
            driver("login", "admin", token=tokens[name], issuer=other)


def test_the_keys_in_redis_begin_with_the_alias(driver) -> None:
    assert driver.face.key("admin", issuer=STAFF) == "user:staff:admin"
    assert driver.face.key("admin", issuer=SHOP) == "user:shop:admin"


def test_another_client_ends_one_of_them_and_memory_hears_it(kind, redis_url, client, prefix, rows) -> None:
    issuers = [issuer(STAFF, "staff", rows), issuer(SHOP, "shop", rows)]
    texts = {name: token(name) for name in (STAFF, SHOP)}
    with serving(kind, redis_url, issuers, prefix=prefix, max_staleness=5.0) as driver:

        def recalled(name: str) -> Any:
            enter(driver, texts[name])
            return driver.there(lambda: driver.face.recall(headers(texts[name])))

        wait_until(lambda: recalled(STAFF) and recalled(SHOP))
        loaded = len(rows.loaded)
        rows.disabled.add(("shop", "admin"))
        client.delete(driver.face.key("admin", issuer=SHOP))

        def is_out() -> bool:
            try:
                enter(driver, texts[SHOP])
            except InvalidTokenError:
                return True
            return False

        wait_until(is_out)
        assert recalled(STAFF).user.name == "staff's admin"
        assert rows.loaded[loaded:] == [("shop", "admin")]


def test_no_server_takes_one_for_the_other(store, rows) -> None:
    """What WSGI applications look at, ``REMOTE_USER``, tells them apart too."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["REMOTE_USER"].encode()]

    def answer(text: str) -> bytes:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {text}"}
        return b"".join(guarded(environ, lambda *_arguments: None))

    with AuthCache(store, issuers=[issuer(STAFF, "staff", rows), issuer(SHOP, "shop", rows)]) as auth:
        guarded = AuthCacheMiddleware(application, auth=auth)
        assert (answer(token(STAFF)), answer(token(SHOP))) == (b"staff:admin", b"shop:admin")
        assert b"invalid" in answer(token(STAFF, signed_for=SHOP))


@pytest.mark.parametrize("method", ["invalidate", "revoke_user", "key", "sessions", "login", "logout_session"])
def test_of_several_one_must_be_named(method, driver) -> None:
    call = getattr(driver.face, method)
    if method == "login":
        call = partial(call, expires_at=time.time() + 60)
    if method == "logout_session":
        call = partial(call, sid="one")
    run = driver._run if method != "key" else (lambda result: result)
    with pytest.raises(TypeError, match="issuer"):
        run(call("admin"))
    for unknown in ("https://staff.example/", "staff", ""):
        with pytest.raises(ValueError, match="issuer"):
            run(call("admin", issuer=unknown))


# Whose keys are tried


def test_a_token_is_of_the_issuer_whose_key_has_signed_it(driver, rows) -> None:
    assert refused(driver, token(STAFF, signed_for=SHOP)) == "signature"
    assert refused(driver, token(SHOP, signed_for=STAFF)) == "signature"
    assert rows.loaded == []


@pytest.mark.parametrize(
    "iss",
    [
        "https://staff.example/",
        "https://shop.example",
        "HTTPS://STAFF.EXAMPLE",
        "https://other.example",
        "",
        " " + STAFF,
        *(None, 7, True, [STAFF], {"0": STAFF}),
    ],
    ids=repr,
)
def test_a_name_that_is_not_exactly_one_of_them_is_nobody_s(iss, driver) -> None:
    assert refused(driver, token(STAFF, claims={"iss": iss})) == "issuer"


def test_a_token_that_cannot_be_read_is_malformed(driver) -> None:
    head, _, signature = token().split(".")
    assert refused(driver, f"{head}.e30.{signature}") == "issuer"
    assert refused(driver, f"{head}.AAAA.{signature}") == "claims"
    assert refused(driver, f"{head}.{signature}") == "malformed"
    assert refused(driver, "x" * 9000) == "oversized"


def test_each_issuer_has_rules_of_its_own(kind, store, rows) -> None:
    issuers = [
        issuer(STAFF, "staff", rows, audience="desk", typ=["at+jwt"], subject_claim="uid", required=["client_id"]),
        issuer(SHOP, "shop", rows, reject_id_tokens=True),
    ]
    with serving(kind, store, issuers) as driver:
        good = {"audience": "desk", "typ": "at+jwt", "claims": {"uid": "7", "client_id": "c"}}
        assert enter(driver, token(STAFF, **good)).user.identity == "staff:7"
        assert refused(driver, token(STAFF, **{**good, "typ": "JWT"})) == "typ"
        assert refused(driver, token(STAFF, **{**good, "audience": "orders"})) == "audience"
        assert refused(driver, token(STAFF, **{**good, "claims": {"uid": "7"}})) == "claims"
        assert enter(driver, token(SHOP)).user.identity == "shop:admin"
        assert refused(driver, token(SHOP, claims={"nonce": "n"})) == "id_token"


def test_claims_are_resolved_for_their_issuer(driver) -> None:
    claims = enter(driver, token(SHOP)).auth.claims
    assert driver("resolve", claims).user.identity == "shop:admin"


def test_one_issuer_may_stand_in_the_list_alone(kind, store, rows) -> None:
    alone = Issuer(STAFF, keys=SECRETS[STAFF], algorithms=["HS256"], audience="orders")
    with serving(kind, store, [alone], load_user=rows.of("only")) as driver:
        assert enter(driver, token(STAFF)).user.identity == "admin"
        assert driver.face.key("admin") == driver.face.key("admin", issuer=STAFF) == "user:admin"
        _run(driver, "invalidate", "admin")
        assert refused(driver, token(SHOP)) == "signature"


def test_save_revocation_is_each_issuer_s_own(kind, store, rows) -> None:
    saved = []
    issuers = [
        issuer(STAFF, "staff", rows, save_revocation=lambda user_id, _: saved.append(user_id)),
        issuer(SHOP, "shop", rows),
    ]
    with serving(kind, store, issuers) as driver:
        _run(driver, "revoke_user", "a", issuer=SHOP)
        _run(driver, "revoke_user", "b", issuer=STAFF)
    assert saved == ["b"]


def test_what_is_impossible_is_refused(store, rows) -> None:
    staff, shop = issuer(STAFF, "staff", rows), issuer(SHOP, "shop", rows)
    nameless = issuer(STAFF, None, rows)
    for argument, options in {
        "issuers": [
            {"issuers": [staff, nameless]},
            {"issuers": [staff, issuer(STAFF, "shop", rows)]},
            {"issuers": [staff, issuer(SHOP, "staff", rows)]},
            {"issuers": [staff, issuer(SHOP, "shop", rows, load_user=None)]},
            {"issuers": [staff, issuer(None, "shop", rows, keys=SECRETS[SHOP])]},
            {"issuers": [staff, STAFF]},
            {"issuers": iter([staff, shop])},
        ],
        "keys": [{"issuers": [staff], "keys": "x"}],
        "issuer": [{"issuers": [staff], "issuer": None}],
        "audience": [{"issuers": [staff], "audience": None}],
        "typ": [{"issuers": [staff], "typ": ["JWT"]}],
        "alias": [{"issuers": [staff], "alias": "staff"}, {"issuers": [issuer(STAFF, "Staff", rows)]}],
        "load_user": [
            {"issuers": [staff, shop], "load_user": rows.of("x")},
            {"issuers": [issuer(STAFF, "staff", rows, load_user=None)]},
            {"issuers": [issuer(STAFF, "staff", rows, load_user=7)]},
        ],
        "save_revocation": [{"issuers": [issuer(STAFF, "staff", rows, save_revocation=7)]}],
        "algorithms": [{"issuers": [issuer(STAFF, "staff", rows, algorithms=["none"])]}],
    }.items():
        for each in options:
            for face in (AuthCache, AsyncAuthCache):
                with pytest.raises(ConfigurationError) as caught:
                    face(store, **each)
                assert caught.value.argument == argument, each

    async def load(_user_id: str) -> None: ...

    with pytest.raises(ConfigurationError, match="load_user"):
        AuthCache(store, issuers=[staff, issuer(SHOP, "shop", rows, load_user=load)])
    assert SECRETS[STAFF] not in repr(staff)


# Issuers that say where their keys are


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        running.rotate("one")
        running.documents[DISCOVERY] = {"issuer": running.origin, "jwks_uri": running.url}
        yield running


def discovered(provider: Provider, **options: Any) -> Issuer:
    given = {"algorithms": ["ES256"], "audience": "orders", "ssl_context": trusting(), "timeout": 20.0}
    return Issuer.discover(provider.origin, **{**given, **options})


def test_an_issuer_says_where_its_keys_are_when_the_first_token_comes(kind, store, clock, provider, rows) -> None:
    with serving(kind, store, [discovered(provider)], load_user=rows.of("x"), clock=clock) as driver:
        assert provider.seen.total() == 0
        assert enter(driver, provider.token("one")).user.name == "x's 1"
        assert enter(driver, provider.token("one"))
        assert provider.seen == {DISCOVERY: 1, "/jwks.json": 1}


WRONG = {
    "another issuer": {"issuer": "https://id.example"},
    "nearly the same": {"issuer": "/"},
    "no issuer": {"issuer": None},
    "no jwks_uri": {"jwks_uri": None},
    "no text": {"jwks_uri": 7},
    "another scheme": {"jwks_uri": "file:///etc/passwd"},
    "a list": None,
}


@pytest.mark.parametrize("how", WRONG)
def test_a_document_that_is_not_to_be_believed(how, kind, clock, provider, rows) -> None:
    good = provider.documents[DISCOVERY]
    wrong = WRONG[how]
    if wrong is not None and wrong.get("issuer") == "/":
        wrong = {"issuer": provider.origin + "/"}
    provider.documents[DISCOVERY] = [good] if wrong is None else {**good, **wrong}
    with serving(kind, MemoryStore(clock), [discovered(provider)], load_user=rows.of("x"), clock=clock) as driver:
        with pytest.raises(UnavailableError, match="keys"):
            enter(driver, provider.token("one"))
        assert provider.fetches == 0
        provider.documents[DISCOVERY] = good
        clock.advance(1.0)
        assert enter(driver, provider.token("one"))


def test_a_provider_over_https_sends_nobody_to_plain_http(kind, store, provider, rows) -> None:
    with Provider(tls=False) as other:
        other.rotate("one")
        provider.documents[DISCOVERY]["jwks_uri"] = other.url
        with serving(kind, store, [discovered(provider)], load_user=rows.of("x")) as driver:
            with pytest.raises(UnavailableError, match="keys"):
                enter(driver, provider.token("one"))
        assert other.fetches == 0


def test_a_slash_at_the_end_belongs_to_the_name_and_not_to_the_path(kind, store, provider, rows) -> None:
    name = provider.origin + "/tenant/"
    provider.documents["/tenant" + DISCOVERY] = {"issuer": name, "jwks_uri": provider.url}
    tenant = Issuer.discover(name, algorithms=["ES256"], audience="orders", ssl_context=trusting(), timeout=20.0)
    with serving(kind, store, [tenant], load_user=rows.of("x")) as driver:
        assert enter(driver, provider.token("one", issuer=name))
        assert refused(driver, provider.token("one", issuer=name.rstrip("/"))) == "issuer"


def test_keys_may_move(kind, store, clock, provider, rows) -> None:
    with serving(kind, store, [discovered(provider)], load_user=rows.of("x"), clock=clock) as driver:
        enter(driver, provider.token("one"))
        provider.documents[DISCOVERY] = {"issuer": provider.origin, "jwks_uri": provider.origin + "/elsewhere"}
        provider.rotate("two")
        assert enter(driver, provider.token("two"))
        assert provider.seen["/elsewhere"] == 1


def test_one_provider_that_hangs_delays_no_token_of_another(kind, store, clock, provider, rows) -> None:
    with Provider() as hung:
        hung.rotate("one")
        issuers = [
            discovered(provider, alias="good", load_user=rows.of("good")),
            Issuer(
                hung.origin,
                keys=JWKS(hung.url, ssl_context=trusting(), timeout=1.5),
                algorithms=["ES256"],
                audience="orders",
                alias="hung",
                load_user=rows.of("hung"),
            ),
        ]
        with serving(kind, store, issuers, clock=clock) as driver:
            hung.answer = hanging(hung)
            assert enter(driver, provider.token("one")).user.identity == "good:1"
            answers = driver.at_once("authenticate", headers(hung.token("one")), headers(provider.token("one")))
            assert isinstance(answers[0], UnavailableError)
            assert answers[1].user.identity == "good:1"
            hung.answer = None
            clock.advance(60.0)
            assert enter(driver, hung.token("one")).user.identity == "hung:1"
            assert refused(driver, provider.token("one", issuer=hung.origin)) == "signature", 'of another "one"'


@pytest.mark.parametrize(
    "name", ["http://id.example", "https://id.example?x=y", "id.example", "https://id.example/#", None]
)
def test_names_that_lead_nowhere(name) -> None:
    with pytest.raises(ConfigurationError, match="issuer"):
        Issuer.discover(name, algorithms=["ES256"], audience=None)
