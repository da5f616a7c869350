"""The breaker, and the commands behind it: what a Redis that is gone costs, and what is sent all the same."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from authcache_middleware.cache.store import REDIS_GONE
from authcache_middleware.errors import UnavailableError
from authcache_middleware.events import OutageBegan, OutageEnded
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.commands import AsyncCalls, BlockingCalls, RedisCommands
from authcache_middleware.redis.primaries import OnePrimary
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock
from authcache_middleware.users.record import ForeignValueError


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list = []
        self.breaker = Breaker(self.clock.monotonic, Reporter([self.events.append]))


@pytest.fixture
def world() -> World:
    return World()


def test_three_failures_in_a_row_open_it_and_a_success_between_them_does_not(world) -> None:
    breaker = world.breaker
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.admits()
    assert world.events == []
    for _ in range(3):
        assert breaker.admits()
        breaker.failed()
    assert not breaker.admits()
    assert world.events == [OutageBegan()]


def test_while_it_is_open_one_command_passes_every_half_second(world) -> None:
    breaker, passed = world.breaker, 0
    for _ in range(3):
        breaker.failed()
    for _ in range(400):
        world.clock.advance(0.0125)
        if breaker.admits():
            passed += 1
            breaker.failed()
    assert passed in {9, 10}
    assert world.events == [OutageBegan()], "told once"


def test_an_answer_closes_it_at_once(world) -> None:
    breaker = world.breaker
    for _ in range(3):
        breaker.failed()
    world.clock.advance(7)
    assert breaker.admits()
    breaker.succeeded()
    assert all(breaker.admits() for _ in range(10))
    assert world.events == [OutageBegan(), OutageEnded(7.0)]


class Client:
    """What redis-py's clients are for commands; ``answer`` is a reply or what is raised."""

    def __init__(self, answer: object = b"reply") -> None:
        self.answer, self.sent, self.closed = answer, [], False

    def execute_command(self, *command):
        self.sent.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def pipeline(self, *, transaction):
        assert transaction is False
        return Pipeline(self)

    def close(self) -> None:
        self.closed = True


class Pipeline:
    def __init__(self, client: Client) -> None:
        self.client, self.commands = client, []

    def __enter__(self):
        return self

    def __exit__(self, *_exc) -> None:
        pass

    def execute_command(self, *command) -> None:
        self.commands.append(command)

    def execute(self):
        self.client.sent += self.commands
        if isinstance(self.client.answer, Exception):
            raise self.client.answer
        return [b"reply", self.client.answer]


class AsyncClient(Client):
    async def execute_command(self, *command):
        return super().execute_command(*command)

    def pipeline(self, *, transaction):
        return AsyncPipeline(self)

    async def aclose(self) -> None:
        self.close()


class AsyncPipeline(Pipeline):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_exc) -> None:
        pass

    async def execute(self):
        return super().execute()


@pytest.fixture(params=["async", "blocking"])
def made(request, world):
    """A function from what the client answers to the client, its commands, and how to run them."""

    def make(answer: object = b"reply", *, owned: bool = True):
        asynchronous = request.param == "async"
        client = (AsyncClient if asynchronous else Client)(answer)
        calls_class = AsyncCalls if asynchronous else BlockingCalls
        commands = RedisCommands(calls_class(client, timeout=0.25, owned=owned), world.breaker)
        return client, commands, asyncio.run if asynchronous else finish

    return make


@pytest.mark.parametrize(
    ("raised", "expected", "answers"),
    [
        (ResponseError("WRONGTYPE Operation"), ForeignValueError, True),
        (ResponseError("ERR user_script: WRONGTYPE Operation"), ForeignValueError, True),
        (ResponseError("NOPERM no"), UnavailableError, True),
        (RedisConnectionError("gone"), UnavailableError, False),
        (RedisConnectionError("Too many connections"), UnavailableError, True),
        (RedisConnectionError("No connection available."), UnavailableError, True),
        (RedisTimeoutError("late"), UnavailableError, False),
        (OSError("network"), UnavailableError, False),
        (RedisClusterException("no slots"), UnavailableError, False),
        (AttributeError("closed under it"), UnavailableError, False),
    ],
    ids=lambda case: getattr(type(case), "__name__", case),
)
def test_what_the_library_raises_is_translated(made, world, caplog, raised, expected, answers) -> None:  # noqa: PLR0917
    client, commands, run = made(raised)
    for _ in range(3):
        with pytest.raises(expected):
            run(commands.send("GET", "user:1"))
    assert world.breaker.is_open is not answers
    assert ("redis-py raised" in caplog.text) == isinstance(raised, RedisClusterException | AttributeError)
    assert len(client.sent) == 3


