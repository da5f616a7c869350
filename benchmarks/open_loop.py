"""Requests at a fixed rate inside one process, for many users of whom memory holds few: how long they take.

Ours has 16 connections to Redis at most. Beside it, at the same rate: plain GETs of the same keys through a warmed
``BlockingConnectionPool(16)`` of redis-py, and nothing at all, which is what the generator itself takes. Tokens are
minted before. The three take turns, round after round. Latency counts from the moment a request was *scheduled*: one
that the process had no time for has waited. The exit status is 1 where a request has failed, or where ours has more
connections than that pool may have.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import redis
import redis.asyncio
from peers_requests import bare_asgi, headers_of, receive, scope_of
from reported import Goal, Report, percentile, spread, table
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scale_measured import cache, store, token_of

from authcache_middleware import AsyncAuthCache, asgi
from authcache_middleware.testing import EmbeddedServer

__all__ = ["main"]

_POOL = 16
_OF_GETS = 3.0
_TICKS = 4 * _POOL
_PAUSE_MS = 100
_WARM_S = 60.0
_DRAIN_S = 10.0
# As many connections as the pool beside it; a busy machine may stall longer than the usual second, and change no cost.
_OPTIONS: dict[str, Any] = {"max_connections": _POOL, "max_staleness": 5.0}
_NAMES = {"nothing": "generator", "gets": "plain GETs", "ours": "ours"}

Ask = Callable[[int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Course:
    """One way in one round."""

    way: str
    round: int
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p99_ms: float
    """How late requests were begun: the process was busy, with the generator or with those before."""
    busy: float
    """The processor time of the whole process, as a share of a core. Near 1 it measures itself."""
    cpu_us: float
    """The same for each request."""
    opened: int
    """Connections to the server that were opened meanwhile, by whomever."""
    connections: int
    """Those of ours that are open at the end, without the link, which listens."""
    memory_hits: int
    redis_hits: int


@click.command(help=__doc__)
@click.option("--rate", type=click.FloatRange(1), default=3000, show_default=True, help="Requests a second.")
@click.option("--users", type=click.IntRange(10), default=100_000, show_default=True, help="Each with one token.")
@click.option("--memory", type=click.IntRange(1), default=1000, show_default=True, help="Users that it holds.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=4.0, show_default=True, help="Of each course.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="Few users, one round, so briefly that figures mean nothing: a trial.")
def main(*, rate: float, users: int, memory: int, rounds: int, seconds: float, out: Path | None, quick: bool) -> None:
    """Starts a Valkey of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)
    report = Report("open loop")
    if quick:
        rate, users, memory, rounds, seconds = 200, 200, 20, 1, 0.5
    plan = _Plan(rate, users, memory, rounds, seconds)
    with EmbeddedServer(maxclients=10_000) as server, Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("courses", total=rounds * len(_NAMES))

        def step() -> None:
            shown.advance(task)

        with asyncio.Runner(loop_factory=_loop) as runner:
            courses = runner.run(_measured(server.url, plan, step))
    report.goals += _goals(courses)
    report.show([_table(courses, plan)])
    report.write(out, plan=asdict(plan), courses=[asdict(course) for course in courses])
    if any(course.failed for course in courses):
        raise SystemExit("requests have failed")
    if any(course.connections > _POOL for course in courses):
        raise SystemExit(f"ours has opened more than {_POOL} connections")


@dataclass(frozen=True, slots=True)
class _Plan:
    rate: float
    users: int
    memory: int
    rounds: int
    seconds: float


