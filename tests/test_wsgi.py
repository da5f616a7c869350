import logging

import pytest
from conformance.drivers import Ask, over_wsgi, wsgi_environ
from conformance.faces import AsyncTableFace, TableFace, bearer, identity

from authcache_middleware.errors import ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.users.user import ANONYMOUS, NO_CREDENTIALS
from authcache_middleware.wsgi import AuthCacheMiddleware, current_user, requires

PREFLIGHT = (("Origin", "https://x"), ("Access-Control-Request-Method", "PUT"))


class App:
    """Answers 200 with the user's identity, and keeps the environments it saw."""

    def __init__(self, check=None):
        self.environs = []
        self.check = check

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        if self.check is not None:
            self.check(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["authcache.user"].identity.encode()]


def wrapped(app=None, *, face=None, **options):
    return AuthCacheMiddleware(app or App(), auth=face or TableFace(), **options)


def test_a_good_token_enters_as_its_user():
    app = App()
    reply = over_wsgi(wrapped(app), Ask(headers=bearer()))
    assert (reply.status, reply.body) == (200, b"alice")
    assert app.environs[0]["authcache.auth"].scopes == ("read",)
    assert app.environs[0]["REMOTE_USER"] == "alice"


def test_without_one_the_application_is_not_called():
    app = App()
    reply = over_wsgi(wrapped(app), Ask())
    assert (reply.status, reply.error) == (401, "unauthorized")
    assert reply.header("www-authenticate") == 'Bearer realm="api"'
    assert app.environs == []


INHERITED = {"REMOTE_USER": "mallory", "authcache.user": "mallory", "authcache.auth": "all", "authcache.answer": 1}


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        ({"exempt": ["/health"]}, Ask(raw_path="/health", headers=bearer())),
        ({"exempt": ["/health"]}, Ask(raw_path="/health", root_path="/api")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/app.js")),
        ({"optional": True}, Ask()),
        ({"allow_preflight": True}, Ask("OPTIONS", headers=PREFLIGHT)),
    ],
    ids=["exempt", "exempt below SCRIPT_NAME", "exempt prefix", "optional", "preflight"],
)
def test_the_anonymous_user_overwrites_what_stood_there(options, ask):
    app = App()
    ask.extra.update(INHERITED)
    assert over_wsgi(wrapped(app, **options), ask).status == 200
    assert app.environs[0]["authcache.user"] is ANONYMOUS
    assert app.environs[0]["authcache.auth"] is NO_CREDENTIALS
    assert callable(app.environs[0]["authcache.answer"])
    assert "REMOTE_USER" not in app.environs[0]


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        ({}, Ask("OPTIONS", headers=PREFLIGHT)),
        ({"allow_preflight": True}, Ask("OPTIONS")),
        ({"allow_preflight": True}, Ask("OPTIONS", headers=PREFLIGHT[:1])),
        ({"allow_preflight": True}, Ask("OPTIONS", headers=PREFLIGHT[1:])),
        ({"allow_preflight": True}, Ask("GET", headers=PREFLIGHT)),
        ({"optional": True}, Ask(headers=(("Authorization", "Basic dTpw"),))),
        ({"optional": True}, Ask(headers=(("Authorization", ""),))),
        ({"optional": True}, Ask(headers=bearer("forged"))),
        ({"exempt": ["/health"]}, Ask(raw_path="/health/")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/%2e%2e/x")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/..%2fx")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/a%2fx")),
        ({"exempt": ["/s/*"]}, Ask(raw_path="/s/%ff")),
    ],
)
def test_nobody_else_is_anonymous(options, ask):
    app = App()
    assert over_wsgi(wrapped(app, **options), ask).status == 401
    assert app.environs == []


def test_a_known_user_overwrites_what_stood_there():
    app = App()
    over_wsgi(wrapped(app), Ask(headers=bearer(), extra=dict(INHERITED)))
    assert app.environs[0]["authcache.user"].identity == app.environs[0]["REMOTE_USER"] == "alice"


@pytest.mark.parametrize(
    "subjects",
    [("\u00e9", "\u00c3\u00a9"), ("\u0133", "\u00c4\u00b3"), ("\u4e2d", "\U0001f600")],
)
def test_remote_user_is_a_native_string_and_no_two_subjects_become_one(subjects):
    seen = []
    for subject in subjects:
        app = App()
        over_wsgi(wrapped(app, face=TableFace(t=identity(subject))), Ask(headers=bearer("t")))
        seen.append(app.environs[0]["REMOTE_USER"])
        assert seen[-1].encode("latin-1").decode() == subject
    assert len(set(seen)) == 2


def test_remote_user_is_the_subject_whatever_the_applications_user_is():
    app = App(lambda environ: None)
    face = TableFace(t=identity("7", user=type("Account", (), {"identity": "x"})()))
    over_wsgi(wrapped(app, face=face), Ask(headers=bearer("t")))
    assert app.environs[0]["REMOTE_USER"] == "7"


def test_two_headers_joined_by_the_server_are_malformed():
    assert over_wsgi(wrapped(), Ask(headers=bearer() * 2)).status == 400


def test_a_head_request_is_refused_without_a_body():
    reply = over_wsgi(wrapped(), Ask("HEAD"))
    assert (reply.status, reply.body, reply.header("content-length")) == (401, b"", "25")


def test_a_fault_in_the_face_is_503_and_logged_without_its_message(caplog):
    reply = over_wsgi(wrapped(face=TableFace(bug=RuntimeError("t0ken"))), Ask(headers=bearer("bug")))
    assert (reply.status, reply.error) == (503, "temporarily_unavailable")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "t0ken" not in caplog.text


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
def test_what_the_application_refuses_is_answered(check, options, ask, status):
    reply = over_wsgi(wrapped(App(check), **options), ask)
    assert reply.status == status
    if status == 403:
        assert reply.header("www-authenticate").endswith('error="insufficient_scope", scope="write"')


def test_what_was_started_but_not_sent_is_replaced():
    def late(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        raise UnavailableError("redis", retry_after=5)

    reply = over_wsgi(wrapped(late), Ask(headers=bearer()))
    assert (reply.status, reply.header("retry-after")) == (503, "5")


def test_what_was_sent_is_the_servers_to_see():
    def late(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"part")
        raise InvalidTokenError("late")

    def start_response(status, headers, exc_info=None):
        if exc_info is not None:
            raise exc_info[1]
        return lambda body: None

    with pytest.raises(InvalidTokenError):
        wrapped(late)(wsgi_environ(Ask(headers=bearer())), start_response)


def test_the_applications_own_exceptions_pass():
    def broken(environ, start_response):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        over_wsgi(wrapped(broken), Ask(headers=bearer()))


def test_the_iterable_is_the_applications_own():
    class Streaming:
        closed = False

        def __iter__(self):
            yield b"a"
            yield b"b"

        def close(self):
            self.closed = True

    body = Streaming()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    assert wrapped(app)(wsgi_environ(Ask(headers=bearer())), lambda status, headers: None) is body
    assert over_wsgi(wrapped(app), Ask(headers=bearer())).body == b"ab"
    assert body.closed


def test_close_closes_the_face():
    face = TableFace()
    wrapped(face=face).close()
    assert face.closed == 1


@pytest.mark.parametrize("face", [AsyncTableFace(), None, "redis://", object()])
def test_refuses_another_face(face):
    with pytest.raises(ConfigurationError, match="auth: a WSGI application needs an AuthCache"):
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
