"""FastAPI, with a Redis at REDIS_URL and tokens signed with SECRET:
export SECRET=$(openssl rand -hex 32); python examples/fastapi_app.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/ (/docs is open)"""

import os
import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request

from authcache_middleware import AsyncAuthCache, User
from authcache_middleware.fastapi import AuthCacheMiddleware, current_user, requires

USERS = {"1": {"name": "Ada", "email": "ada@example.org", "is_active": True}}


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
app = FastAPI(title="Orders")
app.add_middleware(AuthCacheMiddleware, auth=auth, exempt=["/health", "/docs", "/openapi.json"])

CurrentUser = Annotated[User, Depends(current_user)]
Buyer = Annotated[User, Depends(requires("orders:write"))]


@app.get("/")
async def whoami(user: CurrentUser, request: Request) -> dict[str, object]:
    return {"name": user.name, "scopes": request.auth.scopes}


@app.post("/orders", status_code=201)
async def order(user: Buyer) -> dict[str, object]:
    return {"ordered by": user.email}


@app.post("/logout", status_code=204)
async def logout(request: Request) -> None:
    await auth.logout(request.headers["authorization"].split()[1])


@app.get("/health")
async def health() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
