"""What authentication costs over HTTP: real servers with one worker, a real Redis, requests on kept-alive connections.

To saturation with wrk, and at fixed rates with a generator of its own that counts latency from the scheduled send.
The servers run side by side and take turns, round after round; ratios are taken within a round. "memory off" asks Redis
for every request. What is not installed is skipped by name. The exit status is 1 where requests were refused.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import redis
from http_apps import AUDIENCE, ISSUER, SECRET
from http_generator import Outcome, Plan
from http_servers import SERVERS, Kind, Meter, Served, Users, wrk
from http_tables import APPS, CONNECTIONS, Load, goals, tables
from peers_envs import ENVIRONMENTS, NotInstalledError, default_place, python_of
from reported import Report
from rich.console import Console
from rich.progress import Progress

from authcache_middleware.testing import EmbeddedServer, issue_token

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent
_SILENT = ("bare", "least", "memory")  # these send nothing to Redis once they are warm
_WARM_S = 60.0
_USERS = APPS[-1]
_LEAST = "least"  # to saturation alone: it is there for its share of the bare app's requests/s
_ASGI_ALONE = (_LEAST, _USERS)
_QUICK_APPS, _QUICK_USERS, _QUICK_S = ("bare", "memory"), 4, 0.25


@dataclass(frozen=True, slots=True)
class _Wanted:
    rounds: int
    seconds: float
    rates: tuple[float, ...]
    tokens: Sequence[str]
    apps: tuple[str, ...] = APPS
    users: Users | None = None
    user_tokens: Sequence[str] = ()

    def tokens_of(self, app: str) -> Sequence[str]:
        """Those that the application lets in."""
        return self.user_tokens if app == _USERS else self.tokens

    def apps_of(self, kind: Kind) -> list[str]:
        """What this server can serve."""
        return [app for app in self.apps if app not in _ASGI_ALONE or kind.protocol == "asgi"]

    saturate: bool = True


@click.command(help=__doc__)
@click.option("--server", type=click.Choice([kind.name for kind in SERVERS]), multiple=True, help="Only this one.")
@click.option("--app", "apps", type=click.Choice(APPS), multiple=True, help="Only this; may be repeated.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.2, 600), default=3.0, show_default=True, help="Of each measurement.")
@click.option(
    "--rate",
    type=click.FloatRange(1),
    multiple=True,
    default=(200, 800, 1600),
    show_default=True,
    help="Requests a second of the open loop; may be repeated.",
)
@click.option("--users", type=click.IntRange(1, 5000), default=1000, show_default=True, help="Each with one token.")
@click.option(
    "--envs",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_place,
    help="Where the environment of fastapi-users is kept, as for peers.py. [default: below the user's cache]",
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write everything there.")
@click.option("--quick", is_flag=True, help="Bare and ours on one server, so briefly that figures mean nothing.")
def main(
    *,
    server: tuple[str, ...],
    apps: tuple[str, ...],
    rounds: int,
    seconds: float,
    rate: tuple[float, ...],
    users: int,
    envs: Path,
    out: Path | None,
    quick: bool,
) -> None:
    """Starts a Valkey and servers of its own; ends by itself."""
    report = Report("http")
    kinds = [kind for kind in SERVERS if kind.name in (server or ("uvicorn",) if quick else server or _names())]
    for kind in [kind for kind in kinds if not kind.is_installed]:
        report.skipped[kind.name] = "not installed"
    if wrk() is None:
        report.skipped["saturation"] = "wrk is not installed"
    chosen = tuple(app for app in APPS if not apps or app in apps)
    wanted = _Wanted(rounds, seconds, rate, _tokens(users), apps=chosen, saturate=wrk() is not None)
    if quick:
        report.skipped["saturation"] = "a trial"
        wanted = _Wanted(1, _QUICK_S, rate[:1], _tokens(_QUICK_USERS), apps=_QUICK_APPS, saturate=False)
    loads: list[Load] = []
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer() as store,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        if _USERS in wanted.apps and any(kind.protocol == "asgi" for kind in kinds):
            try:
                wanted = _with_users(wanted, envs, Path(directory) / "users.db")
            except NotInstalledError as exc:
                report.skipped[_USERS] = f"cannot be installed: {exc}"
                wanted = replace(wanted, apps=tuple(app for app in wanted.apps if app != _USERS))
        for kind in (kind for kind in kinds if kind.is_installed):
            task = progress.add_task(kind.name, total=wanted.rounds * len(wanted.apps_of(kind)))
            loads += _measured(kind, store.url, wanted, partial(progress.advance, task))
    report.goals += goals(loads)
    report.show(list(tables(loads)))
    report.write(out, seconds_each=wanted.seconds, users=len(wanted.tokens), loads=[_written(load) for load in loads])
    if bad := sum(load.bad for load in loads):
        raise SystemExit(f"{bad:,} requests were not answered with 200")


def _names() -> list[str]:
    return [kind.name for kind in SERVERS]


def _tokens(users: int) -> list[str]:
    return [
        issue_token(
            SECRET, subject=str(user), issuer=ISSUER, audience=AUDIENCE, lifetime=24 * 3600, scope="orders:read"
        )
        for user in range(users)
    ]


def _with_users(wanted: _Wanted, envs: Path, database: Path) -> _Wanted:
    """With fastapi-users too. Raises ``NotInstalledError``."""
    environment = next(each for each in ENVIRONMENTS if each.name == "fastapi-users")
    python = python_of(environment, envs)
    count = len(wanted.tokens)
    subprocess.run(  # noqa: S603 - our own words
        [str(python), "-m", "peers_apps.fastapi_users_served", str(database), str(count)],
        cwd=_HERE,
        env={**os.environ, "PYTHONPATH": str(_HERE.parent)},
        check=True,
    )
    tokens = [
        issue_token(SECRET, subject=str(UUID(int=user + 1)), audience=["fastapi-users:auth"], lifetime=24 * 3600)
        for user in range(count)
    ]
    return replace(wanted, users=Users(python, database), user_tokens=tokens)


def _measured(kind: Kind, url: str, wanted: _Wanted, step: Callable[[], Any]) -> Iterator[Load]:
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(url))
        apps = wanted.apps_of(kind)
        users = {_USERS: wanted.users}
        served = {app: stack.enter_context(Served(kind, app, url, users.get(app))) for app in apps}
        meters = {}
        for app in apps:
            served[app].wait_until_it_answers()
            meters[app] = Meter(served[app], client)
            _warm(served[app], meters[app], wanted.tokens_of(app), is_silent=app in _SILENT)
        for number in range(wanted.rounds):
            for app in random.sample(apps, len(apps)):  # nobody always follows the same
                one = _Turn(kind.name, app, number, served[app].port, meters[app])
                if wanted.saturate:
                    yield one.saturated(wanted)
                for rate in wanted.rates if app != _LEAST else ():
                    yield one.at(rate, wanted)
                step()


def _warm(served: Served, meter: Meter, tokens: Sequence[str], *, is_silent: bool) -> None:
    """Everybody becomes known to Redis, and then to memory, which is trusted soon after the first request."""
    end = time.monotonic() + _WARM_S
    while True:
        statuses = served.ask_all(tokens)
        if statuses != {200}:
            raise click.ClickException(f"warming up was answered with {sorted(statuses)}")
        if not meter.since().commands or not is_silent:
            return
        if time.monotonic() > end:
            raise click.ClickException("memory does not answer")


@dataclass(frozen=True, slots=True)
class _Turn:
    server: str
    app: str
    round: int
    port: int
    meter: Meter

    def saturated(self, wanted: _Wanted) -> Load:
        self.meter.since()
        seconds = max(1, round(wanted.seconds))  # it takes whole ones
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as tokens:
            tokens.write("\n".join(wanted.tokens_of(self.app)))
            tokens.flush()
            script = ["-s", str(_HERE / "http_wrk.lua"), f"http://127.0.0.1:{self.port}/", "--", tokens.name]
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *script]
            done = subprocess.run(  # noqa: S603 - our own words
                command, capture_output=True, text=True, timeout=seconds + 60, check=True
            )
        found = json.loads(done.stdout.splitlines()[-1])
        per_second = found["requests"] / found["microseconds"] * 1e6
        bad = found["bad_statuses"] + found["broken"]
        return self._load(None, answered=found["requests"], per_second=per_second, bad=bad)

    def at(self, rate: float, wanted: _Wanted) -> Load:
        self.meter.since()
        plan = Plan(self.port, list(wanted.tokens_of(self.app)), rate, wanted.seconds, CONNECTIONS)
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, str(_HERE / "http_generator.py")],
            input=json.dumps(asdict(plan)),
            capture_output=True,
            text=True,
            timeout=plan.seconds + 60,
            check=True,
        )
        found = Outcome(**json.loads(done.stdout))
        bad = found.answered - found.statuses.get("200", 0)
        return self._load(rate, answered=found.answered, per_second=found.rate, bad=bad, outcome=found)

    def _load(
        self, rate: float | None, *, answered: int, per_second: float, bad: int, outcome: Outcome | None = None
    ) -> Load:
        costs = self.meter.since()
        return Load(self.server, self.app, self.round, rate, answered, per_second, costs, bad, outcome)


def _written(load: Load) -> dict[str, Any]:
    return {**asdict(load), "cpu_us": load.cpu_us}


if __name__ == "__main__":
    main()
