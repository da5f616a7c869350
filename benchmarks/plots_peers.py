"""Draws what a request costs with each peer and with ours, and how near each budget is to its goal."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from plots_common import roomy

__all__ = ["peers"]

_LEAST_US = 0.5
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def peers(found: dict[str, Any]) -> dict[str, Figure]:
    """One figure for peers, one for budgets."""
    figures = {}
    if found["peers"]:
        figures["peers"] = _peers(found["peers"], found["names"])
    if found["budgets"]:
        figures["budgets"] = _budgets(found["budgets"])
    return figures


def _peers(rows: dict[str, Any], shown: dict[str, str]) -> Figure:
    names = sorted(rows, key=lambda name: rows[name]["peer_us"]["median"] - rows[name]["plain_us"]["median"])
    figure, axis = plt.subplots(figsize=(9, 0.5 * len(names) + 1.6), layout="constrained")
    for number, (key, label) in enumerate((("peer_us", "the peer"), ("ours_us", "ours, in the same framework"))):
        plain = [rows[name]["plain_us"]["median"] for name in names]
        added = [max(_LEAST_US, rows[name][key]["median"] - least) for name, least in zip(names, plain, strict=True)]
        places = [place + (0.2 if number == 0 else -0.2) for place in range(len(names))]
        axis.barh(
            places, added, 0.38, label=label, color=("0.8", "0.25")[number], hatch=("///", "")[number],
            edgecolor="black", linewidth=0.8,
        )  # fmt: skip
        for place, value in zip(places, added, strict=True):
            axis.annotate(f" {float(f'{value:.3g}'):,g}", (value, place), va="center", fontsize=7)
    axis.set_yticks(range(len(names)), [shown[name] for name in names], fontsize=8)
    axis.set(xscale="log", xlabel="us of processor time that authentication adds to a request")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_title("beside the same application without it, each in its own environment")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return roomy(figure)


def _budgets(rows: list[dict[str, Any]]) -> Figure:
    shown = list(reversed(rows))
    figure, axis = plt.subplots(figsize=(9.5, 0.33 * len(shown) + 1.6), layout="constrained")
    for place, row in enumerate(shown):
        shares = [row["measured"][key] / row["goal"] for key in ("median", "low", "high")]
        median, low, high = (max(share, 0.01) for share in shares)
        axis.errorbar(
            [median], [place], xerr=[[max(0.0, median - low)], [max(0.0, high - median)]], color="black", capsize=2,
            marker="o" if row["held"] else "X", markersize=6 if row["held"] else 9,
            markerfacecolor="white" if row["held"] else "black", elinewidth=0.8,
        )  # fmt: skip
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks(range(len(shown)), [f"{row['path']} / {row['yardstick']}" for row in shown], fontsize=7)
    axis.set(xscale="log", xlabel="measured, as a share of the goal (a ring: held, a cross: missed)")
    low, high = axis.get_xlim()
    axis.set_xticks(shares := [share for share in _SHARES if low <= share <= high], [f"{share:g}" for share in shares])
    axis.set_xticks([], minor=True)
    axis.grid(axis="y", color="0.9")
    axis.set_title("budgets: medians, quartiles")
    return roomy(figure)
