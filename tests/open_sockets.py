"""One WebSocket without a network: a face that ends it when the test says so, and the server's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from conformance.drivers import Ask, http_scope
from conformance.faces import AsyncTableFace, bearer

from authcache_middleware.asgi import AuthCacheMiddleware

__all__ = ["Client", "Face", "Open"]


class Face(AsyncTableFace):
    """Remembers which connections are watched, and ends one when the test says so."""

    def __init__(self, **table: object) -> None:
        super().__init__(**table)
        self.begun = 0
        self.seen = 0
        self.watched: list[Face.Watch] = []

    class Watch:
        def __init__(self, face: Face, claims: Any, end: Callable[[str], Any]) -> None:
            self.face, self.claims, self.end = face, claims, end

        def renew(self, claims: Any) -> None:
            self.claims = claims

        def seen(self) -> None:
            self.face.seen += 1

        def release(self) -> None:
            self.face.watched.remove(self)

    def watch(self, claims: Any, end: Callable[[str], Any]) -> Watch:
        self.begun += 1
        self.watched.append(self.Watch(self, claims, end))
        return self.watched[-1]

    async def end(self, reason: str = "revoked") -> None:
        for watch in list(self.watched):
            await watch.end(reason)


class Client:
    """The server's side of one connection: what arrives, and what was sent."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[dict] = asyncio.Queue()
        self.arriving.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict] = []
        self.blocked: asyncio.Event | None = None

    async def receive(self) -> dict:
        return await self.arriving.get()

    async def send(self, message: dict) -> None:
        if self.blocked is not None and message["type"] == "websocket.send":
            await self.blocked.wait()
        self.sent.append(message)

    def says(self, text: str) -> None:
        self.arriving.put_nowait({"type": "websocket.receive", "text": text})

    def leaves(self) -> None:
        self.arriving.put_nowait({"type": "websocket.disconnect", "code": 1001})


def scope_of(token: str | None = "alice") -> dict:
    ask = Ask(headers=() if token is None else bearer(token))
    return http_scope(ask) | {"type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": {}}


class Open:
    """A connection to an application under the middleware, until it has ended."""

    def __init__(
        self, app: Any, face: Face, *, token: str | None = "alice", client: Client | None = None, **options: Any
    ) -> None:
        self.face, self.client = face, client or Client()
        self.scope = scope_of(token)
        middleware = AuthCacheMiddleware(app, auth=face, **options)
        self.task = asyncio.create_task(middleware(self.scope, self.client.receive, self.client.send))

    async def begun(self) -> Open:
        for _ in range(10):
            await asyncio.sleep(0)
        return self

    async def over(self) -> list[dict]:
        """What was sent, once the application has ended by itself."""
        async with asyncio.timeout(20):
            await self.task
        assert self.face.watched == []
        return self.client.sent
