"""fastapi-users with its Redis strategy (a random token, the user's id in Redis) and its SQLAlchemy database.

As https://fastapi-users.github.io/fastapi-users/latest/configuration/authentication/strategies/redis/ has it.
"""

import redis.asyncio as redis
from fastapi_users.authentication import RedisStrategy
from peers_requests import Peer, Stage

from peers_apps import fastapi_users_jwt

NAME = "fastapi-users, Redis strategy, SQLAlchemy"
PROTOCOL = "asgi"


async def make(stage: Stage) -> Peer:
    client = redis.from_url(stage.url, decode_responses=True)
    return await fastapi_users_jwt.with_strategy(
        stage, lambda: RedisStrategy(client, lifetime_seconds=3600), "redis.db"
    )
