import asyncio

import pytest
from conformance.drivers import Ask, over_wsgi
from conformance.faces import TableFace, bearer
from flask import Flask, abort, request
from flask.views import MethodView

import authcache_middleware.flask as adapter
from authcache_middleware import ConfigurationError, UnavailableError, wsgi
from authcache_middleware.flask import AuthCacheMiddleware, current_user, requires


def views(app):
    @app.get("/who")
    def who():
        return current_user().identity

    @app.get("/anyone")
    def anyone():
        return request.environ["authcache.user"].display_name or "nobody"

    @app.get("/read")
    @requires("read")
    def read():
        return "read"

    @app.route("/write/<thing>", methods=["GET", "HEAD"])
    @requires("read", "write")
    def write(thing):
        return f"written {thing}"

    @app.get("/known")
    @requires()
    def known():
        return "known"

    @app.get("/logout")
    def logout():
        raise UnavailableError("redis", retry_after=4)

    @app.get("/teapot")
    def teapot():
        abort(418)

    class Orders(MethodView):
        decorators = (requires("write"),)

        def get(self):
            return "orders"

    @requires(any_role=["boss"])
    class Secrets(MethodView):
        """Secrets."""

        def get(self):
            return "secrets"

    @requires("read", any_role=["clerk"], allows=lambda user, auth: user.name == "Alice")
    class Files(MethodView):
        init_every_request = False

        def get(self):
            return "files"

    assert (Secrets.__name__, Secrets.__module__, Secrets.__doc__) == ("Secrets", __name__, "Secrets.")
    app.add_url_rule("/secrets", view_func=Secrets.as_view("secrets"))
    app.add_url_rule("/files", view_func=Files.as_view("files"))
    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    return app


def initialised(**options):
    app = views(Flask(__name__))
    AuthCacheMiddleware.init_app(app, TableFace(), **options)
    return app


def wrapped(**options):
    app = views(Flask(__name__))
    app.wsgi_app = AuthCacheMiddleware(app.wsgi_app, auth=TableFace(), **options)
    return app


def wrapped_plainly(**options):
    app = views(Flask(__name__))
    app.wsgi_app = wsgi.AuthCacheMiddleware(app.wsgi_app, auth=TableFace(), **options)
    return app


@pytest.fixture(params=[initialised, wrapped, wrapped_plainly], ids=lambda made: made.__name__)
def application(request):
    return request.param


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/who", 200, b"alice"),
        ("/anyone", 200, b"Alice"),
        ("/read", 200, b"read"),
        ("/write/x", 403, None),
        ("/known", 200, b"known"),
        ("/orders", 403, None),
        ("/secrets", 403, None),
        ("/files", 200, b"files"),
        ("/teapot", 418, None),
        ("/nowhere", 404, None),
    ],
)
@pytest.mark.parametrize("testing", [False, True])
def test_a_known_user(application, testing, path, status, body):
    app = application()
    app.testing = testing
    reply = over_wsgi(app, Ask(raw_path=path, headers=bearer()))
    assert reply.status == status
    assert body is None or reply.body == body
    if status == 403:
        assert reply.error == "insufficient_scope"
        assert 'error="insufficient_scope"' in reply.header("www-authenticate")
        assert reply.header("cache-control") == "no-store"


@pytest.mark.parametrize("path", ["/who", "/anyone", "/read", "/nowhere", "/orders"])
def test_nobody(application, path):
    reply = over_wsgi(application(), Ask(raw_path=path))
    assert (reply.status, reply.header("www-authenticate")) == (401, 'Bearer realm="api"')


@pytest.mark.parametrize(
    ("path", "status"), [("/anyone", 200), ("/who", 401), ("/read", 401), ("/known", 401), ("/orders", 401)]
)
def test_the_anonymous_user(application, path, status):
    reply = over_wsgi(application(optional=True, realm="orders"), Ask(raw_path=path))
    assert reply.status == status
    if status == 401:
        assert (reply.header("www-authenticate"), reply.error) == ('Bearer realm="orders"', "unauthorized")


def test_a_head_request_is_refused_without_a_body(application):
    reply = over_wsgi(application(), Ask("HEAD", raw_path="/write/x", headers=bearer()))
    assert (reply.status, reply.body, reply.header("content-length")) == (403, b"", "31")


def test_an_outage_in_a_view_is_503_after_init_app():
    reply = over_wsgi(initialised(), Ask(raw_path="/logout", headers=bearer()))
    assert (reply.status, reply.header("retry-after"), reply.error) == (503, "4", "temporarily_unavailable")


def test_init_app_takes_every_option_and_returns_the_middleware():
    app = views(Flask(__name__))
    face = TableFace()
    middleware = AuthCacheMiddleware.init_app(
        app,
        face,
        exempt=["/anyone"],
        allow_preflight=True,
        realm="orders",
        refusal_body=lambda refusal: ("text/plain", b"no"),
    )
    assert app.wsgi_app is middleware is app.extensions["authcache"]
    assert over_wsgi(app, Ask(raw_path="/anyone")).body == b"nobody"
    assert over_wsgi(app, Ask(raw_path="/who")).body == b"no"
    preflight = (("Origin", "https://x"), ("Access-Control-Request-Method", "GET"))
    assert over_wsgi(app, Ask("OPTIONS", raw_path="/who", headers=preflight)).status == 200
    middleware.close()
    assert face.closed == 1


def test_async_views_are_guarded():
    class OwnLoop(Flask):
        def async_to_sync(self, func):  # Flask's own needs its extra
            return lambda *args, **kwargs: asyncio.run(func(*args, **kwargs))

    app = OwnLoop(__name__)
    AuthCacheMiddleware.init_app(app, TableFace())

    @app.get("/async")
    @requires("write")
    async def never():
        return "written"

    @app.get("/async-read")
    @requires("read")
    async def read():
        return "read"

    assert over_wsgi(app, Ask(raw_path="/async", headers=bearer())).status == 403
    assert over_wsgi(app, Ask(raw_path="/async-read", headers=bearer())).body == b"read"


def test_without_the_middleware_nobody_enters():
    app = views(Flask(__name__))
    app.testing = True
    with pytest.raises(ConfigurationError, match="app: "):
        over_wsgi(app, Ask(raw_path="/read"), validated=False)


def test_refuses_a_class_that_is_no_view():
    with pytest.raises(ConfigurationError, match="view: dict is no View"):
        requires("read")(dict)


def test_refuses_a_scope_that_is_none_at_once():
    with pytest.raises(ConfigurationError, match="scopes: "):
        requires("read write")


def test_the_three_names():
    assert sorted(adapter.__all__) == ["AuthCacheMiddleware", "current_user", "requires"]
