"""Draws how long things take: a storm for one user, a fixed rate in one process, an invalidation until it is heard."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from plots_common import Rows, at_sizes, bars, each, legend, line, plain, roomy, steps

__all__ = ["invalidation", "open_loop", "stampede"]


def stampede(found: dict[str, Any]) -> dict[str, Figure]:
    """Loads, connections and latency of each way."""
    storms: Rows = found["storms"]
    named = {way: _with_failures(way, storms) for way in each(storms, "way")}
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, key, title in (
        (axes[0], "loads", "loads"),
        (axes[1], "connections", "connections to Redis"),
        (axes[2], "p99_ms", "p99 of those answered, ms"),
    ):
        for number, way in enumerate(named):
            line(axis, [storm for storm in storms if storm["way"] == way], ("requests", key), number, named[way])
        axis.set(title=title, xlabel="requests at once for one cold user", xscale="log", yscale="log")
        plain(axis)
        at_sizes(axis)
    axes[2].axhline(found["loader_s"] * 1000, color="0.6", linewidth=0.8)
    axes[2].annotate("the load itself", (min(storm["requests"] for storm in storms), found["loader_s"] * 1000),
                     fontsize=7, va="top")  # fmt: skip
    legend(figure, axes[0])
    return {"stampede": roomy(figure)}


def _with_failures(way: str, storms: Rows) -> str:
    worst = max((storm for storm in storms if storm["way"] == way), key=lambda storm: int(storm["failed"]))
    return f"{way}: {worst['failed']:,} of {worst['requests']:,} fail" if worst["failed"] else way


_WAYS = {"nothing": "the generator alone", "gets": "plain GETs, a warmed pool of 16", "ours": "ours"}


def open_loop(found: dict[str, Any]) -> dict[str, Figure]:
    """Bars of latency, for each way."""
    courses, plan = found["courses"], found["plan"]
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    keys = {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}
    for number, (way, name) in enumerate(_WAYS.items()):
        values = [[course[key] for course in courses if course["way"] == way] for key in keys]
        bars(axis, [place + (number - 1) * 0.2 for place in range(len(keys))], values, number, name)
    axis.set_xticks(range(len(keys)), keys.values())
    axis.set(yscale="log", ylabel="ms from the scheduled moment")
    plain(axis)
    axis.set_title(
        f"{plan['rate']:,.0f} requests/s in one process, {plan['users']:,} users, memory for {plan['memory']:,}"
    )
    legend(figure, axis)
    return {"open-loop": roomy(figure)}


def invalidation(found: dict[str, Any]) -> dict[str, Figure]:
    """The share of invalidations that a memory has heard after so long."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
    bound_ms = found["max_staleness_s"] * 1000
    for axis, link, title in (
        (axes[0], "well", "the link is well"),
        (axes[1], "stalled", "nothing comes through the link any more"),
    ):
        for number, course in enumerate(course for course in found["courses"] if course["link"] == link):
            steps(axis, course["lags_ms"], number, course["listener"])
        axis.set(title=title, xlabel="ms after the invalidation had returned", ylim=(0, 1.02))
    axes[0].set(xscale="log", ylabel="share of all invalidations")
    axes[1].set_xlim(0, bound_ms * 1.15)
    axes[1].axvline(bound_ms, color="0.6", linewidth=0.8)
    axes[1].annotate("max_staleness ", (bound_ms, 0.03), fontsize=8, ha="right")
    legend(figure, axes[0])
    return {"invalidation": roomy(figure)}
