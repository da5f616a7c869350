"""Up to what scale every process may be told of every change: the invalidations it hears, and what they cost.

Two designs are compared. Broadcast (CLIENT TRACKING ... BCAST PREFIX user:) pushes each write below the prefix to every
process: the lease of a miss, the record that is filled in, and its end. Per-key tracking pushes to the processes that
have read the key since its last push. The formula is checked against a simulation; the exit status is 1 where they
disagree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any

import click
import pushes_formula as assumed
from pushes_formula import WRITES_OF_A_MISS, Rates, Scale, cost_of_broadcast, cost_per_key, most_users, rates
from pushes_measured import PER_KEY_READERS, Measured, measure
from pushes_simulated import Simulated, simulate, zipf
from rich.console import Console
from rich.table import Table

SMALL = Scale(users=10_000, processes=1)
MEDIUM = Scale(users=1_000_000, processes=100)
INTERNET = Scale(users=100_000_000, processes=1_000, primaries=20)
SCALES = {"small": SMALL, "medium": MEDIUM, "internet": INTERNET, "internet, sticky": replace(INTERNET, spread=2)}

OF_PRIMARY, OF_PROCESS = 0.10, 0.05  # of a core: what pushes may take
TRACKING_TABLE = 1_000_000  # tracking-table-max-keys of a server that nobody has configured
AGREES_WITHIN = 0.10


@click.command(help=__doc__)
@click.option("--users", type=click.IntRange(1), help="Users active in a ttl. Any of these options adds a column.")
@click.option("--processes", type=click.IntRange(1))
@click.option("--primaries", type=click.IntRange(1), help="Of the Redis Cluster.")
@click.option("--requests", type=click.FloatRange(0, min_open=True), help="Of one user in a ttl.")
@click.option("--spread", type=click.IntRange(1), help="Over how many processes one user's requests go; default: all.")
@click.option("--invalidations", type=click.FloatRange(0), help="Of one user in a ttl.")
@click.option("--ttl", type=click.FloatRange(0, min_open=True), help="Seconds.")
@click.option("--entries", type=click.IntRange(1), help="Of one process's memory.")
@click.option("--memory-ttl", type=click.FloatRange(0, min_open=True), help="Seconds.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--simulated-users", type=click.IntRange(100, 20_000), default=1500, show_default=True)
@click.option("--real", is_flag=True, help="Measure an embedded Valkey too (10 s).")
def main(*, seed: int, simulated_users: int, real: bool, **given: Any) -> None:
    """Print the tables; 1 where formula and simulation disagree."""
    chosen = {name: number for name, number in given.items() if number is not None}
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(_scales(SCALES | ({"yours": replace(MEDIUM, **chosen)} if chosen else {})))
    console.print(_limits())
    agreement, agrees = _agreement(simulated_users, seed)
    console.print(agreement)
    if real:
        console.print(_measured(measure()))
    if not agrees:
        raise SystemExit(f"formula and simulation differ by more than {AGREES_WITHIN:.0%}")


def _scales(scales: dict[str, Scale]) -> Table:
    table = Table(
        title="What pushes cost, in cores",
        caption="two figures: pushes in bursts - each push alone; (!): more keys than a server tracks by default",
    )
    table.add_column("", no_wrap=True)
    for name in scales:
        table.add_column(name, justify="right")
    columns = [_column(scale) for scale in scales.values()]
    for heading in columns[0]:
        table.add_row(heading, *(column[heading] for column in columns), end_section=heading in ENDS_OF_SECTIONS)
    return table


ENDS_OF_SECTIONS = ("requests of a user, reaching", "a process's core: broadcast", "a process's core: per key")


def _column(scale: Scale) -> dict[str, str]:
    here = rates(scale)
    fills = cost_of_broadcast(scale, here.misses * WRITES_OF_A_MISS)
    broadcast, per_key = cost_of_broadcast(scale, here.broadcast), cost_per_key(scale, here)
    tracked = here.tracked / scale.primaries
    return {
        "users active in a ttl": f"{scale.users:,}",
        "processes, primaries": f"{scale.processes:,}, {scale.primaries}",
        "requests of a user, reaching": f"{scale.requests:g}, {scale.reach:,}",
        "requests/s": f"{here.requests:,.0f}",
        "answered by memory": f"{here.answered_by_memory:.1%}",
        "misses/s": f"{here.misses:,.0f}",
        "pushes/s a process: broadcast": f"{here.broadcast:,.0f}",
        "a primary's core: lease and fill": _cores(fills.primary),
        "a primary's core: broadcast": _cores(broadcast.primary),
        "a process's core: broadcast": _cores(broadcast.process),
        "pushes/s a process: per key": f"{here.per_key / scale.processes:,.0f}",
        "a primary's core: per key": _rounded(per_key.primary[0]),
        "a process's core: per key": _cores(per_key.process),
        "keys a primary tracks": f"{tracked:,.0f}{' (!)' if tracked > TRACKING_TABLE else ''}",
    }


def _cores(low_and_high: tuple[float, float]) -> str:
    return " - ".join(_rounded(cores) for cores in low_and_high)


def _rounded(cores: float) -> str:
    if cores < 0.001:  # noqa: PLR2004
        return "<0.001"
    return f"{cores:.{1 if cores >= 1 else 3}f}"


def _limits() -> Table:
    shares = f"{OF_PRIMARY:.0%} of a primary's core and {OF_PROCESS:.0%} of a process's"
    table = Table(
        title=f"The most users active per hour whose broadcasts stay under {shares}",
        caption="ttl 1 h, one primary; each push alone - pushes in bursts",
    )
    for heading in ("processes", "the primary allows", "a process allows", "both"):
        table.add_column(heading, justify="right")
    for processes in (1, 10, 100, 1000):
        limits = ((OF_PRIMARY, inf), (inf, OF_PROCESS), (OF_PRIMARY, OF_PROCESS))
        most = [most_users(processes, of_primary=primary, of_process=process) for primary, process in limits]
        table.add_row(
            f"{processes:,}", *(f"{_two_digits(alone)} - {_two_digits(in_bursts)}" for alone, in_bursts in most)
        )
    return table


def _two_digits(users: float) -> str:
    return f"{float(f'{users:.2g}'):,.0f}"


def _agreement(users: int, seed: int) -> tuple[Table, bool]:
    table = Table(title=f"Formula / simulation of {users:,} users, seed {seed} (per second)")
    columns = ("", "misses", "reads", "pushes a process:\nbroadcast", "per key", "busiest primary,\nkeys pushed")
    for heading in columns:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("differ by", justify="right")
    agrees = True
    for name, scale, weights in _small_services(users):
        pairs = list(_pairs(scale, rates(scale, weights), simulate(scale, weights, seed)))
        most = max(abs(simulated / formula - 1) for formula, simulated in pairs)
        agrees = agrees and most <= AGREES_WITHIN
        table.add_row(name, *(f"{formula:.2f} / {simulated:.2f}" for formula, simulated in pairs), f"{most:.1%}")
    return table, agrees


def _small_services(users: int) -> Iterator[tuple[str, Scale, list[float]]]:
    usual = Scale(users=users, processes=8, primaries=3, requests=20, ttl=600)
    alike = [1.0] * users
    yield "all users alike", usual, alike
    yield "few ask most (Zipf 1)", usual, zipf(users)
    yield "memory too small", replace(usual, entries=users // 20), alike
    yield "2 invalidations a ttl", replace(usual, invalidations=2), alike
    yield "2 requests, 2 processes", replace(usual, requests=2, spread=2), alike


def _pairs(scale: Scale, formula: Rates, simulated: Simulated) -> Iterator[tuple[float, float]]:
    counted = simulated.rates
    yield formula.misses, counted.misses
    yield formula.reads, counted.reads
    yield formula.broadcast, counted.broadcast
    yield formula.per_key / scale.processes, counted.per_key / scale.processes
    yield formula.broadcast / scale.primaries, counted.broadcast / scale.primaries * simulated.busiest_primary


def _measured(found: Measured) -> Table:
    table = Table(
        title="Measured here, us of CPU / assumed", caption="all on one machine, where a push also wakes who listens"
    )
    for heading in ("", "one at a time", "in eights"):
        table.add_column(heading, justify="right" if heading else "left")
    silent = found.fanout[0]
    for row in found.fanout:
        alone = assumed.SET_ALONE + row.listeners * assumed.PUSH_ALONE
        in_eights = assumed.SET_IN_BURST + row.listeners * assumed.PUSH_IN_BURST
        name = f"server, a SET with {row.listeners} listeners"
        table.add_row(name, _us(row.alone, alone), _us(row.in_eights, in_eights))
    for row in found.fanout[1:]:
        alone, in_eights = (
            (row.alone - silent.alone) / row.listeners,
            (row.in_eights - silent.in_eights) / row.listeners,
        )
        name = f"server, each of {row.listeners} listeners"
        table.add_row(name, _us(alone, assumed.PUSH_ALONE), _us(in_eights, assumed.PUSH_IN_BURST))
    per_key = (found.tracked - found.untracked) / PER_KEY_READERS
    table.add_row("server, per key: a read and its push", _us(per_key, assumed.TRACKED_READ + assumed.PUSH_ALONE), "")
    for heard in found.listening:
        each = heard.each
        cells = (_us(each, assumed.HEARD_ALONE), "") if heard.alone else ("", _us(each, assumed.HEARD_IN_BURST))
        table.add_row(f"process, a push at {heard.rate:,.0f}/s", *cells)
    return table


def _us(measured: float, assumed_cost: float) -> str:
    return f"{measured * 1e6:.1f} / {assumed_cost * 1e6:.1f}"


if __name__ == "__main__":
    main()
