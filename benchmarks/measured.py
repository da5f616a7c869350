"""What code costs: processor time in interleaved slices, and instructions by callgrind; medians with their spread.

Processor time is that of the whole process: threads that a library starts are counted, neighbours on the machine are
not. Slices of all cases take turns, round after round: what slows the machine for a while slows them all, and ratios
are taken within a round.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "Case",
    "DisturbedError",
    "Spread",
    "collected",
    "machine",
    "measure",
    "ratios",
    "spread",
    "valgrind",
    "versions",
]

_USUAL_SLICE_S = 0.012
_MOST = 1 << 20
_PATIENCE = 20
_VALGRIND_GUARD_S = 600.0

Step = Callable[[int], Awaitable[None] | None]


class DisturbedError(Exception):
    """A slice did not go the way it was meant to measure, and has to be taken again."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something that is done over and over: ``run(n)`` does it n times, and is awaited if it can be."""

    name: str
    run: Step
    each: int = 1
    """How many requests one of the n is."""
    before: Step | None = None
    """What ``run(n)`` needs, done before it and not counted."""
    most: int = _MOST
    """The largest n."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float
    count: int

    def shown(self, form: str = ".2f") -> str:
        """As text, the quartiles in brackets."""
        if self.count == 1:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} [{self.low:{form}} - {self.high:{form}}]"

    def as_json(self) -> dict[str, float]:
        """For the results' file."""
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Spread(ordered[0], ordered[0], ordered[0], 1)
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(median, low, high, len(ordered))


def ratios(
    costs: Mapping[str, Sequence[float]], of: Callable[[Mapping[str, float]], float], names: Sequence[str]
) -> list[float]:
    """``of`` the costs of each round; a round in which the divisor is lost in noise is left out."""
    found = []
    for row in zip(*(costs[name] for name in names), strict=True):
        try:
            found.append(of(dict(zip(names, row, strict=True))))
        except ZeroDivisionError:
            continue
    return found


def measure(
    cases: Sequence[Case], rounds: int, runner: asyncio.Runner | None = None, *, slice_s: float = _USUAL_SLICE_S
) -> dict[str, list[float]]:
    """Microseconds of processor time a request, of each case in each round.

    What is awaited runs in the loop of ``runner``, everything else outside of it. How often a case is done in a slice,
    to fill ``slice_s``, is found out first, which warms it up too.
    """
    counts = {case.name: _count(case, runner, slice_s) for case in cases}
    costs: dict[str, list[float]] = {case.name: [] for case in cases}
    gc.collect()
    gc.freeze()  # what was imported is not walked again in somebody's slice
    for number in range(rounds):
        for case in (*cases[number % len(cases) :], *cases[: number % len(cases)]):  # nobody always follows the same
            count = counts[case.name]
            costs[case.name].append(_slice(case, count, runner) / count / case.each / 1000)
    return costs


def _count(case: Case, runner: asyncio.Runner | None, slice_s: float) -> int:
    count = 1
    while True:
        taken = _slice(case, count, runner) / 1e9
        if taken >= slice_s or count >= case.most:
            return min(count, case.most)
        count = min(case.most, count * 2 if taken < slice_s / 4 else int(count * slice_s / taken) + 1)


def _slice(case: Case, count: int, runner: asyncio.Runner | None) -> int:
    """Nanoseconds that ``count`` times take."""
    for _ in range(_PATIENCE):
        try:
            if case.before is not None:
                _through(case.before, count, runner)
            return _through(case.run, count, runner)
        except DisturbedError:
            time.sleep(0.05)
    raise RuntimeError(f"{case.name}: the machine is too busy, or it is broken")


def _through(step: Step, count: int, runner: asyncio.Runner | None) -> int:
    began = time.process_time_ns()
    waited = step(count)
    if waited is None:
        return time.process_time_ns() - began
    if runner is None:
        raise TypeError("something is to be awaited, and there is no loop")
    return runner.run(_awaited(waited))


async def _awaited(waited: Awaitable[None]) -> int:
    began = time.process_time_ns()
    await waited
    return time.process_time_ns() - began


def valgrind() -> str | None:
    """Where valgrind is; ``None`` where it is not installed."""
    return shutil.which("valgrind")


def collected(command: Sequence[str]) -> int:
    """The instructions that a command executes, by callgrind.

    They are the same each time but for some parts in a thousand (addresses), whatever else the machine does. Those of
    one request: the difference of two runs, in which the start cancels out.
    """
    done = subprocess.run(  # noqa: S603 - our own words
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],  # noqa: S607
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        timeout=_VALGRIND_GUARD_S,
        check=True,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing:\n{done.stderr}")
    return int(found[1])


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy that was."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), ""
        )
    return {
        "system": platform.platform(),
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": sys.version.split()[0],
    }


def versions(*names: str) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
