"""The Flask service of the demo, on waitress: ``python -m authcache_middleware.cli.demo.flask_service``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import waitress
from flask import Flask
from sqlalchemy import Engine, create_engine

from authcache_middleware import AuthCache, User
from authcache_middleware.cli.demo.baseline import DatabaseEachTime
from authcache_middleware.cli.demo.database import USERS, Reads, update_user
from authcache_middleware.cli.demo.service import announce, listener, read_settings, when_told_to_stop
from authcache_middleware.cli.demo.settings import Settings
from authcache_middleware.flask import AuthCacheMiddleware, current_user, requires
from authcache_middleware.loaders.sqlalchemy import sqlalchemy_loader

__all__ = ["application", "main"]

_THREADS = 8
_CONNECTIONS = 1000


def application(settings: Settings) -> Flask:
    """The application, as a reader of the README would write it, and a count of its database reads."""
    engine = create_engine(f"sqlite:///{settings.database}", pool_size=_THREADS)
    reads = Reads(engine)
    auth = _auth(settings, engine)
    app = Flask("demo")
    AuthCacheMiddleware.init_app(app, auth, exempt=["/health", "/reads"])

    @app.get("/me")
    def me() -> dict[str, Any]:
        user = current_user()
        return {"id": user.id, "name": user.name, "served_by": "Flask"}

    if isinstance(auth, AuthCache):

        @app.post("/users/<int:user_id>/disable")
        @requires("admin")
        def disable(user_id: int) -> tuple[str, int]:
            update_user(engine, user_id, is_active=False)  # commit first
            auth.invalidate(str(user_id))
            return "", 204

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.get("/reads")
    def count() -> str:
        return str(reads.count)

    return app


def _auth(settings: Settings, engine: Engine) -> AuthCache[User] | DatabaseEachTime:
    load = sqlalchemy_loader(engine, USERS)

    def slow(user_id: str) -> Mapping[str, Any] | None:
        time.sleep(settings.loader_ms / 1000)
        return load(user_id)

    load_user = slow if settings.loader_ms else load
    if not settings.cached:
        return DatabaseEachTime(load_user, settings.tokens)
    return AuthCache(settings.redis_url, load_user=load_user, **settings.tokens, **settings.cache)


def main() -> None:
    """Serves until the standard input ends."""
    settings = read_settings()
    opened = listener(settings.port)
    app = application(settings)
    server = waitress.create_server(app, sockets=[opened], threads=_THREADS, connection_limit=_CONNECTIONS)
    # The main thread waits in select(): only a signal to the process wakes it at once. waitress ends with SystemExit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    when_told_to_stop(lambda: os.kill(os.getpid(), signal.SIGTERM))
    announce(opened)
    server.run()
    app.extensions["authcache"].close()


if __name__ == "__main__":
    main()
