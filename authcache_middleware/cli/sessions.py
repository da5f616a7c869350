"""``authcache sessions``: the logins of a user that are on record."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from authcache_middleware.cli.refusals import printable, since
from authcache_middleware.users.session import Session

__all__ = ["show_sessions"]

_COLUMNS = ("sid", "since", "until", "address", "label", "user agent")


def show_sessions(sessions: Sequence[Session], *, as_json: bool) -> None:
    """One JSON object a line, or a table; what was told of a session is shown without what a terminal would obey."""
    if as_json:
        for session in sessions:
            click.echo(json.dumps(asdict(session)))
        return
    console = Console(highlight=False)
    if not sessions:
        console.print("no session on record")
        return
    now = time.time()
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for session in sessions:
        told = (session.address, session.label, session.user_agent)
        cells = (session.sid, _moment(session.created_at, now), _moment(session.expires_at, now), *told)
        table.add_row(*(Text(printable(cell or "")) for cell in cells))
    console.print(table)


def _moment(seconds: float, now: float) -> str:
    try:
        return since(seconds, now)
    except (OverflowError, ValueError, OSError):  # no date that people have
        return "?"
