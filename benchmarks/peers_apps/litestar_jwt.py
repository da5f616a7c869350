"""Litestar's JWTAuth, whose ``retrieve_user_handler`` reads the user from Litestar's Redis store.

As https://docs.litestar.dev/2/usage/security/jwt.html has it, with the store of
https://docs.litestar.dev/2/usage/stores.html in the place of its made-up database.
"""

import json
from dataclasses import dataclass

from litestar import Litestar, Request, get
from litestar.connection import ASGIConnection
from litestar.security.jwt import JWTAuth, Token
from litestar.stores.redis import RedisStore
from peers_requests import SECRET, SUBJECT, USER, Peer, Stage

from authcache_middleware.asgi import AuthCacheMiddleware

NAME = "Litestar JWTAuth + Redis store"
PROTOCOL = "asgi"


@dataclass
class User:
    id: int
    name: str
    email: str
    status: str
    role: str
    plan: str
    created_at: str
    last_activity_at: str


@get("/x", media_type="text/plain")
async def plain() -> str:
    return "ok"


@get("/x", media_type="text/plain")
async def protected(request: Request[User, Token, object]) -> str:
    return "ok" if request.user else ""


async def make(stage: Stage) -> Peer:
    store = RedisStore.with_client(stage.url, namespace="peer")
    await store.set(SUBJECT, json.dumps(USER))

    async def retrieve_user_handler(token: Token, connection: ASGIConnection) -> User | None:
        stored = await store.get(token.sub)
        user = None if stored is None else User(**json.loads(stored))
        return user if user is not None and user.status == "active" else None

    jwt_auth = JWTAuth[User](retrieve_user_handler=retrieve_user_handler, token_secret=SECRET)
    return Peer(
        Litestar([plain], openapi_config=None),
        Litestar([protected], on_app_init=[jwt_auth.on_app_init], openapi_config=None),
        AuthCacheMiddleware(Litestar([plain], openapi_config=None), auth=stage.auth),
        jwt_auth.create_token(identifier=SUBJECT),
    )
