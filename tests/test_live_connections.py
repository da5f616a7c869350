"""Connections that stay open, over real HTTP and on a real server: which of them end, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from faces import headers, settings, token_for
from open_service import opened, serving
from proxies import StallingProxy
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from authcache_middleware import AuthCache
from authcache_middleware.testing.server import EmbeddedServer


async def until(condition: Callable[[], Any], *, guard: float = 20.0) -> None:
    async with asyncio.timeout(guard):
        while not condition():
            await asyncio.sleep(0.005)


async def end_of(client: ClientConnection) -> tuple[int, str]:
    """The code and reason it is closed with."""
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def answers(client: ClientConnection) -> bool:
    async with asyncio.timeout(20):
        await client.send("still there?")
        return await client.recv() == "still there?"


@contextmanager
def other_service(url: str, **options: Any) -> Iterator[AuthCache[Any]]:
    """What shares the Redis, and knows nothing of the connections."""
    with AuthCache(url, **settings(**{"load_user": lambda user_id: {"id": user_id}, **options})) as other:
        yield other


async def closed_of(clients: list[ClientConnection]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


async def test_those_of_the_users_who_were_thrown_out_end_and_no_others(redis_url, prefix, client) -> None:
    users = [f"user-{number}" for number in range(50)]
    with serving(redis_url, prefix=prefix) as service, other_service(redis_url, prefix=prefix) as other:
        clients = {
            (user, number): made
            for number in range(2)
            for user, made in zip(users, await asyncio.gather(*(opened(service, user) for user in users)), strict=True)
        }
        await until(lambda: service.idle() == 50)
        loads = service.loads
        for user in users[:8]:
            other.revoke_user(user)
        service.disabled |= {users[8], users[9]}
        other.invalidate(users[8])
        assert client.delete(other.key(users[9])) == 1
        other.invalidate(users[10])  # to whom nothing else happens
        out = {key: made for key, made in clients.items() if key[0] in users[:10]}
        assert await asyncio.gather(*map(end_of, out.values())) == [(4401, "revoked")] * 20
        await until(lambda: service.idle() == 40)
        stay = [made for key, made in clients.items() if key not in out]
        assert all(await asyncio.gather(*map(answers, stay)))
        assert service.watched() == 80
        assert service.loads <= loads + 11, "a user's connections share one reading"
        await closed_of(stay)
        await until(lambda: service.watched() == 0)


async def test_a_token_that_was_logged_out_ends_its_own_connection(redis_url, prefix) -> None:
    with serving(redis_url, prefix=prefix) as service, other_service(redis_url, prefix=prefix) as other:
        mine = token_for("1", token_id="mine", lifetime=3600)
        first, second = await opened(service, "1", token_id="mine"), await opened(service, "1")
        other.logout(mine)
        assert await end_of(first) == (4401, "revoked")
        assert await answers(second)
        await closed_of([second])


async def test_one_ends_with_its_token_unless_a_fresh_one_was_sent(redis_url, prefix) -> None:
    with serving(redis_url, prefix=prefix, leeway=0.0) as service:
        lasting, ending = await asyncio.gather(*(opened(service, "1", lifetime=2) for _ in range(2)))
        for token, answer in (
            (token_for("2", lifetime=3600), "refused subject"),
            (token_for("1", lifetime=-10), "refused expired"),
            (token_for("1", lifetime=3600), "extended 1"),
        ):
            await lasting.send(f"extend {token}")
            assert await lasting.recv() == answer
        assert await end_of(ending) == (4401, "expired")
        assert await answers(lasting)
        assert service.watched() == 1
        await closed_of([lasting])


async def test_without_memory_it_is_noticed_at_the_next_look(redis_url, prefix) -> None:
    with (
        serving(redis_url, prefix=prefix, max_staleness=0.0) as service,
        other_service(redis_url, prefix=prefix) as other,
    ):
        first, second = await opened(service, "1"), await opened(service, "2")
        other.revoke_user("1")
        assert await end_of(first) == (4401, "revoked")
        assert await answers(second)
        await closed_of([second])


async def test_idle_ones_ask_redis_nothing_also_after_a_flush(prefix) -> None:
    with EmbeddedServer() as own, redis.Redis.from_url(own.url) as admin:
        with serving(own.url, prefix=prefix, max_staleness=0.2) as service:
            clients = await asyncio.gather(*(opened(service, f"{number}") for number in range(20)))
            await until(lambda: service.idle() == 20)
            await nothing_for_a_second(admin)  # five times as long as whoever polls would wait
            admin.flushall()
            await until(lambda: service.loads == 40)
            await until(lambda: service.idle() == 20)
            assert all(await asyncio.gather(*map(answers, clients)))
            await closed_of(clients)


async def nothing_for_a_second(admin: redis.Redis) -> None:
    """There is a second in which nothing is asked; the word of a record that was stored may be late."""
    async with asyncio.timeout(20):
        before, since = commands(admin), time.monotonic()
        while time.monotonic() < since + 1.0:
            await asyncio.sleep(0.05)
            if (now := commands(admin)) != before:
                before, since = now, time.monotonic()


def commands(admin: redis.Redis) -> dict[str, int]:
    """How often the server was sent each command, but for the link's heartbeat and this question itself."""
    calls = {name: stat["calls"] for name, stat in admin.info("commandstats").items()}
    return {name: count for name, count in calls.items() if name not in {"cmdstat_ping", "cmdstat_info"}}


