"""A FastAPI dependency that verifies with PyJWT and reads the user from Redis.

As https://fastapi.tiangolo.com/tutorial/security/oauth2-jwt/ has it (``OAuth2PasswordBearer``, ``get_current_user``,
``get_current_active_user``, a pydantic user), with Redis in the place of its made-up database.
"""

from typing import Annotated

import jwt
import redis.asyncio as redis
from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.responses import PlainTextResponse
from fastapi.security import OAuth2PasswordBearer
from peers_requests import AUDIENCE, ISSUER, SECRET, SUBJECT, USER, Peer, Stage, padded_claims
from pydantic import BaseModel

from authcache_middleware import User as OurUser
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user
from authcache_middleware.testing import issue_token

NAME = "FastAPI dependency + PyJWT + Redis"
PROTOCOL = "asgi"

oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
UNAUTHORIZED = HTTPException(
    status_code=status.HTTP_401_UNAUTHORIZED,
    detail="Could not validate credentials",
    headers={"WWW-Authenticate": "Bearer"},
)


class User(BaseModel):
    id: int
    name: str
    email: str
    status: str
    role: str
    plan: str
    created_at: str
    last_activity_at: str


async def subject(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)["sub"]
    except jwt.InvalidTokenError:
        raise UNAUTHORIZED from None


def plain() -> FastAPI:
    app = FastAPI()

    @app.get("/x", response_class=PlainTextResponse)
    async def x():
        return "ok"

    return app


def with_ours(auth) -> FastAPI:
    app = FastAPI()
    app.add_middleware(AuthCacheMiddleware, auth=auth)

    @app.get("/x", response_class=PlainTextResponse)
    async def x(user: Annotated[OurUser, Depends(current_user)]):
        return "ok"

    return app


def token() -> str:
    return issue_token(SECRET, subject=SUBJECT, issuer=ISSUER, audience=AUDIENCE, claims=padded_claims())


async def make(stage: Stage) -> Peer:
    client = redis.Redis.from_url(stage.url, decode_responses=True)
    await client.set(f"peer:{SUBJECT}", User(**USER).model_dump_json())
    app = FastAPI()

    async def get_current_user(sub: Annotated[str, Depends(subject)]) -> User:
        stored = await client.get(f"peer:{sub}")
        if stored is None:
            raise UNAUTHORIZED
        return User.model_validate_json(stored)

    async def get_current_active_user(user: Annotated[User, Depends(get_current_user)]) -> User:
        if user.status != "active":
            raise HTTPException(status_code=400, detail="Inactive user")
        return user

    @app.get("/x", response_class=PlainTextResponse)
    async def x(user: Annotated[User, Depends(get_current_active_user)]):
        return "ok"

    return Peer(plain(), app, with_ours(stage.auth), token())
