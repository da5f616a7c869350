"""Starlette's AuthenticationMiddleware, whose backend verifies with PyJWT and believes the claims.

As https://starlette.dev/authentication/ has it: ``authenticate`` returns credentials and a user; PyJWT as
https://pyjwt.readthedocs.io/en/stable/usage.html has it, with audience and issuer checked.
"""

import jwt
from peers_requests import AUDIENCE, ISSUER, SECRET, SUBJECT, Peer, Stage, padded_claims
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser, requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from authcache_middleware.starlette import AuthCacheMiddleware
from authcache_middleware.testing import issue_token

NAME = "Starlette AuthenticationMiddleware + PyJWT"
PROTOCOL = "asgi"


async def endpoint(request):
    return PlainTextResponse("ok")


@requires("authenticated")
async def protected(request):
    return PlainTextResponse("ok")


class Backend(AuthenticationBackend):
    async def authenticate(self, conn):
        if "Authorization" not in conn.headers:
            return None
        scheme, _, token = conn.headers["Authorization"].partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError as exc:
            raise AuthenticationError("Invalid token") from exc
        return AuthCredentials(["authenticated"]), await self.user(claims)

    async def user(self, claims):
        return SimpleUser(claims["sub"])


def with_backend(backend):
    middleware = [Middleware(AuthenticationMiddleware, backend=backend)]
    return Starlette(routes=[Route("/x", protected)], middleware=middleware)


def with_ours(auth):
    return Starlette(routes=[Route("/x", endpoint)], middleware=[Middleware(AuthCacheMiddleware, auth=auth)])


def plain():
    return Starlette(routes=[Route("/x", endpoint)])


def token():
    return issue_token(SECRET, subject=SUBJECT, issuer=ISSUER, audience=AUDIENCE, claims=padded_claims())


def make(stage: Stage) -> Peer:
    return Peer(plain(), with_backend(Backend()), with_ours(stage.auth), token())
