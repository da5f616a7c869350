"""ASGI without a framework, with a Redis at REDIS_URL and tokens signed with SECRET:
export SECRET=$(openssl rand -hex 32); python examples/raw_asgi.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from authcache_middleware import AsyncAuthCache
from authcache_middleware.asgi import AuthCacheMiddleware, requires

Message = MutableMapping[str, Any]
USERS = {"1": {"name": "Ada", "email": "ada@example.org", "is_active": True}}
may_order = requires("orders:write")


async def load_user(user_id: str) -> dict[str, object] | None:
    return USERS.get(user_id)  # here stands your query


auth = AsyncAuthCache(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"),
    load_user=load_user,
    keys=os.environ.get("SECRET") or sys.exit("SECRET must be set: see the first lines of this file"),
    algorithms=["HS256"],
    issuer="https://id.example",
    audience="orders",
)


async def orders(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        for part in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{part}.complete"})
        return
    status, answer = 200, {"name": scope["user"].display_name, "scopes": scope["auth"].scopes}
    if scope["path"] == "/orders":
        status, answer = 201, {"ordered by": may_order(scope).email}
    elif scope["path"] == "/logout":
        credentials = next(field for name, field in scope["headers"] if name == b"authorization")
        await auth.logout(credentials.decode().split()[1])
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


app = AuthCacheMiddleware(orders, auth=auth, exempt=["/health"])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