def _loop() -> asyncio.AbstractEventLoop:
    """``select`` alone of them all takes a timeout finer than a millisecond: requests do not come in lumps."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _measured(url: str, plan: _Plan, step: Callable[[], None]) -> list[Course]:
    tokens = [token_of(number) for number in range(plan.users)]
    courses = []
    async with contextlib.AsyncExitStack() as stack:
        observer = stack.enter_context(redis.Redis.from_url(url, protocol=2))
        auth = await stack.enter_async_context(cache(url, **_OPTIONS, memory_entries=plan.memory))
        await store(auth, url, plan.users)
        gets = await stack.enter_async_context(_gets(url, auth))
        ways = {
            "nothing": _nothing,
            "gets": gets,
            "ours": _asked(asgi.AuthCacheMiddleware(bare_asgi, auth=auth), tokens),
        }
        await _warm(auth, ways["ours"], plan, observer)
        await _Paced(ways["ours"], plan).run()  # a round that does not count
        for number in range(plan.rounds):
            for way in random.sample(list(ways), len(ways)):  # nobody always follows the same
                courses.append(await _course(way, number, _Paced(ways[way], plan), auth, observer))
                step()
    return courses


async def _nothing(_number: int) -> None:
    """A request that costs nothing."""


@contextlib.asynccontextmanager
async def _gets(url: str, auth: AsyncAuthCache[Any]) -> AsyncIterator[Ask]:
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_POOL, timeout=None, protocol=2)
    async with contextlib.aclosing(redis.asyncio.Redis.from_pool(pool)) as client:

        async def one(number: int) -> None:
            if await client.get(auth.key(str(number))) is None:
                raise RuntimeError("nobody is there")

        await asyncio.gather(*(one(user % 10) for user in range(4 * _POOL)))  # all connections are there
        yield one


def _asked(app: asgi.AuthCacheMiddleware, tokens: Sequence[str]) -> Ask:
    async def send(message: MutableMapping[str, Any]) -> None:
        if message.get("status", 200) != 200:  # noqa: PLR2004
            raise RuntimeError("refused")

    async def one(number: int) -> None:
        await app(scope_of(headers_of(tokens[number])), receive, send)

    return one


async def _warm(auth: AsyncAuthCache[Any], ask: Ask, plan: _Plan, observer: redis.Redis) -> None:
    """Memory is trusted and full, and all connections are there: for a moment the server answers nobody."""
    end = time.monotonic() + _WARM_S
    while not auth.stats().memory_trusted or auth.stats().memory_entries < plan.memory:
        if time.monotonic() > end:
            raise click.ClickException("memory is not trusted")
        await asyncio.gather(*(ask(random.randrange(plan.users)) for _ in range(min(256, plan.memory))))
        await asyncio.sleep(0.01)
    observer.client_pause(_PAUSE_MS)
    tasks = []
    for _ in range(_TICKS):
        tasks.append(asyncio.create_task(ask(random.randrange(plan.users))))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


async def _course(way: str, number: int, paced: _Paced, auth: AsyncAuthCache[Any], observer: redis.Redis) -> Course:
    before, stats = _opened(observer), auth.stats()
    await paced.run()
    after = auth.stats()
    latencies = paced.latencies + [_DRAIN_S] * (paced.count - len(paced.latencies))  # never answered
    p50, p99, p999 = (percentile(latencies, percent) * 1000 for percent in (50, 99, 99.9))
    return Course(
        way,
        number,
        paced.count,
        paced.count - len(paced.latencies),
        p50,
        p99,
        p999,
        percentile(paced.late, 99) * 1000,
        paced.cpu_s / paced.took_s,
        paced.cpu_s / paced.count * 1e6,
        _opened(observer) - before,
        _connections(observer),
        after.memory_hits - stats.memory_hits,
        after.redis_hits - stats.redis_hits,
    )


def _opened(observer: redis.Redis) -> int:
    """Connections that the server has accepted so far."""
    found: Any = observer.info("stats")
    return int(found["total_connections_received"])


def _connections(observer: redis.Redis) -> int:
    """Those that are neither the observer's, nor the pool's of plain GETs, nor a link."""
    return sum(int(client["sub"]) == 0 for client in observer.client_list()) - 1 - _POOL


class _Paced:
    """Requests at a fixed rate, whatever becomes of those before."""

    def __init__(self, ask: Ask, plan: _Plan) -> None:
        self.count = max(1, int(plan.rate * plan.seconds))
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.cpu_s = self.took_s = 0.0
        self._ask = ask
        self._gap = 1 / plan.rate
        self._users = [random.randrange(plan.users) for _ in range(self.count)]
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """From the first until the last is answered, or 10 s after it was scheduled."""
        loop = asyncio.get_running_loop()
        cpu, began = time.process_time(), loop.time()
        begun = 0
        while begun < self.count:
            due = min(self.count, math.floor((loop.time() - began) / self._gap) + 1)
            for number in range(begun, due):
                scheduled = began + number * self._gap
                self.late.append(loop.time() - scheduled)
                task = loop.create_task(self._one(self._users[number], scheduled))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            begun = due
            await asyncio.sleep(max(0.0, began + begun * self._gap - loop.time()))
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_DRAIN_S)
        self.took_s, self.cpu_s = loop.time() - began, time.process_time() - cpu

    async def _one(self, user: int, scheduled: float) -> None:
        try:
            await self._ask(user)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the request has failed
            logging.getLogger("open_loop").error("a request has failed: %s", type(exc).__name__)  # noqa: TRY400
            return
        self.latencies.append(asyncio.get_running_loop().time() - scheduled)


def _goals(courses: Sequence[Course]) -> list[Goal]:
    by_round: dict[int, dict[str, Course]] = {}
    for course in courses:
        by_round.setdefault(course.round, {})[course.way] = course
    ratios = [ways["ours"].p99_ms / ways["gets"].p99_ms for ways in by_round.values()]
    opened = sum(course.opened for course in courses if course.way == "ours")
    return [
        Goal("p99 of ours, as a multiple of that of plain GETs", spread(ratios).median, _OF_GETS, at_least=False),
        Goal("connections opened under load", opened, 0, at_least=False),
    ]


def _table(courses: Sequence[Course], plan: _Plan) -> Table:
    made = table(
        f"{plan.rate:,.0f} requests/s in one process, {plan.users:,} users, memory for {plan.memory:,}",
        "", "p50 ms", "p99 ms", "p99.9 ms", "late p99 ms", "of a core", "CPU us", "from memory", "opened",
    )  # fmt: skip
    made.caption = (
        "from the scheduled moment; medians, in brackets the least and the most of the rounds;\n"
        f"late: when it was begun; plain GETs: a warmed pool of {_POOL};\n"
        f"opened: connections, of which ours has {courses[-1].connections}"
    )
    for way, name in _NAMES.items():
        found = [course for course in courses if course.way == way]
        spreads = {
            key: spread([getattr(course, key) for course in found])
            for key in ("p50_ms", "p99_ms", "p999_ms", "late_p99_ms", "busy", "cpu_us")
        }
        shown = [f"{spreads['p50_ms'].median:.2f}", spreads["p99_ms"].shown(".2f"), spreads["p999_ms"].shown(".1f")]
        shown += [format(spreads[key].median, form) for key, form in (("late_p99_ms", ".2f"), ("busy", ".2f"))]
        shown.append(spreads["cpu_us"].shown(".0f"))
        asked = sum(course.memory_hits + course.redis_hits for course in found)
        memory = f"{sum(course.memory_hits for course in found) / asked:.1%}" if asked else ""
        made.add_row(name, *shown, memory, str(sum(course.opened for course in found)))
    return made


if __name__ == "__main__":
    main()