def test_behind_an_open_breaker_only_what_ends_access_is_sent(made, world) -> None:
    client, commands, run = made(RedisConnectionError("gone"))
    for _ in range(5):
        with pytest.raises(UnavailableError):
            run(commands.send("GET", "user:1"))
    assert client.sent == [("GET", "user:1")] * 3
    with pytest.raises(UnavailableError):
        run(commands.insist("DEL", "user:1"))
    assert client.sent[3:] == [("DEL", "user:1")]
    client.answer = 1
    assert run(commands.insist("DEL", "user:1")) == 1
    assert run(commands.send("GET", "user:1")) == 1, "an answer to anything closes it"


@pytest.mark.parametrize("owned", [True, False])
def test_a_client_is_closed_by_who_opened_it(made, owned) -> None:
    client, commands, run = made(owned=owned)
    assert run(commands.send("PING")) == b"reply"
    run(commands.aclose())
    assert client.closed is owned


def test_a_write_that_replicas_confirm_closes_it_too(made, world) -> None:
    _, commands, run = made(1)
    for _ in range(3):
        world.breaker.failed()
    run(commands.insist_and_wait("DEL", "user:1", replicas=1))
    assert not world.breaker.is_open


def test_replicas_must_confirm_on_the_connection_that_wrote(made) -> None:
    client, commands, run = made(2)
    assert run(commands.insist_and_wait("DEL", "user:1", replicas=2)) == b"reply"
    assert client.sent == [("DEL", "user:1"), ("WAIT", 2, 200)]
    client.answer = 1
    with pytest.raises(UnavailableError, match="too few replicas"):
        run(commands.insist_and_wait("DEL", "user:1", replicas=2))
    client.answer = RedisConnectionError("Command # 1 (DEL user:1) of pipeline caused error: gone")
    with pytest.raises(UnavailableError) as caught:
        run(commands.insist_and_wait("DEL", "user:1", replicas=2))
    assert "user:1" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


class Full:
    """Places that are all taken; ``meanwhile`` is called in the wait."""

    def __init__(self, meanwhile=lambda: None, *, in_the_end: bool = False) -> None:
        self.meanwhile, self.in_the_end, self.left = meanwhile, in_the_end, 0

    async def enter(self, timeout: float) -> None:
        assert timeout > 0
        self.meanwhile()
        if not self.in_the_end:
            raise TimeoutError

    def leave(self) -> None:
        self.left += 1


def test_too_many_at_once_are_no_outage(world) -> None:
    client, places = Client(), Full()
    commands = RedisCommands(BlockingCalls(client, timeout=0.25, owned=True), world.breaker, places)
    for send in (commands.send, commands.insist, partial(commands.insist_and_wait, replicas=1)) * 2:
        with pytest.raises(UnavailableError) as caught:
            finish(send("DEL", "user:1"))
        assert caught.value.reason != REDIS_GONE
    assert (client.sent, places.left) == ([], 0)
    assert not world.breaker.is_open


@pytest.mark.parametrize("in_the_end", [True, False])
def test_who_waited_while_redis_went_does_not_ask_it(world, in_the_end) -> None:
    def go() -> None:
        for _ in range(3):
            world.breaker.failed()

    client, places = Client(), Full(go, in_the_end=in_the_end)
    commands = RedisCommands(BlockingCalls(client, timeout=0.25, owned=True), world.breaker, places)
    with pytest.raises(UnavailableError) as caught:
        finish(commands.send("GET", "user:1"))
    assert caught.value.reason == REDIS_GONE
    assert (client.sent, places.left) == ([], int(in_the_end))


def test_the_probe_of_an_open_breaker_asks_it(world) -> None:
    for _ in range(3):
        world.breaker.failed()
    world.clock.advance(0.5)
    client, places = Client(), Full(in_the_end=True)
    commands = RedisCommands(BlockingCalls(client, timeout=0.25, owned=True), world.breaker, places)
    assert finish(commands.send("GET", "user:1")) == b"reply"
    assert (client.sent, places.left) == ([("GET", "user:1")], 1)
    assert not world.breaker.is_open


def test_a_link_s_beacon_is_sent_behind_an_open_breaker_and_closes_it(made, world) -> None:
    """A link gets that far only where the server answers, and need not wait for a request to find that out."""
    client, commands, run = made(1)
    primary = OnePrimary(pool=None, commands=commands, asynchronous=isinstance(client, AsyncClient))
    for _ in range(3):
        world.breaker.failed()
    with pytest.raises(UnavailableError):
        run(commands.send("GET", "user:1"))
    run(primary.touch("beacon", ttl_ms=5))
    assert client.sent == [("SET", "beacon", "", "PX", 5)]
    assert not world.breaker.is_open


@pytest.fixture(autouse=True)
def _logging(caplog):
    caplog.set_level(logging.WARNING)
