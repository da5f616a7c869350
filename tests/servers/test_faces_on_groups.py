"""Both faces on a cluster and behind Sentinels, with ``wait_replicas``."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from faces import headers, settings, token_for

from authcache_middleware import AsyncAuthCache, AuthCache, InvalidTokenError, UnavailableError

PATIENT = {"store_timeout": 2.0, "deadline": 20.0, "max_staleness": 1.0}
IDS = [str(number) for number in range(20)]


def load(user_id):
    return {"name": user_id}


def options(face: str):
    return settings(load_user=load, prefix=f"{face}:user:", wait_replicas=1, **PATIENT)


async def _story(call) -> None:
    """Users on every node come in; one is invalidated, one logged out, one revoked, one logged in and out."""
    tokens = {user_id: token_for(user_id) for user_id in IDS}
    for _ in range(2):
        for user_id, token in tokens.items():
            assert (await call("authenticate", headers(token))).user.name == user_id
    await call("invalidate", "1")
    assert (await call("authenticate", headers(tokens["1"]))).user.name == "1"
    await call("logout", tokens["2"])
    await call("revoke_user", "3")
    await call("login", "4", token=tokens["4"])
    (session,) = await call("sessions", "4")
    await call("logout_session", "4", session.sid)
    assert await call("sessions", "4") == []
    for user_id in ("2", "3", "4"):
        with pytest.raises(InvalidTokenError):
            await call("authenticate", headers(tokens[user_id]))


def tell_blocking(auth: AuthCache) -> None:
    async def call(method, *arguments, **options):
        return getattr(auth, method)(*arguments, **options)

    with auth:
        asyncio.run(_story(call))
        stats = auth.stats()
    assert stats.loads == len(IDS) + 4
    assert stats.redis_may_evict is False


async def tell_async(auth: AsyncAuthCache) -> None:
    async with auth:
        await _story(lambda method, *arguments, **options: getattr(auth, method)(*arguments, **options))
        stats = auth.stats()
    assert stats.loads == len(IDS) + 4
    assert stats.redis_may_evict is False


def test_the_blocking_face_on_a_cluster(cluster) -> None:
    nodes = cluster.startup_nodes(redis.cluster.ClusterNode)
    with redis.cluster.RedisCluster(startup_nodes=nodes, socket_timeout=2) as client:
        tell_blocking(
            AuthCache(client, **settings(load_user=load, prefix="blocking:user:", wait_replicas=1, **PATIENT))
        )
        with AuthCache(client, **settings(load_user=load, wait_replicas=2, **PATIENT)) as auth:
            with pytest.raises(UnavailableError, match="too few replicas"):
                auth.invalidate("1")


async def test_the_async_face_on_a_cluster(cluster) -> None:
    nodes = cluster.startup_nodes(redis.asyncio.cluster.ClusterNode)
    async with redis.asyncio.cluster.RedisCluster(startup_nodes=nodes) as client:
        await tell_async(
            AsyncAuthCache(client, **settings(load_user=load, prefix="async:user:", wait_replicas=1, **PATIENT))
        )
        async with AsyncAuthCache(client, **settings(load_user=load, wait_replicas=2, **PATIENT)) as auth:
            with pytest.raises(UnavailableError, match="too few replicas"):
                await auth.invalidate("1")


def test_the_blocking_face_behind_sentinels(group) -> None:
    sentinel = redis.sentinel.Sentinel(group.addresses, socket_timeout=2)
    client = sentinel.master_for(group.name, socket_timeout=2)
    tell_blocking(AuthCache(client, **options("blocking")))
    with AuthCache(client, **settings(load_user=load, wait_replicas=2, **PATIENT)) as auth:
        with pytest.raises(UnavailableError, match="too few replicas"):
            auth.invalidate("1")
    for other in (client, *sentinel.sentinels):
        other.close()


async def test_the_async_face_behind_sentinels(group) -> None:
    sentinel = redis.asyncio.sentinel.Sentinel(group.addresses, socket_timeout=2)
    client = sentinel.master_for(group.name, socket_timeout=2)
    await tell_async(AsyncAuthCache(client, **options("async")))
    async with AsyncAuthCache(client, **settings(load_user=load, wait_replicas=2, **PATIENT)) as auth:
        with pytest.raises(UnavailableError, match="too few replicas"):
            await auth.invalidate("1")
    for other in (client, *sentinel.sentinels):
        await other.aclose()
