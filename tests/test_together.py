"""One question for all who ask in one turn of the event loop."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest
from faces import headers, settings, token_for

from authcache_middleware import AsyncAuthCache
from authcache_middleware.errors import UnavailableError
from authcache_middleware.runtime import Together


class Asked:
    """Answers each key with its number of letters, when it is let; remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, keys):
        self.questions.append(list(keys))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [len(key) for key in keys]


@pytest.fixture
async def asked():
    return Asked()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_asks_in_one_turn_shares_one_question(asked) -> None:
    together = Together(asked)
    asked.may_answer.set()
    assert await asyncio.gather(*map(together.get, ["a", "bb", "a", "ccc"])) == [1, 2, 1, 3]
    assert asked.questions == [["a", "bb", "ccc"]]


async def test_a_question_on_its_way_takes_nobody_in(asked) -> None:
    together = Together(asked)
    first = asyncio.ensure_future(together.get("a"))
    await turns()
    assert asked.questions == [["a"]]
    second = asyncio.ensure_future(together.get("a"))
    await turns()
    assert asked.questions == [["a"], ["a"]]
    asked.may_answer.set()
    assert await asyncio.gather(first, second) == [1, 1]


@pytest.mark.parametrize("turn", [0, 1, 5])
async def test_where_the_one_who_asks_is_cancelled_somebody_else_asks(asked, turn) -> None:
    together = Together(asked)
    first, *others = [asyncio.ensure_future(together.get(key)) for key in ("a", "bb", "ccc", "bb")]
    await turns(turn)
    first.cancel()
    asked.may_answer.set()
    await asyncio.wait([first, *others], timeout=20)
    assert first.cancelled()
    assert [other.result() for other in others] == [2, 3, 2]


async def test_one_who_waits_may_be_cancelled_alone(asked) -> None:
    together = Together(asked)
    first, second, third = [asyncio.ensure_future(together.get("a")) for _ in range(3)]
    await turns()
    second.cancel()
    asked.may_answer.set()
    assert await first == await third == 1
    assert second.cancelled()
    assert asked.questions == [["a"]]


async def test_a_failure_is_everybodys_each_his_own(asked) -> None:
    together = Together(asked)
    asked.failure = UnavailableError("redis")
    asked.may_answer.set()
    failures = await asyncio.gather(*[together.get("a") for _ in range(3)], return_exceptions=True)
    assert [failure.reason for failure in failures] == ["redis"] * 3
    assert len(set(map(id, failures))) == 3
    asked.failure = None
    assert await together.get("a") == 1


async def test_a_question_has_a_bound(asked) -> None:
    together = Together(asked)
    asked.may_answer.set()
    keys = [str(number) for number in range(600)]
    assert await asyncio.gather(*map(together.get, keys)) == [len(key) for key in keys]
    assert [len(question) for question in asked.questions] == [256, 256, 88]
    assert list(chain(*asked.questions)) == keys


def commands(client) -> dict[str, int]:
    return {
        name.removeprefix("cmdstat_"): stats["calls"]
        for name, stats in client.info("commandstats").items()
        if name in {"cmdstat_get", "cmdstat_mget", "cmdstat_eval"}
    }


def spent(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: calls - before.get(name, 0) for name, calls in after.items() if calls != before.get(name, 0)}


async def test_requests_of_one_turn_cost_one_command(redis_url, prefix, client) -> None:
    async def load(user_id):
        return {"id": user_id}

    async with AsyncAuthCache(
        redis_url, load_user=load, **settings(prefix=prefix, store_timeout=5.0, deadline=30.0)
    ) as auth:
        requests = [headers(token_for(str(number))) for number in range(64)]
        for request in requests:
            await auth.authenticate(request)
        before = commands(client)
        found = await asyncio.gather(*map(auth.authenticate, requests))
        assert [identity.user.id for identity in found] == [str(number) for number in range(64)]
        assert spent(before, commands(client)) == {"mget": 1}
        before = commands(client)
        await auth.authenticate(requests[0])
        assert spent(before, commands(client)) == {"get": 1}


async def test_a_thousand_requests_for_one_cold_user_cost_one_get_and_one_load(redis_url, prefix, client) -> None:
    loads = 0

    async def load(user_id):
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return {"id": user_id}

    async with AsyncAuthCache(
        redis_url, load_user=load, **settings(prefix=prefix, store_timeout=5.0, deadline=30.0)
    ) as auth:
        request = headers(token_for())
        await auth.authenticate(headers(token_for("other")))  # the connection is there
        before, connected, loads = commands(client), len(client.client_list()), 0
        found = await asyncio.gather(*[auth.authenticate(request) for _ in range(1000)])
        assert len(found) == 1000
        assert loads == 1
        assert spent(before, commands(client)) == {"get": 1 + 2, "eval": 2}  # each script has one of its own
        assert len(client.client_list()) <= connected + 1
