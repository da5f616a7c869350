"""Draws what was found over HTTP: to saturation, and at fixed rates."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from plots_common import Rows, bars, each, is_row, legend, line, plain, roomy, values_of

__all__ = ["http"]

_APPS = ("bare", "memory", "redis", "peer", "users")
_APP_NAMES = {
    "bare": "bare application", "memory": "ours, memory", "redis": "ours, memory off", "peer": "PyJWT + Redis GET",
    "users": "fastapi-users + database",
}  # fmt: skip


def http(found: dict[str, Any]) -> dict[str, Figure]:
    """Requests/s where wrk was there, and latency at fixed rates."""
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
    servers = each(loads, "server")
    for axis, key, title in (
        (axes[0], "per_second", "requests/s, one worker"),
        (axes[1], "cpu_us", "server's processor time, us a request"),
    ):
        for number, app in enumerate(_APPS):
            values = [values_of(loads, key, server=server, app=app) for server in servers]
            places = [place + (number - 2) * 0.16 for place in range(len(servers))]
            bars(axis, places, values, number, _APP_NAMES[app], width=0.16)
        axis.set_xticks(range(len(servers)), servers)
        axis.set_title(title, fontsize=10)
    legend(figure, axes[0])
    return roomy(figure)


def _http_latency(loads: Rows) -> Figure:
    servers = each(loads, "server")
    figure, axes = plt.subplots(
        1, len(servers), figsize=(3.6 * len(servers) + 1, 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, server in zip(axes[0], servers, strict=True):
        for number, app in enumerate(_APPS):
            rows = [
                {**load["outcome"], "wanted": load["rate"]} for load in loads if is_row(load, server=server, app=app)
            ]
            line(axis, rows, ("wanted", "p99_ms"), number, _APP_NAMES[app])
        axis.set_yscale("log")
        plain(axis)
        axis.set_title(server, fontsize=10)
        axis.set_xlabel("requests/s, fixed rate")
    axes[0][0].set_ylabel("p99 from the scheduled send, ms")
    legend(figure, axes[0][0])
    return roomy(figure)
