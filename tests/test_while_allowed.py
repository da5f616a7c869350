"""Streams, and whatever else stays open for long, on the asynchronous face."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from faces import headers, settings, token_for

from authcache_middleware import AsyncAuthCache
from authcache_middleware.activity import Activity
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.users.user import NO_CREDENTIALS


class Lines:
    """An asynchronous generator of what the test puts, and how it ended."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.ended: list[str] = []

    async def __call__(self) -> AsyncIterator[str]:
        try:
            while (line := await self.queue.get()) is not None:
                yield line
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("closed")


class Plain:
    """An iterator that is no generator."""

    def __init__(self) -> None:
        self.left = 2

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def auth(clock) -> AsyncIterator[AsyncAuthCache[Any]]:
    async def load(user_id: str) -> dict[str, Any]:
        return {"id": user_id}

    async with AsyncAuthCache(MemoryStore(clock), **settings(load_user=load, clock=clock, leeway=0.0)) as auth:
        yield auth


async def entered(auth: AsyncAuthCache[Any], clock: ManualClock, subject: str = "1", **said: Any) -> Any:
    token = token_for(subject, now=clock.wall(), **said)
    return (await auth.authenticate(headers(token))).auth


class Reader:
    """Reads a stream to its end, in a task."""

    def __init__(self, stream: Any) -> None:
        self.got: list[Any] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: Any) -> None:
        async for item in stream:
            self.got.append(item)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                await asyncio.sleep(0)


def watched(auth: AsyncAuthCache[Any]) -> int:
    watches = auth._engine().watches
    return 0 if watches is None else len(watches)


async def test_the_items_pass_until_they_end(auth, clock) -> None:
    lines = Lines()
    for line in ("a", "b", None):
        lines.queue.put_nowait(line)
    reader = Reader(auth.while_allowed(await entered(auth, clock), lines()))
    await reader.task
    assert (reader.got, lines.ended, watched(auth)) == (["a", "b"], ["closed"], 0)


async def test_an_iterator_that_is_no_generator_does_as_well(auth, clock) -> None:
    reader = Reader(auth.while_allowed(await entered(auth, clock), Plain()))
    await reader.task
    assert reader.got == [1, 0]


@pytest.mark.parametrize("cause", ["revoked", "expired", "unavailable"])
async def test_it_raises_where_the_user_may_be_there_no_longer(auth, clock, cause) -> None:
    lines = Lines()
    lines.queue.put_nowait("a")
    reader = Reader(auth.while_allowed(await entered(auth, clock, lifetime=60), lines()))
    await reader.until(1)
    match cause:
        case "revoked":
            await auth.revoke_user("1")
        case "expired":
            clock.advance(60)
            await auth.invalidate("1")  # wakes who watches
        case "unavailable":
            await auth.aclose()
    async with asyncio.timeout(20):
        with pytest.raises(UnavailableError if cause == "unavailable" else InvalidTokenError) as raised:
            await reader.task
    assert raised.value.reason == ("connection" if cause == "unavailable" else cause)
    assert (reader.got, lines.ended, watched(auth)) == (["a"], ["cancelled", "closed"], 0)


async def test_who_stops_reading_is_watched_no_longer(auth, clock) -> None:
    lines = Lines()
    lines.queue.put_nowait("a")
    stream = auth.while_allowed(await entered(auth, clock), lines())
    assert await anext(stream) == "a"
    assert watched(auth) == 1
    await stream.aclose()
    assert (watched(auth), lines.ended) == (0, ["closed"])


async def test_a_reader_who_is_cancelled_is(auth, clock) -> None:
    lines = Lines()
    lines.queue.put_nowait("a")
    reader = Reader(auth.while_allowed(await entered(auth, clock), lines()))
    await reader.until(1)
    reader.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader.task
    assert (watched(auth), lines.ended) == (0, ["cancelled", "closed"])


async def test_the_anonymous_user_has_nothing_to_lose(auth) -> None:
    lines = Lines()
    for line in ("a", None):
        lines.queue.put_nowait(line)
    reader = Reader(auth.while_allowed(NO_CREDENTIALS, lines()))
    await reader.task
    assert reader.got == ["a"]


@pytest.mark.parametrize("required", [False, True])
async def test_a_session_bounds_what_a_record_says_where_one_is_required(clock, required) -> None:
    async def load(user_id: str) -> dict[str, Any]:
        return {"id": user_id}

    options = settings(load_user=load, clock=clock, require_session=required)
    async with AsyncAuthCache(MemoryStore(clock), **options) as auth:
        ends = int(clock.wall()) + 60
        token = token_for("1", now=clock.wall(), claims={"sid": "phone"})
        await auth.login("1", token=token, expires_at=ends)
        claims = (await auth.authenticate(headers(token))).auth.claims
        record = await auth._engine().of(claims.issuer).users.record("1")
        assert auth._holds_until(record, claims) == (ends if required else math.inf)


async def test_who_does_something_on_an_open_connection_is_marked_as_seen(clock, redis_url, prefix) -> None:
    async def load(user_id: str) -> dict[str, Any]:
        return {"id": user_id}

    async def end(reason: str) -> None:
        pass

    options = settings(load_user=load, clock=clock, activity=Activity(), prefix=prefix)
    async with AsyncAuthCache(redis_url, **options) as auth:
        watch = auth.watch((await entered(auth, clock)).claims, end)
        began = clock.wall()
        clock.advance(50)
        assert auth._seen.at(watch.key) == began
        watch.seen()
        assert auth._seen.at(watch.key) == began + 50
        watch.release()


async def test_claims_of_an_unknown_issuer_are_not_watched(auth, clock) -> None:
    claims = replace((await entered(auth, clock)).claims, issuer="https://elsewhere.example")

    async def end(reason: str) -> None:
        raise AssertionError

    with pytest.raises(InvalidTokenError, match="issuer"):
        auth.watch(claims, end)
