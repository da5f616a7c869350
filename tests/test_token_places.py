"""Tokens beside the header, through the middleware and both protocols."""

import pytest
from conformance.drivers import Ask, over_asgi, over_websocket, over_wsgi
from conformance.faces import AsyncTableFace, TableFace, bearer
from faces import driven, token_for, wait_until

from authcache_middleware import ConfigurationError, TokenPlaces, asgi, wsgi
from authcache_middleware.flask import AuthCacheMiddleware as FlaskMiddleware
from authcache_middleware.users.user import ANONYMOUS

OURS = "https://app.example"
BY_COOKIE = TokenPlaces(cookie=True, origins=[OURS])
EVERYWHERE = TokenPlaces(cookie=True, origins=[OURS], subprotocol=True, query=True)


def cookie(token="alice", *, origin=None):
    return (("Cookie", f"__Host-access_token={token}"), *([("Origin", origin)] if origin else []))


async def asgi_app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["user"].identity.encode()})


def wsgi_app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["authcache.user"].identity.encode()]


@pytest.fixture(params=["asgi", "wsgi"])
def ask(request):
    """Sends one request through the middleware with these options."""

    async def over(options, asked, *, face=None):
        if request.param == "asgi":
            return await over_asgi(asgi.AuthCacheMiddleware(asgi_app, auth=face or AsyncTableFace(), **options), asked)
        return over_wsgi(wsgi.AuthCacheMiddleware(wsgi_app, auth=face or TableFace(), **options), asked)

    return over


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        (Ask(headers=cookie()), 200, None),
        (Ask(headers=bearer()), 200, None),
        (Ask("POST", headers=cookie(origin=OURS)), 200, None),
        (Ask("POST", headers=bearer()), 200, None),
        (Ask(), 401, "unauthorized"),
        (Ask(headers=cookie("forged")), 401, "invalid_token"),
        (Ask(headers=cookie("")), 400, "invalid_request"),
        (Ask(headers=cookie() + bearer()), 400, "invalid_request"),
        (Ask("POST", headers=cookie()), 400, "invalid_request"),
        (Ask("POST", headers=cookie(origin="https://evil.example")), 400, "invalid_request"),
    ],
)
async def test_a_cookie(ask, asked, status, error):
    reply = await ask({"tokens_in": BY_COOKIE}, asked)
    assert reply.status == status
    if status == 200:
        assert reply.body == b"alice"
    else:
        assert reply.error == error
        assert reply.header("www-authenticate").startswith('Bearer realm="api"')


@pytest.mark.parametrize("options", [{}, {"tokens_in": TokenPlaces()}])
async def test_cookies_are_off_by_default(ask, options):
    assert (await ask(options, Ask(headers=cookie()))).status == 401
    assert (await ask(options, Ask("POST", headers=cookie("x") + bearer()))).body == b"alice"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        (Ask(), 200, b""),
        (Ask(headers=cookie()), 200, b"alice"),
        (Ask(headers=cookie("forged")), 401, None),
        (Ask("POST", headers=cookie()), 400, None),
        (Ask("POST", raw_path="/health", headers=cookie() + bearer()), 200, b""),
        (Ask("OPTIONS", headers=(("Origin", "https://x"), ("Access-Control-Request-Method", "PUT"))), 200, b""),
    ],
)
async def test_beside_the_other_options(ask, asked, status, body):
    options = {"tokens_in": BY_COOKIE, "optional": True, "exempt": ["/health"], "allow_preflight": True}
    reply = await ask(options, asked)
    assert reply.status == status
    assert body is None or reply.body == body


@pytest.mark.parametrize("places", [True, "cookie", ["cookie"], {"cookie": "a"}])
def test_refuses_other_descriptions_of_places(places):
    for middleware, face in ((asgi.AuthCacheMiddleware, AsyncTableFace()), (wsgi.AuthCacheMiddleware, TableFace())):
        with pytest.raises(ConfigurationError, match="tokens_in: must be TokenPlaces"):
            middleware(None, auth=face, tokens_in=places)


@pytest.mark.parametrize("places", [TokenPlaces(subprotocol=True), TokenPlaces(query=True)])
def test_wsgi_has_no_websockets(places):
    with pytest.raises(ConfigurationError, match="tokens_in: "):
        wsgi.AuthCacheMiddleware(wsgi_app, auth=TableFace(), tokens_in=places)


def test_flask_takes_them_too():
    from flask import Flask

    app = Flask(__name__)
    FlaskMiddleware.init_app(app, TableFace(), tokens_in=BY_COOKIE)
    assert over_wsgi(app, Ask(headers=cookie())).status == 404
    assert over_wsgi(app, Ask("POST", headers=cookie())).status == 400


# The real faces, also where memory answers


