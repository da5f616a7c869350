"""The same backend, which then reads the user from Redis: one GET and JSON, by one client for the application.

The client as https://redis.io/docs/latest/develop/clients/redis-py/async/ has it.
"""

import json

import redis.asyncio as redis
from peers_requests import SUBJECT, USER, Peer, Stage
from starlette.authentication import AuthenticationError, BaseUser

from peers_apps import starlette_pyjwt

NAME = "Starlette AuthenticationMiddleware + PyJWT + Redis"
PROTOCOL = "asgi"


class KnownUser(BaseUser):
    def __init__(self, row):
        self.row = row

    @property
    def is_authenticated(self):
        return True

    @property
    def display_name(self):
        return self.row["name"]


class Backend(starlette_pyjwt.Backend):
    def __init__(self, client):
        self.client = client

    async def user(self, claims):
        stored = await self.client.get(f"peer:{claims['sub']}")
        row = None if stored is None else json.loads(stored)
        if row is None or row["status"] != "active":
            raise AuthenticationError("Unknown user")
        return KnownUser(row)


async def make(stage: Stage) -> Peer:
    client = redis.Redis.from_url(stage.url, decode_responses=True)
    await client.set(f"peer:{SUBJECT}", json.dumps(USER))
    return Peer(
        starlette_pyjwt.plain(),
        starlette_pyjwt.with_backend(Backend(client)),
        starlette_pyjwt.with_ours(stage.auth),
        starlette_pyjwt.token(),
    )
