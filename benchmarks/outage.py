"""What a Redis that is gone costs, on both faces: time, connections, the way back, and the database if it is asked.

It is killed under its connections; or nothing has ever listened; or whatever connects is accepted and never answered.
The exit status is 1 where a bound does not hold that is no matter of speed: attempts to connect, loads at once, answers
other than 200 and 503.
"""

from __future__ import annotations

import logging
import sys

import click
from outage_faces import FACES
from outage_measured import Course, Rush, course, rush
from outage_staged import WAYS, Attempts
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

_OPEN_P99_US = 1000.0
_ATTEMPTS = 4.0  # a second: one command every half second, whose connection is tried twice
_LINK_ATTEMPTS = 2.0  # a second: the link's longest pause is half a second to one
_AT_FIRST = 8  # more: what was under way when the breaker opened, and the link's first pauses, which are shorter
_BACK_S = 2.0

_Key = tuple[str, str]  # how it is gone, and the face


@click.command(help=__doc__)
@click.option("--gone", type=click.Choice(list(WAYS)), multiple=True, help="Only so; may be repeated.")
@click.option("--face", type=click.Choice(list(FACES)), multiple=True, help="Only this one.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=4.0,
    show_default=True,
    help="How long the breaker stays open in each course.",
)
@click.option("--requests", type=click.IntRange(1, 5000), default=500, show_default=True, help="At once, in the rush.")
@click.option("--outage-concurrency", type=click.IntRange(1), default=8, show_default=True)
def main(
    *, gone: tuple[str, ...], face: tuple[str, ...], seconds: float, requests: int, outage_concurrency: int
) -> None:
    """Starts Valkeys of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)  # outages are what is wanted here
    attempts = Attempts()
    chosen = [(way, name) for way in gone or WAYS for name in face or FACES]
    courses = {(way, name): course(FACES[name], WAYS[way], attempts, seconds) for way, name in chosen}
    rushes = {(way, name): rush(FACES[name], WAYS[way], requests, outage_concurrency) for way, name in chosen}
    console = Console(width=None if sys.stdout.isatty() else 120)
    tables = _open(courses), _attempts(courses, seconds), _back(courses), _rush(rushes, requests, outage_concurrency)
    for table in tables:
        console.print(table, "")
    if not all(_bounded(one, seconds) for one in courses.values()):
        raise SystemExit("more attempts to connect than the breaker allows, or an answer that is no 503")
    if not all(_capped(one, outage_concurrency) for one in rushes.values()):
        raise SystemExit("more loads at once than outage_concurrency, or an answer that is neither 200 nor 503")


def _open(courses: dict[_Key, Course]) -> Table:
    table = _table(
        "A request with the breaker open, us", "requests", "p50", "p99", "max", f"goal: p99 {_OPEN_P99_US:,.0f} us"
    )
    table.caption = "the max is the command, one each half second, that looks whether Redis is back"
    for key, found in courses.items():
        micros = [cost * 1e6 for cost in found.costs]
        p99 = _percentile(micros, 99)
        shown = [f"{_percentile(micros, 50):,.0f}", f"{p99:,.0f}", f"{max(micros):,.0f}"]
        table.add_row(*key, f"{len(micros):,}", *shown, _verdict(p99 <= _OPEN_P99_US))
    return table


def _attempts(courses: dict[_Key, Course], seconds: float) -> Table:
    goal = f"goal: {_ATTEMPTS:g}/s and {_LINK_ATTEMPTS:g}/s"
    table = _table(
        "Attempts to connect", "until it opened", "after, s", "then: requests, /s", "the link, /s", "503", "other", goal
    )
    for key, found in courses.items():
        shown = [f"{found.opened_after:.3f}", f"{found.attempts:.1f}", f"{found.link_attempts:.1f}"]
        statuses = [f"{found.statuses[503]:,}", f"{found.statuses.total() - found.statuses[503]:,}"]
        table.add_row(*key, str(found.attempts_before), *shown, *statuses, _verdict(_bounded(found, seconds)))
    return table


def _back(courses: dict[_Key, Course]) -> Table:
    table = _table("Redis is back, s", "first let in after", "memory trusted after", f"goal: both {_BACK_S:g} s")
    for key, found in courses.items():
        well = max(found.answered_after, found.trusted_after) <= _BACK_S
        table.add_row(*key, f"{found.answered_after:.3f}", f"{found.trusted_after:.3f}", _verdict(well))
    return table


def _rush(rushes: dict[_Key, Rush], requests: int, cap: int) -> Table:
    table = _table(
        f'on_outage="load", {requests:,} users at once, 20 ms a load',
        "loads at once", "cap", "200", "503", "other", "s", "goal: at most the cap",
    )  # fmt: skip
    for key, found in rushes.items():
        good, named = found.statuses[200], found.statuses[503]
        other = found.statuses.total() - good - named
        shown = [str(cap), f"{good:,}", f"{named:,}", f"{other:,}", f"{found.seconds:.2f}"]
        table.add_row(*key, str(found.most), *shown, _verdict(_capped(found, cap)))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table("gone", "face", title=title, title_justify="left", caption_justify="left", box=None)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _bounded(found: Course, seconds: float) -> bool:
    return (
        found.attempts * seconds <= _ATTEMPTS * seconds + _AT_FIRST
        and found.link_attempts * seconds <= _LINK_ATTEMPTS * seconds + _AT_FIRST
        and set(found.statuses) == {503}
    )


def _capped(found: Rush, cap: int) -> bool:
    return found.most <= cap and set(found.statuses) <= {200, 503}


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _percentile(costs: list[float], percent: float) -> float:
    return sorted(costs)[min(len(costs) - 1, int(len(costs) * percent / 100))]


if __name__ == "__main__":
    main()
