"""``BaseHTTPMiddleware`` as tutorials write it: verify in ``dispatch``, ``request.state.user``, ``call_next``.

The class as https://starlette.dev/middleware/#basehttpmiddleware has it, with PyJWT and no user looked up.
"""

import jwt
from peers_requests import AUDIENCE, ISSUER, SECRET, Peer, Stage
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from peers_apps import starlette_pyjwt

NAME = "BaseHTTPMiddleware + PyJWT"
PROTOCOL = "asgi"


class JWTMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        header = request.headers.get("Authorization")
        if not header or not header.startswith("Bearer "):
            return JSONResponse({"detail": "Not authenticated"}, status_code=401)
        try:
            claims = jwt.decode(
                header.removeprefix("Bearer "), SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER
            )
        except jwt.PyJWTError:
            return JSONResponse({"detail": "Invalid token"}, status_code=401)
        request.state.user = claims
        return await call_next(request)


def make(stage: Stage) -> Peer:
    peer = Starlette(routes=[Route("/x", starlette_pyjwt.endpoint)], middleware=[Middleware(JWTMiddleware)])
    return Peer(starlette_pyjwt.plain(), peer, starlette_pyjwt.with_ours(stage.auth), starlette_pyjwt.token())
