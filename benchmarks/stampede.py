"""Many requests at once for one user whom nobody knows: loads, commands, connections, and how long they take.

Ours on both faces, beside what is usually written: GET, load if there is nothing, SET. The user's row takes its time.
As many at once were answered before, for somebody else. The exit status is 1 where ours needed more than one load.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import redis
from reported import Goal, Report, percentile, spread, table
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from stampede_ways import WAYS, Database

from authcache_middleware.testing import EmbeddedServer

__all__ = ["main"]

_ADDED_MS = 60.0
_CONNECTIONS = 2
_WARM_S = 20.0
_SOMEBODY_ELSE = "0"


@dataclass(frozen=True, slots=True)
class Storm:
    """What one storm has cost."""

    way: str
    requests: int
    round: int
    loads: int
    failed: int
    gets: int
    """GET and MGET; that of a script is not sent."""
    commands: int
    """All that were sent but heartbeats."""
    connections: int
    """For commands, opened since the way was made; a link that listens is none."""
    cpu_ms: float
    """Of this process, which makes the requests and answers them: on a busy machine the better measure."""
    p50_ms: float
    p99_ms: float
    all_ms: float
    """Until the last was answered."""


@click.command(help=__doc__)
@click.option(
    "--requests",
    type=click.IntRange(2, 4000),
    multiple=True,
    default=(10, 100, 1000),
    show_default=True,
    help="At once; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--loader", type=click.FloatRange(0.001, 5), default=0.05, show_default=True, help="Seconds a load takes."
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="One round of 50 requests: a trial.")
def main(*, requests: tuple[int, ...], rounds: int, loader: float, out: Path | None, quick: bool) -> None:
    """Starts a Valkey of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)
    report = Report("stampede")
    requests, rounds = ((50,), 1) if quick else (requests, rounds)
    storms = []
    with (
        EmbeddedServer(maxclients=10_000) as server,
        redis.Redis.from_url(server.url) as observer,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("storms", total=rounds * len(requests) * len(WAYS))
        for number in range(rounds):
            for way in WAYS:
                for count in requests:
                    storms.append(_storm(way, count, number, server.url, observer, loader=loader))
                    progress.advance(task)
    report.goals += _goals(storms, loader)
    report.show([_table(storms, loader)])
    report.write(out, loader_s=loader, storms=[asdict(storm) for storm in storms])
    if any(storm.loads != 1 or storm.failed for storm in storms if storm.way.startswith("ours")):
        raise SystemExit("ours has loaded a user more than once, or left a request unanswered")


def _storm(way: str, count: int, number: int, url: str, observer: redis.Redis, *, loader: float) -> Storm:
    observer.flushall()
    database = Database(loader)
    before = _connections(observer)
    with WAYS[way](url, database, count) as asked:
        asked.ask(_SOMEBODY_ELSE, 1)
        _until(asked.is_ready)
        asked.ask(_SOMEBODY_ELSE, count)  # connections are there, as in an application that has been busy before
        database.loads = 0
        observer.config_resetstat()
        cpu = time.process_time()
        took = asked.ask("1", count)
        cpu_ms = (time.process_time() - cpu) * 1000
        calls = _calls(observer)
        connections = _connections(observer) - before
    well = [seconds * 1000 for seconds in took if seconds >= 0] or [float("inf")]
    scripts = calls.get("eval", 0) + calls.get("evalsha", 0)  # each of those here does one GET inside the server
    gets = calls.get("get", 0) + calls.get("mget", 0) - scripts
    commands = sum(calls.values()) - _inside(calls) - sum(calls.get(name, 0) for name in _NOT_COUNTED)
    failed = sum(seconds < 0 for seconds in took)
    p50, p99 = (percentile(well, percent) for percent in (50, 99))
    return Storm(way, count, number, database.loads, failed, gets, commands, connections, cpu_ms, p50, p99, max(well))


_NOT_COUNTED = ("ping", "config", "client", "info", "hello")


def _inside(calls: dict[str, int]) -> int:
    """Commands that scripts have sent inside the server: a GET and a SET or DEL each."""
    return 2 * (calls.get("eval", 0) + calls.get("evalsha", 0))


def _calls(observer: redis.Redis) -> dict[str, int]:
    found: Any = observer.info("commandstats")
    calls: dict[str, int] = {}
    for name, each in found.items():
        short = name.removeprefix("cmdstat_").partition("|")[0]
        calls[short] = calls.get(short, 0) + each["calls"]
    return calls


def _connections(observer: redis.Redis) -> int:
    """Open ones that do not listen."""
    return sum(int(client["sub"]) == 0 for client in observer.client_list())


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _WARM_S
    while not condition():
        if time.monotonic() > end:
            raise click.ClickException("memory is not trusted")
        time.sleep(0.01)


def _goals(storms: list[Storm], loader: float) -> list[Goal]:
    most = max(storm.requests for storm in storms)
    found = [storm for storm in storms if storm.way == "ours, asyncio" and storm.requests == most]
    name = f"{most:,} requests, asyncio: "
    return [
        Goal(f"{name}loads", max(storm.loads for storm in found), 1, at_least=False),
        Goal(f"{name}GETs", max(storm.gets for storm in found), 1, at_least=False),
        Goal(f"{name}connections", max(storm.connections for storm in found), _CONNECTIONS, at_least=False),
        Goal(
            f"{name}p99, of the loader's {loader * 1000:g} ms and {_ADDED_MS:g} ms",
            spread([storm.p99_ms for storm in found]).median,
            loader * 1000 + _ADDED_MS,
            at_least=False,
            unit="ms",
        ),
    ]


def _table(storms: list[Storm], loader: float) -> Table:
    made = table(
        f"One cold user, {loader * 1000:g} ms a load", "", "requests", "loads", "failed", "GETs", "all commands",
        "connections", "CPU ms", "p50 ms", "p99 ms", "last ms",
    )  # fmt: skip
    made.caption = (
        "medians, in brackets the least and the most of the rounds; connections without those that only listen"
    )
    for way, count in dict.fromkeys((storm.way, storm.requests) for storm in storms):
        found = [storm for storm in storms if (storm.way, storm.requests) == (way, count)]
        names = ("loads", "failed", "gets", "commands", "connections", "cpu_ms", "p50_ms", "p99_ms", "all_ms")
        made.add_row(way, f"{count:,}", *(_shown([getattr(storm, name) for storm in found]) for name in names))
    return made


def _shown(values: list[float]) -> str:
    found = spread(values)
    return f"{found.median:,.0f}" if found.least == found.most else found.shown()


if __name__ == "__main__":
    main()
