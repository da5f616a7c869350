"""A service whose connections stay open: WebSockets and a stream, over real uvicorn, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from faces import settings, token_for, wait_until
from websockets.asyncio.client import ClientConnection, connect

from authcache_middleware import AsyncAuthCache
from authcache_middleware.asgi import AuthCacheMiddleware, extend
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.sessions.watches import Watches

__all__ = ["Service", "opened", "serving"]


PATIENT = {"store_timeout": 5.0, "connect_timeout": 5.0, "deadline": 30.0}  # a busy machine is no outage


class Service:
    """The application, and its users: ``disabled`` ones may not enter."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        self.disabled: set[str] = set()
        self.loads = 0
        self.port = 0
        self.auth: AsyncAuthCache[Any] = AsyncAuthCache(
            redis_url, **settings(**{"max_staleness": 1.0, **PATIENT, **options, "load_user": self.load})
        )
        self.app = AuthCacheMiddleware(self._app, auth=self.auth)

    async def load(self, user_id: str) -> dict[str, Any]:
        self.loads += 1
        return {"id": user_id, "active": user_id not in self.disabled}

    def watches(self) -> list[Watches]:
        return [engine.watches for engine in list(self.auth._engines.values()) if engine.watches is not None]

    def watched(self) -> int:
        return sum(map(len, self.watches()))

    def idle(self) -> int:
        """How many users nobody polls for."""
        return sum(len(watches._idle) for watches in self.watches())

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        match scope["type"]:
            case "lifespan":
                for part in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{part}.complete"})
            case "websocket":
                await self._converse(scope, receive, send)
            case "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                async for line in self.auth.while_allowed(scope["auth"], _lines()):
                    await send({"type": "http.response.body", "body": line, "more_body": True})

    async def _converse(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"]
            if text.startswith("extend "):
                try:
                    text = f"extended {(await extend(scope, text.removeprefix('extend '))).user.identity}"
                except InvalidTokenError as exc:
                    text = f"refused {exc.reason}"
            await send({"type": "websocket.send", "text": text})


async def _lines() -> AsyncIterator[bytes]:
    yield b"the first line\n"
    await asyncio.Event().wait()


@contextmanager
def serving(redis_url: str, **options: Any) -> Iterator[Service]:
    """The service at ``port``, until the end."""
    service = Service(redis_url, **options)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    service.port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(service.app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield service
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()
    assert service.auth._engines == {}, "the end of the lifespan closes the face"


async def opened(service: Service, subject: str, **token: Any) -> ClientConnection:
    """A WebSocket of that user, who has been greeted."""
    said = token_for(subject, **{"lifetime": 3600, **token})
    client = await connect(
        f"ws://127.0.0.1:{service.port}/", additional_headers={"Authorization": f"Bearer {said}"}, ping_interval=None
    )
    await client.send("hello")
    assert await client.recv() == "hello"
    return client
