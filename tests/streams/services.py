"""A service of FastAPI and one of Flask that write down the events of all services, and go on where they were.

``python services.py fastapi|flask REDIS PREFIX STREAM FILE PORT``
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvicorn
from faces import settings
from fastapi import FastAPI, Request
from flask import Flask, request

import authcache_middleware.fastapi
import authcache_middleware.flask
from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.event_stream import StreamEvent

KIND, REDIS, PREFIX, STREAM, FILE, PORT = sys.argv[1:]
OPTIONS = {"prefix": PREFIX, "event_stream": STREAM, "max_staleness": 1.0, "store_timeout": 2.0, "deadline": 10.0}


def load_user(user_id: str) -> dict[str, Any]:
    return {"id": user_id}


def last_known() -> str:
    lines = Path(FILE).read_text().splitlines() if Path(FILE).exists() else []
    return json.loads(lines[-1])[0] if lines else "0"


def write_down(event: StreamEvent) -> None:
    with Path(FILE).open("a") as file:
        file.write(json.dumps([event.id, event.type, event.user_id, event.sid]) + "\n")


def serve_fastapi() -> None:
    auth = AsyncAuthCache(REDIS, **settings(load_user=load_user, **OPTIONS))

    async def follow() -> None:
        async for event in auth.events(last_known()):
            write_down(event)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(follow())
        yield
        following.cancel()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(authcache_middleware.fastapi.AuthCacheMiddleware, auth=auth)

    @app.post("/login")
    async def login(request: Request) -> str:
        token = request.headers["authorization"].split()[1]
        return (await auth.login(request.user["id"], token=token)).sid

    @app.post("/logout")
    async def logout(request: Request) -> str:
        await auth.logout(request.headers["authorization"].split()[1])
        return "out"

    uvicorn.run(app, port=int(PORT), log_level="error")


def serve_flask() -> None:
    auth = AuthCache(REDIS, **settings(load_user=load_user, **OPTIONS))

    def follow() -> None:
        for event in auth.events(last_known()):
            write_down(event)

    app = Flask(__name__)
    authcache_middleware.flask.AuthCacheMiddleware.init_app(app, auth)

    @app.post("/login")
    def login() -> str:
        return auth.login(
            authcache_middleware.flask.current_user()["id"], token=request.headers["Authorization"].split()[1]
        ).sid

    @app.post("/logout")
    def logout() -> str:
        auth.logout(request.headers["Authorization"].split()[1])
        return "out"

    threading.Thread(target=follow, daemon=True).start()
    app.run(port=int(PORT))


if __name__ == "__main__":
    serve_fastapi() if KIND == "fastapi" else serve_flask()
