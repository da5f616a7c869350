"""The budgets: what each path may add to the bare application, as a ratio to a yardstick of the same round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measured import Spread, ratios, spread
from peers_counted import LOADER_S

__all__ = ["Budget", "Found", "counted", "instructed", "timed"]

Costs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """One row: ``of`` makes the ratio out of the costs that ``names`` lists."""

    path: str
    yardstick: str
    goal: float
    names: tuple[str, ...]
    of: Callable[[Costs], float]


@dataclass(frozen=True, slots=True)
class Found:
    """A budget and what came of it."""

    path: str
    yardstick: str
    measured: Spread
    goal: float
    form: str = ".3f"

    @property
    def held(self) -> bool:
        """Whether the median is within the goal."""
        return self.measured.median <= self.goal

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return {
            "path": self.path,
            "yardstick": self.yardstick,
            "goal": self.goal,
            "held": self.held,
            "measured": self.measured.as_json(),
        }


def _adds(costs: Costs, name: str, bare: str = "bare") -> float:
    return costs[name] - costs[bare]


_BUDGETS = (
    Budget(
        "known token, user in memory",
        "what Starlette's routing adds",
        0.25,
        ("memory", "bare", "Starlette, routing"),
        lambda cost: _adds(cost, "memory") / _adds(cost, "Starlette, routing"),
    ),
    Budget(
        "known token, user in memory",
        "PyJWT HS256 decode + redis-py GET",
        1 / 60,
        ("memory", "bare", "jwt.decode, HS256", "GET"),
        lambda cost: _adds(cost, "memory") / (cost["jwt.decode, HS256"] + cost["GET"]),
    ),
    Budget(
        "known token, user in Redis, 64 at once",
        "64 redis-py GETs at once",
        0.2,
        ("redis, 64 at once", "bare, 64 at once", "64 GETs at once"),
        lambda cost: _adds(cost, "redis, 64 at once", "bare, 64 at once") / cost["64 GETs at once"],
    ),
    Budget(
        "known token, user in Redis, one at a time",
        "redis-py GET, asyncio",
        1.15,
        ("redis", "bare", "GET"),
        lambda cost: _adds(cost, "redis") / cost["GET"],
    ),
    Budget(
        "known token, user in Redis, one at a time",
        "redis-py GET, blocking",
        1.25,
        ("redis, blocking", "bare WSGI", "GET, blocking"),
        lambda cost: _adds(cost, "redis, blocking", "bare WSGI") / cost["GET, blocking"],
    ),
    Budget(
        "new token HS256, user in memory",
        "jwt.decode",
        0.35,
        ("new token, HS256", "bare", "jwt.decode, HS256"),
        lambda cost: _adds(cost, "new token, HS256") / cost["jwt.decode, HS256"],
    ),
    Budget(
        "new token RS256, user in memory",
        "jwt.decode",
        0.5,
        ("new token, RS256", "bare", "jwt.decode, RS256"),
        lambda cost: _adds(cost, "new token, RS256") / cost["jwt.decode, RS256"],
    ),
    Budget(
        "cold user, beside the loader",
        "5 redis-py GETs, asyncio",
        1.0,
        ("cold", "bare", "loader", "GET"),
        lambda cost: (_adds(cost, "cold") - cost["loader"]) / (5 * cost["GET"]),
    ),
    Budget(
        "refused: no token", "bare app", 1.2, ("no token", "bare"), lambda cost: _adds(cost, "no token") / cost["bare"]
    ),
    Budget(
        "refused: garbage", "bare app", 4.0, ("garbage", "bare"), lambda cost: _adds(cost, "garbage") / cost["bare"]
    ),
    Budget(
        "refused: bad signature",
        "a new good token",
        1.3,
        ("bad signature", "bare", "new token, HS256"),
        lambda cost: _adds(cost, "bad signature") / _adds(cost, "new token, HS256"),
    ),
    Budget(
        "through FastAPI, current user",
        "FastAPI without auth",
        1.4,
        ("FastAPI + ours", "FastAPI"),
        lambda cost: cost["FastAPI + ours"] / cost["FastAPI"],
    ),
    Budget(
        "through Flask, current user",
        "Flask without auth",
        1.1,
        ("Flask + ours", "Flask"),
        lambda cost: cost["Flask + ours"] / cost["Flask"],
    ),
)


def timed(costs: Mapping[str, Sequence[float]]) -> list[Found]:
    """The budgets whose costs were all measured."""
    return [
        Found(budget.path, budget.yardstick, spread(found), budget.goal)
        for budget in _BUDGETS
        if set(budget.names) <= set(costs) and (found := ratios(costs, budget.of, budget.names))
    ]


def instructed(counts: Mapping[str, float]) -> list[Found]:
    """The budget in instructions, which do not depend on what else the machine does."""
    bare = counts["bare"]
    return [
        Found(
            f"known token, user in memory: {counts['memory'] - bare:,.0f} instructions",
            f"bare app: {bare:,.0f}",
            _one(counts["memory"] / bare - 1),
            1.0,
        )
    ]


def counted(storms: Sequence[Mapping[str, float]], room: Mapping[str, float] | None) -> list[Found]:
    """Budgets that are numbers of things, not ratios of costs."""
    found: list[Found] = []
    if storms:
        path = "1,000 requests at once for one cold user"
        for name, goal in (("loads", 1), ("gets", 1), ("connections", 2)):
            found.append(Found(path, name, spread([storm[name] for storm in storms]), goal, ".0f"))
        p99 = spread([storm["p99_ms"] for storm in storms])
        found.append(Found(path, "p99, ms; loader + 60 ms", p99, LOADER_S * 1000 + 60, ".0f"))
    if room is not None:
        found += [
            Found(
                f"{room['users']:,} users in memory", "bytes a user of 8 fields", _one(room["user_bytes"]), 800, ".0f"
            ),
            Found(f"{room['tokens']:,} tokens", "bytes beside the token's own", _one(room["token_bytes"]), 320, ".0f"),
            Found("both in memory", "ms more for a full collection", _one(room["collection_ms"]), 5.0, ".1f"),
        ]
    return found


def _one(value: float) -> Spread:
    return spread([value])
