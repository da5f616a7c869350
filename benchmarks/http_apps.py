"""The applications that are served: bare, with ours, and with what people would write instead.

A server imports ``http_apps:app``; which one that is, and where its Redis is, stand in the environment. All answer with
the same two bytes. A load appends one byte to a file, so that loads can be counted from outside.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from authcache_middleware import AsyncAuthCache, AuthCache, asgi, wsgi
from authcache_middleware.activity import Activity
from authcache_middleware.queue import AsyncQueue

__all__ = ["ASGI", "AUDIENCE", "ISSUER", "NAMES", "SECRET", "WSGI", "app"]

SECRET = "only for this benchmark, Vt8rK3nW6yQ1bZ9d"  # noqa: S105
ISSUER, AUDIENCE = "https://id.example", "orders"
_BODY = b"ok"
_LENGTH = str(len(_BODY))
_TTL_S = 3600
_PATIENT: dict[str, Any] = {"store_timeout": 5.0, "connect_timeout": 5.0, "deadline": 20.0}  # saturation is no outage


def _setting(name: str) -> str:
    return os.environ[f"AUTHCACHE_BENCHMARK_{name}"]


def _row(user_id: str) -> dict[str, Any]:
    with open(_setting("LOADS"), "ab", buffering=0) as loads:  # noqa: PTH123 - once for each user
        loads.write(b".")
    return {
        "id": user_id, "name": f"Ada Lovelace {user_id}", "email": f"ada{user_id}@example.com", "status": "active",
        "role": "admin", "plan": "pro", "created_at": "2025-01-01T00:00:00", "last_activity_at": "2026-01-01T00:00:00",
    }  # fmt: skip


async def _load(user_id: str) -> dict[str, Any]:
    return _row(user_id)


def _options(*, memory: bool) -> dict[str, Any]:
    # Users stay in memory for longer than a run takes, and there is room for all of them.
    room = {"memory_ttl": _TTL_S, "memory_entries": 10_000, "token_entries": 10_000, "token_bytes": 1 << 26}
    rules = {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": AUDIENCE}
    return {**rules, **room, **_PATIENT, "max_staleness": 1.0 if memory else 0.0}


# -- ASGI

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", _LENGTH.encode())],
}
_END = {"type": "http.response.body", "body": _BODY}


async def _bare(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send(dict(_START))
        await send(dict(_END))


def _ours(*, memory: bool) -> Any:
    auth = AsyncAuthCache(_setting("URL"), load_user=_load, **_options(memory=memory))
    return asgi.AuthCacheMiddleware(_bare, auth=auth)


class _Least:
    """The least that a check of a token in memory can be: nothing is verified, nobody is refused, no time is over.

    It finds the one header, looks it up in a dictionary, reads the two clocks, says who it is, and sees whether an
    answer has begun.
    """

    def __init__(self) -> None:
        self._known: dict[Any, object] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await _bare(scope, receive, send)
            return
        credentials = None
        for name, field in scope["headers"]:
            if name == b"authorization":
                if credentials is not None:
                    raise ValueError
                credentials = field
        identity = self._known.get(credentials)
        if identity is None:
            identity = self._known[credentials] = object()
        if time.time() < 0 or time.monotonic() < 0:
            raise ValueError
        scope["user"] = scope["auth"] = identity
        said = None

        def watched(message: Any) -> Any:
            nonlocal said
            said = message
            return send(message)

        try:
            await _bare(scope, receive, watched)
        except ValueError:
            if said is not None:
                raise


def _active() -> Any:
    """With last activity, which goes to a queue as well."""
    activity = Activity(queue=AsyncQueue(_setting("URL"), "activity"))
    auth = AsyncAuthCache(_setting("URL"), load_user=_load, activity=activity, **_options(memory=True))
    return asgi.AuthCacheMiddleware(_bare, auth=auth)


def _starlette() -> Any:
    """As https://www.starlette.io/authentication/ has it, with PyJWT and one GET as their own pages have them.

    The application behind it is the bare one: routing is not what is compared.
    """
    import jwt
    import redis.asyncio
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.requests import HTTPConnection

    # The async pool of redis-py 8 raises when 100 are open; a blocking one waits, which is what its users settle for.
    pool = redis.asyncio.BlockingConnectionPool.from_url(_setting("URL"), max_connections=64, timeout=20)
    client = redis.asyncio.Redis.from_pool(pool)

    class Known(BaseUser):
        def __init__(self, row: Mapping[str, Any]) -> None:
            self.row = row

        @property
        def is_authenticated(self) -> bool:
            return True

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
            scheme, _, token = conn.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return None
            try:
                claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
            except jwt.PyJWTError as exc:
                raise AuthenticationError("invalid token") from exc
            name = f"peer:{claims['sub']}"
            stored = await client.get(name)
            row = _row(claims["sub"]) if stored is None else json.loads(stored)
            if stored is None:
                await client.set(name, json.dumps(row), ex=_TTL_S)
            if row["status"] != "active":
                raise AuthenticationError("not active")
            return AuthCredentials(["authenticated"]), Known(row)

    return AuthenticationMiddleware(_bare, backend=Backend())


# -- WSGI


def _bare_wsgi(_environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", _LENGTH)])
    return [_BODY]


def _ours_wsgi(*, memory: bool) -> Any:
    auth = AuthCache(_setting("URL"), load_user=_row, **_options(memory=memory))
    return wsgi.AuthCacheMiddleware(_bare_wsgi, auth=auth)


def _plain_wsgi() -> Any:
    """PyJWT and one GET in a middleware of fifteen lines, as their own pages have them."""
    import jwt
    import redis

    client = redis.Redis.from_url(_setting("URL"))

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
            claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError:
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return []
        name = f"peer:{claims['sub']}"
        stored: Any = client.get(name)
        environ["user"] = _row(claims["sub"]) if stored is None else json.loads(stored)
        if stored is None:
            client.set(name, json.dumps(environ["user"]), ex=_TTL_S)
        return _bare_wsgi(environ, start_response)

    return checked


ASGI: dict[str, Callable[[], Any]] = {
    "bare": lambda: _bare,
    "least": _Least,
    "memory": lambda: _ours(memory=True),
    "redis": lambda: _ours(memory=False),
    "peer": _starlette,
    "activity": _active,
}
WSGI: dict[str, Callable[[], Any]] = {
    "bare": lambda: _bare_wsgi,
    "memory": lambda: _ours_wsgi(memory=True),
    "redis": lambda: _ours_wsgi(memory=False),
    "peer": _plain_wsgi,
}
NAMES = {
    "asgi": {
        "bare": "bare ASGI app",
        "least": "the least that a check can be",
        "memory": "ours, memory",
        "redis": "ours, memory off",
        "peer": "Starlette + PyJWT + Redis",
        "users": "fastapi-users + database",
    },
    "wsgi": {
        "bare": "bare WSGI app",
        "memory": "ours, memory",
        "redis": "ours, memory off",
        "peer": "PyJWT + Redis",
    },
}

app: Any
if os.environ.get("AUTHCACHE_BENCHMARK_APP") in ASGI:  # those of WSGI have the same names
    app = {"asgi": ASGI, "wsgi": WSGI}[_setting("PROTOCOL")][_setting("APP")]()
