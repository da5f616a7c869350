"""Back-channel logout: what a provider sends ends what it names, over ASGI and WSGI, on a real server."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from urllib.parse import urlencode

import pytest
import redis
from conformance.drivers import Ask, Reply, http_scope, over_asgi, over_websocket, over_wsgi
from faces import AUDIENCE, ISSUER, Driver, driven, token_for
from provider import Provider, answering, trusting

from authcache_middleware import JWKS, ConfigurationError, InvalidTokenError, Issuer, asgi, wsgi
from authcache_middleware.event_stream import EventStream
from authcache_middleware.testing import ManualClock, MemoryStore, issue_token
from authcache_middleware.testing.server import EmbeddedServer

EVENT = "http://schemas.openid.net/event/backchannel-logout"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def load(user_id: str) -> dict:
    return {"id": user_id}


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


class Endpoint:
    """The endpoint over a face, and how to ask it."""

    def __init__(self, driver: Driver, **options) -> None:
        self.driver = driver
        self._is_async = inspect.iscoroutinefunction(driver.face.backchannel_logout)
        self._app = (asgi if self._is_async else wsgi).BackchannelLogout(driver.face, **options)

    def ask(self, ask: Ask) -> Reply:
        return self.driver._run(over_asgi(self._app, ask)) if self._is_async else over_wsgi(self._app, ask)

    def post(self, token: str, **others: str) -> Reply:
        body = urlencode({"logout_token": token, **others}).encode()
        reply = self.ask(Ask("POST", "/backchannel-logout", (FORM,), body=body))
        assert reply.header("cache-control") == "no-store"
        assert len(token) < 20 or token.rpartition(".")[2] not in str(reply)
        return reply


@contextmanager
def serving(
    kind: str, store, *, load_user: Callable = load, client_id=None, by_session=True, **options
) -> Iterator[Endpoint]:
    with driven(kind, store, load_user=load_user, **options) as driver:
        yield Endpoint(driver, client_id=client_id, by_session=by_session)


def order(subject: str | None = "1", sid: str | None = None, **claims) -> str:
    return token_for(subject, typ="logout+jwt", claims={"events": {EVENT: {}}, "sid": sid, **claims})


def enters(driver: Driver, subject: str = "1", sid: str | None = None) -> bool:
    try:
        driver.enter(subject, claims={"sid": sid})
    except InvalidTokenError:
        return False
    return True


def test_a_subject_alone_is_logged_out_everywhere(kind, redis_url, prefix) -> None:
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        assert enters(endpoint.driver)
        assert enters(endpoint.driver, sid="a")
        reply = endpoint.post(order("1"), state="ignored")
        assert (reply.status, reply.body) == (200, b"{}")
        assert not enters(endpoint.driver)
        assert not enters(endpoint.driver, sid="a")
        assert enters(endpoint.driver, "2")


def test_a_session_ends_alone(kind, redis_url, prefix) -> None:
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        assert enters(endpoint.driver, sid="a")
        assert endpoint.post(order("1", "a")).status == 200
        assert [enters(endpoint.driver, sid=sid) for sid in ("a", "b", None)] == [False, True, True]
        assert enters(endpoint.driver, "2", sid="a")


def test_services_that_follow_hear_of_it(kind, redis_url, prefix) -> None:
    stream = prefix.replace("user:", "events")
    with serving(kind, redis_url, prefix=prefix, event_stream=stream) as endpoint:
        assert [endpoint.post(token).status for token in (order("1", "a"), order("2"))] == [200, 200]
    with EventStream(redis_url, stream) as events:
        told = [(event.type, event.user_id, event.sid) for event in islice(events.events("0"), 2)]
    assert told == [("logout", "1", "a"), ("revoked", "2", None)]


def test_where_access_tokens_carry_no_sid_all_of_them_end(kind, redis_url, prefix) -> None:
    with serving(kind, redis_url, prefix=prefix, by_session=False) as endpoint:
        assert endpoint.post(order("1", "a")).status == 200
        assert [enters(endpoint.driver, sid=sid) for sid in ("a", "b", None)] == [False] * 3
        assert endpoint.post(order(None, "a")).status == 400


def test_a_session_whose_user_is_not_named_is_refused(kind, redis_url, prefix) -> None:
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        reply = endpoint.post(order(None, "a"))
        assert (reply.status, reply.error) == (400, "invalid_request")
        assert enters(endpoint.driver, sid="a")


def test_a_token_is_obeyed_once(kind, redis_url, prefix, client) -> None:
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        token = order("1", "a")
        assert [endpoint.post(token).status for _ in range(3)] == [200, 400, 400]
        assert endpoint.post(order("1", "a")).status == 200  # another of the same content
        keys = list(client.scan_iter(prefix.replace("user:", "logout:") + "*"))
        assert len(keys) == 2
        # as long as it would pass again anywhere: until it has expired, and by the largest leeway of two clocks
        assert all(400_000 < client.pttl(key) <= 420_000 for key in keys)


def test_after_an_outage_the_same_token_is_obeyed(kind) -> None:
    with EmbeddedServer() as server, serving(kind, server.url, connect_timeout=1.0) as endpoint:
        token = order("1")
        server.stop()
        reply = endpoint.post(token)
        assert (reply.status, reply.error, reply.header("retry-after")) == (503, "temporarily_unavailable", "1")
        server.start()
        assert [endpoint.post(token).status for _ in range(2)] == [200, 400]
        assert not enters(endpoint.driver)


def test_what_is_not_written_to_the_row_is_sent_again(kind, redis_url, prefix) -> None:
    rows: list[str] = []

    def save(user_id: str, _before_s: int) -> None:
        rows.append(user_id)
        if len(rows) == 1:
            raise OSError

    with serving(kind, redis_url, prefix=prefix, save_revocation=save) as endpoint:
        token = order("1")
        assert [endpoint.post(token).status for _ in range(3)] == [503, 200, 400]
        assert rows == ["1", "1"]


@pytest.mark.parametrize("name", ["revoked", "logout"])
def test_a_foreign_value_under_its_keys_is_an_outage(kind, redis_url, prefix, name, caplog) -> None:
    subject_or_id = "1" if name == "revoked" else "j"
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(prefix.replace("user:", f"{name}:") + subject_or_id, "x")
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        assert endpoint.post(order("1", jti="j")).status == 503
    assert not [record for record in caplog.records if "raised" in record.getMessage()]


def test_other_tokens_end_nothing(kind, redis_url, prefix) -> None:
    with serving(kind, redis_url, prefix=prefix) as endpoint:
        assert enters(endpoint.driver)
        for token in (
            token_for("1"),  # an access token
            token_for("1", claims={"nonce": "n"}),  # an ID token
            order("1", nonce="n"),
            order("1", aud="other"),
            order("1", events={}),
            order("1")[:-6] + "AAAAAA",
            "a.b.c",
            "",
        ):
            reply = endpoint.post(token)
            assert (reply.status, reply.error) == (400, "invalid_request")
        assert enters(endpoint.driver)
        with pytest.raises(InvalidTokenError):
            endpoint.driver("authenticate", [("Authorization", f"Bearer {order('1')}")])
        with pytest.raises(InvalidTokenError):
            endpoint.driver("logout", order("1"))
        assert enters(endpoint.driver)


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (Ask("GET"), 405),
        (Ask("HEAD"), 405),
        (Ask("PUT", headers=(FORM,), body=b"logout_token=a"), 405),
        (Ask("POST"), 400),
        (Ask("POST", headers=(FORM,)), 400),
        (Ask("POST", headers=(("Content-Type", "application/json"),), body=b'{"logout_token": "a"}'), 400),
        (Ask("POST", headers=(FORM,), body=b"logout_token=" + b"a" * 20_000), 400),
        (Ask("POST", headers=(FORM,), body=b"logout_token=a&logout_token=b"), 400),
    ],
)
def test_what_is_no_such_request(kind, ask, status) -> None:
    with serving(kind, MemoryStore()) as endpoint:
        reply = endpoint.ask(ask)
        assert reply.status == status
        assert reply.header("cache-control") == "no-store"
        assert reply.header("allow") == ("POST" if status == 405 else None)
        assert (reply.body == b"") == (ask.method == "HEAD")


def test_a_long_body_is_not_read_to_its_end() -> None:
    with driven("async", MemoryStore(), load_user=load) as driver:
        read = []

        async def receive() -> dict:
            read.append(b"a" * 1000)
            return {"type": "http.request", "body": read[-1], "more_body": True}

        sent: list[dict] = []

        async def send(message: dict) -> None:
            sent.append(message)

        driver._run(asgi.BackchannelLogout(driver.face)(http_scope(Ask("POST", headers=(FORM,))), receive, send))
        assert (sent[0]["status"], len(read)) == (400, 17)
    with driven("blocking", MemoryStore(), load_user=load) as driver:
        for length in ("99999", "1e3", "-1", "٣"):
            reply = over_wsgi(
                wsgi.BackchannelLogout(driver.face),
                Ask("POST", headers=(FORM,), extra={"CONTENT_LENGTH": length, "wsgi.input": None}),
                validated=False,
            )
            assert reply.status == 400


def test_a_websocket_is_closed_and_a_lifespan_is_not_taken_over() -> None:
    with driven("async", MemoryStore(), load_user=load) as driver:
        app = asgi.BackchannelLogout(driver.face)
        (closed,) = driver._run(over_websocket(app, Ask()))
        assert closed["type"] == "websocket.close"
        with pytest.raises(ValueError, match="lifespan"):
            driver._run(app({"type": "lifespan"}, None, None))


def test_each_protocol_takes_its_own_face() -> None:
    for kind, module in (("async", wsgi), ("blocking", asgi)):
        with driven(kind, MemoryStore(), load_user=load) as driver:
            with pytest.raises(ConfigurationError, match=r"^auth: "):
                module.BackchannelLogout(driver.face)


def test_the_clients_name_may_be_another_than_the_services(kind) -> None:
    with serving(kind, MemoryStore(), client_id="web") as endpoint:
        assert endpoint.post(order("1")).status == 400
        assert endpoint.post(order("1", aud="web")).status == 200
        assert not enters(endpoint.driver)


def test_an_old_one_is_refused_and_time_is_the_services_own(kind) -> None:
    clock = ManualClock()
    with serving(kind, MemoryStore(clock), clock=clock) as endpoint:
        token = token_for("1", now=clock.wall(), claims={"events": {EVENT: {}}}, lifetime=3600)
        clock.advance(306)
        assert endpoint.post(token).status == 400


def test_keys_that_are_published_are_fetched_for_it(kind) -> None:
    pytest.importorskip("httpx")
    with Provider() as provider:
        provider.rotate("one")
        keys = JWKS(provider.url, ssl_context=trusting(), timeout=20.0)
        issuer = {"keys": keys, "algorithms": ["ES256"], "issuer": provider.origin}
        events = {"events": {EVENT: {}}}
        with serving(kind, MemoryStore(), **issuer) as endpoint:
            assert endpoint.post(provider.token("one", typ="logout+jwt", claims=events)).status == 200
            assert provider.fetches == 1
        provider.answer = answering(status=500)
        with serving(kind, MemoryStore(), **issuer) as endpoint:
            assert endpoint.post(provider.token("one", claims=events)).status == 503


def test_of_several_issuers_each_ends_its_own_users(kind) -> None:
    def issuer(name: str) -> Issuer:
        return Issuer(
            f"https://{name}", keys=f"{name} secret of more than thirty-two bytes!", algorithms=["HS256"],
            audience=AUDIENCE, alias=name, load_user=load,
        )  # fmt: skip

    with driven(kind, MemoryStore(), issuers=[issuer("a"), issuer("b")]) as driver:
        endpoint = Endpoint(driver)
        events = {"events": {EVENT: {}}}
        signed_by_a = {"key": "a secret of more than thirty-two bytes!", "claims": events}
        good = issue_token(**signed_by_a, issuer="https://a", audience=AUDIENCE)
        forged = issue_token(**signed_by_a, issuer="https://b", audience=AUDIENCE)
        stranger = issue_token(**signed_by_a, issuer=ISSUER, audience=AUDIENCE)
        assert [endpoint.post(token).status for token in (good, forged, stranger)] == [200, 400, 400]


def test_where_its_path_is_exempt_it_answers_behind_the_middleware(kind) -> None:
    with driven(kind, MemoryStore(), load_user=load) as driver:
        module = asgi if kind == "async" else wsgi
        app = module.AuthCacheMiddleware(
            module.BackchannelLogout(driver.face), auth=driver.face, exempt=["/backchannel-logout"]
        )
        body = urlencode({"logout_token": order("1")}).encode()
        ask = Ask("POST", "/backchannel-logout", (FORM,), body=body)
        reply = driver._run(over_asgi(app, ask)) if kind == "async" else over_wsgi(app, ask)
        assert reply.status == 200


def test_it_is_mounted_in_fastapi_beside_the_middleware() -> None:
    fastapi = pytest.importorskip("fastapi")
    from authcache_middleware.fastapi import AuthCacheMiddleware

    with driven("async", MemoryStore(), load_user=load) as driver:
        app = fastapi.FastAPI()
        app.add_route("/backchannel-logout", asgi.BackchannelLogout(driver.face), methods=["POST"])
        app.add_middleware(AuthCacheMiddleware, auth=driver.face, exempt=["/backchannel-logout"])
        body = urlencode({"logout_token": order("1")}).encode()
        ask = Ask("POST", "/backchannel-logout", (FORM,), body=body)
        assert [driver._run(over_asgi(app, ask)).status for _ in range(2)] == [200, 400]
        assert driver._run(over_asgi(app, Ask("GET", "/backchannel-logout"))).status == 405
        assert driver._run(over_asgi(app, Ask("GET", "/other"))).status == 401


def test_it_is_mounted_in_flask_beside_the_middleware() -> None:
    flask = pytest.importorskip("flask")
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    from authcache_middleware.flask import AuthCacheMiddleware

    with driven("blocking", MemoryStore(), load_user=load) as driver:
        app = flask.Flask("app")
        AuthCacheMiddleware.init_app(app, driver.face)
        app.wsgi_app = DispatcherMiddleware(
            app.wsgi_app, {"/backchannel-logout": wsgi.BackchannelLogout(driver.face)}
        )  # fmt: skip
        client = app.test_client()
        asked = {"data": {"logout_token": order("1")}}
        assert [client.post("/backchannel-logout", **asked).status_code for _ in range(2)] == [200, 400]
        assert client.get("/other").status_code == 401
