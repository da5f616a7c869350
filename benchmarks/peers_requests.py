"""The one request that everybody is measured with, the application below, and who asks: the same for ours and peers."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authcache_middleware.testing import issue_token

__all__ = [
    "AUDIENCE",
    "ISSUER",
    "SECRET",
    "SUBJECT",
    "TOKEN_BYTES",
    "USER",
    "AsgiApp",
    "Peer",
    "Stage",
    "WsgiApp",
    "asgi_status",
    "bare_asgi",
    "bare_wsgi",
    "environ_of",
    "headers_of",
    "padded_claims",
    "receive",
    "scope_of",
    "send",
    "wsgi_status",
]

AsgiApp = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]

SECRET = "only for this benchmark, Mz4kQ9vX2pL7wT5s"  # noqa: S105
ISSUER, AUDIENCE = "https://id.example", "orders"
SUBJECT = "12345"
TOKEN_BYTES = 570
USER = {
    "id": 12345,
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "status": "active",
    "role": "admin",
    "plan": "pro",
    "created_at": "2025-01-01T00:00:00Z",
    "last_activity_at": "2026-01-01T00:00:00Z",
}
_USUAL: Headers = [
    (b"host", b"api.example"),
    (b"user-agent", b"curl/8.14.1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br"),
    (b"x-request-id", b"01JD9Z6V3X8Y7W5T4S2R1Q0P9N"),
]
_ANSWER: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2")]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a peer is given to be set up with: a Redis, a directory for its database, and ours, ready to be used."""

    url: str
    directory: Path
    auth: Any
    """An ``AsyncAuthCache``, or for WSGI an ``AuthCache``."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Three applications that answer ``GET /x`` with ``ok``, and the token that the second one lets in."""

    plain: Any
    """The framework without any authentication."""
    peer: Any
    ours: Any
    """The same framework with ours."""
    token: str


async def bare_asgi(_scope: Any, _receive: Any, send: Any) -> None:
    """The cheapest application."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_ANSWER)})
    await send({"type": "http.response.body", "body": b"ok"})


def bare_wsgi(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The cheapest application."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "2")])
    return [b"ok"]


async def receive() -> dict[str, Any]:
    """The request's empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    """What a server would do with an answer is not counted."""


def headers_of(token: str | None) -> Headers:
    """The request's headers; those of a client without credentials for ``None``."""
    return _USUAL if token is None else [*_USUAL, (b"authorization", b"Bearer " + token.encode())]


def scope_of(headers: Headers) -> dict[str, Any]:
    """What an ASGI server makes of the request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("10.0.0.1", 8000),
        "client": ("10.0.0.2", 51234),
        "extensions": {},
    }


def environ_of(headers: Headers) -> dict[str, Any]:
    """What a WSGI server makes of the request."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/x",
        "QUERY_STRING": "",
        "SERVER_NAME": "10.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.2",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, field in headers:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = field.decode()
    return environ


def padded_claims() -> dict[str, str]:
    """Claims that make an HS256 token of ours ``TOKEN_BYTES`` long."""
    pad = ""
    while (
        len(issue_token(SECRET, subject=SUBJECT, issuer=ISSUER, audience=AUDIENCE, claims={"ext": pad})) < TOKEN_BYTES
    ):
        pad += "x"
    return {"ext": pad}


async def asgi_status(app: Any, token: str | None) -> int:
    """The status that an ASGI application answers the request with."""
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    await app(scope_of(headers_of(token)), receive, keep)
    return int(sent[0]["status"])


def wsgi_status(app: Any, token: str | None) -> int:
    """The status that a WSGI application answers the request with."""
    started: list[str] = []

    def start_response(status: str, _headers: Any, _exc_info: Any = None) -> None:
        started.append(status)

    answer = app(environ_of(headers_of(token)), start_response)
    list(answer)
    return int(started[-1].split()[0])
