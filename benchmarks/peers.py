"""What a request costs with ours and with what people would use instead, in processor time beside the bare application.

Each budget is a row: held or missed. Peers exclude each other, so each group of them has a virtual environment of its
own (made at first use), in which the bare application and ours run too, and ratios are taken in there. All take turns,
in fresh processes, round after round. A peer that cannot be installed is skipped by name.

The exit status says nothing about speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from measured import Spread, collected, machine, spread, valgrind
from peers_budgets import Found, counted, instructed, timed
from peers_counted import KINDS
from peers_envs import ENVIRONMENTS, ROOT, Environment, NotInstalledError, default_place, python_of
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from authcache_middleware.testing import EmbeddedServer

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent
_OWN = ("ours", "instructions", "storm", "room")
_GUARD_S = 1800.0
_SLICES, _QUICK_SLICES = 7, 2
_USERS = 1_000_000
_REQUESTS = 1000  # counted by callgrind
_COLUMNS = ("plain_us", "peer_us", "ours_us", "peer_to_ours")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    parts: frozenset[str]
    rounds: int
    slices: int
    envs: Path
    users: int
    trial: bool


@dataclass(slots=True)
class Measured:
    """Everything that one run finds."""

    costs: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By environment, case and round: microseconds."""
    names: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    storms: list[dict[str, float]] = field(default_factory=list)
    room: dict[str, float] | None = None
    instructions: dict[str, float] = field(default_factory=dict)

    def add(self, environment: str, found: dict[str, Any]) -> None:
        """One process's findings."""
        costs = self.costs.setdefault(environment, {})
        for case, slices in found["costs"].items():
            costs.setdefault(case, []).extend(slices)
        self.names |= found.get("names", {})
        self.versions[environment] = found["versions"]
        self.skipped |= dict.fromkeys(found.get("skipped", ()), "not installed here")

    def budgets(self) -> list[Found]:
        """Every budget of which there are figures."""
        found = timed(self.costs.get("ours", {}))
        if self.instructions:
            found[1:1] = instructed(self.instructions)
        return found + counted(self.storms, self.room)


