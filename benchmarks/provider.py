"""What an identity provider that is gone costs, and a flood of tokens whose keys nobody has, on the asynchronous face.

For an hour of a clock that is turned, tokens with known keys come beside a flood of unknown ones, while the provider is
well, gone, or accepts and never answers: how often it is asked in 30 s, and whom that keeps out. Then, in real time,
what the flood adds to the known ones, and for how long the event loop does nothing else. The exit status is 1 where a
bound does not hold that is no matter of speed: fetches in 30 s, known tokens refused, fetches after a rotation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from provider_process import Provider, published
from reported import Goal, Report, percentile, table
from rich.table import Table

from authcache_middleware import JWKS, AsyncAuthCache, InvalidTokenError, UnavailableError
from authcache_middleware.testing import ManualClock, MemoryStore

__all__ = ["main"]

_ADDED_MS = 1.0
_GAP_MS = 5.0
_STEP_S = 10.0
_COOLDOWN_S = 30.0
_TURNS_OF_ONE = 3
_BETWEEN_S = 0.002
_TRIES = 10
_WAYS = ("well", "gone", "hanging")


@dataclass(frozen=True, slots=True)
class Hour:
    """What the turned clock has shown."""

    way: str
    known: int
    known_refused: int
    unknown: int
    unknown_unavailable: int
    """Answered with 503: nobody could say whether their keys are good."""
    fetches: int
    most_in_30_s: int
    after_rotation: int
    """Fetches until the first token of a new key was let in, the provider being well again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Known tokens at a steady pace, and the turns of the event loop meanwhile; milliseconds."""

    way: str
    flood: int
    """Unknown ones a second."""
    p50_ms: float
    p99_ms: float
    most_ms: float
    gap_p99_ms: float
    gap_most_ms: float


async def hour(provider: Provider, way: str, *, turns: int, flood: int, timeout: float) -> Hour:
    """An hour of the clock, if ``turns`` is 360."""
    clock, auth = _face(provider, timeout)
    provider.be("well")
    known = provider.tokens("one", 10, clock.wall())
    unknown = provider.tokens("one", flood, clock.wall(), published=False)
    await _warm(auth, known[0], clock)
    provider.be(way)
    refused = unavailable = 0
    fetches: list[int] = []
    for _ in range(turns):
        clock.advance(_STEP_S)
        before = auth.stats().key_fetches
        answers = await asyncio.gather(
            *(auth.authenticate(each) for each in (*unknown, *known)), return_exceptions=True
        )
        fetches.append(auth.stats().key_fetches - before)
        refused += sum(isinstance(answer, BaseException) for answer in answers[flood:])
        unavailable += sum(isinstance(answer, UnavailableError) for answer in answers[:flood])
        assert all(isinstance(answer, InvalidTokenError | UnavailableError) for answer in answers[:flood])  # noqa: S101
    await asyncio.sleep(0.05 if way == "well" else timeout)  # a renewal in the background
    provider.publish("one", "two")
    provider.be("well")
    clock.advance(_COOLDOWN_S)
    before = auth.stats().key_fetches
    await auth.authenticate(provider.tokens("two", 1, clock.wall())[0])
    after = auth.stats().key_fetches - before
    provider.publish("one")
    await auth.aclose()
    windows = [sum(fetches[start : start + _TURNS_OF_ONE]) for start in range(0, turns, _TURNS_OF_ONE)]
    return Hour(way, turns * len(known), refused, turns * flood, unavailable, sum(fetches), max(windows), after)


async def pace(provider: Provider, way: str, *, seconds: float, flood: int, timeout: float) -> Pace:
    """Known tokens, each for the first time, beside so many unknown ones a second."""
    clock, auth = _face(provider, timeout)
    provider.be("well")
    known = provider.tokens("one", int(seconds / _BETWEEN_S), clock.wall())
    unknown = provider.tokens("one", max(1, min(flood, 500)), clock.wall(), published=False)
    await _warm(auth, known[0], clock)
    provider.be(way)
    gaps: list[float] = []
    beside = [asyncio.create_task(_turns(gaps)), asyncio.create_task(_flooded(auth, unknown, flood, clock))]
    spent = []
    try:
        for each in known:
            began = time.perf_counter()
            await auth.authenticate(each)
            spent.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_BETWEEN_S)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await auth.aclose()
    gap = [gap * 1000 for gap in gaps]
    shown = percentile(spent, 50), percentile(spent, 99), max(spent), percentile(gap, 99), max(gap)
    return Pace(way, flood, *shown)


async def _warm(auth: AsyncAuthCache[Any], known: Any, clock: ManualClock) -> None:
    """The first fetch may take longer than it may: it imports what it needs."""
    for _ in range(_TRIES):
        try:
            await auth.authenticate(known)
        except UnavailableError:
            clock.advance(_COOLDOWN_S)
        else:
            return
    raise SystemExit("the provider does not answer in time: give a longer --timeout")


async def _turns(gaps: list[float]) -> None:
    """For how long the event loop does not come back, beyond what was asked for."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append(time.perf_counter() - began - 0.001)


