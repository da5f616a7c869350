import inspect
import json
import threading
from typing import Annotated

import pytest
from conformance.drivers import Ask, over_asgi, over_websocket
from conformance.faces import AsyncTableFace, bearer
from fastapi import APIRouter, Depends, FastAPI, Request, Security, WebSocket
from fastapi.security import APIKeyHeader

import authcache_middleware.fastapi as adapter
from authcache_middleware import ConfigurationError, TokenPlaces, UnavailableError, User
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user, requires

CurrentUser = Annotated[User, Depends(current_user)]
ALL_EXEMPT = ["/health", "/static/*", "/openapi.json"]


def application(*, dependencies=(), installed=True, **options):
    app = FastAPI(dependencies=dependencies)
    if installed:
        app.add_middleware(AuthCacheMiddleware, auth=AsyncTableFace(), **{"exempt": ALL_EXEMPT, **options})

    @app.get("/me")
    async def me(user: CurrentUser) -> str:
        return user.identity

    @app.get("/read")
    async def read(user: Annotated[User, Depends(requires("read"))]) -> str:
        return user.identity

    @app.get("/write", dependencies=[Depends(requires("read", "write"))])
    def write() -> str:
        return "written"

    @app.get("/any", dependencies=[Depends(requires("read", any_scope=["write", "read"], any_role=["clerk"]))])
    def any_of() -> str:
        return "any"

    @app.get("/boss", dependencies=[Depends(requires(roles=["boss"]))])
    def boss() -> str:
        return "boss"

    @app.get("/either")
    async def either(user: Annotated[User, Depends(requires(any_scope=["write", "read"]))]) -> str:
        return user.identity

    @app.get("/either-write")
    async def either_write(user: Annotated[User, Security(requires(any_scope=["read"]), scopes=["write"])]) -> str:
        return user.identity

    @app.get("/both")
    async def both(user: Annotated[User, Security(requires("read"), scopes=["write"])]) -> str:
        return user.identity

    @app.get("/security")
    async def security(user: Annotated[User, Security(current_user, scopes=["read"])]) -> str:
        return user.identity

    @app.get("/security-write")
    async def security_write(user: Annotated[User, Security(current_user, scopes=["write"])]) -> str:
        return user.identity

    @app.get("/anyone")
    async def anyone(request: Request) -> str:
        return request.user.identity or "nobody"

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.get("/static/{name:path}")
    def static(name: str) -> str:
        return name

    @app.get("/key")
    def key(key: Annotated[str | None, Depends(APIKeyHeader(name="x-key", auto_error=False))]) -> None: ...

    @app.post("/logout")
    async def logout() -> None:
        raise UnavailableError("redis")

    @app.websocket("/live")
    async def live(websocket: WebSocket, user: Annotated[User, Depends(requires("write"))]) -> None:
        await websocket.accept()

    @app.websocket("/live-read")
    async def live_read(websocket: WebSocket, user: Annotated[User, Depends(requires("read"))]) -> None:
        await websocket.accept()

    sub = APIRouter(prefix="/sub", dependencies=[Depends(current_user)])

    @sub.get("/orders")
    async def orders() -> str:
        return "orders"

    app.include_router(sub)
    return app


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/me", 200, "alice"),
        ("/read", 200, "alice"),
        ("/write", 403, None),
        ("/security", 200, "alice"),
        ("/security-write", 403, None),
        ("/any", 200, "any"),
        ("/boss", 403, None),
        ("/both", 403, None),
        ("/either", 200, "alice"),
        ("/either-write", 403, None),
        ("/anyone", 200, "alice"),
        ("/health", 200, "ok"),
        ("/sub/orders", 200, "orders"),
    ],
)
async def test_a_known_user(path, status, answer):
    reply = await over_asgi(application(), Ask(raw_path=path, headers=bearer()))
    assert reply.status == status
    if status == 200:
        assert json.loads(reply.body) == answer
    else:
        assert 'error="insufficient_scope"' in reply.header("www-authenticate")


@pytest.mark.parametrize("path", ["/me", "/read", "/anyone", "/docs", "/nowhere"])
async def test_nobody(path):
    assert (await over_asgi(application(), Ask(raw_path=path))).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/anyone", 200),
        ("/me", 401),
        ("/read", 401),
        ("/boss", 401),
        ("/either", 401),
        ("/security", 401),
        ("/sub/orders", 401),
        ("/health", 200),
    ],
)
async def test_the_anonymous_user(path, status):
    reply = await over_asgi(application(optional=True), Ask(raw_path=path))
    assert reply.status == status
    if status == 401:
        assert reply.header("www-authenticate") == 'Bearer realm="api"'


async def test_an_outage_in_an_endpoint_is_503():
    assert (await over_asgi(application(), Ask("POST", raw_path="/logout", headers=bearer()))).status == 503


@pytest.mark.parametrize(("path", "answer"), [("/live-read", "websocket.accept"), ("/live", "websocket.close")])
async def test_websockets_are_guarded(path, answer):
    sent = await over_websocket(application(), Ask(raw_path=path, headers=bearer()))
    assert sent[0]["type"] == answer


async def test_the_dependencies_run_in_the_event_loops_thread():
    threads = []

    class Watched(AsyncTableFace):
        def recall_or_nobody(self, headers):
            return None

        async def authenticate(self, headers):
            identity = await super().authenticate(headers)
            return identity._replace(auth=identity.auth._replace(scopes=Watching(identity.auth.scopes)))

    class Watching(tuple):
        __slots__ = ()

        def __contains__(self, scope):
            threads.append(threading.current_thread())
            return super().__contains__(scope)

    app = application(installed=False)
    app.add_middleware(AuthCacheMiddleware, auth=Watched())
    await over_asgi(app, Ask(raw_path="/read", headers=bearer()))
    assert set(threads) == {threading.main_thread()}
    for dependency in (current_user, current_user.__class__.__mro__[1]()):
        assert inspect.iscoroutinefunction(type(dependency).__call__)