@click.command(help=__doc__)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Fresh processes of each kind."
)
@click.option(
    "--only",
    type=click.Choice([*_OWN, *(environment.name for environment in ENVIRONMENTS)]),
    multiple=True,
    help="Only this part; may be repeated.",
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option(
    "--envs",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_place,
    help="Where environments are kept. [default: below the user's cache]",
)
@click.option(
    "--users",
    type=click.IntRange(1000),
    default=_USERS,
    show_default=True,
    help="And tokens, in memory, for their room.",
)
@click.option(
    "--quick", is_flag=True, help="Ours and the bare application only, so briefly that figures mean nothing: a trial."
)
def main(*, rounds: int, only: tuple[str, ...], out: Path | None, envs: Path, users: int, quick: bool) -> None:
    """Starts a Valkey and processes of its own; ends by itself."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    parts = frozenset(only or (("ours",) if quick else (*_OWN, *(each.name for each in ENVIRONMENTS))))
    place = machine()
    with EmbeddedServer() as server, Progress(console=Console(stderr=True)) as progress:
        plan = _Plan(parts, 1 if quick else rounds, _QUICK_SLICES if quick else _SLICES, envs, users, quick)
        found = _measured(server.url, plan, progress)
    place["load afterwards"] = machine()["load"]
    console.print(*_tables(found), sep="\n")
    for name, reason in found.skipped.items():
        console.print(f"skipped: {name}: {reason}", markup=False)
    console.print(
        f"{place['processor']}, {place['cores']} cores, load {place['load']} and {place['load afterwards']}",
        markup=False,
    )
    if out is not None:
        out.write_text(json.dumps(_report(found, place), indent=1) + "\n", encoding="utf-8")


def _measured(url: str, plan: _Plan, progress: Progress) -> Measured:
    found = Measured()
    parts = plan.parts
    pythons = dict(_pythons([each for each in ENVIRONMENTS if each.name in parts], plan.envs, found, progress))
    task = progress.add_task("measuring", total=plan.rounds * (("ours" in parts) + ("storm" in parts) + len(pythons)))
    for _ in range(plan.rounds):
        if "ours" in parts:
            found.add("ours", _worker(sys.executable, "ours", url, plan.slices, *(["--trial"] if plan.trial else [])))
            progress.advance(task)
        for environment, python in pythons.items():
            distributions = [f"--distribution={_name_of(each)}" for each in environment.requirements]
            try:
                costs = _worker(str(python), "peers", url, plan.slices, *environment.peers, *distributions)
                found.add(environment.name, costs)
            except click.ClickException as exc:
                found.skipped[environment.name] = exc.message
            progress.advance(task)
        if "storm" in parts:
            found.storms += _worker(sys.executable, "storm", url, 2)
            progress.advance(task)
    with ThreadPoolExecutor(2) as beside:  # bytes and instructions do not depend on who runs beside them
        room = beside.submit(_worker, sys.executable, "room", plan.users, plan.users) if "room" in parts else None
        if "instructions" in parts:
            _count_instructions(found, progress, beside)
        if room is not None:
            found.room = room.result()
    return found


def _pythons(
    environments: Sequence[Environment], envs: Path, found: Measured, progress: Progress
) -> Iterator[tuple[Environment, Path]]:
    task = progress.add_task("environments", total=len(environments))
    for environment in environments:
        try:
            yield environment, python_of(environment, envs)
        except NotInstalledError as exc:
            found.skipped[environment.name] = f"cannot be installed: {exc}"
        progress.advance(task)


def _count_instructions(found: Measured, progress: Progress, beside: ThreadPoolExecutor) -> None:
    if valgrind() is None:
        found.skipped["instructions"] = "valgrind is not installed"
        return
    task = progress.add_task("instructions", total=len(KINDS) + 1)
    commands = [_requests_command(KINDS[0], 0), *(_requests_command(kind, _REQUESTS) for kind in KINDS)]
    counts = []
    for count in beside.map(collected, commands):
        counts.append(count)
        progress.advance(task)
    start, *others = counts
    for kind, count in zip(KINDS, others, strict=True):
        found.instructions[kind] = (count - start) / _REQUESTS


def _requests_command(kind: str, count: int) -> list[str]:
    return [sys.executable, str(_HERE / "peers_worker.py"), "requests", kind, str(count)]


def _worker(python: str, *arguments: object) -> Any:
    """What a fresh process found."""
    done = subprocess.run(  # noqa: S603 - our own words
        [python, "peers_worker.py", *map(str, arguments)],
        cwd=_HERE,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=_GUARD_S,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"{arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _name_of(requirement: str) -> str:
    return requirement.partition("[")[0]


def _tables(found: Measured) -> list[Table]:
    tables = []
    if budgets := found.budgets():
        tables.append(_budget_table(budgets))
    if "ours" in found.costs:
        tables.append(_cost_table(found.costs["ours"]))
    if any(name != "ours" for name in found.costs):
        tables.append(_peer_table(found))
    return tables


def _budget_table(budgets: Sequence[Found]) -> Table:
    table = _table("Budgets: what is added, as a ratio", "path", "beside", "measured", "goal", "")
    for each in budgets:
        shown = each.measured.shown(each.form), f"{each.goal:{each.form}}"
        table.add_row(each.path, each.yardstick, *shown, "held" if each.held else "MISSED")
    return table


def _cost_table(costs: dict[str, list[float]]) -> Table:
    table = _table("Processor time, us a request", "case", "median [quartiles]")
    for name, slices in costs.items():
        table.add_row(name, spread(slices).shown(".1f"))
    return table


def _peer_table(found: Measured) -> Table:
    table = _table(
        "Peers: processor time, us a request",
        "",
        "framework",
        "with the peer",
        "with ours",
        "adds",
        "ours adds",
        "peer / ours",
    )
    table.caption = "the last column: whole requests, in the peer's own environment"
    for name, (plain, peer, ours, ratio) in _peer_rows(found):
        costs = f"{plain.median:.0f}", peer.shown(".0f"), ours.shown(".0f")
        adds = f"{peer.median - plain.median:.0f}", f"{ours.median - plain.median:.1f}"
        table.add_row(found.names[name], *costs, *adds, ratio.shown(".1f"))
    return table


def _peer_rows(found: Measured) -> Iterator[tuple[str, tuple[Spread, Spread, Spread, Spread]]]:
    """For each peer what the framework alone costs, with the peer, with ours, and the last two as a ratio."""
    for costs in found.costs.values():
        for name in found.names:
            plain, peer, ours = f"{name}: plain", f"{name}: peer", f"{name}: ours"
            if plain in costs:
                ratio = [theirs / own for theirs, own in zip(costs[peer], costs[ours], strict=True)]
                yield name, (spread(costs[plain]), spread(costs[peer]), spread(costs[ours]), spread(ratio))


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(first, title=title, title_justify="left", caption_justify="left", box=None)
    for column in columns:
        table.add_column(column, justify="left" if column == "beside" else "right")
    return table


def _report(found: Measured, place: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": "peers",
        "command": " ".join(["python benchmarks/peers.py", *sys.argv[1:]]),
        "machine": place,
        "versions": found.versions,
        "budgets": [each.as_json() for each in found.budgets()],
        "peers": {
            name: dict(zip(_COLUMNS, (each.as_json() for each in columns), strict=True))
            for name, columns in _peer_rows(found)
        },
        "names": found.names,
        "instructions": found.instructions,
        "storms": found.storms,
        "room": found.room,
        "skipped": found.skipped,
        "costs_us": found.costs,
    }


if __name__ == "__main__":
    main()
