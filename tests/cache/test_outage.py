"""While Redis is gone: 503, or what the options allow."""

from __future__ import annotations

import asyncio

import pytest
from faces import driven, headers, settings, token_for

from authcache_middleware import AsyncAuthCache, InvalidTokenError, UnavailableError
from authcache_middleware.events import OutageAnswer
from authcache_middleware.testing import ManualClock, MemoryStore

FACES = ["async", "blocking"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.mark.parametrize("face", FACES)
def test_by_default_it_is_503(face, store, clock) -> None:
    loads = []
    with driven(face, store, load_user=lambda user_id: loads.append(user_id) or {"id": 1}, clock=clock) as driver:
        store.down = True
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())
        assert driver.face.stats().unavailable == 1
    assert loads == []


@pytest.mark.parametrize("face", FACES)
def test_the_database_may_be_asked_and_the_row_alone_decides(face, store, clock) -> None:
    events = []
    rows = {"1": {"name": "Ann"}, "2": {"disabled": True}, "3": {"revoked_before": clock.wall() + 1}}
    with driven(face, store, load_user=rows.get, clock=clock, on_outage="load", observers=[events.append]) as driver:
        store.down = True
        assert driver.enter("1", now=clock.wall()).user.name == "Ann"
        for subject in ("2", "3", "nobody"):
            with pytest.raises(InvalidTokenError):
                driver.enter(subject, now=clock.wall())
        assert events.count(OutageAnswer("load")) == driver.face.stats().outage_answers == 4
        store.down = False
        assert driver.enter("1", now=clock.wall()).user.name == "Ann"
        assert driver.face.stats().outage_answers == 4
    assert store.calls.count("claim") == 1, "what was loaded without Redis is not stored in it"


@pytest.mark.parametrize("face", FACES)
def test_a_loader_that_fails_in_an_outage_is_503_and_spared_for_a_moment(face, store, clock) -> None:
    loads = []

    def load(user_id):
        loads.append(user_id)
        raise OSError

    with driven(face, store, load_user=load, clock=clock, on_outage="load") as driver:
        store.down = True
        for _ in range(3):
            with pytest.raises(UnavailableError):
                driver.enter(now=clock.wall())
        assert loads == ["1"]


async def test_the_database_is_asked_by_few_at_once_and_once_for_each_user(store) -> None:
    at_once = [0, 0]
    loads = []

    async def load(user_id):
        loads.append(user_id)
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0)
        at_once[0] -= 1
        return {"name": user_id}

    auth = AsyncAuthCache(store, load_user=load, on_outage="load", outage_concurrency=3, **settings())
    store.down = True
    tokens = [headers(token_for(str(number % 25))) for number in range(500)]
    answers = await asyncio.gather(*(auth.authenticate(one) for one in tokens))
    assert [answer.user.name for answer in answers] == [str(number % 25) for number in range(500)]
    assert at_once[1] == 3
    assert len(loads) == 25
    await auth.aclose()


def remembering(face, store, clock, **options):
    return driven(
        face,
        store,
        load_user=lambda user_id: {"name": user_id},
        clock=clock,
        max_staleness=1.0,
        serve_stale_for=30.0,
        **options,
    )


def known(driver, clock) -> None:
    """The user is in memory, as if a link had vouched for it until now."""
    driver.enter(now=clock.wall())
    memory = next(iter(getattr(driver.face, "_story", driver.face)._engines.values())).memory
    memory.follow(["node"])
    memory.credit("node", clock.monotonic())
    driver.enter(now=clock.wall())
    assert len(memory) == 1
    memory.lose("node")


@pytest.mark.parametrize("face", FACES)
def test_who_is_known_may_go_on_for_a_while(face, store, clock) -> None:
    with remembering(face, store, clock) as driver:
        known(driver, clock)
        store.down = True
        assert driver.enter(now=clock.wall()).user.name == "1"
        assert driver.face.stats().outage_answers == 1
        with pytest.raises(UnavailableError):
            driver.enter("2", now=clock.wall())
        clock.advance(29)
        assert driver.enter(now=clock.wall()).user.name == "1"
        clock.advance(2)
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())


@pytest.mark.parametrize("face", FACES)
def test_nobody_goes_on_who_was_invalidated_here_though_redis_did_not_confirm(face, store, clock) -> None:
    with remembering(face, store, clock) as driver:
        known(driver, clock)
        store.down = True
        with pytest.raises(UnavailableError):
            driver("invalidate", "1")
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())


@pytest.mark.parametrize("face", FACES)
def test_stale_memory_comes_before_the_database(face, store, clock) -> None:
    with remembering(face, store, clock, on_outage="load") as driver:
        known(driver, clock)
        store.down = True
        loads = driver.face.stats().loads
        driver.enter(now=clock.wall())
        assert driver.face.stats().loads == loads
        driver.enter("2", now=clock.wall())
        assert driver.face.stats().loads == loads + 1


async def test_who_comes_after_the_load_began_is_answered_by_the_next(store) -> None:
    """There is no lease in an outage: a row that was read before the request began may be old already."""
    reading, gate = asyncio.Event(), asyncio.Event()
    row = {"name": "Ann"}

    async def load(_user_id):
        read = dict(row)
        reading.set()
        await gate.wait()
        return read

    auth = AsyncAuthCache(store, load_user=load, on_outage="load", **settings())
    store.down = True
    early = asyncio.create_task(auth.authenticate(headers(token_for("1"))))
    await reading.wait()
    row["disabled"] = True
    late = asyncio.create_task(auth.authenticate(headers(token_for("1"))))
    await asyncio.sleep(0)
    gate.set()
    assert (await early).user.name == "Ann"
    with pytest.raises(InvalidTokenError):
        await late
    await auth.aclose()
