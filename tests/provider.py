"""An identity provider on the loopback, over real HTTPS with an authority of its own; it can misbehave."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from authcache_middleware.testing import issue_token

CLIENT = "orders: service", "what: only +%/ä both know"

_authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
_certificate = _authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)


def trusting() -> ssl.SSLContext:
    """What a client needs to know of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _authority.configure_trust(context)
    return context


def jwk_of(key: ec.EllipticCurvePrivateKey, kid: str | None, **members: Any) -> dict[str, Any]:
    named = {} if kid is None else {"kid": kid}
    return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), **named, "use": "sig", "alg": "ES256", **members}


class Provider:
    """Signs tokens with keys it makes, and publishes them; ``seen`` counts requests by path."""

    def __init__(self, *, tls: bool = True) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.published: list[dict[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.documents: dict[str, Any] = {}
        self.opaque: dict[str, Any] = {}
        self.forms: list[dict[str, str]] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            _certificate.configure_cert(self._tls)
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.origin}/jwks.json"
        self.introspection_url = f"{self.origin}/introspect"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def rotate(self, *kids: str) -> None:
        """Publish keys with these names and no others; those that are new are made."""
        for kid in kids:
            if kid not in self.keys:
                self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        self.published = [jwk_of(self.keys[kid], kid) for kid in kids]

    def token(self, name: str, /, **claims: Any) -> str:
        key = self.keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))
        options = {"algorithm": "ES256", "kid": name, "issuer": self.origin, "audience": "orders", "lifetime": 86_000}
        return issue_token(key, **{**options, **claims})

    def publish(self, handler: BaseHTTPRequestHandler) -> None:
        """The answer of a provider that does not misbehave."""
        document = self.documents.get(handler.path, {"keys": self.published})
        send(handler, json.dumps(document).encode())

    def hand_out(self, token: str, /, **changed: Any) -> str:
        """An opaque token, and what is said of it; ``None`` leaves a member out."""
        said = {"active": True, "sub": "1", "aud": "orders", "iat": time.time() - 1, "exp": time.time() + 86_000}
        said |= {"jti": hashlib.sha256(token.encode()).hexdigest()[:16], "token_type": "Bearer", **changed}
        self.opaque[token] = {name: value for name, value in said.items() if value is not None}
        return token

    def introspect(self, handler: BaseHTTPRequestHandler) -> None:
        """The answer of a provider that does not misbehave (RFC 7662, section 2)."""
        scheme, _, pair = handler.headers["Authorization"].partition(" ")
        if (scheme, tuple(map(unquote_plus, b64decode(pair).decode().split(":")))) != ("Basic", CLIENT):
            send(handler, b'{"error": "invalid_client"}', 401)
            return
        send(handler, json.dumps(self.opaque.get(self.forms[-1]["token"], {"active": False})).encode())

    def publish_once(self, go: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
        """The same, as soon as that is set."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            go.wait(30)
            (self.introspect if handler.command == "POST" else self.publish)(handler)

        return answer

    @property
    def questions(self) -> int:
        return self.seen["/introspect"]

    @property
    def fetches(self) -> int:
        return self.seen["/jwks.json"]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def setup(self) -> None:  # here and not where connections are accepted: a handshake may hang
                if provider._tls is not None:
                    self.request = provider._tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                try:
                    super().finish()
                finally:
                    self.request.close()

            def do_GET(self) -> None:
                provider.seen[self.path] += 1
                if provider.answer is not None:
                    self.close_connection = True
                    provider.answer(self)
                else:
                    provider.publish(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.seen[self.path] += 1
                provider.forms.append(dict(parse_qsl(body, strict_parsing=True)))
                if provider.answer is not None:
                    self.close_connection = True
                    provider.answer(self)
                else:
                    provider.introspect(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def answering(body: bytes = b"", status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Always this; underscores in header names are dashes."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: send(handler, body, status, fields)


def hanging(provider: Provider) -> Callable[[BaseHTTPRequestHandler], None]:
    """No answer at all."""
    return lambda _handler: provider.released.wait(60) and None


def dripping(provider: Provider, head: bytes, drop: bytes, every: float = 0.02) -> Callable[..., None]:
    """An answer that goes on for ever, a drop at a time."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        end = time.monotonic() + 60
        while not provider.released.wait(every) and time.monotonic() < end:
            handler.wfile.write(drop)

    return drip
