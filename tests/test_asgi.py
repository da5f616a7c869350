import asyncio
import logging

import pytest
from conformance.drivers import Ask, http_scope, over_asgi, over_websocket
from conformance.faces import AsyncTableFace, TableFace, bearer

from authcache_middleware.asgi import AuthCacheMiddleware, current_user, requires
from authcache_middleware.errors import ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.users.user import ANONYMOUS, NO_CREDENTIALS


class App:
    """Answers 200 with the user's identity, and keeps the scopes it saw."""

    def __init__(self, check=None):
        self.scopes = []
        self.check = check

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if self.check is not None:
            self.check(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["user"].identity.encode()})


def wrapped(app=None, *, face=None, **options):
    return AuthCacheMiddleware(app or App(), auth=face or AsyncTableFace(), **options)


async def test_a_good_token_enters_as_its_user():
    app = App()
    reply = await over_asgi(wrapped(app), Ask(headers=bearer()))
    assert (reply.status, reply.body) == (200, b"alice")
    assert app.scopes[0]["auth"].scopes == ("read",)


async def test_without_one_the_application_is_not_called():
    app = App()
    reply = await over_asgi(wrapped(app), Ask())
    assert (reply.status, reply.error) == (401, "unauthorized")
    assert reply.header("www-authenticate") == 'Bearer realm="api"'
    assert app.scopes == []


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        ({"exempt": ["/health"]}, Ask(raw_path="/health", headers=bearer())),
        ({"exempt": ["/health"]}, Ask(raw_path="/health", root_path="/api")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/app.js")),
        ({"optional": True}, Ask()),
        (
            {"allow_preflight": True},
            Ask("OPTIONS", headers=(("Origin", "https://x"), ("Access-Control-Request-Method", "PUT"))),
        ),
    ],
    ids=["exempt", "exempt below root_path", "exempt prefix", "optional", "preflight"],
)
async def test_the_anonymous_user_overwrites_what_stood_there(options, ask):
    app, face = App(), AsyncTableFace()
    ask.extra.update(user="mallory", auth="everything")
    reply = await over_asgi(wrapped(app, face=face, **options), ask)
    assert reply.status == 200
    assert app.scopes[0]["user"] is ANONYMOUS
    assert app.scopes[0]["auth"] is NO_CREDENTIALS


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        ({}, Ask("OPTIONS", headers=(("Origin", "https://x"), ("Access-Control-Request-Method", "PUT")))),
        ({"allow_preflight": True}, Ask("OPTIONS")),
        ({"allow_preflight": True}, Ask("OPTIONS", headers=(("Origin", "https://x"),))),
        ({"allow_preflight": True}, Ask("OPTIONS", headers=(("Access-Control-Request-Method", "PUT"),))),
        (
            {"allow_preflight": True},
            Ask("GET", headers=(("Origin", "https://x"), ("Access-Control-Request-Method", "PUT"))),
        ),
        ({"optional": True}, Ask(headers=(("Authorization", "Basic dTpw"),))),
        ({"optional": True}, Ask(headers=bearer("forged"))),
        ({"exempt": ["/health"]}, Ask(raw_path="/health/")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/%2e%2e/x")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/..%2fx")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/a%2fx")),
    ],
)
async def test_nobody_else_is_anonymous(options, ask):
    app = App()
    assert (await over_asgi(wrapped(app, **options), ask)).status == 401
    assert app.scopes == []


async def test_a_known_user_overwrites_what_stood_there():
    app = App()
    await over_asgi(wrapped(app), Ask(headers=bearer(), extra={"user": "mallory", "auth": None}))
    assert app.scopes[0]["user"].identity == "alice"


async def test_a_head_request_is_refused_without_a_body():
    reply = await over_asgi(wrapped(), Ask("HEAD"))
    assert (reply.status, reply.body) == (401, b"")
    assert reply.header("content-length") == "25"


async def test_a_fault_in_the_face_is_503_and_logged_without_its_message(caplog):
    face = AsyncTableFace(bug=RuntimeError("t0ken"))
    reply = await over_asgi(wrapped(face=face), Ask(headers=bearer("bug")))
    assert (reply.status, reply.error) == (503, "temporarily_unavailable")
    assert reply.header("retry-after") == "1"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "t0ken" not in caplog.text


