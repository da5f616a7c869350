"""Many who ask for one user at once: who shares what with whom, and who must not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from faces import ISSUER, SECRET, headers, settings, token_for, wait_until

from authcache_middleware import AsyncAuthCache, AuthCache, InvalidTokenError, UnavailableError
from authcache_middleware.cache import flow
from authcache_middleware.cache.flights import Failed, Flights
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, WorkClosedError, finish
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.users.record import is_lease


class Held(MemoryStore):
    """A store whose replies can be held back: the command has run, its answer is still under way."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, asyncio.Event] = {}
        self.ran: dict[str, asyncio.Event] = {}

    def hold(self, name: str) -> None:
        """Hold back the replies of one call until ``release``; once: later calls go through."""
        call, gate, ran = getattr(self, name), asyncio.Event(), asyncio.Event()
        self.gates[name], self.ran[name] = gate, ran

        async def held(*arguments, **options):
            setattr(self, name, call)
            answer = await call(*arguments, **options)
            ran.set()
            await gate.wait()
            return answer

        setattr(self, name, held)

    def release(self, name: str) -> None:
        self.gates[name].set()


class Database:
    """One row and a gate in front of it."""

    def __init__(self) -> None:
        self.row = {"name": "Ann", "active": True}
        self.loads = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()

    async def load(self, _user_id: str):
        self.loads += 1
        row = dict(self.row)
        self.reading.set()
        await self.gate.wait()
        return row


@pytest.fixture
def store() -> Held:
    return Held()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def auth(store, database) -> AsyncAuthCache:
    return AsyncAuthCache(store, load_user=database.load, **settings())


HEADERS = headers(token_for("1", lifetime=3600))


async def test_all_who_wait_share_one_load(auth, database) -> None:
    waiting = [asyncio.create_task(auth.authenticate(HEADERS)) for _ in range(200)]
    await database.reading.wait()
    waiting += [asyncio.create_task(auth.authenticate(HEADERS)) for _ in range(200)]
    await asyncio.sleep(0)
    database.gate.set()
    assert {identity.user.name for identity in await asyncio.gather(*waiting)} == {"Ann"}
    assert database.loads == 1


async def test_who_comes_after_the_fill_was_sent_is_not_answered_by_it(auth, store, database) -> None:
    """The fill has run and its reply is late; then the user is disabled. Whoever asks now must not get that record."""
    store.hold("compare_and_set")
    database.gate.set()
    early = asyncio.create_task(auth.authenticate(HEADERS))
    await store.ran["compare_and_set"].wait()
    database.row = {"active": False}
    await auth.invalidate("1")
    late = asyncio.create_task(auth.authenticate(HEADERS))
    await asyncio.sleep(0)
    store.release("compare_and_set")
    assert (await early).user.name == "Ann"
    with pytest.raises(InvalidTokenError):
        await late
    assert database.loads == 2


async def test_who_comes_after_the_look_was_sent_is_not_answered_by_it(auth, store, database) -> None:
    """The same for a record that was found by the attempt to take the lease."""
    database.gate.set()
    await auth.authenticate(HEADERS)
    first_get = store.get

    async def missed(key):
        store.get = first_get
        await first_get(key)

    store.get = missed
    store.hold("claim")
    early = asyncio.create_task(auth.authenticate(HEADERS))
    await store.ran["claim"].wait()
    database.row = {"active": False}
    await auth.invalidate("1")
    late = asyncio.create_task(auth.authenticate(HEADERS))
    await asyncio.sleep(0)
    store.release("claim")
    assert (await early).user.name == "Ann"
    with pytest.raises(InvalidTokenError):
        await late


