"""Asking a provider over HTTPS: the one door to httpx. Two ways to wait, one judgement of the answer.

Each request has a client of its own, which is closed at its end: requests are minutes apart, and so no connection
outlives an event loop or is inherited by a forked child. The whole answer has one deadline: each read may have its time
and a slow drip would still never end. Nothing is decompressed, since the bytes that are counted must be those that are
kept.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Final, final

import httpx

from authcache_middleware.runtime import at_most, cut_off
from authcache_middleware.tokens.introspection import Form
from authcache_middleware.tokens.jwk_set import UnusableAnswerError
from authcache_middleware.tokens.jwks import Transport

__all__ = ["AsyncGet", "AsyncPost", "BlockingGet", "BlockingPost", "usual_context"]

_OK: Final = 200
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "authcache-middleware"}


def usual_context() -> SSLContext:
    """TLS with the authorities of ``certifi``, whatever the environment says."""
    return httpx.create_ssl_context(trust_env=False)


@final
class AsyncGet:
    """A ``Get`` for an event loop."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __call__(self, url: str) -> bytes:
        """See ``Get``; cancelled at its deadline."""
        return await _awaited(self._transport, "GET", url)


@final
class AsyncPost:
    """A ``Post`` for an event loop."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __call__(self, url: str, form: Form) -> bytes:
        """See ``Post``; cancelled at its deadline."""
        return await _awaited(self._transport, "POST", url, **_sent(form))


@final
class BlockingGet:
    """A ``Get`` for the calling thread or greenlet."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __call__(self, url: str) -> bytes:
        """See ``Get``; its connection is cut at its deadline."""
        return _blocking(self._transport, "GET", url)


@final
class BlockingPost:
    """A ``Post`` for the calling thread or greenlet."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __call__(self, url: str, form: Form) -> bytes:
        """See ``Post``; its connection is cut at its deadline."""
        return _blocking(self._transport, "POST", url, **_sent(form))


async def _awaited(transport: Transport, method: str, url: str, **sent: Any) -> bytes:
    body = _Body(transport.max_bytes)
    async with (
        at_most(transport.timeout),
        httpx.AsyncClient(**_settings(transport)) as client,
        client.stream(method, url, **sent) as response,
    ):
        body.expect(response)
        async for chunk in response.aiter_raw():
            body.add(chunk)
    return bytes(body.octets)


def _blocking(transport: Transport, method: str, url: str, **sent: Any) -> bytes:
    body, line = _Body(transport.max_bytes), _Line()
    try:
        with (
            cut_off(transport.timeout, line.cut),
            httpx.Client(**_settings(transport)) as client,
            client.stream(method, url, extensions={"trace": line.watch}, **sent) as response,
        ):
            body.expect(response)
            for chunk in response.iter_raw():
                body.add(chunk)
    finally:
        line.close()
    if line.is_cut:  # an answer that says nothing of its length ends where the line does
        raise UnusableAnswerError("it took too long")
    return bytes(body.octets)


def _sent(form: Form) -> dict[str, Any]:
    headers = {"Authorization": form.authorization, "Content-Type": "application/x-www-form-urlencoded"}
    return {"content": form.body, "headers": headers}


class _Line:
    """The connection, by a handle of its own that is good whatever TLS makes of the first one."""

    def __init__(self) -> None:
        self._handle: socket.socket | None = None
        self.is_cut = False

    def watch(self, event: str, details: Mapping[str, Any]) -> None:
        """A trace function for httpcore."""
        if event == "connection.connect_tcp.complete":
            self._handle = details["return_value"].get_extra_info("socket").dup()
            if self.is_cut:
                self.cut()

    def cut(self) -> None:
        """End the connection for all its handles: whoever reads from it, or shakes hands, sees its end."""
        self.is_cut = True
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back the handle."""
        if self._handle is not None:
            self._handle.close()


class _Body:
    """What has come of an answer."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.octets = bytearray()

    def expect(self, response: httpx.Response) -> None:
        """Refuse an answer by its status and headers."""
        if response.status_code != _OK:  # a redirect too: whom it leads to, nobody has chosen to trust
            raise UnusableAnswerError(f"status {response.status_code}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnusableAnswerError("it is compressed")
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._most:
            raise UnusableAnswerError("it is too large")

    def add(self, chunk: bytes) -> None:
        """Refuse an answer by its size, before it is kept."""
        if len(self.octets) + len(chunk) > self._most:
            raise UnusableAnswerError("it is too large")
        self.octets += chunk


def _settings(transport: Transport) -> dict[str, Any]:
    return {
        "verify": transport.ssl_context,
        "trust_env": transport.trust_env,
        "timeout": transport.timeout,
        "follow_redirects": False,
        "headers": _HEADERS,
    }
