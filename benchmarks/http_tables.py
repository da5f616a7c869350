"""What is said about requests over HTTP: tables, and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from http_apps import NAMES
from http_generator import Outcome
from http_servers import SERVERS, Costs
from reported import Goal, Spread, spread, table
from rich.table import Table

__all__ = ["APPS", "CONNECTIONS", "Load", "goals", "tables"]

CONNECTIONS = 64
APPS = ("bare", "least", "memory", "redis", "peer", "users")
_OF_BARE, _OF_PEER, _OF_USERS = 0.93, 4.0, 20.0
_TOO_BUSY = 0.8
_EACH = "CPU, commands to Redis and its CPU are those of one request, medians"
_LATENCIES = ("p50_ms", "p99_ms", "p999_ms")


@dataclass(frozen=True, slots=True)
class Load:
    """One app of one server in one round, at one rate or to saturation."""

    server: str
    app: str
    round: int
    rate: float | None
    """Wanted; ``None`` is to saturation."""
    answered: int
    per_second: float
    costs: Costs
    bad: int
    """Answers other than 200, and broken connections."""
    outcome: Outcome | None = None

    @property
    def cpu_us(self) -> float | None:
        """The server's processor time for a request."""
        return None if self.costs.cpu_s is None or not self.answered else self.costs.cpu_s / self.answered * 1e6


def _by(loads: Sequence[Load], server: str, app: str, rate: float | None) -> list[Load]:
    return [load for load in loads if (load.server, load.app, load.rate) == (server, app, rate)]


def _protocol(server: str) -> str:
    return next(kind.protocol for kind in SERVERS if kind.name == server)


def _share(loads: Sequence[Load], server: str, app: str, of: str) -> Spread | None:
    """Requests a second of one as a share of another's, in each round."""
    others = _by(loads, server, of, None)
    pairs = list(zip(_by(loads, server, app, None), others, strict=True)) if others else []
    return spread([one.per_second / other.per_second for one, other in pairs]) if pairs else None


def _cpu_share(loads: Sequence[Load], server: str, app: str) -> Spread | None:
    """The bare app's processor time as a share of this one's: what the share of requests/s is on a quiet machine."""
    pairs = zip(_by(loads, server, app, None), _by(loads, server, "bare", None), strict=True)
    shares = [bare.cpu_us / one.cpu_us for one, bare in pairs if one.cpu_us and bare.cpu_us]
    return spread(shares) if shares else None


def goals(loads: Sequence[Load]) -> list[Goal]:
    """Of a memory hit, for each ASGI server."""
    found = []
    for server in dict.fromkeys(load.server for load in loads if _protocol(load.server) == "asgi"):
        for of, goal in (("bare", _OF_BARE), ("peer", _OF_PEER), ("users", _OF_USERS)):
            share = _share(loads, server, "memory", of)
            if share is not None:
                name = f"{server}: requests/s of a memory hit, as a multiple of: {NAMES['asgi'][of]}"
                found.append(Goal(name, share.median, goal, at_least=True))
    return found


def tables(loads: Sequence[Load]) -> Iterator[Table]:
    """Two for each server: to saturation, and at fixed rates."""
    for server in dict.fromkeys(load.server for load in loads):
        if _by(loads, server, "bare", None):
            yield _saturation_table(loads, server)
        yield _rate_table(loads, server)


def _saturation_table(loads: Sequence[Load], server: str) -> Table:
    made = table(
        f"{server}, one worker, wrk with {CONNECTIONS} connections", "", "requests/s", "of the bare app", "by CPU",
        "CPU us", "to Redis", "its CPU us", "loads",
    )  # fmt: skip
    made.caption = f"{_EACH}; in brackets the least and the most of the rounds"
    for app in APPS:
        found = _by(loads, server, app, None)
        if not found:
            continue
        shares = _share(loads, server, app, "bare"), _cpu_share(loads, server, app)
        per_second = spread([load.per_second for load in found]).shown()
        of_bare = ["" if share is None else share.shown(".2f") for share in shares]
        made.add_row(NAMES[_protocol(server)][app], per_second, *of_bare, *_cost_cells(found))
    return made


def _rate_table(loads: Sequence[Load], server: str) -> Table:
    made = table(
        f"{server}, open loop", "", "wanted/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us",
        "to Redis", "its CPU us", "loads", "generator",
    )  # fmt: skip
    made.caption = (
        f"latency from the scheduled send; {_EACH};\n"
        "generator: the share of a core it took, and how late it was itself, p99 ms"
    )
    for rate in dict.fromkeys(load.rate for load in loads if load.rate is not None):
        for app in APPS:
            found = _by(loads, server, app, rate)
            outcomes = [load.outcome for load in found if load.outcome is not None]
            if not outcomes:
                continue
            busy = spread([each.busy for each in outcomes]).median
            late = spread([each.late_p99_ms for each in outcomes]).median
            made.add_row(
                NAMES[_protocol(server)][app],
                f"{rate:,.0f}",
                f"{spread([each.rate for each in outcomes]).median:,.0f}",
                *(spread([getattr(each, name) for each in outcomes]).shown(",.1f") for name in _LATENCIES),
                *_cost_cells(found),
                f"{busy:.2f}{'!' if busy > _TOO_BUSY else ''} {late:.1f}",
            )
    return made


def _cost_cells(found: Sequence[Load]) -> list[str]:
    cpu = [load.cpu_us for load in found if load.cpu_us is not None]
    answered = [load for load in found if load.answered]
    return [
        spread(cpu).shown(",.0f") if cpu else "",
        f"{spread([load.costs.commands / load.answered for load in answered]).median:.3f}" if answered else "",
        f"{spread([load.costs.redis_cpu_s / load.answered * 1e6 for load in answered]).median:.1f}" if answered else "",
        str(sum(load.costs.loads for load in found)),
    ]
