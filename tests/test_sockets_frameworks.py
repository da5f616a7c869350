"""WebSockets that must end, in applications of Starlette and FastAPI."""

from __future__ import annotations

from typing import Annotated

import pytest
from conformance.faces import identity
from fastapi import Depends, FastAPI
from open_sockets import Face, Open
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from authcache_middleware import User
from authcache_middleware.asgi import extend
from authcache_middleware.fastapi import current_user

got: list[object] = []


async def converse(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            got.append((await extend(websocket.scope, await websocket.receive_text())).auth.scopes)
            got.append(websocket.auth.scopes)
    except WebSocketDisconnect as end:
        got.append((end.code, end.reason))
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_text("late")


class Endpoint(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        got.append((await extend(websocket.scope, data)).auth.scopes)
        got.append(websocket.auth.scopes)

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        got.append((close_code, "revoked"))


def fastapi() -> FastAPI:
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket, user: Annotated[User, Depends(current_user)]) -> None:
        assert user.identity == "alice"
        await converse(websocket)

    return app


APPS = {
    "a function": lambda: Starlette(routes=[WebSocketRoute("/", converse)]),
    "mounted": lambda: Mount("", routes=[Route("/none", lambda request: None), WebSocketRoute("/", converse)]),
    "a class": lambda: Starlette(routes=[WebSocketRoute("/", Endpoint)]),
    "fastapi": fastapi,
}


@pytest.mark.parametrize("app", APPS)
async def test_it_is_extended_and_ends(app) -> None:
    got.clear()
    face = Face(fresh=identity("alice", "write"))
    open_ = await Open(APPS[app](), face).begun()
    open_.client.says("fresh")
    await open_.begun()
    await open_.begun()
    assert got == [("write",), ("write",)]
    await face.end()
    sent = await open_.over()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert got[2:] == [(4401, "revoked")]