async def test_cancellation_is_not_an_answer():
    face = AsyncTableFace(gone=asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await over_asgi(wrapped(face=face), Ask(headers=bearer("gone")))


@pytest.mark.parametrize(
    ("check", "options", "ask", "status"),
    [
        (requires("write"), {}, Ask(headers=bearer()), 403),
        (requires("read"), {}, Ask(headers=bearer()), 200),
        (requires("read"), {"optional": True}, Ask(), 401),
        (requires(), {"exempt": ["/"]}, Ask(), 401),
        (current_user, {"exempt": ["/"]}, Ask(), 401),
        (current_user, {}, Ask(headers=bearer()), 200),
    ],
)
async def test_what_the_application_refuses_is_answered(check, options, ask, status):
    reply = await over_asgi(wrapped(App(check), **options), ask)
    assert reply.status == status
    if status == 403:
        assert reply.header("www-authenticate").endswith('error="insufficient_scope", scope="write"')


async def test_an_outage_in_the_application_is_answered():
    async def logging_out(scope, receive, send):
        raise UnavailableError("redis", retry_after=5)

    reply = await over_asgi(wrapped(logging_out), Ask(headers=bearer()))
    assert (reply.status, reply.header("retry-after")) == (503, "5")


@pytest.mark.parametrize("error", [InvalidTokenError("late"), UnavailableError("late")], ids=["refused", "outage"])
async def test_after_the_start_it_is_the_servers_to_see(error):
    async def late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    sent = []

    async def send(message):
        sent.append(message)

    with pytest.raises(type(error)):
        await wrapped(late)(http_scope(Ask(headers=bearer())), None, send)
    assert len(sent) == 1


async def test_before_the_start_hints_may_have_been_sent():
    async def early(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": []})
        raise InvalidTokenError("x")

    sent = []

    async def send(message):
        sent.append(message["type"])

    await wrapped(early)(http_scope(Ask(headers=bearer())), None, send)
    assert sent == ["http.response.early_hint", "http.response.start", "http.response.body"]


async def test_the_applications_own_exceptions_pass():
    async def broken(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await over_asgi(wrapped(broken), Ask(headers=bearer()))


async def test_bodies_stream_untouched():
    received, sent = [], []
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in (b"a", b"b")]

    async def echo(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in parts:
            message = await receive()
            received.append(message)
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
            assert sent[-1]["body"] == message["body"], "held back"

    arriving = iter(parts)

    async def receive():
        return next(arriving)

    async def send(message):
        sent.append(message)

    await wrapped(echo)(http_scope(Ask("POST", headers=bearer())), receive, send)
    assert all(mine is yours for mine, yours in zip(received, parts, strict=True))


# WebSocket


def sock(check=None, *, accept_first=False):
    async def app(scope, receive, send):
        if accept_first:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})
        if check is not None:
            check(scope)
        if not accept_first:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})

    return app


async def test_a_websocket_with_a_good_token_is_accepted():
    assert await over_websocket(wrapped(sock()), Ask(headers=bearer())) == [{"type": "websocket.accept"}]


async def test_a_refused_websocket_is_closed_before_it_is_accepted():
    assert await over_websocket(wrapped(sock()), Ask()) == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.parametrize(
    ("ask", "status"), [(Ask(), 401), (Ask(headers=bearer() * 2), 400), (Ask(headers=bearer("down")), 503)]
)
async def test_a_refused_websocket_gets_the_whole_answer_where_the_server_can(ask, status):
    middleware = wrapped(sock(), face=AsyncTableFace(down=UnavailableError("redis")))
    start, body = await over_websocket(middleware, ask, denial=True)
    http = await over_asgi(middleware, ask)
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == status == http.status
    assert [(name.decode(), value.decode()) for name, value in start["headers"]] == http.headers
    assert body == {"type": "websocket.http.response.body", "body": http.body}


@pytest.mark.parametrize("denial", [False, True])
async def test_a_websocket_that_the_application_refuses_is_denied(denial):
    sent = await over_websocket(wrapped(sock(requires("write"))), Ask(headers=bearer()), denial=denial)
    assert sent[0]["type"] == ("websocket.http.response.start" if denial else "websocket.close")
    assert sent[0].get("status", 403) == 403