async def test_what_happens_while_redis_cannot_be_reached_is_noticed_when_it_can(server, prefix) -> None:
    with (
        StallingProxy(server.port) as proxy,
        serving(proxy.url, prefix=prefix, max_staleness=0.3) as service,
        other_service(server.url, prefix=prefix) as other,
    ):
        first, second = await opened(service, "1"), await opened(service, "2")
        await until(lambda: service.idle() == 2)
        proxy.refuse()
        proxy.cut()
        other.revoke_user("1")
        await until(lambda: service.idle() == 0)
        assert await answers(first), "nobody knows"
        proxy.accept()
        assert await end_of(first) == (4401, "revoked")
        assert await answers(second)
        await until(lambda: service.idle() == 1)
        await closed_of([second])


async def test_what_a_link_that_hangs_does_not_tell_is_noticed(server, prefix) -> None:
    with (
        StallingProxy(server.port) as proxy,
        serving(proxy.url, prefix=prefix, max_staleness=0.3) as service,
        other_service(server.url, prefix=prefix) as other,
    ):
        first, second = await opened(service, "1"), await opened(service, "2")
        await until(lambda: service.idle() == 2)
        proxy.stall()
        other.revoke_user("1")
        await until(lambda: service.idle() == 0)
        proxy.resume()
        assert await end_of(first) == (4401, "revoked")
        assert await answers(second)
        await closed_of([second])


async def test_one_is_kept_for_so_long_while_nobody_knows(server, prefix) -> None:
    with (
        StallingProxy(server.port) as proxy,
        serving(proxy.url, prefix=prefix, max_staleness=0.2, keep_open_for=0.5) as service,
    ):
        client = await opened(service, "1")
        await until(lambda: service.idle() == 1)
        proxy.refuse()
        proxy.cut()
        assert await end_of(client) == (1013, "unavailable")


async def test_a_stream_breaks_off(redis_url, prefix) -> None:
    with serving(redis_url, prefix=prefix) as service, other_service(redis_url, prefix=prefix) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        said = "".join(f"{name}: {value}\r\n" for name, value in headers(token_for("1", lifetime=3600)))
        writer.write(f"GET / HTTP/1.1\r\n{said}\r\n".encode())
        async with asyncio.timeout(20):
            await reader.readuntil(b"the first line\n\r\n")
            await until(lambda: service.watched() == 1)
            other.revoke_user("1")
            assert await reader.read() == b"", "no last chunk: the client can tell that something is missing"
        writer.close()
        await until(lambda: service.watched() == 0)


async def test_a_server_that_stops_leaves_nothing(redis_url, prefix) -> None:
    with serving(redis_url, prefix=prefix) as service:
        client = await opened(service, "1")
        watches = service.watches()
    assert (await end_of(client))[0] == 1012
    assert [len(each) for each in watches] == [0]


async def test_closing_the_face_ends_what_it_watches(redis_url, prefix) -> None:
    with serving(redis_url, prefix=prefix) as service:
        client = await opened(service, "1")
        (engine,) = service.auth._engines.values()
        closing = asyncio.run_coroutine_threadsafe(service.auth.aclose(), engine.runtime._loop)
        assert await end_of(client) == (1013, "unavailable")
        await asyncio.wrap_future(closing)
        await until(lambda: service.watched() == 0)


async def test_the_end_of_a_session_ends_its_connections(redis_url, prefix) -> None:
    options = {"prefix": prefix, "require_session": True}
    with serving(redis_url, **options) as service, other_service(redis_url, **options) as other:
        clients = {}
        for sid in ("phone", "desk"):
            token = {"claims": {"sid": sid}, "lifetime": 3600}
            other.login("1", token=token_for("1", **token))
            clients[sid] = await opened(service, "1", **token)
        other.logout_session("1", "phone")
        assert await end_of(clients["phone"]) == (4401, "revoked")
        assert await answers(clients["desk"])
        await closed_of([clients["desk"]])