async def _flooded(auth: AsyncAuthCache[Any], unknown: list[Any], rate: int, clock: ManualClock) -> None:
    """So many a second, ten at a time, none of which waits for another; the clock goes on, so that fetches do."""
    waiting: set[asyncio.Task[Any]] = set()
    number = 0
    while rate:
        await asyncio.sleep(10 / rate)
        clock.advance(1.0)
        for _ in range(10):
            task = asyncio.ensure_future(_refused(auth, unknown[number % len(unknown)]))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            number += 1


async def _refused(auth: AsyncAuthCache[Any], headers: Any) -> None:
    try:
        await auth.authenticate(headers)
    except (InvalidTokenError, UnavailableError):
        return
    raise SystemExit("a token of nobody was let in")


def _face(provider: Provider, timeout: float) -> tuple[ManualClock, AsyncAuthCache[Any]]:
    clock = ManualClock(wall=time.time())
    keys = JWKS(f"http://127.0.0.1:{provider.port}/jwks.json", timeout=timeout)
    options: dict[str, Any] = {"algorithms": ["ES256"], "issuer": None, "audience": None, "clock": clock}
    return clock, AsyncAuthCache(MemoryStore(clock), load_user=_user, keys=keys, **options)


async def _user(user_id: str) -> dict[str, str]:
    return {"id": user_id}


@click.command(help=__doc__)
@click.option("--turns", type=click.IntRange(3, 10_000), default=360, show_default=True, help="Of the clock, by 10 s.")
@click.option("--unknown", type=click.IntRange(1, 5000), default=50, show_default=True, help="At once, in each turn.")
@click.option("--rate", type=click.IntRange(10, 10_000), default=500, show_default=True, help="Of the flood, a second.")
@click.option("--seconds", type=click.FloatRange(0.05, 600), default=3.0, show_default=True, help="Of each pace.")
@click.option(
    "--timeout", type=click.FloatRange(0.05, 10), default=0.2, show_default=True, help="Of a fetch, in seconds."
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="A minute and a half of the clock and moments of each pace: a trial.")
def main(*, turns: int, unknown: int, rate: int, seconds: float, timeout: float, out: Path | None, quick: bool) -> None:
    """Starts a provider of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)  # providers that fail are what is wanted here
    report = Report("provider")
    if quick:
        turns, unknown, seconds, timeout = 9, 10, 0.1, 0.3
    with published() as provider:
        hours = [asyncio.run(hour(provider, way, turns=turns, flood=unknown, timeout=timeout)) for way in _WAYS]
        paces = [
            asyncio.run(pace(provider, way, seconds=seconds, flood=flood, timeout=timeout))
            for way in _WAYS
            for flood in (0, rate)
        ]
    _judge(report, paces)
    report.show([_hours(hours), _paces(paces)])
    report.write(out, hours=[asdict(each) for each in hours], paces=[asdict(each) for each in paces])
    if any(each.known_refused or each.after_rotation > 1 or each.most_in_30_s > _most(each.way) for each in hours):
        raise SystemExit("a known token was refused, or the provider was asked oftener than it may be")


def _most(way: str) -> int:
    """Fetches in 30 s: one; of a provider that is well, keys are renewed before their time beside it."""
    return 2 if way == "well" else 1


def _judge(report: Report, paces: list[Pace]) -> None:
    for calm, flooded in zip(paces[::2], paces[1::2], strict=True):
        added = flooded.p99_ms - calm.p99_ms
        report.goals.append(Goal(f"{calm.way}: a flood adds to the p99", added, _ADDED_MS, at_least=False, unit="ms"))
        gap = flooded.gap_p99_ms
        report.goals.append(Goal(f"{calm.way}: the loop's gap, p99", gap, _GAP_MS, at_least=False, unit="ms"))


def _hours(hours: list[Hour]) -> Table:
    columns = "known", "refused", "unknown", "503", "fetches", "most in 30 s", "after a rotation"
    made = table("An hour of the clock, by the provider", "", *columns)
    for each in hours:
        figures = (each.known, each.known_refused, each.unknown, each.unknown_unavailable, each.fetches)
        made.add_row(each.way, *(f"{figure:,}" for figure in figures), str(each.most_in_30_s), str(each.after_rotation))
    return made


def _paces(paces: list[Pace]) -> Table:
    columns = "unknown, /s", "p50", "p99", "max", "gap p99", "gap max"
    made = table("A known token, for the first time, and the event loop, ms", "", *columns)
    for each in paces:
        figures = each.p50_ms, each.p99_ms, each.most_ms, each.gap_p99_ms, each.gap_most_ms
        made.add_row(each.way, str(each.flood), *(f"{figure:,.2f}" for figure in figures))
    return made


if __name__ == "__main__":
    main()
