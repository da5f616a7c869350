"""Open connections while the way to Redis fails in any order: in the end those have ended who must, and no others."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis
from faces import headers, settings, token_for
from proxies import DOWN, StallingProxy

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.testing.server import EmbeddedServer

USERS = [f"{number}" for number in range(40)]
STALENESS = 0.2


class Played:
    """Connections of every user, two each, and what happens to them."""

    def __init__(self, seed: int, server: EmbeddedServer, proxy: StallingProxy, prefix: str) -> None:
        self.chance = random.Random(seed)
        self.server, self.proxy = server, proxy
        self.out: set[str] = set()
        self.ended: list[tuple[str, str]] = []
        self.options = settings(prefix=prefix, max_staleness=STALENESS, loader_timeout=1.0)
        self.other: AuthCache[Any] = AuthCache(
            server.url, **{**self.options, "max_staleness": 0.0}, load_user=self.load
        )
        self.auth: AsyncAuthCache[Any] = AsyncAuthCache(proxy.url, **self.options, load_user=self.load_there)

    def load(self, user_id: str) -> dict[str, Any]:
        return {"id": user_id, "active": user_id not in self.out}

    async def load_there(self, user_id: str) -> dict[str, Any]:
        row = self.load(user_id)
        await asyncio.sleep(self.chance.random() * 0.01)  # what was read may be old when it is stored
        return row

    async def open(self, user: str) -> None:
        claims = (await self.auth.authenticate(headers(token_for(user, lifetime=3600)))).auth.claims

        async def end(reason: str) -> None:
            self.ended.append((user, reason))

        for _ in range(2):
            self.auth.watch(claims, end)

    async def episode(self) -> None:
        """Some trouble of one kind, users who are thrown out or change meanwhile, and then peace: all must be known."""
        troubles: list[list[Callable[[], None]]] = [
            [], [self.proxy.cut], [self.proxy.stall, self.proxy.resume], [lambda: self.proxy.stall(DOWN)],
            [self.kill_the_link], [self.flush], [self.kill_the_link, self.flush, self.proxy.cut],
        ]  # fmt: skip
        acts = [self.throw_out, self.throw_out, self.change, *self.chance.choice(troubles)]
        self.chance.shuffle(acts)
        for act in acts:
            await asyncio.to_thread(act)
            await asyncio.sleep(self.chance.choice([0.0, 0.002, 0.05]))
        await asyncio.to_thread(self.proxy.resume)
        expected = sorted((user, "revoked") for user in self.out for _ in range(2))
        async with asyncio.timeout(60):
            while len(self.ended) < len(expected):
                await asyncio.sleep(0.01)
        await self.settled()
        assert sorted(self.ended) == expected

    def throw_out(self) -> None:
        user = self.chance.choice(USERS)
        if len(self.out) < len(USERS) - 5:
            self.out.add(user)
            self.other.invalidate(user)

    def change(self) -> None:
        self.other.invalidate(self.chance.choice(USERS))

    def kill_the_link(self) -> None:
        with redis.Redis.from_url(self.server.url) as admin:
            admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def flush(self) -> None:
        with redis.Redis.from_url(self.server.url) as admin:
            admin.flushall()

    async def settled(self) -> None:
        """Nothing is polled for any more, and so nothing more will happen by itself."""
        watches = self.auth._engine().watches
        assert watches is not None
        async with asyncio.timeout(60):
            while len(watches._idle) < len(watches._users) or not self.auth.stats().memory_trusted:
                await asyncio.sleep(0.02)


async def played(seed: int, episodes: int, prefix: str) -> None:
    print(f"AUTHCACHE_SEED={seed}")
    with EmbeddedServer() as server, StallingProxy(server.port) as proxy:
        play = Played(seed, server, proxy, prefix)
        with play.other:
            async with play.auth:
                await asyncio.gather(*map(play.open, USERS))
                for _ in range(episodes):
                    await play.episode()
                watches = play.auth._engine().watches
                assert watches is not None
                assert len(watches) == 2 * (len(USERS) - len(play.out))
                play.ended.clear()  # the others end with the face


async def test_in_the_end_those_have_ended_who_must_and_no_others(prefix) -> None:
    await played(int(os.environ.get("AUTHCACHE_SEED") or random.randrange(1 << 32)), 8, prefix)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
async def test_so_they_have_after_long_trouble(number, prefix) -> None:
    await played(random.randrange(1 << 32), 100, prefix)
