"""Draws what the model says of a large service, and how it compares with a small real one."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots_common import Rows, at_sizes, each, legend, line, plain, roomy

__all__ = ["model"]

_HOUR = 3600.0
_MEGA = 1e6
_OF_TTL = (
    ("from_memory", "share answered from memory"),
    ("loads", "loads/s, of all"),
    ("commands_of_primary", "commands/s of a primary"),
    ("process_core", "cores, for hearing and sending pushes"),
)
_OF_ENTRIES = (("from_memory", "share answered from memory"), ("process_megabytes", "MB of a process, for users"))


def model(found: dict[str, Any]) -> dict[str, Figure]:
    """One figure against ttl and memory, one for the check."""
    service = found["service"]
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    of_ttl = [{**row, "hours": row["ttl"] / _HOUR} for row in found["rows"] if row["sweep"] == "ttl"]
    for axis, (key, title) in zip(axes.flat, _OF_TTL, strict=False):
        _panel(axis, of_ttl, ("hours", key), title)
        axis.set(xlabel="ttl, hours")
    _both_cores(axes.flat[3], of_ttl)
    of_entries = [
        {**row, "process_megabytes": row["process_bytes"] / _MEGA} for row in found["rows"] if row["sweep"] == "entries"
    ]
    for axis, (key, title) in zip(axes.flat[4:], _OF_ENTRIES, strict=True):
        _panel(axis, of_entries, ("entries", key), title)
        axis.set(xlabel=f"entries of a memory, ttl {of_entries[0]['ttl'] / _HOUR:g} h")
    for axis in axes.flat:
        at_sizes(axis)
    axes.flat[0].legend(fontsize=7, loc="upper left", title="processes of a user's requests", title_fontsize=7)
    figure.suptitle(
        f"{service['users']:,} users, {service['processes']:,} processes, {service['primaries']} primaries, "
        f"{service['requests']:g} requests of a user per hour, Zipf {service['zipf']:g}",
        fontsize=10,
    )
    return {"model": roomy(figure), "model-check": _check(found["checks"])}


def _panel(axis: Axes, rows: Rows, keys: tuple[str, str], title: str) -> None:
    for number, spread in enumerate(each(rows, "spread")):
        line(axis, [row for row in rows if row["spread"] == spread], keys, number, spread)
    axis.set(title=title, xscale="log")
    axis.set_ylim(bottom=0)


def _both_cores(axis: Axes, rows: Rows) -> None:
    """They do not depend on where requests go."""
    axis.clear()
    rows = [row for row in rows if row["spread"] == "any"]
    line(axis, rows, ("hours", "process_core"), 2, "a process")
    line(axis, rows, ("hours", "primary_core"), 3, "a primary")
    axis.axhline(1, color="black", linewidth=0.8)
    axis.annotate("above: memory is of no use", (rows[0]["hours"], 0.9), fontsize=7, va="top")
    axis.set(title=_OF_TTL[3][1], xscale="log", yscale="log", xlabel="ttl, hours")
    plain(axis)
    axis.legend(fontsize=7)


def _check(checks: Rows) -> Figure:
    shown = list(reversed(checks))
    figure, axis = plt.subplots(figsize=(8, 0.36 * len(shown) + 1.6), layout="constrained")
    for key, marker, face in (("formula", "o", "white"), ("simulated", "s", "black")):
        axis.plot(
            [row[key] / row["real"] for row in shown], range(len(shown)), linestyle="", marker=marker, label=key,
            color="black", markerfacecolor=face,
        )  # fmt: skip
    axis.axvline(1, color="black", linewidth=0.8)
    for bound in (0.85, 1.15):
        axis.axvline(bound, color="0.6", linestyle="--", linewidth=0.8)
    axis.set_yticks(range(len(shown)), [row["name"] for row in shown], fontsize=8)
    axis.set(xlabel="beside what a small real service counted (dashed: 15 % off)", xlim=(0.8, 1.2))
    legend(figure, axis)
    return roomy(figure)
