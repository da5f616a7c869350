"""Draws what the benchmarks have found: PNG and SVG of each JSON file under ``results/``, readable in black and white.

A bar is told by its hatch, a line by its marker and dashes; lines through medians, with bars from the least to the most
of the rounds. Files of other benchmarks, which nothing here can draw, are named and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from reported import spread

mpl.use("Agg")  # no window, no display
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["main"]

_RESULTS = Path(__file__).resolve().parent / "results"
_GREYS = ("0.85", "0.35", "0.65", "1.0")
_HATCHES = ("", "", "///", "...")
_MARKERS = ("o", "s", "^", "D")
_DASHES = ("-", "--", "-.", ":")
_BLACK = "black"

Rows = Sequence[dict[str, Any]]
_APPS = ("bare", "memory", "redis", "peer")
_APP_NAMES = {
    "bare": "bare application", "memory": "ours, memory", "redis": "ours, memory off", "peer": "PyJWT + Redis GET",
}  # fmt: skip


@click.command(help=__doc__)
@click.argument("files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=_RESULTS,
    help="A folder. [default: results/, beside this script]",
)
def main(files: tuple[Path, ...], into: Path) -> None:
    """Without FILES, all of ``results/*.json``."""
    into.mkdir(parents=True, exist_ok=True)
    for file in files or sorted(_RESULTS.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        draw = _DRAWN.get(found.get("benchmark", "")) if isinstance(found, dict) else None
        if draw is None:
            click.echo(f"{file.name}: nothing to draw")
            continue
        for name, figure in draw(found).items():
            figure.text(0.01, 0.005, _where(found), fontsize=6, va="bottom")
            for suffix in ("png", "svg"):
                # without the date, so that the same figures are the same file
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(into / f"{name}.{suffix}", dpi=130, metadata=metadata)
                click.echo(into / f"{name}.{suffix}")
            plt.close(figure)


def _where(found: dict[str, Any]) -> str:
    machine = found["machine"]
    busy = f"load {machine['load'][0]:g} before, {machine['load afterwards'][0]:g} after"
    return f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {busy}; {found['command']}"


# -- over HTTP


def _http(found: dict[str, Any]) -> dict[str, Figure]:
    loads: Rows = found["loads"]
    figures = {}
    saturated = [load for load in loads if load["rate"] is None]
    if saturated:
        figures["http-saturation"] = _http_saturation(saturated)
    paced = [load for load in loads if load["rate"] is not None]
    if paced:
        figures["http-latency"] = _http_latency(paced)
    return figures


def _http_saturation(loads: Rows) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    servers = _each(loads, "server")
    for axis, key, title in (
        (axes[0], "per_second", "requests/s, one worker"),
        (axes[1], "cpu_us", "server's processor time, us a request"),
    ):
        for number, app in enumerate(_APPS):
            values = [_values(loads, key, server=server, app=app) for server in servers]
            places = [place + (number - 1.5) * 0.2 for place in range(len(servers))]
            _bars(axis, places, values, number, _APP_NAMES[app])
        axis.set_xticks(range(len(servers)), servers)
        axis.set_title(title, fontsize=10)
    _legend(figure, axes[0])
    return _roomy(figure)


def _bars(axis: Axes, places: Sequence[float], values: Sequence[list[float]], number: int, name: str) -> None:
    shown = [(place, spread(each)) for place, each in zip(places, values, strict=True) if each]
    medians = [each.median for _, each in shown]
    errors = [[each.median - each.least for _, each in shown], [each.most - each.median for _, each in shown]]
    axis.bar(
        [place for place, _ in shown], medians, 0.2, yerr=errors, capsize=2, label=name,
        color=_GREYS[number], hatch=_HATCHES[number], edgecolor=_BLACK, linewidth=0.8, error_kw={"elinewidth": 0.8},
    )  # fmt: skip


def _http_latency(loads: Rows) -> Figure:
    servers = _each(loads, "server")
    figure, axes = plt.subplots(
        1, len(servers), figsize=(3.6 * len(servers) + 1, 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, server in zip(axes[0], servers, strict=True):
        for number, app in enumerate(_APPS):
            rows = [{**load["outcome"], "wanted": load["rate"]} for load in loads if _is(load, server=server, app=app)]
            _line(axis, rows, ("wanted", "p99_ms"), number, _APP_NAMES[app])
        axis.set_yscale("log")
        axis.set_title(server, fontsize=10)
        axis.set_xlabel("requests/s, fixed rate")
    axes[0][0].set_ylabel("p99 from the scheduled send, ms")
    _legend(figure, axes[0][0])
    return _roomy(figure)


# -- scale


def _scale(found: dict[str, Any]) -> dict[str, Figure]:
    panels = [(panel, found[name]) for name, panel in _PANELS if found.get(name)]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 3.4 * down), squeeze=False, layout="constrained")
    for axis, (panel, rows) in zip(axes.flat, panels, strict=False):
        panel(axis, rows)
        axis.set_xscale("log")
        _at_sizes(axis)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return {"scale": _roomy(figure)}


def _memory_panel(axis: Axes, rows: Rows) -> None:
    rows = [row for row in rows if row["users"] > 1000]  # noqa: PLR2004 - below, pages of the process are larger
    _line(axis, rows, ("users", "bytes_per_user"), 0, "a user of 8 fields")
    _line(axis, rows, ("users", "bytes_per_token"), 1, "a token, beside its own bytes")
    axis.set(title="bytes in memory", xlabel="users with a token each")


def _collection_panel(axis: Axes, rows: Rows) -> None:
    _line(axis, rows, ("users", "gc_added_ms"), 0, "added by users and tokens")
    axis.set(title="full garbage collection, ms", xlabel="users with a token each")


def _hit_panel(axis: Axes, rows: Rows) -> None:
    _line(axis, rows, ("users", "first_hit_us"), 0, "asked for the first time")
    _line(axis, rows, ("users", "hit_us"), 1, "and again")
    axis.set(title="memory hit, us", xlabel="users with a token each")


def _concurrency_panel(axis: Axes, rows: Rows) -> None:
    _line(axis, rows, ("concurrency", "ours_us"), 0, "ours, from Redis")
    _line(axis, rows, ("concurrency", "get_us"), 1, "bare GET of redis-py")
    axis.set(title="user in Redis, us a request", xlabel="requests at once")


def _token_panel(axis: Axes, rows: Rows) -> None:
    _line(axis, rows, ("bytes", "known_us"), 0, "ours, known token")
    _line(axis, rows, ("bytes", "new_us"), 1, "ours, new token")
    _line(axis, rows, ("bytes", "pyjwt_us"), 2, "jwt.decode alone")
    axis.set(title="size of the token, us a request", xlabel="bytes")


def _record_panel(axis: Axes, rows: Rows) -> None:
    _line(axis, rows, ("bytes", "memory_us"), 0, "ours, memory")
    _line(axis, rows, ("bytes", "redis_us"), 1, "ours, Redis, 64 at once")
    _line(axis, rows, ("bytes", "get_us"), 2, "bare GETs, 64 at once")
    axis.set(title="size of the record, us a request", xlabel="bytes in Redis")


_PANELS: tuple[tuple[str, Callable[[Axes, Rows], None]], ...] = (
    ("users", _memory_panel),
    ("users", _collection_panel),
    ("users", _hit_panel),
    ("concurrency", _concurrency_panel),
    ("token", _token_panel),
    ("record", _record_panel),
)


# -- many at once for one user


def _stampede(found: dict[str, Any]) -> dict[str, Figure]:
    storms: Rows = found["storms"]
    named = {way: _with_failures(way, storms) for way in _each(storms, "way")}
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, key, title in (
        (axes[0], "loads", "loads"),
        (axes[1], "connections", "connections to Redis"),
        (axes[2], "p99_ms", "p99 of those answered, ms"),
    ):
        for number, way in enumerate(named):
            _line(axis, [storm for storm in storms if storm["way"] == way], ("requests", key), number, named[way])
        axis.set(title=title, xlabel="requests at once for one cold user", xscale="log", yscale="log")
        _at_sizes(axis)
    axes[2].axhline(found["loader_s"] * 1000, color="0.6", linewidth=0.8)
    axes[2].annotate("the load itself", (min(storm["requests"] for storm in storms), found["loader_s"] * 1000),
                     fontsize=7, va="top")  # fmt: skip
    _legend(figure, axes[0])
    return {"stampede": _roomy(figure)}


def _with_failures(way: str, storms: Rows) -> str:
    worst = max((storm for storm in storms if storm["way"] == way), key=lambda storm: int(storm["failed"]))
    return f"{way}: {worst['failed']:,} of {worst['requests']:,} fail" if worst["failed"] else way


_DRAWN: dict[str, Callable[[dict[str, Any]], dict[str, Figure]]] = {
    "http": _http,
    "scale": _scale,
    "stampede": _stampede,
}


# -- what they have in common


def _line(axis: Axes, rows: Rows, keys: tuple[str, str], number: int, name: str) -> None:
    """Through the medians, from the least to the most of each; ``keys``: what runs across, and what goes up."""
    across, up = keys
    xs = sorted({row[across] for row in rows})
    shown = [spread([row[up] for row in rows if row[across] == x]) for x in xs]
    errors = [[each.median - each.least for each in shown], [each.most - each.median for each in shown]]
    axis.errorbar(
        xs, [each.median for each in shown], yerr=errors, label=name, color=_BLACK if number < 2 else "0.45",  # noqa: PLR2004
        marker=_MARKERS[number], markerfacecolor="white" if number % 2 else None, linestyle=_DASHES[number],
        linewidth=1.2, markersize=5, capsize=2, elinewidth=0.8,
    )  # fmt: skip


def _at_sizes(axis: Axes) -> None:
    """Ticks where something was measured, and nowhere else."""
    measured: Any = axis.get_lines()[0].get_xdata()
    xs = [float(x) for x in measured]
    axis.set_xticks(xs, [_short(x) for x in xs])
    axis.set_xticks([], minor=True)


def _short(size: float) -> str:
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return f"{size:g}"


def _each(rows: Rows, key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _is(row: dict[str, Any], **wanted: str) -> bool:
    return all(row[key] == value for key, value in wanted.items())


def _values(rows: Rows, key: str, **wanted: str) -> list[float]:
    return [row[key] for row in rows if _is(row, **wanted) and row[key] is not None]


def _legend(figure: Figure, axis: Axes) -> None:
    """One for all panels, above them, where it hides nothing."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)


def _roomy(figure: Figure) -> Figure:
    """A line of room at the bottom, where it says what was measured where."""
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0.04, 1, 0.96))
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return figure


if __name__ == "__main__":
    main()
