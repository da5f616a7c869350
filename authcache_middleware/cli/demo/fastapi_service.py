"""The FastAPI service of the demo, on uvicorn: ``python -m authcache_middleware.cli.demo.fastapi_service``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from authcache_middleware import AsyncAuthCache, User
from authcache_middleware.cli.demo.baseline import AsyncDatabaseEachTime
from authcache_middleware.cli.demo.database import USERS, Reads
from authcache_middleware.cli.demo.service import announce, listener, read_settings, when_told_to_stop
from authcache_middleware.cli.demo.settings import Settings
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user
from authcache_middleware.loaders.sqlalchemy import sqlalchemy_loader

__all__ = ["application", "main"]


def application(settings: Settings) -> FastAPI:
    """The application, as a reader of the README would write it, and a count of its database reads."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{settings.database}", pool_size=32)
    reads = Reads(engine.sync_engine)
    auth = _auth(settings, engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(AuthCacheMiddleware, auth=auth, exempt=["/health", "/reads"])

    @app.get("/me")
    async def me(user: Annotated[User, Depends(current_user)]) -> dict[str, Any]:
        return {"id": user.id, "name": user.name, "served_by": "FastAPI"}

    if isinstance(auth, AsyncAuthCache):

        @app.post("/logout", status_code=204)
        async def logout(authorization: Annotated[str, Header()]) -> None:
            await auth.logout(authorization.split()[1])

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/reads")
    async def count() -> int:
        return reads.count

    return app


def _auth(settings: Settings, engine: AsyncEngine) -> AsyncAuthCache[User] | AsyncDatabaseEachTime:
    load = sqlalchemy_loader(engine, USERS)

    async def slow(user_id: str) -> Mapping[str, Any] | None:
        await asyncio.sleep(settings.loader_ms / 1000)
        return await load(user_id)

    load_user = slow if settings.loader_ms else load
    if not settings.cached:
        return AsyncDatabaseEachTime(load_user, settings.tokens)
    return AsyncAuthCache(settings.redis_url, load_user=load_user, **settings.tokens, **settings.cache)


def main() -> None:
    """Serves until the standard input ends."""
    settings = read_settings()
    opened = listener(settings.port)
    config = uvicorn.Config(application(settings), access_log=False, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    when_told_to_stop(lambda: setattr(server, "should_exit", True))
    announce(opened)
    server.run(sockets=[opened])


if __name__ == "__main__":
    main()
