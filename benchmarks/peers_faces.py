"""The two faces as they are measured, tokens for them, and the case of one request after another."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from measured import Case, DisturbedError
from peers_requests import (
    AUDIENCE,
    ISSUER,
    SECRET,
    SUBJECT,
    USER,
    AsgiApp,
    WsgiApp,
    asgi_status,
    environ_of,
    headers_of,
    padded_claims,
    receive,
    scope_of,
    send,
    wsgi_status,
)

from authcache_middleware import AsyncAuthCache, AuthCache, UnavailableError
from authcache_middleware.testing import issue_token

__all__ = ["PATIENCE_S", "asgi_case", "load", "ours", "ours_blocking", "settled", "token_of", "wsgi_case"]

PATIENCE_S = 20.0
"""How long a busy machine may take until memory is trusted."""


def token_of(subject: str = SUBJECT, *, key: object = SECRET, algorithm: str = "HS256") -> str:
    """A token that lasts, of the usual length."""
    return issue_token(
        key, algorithm=algorithm, subject=subject, issuer=ISSUER, audience=AUDIENCE, lifetime=86_400, claims=_PADDING
    )


_PADDING = padded_claims()


async def load(user_id: str) -> dict[str, Any]:
    """The row, from a database that costs nothing."""
    return {**USER, "id": user_id}


def load_blocking(user_id: str) -> dict[str, Any]:
    """The same for the blocking face."""
    return {**USER, "id": user_id}


def _options(**others: Any) -> dict[str, Any]:
    """All else is as it is when nobody says; a busy machine may stall for seconds, and change no cost."""
    patient = {
        "max_staleness": 5.0,
        "store_timeout": 5.0,
        "connect_timeout": 5.0,
        "loader_timeout": 10.0,
        "deadline": 30.0,
    }
    return {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": AUDIENCE, **patient, **others}


def ours(url: str, **others: Any) -> AsyncAuthCache[Any]:
    """The asynchronous face as it is measured."""
    options: dict[str, Any] = {"load_user": load, **_options(**others)}
    return AsyncAuthCache(url, **options)


def ours_blocking(url: str, **others: Any) -> AuthCache[Any]:
    """The blocking face as it is measured."""
    options: dict[str, Any] = {"load_user": load_blocking, **_options(**others)}
    return AuthCache(url, **options)


def asgi_case(
    name: str, app: AsgiApp, token: str | None, auth: AsyncAuthCache[Any] | None = None, *, status: int = 200
) -> Case:
    """``GET /x`` after ``GET /x``, each with that status; with ``auth`` only what it answers from memory counts."""
    headers = headers_of(token)

    async def run(count: int) -> None:
        hits = 0 if auth is None else auth.stats().memory_hits
        for _ in range(count):
            await app(scope_of(headers), receive, send)
        if auth is not None and auth.stats().memory_hits - hits != count:
            raise DisturbedError

    async def before(_count: int) -> None:
        if (found := await asgi_status(app, token)) != status:
            raise RuntimeError(f"{name}: {found}")
        if auth is not None:
            await settled(auth, headers)

    return Case(name, run, before=before)


def wsgi_case(
    name: str, app: WsgiApp, token: str | None, auth: AuthCache[Any] | None = None, *, status: int = 200
) -> Case:
    """The same for WSGI."""
    headers = headers_of(token)

    def start_response(_status: str, _headers: Any, _exc_info: Any = None) -> None:
        pass

    def run(count: int) -> None:
        hits = 0 if auth is None else auth.stats().memory_hits
        for _ in range(count):
            answer = app(environ_of(headers), start_response)
            for _part in answer:
                pass
            if hasattr(answer, "close"):
                answer.close()
        if auth is not None and auth.stats().memory_hits - hits != count:
            raise DisturbedError

    def before(_count: int) -> None:
        if (found := wsgi_status(app, token)) != status:
            raise RuntimeError(f"{name}: {found}")
        if auth is not None:
            _settled_blocking(auth, headers)

    return Case(name, run, before=before)


async def settled(auth: AsyncAuthCache[Any], headers: Any) -> None:
    """Returns once memory answers."""
    end = time.monotonic() + PATIENCE_S
    while auth.recall(headers) is None:
        if time.monotonic() > end:
            raise RuntimeError("memory is never trusted")
        with suppress(UnavailableError):
            await auth.authenticate(headers)
        await asyncio.sleep(0.01)


def _settled_blocking(auth: AuthCache[Any], headers: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while auth.recall(headers) is None:
        if time.monotonic() > end:
            raise RuntimeError("memory is never trusted")
        with suppress(UnavailableError):
            auth.authenticate(headers)
        time.sleep(0.01)
