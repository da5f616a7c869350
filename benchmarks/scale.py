"""What a request costs as users, concurrency, tokens, records, processes, a load's time grow, and the room they take.

Processor time, beside a bare GET of redis-py and ``jwt.decode`` of PyJWT. Each size is measured in fresh processes, and
sizes take turns, round after round; a million users come once. The exit status says nothing about speed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from reported import Goal, Report, spread, table
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from authcache_middleware.testing import EmbeddedServer

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent
_GUARD_S = 1800.0
_SIZES: dict[str, tuple[int, ...]] = {
    "users": (1_000, 10_000, 100_000, 1_000_000),
    "concurrency": (1, 4, 16, 64, 256, 1024),
    "token": (250, 500, 1000, 2000, 4000, 8000),
    "record": (4, 8, 16, 48, 128),
    "processes": (1, 2, 4, 8),
    "loader": (1, 5, 20, 100, 500),
}
_QUICK_SIZES = {
    "users": (500,),
    "concurrency": (1,),
    "token": (500,),
    "record": (8,),
    "processes": (2,),
    "loader": (1,),
}
_SCRIPTS = {"processes": "scale_processes.py", "loader": "scale_loader.py"}
_ENOUGH_FOR_BYTES = 10_000  # below, the pages of the process are larger than what is asked for
_ENOUGH_FOR_GOALS = 100_000
_ONCE = 1_000_000  # users take minutes, and the room of so many does not vary
_MOST_USER_BYTES, _MOST_TOKEN_BYTES, _MOST_GC_MS = 800, 320, 5.0

Found = list[dict[str, float]]


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(list(_SIZES)), multiple=True, help="Only this; may be repeated.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Fresh processes of a size.")
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True, help="In each process.")
@click.option("--most-users", type=click.IntRange(500), default=1_000_000, show_default=True)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="The smallest of one kind, or of those that are asked for: a trial.")
def main(*, only: tuple[str, ...], rounds: int, repeats: int, most_users: int, out: Path | None, quick: bool) -> None:
    """Starts a Valkey and processes of its own; ends by itself."""
    report = Report("scale")
    sizes = {name: values for name, values in _SIZES.items() if not only or name in only}
    if quick:
        sizes = {name: _QUICK_SIZES[name] for name in only or ("token",)}
        rounds, repeats = 1, 1
    if "users" in sizes:
        sizes["users"] = tuple(size for size in sizes["users"] if size <= most_users)
    found: dict[str, Found] = {name: [] for name in sizes}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {name: progress.add_task(name, total=rounds * len(values)) for name, values in sizes.items()}
        for number in range(rounds):
            for name, values in sizes.items():
                for size in values:
                    if number == 0 or not (name == "users" and size >= _ONCE):
                        found[name].append(_measured(name, size, repeats))
                    progress.advance(tasks[name])
    report.goals += _goals(found.get("users", []))
    report.show(list(_tables(found)))
    report.write(out, **found)


def _measured(name: str, size: int, repeats: int) -> dict[str, float]:
    with EmbeddedServer() as server:
        done = subprocess.run(  # noqa: S603 - our own words
            [*_command(name), str(size), str(repeats), server.url],
            capture_output=True,
            text=True,
            timeout=_GUARD_S,
            check=False,
        )
    if done.returncode:
        raise click.ClickException(f"{name} {size:,}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout)
    return {"size": size, **result}


def _command(name: str) -> list[str]:
    script = _SCRIPTS.get(name)
    return [sys.executable, str(_HERE / (script or "scale_measured.py")), *([] if script else [name])]


def _goals(users: Found) -> list[Goal]:
    most = max((one["users"] for one in users), default=0)
    if most < _ENOUGH_FOR_GOALS:
        return []
    found = [one for one in users if one["users"] == most]

    def goal(name: str, key: str, bound: float, unit: str) -> Goal:
        median = spread([one[key] for one in found]).median
        return Goal(f"{most:,.0f} users and tokens: {name}", median, bound, at_least=False, unit=unit)

    return [
        goal("a user of 8 fields", "bytes_per_user", _MOST_USER_BYTES, "B"),
        goal("a token, beside its own bytes", "bytes_per_token", _MOST_TOKEN_BYTES, "B"),
        goal("added to a full garbage collection", "gc_added_ms", _MOST_GC_MS, "ms"),
    ]


def _tables(found: dict[str, Found]) -> Iterator[Table]:
    for name, columns in _COLUMNS.items():
        if name not in found:
            continue
        title, caption = _TITLES[name]
        made = table(title, *(heading for heading, _, _ in columns))
        made.caption = f"{caption}; medians, in brackets the least and the most of the rounds"
        for size in dict.fromkeys(one["size"] for one in found[name]):
            rounds = [one for one in found[name] if one["size"] == size]
            made.add_row(*(_cell(rounds, key, form) for _, key, form in columns))
        yield made


_TITLES = {
    "users": (
        "Users with a token each, all in memory",
        "us are processor time; users beyond the 1,000 who are asked for most are kept as bytes",
    ),
    "concurrency": ("Requests at once, users in Redis, us a request", "beside as many GETs through a warm pool of 64"),
    "token": ("Size of the token, user in memory, us a request", "HS256, beside jwt.decode of PyJWT"),
    "record": (
        "Fields of the user's row, us a request",
        "from Redis: 64 at once, beside as many GETs of the same bytes",
    ),
    "processes": (
        "Processes that ask for the same users, us a request",
        "of one of them; 64 at once but from memory; server: its processor time for a request",
    ),
    "loader": (
        "Milliseconds of a load, users whom nobody knows, 32 at once",
        "added: the median request beside its load; loads: for one cold user, 50 requests at once",
    ),
}
_COLUMNS = {
    "users": (
        ("users", "users", ",.0f"), ("B/user", "bytes_per_user", ",.0f"), ("B/token", "bytes_per_token", ",.0f"),
        ("full gc ms", "gc_ms", ",.1f"), ("added", "gc_added_ms", ",.1f"), ("gc objects", "gc_objects_added", ",.0f"),
        ("fill us", "fill_us", ",.0f"), ("first hit us", "first_hit_us", ",.1f"), ("next hits us", "hit_us", ",.1f"),
    ),
    "concurrency": (
        ("at once", "concurrency", ",.0f"), ("ours", "ours_us", ",.0f"), ("bare GET", "get_us", ",.0f"),
        ("ratio", "ratio", ".2f"),
    ),
    "token": (
        ("bytes", "bytes", ",.0f"), ("known", "known_us", ",.1f"), ("new", "new_us", ",.0f"),
        ("PyJWT", "pyjwt_us", ",.0f"), ("new / PyJWT", "ratio", ".2f"),
    ),
    "record": (
        ("fields", "fields", ",.0f"), ("bytes", "bytes", ",.0f"), ("memory", "memory_us", ",.1f"),
        ("Redis", "redis_us", ",.0f"), ("bare GET", "get_us", ",.0f"),
    ),
    "processes": (
        ("processes", "processes", ",.0f"), ("cold", "cold_us", ",.0f"), ("memory", "memory_us", ",.1f"),
        ("Redis", "redis_us", ",.0f"), ("loads a user", "loads_per_user", ".2f"),
        ("server, cold", "server_cold_us", ",.0f"), ("server, Redis", "server_redis_us", ",.1f"),
    ),
    "loader": (
        ("ms", "loader_ms", ",.0f"), ("CPU us a request", "cold_us", ",.0f"), ("added ms", "added_ms", ",.1f"),
        ("loads", "loads_of_one", ",.0f"),
    ),
}  # fmt: skip


def _cell(rounds: Sequence[dict[str, Any]], key: str, form: str) -> str:
    if key.startswith("bytes_per") and rounds[0]["users"] < _ENOUGH_FOR_BYTES:
        return "-"
    found = spread([one[key] for one in rounds])
    return format(found.median, form) if found.least == found.most else found.shown(form)


if __name__ == "__main__":
    main()
