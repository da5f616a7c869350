import asyncio
import logging

import pytest
from conformance.drivers import Ask, http_scope, over_asgi
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
        (requires("read", any_scope=["write", "admin"]), {}, Ask(headers=bearer()), 403),
        (requires(any_scope=["read", "write"], any_role=["clerk"]), {}, Ask(headers=bearer()), 200),
        (requires(allows=lambda user, auth: user.name == "Alice"), {}, Ask(headers=bearer()), 200),
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
        assert 'error="insufficient_scope", scope="' in reply.header("www-authenticate")
        assert "write" in reply.header("www-authenticate")


@pytest.mark.parametrize("needs", [{"roles": ["boss"]}, {"any_role": ["boss"]}, {"allows": lambda user, auth: False}])
async def test_no_scope_is_named_where_none_would_help(needs):
    reply = await over_asgi(wrapped(App(requires("read", **needs))), Ask(headers=bearer()))
    assert (reply.status, reply.error) == (403, "insufficient_scope")
    assert reply.header("www-authenticate") == 'Bearer realm="api", error="insufficient_scope"'


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
