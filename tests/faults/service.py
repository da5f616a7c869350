"""One of the processes under load: ``python -m faults.service asyncio|threads``, its settings a line on standard input.

    GET  /                   the application, behind the middleware: who the token speaks for
    POST /revoke/<id>        ``revoke_user``: 204, with the moment when it returned in ``X-Returned``; or 503
    POST /invalidate/<id>    ``invalidate``, likewise
    POST /logout/<id>/<sid>  ``logout_session``, likewise
    POST /login/<id>         ``login`` with the token in ``X-Token``, likewise
    GET  /state              whether memory is trusted, and how often it answered

It listens on a port of its own, which it prints, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import uvicorn
import waitress
from faces import settings

from authcache_middleware import AsyncAuthCache, AuthCache, UnavailableError, asgi, wsgi
from authcache_middleware.cache.memory import Memory
from authcache_middleware.cli.demo.service import announce, listener, when_told_to_stop

EXEMPT = ["/revoke/*", "/invalidate/*", "/login/*", "/logout/*", "/state"]
THREADS = 8
PHRASES = {200: "200 OK", 204: "204 No Content", 503: "503 Service Unavailable"}


class Database:
    """The users' table, and the loader that reads it; each load takes some milliseconds after the row was read."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.path = told["database"]
        self.held = told["held"]

    def load(self, user_id: str) -> dict[str, Any] | None:
        row = self.read(user_id)
        time.sleep(self.pause(user_id))
        return row

    async def load_later(self, user_id: str) -> dict[str, Any] | None:
        row = self.read(user_id)
        await asyncio.sleep(self.pause(user_id))
        return row

    def pause(self, user_id: str) -> float:
        if user_id != self.held:
            return random.uniform(0.001, 0.02)
        Path(self.path).with_name("loading").touch()  # now the process may be killed
        return 1.5

    def read(self, user_id: str) -> dict[str, Any] | None:
        with closing(sqlite3.connect(self.path, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            row = connection.execute("SELECT * FROM users WHERE id = ?", (user_id,)).fetchone()
        return None if row is None else dict(row)

    def save(self, user_id: str, before_s: float) -> None:
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            connection.execute(
                "UPDATE users SET revoked_before = max(coalesce(revoked_before, 0), ?) WHERE id = ?",
                (before_s, user_id),
            )


def options(told: dict[str, Any], database: Database) -> dict[str, Any]:
    more: dict[str, Any] = {"save_revocation": database.save} if told["saves"] else {}
    if told["sessions"]:
        more |= {"require_session": True, "max_sessions": 1}
    return settings(
        leeway=0.0, store_timeout=1.0, connect_timeout=1.0, loader_timeout=2.0, deadline=8.0,
        max_staleness=told["max_staleness"], refresh_ahead=True, ttl_jitter=0.1, **more,
    )  # fmt: skip


def change(auth: Any, what: str, who: list[str], token: str) -> Any:
    """What is asked for by such a path."""
    match what:
        case "revoke":
            return auth.revoke_user(*who)
        case "invalidate":
            return auth.invalidate(*who)
        case "login":
            return auth.login(*who, token=token)
        case "logout":
            return auth.logout_session(*who)
        case _:
            raise ValueError(what)


def state(auth: Any) -> bytes:
    stats = auth.stats()
    return json.dumps({"trusted": stats.memory_trusted, "memory_hits": stats.memory_hits}).encode()


def serve_asyncio(told: dict[str, Any]) -> None:
    database = Database(told)
    auth = AsyncAuthCache(told["url"], load_user=database.load_later, **options(told, database))

    async def answered(scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        _, what, *who = scope["path"].split("/")
        if what == "state":
            return 200, state(auth), []
        if what == "":
            return 200, scope["user"].id.encode(), []
        try:
            await change(auth, what, who, dict(scope["headers"]).get(b"x-token", b"").decode())
        except UnavailableError:
            return 503, b"", []
        return 204, b"", [(b"x-returned", repr(time.monotonic()).encode())]

    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for part in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{part}.complete"})
            return
        status, body, headers = await answered(scope)
        headers += [(b"content-length", str(len(body)).encode())] if status != 204 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    opened = listener(0)
    # Connections are kept for longer than a pause: at its end they would be closed with requests already on them.
    config = uvicorn.Config(
        asgi.AuthCacheMiddleware(app, auth=auth, exempt=EXEMPT),
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
    )
    announce(opened)
    uvicorn.Server(config).run(sockets=[opened])


def serve_threads(told: dict[str, Any]) -> None:
    database = Database(told)
    auth = AuthCache(told["url"], load_user=database.load, **options(told, database))

    def answered(environ) -> tuple[int, bytes, list[tuple[str, str]]]:
        _, what, *who = environ["PATH_INFO"].split("/")
        if what == "state":
            return 200, state(auth), []
        if what == "":
            return 200, environ["authcache.user"].id.encode(), []
        try:
            change(auth, what, who, environ.get("HTTP_X_TOKEN", ""))
        except UnavailableError:
            return 503, b"", []
        return 204, b"", [("X-Returned", repr(time.monotonic()))]

    def app(environ, start_response):
        status, body, headers = answered(environ)
        headers += [("Content-Length", str(len(body)))] if status != 204 else []
        start_response(PHRASES[status], headers)
        return [body]

    opened = listener(0)
    server = waitress.create_server(
        wsgi.AuthCacheMiddleware(app, auth=auth, exempt=EXEMPT),
        sockets=[opened], threads=THREADS, connection_limit=1000,
    )  # fmt: skip
    announce(opened)
    server.run()


def take_the_trust_fence_away() -> None:
    """What must be found out: memory that answers whether or not it has heard of every invalidation."""

    assert hasattr(Memory, "entry"), "memory is asked by another name now"
    Memory.entry = lambda self, key: self._records.get(key)


def main() -> None:
    told = json.loads(sys.stdin.readline())
    when_told_to_stop(lambda: os._exit(0))
    if not told["trust_fence"]:
        take_the_trust_fence_away()
    {"asyncio": serve_asyncio, "threads": serve_threads}[sys.argv[1]](told)


if __name__ == "__main__":
    main()