async def test_a_handshake_that_the_application_received_is_not_received_twice():
    async def app(scope, receive, send):
        await receive()
        requires("write")(scope)

    sent = await over_websocket(wrapped(app), Ask(headers=bearer()))
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_an_accepted_websocket_keeps_its_exceptions():
    def refuse(scope):
        raise InvalidTokenError("late")

    with pytest.raises(InvalidTokenError):
        await over_websocket(wrapped(sock(refuse, accept_first=True)), Ask(headers=bearer()))


async def test_a_websocket_on_an_exempt_path_is_anonymous():
    seen = []
    sent = await over_websocket(wrapped(sock(seen.append), exempt=["/live"]), Ask(raw_path="/live"))
    assert sent == [{"type": "websocket.accept"}]
    assert seen[0]["user"] is ANONYMOUS


# Everything else


async def test_other_connections_pass_untouched():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    scope, receive, send = {"type": "mqtt"}, object(), object()
    await wrapped(app)(scope, receive, send)
    assert scope == {"type": "mqtt"}
    assert seen[0][1] is receive
    assert seen[0][2] is send


async def lifespan(middleware, messages, *, sent):
    arriving = iter({"type": f"lifespan.{name}"} for name in messages)

    async def receive():
        return next(arriving)

    async def send(message):
        sent.append(message["type"])

    await middleware({"type": "lifespan"}, receive, send)


async def test_the_face_is_closed_before_the_end_is_told():
    face, sent, closed_at = AsyncTableFace(), [], []

    async def app(scope, receive, send):
        for part in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{part}"
            closed_at.append(face.closed)
            await send({"type": f"lifespan.{part}.complete"})

    await lifespan(wrapped(app, face=face), ["startup", "shutdown"], sent=sent)
    assert closed_at == [0, 0], "the application may use the face in its own shutdown"
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert face.closed == 1


@pytest.mark.parametrize("end", ["lifespan.shutdown.failed", "lifespan.startup.failed"])
async def test_it_is_closed_as_well_where_the_application_fails(end):
    face, sent = AsyncTableFace(), []

    async def app(scope, receive, send):
        await send({"type": end})

    await lifespan(wrapped(app, face=face), [], sent=sent)
    assert (sent, face.closed) == ([end], 1)


async def test_the_end_is_told_even_if_closing_fails():
    class Stuck(AsyncTableFace):
        async def aclose(self):
            raise OSError

    async def app(scope, receive, send):
        await send({"type": "lifespan.shutdown.complete"})

    sent = []
    with pytest.raises(OSError):
        await lifespan(wrapped(app, face=Stuck()), [], sent=sent)
    assert sent == ["lifespan.shutdown.complete"]


async def test_an_application_without_a_lifespan_keeps_its_face():
    async def app(scope, receive, send):
        raise NotImplementedError

    face = AsyncTableFace()
    with pytest.raises(NotImplementedError):
        await lifespan(wrapped(app, face=face), [], sent=[])
    assert face.closed == 0


# Options


@pytest.mark.parametrize("face", [TableFace(), None, "redis://", object()])
def test_refuses_another_face(face):
    with pytest.raises(ConfigurationError, match="auth: an ASGI application needs an AsyncAuthCache"):
        AuthCacheMiddleware(App(), auth=face)


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"exempt": "/health"}, "exempt"), ({"realm": 'a"'}, "realm"), ({"refusal_body": 1}, "refusal_body")],
)
def test_refuses_wrong_options_at_once(options, argument):
    with pytest.raises(ConfigurationError) as wrong:
        wrapped(**options)
    assert wrong.value.argument == argument


def test_refuses_a_scope_that_is_none_at_once():
    with pytest.raises(ConfigurationError):
        requires("read write")


async def test_realm_and_body_are_the_applications():
    middleware = wrapped(realm="orders", refusal_body=lambda refusal: ("text/plain", refusal.error.encode()))
    reply = await over_asgi(middleware, Ask())
    assert reply.header("www-authenticate") == 'Bearer realm="orders"'
    assert (reply.header("content-type"), reply.body) == ("text/plain", b"unauthorized")
