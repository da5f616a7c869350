"""The order of the examination, and how its outcome is printed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from authcache_middleware.cli.doctor.findings import FINDINGS, Finding, Unknown, found
from authcache_middleware.cli.doctor.hearing import hearing
from authcache_middleware.cli.doctor.host import Host, clock, eviction, greeting, kind
from authcache_middleware.cli.doctor.line import Line, NoAnswerError, OddAnswerError, Server
from authcache_middleware.cli.doctor.rights import rights
from authcache_middleware.cli.doctor.values import values
from authcache_middleware.runtime import Clock, SystemClock
from authcache_middleware.users.keys import UserKeys

__all__ = ["Asked", "Examined", "examine", "show"]

_SECONDS: Final = 3.5  # the last question may take one second more
_LONGEST: Final = 4.8
FINE, FOUND, NO_ANSWER = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where to look, and what the services there are set to."""

    url: str = field(repr=False)
    keys: UserKeys
    leeway: float
    of_a_cluster: bool = False
    """It is one of several primaries, and its own keys are looked at."""
    features: Collection[str] = ()
    """Of ``FEATURES``: what the services use that needs further rights."""
    events: str | None = None
    """The key of the services' event stream."""
    clock: Clock = field(default_factory=SystemClock)


@dataclass(slots=True)
class Examined:
    """What was seen of one server."""

    server: str
    host: Host = field(default_factory=Host)
    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    seconds: float = 0.0
    no_answer: str | None = None
    """Why the server could not be asked, or not to the end."""

    @property
    def status(self) -> int:
        """0 fine, 1 something was found, 2 it could not be asked."""
        if self.no_answer is not None:
            return NO_ANSWER
        return FOUND if self.findings else FINE

    def add(self, *outcomes: Finding | Unknown | None) -> None:
        """Note what a look has brought."""
        for outcome in outcomes:
            if isinstance(outcome, Finding):
                self.findings.append(outcome)
            elif outcome is not None:
                self.unknown.append(outcome)


def examine(asked: Asked, *, within: float = _LONGEST) -> Examined:
    """Looks at the server, so many seconds at most; changes nothing there but keys that are nobody's.

    These have a control character in their names and end after a second.
    """
    began = time.monotonic()
    server = Server(asked.url, seconds=_SECONDS)
    examined, failed = Examined(server.name), list[Exception]()

    def look() -> None:
        try:
            with server.line() as line:
                _look(server, line, asked, examined)
        except NoAnswerError as exc:
            examined.no_answer = exc.reason
        except OddAnswerError as exc:
            examined.add(found("odd-answer", command=exc.command))
        except Exception as exc:  # noqa: BLE001 - it is raised again below
            failed.append(exc)

    # In a thread, since nothing else can end the resolving of a name.
    thread = threading.Thread(target=look, name="authcache-doctor", daemon=True)
    thread.start()
    thread.join(within)
    if failed:
        raise failed[0]
    seconds = time.monotonic() - began
    if thread.is_alive():
        seen, unknown = list(examined.findings), list(examined.unknown)
        return Examined(server.name, examined.host, seen, unknown, seconds, "no answer in time")
    examined.seconds = seconds
    return examined


def _look(server: Server, line: Line, asked: Asked, examined: Examined) -> None:
    examined.host, findings = greeting(server, line)
    examined.add(*findings, *kind(examined.host, of_a_cluster=asked.of_a_cluster))
    names = {finding.name for finding in examined.findings}
    if "sentinel" in names:
        return
    examined.add(eviction(line), clock(line, asked.clock, leeway=asked.leeway))
    is_replica = "replica" in names
    examined.add(
        *rights(line, asked.keys, user=server.user, is_replica=is_replica, features=asked.features, events=asked.events)
    )
    if not is_replica:  # which would refuse the key that is to be heard of
        examined.add(hearing(server, line, prefix=asked.keys.prefix))
    examined.add(*values(line, asked.keys))


def show(examined: Examined, *, as_json: bool) -> None:
    """One JSON object, or lines for people."""
    if as_json:
        click.echo(json.dumps({**asdict(examined), "status": examined.status}))
        return
    console = Console(highlight=False, soft_wrap=True)
    host = examined.host
    console.print(Text(f"{examined.server}: {host.server or 'a server'} {host.version or 'of unknown version'}"))
    for finding in examined.findings:
        console.print(Text.assemble((finding.name, "bold red"), f": {finding.what}\n  -> {finding.do}"))
    for unknown in examined.unknown:
        console.print(Text.assemble(("not looked at", "yellow"), f": {unknown.name} ({unknown.why})"))
    if examined.no_answer is not None:
        console.print(Text.assemble(("no answer", "bold red"), f": {examined.no_answer}"))
    elif not examined.findings:
        count = len(FINDINGS) - len(examined.unknown)
        console.print(Text.assemble(("fine", "bold green"), f": none of {count} findings, {examined.seconds:.1f} s"))