def load_user(user_id):
    return {"id": user_id}


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_two_tokens_are_refused_and_counted_where_memory_answers_too(kind, redis_url, prefix):
    with driven(kind, redis_url, load_user=load_user, prefix=prefix, max_staleness=30.0) as auth:
        face, token = auth.face, token_for("1")

        def send(asked):
            if kind == "async":
                middleware = asgi.AuthCacheMiddleware(asgi_app, auth=face, tokens_in=BY_COOKIE)
                return auth._run(over_asgi(middleware, asked))
            return over_wsgi(wsgi.AuthCacheMiddleware(wsgi_app, auth=face, tokens_in=BY_COOKIE), asked)

        def remembered():
            hits = auth.there(face.stats).memory_hits
            assert send(Ask(headers=cookie(token))).body == b"1"
            return auth.there(face.stats).memory_hits > hits

        wait_until(remembered)
        before = auth.there(face.stats)
        assert send(Ask(headers=cookie(token) + bearer(token))).status == 400
        assert send(Ask("POST", headers=cookie(token))).status == 400
        assert send(Ask("POST", headers=cookie(token, origin=OURS))).status == 200
        after = auth.there(face.stats)
        assert (after.refused, after.memory_hits) == (before.refused + 2, before.memory_hits + 1)


# WebSockets


def sock(seen, *, chosen=None):
    async def app(scope, receive, send):
        seen.append(scope)
        await receive()
        await send({"type": "websocket.accept"} | ({} if chosen is None else {"subprotocol": chosen}))

    return app


async def opened(asked, *, chosen=None, **options):
    seen = []
    middleware = asgi.AuthCacheMiddleware(
        sock(seen, chosen=chosen), auth=AsyncTableFace(), **{"tokens_in": EVERYWHERE, **options}
    )
    first, *_ = await over_websocket(middleware, asked, denial=True)
    return first, seen[0] if seen else None


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (Ask(headers=bearer()), None),
        (Ask(headers=cookie(origin=OURS)), None),
        (Ask(extra={"subprotocols": ["bearer", "alice"]}), None),
        (Ask(extra={"query_string": b"access_token=alice"}), None),
        (Ask(), 401),
        (Ask(headers=cookie()), 400),
        (Ask(headers=cookie(origin="https://evil.example")), 400),
        (Ask(extra={"subprotocols": ["bearer", "forged"]}), 401),
        (Ask(extra={"subprotocols": ["alice"]}), 401),
        (Ask(extra={"subprotocols": ["bearer"]}), 400),
        (Ask(extra={"query_string": b"access_token=forged"}), 401),
        (Ask(extra={"query_string": b"access_token=alice&access_token=alice"}), 400),
        (Ask(extra={"query_string": b"access_token=alice"}, headers=bearer()), 400),
        (Ask(extra={"subprotocols": ["bearer", "alice"]}, headers=bearer()), 400),
    ],
)
async def test_a_websocket(asked, status):
    answer, scope = await opened(asked)
    if status is None:
        assert answer["type"] == "websocket.accept"
        assert scope["user"].identity == "alice"
    else:
        assert (answer["type"], answer["status"], scope) == ("websocket.http.response.start", status, None)


@pytest.mark.parametrize(
    ("offered", "chosen", "answered"),
    [
        (["bearer", "alice"], None, "bearer"),
        (["chat", "bearer", "alice"], "chat", "chat"),
        (["chat", "bearer", "alice"], None, "bearer"),
        (["chat", "bearer", "alice"], "alice", "bearer"),
    ],
)
async def test_the_marker_is_answered_and_the_token_never(offered, chosen, answered):
    answer, scope = await opened(Ask(extra={"subprotocols": offered}), chosen=chosen)
    assert answer["subprotocol"] == answered
    assert "alice" not in scope["subprotocols"]


async def test_without_the_marker_the_answer_is_the_applications():
    answer, _ = await opened(Ask(headers=bearer(), extra={"subprotocols": ["chat"]}))
    assert answer.get("subprotocol") is None


async def test_the_application_and_the_servers_log_do_not_see_the_token_in_the_query():
    asked = Ask(extra={"query_string": b"a=1&access_token=alice&b=2"})
    _, scope = await opened(asked)
    assert scope["query_string"] == b"a=1&b=2"


async def test_a_refused_token_is_concealed_too():
    seen = {}

    class Outside(asgi.AuthCacheMiddleware):
        async def __call__(self, scope, receive, send):
            await super().__call__(scope, receive, send)
            seen.update(scope)

    middleware = Outside(sock([]), auth=AsyncTableFace(), tokens_in=EVERYWHERE)
    extra = {"query_string": b"access_token=forged", "subprotocols": ["bearer", "forged2"]}
    await over_websocket(middleware, Ask(extra=extra), denial=True)
    assert "forged" not in str(seen)


async def test_on_exempt_paths_too():
    asked = Ask(raw_path="/live", extra={"subprotocols": ["bearer", "alice"], "query_string": b"access_token=x"})
    answer, scope = await opened(asked, exempt=["/live"])
    assert (answer["subprotocol"], scope["user"], scope["subprotocols"]) == ("bearer", ANONYMOUS, ["bearer"])
    assert scope["query_string"] == b""


async def test_http_requests_keep_their_query():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["query_string"])
        await asgi_app(scope, receive, send)

    middleware = asgi.AuthCacheMiddleware(app, auth=AsyncTableFace(), tokens_in=EVERYWHERE)
    reply = await over_asgi(middleware, Ask(headers=bearer(), extra={"query_string": b"access_token=alice"}))
    assert (reply.status, seen) == (200, [b"access_token=alice"])
    assert (await over_asgi(middleware, Ask(extra={"query_string": b"access_token=alice"}))).status == 401
