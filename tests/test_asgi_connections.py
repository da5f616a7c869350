"""The middleware on connections that are no HTTP requests: WebSockets, the lifespan, everything else."""

import pytest
from conformance.drivers import Ask, over_asgi, over_websocket
from conformance.faces import AsyncTableFace, bearer

from authcache_middleware.asgi import AuthCacheMiddleware, requires
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.users.user import ANONYMOUS


def wrapped(app, *, face=None, **options):
    return AuthCacheMiddleware(app, auth=face or AsyncTableFace(), **options)


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
