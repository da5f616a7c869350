"""All that the story needs: a database, a Redis and four services, up together and gone together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import Engine

from authcache_middleware.cli.demo.child import Child, StageError
from authcache_middleware.cli.demo.database import make_database
from authcache_middleware.cli.demo.other_client import OtherClient
from authcache_middleware.cli.demo.plan import Plan
from authcache_middleware.cli.demo.settings import Settings
from authcache_middleware.testing.tokens import issue_token

if TYPE_CHECKING:
    from authcache_middleware.testing.server import EmbeddedServer

__all__ = ["Stage", "opened"]

_SERVICES = {
    "FastAPI": "authcache_middleware.cli.demo.fastapi_service",
    "Flask": "authcache_middleware.cli.demo.flask_service",
}
_PATIENCE_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Stage:
    """Everything up and running."""

    database: Engine
    server: EmbeddedServer | None
    """Our own Valkey, which may be stopped; ``None`` where it belongs to somebody else."""
    redis: OtherClient
    fastapi: Child
    flask: Child
    baselines: tuple[Child, Child]
    secret: str
    client: httpx.AsyncClient

    @property
    def services(self) -> tuple[Child, Child]:
        """Both services with the cache."""
        return self.fastapi, self.flask

    def token(self, user_id: int, scope: str | None = None) -> str:
        """A token of the user's, fresh each time, good for an hour."""
        return issue_token(
            self.secret,
            subject=str(user_id),
            issuer="authcache-demo",
            audience="authcache-demo",
            lifetime=3600,
            scope=scope,
        )

    async def call(self, service: Child, path: str, token: str | None = None, *, method: str = "GET") -> httpx.Response:
        """One request."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.client.request(method, service.url + path, headers=headers)

    async def reads(self, services: tuple[Child, Child]) -> int:
        """How often both together have read a user from the database so far."""
        return sum([(await self.call(service, "/reads")).json() for service in services])

    async def watching(self, story: Coroutine[Any, Any, object]) -> None:
        """Runs ``story``; raises ``StageError`` as soon as a service has ended."""
        children = (*self.services, *self.baselines)
        told = asyncio.ensure_future(story)
        ends = [asyncio.ensure_future(child.ended()) for child in children]
        try:
            await asyncio.wait([told, *ends], return_when=asyncio.FIRST_COMPLETED)
            if told.done() and isinstance(told.exception(), httpx.TransportError):
                await asyncio.wait(ends, timeout=1, return_when=asyncio.FIRST_COMPLETED)  # is that why?
            for child in children:
                if child.is_dead:
                    raise StageError(child.obituary())
            await told
        except httpx.TransportError as exc:
            raise StageError(f"a service did not answer: {type(exc).__name__}") from exc
        finally:
            for task in (told, *ends):
                task.cancel()
            await asyncio.gather(told, *ends, return_exceptions=True)


@asynccontextmanager
async def opened(plan: Plan) -> AsyncIterator[Stage]:
    """Starts everything and yields it; whatever happens, all of it is gone afterwards. Raises ``StageError``."""
    async with AsyncExitStack() as closing:
        directory = Path(closing.enter_context(TemporaryDirectory(prefix="authcache-demo-")))
        database = make_database(directory / "users.sqlite")
        closing.callback(database.dispose)
        server = None if plan.redis_url else closing.enter_context(_own_server())
        url = plan.redis_url or (server.url if server else "")
        # Our own server has no other keys; on another nothing of anybody's may be touched.
        prefix = "user:" if server else f"authcache-demo-{secrets.token_hex(4)}:user:"
        redis = closing.enter_context(OtherClient(url, prefix))
        secret = secrets.token_urlsafe(48)
        common = {"database": str(directory / "users.sqlite"), "redis_url": url, "prefix": prefix, "secret": secret}
        children = _children(plan, common, directory)
        if server is None:
            closing.callback(redis.remove_all)  # once the services can write no more
        closing.push_async_callback(_stop, children)
        for child in children:
            await child.spawn()
        for child in children:
            await child.ready()
        # Nothing of the environment: a proxy set there would be asked for 127.0.0.1.
        client = await closing.enter_async_context(
            httpx.AsyncClient(timeout=_PATIENCE_S, limits=httpx.Limits(max_connections=None), trust_env=False)
        )
        fastapi, flask, *baselines = children
        yield Stage(
            database=database,
            server=server,
            redis=redis,
            fastapi=fastapi,
            flask=flask,
            baselines=(baselines[0], baselines[1]),
            secret=secret,
            client=client,
        )


def _own_server() -> EmbeddedServer:
    try:
        from authcache_middleware.testing.server import EmbeddedServer
    except ImportError:
        raise StageError("there is no embedded Valkey for this system: give --redis-url") from None
    return EmbeddedServer()


def _children(plan: Plan, common: dict[str, str], directory: Path) -> list[Child]:
    children = []
    for cached in (True, False):
        for number, (name, module) in enumerate(_SERVICES.items()):
            port = plan.port + number if plan.port and cached else 0
            settings = Settings(cached=cached, port=port, loader_ms=plan.loader_ms, **common)
            children.append(Child(name, module, settings, directory))
    return children


async def _stop(children: list[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))