async def test_who_comes_during_an_uncached_load_is_not_answered_by_it(auth, store, database) -> None:
    """Without a lease nothing tells of an invalidation, so the load answers only who waited before it began."""
    store.put("user:1", b"\x82\xa1v\x02\xa1a\x01")  # {"v": 2, …}
    early = asyncio.create_task(auth.authenticate(HEADERS))
    await database.reading.wait()
    database.row = {"active": False}
    late = asyncio.create_task(auth.authenticate(HEADERS))
    await asyncio.sleep(0)
    database.gate.set()
    assert (await early).user.name == "Ann"
    with pytest.raises(InvalidTokenError):
        await late


async def test_a_user_disabled_during_his_load_is_not_let_in(auth, database) -> None:
    waiting = asyncio.create_task(auth.authenticate(HEADERS))
    await database.reading.wait()
    database.row = {"active": False}
    await auth.invalidate("1")
    database.gate.set()
    with pytest.raises(InvalidTokenError):
        await waiting
    assert database.loads == 2


async def test_who_came_after_the_second_load_began_is_not_answered_by_its_refused_fill(auth, store, database) -> None:
    """Invalidated at every load: the row of a refused fill is for those alone who waited before it was read."""
    seen: list[dict] = []

    async def load(_user_id):
        row = dict(database.row)
        seen.append(row)
        if len(seen) == 2:
            database.reading.set()
            await database.gate.wait()
        if len(seen) <= 2:
            await store.delete("user:1")
        return row

    auth = AsyncAuthCache(store, load_user=load, **settings())
    early = asyncio.create_task(auth.authenticate(HEADERS))
    await database.reading.wait()
    database.row = {"active": False}
    late = asyncio.create_task(auth.authenticate(HEADERS))
    await asyncio.sleep(0)
    database.gate.set()
    assert (await early).user.name == "Ann"
    with pytest.raises(InvalidTokenError):
        await late
    assert len(seen) == 3


async def test_a_leader_who_is_cancelled_does_not_take_the_load_with_him(auth, database) -> None:
    leader = asyncio.create_task(auth.authenticate(HEADERS))
    await database.reading.wait()
    follower = asyncio.create_task(auth.authenticate(HEADERS))
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    database.gate.set()
    assert (await follower).user.name == "Ann"
    assert database.loads == 1


async def test_a_failed_load_fails_all_who_waited_and_only_once(auth, database, monkeypatch) -> None:
    async def load(_user_id):
        database.loads += 1
        database.reading.set()
        await database.gate.wait()
        raise OSError("no database")

    auth = AsyncAuthCache(MemoryStore(), load_user=load, **settings())
    waiting = [asyncio.create_task(auth.authenticate(HEADERS)) for _ in range(50)]
    await database.reading.wait()
    database.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnavailableError}
    assert len({id(answer) for answer in answers}) == 50  # each its own: a shared one would gather tracebacks
    assert database.loads == 1


async def test_a_loader_that_hangs_is_given_up_and_its_lease_with_it(store) -> None:
    hanging = asyncio.Event()

    async def load(_user_id):
        await hanging.wait()

    auth = AsyncAuthCache(store, load_user=load, loader_timeout=0.05, **settings())
    with pytest.raises(UnavailableError):
        await auth.authenticate(HEADERS)
    assert await store.get("user:1") is None


async def test_a_loader_that_cancels_itself_is_a_loader_that_failed(store, caplog) -> None:
    async def load(_user_id):
        raise asyncio.CancelledError

    auth = AsyncAuthCache(store, load_user=load, **settings())
    with pytest.raises(UnavailableError):
        await auth.authenticate(HEADERS)
    assert await store.get("user:1") is None
    assert "load_user" in caplog.text


