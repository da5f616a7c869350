"""What happens in the demo, act by act. Each says what it does, does it over HTTP, and checks what it shows."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authcache_middleware.cli.demo.child import Child
from authcache_middleware.cli.demo.database import update_user
from authcache_middleware.cli.demo.plan import Plan
from authcache_middleware.cli.demo.report import Report
from authcache_middleware.cli.demo.stage import Stage
from authcache_middleware.cli.demo.traffic import Call, Traffic, send

__all__ = ["ADMIN", "SERVED", "tell"]

# Each act has users of its own, so that none depends on what another has left behind.
FIRST, LOGGED_OUT, DISABLED, RENAMED, STAMPEDED, SERVED, ADMIN = 1, 2, 3, 4, 5, 6, 7
FIRST_OF_MANY = 101

# For a user whom nobody has asked for: GET, the lease (an EVAL, which does GET, TIME and SET inside the server), the
# revocations (HGETALL), and the fill (an EVAL with GET and SET).
_COLD = Counter({"get": 3, "set": 2, "hgetall": 1, "eval": 2, "time": 1})
_AT_ONCE = 4
_STAMPEDE = 200
_BACK_WITHIN_S = 5.0


async def tell(stage: Stage, report: Report, plan: Plan) -> None:
    """Plays every act in turn."""
    await first_request(stage, report)
    await many_requests(stage, report, plan)
    await logout(stage, report)
    await disabled_user(stage, report)
    await deleted_key(stage, report)
    await stampede(stage, report)
    await outage(stage, report)


async def first_request(stage: Stage, report: Report) -> None:
    """One user, unknown to the cache, at one service and then at the other."""
    report.act("The first request of a user")
    token = stage.token(FIRST)
    for service, reads, commands in ((stage.fastapi, 1, _COLD), (stage.flask, 0, Counter(get=1))):
        async with counted(stage, report, service.name, reads, commands):
            response = await stage.call(service, "/me", token)
            report.claim(f"{service.name} answers", response.status_code, 200)


async def many_requests(stage: Stage, report: Report, plan: Plan) -> None:
    """The same traffic with the cache and without it."""
    report.act(f"{plan.requests:,} requests of {plan.users} users, over both services")
    users = list(range(FIRST_OF_MANY, FIRST_OF_MANY + plan.users))
    tokens = {user_id: stage.token(user_id) for user_id in users}
    later = random.Random(2026).choices(users, k=plan.requests - plan.users)  # noqa: S311 - no secret

    async def each(services: tuple[Child, Child], among: list[int]) -> list[Traffic]:
        """Half of the requests for each service, one service after the other, so that each is timed alone."""
        halves = zip(services, (among[::2], among[1::2]), strict=True)
        return [
            await send(stage, [Call(service, user_id, tokens[user_id]) for user_id in half], at_once=_AT_ONCE)
            for service, half in halves
        ]

    # requests that come together share their commands
    async with counted(stage, report, "each user's first", plan.users, plan.users * _COLD.total()):
        first = await each(stage.services, users)
    async with counted(stage, report, "all others", 0, len(later)):
        cached = await each(stage.services, later)
    report.claim("answers", total(first + cached), Counter({200: plan.requests}))
    report.claim("answers that showed another user", sum(traffic.mixed_up for traffic in first + cached), 0)

    before = await stage.reads(stage.baselines)
    first = await each(stage.baselines, users)
    baseline = await each(stage.baselines, later)
    read = await stage.reads(stage.baselines) - before
    report.claim("the same without the cache, database reads", read, plan.requests)
    report.claim("answers", total(first + baseline), Counter({200: plan.requests}))
    compare(report, plan, cached, baseline)


def total(traffics: list[Traffic]) -> Counter[int]:
    """How often each status was answered."""
    return sum((traffic.statuses for traffic in traffics), Counter())


def compare(report: Report, plan: Plan, cached: list[Traffic], baseline: list[Traffic]) -> None:
    """Prints the timings beside each other."""
    rows = [
        [
            f"{name}, {label}",
            f"{traffic.rate():,.0f}",
            f"{traffic.percentile(50) * 1000:.1f}",
            f"{traffic.percentile(99) * 1000:.1f}",
        ]
        for number, name in enumerate(("FastAPI", "Flask"))
        for label, traffic in (("cache", cached[number]), ("database", baseline[number]))
    ]
    report.table(["", "req/s", "p50 ms", "p99 ms"], rows)
    report.note(f"Each user's second request and later, {_AT_ONCE} at a time, from a client on the same machine.")
    if plan.loader_ms:
        report.note(f"Each database read takes {plan.loader_ms} ms longer, with and without the cache (--loader-ms).")
    else:
        report.note("A local SQLite file is about the fastest database there is: see also --loader-ms 5.")


async def logout(stage: Stage, report: Report) -> None:
    """A token is ended at one service, and is refused by both."""
    report.act("A logout")
    token, other = stage.token(LOGGED_OUT), stage.token(LOGGED_OUT)
    report.claim("before, the services answer", await statuses(stage, token), (200, 200))
    response = await stage.call(stage.fastapi, "/logout", token, method="POST")
    report.claim("POST /logout to FastAPI answers", response.status_code, 204)
    report.claim("the token, at both services", await statuses(stage, token), (401, 401))
    report.claim("another token of the same user", await statuses(stage, other), (200, 200))


async def disabled_user(stage: Stage, report: Report) -> None:
    """A row is changed and the user invalidated by one service; both refuse him."""
    report.act("A user is disabled: the row changes, then invalidate()")
    token = stage.token(DISABLED)
    report.claim("before, the services answer", await statuses(stage, token), (200, 200))
    path = f"/users/{DISABLED}/disable"
    response = await stage.call(stage.flask, path, stage.token(ADMIN), method="POST")
    report.claim(f"POST {path} to Flask without the scope", response.status_code, 403)
    response = await stage.call(stage.flask, path, stage.token(ADMIN, "admin"), method="POST")
    report.claim("with it", response.status_code, 204)
    report.claim("the user, at both services", await statuses(stage, token), (401, 401))


async def deleted_key(stage: Stage, report: Report) -> None:
    """Another program changes the row and deletes the key, in whatever language."""
    report.act("Another program changes a row and deletes the key")
    token, new = stage.token(RENAMED), "Renamed"
    before = await names(stage, token)
    update_user(stage.database, RENAMED, name=new)
    async with counted(stage, report, "the row has changed, nobody was told", 0, Counter(get=2)):
        report.claim("the services show", await names(stage, token), before)
    key = stage.redis.delete(RENAMED)
    async with counted(stage, report, f"DEL {key}", 1, _COLD + Counter(get=1)):
        report.claim("the services show", await names(stage, token), (new, new))


async def stampede(stage: Stage, report: Report) -> None:
    """Many requests at once for a user whom nobody has loaded."""
    report.act(f"{_STAMPEDE} requests at once of one user whom the cache does not know")
    token = stage.token(STAMPEDED)
    before = await stage.reads(stage.services)
    calls = [Call(stage.services[turn % 2], STAMPEDED, token) for turn in range(_STAMPEDE)]
    traffic = await send(stage, calls, at_once=_STAMPEDE)
    report.claim("answers", traffic.statuses, Counter({200: _STAMPEDE}))
    report.claim("database reads", await stage.reads(stage.services) - before, 1)


async def outage(stage: Stage, report: Report) -> None:
    """Redis goes away and comes back."""
    report.act("Redis stops, and starts again")
    if stage.server is None:
        report.note("Left out: the Redis of --redis-url is not ours to stop.")
        return
    token = stage.token(SERVED)
    report.claim("before, the services answer", await statuses(stage, token), (200, 200))
    stage.server.stop()
    report.claim("Redis is gone: a good token", await statuses(stage, token), (503, 503))
    responses = [await stage.call(service, "/me", token) for service in stage.services]
    report.claim("Retry-After", tuple(response.headers.get("retry-after") for response in responses), ("1", "1"))
    report.claim("a forged token", await statuses(stage, token[:-8] + "AAAAAAAA"), (401, 401))
    report.claim("a path that needs no token", await statuses(stage, path="/health"), (200, 200))
    stage.server.start()
    waited = await back_again(stage, token)
    report.claim("Redis is back: the services answer", await statuses(stage, token), (200, 200))
    report.note(f"That took them {waited:.2f} s. This Redis keeps nothing on disk: it has forgotten the logout, too.")


async def back_again(stage: Stage, token: str) -> float:
    """Seconds until both services answer 200, 5 at most."""
    started = time.perf_counter()
    while (waited := time.perf_counter() - started) < _BACK_WITHIN_S:
        if await statuses(stage, token) == (200, 200):
            break
        await asyncio.sleep(0.05)
    return waited


async def statuses(stage: Stage, token: str | None = None, path: str = "/me") -> tuple[int, ...]:
    """How both services answer, one after the other."""
    return tuple([(await stage.call(service, path, token)).status_code for service in stage.services])


async def names(stage: Stage, token: str) -> tuple[object, ...]:
    """The user's name as both services show it, one after the other."""
    return tuple([(await stage.call(service, "/me", token)).json().get("name") for service in stage.services])


@asynccontextmanager
async def counted(
    stage: Stage, report: Report, what: str, reads: int, commands: Counter[str] | int
) -> AsyncIterator[None]:
    """Claims how many database reads and Redis commands its body causes, as the engines and the server count them.

    ``commands``: which exactly, or how many of them at most.
    """
    reads_before, commands_before = await stage.reads(stage.services), stage.redis.commands()
    yield
    read = await stage.reads(stage.services) - reads_before
    report.claim(f"{what}, database reads", read, reads)
    if stage.server is not None:  # another server has other clients, whose commands would be counted too
        seen = stage.redis.commands() - commands_before
        if isinstance(commands, int):
            report.claim(f"{what}, at most {commands:,} Redis commands", seen.total() <= commands, True)
        else:
            report.claim(f"{what}, Redis commands", seen, commands)
