"""AuthX in FastAPI, whose subject getter reads the user from a dictionary (it may not be ``async``).

As https://authx.yezz.me/callbacks/user has it: ``set_subject_getter`` and ``get_current_subject``.
"""

from authx import AuthX, AuthXConfig
from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from peers_requests import SECRET, SUBJECT, USER, Peer, Stage
from pydantic import BaseModel

from authcache_middleware import User as OurUser
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user

NAME = "AuthX dependency, user in a dictionary"
PROTOCOL = "asgi"


class User(BaseModel):
    id: int
    name: str
    email: str
    status: str
    role: str
    plan: str
    created_at: str
    last_activity_at: str


def make(stage: Stage) -> Peer:
    auth = AuthX(config=AuthXConfig(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION=["headers"]))
    plain, peer, ours = FastAPI(), FastAPI(), FastAPI()
    auth.handle_errors(peer)
    ours.add_middleware(AuthCacheMiddleware, auth=stage.auth)
    rows = {SUBJECT: USER}

    @auth.set_subject_getter
    def get_user_from_uid(uid: str) -> User | None:
        row = rows.get(uid)
        return None if row is None else User(**row)

    @plain.get("/x", response_class=PlainTextResponse)
    async def without():
        return "ok"

    @peer.get("/x", response_class=PlainTextResponse)
    async def theirs(user: User = Depends(auth.get_current_subject)):
        return "ok"

    @ours.get("/x", response_class=PlainTextResponse)
    async def own(user: OurUser = Depends(current_user)):
        return "ok"

    return Peer(plain, peer, ours, auth.create_access_token(uid=SUBJECT))