async def test_a_plain_loader_that_hangs_keeps_its_place_until_it_returns(store) -> None:
    """A thread cannot be stopped: its request is answered, its place is not given to another."""
    running, release = threading.Semaphore(0), threading.Event()
    most = threading.Lock()
    at_once = [0, 0]

    def load(user_id):
        with most:
            at_once[0] += 1
            at_once[1] = max(at_once)
        running.release()
        release.wait(20)
        with most:
            at_once[0] -= 1
        return {"name": user_id}

    auth = AsyncAuthCache(
        store, load_user=load, **settings(loader_concurrency=2, loader_timeout=0.1, store_timeout=0.1, deadline=0.4)
    )
    answers = await asyncio.gather(
        *(auth.authenticate(headers(token_for(str(number)))) for number in range(6)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {UnavailableError}
    assert at_once == [2, 2]
    release.set()
    await asyncio.to_thread(wait_until, lambda: not at_once[0])
    assert (await auth.authenticate(headers(token_for("new")))).user.name == "new"
    assert at_once[1] == 2
    await auth.aclose()


@pytest.mark.parametrize("error", [StopIteration, asyncio.CancelledError])
async def test_a_plain_loader_that_raises_what_no_future_can_hold_gives_its_place_back(store, error, caplog) -> None:
    def load(user_id):
        if user_id != "good":
            raise error
        return {"name": "Ann"}

    auth = AsyncAuthCache(store, load_user=load, loader_concurrency=1, **settings())
    for number in range(3):
        with pytest.raises(UnavailableError) as caught:
            await auth.authenticate(headers(token_for(str(number))))
        assert caught.value.reason == "loader"
    assert "load_user raised RuntimeError" in caplog.text
    assert (await auth.authenticate(headers(token_for("good")))).user.name == "Ann"
    await auth.aclose()


async def test_a_plain_loader_whose_places_were_closed_is_not_called_and_keeps_none() -> None:
    """``aclose`` came between the place and the call: 503, and nobody says that the loader failed."""
    work = AsyncRuntime().work(lambda _: pytest.fail("called"), places=1, timeout=1.0)
    await work.enter(1.0)
    work.close()
    with pytest.raises(WorkClosedError):
        await work.call("1")
    await work.enter(0.0)


async def test_a_flight_whose_task_is_cancelled_before_it_began_is_no_flight(auth, database) -> None:
    database.gate.set()
    asking = asyncio.create_task(auth.authenticate(HEADERS))
    while not (flights := [task for task in asyncio.all_tasks() if "_fly" in repr(task)]):
        await asyncio.sleep(0)
    flights[0].cancel()
    assert (await asking).user.name == "Ann"
    assert (await auth.authenticate(HEADERS)).user.name == "Ann"
    assert database.loads == 1


async def test_who_waits_for_a_place_has_it_as_soon_as_it_is_free(store, monkeypatch) -> None:
    """Also who has waited for so long that he looked whether another process had one: he makes no pause."""
    for pause in ("_FIRST_POLL", "_SLOWEST_POLL", "_WOKEN_POLL"):
        monkeypatch.setattr(flow, pause, 1000.0)
    monkeypatch.setattr(flow, "_PLACE_POLL", 0.01)
    places = {user_id: asyncio.Event() for user_id in "12"}
    looks = 0

    async def load(user_id: str) -> dict:
        await places[user_id].wait()
        return {"name": user_id}

    async def get(key: str) -> bytes | None:
        nonlocal looks
        looks += 1
        return await look(key)

    look, store.get = store.get, get
    auth = AsyncAuthCache(store, load_user=load, loader_concurrency=1, **settings())
    first = asyncio.create_task(auth.authenticate(headers(token_for("1"))))
    second = asyncio.create_task(auth.authenticate(headers(token_for("2"))))
    async with asyncio.timeout(20):
        while looks < 5:
            await asyncio.sleep(0.001)
        places["1"].set()
        assert (await first).user.name == "1"
        places["2"].set()
        assert (await second).user.name == "2"
    await auth.aclose()


async def test_a_record_is_served_while_all_places_hang(store, database) -> None:
    """Another process fills the record of a user who waits here for a place at a loader that hangs."""
    auth = AsyncAuthCache(store, load_user=database.load, loader_concurrency=1, **settings(loader_timeout=1.5))
    hung = asyncio.create_task(auth.authenticate(headers(token_for("hung"))))
    await database.reading.wait()
    waiting = asyncio.create_task(auth.authenticate(HEADERS))
    while "user:1" not in auth._engines[asyncio.get_running_loop()].of(ISSUER).users._flights:
        await asyncio.sleep(0)
    elsewhere = AsyncAuthCache(store, load_user=lambda _: {"name": "Ann"}, **settings())
    assert (await elsewhere.authenticate(HEADERS)).user.name == "Ann"
    assert (await waiting).user.name == "Ann"
    assert not hung.done()
    hung.cancel()
    database.gate.set()
    await auth.aclose()
    await elsewhere.aclose()


async def test_loads_run_at_most_so_many_at_once(store, database) -> None:
    at_once = [0, 0]

    async def load(user_id):
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0)
        at_once[0] -= 1
        return {"name": user_id}

    auth = AsyncAuthCache(store, load_user=load, loader_concurrency=3, **settings())
    users = await asyncio.gather(*(auth.authenticate(headers(token_for(str(number)))) for number in range(40)))
    assert [identity.user.name for identity in users] == [str(number) for number in range(40)]
    assert at_once[1] == 3


async def test_a_closing_cache_waits_for_its_loads_and_may_be_used_again(auth, store, database) -> None:
    waiting = asyncio.create_task(auth.authenticate(HEADERS))
    await database.reading.wait()
    closing = asyncio.create_task(auth.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    database.gate.set()
    await closing
    assert (await waiting).user.name == "Ann"
    assert (await auth.authenticate(HEADERS)).user.name == "Ann"


def test_another_event_loop_gets_flights_of_its_own() -> None:
    store, loads = MemoryStore(), []

    async def load(user_id):
        loads.append(user_id)
        return {"name": "Ann"}

    auth = AsyncAuthCache(store, load_user=load, **settings())
    for _ in range(3):
        assert asyncio.run(auth.authenticate(HEADERS)).user.name == "Ann"
    assert len(auth._engines) == 1
    assert loads == ["1"]


class Threads:
    """Threads of requests against one blocking face; each one's answer or exception."""

    def __init__(self, auth: AuthCache) -> None:
        self._auth = auth
        self.answers: list[object] = []
        self._threads: list[threading.Thread] = []

    def start(self, number: int) -> None:
        for _ in range(number):
            thread = threading.Thread(target=self._ask)
            thread.start()
            self._threads.append(thread)

    def join(self) -> list[object]:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return self.answers

    def _ask(self) -> None:
        try:
            self.answers.append(self._auth.authenticate(HEADERS).user.name)
        except BaseException as exc:
            self.answers.append(exc)


def in_flight(auth: AuthCache) -> Callable[[], bool]:
    def waiting() -> bool:
        engines = list(auth._story._engines.values())
        return bool(engines) and "user:1" in engines[0].of(ISSUER).users._flights

    return waiting


def test_threads_share_one_load() -> None:
    release, loads = threading.Event(), []

    def load(user_id):
        loads.append(user_id)
        release.wait(20)
        return {"name": "Ann"}

    auth = AuthCache(MemoryStore(), load_user=load, **settings())
    threads = Threads(auth)
    threads.start(30)
    wait_until(lambda: loads)
    release.set()
    assert threads.join() == ["Ann"] * 30
    assert loads == ["1"]


class Killed(BaseException):
    """Stands for ``GreenletExit`` and ``gevent.Timeout``, which end a greenlet wherever it is."""


def test_a_leader_who_is_killed_frees_the_others_and_his_lease() -> None:
    release, loads, store = threading.Event(), [], MemoryStore()

    def load(user_id):
        loads.append(user_id)
        release.wait(20)
        raise Killed

    auth = AuthCache(store, load_user=load, **settings())
    leader, followers = Threads(auth), Threads(auth)
    leader.start(1)
    wait_until(lambda: loads)
    followers.start(5)
    wait_until(lambda: store.calls.count("get") <= 6 and in_flight(auth)())
    release.set()
    assert [type(answer) for answer in leader.join()] == [Killed]
    assert [type(answer) for answer in followers.join()] == [Killed] * 5, "each went on, and led in his turn"
    assert len(loads) == 6
    wait_until(lambda: not in_flight(auth)())
    assert not any(is_lease(value) for value, _ in store._values.values())


def test_a_follower_leaves_at_his_deadline_while_the_loader_hangs() -> None:
    release, loads = threading.Event(), []

    def load(user_id):
        loads.append(user_id)
        release.wait(20)
        return {"name": "Ann"}

    auth = AuthCache(MemoryStore(), load_user=load, **settings(loader_timeout=0.05, store_timeout=0.05, deadline=0.3))
    leader, follower = Threads(auth), Threads(auth)
    leader.start(1)
    wait_until(lambda: loads)
    follower.start(3)
    assert [type(answer) for answer in follower.join()] == [UnavailableError] * 3
    release.set()
    (late,) = leader.join()
    assert isinstance(late, UnavailableError)  # his lease ended long before: the row is not stored, nor served
    assert finish(auth._story._store.get("user:1")) is None


def test_a_record_from_another_process_frees_who_waits_for_a_loader_that_hangs() -> None:
    release, loads, store = threading.Event(), [], MemoryStore()

    def load(user_id):
        loads.append(user_id)
        release.wait(20)
        return {"name": "old"}

    auth = AuthCache(store, load_user=load, **settings(loader_timeout=0.1, store_timeout=0.1, deadline=15.0))
    leader, follower, later = Threads(auth), Threads(auth), Threads(auth)
    leader.start(1)
    wait_until(lambda: loads)
    follower.start(2)
    finish(store.delete("user:1"))
    elsewhere = AuthCache(store, load_user=lambda _: {"name": "new"}, **settings())
    assert elsewhere.authenticate(HEADERS).user.name == "new"
    assert follower.join() == ["new", "new"]
    later.start(1)
    assert later.join() == ["new"]
    assert leader.answers == []
    release.set()
    assert leader.join() == ["new"]
    assert loads == ["1"]


def test_a_key_stays_paused_for_its_time_and_no_memory_is_filled_with_them() -> None:
    clock = ManualClock()
    flights = Flights(BlockingRuntime(), clock.monotonic)
    flights.pause("user:1", 0.5)
    assert flights.join("user:1", 9) is None
    for number in range(3000):
        flights.pause(f"user:{number}", 0.5)
    assert len(flights._pauses) <= 1024
    assert flights.join("user:1", 9) is None
    clock.advance(1)
    flights.pause("user:again", 0.5)
    assert len(flights._pauses) == 1
    assert flights.join("user:1", 9) is not None


def test_an_answer_given_twice_is_the_first() -> None:
    flights = Flights(BlockingRuntime(), ManualClock().monotonic)
    seat = flights.join("user:1", 9)
    flights.settle(seat.flight, Failed("first"))
    flights.settle(seat.flight, Failed("second"))
    assert seat.flight.cell._value == Failed("first")
    assert SECRET not in repr(seat)


def test_a_flight_that_ends_twice_does_not_end_its_successor() -> None:
    flights = Flights(BlockingRuntime(), ManualClock().monotonic)
    first = flights.join("user:1", 9).flight
    flights.settle(first, Failed("first"))
    second = flights.join("user:1", 9)
    flights.settle(first, Failed("again"))
    assert second.leads
    assert flights.join("user:1", 9).flight is second.flight


def test_a_flight_grows_old() -> None:
    clock = ManualClock()
    flights = Flights(BlockingRuntime(), clock.monotonic)
    assert not flights.has_younger_than("user:1", 2)
    flights.join("user:1", 9)
    assert flights.has_younger_than("user:1", 2)
    clock.advance(2)
    assert not flights.has_younger_than("user:1", 2)
