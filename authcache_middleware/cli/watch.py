"""``authcache watch``: what happens to users' access, as it happens."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice

import click

from authcache_middleware.cli.refusals import printable
from authcache_middleware.cli.stopping import stopping
from authcache_middleware.event_stream import EventStream, StreamEvent

__all__ = ["watch"]


def watch(url: str, key: str, *, after: str, count: int | None, as_json: bool) -> None:
    """Prints each event, one a line, until SIGINT or SIGTERM or after so many."""
    with stopping() as is_stopped, EventStream(url, key) as stream:
        for event in islice(stream.events(after, until=is_stopped), count):
            click.echo(json.dumps(asdict(event)) if as_json else _line(event))


def _line(event: StreamEvent) -> str:
    told = {"user": event.user_id, "issuer": event.issuer, "sid": event.sid, "id": event.id}
    parts = [f"{name}={value}" for name, value in told.items() if value is not None]
    return printable(f"{_moment(event.at)} {event.type:<11} {' '.join(parts)}").replace("\n", "\\u000a")


def _moment(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    except (OverflowError, ValueError, OSError):  # no date that people have
        return "?"
