"""One request over ASGI or WSGI, in this process, without a server or a framework between."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator


@dataclass
class Ask:
    """A request: ``headers`` are pairs, ``raw_path`` the path as it is sent."""

    method: str = "GET"
    raw_path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    root_path: str = ""
    body: bytes = b""
    extra: dict = field(default_factory=dict)

    @property
    def path(self) -> bytes:
        return unquote_to_bytes(self.raw_path)


@dataclass
class Reply:
    """A response, with what the application saw (``None`` if it was not called)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) < 2, f"{name} stands twice"
        return found[0] if found else None

    @property
    def error(self) -> str:
        return json.loads(self.body)["error"]


def http_scope(ask: Ask) -> dict:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": ask.root_path + ask.path.decode("utf-8", "replace"),
        "raw_path": (ask.root_path + ask.raw_path).encode(),
        "root_path": ask.root_path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in ask.headers],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50000),
        **ask.extra,
    }


async def over_asgi(app: Callable, ask: Ask) -> Reply:
    sent: list[dict] = []

    halves = iter([(ask.body[: len(ask.body) // 2], True), (ask.body[len(ask.body) // 2 :], False)])

    async def receive() -> dict:
        body, more = next(halves)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: dict) -> None:
        sent.append(message)

    await app(http_scope(ask), receive, send)
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert all(message["type"] == "http.response.body" for message in bodies)
    assert all(name == name.lower() for name, _ in start["headers"])
    headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in bodies))


async def over_websocket(app: Callable, ask: Ask, *, denial: bool = False) -> list[dict]:
    """What was sent in answer to the handshake; receiving more than the handshake fails."""
    scope = http_scope(ask) | {"type": "websocket", "scheme": "ws", "subprotocols": ask.extra.get("subprotocols", [])}
    del scope["method"]
    scope["extensions"] = {"websocket.http.response": {}} if denial else {}
    sent: list[dict] = []
    arriving = iter([{"type": "websocket.connect"}])

    async def receive() -> dict:
        return next(arriving)

    async def send(message: dict) -> None:
        assert next(arriving, None) is None, "answered before websocket.connect was received"
        sent.append(message)

    await app(scope, receive, send)
    return sent


def wsgi_environ(ask: Ask) -> dict:
    environ: dict = {
        "REQUEST_METHOD": ask.method,
        "SCRIPT_NAME": ask.root_path,
        "PATH_INFO": ask.path.decode("latin-1"),
        "RAW_URI": ask.root_path + ask.raw_path,
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(ask.body),
        **({"CONTENT_LENGTH": str(len(ask.body))} if ask.body else {}),
        **ask.extra,
    }
    for name, value in ask.headers:
        key = name.upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        environ[key] = f"{environ[key]}, {value}" if key in environ else value
    setup_testing_defaults(environ)
    return environ


def over_wsgi(app: Callable, ask: Ask, *, validated: bool = True) -> Reply:
    started: list[tuple[str, list]] = []

    def start_response(status: str, headers: list, exc_info: object = None) -> Callable:
        assert exc_info or not started, "started twice"
        started.append((status, headers))
        return lambda body: None

    iterable = (validator(app) if validated else app)(wsgi_environ(ask), start_response)
    try:
        body = b"".join(iterable)
    finally:
        if hasattr(iterable, "close"):
            iterable.close()
    status, headers = started[-1]
    return Reply(int(status.split()[0]), headers, body)
