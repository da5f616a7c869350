"""Draws what the benchmarks have found: PNG and SVG of each JSON file under ``results/``, readable in black and white.

A bar is told by its hatch, a line by its marker and dashes; lines through medians, with bars from the least to the most
of the rounds. Files of other benchmarks, which nothing here can draw, are named and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from plots_http import http
from plots_model import model
from plots_peers import peers
from plots_scale import scale
from plots_time import invalidation, open_loop, stampede

__all__ = ["main"]

_RESULTS = Path(__file__).resolve().parent / "results"

_PER_INCH = 22  # letters of that size

Draw = Callable[[dict[str, Any]], dict[str, Figure]]

_DRAWN: dict[str, Draw] = {
    "http": http,
    "invalidation": invalidation,
    "model": model,
    "open loop": open_loop,
    "peers": peers,
    "scale": scale,
    "stampede": stampede,
}


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
    mpl.use("Agg")  # no window, no display
    mpl.rcParams["svg.hashsalt"] = "the same figures are the same file"
    into.mkdir(parents=True, exist_ok=True)
    for file in files or sorted(_RESULTS.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        draw = _DRAWN.get(found.get("benchmark", "")) if isinstance(found, dict) else None
        if draw is None:
            click.echo(f"{file.name}: nothing to draw")
            continue
        for name, figure in draw(found).items():
            figure.text(0.01, 0.005, _where(found, int(figure.get_figwidth() * _PER_INCH)), fontsize=6, va="bottom")
            for suffix in ("png", "svg"):
                # without the date, so that the same figures are the same file
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(into / f"{name}.{suffix}", dpi=130, metadata=metadata)
                click.echo(into / f"{name}.{suffix}")
            plt.close(figure)


def _where(found: dict[str, Any], most: int) -> str:
    machine = found["machine"]
    busy = f"load {machine['load'][0]:g} before, {machine['load afterwards'][0]:g} after"
    where = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {busy}; {found['command']}"
    return where if len(where) <= most else f"{where[: most - 1]}…"


if __name__ == "__main__":
    main()
