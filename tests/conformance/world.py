"""One application with one user database, and the four ways to ask who a request speaks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from conformance.drivers import Ask, Reply, over_asgi, over_wsgi

from authcache_middleware import AsyncAuthCache, AuthCache, User, asgi, wsgi
from authcache_middleware.errors import RefusedError, UnavailableError
from authcache_middleware.testing import ManualClock, issue_token

SECRET = "a secret of the conformance suite, 64 bytes long and known to none"
ISSUER, AUDIENCE = "https://id.example", "orders"
WAYS = ("asgi", "wsgi", "async", "blocking")
CLOSED_PORT = "redis://127.0.0.1:1"


@dataclass
class Seen:
    """What came of a request, the same for every way."""

    status: int
    user: str | None = None
    fields: Mapping[str, Any] | None = None
    scopes: tuple[str, ...] = ()
    challenge: str | None = None
    retry_after: str | None = None
    reply: Reply | None = None


class Loader:
    """The user database: rows by id. A row that is an exception is raised; ``HANG`` does not come in time.

    A plain loader that hangs returns in the end: when the deadline has passed and the lease in Redis has run out.
    """

    HANG: Mapping[str, Any] = {}

    def __init__(self, time_out: Callable[[str], None]) -> None:
        self.rows: dict[str, Any] = {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}}
        self._time_out = time_out

    async def coroutine(self, user_id: str) -> Any:
        if self.rows.get(user_id) is self.HANG:
            await asyncio.Event().wait()
        return self.plain(user_id)

    def plain(self, user_id: str) -> Any:
        row = self.rows.get(user_id)
        if row is self.HANG:
            self._time_out(user_id)
        if isinstance(row, BaseException):
            raise row
        return row


@dataclass
class World:
    """``way`` says how ``ask`` asks; what tests do before goes through the same face."""

    way: str
    url: str
    prefix: str
    options: Mapping[str, Any] = field(default_factory=dict)
    middleware: Mapping[str, Any] = field(default_factory=dict)
    said: str | None = None
    """The token of the request, where what happened before is about it."""
    clock: ManualClock = field(default_factory=lambda: ManualClock(wall=float(int(time.time()))))

    def __post_init__(self) -> None:
        self.loader = Loader(self._time_out)
        self.is_async = self.way in {"asgi", "async"}
        self.face: Any = (AsyncAuthCache if self.is_async else AuthCache)(
            self.url,
            load_user=self.loader.coroutine if self.is_async else self.loader.plain,
            **{
                "keys": SECRET,
                "algorithms": ["HS256"],
                "issuer": ISSUER,
                "audience": AUDIENCE,
                "prefix": self.prefix,
                "clock": self.clock,
                **self.options,
            },
        )

    def token(self, subject: str | None = "alice", *, key: object = SECRET, **changed: Any) -> str:
        said = {"issuer": ISSUER, "audience": AUDIENCE, "now": self.clock.wall(), "scope": "read write", **changed}
        return issue_token(key, subject=subject, **said)

    async def call(self, method: str, *arguments: Any) -> Any:
        """``logout``, ``revoke_user``, ``invalidate`` or ``authenticate``, awaited where that is needed."""
        returned = getattr(self.face, method)(*arguments)
        return await returned if self.is_async else returned

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    async def ask(self, ask: Ask) -> Seen:
        match self.way:
            case "asgi":
                return _seen(
                    await over_asgi(asgi.AuthCacheMiddleware(_asgi_app, auth=self.face, **self.middleware), ask)
                )
            case "wsgi":
                return _seen(over_wsgi(wsgi.AuthCacheMiddleware(_wsgi_app, auth=self.face, **self.middleware), ask))
        try:
            user, auth = await self.call("authenticate", ask.headers)
        except RefusedError as refused:
            return Seen(refused.status, challenge=refused.challenge())
        except UnavailableError as outage:
            return Seen(outage.status, retry_after=str(outage.retry_after))
        return Seen(200, user.identity, dict(user), auth.scopes)

    def _time_out(self, user_id: str) -> None:
        self.clock.advance(3600.0)
        with self.redis() as client:
            assert client.delete(self.face.key(user_id)) == 1, "there was a lease"

    async def close(self) -> None:
        await self.call("aclose" if self.is_async else "close")


def _seen(reply: Reply) -> Seen:
    saw = _SAW.pop() if _SAW else None
    user, auth = saw or (None, None)
    return Seen(
        reply.status,
        None if user is None else user.identity,
        dict(user) if isinstance(user, User) else None,
        () if auth is None else auth.scopes,
        reply.header("www-authenticate"),
        reply.header("retry-after"),
        reply,
    )


_SAW: list[tuple[Any, Any]] = []


async def _asgi_app(scope, receive, send) -> None:
    _SAW.append((scope["user"], scope["auth"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _wsgi_app(environ, start_response) -> list[bytes]:
    _SAW.append((environ["authcache.user"], environ["authcache.auth"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []
