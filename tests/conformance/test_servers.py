"""Where servers differ: denied WebSockets, headers that come twice, odd paths. Real servers, real sockets."""

import contextlib
import http.client
import json
import logging
import socket
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn
import waitress.server
from conformance.faces import AsyncTableFace, TableFace
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from authcache_middleware import TokenPlaces, asgi, wsgi
from authcache_middleware.errors import UnavailableError

OPTIONS = {"exempt": ["/health", "/static/*"]}


async def asgi_app(scope, receive, send):
    if scope["type"] == "lifespan":
        for part in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{part}.complete"})
    elif scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/write":
            asgi.requires("write")(scope)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["user"].identity})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["user"].identity.encode()})


def wsgi_app(environ, start_response):
    body = environ["authcache.user"].identity.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


@contextlib.contextmanager
def uvicorn_server(*, tokens_in=None, **settings):
    face = AsyncTableFace(down=UnavailableError("redis"))
    app = asgi.AuthCacheMiddleware(asgi_app, auth=face, tokens_in=tokens_in, **OPTIONS)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, **{"log_level": "error", **settings}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
    assert face.closed == 1, "the lifespan's end closes the face"


@contextlib.contextmanager
def waitress_server():
    server = waitress.server.create_server(
        wsgi.AuthCacheMiddleware(wsgi_app, auth=TableFace(), **OPTIONS), host="127.0.0.1", port=0, map={}
    )
    over = threading.Event()

    def run():
        """``server.run``, that ends in its own thread: closed in another one, ``select`` finds what is gone."""
        while not over.is_set():
            server.asyncore.loop(timeout=1.0, map=server._map, count=1)
        server.close()
        server.asyncore.close_all(server._map)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        over.set()
        server.pull_trigger()
        thread.join(10)


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *said):
        pass


@contextlib.contextmanager
def wsgiref_server():
    app = wsgi.AuthCacheMiddleware(wsgi_app, auth=TableFace(), **OPTIONS)
    with make_server("127.0.0.1", 0, app, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(10)


SERVERS = {
    "uvicorn, h11": lambda: uvicorn_server(http="h11"),
    "uvicorn, httptools": lambda: uvicorn_server(http="httptools"),
    "waitress": waitress_server,
    "wsgiref": wsgiref_server,
}


@pytest.fixture(scope="module", params=SERVERS)
def port(request):
    if request.param.endswith("httptools"):
        pytest.importorskip("httptools")
    with SERVERS[request.param]() as port:
        yield port


def ask(port, path, *authorizations, method="GET"):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.putrequest(method, path)
        for authorization in authorizations:
            connection.putheader("Authorization", authorization)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer


@pytest.mark.parametrize(
    ("authorizations", "status"),
    [
        ((), 401),
        (("Bearer alice",), 200),
        (("bearer   alice  ",), 200),
        (("Bearer alice", "Bearer alice"), 400),
        (("Bearer alice", "Basic dTpw"), 400),
        (("Basic dTpw", "Bearer alice"), 400),
        (("", "Bearer alice"), 400),
        (("Bearer alice", ""), 400),
        (("Bearer alice, Bearer alice",), 400),
        (("Bearer\talice",), 400),
        (("Bearer al\xe9ce",), 400),
        (("Basic dTpw",), 401),
        (("",), 401),
    ],
)
def test_headers(port, authorizations, status):
    answered, body, answer = ask(port, "/", *authorizations)
    assert answered == status
    if status == 200:
        assert body == b"alice"
    else:
        assert answer.headers["www-authenticate"].startswith('Bearer realm="api"')


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/health?x=1", 200),
        ("/static/app.js", 200),
        ("/static/app.js?x=%2f", 200),
        ("/health/", 401),
        ("/static/../orders", 401),
        ("/static/%2e%2e/orders", 401),
        ("/static//app.js", 401),
        ("/static/.git/config", 401),
        ("/static/a%5cb", 401),
        ("/static/%ff", 401),
        ("/static/%252e", 401),
    ],
)
def test_paths(port, path, status):
    assert ask(port, path)[0] == status


@pytest.mark.parametrize("path", ["/static/a%2fb", "/static/a%2Fb"])
def test_an_encoded_slash_is_no_way_in_where_the_server_tells(port, path, request):
    told = "wsgiref" not in request.node.name  # it decodes the path, and does not say how it was sent
    assert ask(port, path)[0] == (401 if told else 200)


def test_a_head_request_is_refused_without_a_body(port):
    status, body, answer = ask(port, "/", method="HEAD")
    assert (status, body, answer.headers["content-length"]) == (401, b"", "25")


# WebSocket


@pytest.fixture(scope="module")
def sockets():
    with uvicorn_server(ws="websockets-sansio") as port:
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("path", "headers", "status", "error"),
    [
        ("/", {}, 401, "unauthorized"),
        ("/", {"Authorization": "Bearer forged"}, 401, "invalid_token"),
        ("/", {"Authorization": "Bearer"}, 400, "invalid_request"),
        ("/", {"Authorization": "Bearer down"}, 503, "temporarily_unavailable"),
        ("/write", {"Authorization": "Bearer alice"}, 403, "insufficient_scope"),
    ],
)
def test_a_refused_websocket_gets_the_whole_answer(sockets, path, headers, status, error):
    with pytest.raises(InvalidStatus) as refused, connect(sockets + path, additional_headers=headers):
        pass
    answer = refused.value.response
    assert (answer.status_code, json.loads(answer.body)) == (status, {"error": error})
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("www-authenticate" in answer.headers) == (status != 503)


@pytest.mark.parametrize(
    ("path", "headers", "identity"), [("/", {"Authorization": "Bearer alice"}, "alice"), ("/health", {}, "")]
)
def test_a_websocket_that_may_enter_is_accepted(sockets, path, headers, identity):
    with connect(sockets + path, additional_headers=headers) as websocket:
        assert websocket.recv() == identity


@pytest.fixture(scope="module")
def open_sockets():
    places = TokenPlaces(subprotocol=True, query=True, cookie=True, origins=["https://app.example"])
    with uvicorn_server(ws="websockets-sansio", tokens_in=places, log_level="info", log_config=None) as port:
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("query", "options", "answered"),
    [
        ("", {"subprotocols": ["bearer", "alice"]}, "bearer"),
        ("?access_token=alice", {}, None),
        ("", {"additional_headers": {"Cookie": "__Host-access_token=alice"}, "origin": "https://app.example"}, None),
    ],
    ids=["subprotocol", "query", "cookie"],
)
def test_a_websocket_may_bring_its_token_elsewhere_and_it_is_not_logged(open_sockets, query, options, answered, caplog):
    caplog.set_level(logging.INFO)
    with connect(f"{open_sockets}/{query}", **options) as websocket:
        assert websocket.recv() == "alice"
        assert websocket.subprotocol == answered
    forged = json.loads(json.dumps(options).replace("alice", "mallory"))
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{open_sockets}/{query.replace('alice', 'mallory')}", **forged),
    ):
        pass
    assert refused.value.response.status_code == 401
    logged = caplog.text
    assert "accepted" in logged
    assert "alice" not in logged
    assert "mallory" not in logged