# OpenAPI

BEARER = {"bearer": []}
SCHEME = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


async def locks(app):
    reply = await over_asgi(app, Ask(raw_path="/openapi.json", headers=bearer()))
    document = json.loads(reply.body)
    assert document["components"]["securitySchemes"]["bearer"] == SCHEME
    return {path: operation.get("security") for path, item in document["paths"].items() for operation in item.values()}


@pytest.mark.parametrize("dependencies", [(), (Depends(current_user),)], ids=["plain", "current_user everywhere"])
async def test_every_operation_is_locked_but_the_exempt_ones(dependencies):
    seen = await locks(application(dependencies=dependencies))
    assert seen.pop("/health") is None
    assert seen.pop("/static/{name}") is None
    key = seen.pop("/key")
    assert {"APIKeyHeader": [], "bearer": []} in key
    assert all("bearer" in alternative for alternative in key)
    assert len(seen) == 13
    assert {path: lock for path, lock in seen.items() if lock != [BEARER]} == {
        "/read": [{"bearer": ["read"]}],
        "/write": [{"bearer": ["read", "write"]}],
        "/any": [{"bearer": ["read"]}],
        "/boss": [{"bearer": ["boss"]}],
        "/both": [{"bearer": ["write", "read"]}],
        "/either-write": [{"bearer": ["write"]}],
        "/security": [{"bearer": ["read"]}],
        "/security-write": [{"bearer": ["write"]}],
    }


async def test_optional_locks_stay_open_where_nobody_asks_for_the_user():
    seen = await locks(application(optional=True))
    assert seen["/anyone"] == [{}, BEARER]
    assert seen["/me"] == seen["/sub/orders"] == [BEARER]
    assert seen["/boss"] == [{"bearer": ["boss"]}]
    assert seen["/health"] is None


async def test_a_cookie_is_another_way_in_where_tokens_may_stand_in_one():
    places = TokenPlaces(cookie=True, origins=["https://app.example"])
    app = application(tokens_in=places)
    reply = await over_asgi(app, Ask(raw_path="/openapi.json", headers=bearer()))
    document = json.loads(reply.body)
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"] == SCHEME
    assert (schemes["cookie"]["in"], schemes["cookie"]["name"]) == ("cookie", "__Host-access_token")
    paths = {path: item["get"].get("security") for path, item in document["paths"].items() if "get" in item}
    assert paths["/anyone"] == [BEARER, {"cookie": []}]
    assert paths["/read"] == [{"bearer": ["read"]}, {"cookie": ["read"]}]
    assert {"APIKeyHeader": [], "cookie": []} in paths["/key"]
    assert paths["/health"] is None


async def test_without_the_header_there_is_no_bearer_scheme():
    places = TokenPlaces(header=False, cookie="token", csrf_cookie=True)
    app = application(tokens_in=places, exempt=["/openapi.json"])
    document = json.loads((await over_asgi(app, Ask(raw_path="/openapi.json"))).body)
    assert "bearer" not in document["components"]["securitySchemes"]
    assert document["paths"]["/read"]["get"]["security"] == [{"cookie": ["read"]}]
    assert "bearer" not in str(list(document["paths"].values()))


async def test_places_of_websockets_alone_change_nothing():
    assert (await locks(application(tokens_in=TokenPlaces(subprotocol=True))))["/anyone"] == [BEARER]


async def test_the_document_is_locked_however_the_middleware_was_put_in():
    app = application(installed=False)
    outside = AuthCacheMiddleware(app, auth=AsyncTableFace(), exempt=ALL_EXEMPT)
    seen = await locks(outside)
    assert seen["/anyone"] == [BEARER]
    assert seen == await locks(outside), "asked twice"


async def test_routes_added_later_are_locked_as_well():
    app = application()
    await locks(app)

    @app.get("/late")
    def late() -> None: ...

    app.openapi_schema = None
    assert (await locks(app))["/late"] == [BEARER]


def test_before_the_first_connection_the_dependencies_are_shown():
    document = application().openapi()
    assert document["paths"]["/me"]["get"]["security"] == [BEARER]
    assert "security" not in document["paths"]["/anyone"]["get"]
    assert document["components"]["securitySchemes"]["bearer"] == SCHEME


async def test_other_applications_are_none_of_its_business():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})

    reply = await over_asgi(AuthCacheMiddleware(app, auth=AsyncTableFace()), Ask(headers=bearer()))
    assert reply.status == 204


async def test_a_dependency_can_be_overridden_in_tests():
    app = application()
    app.dependency_overrides[current_user] = lambda: User("bob", {})
    assert json.loads((await over_asgi(app, Ask(raw_path="/me", headers=bearer()))).body) == "bob"


async def test_without_the_middleware_nobody_enters():
    with pytest.raises(ConfigurationError, match="app: "):
        await over_asgi(application(installed=False), Ask(raw_path="/me"))


def test_refuses_a_scope_that_is_none_at_once():
    with pytest.raises(ConfigurationError, match="scopes: "):
        requires("read write")


def test_the_three_names():
    assert sorted(adapter.__all__) == ["AuthCacheMiddleware", "current_user", "requires"]
