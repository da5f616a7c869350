"""Fills the README's figures from the results that are kept, so that none of them is typed by hand.

It writes what stands between the two marks, and nothing else: the machine, budgets, goals, peers, and the plots with a
sentence each. Without results it says so. With ``--check`` it changes nothing; the exit status is 1 where the README
says anything else than the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["BEGIN", "END", "filled", "main", "section"]

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = Path(__file__).resolve().parent / "results"
BEGIN, END = "<!-- figures of benchmarks/readme.py -->", "<!-- end of figures -->"
_WHOLE = 100
_RUNS = ("peers-1", "peers-2", "peers-3")
_WITH_GOALS = ("http", "open-loop", "stampede", "invalidation", "scale", "model")
_PLOTS = {
    "peers": "What each way to authenticate adds to a request of the same application, in processor time.",
    "budgets": "How near each path is to its budget: to the left of the line it is held.",
    "http-saturation": "Requests/s of real servers with one worker, as many as they can answer, and what each costs.",
    "http-latency": "p99 at fixed rates, counted from the moment a request was to be sent.",
    "open-loop": "A fixed rate inside one process, nearly all of whose users are in Redis and not in memory.",
    "stampede": "Many requests at once for one user whom nobody knows: one load, however many there are.",
    "invalidation": "How long it takes until another memory has dropped a user, with a link that is well or stalled.",
    "scale": "What a request costs as users, concurrency, tokens, records, processes and the time of a load grow.",
    "model": "A service of 100 million users, computed: what a longer ttl and a larger memory are good for.",
    "model-check": "The same computation beside a small service that was counted for real.",
}


@click.command(help=__doc__)
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=_RESULTS, help="[default: results/]"
)
@click.option(
    "--readme", type=click.Path(dir_okay=False, exists=True, path_type=Path), default=_ROOT / "README.md", hidden=True
)
@click.option("--check", is_flag=True, help="Only say whether it is right.")
def main(*, results: Path, readme: Path, check: bool) -> None:
    """Writes the README."""
    before = readme.read_text(encoding="utf-8")
    after = filled(before, results)
    if check:
        raise SystemExit(0 if before == after else "the README does not say what the results say")
    readme.write_text(after, encoding="utf-8")


def filled(text: str, results: Path) -> str:
    """The README's text with this section in its place."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise click.ClickException("the README has no place for the figures")
    return f"{head}{BEGIN}\n{section(results)}\n{END}{tail}"


def section(results: Path) -> str:
    """What stands between the marks."""
    kept = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))}
    runs = [kept[name] for name in _RUNS if name in kept]
    goals = {name: kept[name] for name in _WITH_GOALS if name in kept and kept[name]["goals"]}
    if not runs and not goals:
        return "No results are kept yet: `authcache bench all` makes them."
    parts = [_where(next(iter((*runs, *goals.values()))))]
    if runs:
        parts += ["\n".join(_budgets(runs)), "\n".join(_peers(runs[-1]))]
    if goals:
        parts.append("\n".join(_goals(goals)))
    parts += [f"{sentence}\n\n![{name}](benchmarks/results/{name}.png)" for name, sentence in _PLOTS.items()
              if (results / f"{name}.png").exists()]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _where(found: dict[str, Any]) -> str:
    machine = found["machine"]
    versions = found["versions"].get("ours", found["versions"])
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("redis", "pyjwt", "msgpack") if name in versions)
    return (
        f"Measured on {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {libraries}, "
        f"load {machine['load'][0]:g} before. All figures below are medians, written by `benchmarks/readme.py`."
    )


def _budgets(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row for each, with what each run found."""
    numbers = " | ".join(f"run {number + 1}" for number in range(len(runs)))
    yield f"| path | beside | goal | {numbers} | |"
    yield f"|---|---|---:|{'---:|' * len(runs)}---|"
    for rows in zip(*(run["budgets"] for run in runs), strict=True):
        held = sum(row["held"] for row in rows)
        verdict = "held" if held == len(rows) else f"**missed** in {len(rows) - held} of {len(rows)}"
        cells = [_number(row["measured"]["median"]) for row in rows]
        path, beside = (_without_counts(rows[0][key]) for key in ("path", "yardstick"))
        yield f"| {path} | {beside} | {_number(rows[0]['goal'])} | {' | '.join(cells)} | {verdict} |"


def _without_counts(text: str) -> str:
    """Instructions differ a little in each run, and stand in the words of two rows."""
    if "instructions" in text:
        return f"{text.partition(': ')[0]}: instructions"
    return text.partition(": ")[0] if text.startswith("bare app: ") else text


def _peers(run: dict[str, Any]) -> Iterator[str]:
    if not run["peers"]:
        return
    yield "| us of processor time, a request | the framework alone | the peer adds | ours adds | peer / ours, in all |"
    yield "|---|---:|---:|---:|---:|"
    for name, row in run["peers"].items():
        plain, peer, ours = (row[key]["median"] for key in ("plain_us", "peer_us", "ours_us"))
        cells = [_number(plain), _number(peer - plain), _number(ours - plain), f"{row['peer_to_ours']['median']:.1f}"]
        yield f"| {run['names'][name]} | {' | '.join(cells)} |"


def _goals(kept: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| of | | found | goal | |"
    yield "|---|---|---:|---:|---|"
    for name, found in kept.items():
        for goal in found["goals"]:
            unit = f" {goal['unit']}" if goal["unit"] else ""
            bound = "at least" if goal["at_least"] else "at most"
            verdict = "met" if goal["met"] else "**missed**"
            found_, wanted = f"{_number(goal['found'])}{unit}", f"{bound} {_number(goal['goal'])}{unit}"
            yield f"| {name} | {goal['name']} | {found_} | {wanted} | {verdict} |"


def _number(value: float) -> str:
    """Three digits are what such figures are worth."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= _WHOLE else f"{rounded:g}"


if __name__ == "__main__":
    main()
