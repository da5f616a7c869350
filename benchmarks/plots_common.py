"""What all plots have in common: a bar is told by its hatch, a line by its marker and dashes; black, white and grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from reported import spread

__all__ = ["Rows", "at_sizes", "bars", "each", "is_row", "legend", "line", "plain", "roomy", "steps", "values_of"]

_GREYS = ("0.85", "0.35", "0.65", "1.0", "0.95")
_HATCHES = ("", "", "///", "...", "xxx")
_MARKERS = ("o", "s", "^", "D", "v")
_DASHES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))
_BLACK = "black"
_LEAST = 0.001  # so that zero has a place on a logarithmic axis

Rows = Sequence[dict[str, Any]]


def bars(
    axis: Axes, places: Sequence[float], values: Sequence[list[float]], number: int, name: str, *, width: float = 0.2
) -> None:
    """One group's medians, from the least to the most of each."""
    shown = [(place, spread(each)) for place, each in zip(places, values, strict=True) if each]
    medians = [each.median for _, each in shown]
    errors = [[each.median - each.least for _, each in shown], [each.most - each.median for _, each in shown]]
    axis.bar(
        [place for place, _ in shown], medians, width, yerr=errors, capsize=2, label=name,
        color=_GREYS[number], hatch=_HATCHES[number], edgecolor=_BLACK, linewidth=0.8, error_kw={"elinewidth": 0.8},
    )  # fmt: skip


def line(axis: Axes, rows: Rows, keys: tuple[str, str], number: int, name: str) -> None:
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


def steps(axis: Axes, values: Sequence[float], number: int, name: str) -> None:
    """The share of the values that are no more than so much."""
    xs = sorted(max(value, _LEAST) for value in values)
    ys = [(place + 1) / len(xs) for place in range(len(xs))]
    axis.step(xs, ys, where="post", label=name, color=_BLACK, linestyle=_DASHES[number], linewidth=1.3)


def plain(axis: Axes) -> None:
    """A logarithmic axis upwards, with numbers as they are usually written."""
    axis.yaxis.set_major_formatter(LogFormatter())
    axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def at_sizes(axis: Axes) -> None:
    """Ticks where something was measured, and nowhere else."""
    measured: Any = axis.get_lines()[0].get_xdata()
    xs = [float(x) for x in measured]
    axis.set_xticks(xs, [_short(x) for x in xs])
    axis.set_xticks([], minor=True)


def _short(size: float) -> str:
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if size >= unit and size % (unit / 10) == 0:
            return f"{size / unit:.3g}{name}"
    return f"{size:g}"


def each(rows: Rows, key: str) -> list[Any]:
    """What is there under the key, each once."""
    return list(dict.fromkeys(row[key] for row in rows))


def is_row(row: dict[str, Any], **wanted: str) -> bool:
    """Whether the row says all that."""
    return all(row[key] == value for key, value in wanted.items())


def values_of(rows: Rows, key: str, **wanted: str) -> list[float]:
    """Of the rows that say all that."""
    return [row[key] for row in rows if is_row(row, **wanted) and row[key] is not None]


def legend(figure: Figure, axis: Axes) -> None:
    """One for all panels, above them, where it hides nothing."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)


def roomy(figure: Figure) -> Figure:
    """A line of room at the bottom, where it says what was measured where."""
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0.04, 1, 0.96))
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return figure
