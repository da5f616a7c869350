import functools

import pytest
from conformance.drivers import Ask, over_asgi, over_websocket
from conformance.faces import AsyncTableFace, bearer
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.authentication import requires as starlette_requires
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import authcache_middleware.starlette as adapter
from authcache_middleware import ConfigurationError, UnavailableError, asgi
from authcache_middleware.starlette import AuthCacheMiddleware, current_user, requires
from authcache_middleware.users.user import NO_CREDENTIALS, Credentials


async def who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(current_user(request).identity)


async def anyone(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.user.display_name or "nobody")


@requires("read")
async def read(request: Request) -> PlainTextResponse:
    return PlainTextResponse("read")


@requires("read", "write")
async def write(request: Request) -> PlainTextResponse:
    return PlainTextResponse("written")


@requires("read")
def read_plainly(any_name: HTTPConnection) -> PlainTextResponse:
    return PlainTextResponse("read")


@requires("write")
def write_plainly(any_name: HTTPConnection) -> PlainTextResponse:
    return PlainTextResponse("written")


@requires()
async def known(request: Request) -> PlainTextResponse:
    return PlainTextResponse("known")


@starlette_requires("read")
async def starlettes_own(request: Request) -> PlainTextResponse:
    return PlainTextResponse("read")


class Orders(HTTPEndpoint):
    @requires("read")
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("read")

    @requires("write")
    def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("written")


@requires(any_role=["clerk", "boss"])
class Files(HTTPEndpoint):
    """Files."""

    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("files")

    def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("filed")


@requires(any_role=["boss"])
class Secrets(Files):
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("secrets")


@requires("read", allows=lambda user, auth: user.name == "Alice")
def hers(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hers")


@requires("write")
class Feed(WebSocketEndpoint):
    async def on_connect(self, websocket: WebSocket) -> None:
        raise AssertionError


@requires("read")
class FeedRead(WebSocketEndpoint):
    async def dispatch(self) -> None:
        await WebSocket(self.scope, self.receive, self.send).accept()


async def logging_out(request: Request) -> PlainTextResponse:
    raise UnavailableError("redis")


@requires("write")
async def live(websocket: WebSocket) -> None:
    await websocket.accept()


@requires("read")
async def live_read(websocket: WebSocket) -> None:
    await websocket.accept()


ROUTES = [
    Route("/who", who),
    Route("/anyone", anyone),
    Route("/read", read),
    Route("/write", write),
    Route("/read-plainly", read_plainly),
    Route("/write-plainly", write_plainly),
    Route("/known", known),
    Route("/own", starlettes_own),
    Route("/orders", Orders),
    Route("/files", Files),
    Route("/secrets", Secrets),
    Route("/hers", hers),
    WebSocketRoute("/feed", Feed),
    WebSocketRoute("/feed-read", FeedRead),
    Route("/logout", logging_out),
    WebSocketRoute("/live", live),
    WebSocketRoute("/live-read", live_read),
]


def application(*others, **options):
    middleware = Middleware(AuthCacheMiddleware, auth=AsyncTableFace(), **options)
    return Starlette(routes=[*ROUTES, Mount("/api", routes=ROUTES)], middleware=[*others, middleware])


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/who", 200, b"alice"),
        ("/anyone", 200, b"Alice"),
        ("/read", 200, b"read"),
        ("/write", 403, None),
        ("/read-plainly", 200, b"read"),
        ("/write-plainly", 403, None),
        ("/known", 200, b"known"),
        ("/own", 200, b"read"),
        ("/orders", 200, b"read"),
        ("/files", 200, b"files"),
        ("/secrets", 403, None),
        ("/hers", 200, b"hers"),
        ("/api/who", 200, b"alice"),
        ("/api/write", 403, None),
        ("/logout", 503, None),
        ("/nowhere", 404, b"Not Found"),
    ],
)
async def test_a_known_user(path, status, body):
    reply = await over_asgi(application(), Ask(raw_path=path, headers=bearer()))
    assert reply.status == status
    assert body is None or reply.body == body
    if status == 403:
        assert 'error="insufficient_scope"' in reply.header("www-authenticate")


@pytest.mark.parametrize("path", ["/who", "/anyone", "/read", "/nowhere", "/orders", "/files"])
async def test_nobody(path):
    reply = await over_asgi(application(), Ask(raw_path=path))
    assert (reply.status, reply.header("www-authenticate")) == (401, 'Bearer realm="api"')


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/anyone", 200),
        ("/who", 401),
        ("/read", 401),
        ("/read-plainly", 401),
        ("/known", 401),
        ("/own", 403),
        ("/files", 401),
    ],
)
async def test_the_anonymous_user(path, status):
    reply = await over_asgi(application(optional=True), Ask(raw_path=path))
    assert reply.status == status
    if status == 401:
        assert reply.header("www-authenticate") == 'Bearer realm="api"'


