"""Draws how costs and room grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots_common import Rows, at_sizes, line, roomy

__all__ = ["scale"]

_HEADROOM = 1.35  # for the legend


def scale(found: dict[str, Any]) -> dict[str, Figure]:
    """A panel for each kind of size that was measured."""
    panels = [(panel, found[name]) for name, panel in _PANELS if found.get(name)]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 3.4 * down), squeeze=False, layout="constrained")
    for axis, (panel, rows) in zip(axes.flat, panels, strict=False):
        panel(axis, rows)
        axis.set_xscale("log")
        at_sizes(axis)
        _, top = axis.get_ylim()
        axis.set_ylim(0, top * _HEADROOM)
        axis.legend(fontsize=7, loc="upper left", frameon=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return {"scale": roomy(figure)}


def _memory_panel(axis: Axes, rows: Rows) -> None:
    rows = [row for row in rows if row["users"] > 1000]  # noqa: PLR2004 - below, pages of the process are larger
    line(axis, rows, ("users", "bytes_per_user"), 0, "a user of 8 fields")
    line(axis, rows, ("users", "bytes_per_token"), 1, "a token, beside its own bytes")
    axis.set(title="bytes in memory", xlabel="users with a token each")


def _collection_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("users", "gc_added_ms"), 0, "added by users and tokens")
    axis.set(title="full garbage collection, ms", xlabel="users with a token each")


def _hit_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("users", "first_hit_us"), 0, "asked for the first time")
    line(axis, rows, ("users", "hit_us"), 1, "and again")
    axis.set(title="memory hit, us", xlabel="users with a token each")


def _concurrency_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("concurrency", "ours_us"), 0, "ours, from Redis")
    line(axis, rows, ("concurrency", "get_us"), 1, "bare GET of redis-py")
    axis.set(title="user in Redis, us a request", xlabel="requests at once")


def _token_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("bytes", "known_us"), 0, "ours, known token")
    line(axis, rows, ("bytes", "new_us"), 1, "ours, new token")
    line(axis, rows, ("bytes", "pyjwt_us"), 2, "jwt.decode alone")
    axis.set(title="size of the token, us a request", xlabel="bytes")


def _record_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("bytes", "memory_us"), 0, "ours, memory")
    line(axis, rows, ("bytes", "redis_us"), 1, "ours, Redis, 64 at once")
    line(axis, rows, ("bytes", "get_us"), 2, "bare GETs, 64 at once")
    axis.set(title="size of the record, us a request", xlabel="bytes in Redis")


def _processes_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("processes", "cold_us"), 0, "cold, in all of them at once")
    line(axis, rows, ("processes", "redis_us"), 1, "from Redis, 64 at once")
    line(axis, rows, ("processes", "memory_us"), 2, "from memory")
    axis.set(title="processes with the same users, us a request", xlabel="processes")


def _loader_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("loader_ms", "cold_us"), 0, "processor time")
    axis.set(title="cold users 32 at once, us a request", xlabel="ms of a load")


def _added_panel(axis: Axes, rows: Rows) -> None:
    line(axis, rows, ("loader_ms", "added_ms"), 0, "beside the load")
    axis.set(title="cold users 32 at once, ms", xlabel="ms of a load")


_PANELS: tuple[tuple[str, Callable[[Axes, Rows], None]], ...] = (
    ("users", _memory_panel),
    ("users", _collection_panel),
    ("users", _hit_panel),
    ("concurrency", _concurrency_panel),
    ("token", _token_panel),
    ("record", _record_panel),
    ("processes", _processes_panel),
    ("loader", _loader_panel),
    ("loader", _added_panel),
)
