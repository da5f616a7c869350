"""What an outage costs requests, connections and the database, from its beginning until all is well again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outage_faces import Answer, Database, Face, requests_of
from outage_staged import Attempts, Way

from authcache_middleware.events import Event, OutageBegan

__all__ = ["Course", "Rush", "course", "rush"]

_USERS = 64
_GUARD_S = 20.0


@dataclass(frozen=True, slots=True)
class Course:
    """An outage from its beginning until all is well again; moments are seconds."""

    opened_after: float
    """The breaker, counted from the first request."""
    attempts_before: int
    """Connections that requests tried to open until then."""
    attempts: float
    """The same per second, with the breaker open."""
    link_attempts: float
    """The link's, per second, with the breaker open."""
    costs: list[float]
    """Seconds that each request took which began with the breaker open."""
    statuses: Counter[int]
    """Of all requests until Redis was back."""
    answered_after: float
    """The first request that was let in, counted from when Redis was back."""
    trusted_after: float
    """Memory, counted from the same moment."""


def course(face: type[Face], way: type[Way], attempts: Attempts, seconds: float) -> Course:
    """With the breaker open for so many seconds."""
    opened: list[float] = []
    answers: list[Answer] = []

    def observe(event: Event) -> None:
        if isinstance(event, OutageBegan):
            opened.append(time.perf_counter())

    with way() as redis, face(redis.server.url, Database(), observers=[observe]) as asked:
        requests = requests_of(_USERS)
        if redis.was_there:
            asked.ask_all(requests)
            _until(asked.is_trusted)
        redis.begin()
        began = time.perf_counter()
        asked.keep_asking(requests, answers)
        _until(lambda: opened)
        time.sleep(seconds)
        until = time.perf_counter()
        redis.end()
        back = time.perf_counter()
        first = _until(lambda: [one for one in answers if one.status == 200 and one.began > until])[0]  # noqa: PLR2004
        _until(asked.is_trusted)
        trusted = time.perf_counter()

    def per_second(*, by_link: bool) -> float:
        return attempts.count(redis.server.port, opened[0], until, by_link=by_link) / (until - opened[0])

    return Course(
        opened_after=opened[0] - began,
        attempts_before=attempts.count(redis.server.port, began, opened[0], by_link=False),
        attempts=per_second(by_link=False),
        link_attempts=per_second(by_link=True),
        costs=[one.seconds for one in answers if opened[0] < one.began < until],
        statuses=Counter(one.status for one in answers if one.began < until),
        answered_after=max(0.0, first.began + first.seconds - back),
        trusted_after=trusted - back,
    )


@dataclass(frozen=True, slots=True)
class Rush:
    """What many requests at once got, from an outage that nobody had noticed before."""

    most: int
    """How many asked the database at once."""
    statuses: Counter[int]
    seconds: float


def rush(face: type[Face], way: type[Way], requests: int, outage_concurrency: int) -> Rush:
    """With ``on_outage="load"``, each request for another user."""
    database = Database()
    options = {"on_outage": "load", "outage_concurrency": outage_concurrency}
    with way() as redis, face(redis.server.url, database, **options) as asked:
        if redis.was_there:
            asked.ask_all(requests_of(1))
            _until(asked.is_trusted)
            database.most = 0
        redis.begin()
        began = time.perf_counter()
        answers = asked.ask_all(requests_of(requests))
        seconds = time.perf_counter() - began
    return Rush(database.most, Counter(one.status for one in answers), seconds)


def _until(condition: Callable[[], Any]) -> Any:
    """The first true value."""
    end = time.monotonic() + _GUARD_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError("the outage does not take its course")
        time.sleep(0.001)
    return value