async def test_methods_of_an_endpoint_are_guarded_one_by_one():
    reply = await over_asgi(application(), Ask("POST", raw_path="/orders", headers=bearer()))
    assert (reply.status, reply.error) == (403, "insufficient_scope")


@pytest.mark.parametrize("denial", [False, True])
async def test_websockets_are_guarded(denial):
    app = application()
    sent = await over_websocket(app, Ask(raw_path="/live-read", headers=bearer()), denial=denial)
    assert sent[0]["type"] == "websocket.accept"
    sent = await over_websocket(app, Ask(raw_path="/live", headers=bearer()), denial=denial)
    assert sent[0]["type"] == ("websocket.http.response.start" if denial else "websocket.close")


async def test_refusals_come_through_other_middleware():
    async def passing(request, call_next):
        return await call_next(request)

    inner = Middleware(BaseHTTPMiddleware, dispatch=passing)
    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(GZipMiddleware), Middleware(AuthCacheMiddleware, auth=AsyncTableFace()), inner],
    )
    assert (await over_asgi(app, Ask(raw_path="/write", headers=bearer()))).status == 403


async def test_middleware_above_sees_the_user_and_what_the_router_found():
    seen = {}

    class Tracing:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            seen.update(scope)

    await over_asgi(application(Middleware(Tracing)), Ask(raw_path="/who", headers=bearer()))
    assert seen["user"].identity == "alice"
    assert seen["endpoint"] is who


async def test_the_endpoint_may_be_a_partial_and_gets_the_request_by_keyword():
    async def endpoint(extra, *, request):
        return extra

    request = Request({"type": "http", "user": object(), "auth": Credentials(NO_CREDENTIALS.claims, ())})
    assert await requires()(functools.partial(endpoint, 1))(request=request) == 1


@pytest.mark.parametrize(("path", "answer"), [("/feed-read", "websocket.accept"), ("/feed", "websocket.close")])
async def test_a_websocket_class_is_guarded(path, answer):
    sent = await over_websocket(application(), Ask(raw_path=path, headers=bearer()))
    assert sent[0]["type"] == answer


async def test_a_class_is_guarded_with_all_its_methods_and_keeps_its_name():
    assert (await over_asgi(application(), Ask("POST", raw_path="/files", headers=bearer()))).body == b"filed"
    assert (await over_asgi(application(), Ask("POST", raw_path="/secrets", headers=bearer()))).status == 403
    assert (Files.__name__, Files.__module__, Files.__doc__) == ("Files", __name__, "Files.")


def test_refuses_a_class_that_is_no_endpoint():
    with pytest.raises(ConfigurationError, match="endpoint: Request is no HTTPEndpoint"):
        requires("read")(Request)


def test_refuses_an_endpoint_without_the_request():
    with pytest.raises(ConfigurationError, match="endpoint: "):
        requires("read")(lambda: None)()


def test_refuses_a_scope_that_is_none_at_once():
    with pytest.raises(ConfigurationError, match="scopes: "):
        requires("read write")


async def test_without_the_middleware_nobody_enters():
    with pytest.raises(ConfigurationError, match="app: "):
        await over_asgi(Starlette(routes=ROUTES), Ask(raw_path="/read"))


class Nobody(AuthenticationBackend):
    async def authenticate(self, conn):
        return None  # Starlette then puts its UnauthenticatedUser into the scope


@pytest.mark.parametrize("path", ["/who", "/known", "/read"])
async def test_nobody_of_starlettes_own_middleware_is_no_known_user(path):
    own = Middleware(AuthenticationMiddleware, backend=Nobody())
    with pytest.raises(ConfigurationError, match="app: "):
        await over_asgi(Starlette(routes=ROUTES, middleware=[own]), Ask(raw_path=path))
    behind = AuthCacheMiddleware(Starlette(routes=ROUTES, middleware=[own]), auth=AsyncTableFace(), optional=True)
    with pytest.raises(ConfigurationError, match="app: "):
        await over_asgi(behind, Ask(raw_path=path))


def test_the_three_names():
    assert sorted(adapter.__all__) == ["AuthCacheMiddleware", "current_user", "requires"]
    assert adapter.AuthCacheMiddleware is asgi.AuthCacheMiddleware
