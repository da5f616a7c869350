"""Starlette, with a Redis at REDIS_URL and tokens signed with SECRET:
export SECRET=$(openssl rand -hex 32); python examples/starlette_app.py
TOKEN=$(authcache token --key $SECRET --subject 1 --issuer https://id.example --audience orders --scope orders:write)
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/"""

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authcache_middleware import AsyncAuthCache
from authcache_middleware.starlette import AuthCacheMiddleware, current_user, requires

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


async def whoami(request: Request) -> JSONResponse:
    return JSONResponse({"name": current_user(request).name, "scopes": request.auth.scopes})


@requires("orders:write")
async def order(request: Request) -> JSONResponse:
    return JSONResponse({"ordered by": request.user.email}, status_code=201)


async def logout(request: Request) -> Response:
    await auth.logout(request.headers["authorization"].split()[1])
    return Response(status_code=204)


async def health(_request: Request) -> JSONResponse:
    return JSONResponse("ok")


app = Starlette(routes=[Route("/", whoami), Route("/orders", order, methods=["POST"]), Route("/health", health)])
app.add_route("/logout", logout, methods=["POST"])
app.add_middleware(AuthCacheMiddleware, auth=auth, exempt=["/health"])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
