"""What a service of 100 million users asks of Redis and of each process: computed, and checked against a real one.

The formula of ``pushes.py`` for users who are not alike (Zipf): commands, pushes, loads, room and staleness, against
the ttl and the size of memory. It is checked on a small service that is played for real: faces in this process, a
Valkey, and what both have counted. The same requests go through the simulation. The exit status is 1 where formula or
simulation differ from what was counted by more than 15 %.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from model_real import Counted, counted, events_of
from model_scaled import COMMANDS_OF_A_MISS, RECORD_BYTES, Predicted, commands, predicted, zipf_parts
from pushes_formula import Rates, Scale, rates
from pushes_simulated import replay, zipf
from reported import Goal, Report, table
from rich.table import Table

__all__ = ["main"]

_HOUR, _DAY = 3600.0, 86_400.0
_TTLS = (900.0, _HOUR, 4 * _HOUR, 12 * _HOUR, 24 * _HOUR)
_SWEPT_TTL = 12 * _HOUR  # the longest but one: with the usual service the first at which memory can be used
_ENTRIES = (1_000, 10_000, 100_000, 1_000_000)
_STICKY = 2
_WITHIN = 0.15
_SMALL = Scale(users=300, processes=4, requests=20, invalidations=0.5, ttl=5.0, memory_ttl=1.0, entries=40)
_TRIAL = Scale(users=150, processes=3, requests=5, invalidations=0.5, ttl=1.2, memory_ttl=0.5, entries=20)
_TTLS_PLAYED = 3


@dataclass(frozen=True, slots=True)
class Service:
    """What is computed. Rates of one user are per hour."""

    users: int
    processes: int
    primaries: int
    requests: float
    invalidations: float
    zipf: float


@dataclass(frozen=True, slots=True)
class Row:
    """One computed case: how a user's requests are spread, and what it comes to."""

    sweep: str
    spread: str
    predicted: Predicted


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of the small service: computed, simulated, and counted for real."""

    name: str
    formula: float
    simulated: float
    real: float

    @property
    def differs(self) -> float:
        """By how much the worse of the two differs from what was counted."""
        if not self.real:
            return float("inf")
        return max(abs(self.formula / self.real - 1), abs(self.simulated / self.real - 1))


@click.command(help=__doc__)
@click.option("--users", type=click.IntRange(100), default=100_000_000, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--primaries", type=click.IntRange(1), default=20, show_default=True, help="Of the Redis Cluster.")
@click.option("--requests", type=click.FloatRange(0.01), default=100.0, show_default=True, help="Of a user, per hour.")
@click.option("--invalidations", type=click.FloatRange(0), default=0.05, show_default=True, help="Of a user, per hour.")
@click.option("--zipf", type=click.FloatRange(0, 2), default=1.0, show_default=True, help="0: all are alike.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="A smaller real service, for 4 seconds in place of 15: a trial.")
def main(*, seed: int, out: Path | None, quick: bool, **given: Any) -> None:
    """Starts a Valkey of its own; ends by itself."""
    logging.getLogger("authcache_middleware").setLevel(logging.CRITICAL)
    report = Report("model")
    service = Service(**given)
    rows = list(_computed(service))
    small = _TRIAL if quick else _SMALL
    checks, real = _checked(small, seed)
    worst = max(check.differs for check in checks)
    report.goals.append(Goal("computed, simulated and counted: the worst differs by", worst, _WITHIN, at_least=False))
    report.show([*_tables(service, rows), _check_table(small, seed, checks, real)])
    written = [{"sweep": row.sweep, "spread": row.spread, **asdict(row.predicted)} for row in rows]
    report.write(
        out,
        service=service,
        rows=written,
        small=small,
        checks=[{**asdict(check), "differs": check.differs} for check in checks],
        late_ms=real.late_ms,
    )
    if apart := [check.name for check in checks if check.differs > _WITHIN]:
        raise SystemExit(f"the model and the real service differ by more than {_WITHIN:.0%}: {', '.join(apart)}")


def _computed(service: Service) -> Iterator[Row]:
    popularity = zipf_parts(service.users, service.zipf)
    scale = Scale(users=service.users, processes=service.processes, primaries=service.primaries)
    for name, spread in (("any", None), (str(_STICKY), _STICKY)):
        for ttl in _TTLS:
            hours = ttl / _HOUR
            one = replace(
                scale,
                ttl=ttl,
                requests=service.requests * hours,
                invalidations=service.invalidations * hours,
                spread=spread,
            )
            yield Row("ttl", name, predicted(one, popularity))
            if ttl == _SWEPT_TTL:
                for entries in _ENTRIES:
                    yield Row("entries", name, predicted(replace(one, entries=entries), popularity))
                if spread is None:
                    yield Row("without memory", name, predicted(one, popularity, max_staleness=0.0))


def _checked(small: Scale, seed: int) -> tuple[list[Check], Counted]:
    weights = zipf(small.users)
    events = events_of(small, weights, _TTLS_PLAYED * small.ttl, seed)
    computed = rates(small, weights)
    real, played = counted(small, events, count_from=small.ttl)
    simulated = replay(small, played.events, count_from=played.count_from).rates
    figures = (_figures(computed, small), _figures(simulated, small), _real_figures(real))
    return [Check(name, *(figure[name] for figure in figures)) for name in figures[2]], real


def _figures(found: Rates, scale: Scale) -> dict[str, float]:
    return {
        "requests/s": found.requests,
        "from memory": found.answered_by_memory,
        "GETs/s": found.reads,
        "commands/s": commands(found, scale),
        "loads/s": found.misses,
        "leases, fills, HGETALLs/s": COMMANDS_OF_A_MISS * found.misses,
        "pushes/s a process": found.broadcast,
        "records in Redis": found.tracked,
        "bytes in Redis": found.tracked * RECORD_BYTES,
        "entries in memory": found.kept,
    }


def _real_figures(real: Counted) -> dict[str, float]:
    return {
        "requests/s": real.requests,
        "from memory": real.from_memory,
        "GETs/s": real.gets,
        "commands/s": real.commands,
        "loads/s": real.loads,
        "leases, fills, HGETALLs/s": real.leases + real.fills + real.revocations,
        "pushes/s a process": real.pushes,
        "records in Redis": real.records,
        "bytes in Redis": real.records * real.record_bytes,
        "entries in memory": real.kept,
    }


def _tables(service: Service, rows: Sequence[Row]) -> Iterator[Table]:
    about = (
        f"{service.users:,} users, {service.processes:,} processes, {service.primaries} primaries; "
        f"{service.requests:g} requests and {service.invalidations:g} invalidations of a user per hour, "
        f"Zipf {service.zipf:g}"
    )
    for sweep, column in (
        ("ttl", "ttl s"),
        ("entries", "memory entries"),
        ("without memory", "ttl s, no memory"),
    ):
        found = [row for row in rows if row.sweep == sweep]
        made = table(
            about, column, "processes", "memory", "loads/s", "commands/s", "a primary", "pushes/s", "core",
            "primary's", "primary MB", "process MB", "lag ms", "overtaken a day",
        )  # fmt: skip
        made.caption = (
            "cores: for hearing and for sending pushes, in bursts; where one of them is over 1, memory is of no use"
        )
        for row in found:
            one = row.predicted
            first = f"{one.entries if sweep == 'entries' else one.ttl:,.0f}"
            made.add_row(
                first, row.spread, f"{one.from_memory:.1%}", f"{one.loads:,.0f}", f"{one.commands:,.0f}",
                f"{one.commands_of_primary:,.0f}", f"{one.pushes_heard:,.0f}", f"{one.process_core:.2f}",
                f"{one.primary_core:.2f}", f"{one.redis_bytes / 1e6:,.0f}", f"{one.process_bytes / 1e6:,.1f}",
                f"{one.lag_ms:.2f}", f"{one.overtaken * _DAY:,.0f}",
            )  # fmt: skip
        yield made


def _check_table(small: Scale, seed: int, checks: Sequence[Check], real: Counted) -> Table:
    made = table(
        f"Checked: {small.users} users, {small.processes} faces, ttl {small.ttl:g} s, seed {seed}",
        "", "formula", "simulated", "real", "differs by",
    )  # fmt: skip
    made.caption = f"real: requests were begun {real.late_ms:.1f} ms late, p99"
    for check in checks:
        shown = [f"{value:,.4g}" for value in (check.formula, check.simulated, check.real)]
        made.add_row(check.name, *shown, f"{check.differs:.1%}")
    return made


if __name__ == "__main__":
    main()
