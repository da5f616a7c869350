"""Runs the benchmarks whose results are kept, one after the other, and draws them; about 25 minutes on a quiet machine.

What is done stays done: a step whose result is there is left out, unless ``--again``. Each writes its JSON and its
tables (NAME.json, NAME.txt) into the folder; what has failed is NAME.failed, and is run again the next time. The
comparison with peers is run three times, and every budget is printed as held or missed, with all three. Nothing else
should run on the machine meanwhile.
The exit status is 1 where a step has failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from peers_envs import ROOT, default_place
from reported import console, table
from rich.table import Table

__all__ = ["STEPS", "Step", "main"]

_HERE = Path(__file__).resolve().parent
_GUARD_S = 1800.0


@dataclass(frozen=True, slots=True)
class Step:
    """One run of one script, and what it writes."""

    name: str
    script: str
    minutes: float
    """About, on a quiet machine of two cores."""
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)
    """The options in place of those, for a trial."""


_PEERS = tuple(Step(f"peers-{number}", "peers.py", 3.2, ("--rounds", "2", "--envs", "{envs}")) for number in (1, 2, 3))
STEPS = (
    *_PEERS,
    Step("http", "over_http.py", 6.0, ("--rounds", "3", "--seconds", "1.5", "--envs", "{envs}")),
    Step("open-loop", "open_loop.py", 1.5),
    Step("stampede", "stampede.py", 0.7),
    Step("invalidation", "invalidation.py", 1.0, quick=("--rounds", "20", "--stalls", "1")),
    Step("model", "model.py", 0.4),
    Step("scale", "scale.py", 5.0, ("--rounds", "2")),
)


@click.command(help=__doc__)
@click.option("--only", type=click.Choice([step.name for step in STEPS]), multiple=True, help="May be repeated.")
@click.option("--again", is_flag=True, help="Run what has been run before, too.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    default=_HERE / "results",
    help="A folder. [default: results/, beside this script]",
)
@click.option(
    "--envs",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    default=default_place,
    help="Where the environments of peers are kept. [default: below the user's cache]",
)
@click.option("--minutes", type=click.FloatRange(0), help="Begin no step that would end later than that.")
@click.option("--plan", is_flag=True, help="Only say what would be run, and about how long it takes.")
@click.option("--quick", is_flag=True, help="So briefly that figures mean nothing: a trial. Needs --into.")
def main(
    *, only: tuple[str, ...], again: bool, into: Path, envs: Path, minutes: float | None, plan: bool, quick: bool
) -> None:
    """Each step starts what it needs; ends by itself."""
    if quick and into == _HERE / "results":
        raise click.UsageError("a trial is no result to be kept: give another folder with --into")
    into.mkdir(parents=True, exist_ok=True)
    wanted = [step for step in STEPS if not only or step.name in only]
    steps = [step for step in wanted if again or not (into / f"{step.name}.json").exists()]
    for step in wanted:
        state = f"about {step.minutes:g} min" if step in steps else "is there"
        click.echo(f"{step.name:<13} {state}")
    click.echo(f"about {sum(step.minutes for step in steps):g} minutes in all\n")
    if plan:
        return
    end = None if minutes is None else time.monotonic() + minutes * 60
    failed = []
    for step in steps:
        if end is not None and time.monotonic() + step.minutes * 60 > end:
            click.echo(f"{step.name}: left out, there is no time for it")
            continue
        if not _run(step, into, envs, quick=quick):
            failed.append(step.name)
    _draw(into)
    if made := _budgets(into):
        console().print(made)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _run(step: Step, into: Path, envs: Path, *, quick: bool) -> bool:
    """Whether it has ended well; its tables are printed, and its result stands in the folder from then on."""
    options = step.quick if quick else step.options
    result = into / f"{step.name}.json"
    result.unlink(missing_ok=True)
    shown = result.relative_to(_HERE) if result.is_relative_to(_HERE) else result
    command = [step.script, *(option.format(envs=envs) for option in options), "--json", str(shown)]
    click.echo(f"{time.strftime('%H:%M:%S')} {step.name}: python benchmarks/{' '.join(command)}")
    began = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, *command],
            cwd=_HERE,
            stdout=subprocess.PIPE,
            text=True,
            # whatever is installed: what is measured is the package beside these scripts
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)},
            timeout=_GUARD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        click.echo(f"{step.name}: took longer than {_GUARD_S / 60:g} minutes")
        return False
    click.echo(done.stdout)
    click.echo(f"{step.name}: {time.monotonic() - began:.0f} s, exit status {done.returncode}\n")
    (into / f"{step.name}.txt").write_text(done.stdout, encoding="utf-8")
    if done.returncode and result.exists():
        result.replace(result.with_suffix(".failed"))  # so that it is run again
    return done.returncode == 0


def _draw(into: Path) -> None:
    """Of the three runs of peers the last one."""
    last = [name for name in (f"{step.name}.json" for step in _PEERS) if (into / name).exists()][-1:]
    others = {f"{step.name}.json" for step in STEPS if step not in _PEERS}
    found = [str(into / name) for name in sorted(others.union(last)) if (into / name).exists()]
    if found:
        subprocess.run([sys.executable, "plots.py", "--into", str(into), *found], cwd=_HERE, check=True)  # noqa: S603


def _budgets(into: Path) -> Table | None:
    """Each budget in each run, beside its goal."""
    files = [into / f"{step.name}.json" for step in _PEERS]
    runs = [json.loads(file.read_text(encoding="utf-8"))["budgets"] for file in files if file.exists()]
    if not runs:
        return None
    made = table("Budgets", "path", "beside", "goal", *(f"run {number + 1}" for number in range(len(runs))), "")
    for rows in zip(*runs, strict=False):
        made.add_row(*_row(rows))
    return made


def _row(rows: Sequence[dict[str, Any]]) -> list[str]:
    first = rows[0]
    held = [row["held"] for row in rows]
    verdict = "held" if all(held) else "MISSED" if not any(held) else f"held {sum(held)} of {len(held)}"
    found = [f"{row['measured']['median']:,.3g}" for row in rows]
    return [first["path"], first["yardstick"], f"{first['goal']:,.3g}", *found, verdict]


if __name__ == "__main__":
    main()
