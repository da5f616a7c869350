"""``authcache who``: who is online, and how many were seen lately."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from authcache_middleware.cli.refusals import printable
from authcache_middleware.redis.last_seen import LastSeen
from authcache_middleware.runtime import finish

__all__ = ["Seen", "look", "show_seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found."""

    counts: tuple[tuple[float, int], ...]
    """How many users were seen, by seconds until now."""
    online: tuple[str, ...]
    """The ids of those seen within the first of them, the latest first."""


def look(last_seen: LastSeen, windows: Sequence[float], *, limit: int) -> Seen:
    """Counts of each window, and so many names at most of the first; raises ``UnavailableError``."""
    now = time.time()
    counts = tuple((window, finish(last_seen.count(now - window))) for window in windows)
    online = finish(last_seen.since(now - windows[0], limit))
    return Seen(counts, tuple(online))


def show_seen(seen: Seen, *, as_json: bool) -> None:
    """One JSON object, or tables."""
    if as_json:
        counts = [{"within": window, "users": users} for window, users in seen.counts]
        click.echo(json.dumps({"counts": counts, "online": seen.online}))
        return
    console = Console(highlight=False)
    table = Table("seen within", "users", box=None, pad_edge=False)
    for window, users in seen.counts:
        table.add_row(str(timedelta(seconds=window)), f"{users:,}")
    console.print(table)
    if seen.online:
        console.print(Text(f"online: {', '.join(map(printable, seen.online))}"))
