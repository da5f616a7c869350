"""What is measured, and that no label can hold more than the words it is given."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import authcache_middleware
from authcache_middleware.events import (
    Event,
    FillRefused,
    Hit,
    Introspected,
    Invalidated,
    KeysFetched,
    LinkDown,
    LinkUp,
    Loaded,
    Miss,
    OutageAnswer,
    OutageBegan,
    OutageEnded,
    Refused,
    Stats,
    Unavailable,
    WithoutCredentials,
)
from authcache_middleware.observers.measures import OF_EVENTS, OF_STATS, OTHER, REQUESTS, measured, standing
from authcache_middleware.users.policy import Verdict

ROOT = Path(authcache_middleware.__file__).parent
EVENTS = [
    (Hit("memory"), ("requests", 1, ("memory",))),
    (Hit("redis"), ("requests", 1, ("redis",))),
    (Miss(), ("requests", 1, ("load",))),
    (Loaded(0.25, "miss", "found"), ("load.duration", 0.25, ("miss", "found"))),
    (FillRefused("miss", lease_ended=False), ("fills.refused", 1, ("miss", "invalidated"))),
    (FillRefused("refresh", lease_ended=True), ("fills.refused", 1, ("refresh", "lease_ended"))),
    (LinkUp("127.0.0.1:6379", 0.5), ("link.lag", 0.5, ())),
    (LinkDown("127.0.0.1:6379", "no answer"), ("links.lost", 1, ("no_answer",))),
    (LinkDown("127.0.0.1:6379", "primaries changed"), ("links.lost", 1, ("primaries_changed",))),
    (LinkDown("127.0.0.1:6379", "ResponseError (LOADING)"), ("links.lost", 1, (OTHER,))),
    (OutageBegan(), ("outages", 1, ())),
    (OutageEnded(12.5), ("outage.duration", 12.5, ())),
    (OutageAnswer("load"), ("requests.during_outage", 1, ("load",))),
    (KeysFetched(0.5, "changed", 1), ("keys.fetch.duration", 0.5, ("changed",))),
    (Introspected(0.25, "refused"), ("introspection.duration", 0.25, ("refused",))),
    (Invalidated("logout"), ("invalidations", 1, ("logout",))),
    (Refused(401, "expired"), ("requests.refused", 1, ("401", "expired"))),
    (Refused(418, "user-4711"), ("requests.refused", 1, (OTHER, OTHER))),
    (WithoutCredentials(), ("requests.without_credentials", 1, ())),
    (Unavailable("is_active or user_type"), ("requests.unavailable", 1, ("is_active_or_user_type",))),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS, ids=[repr(event) for event, _ in EVENTS])
def test_what_an_event_adds(event, expected) -> None:
    sample = measured(event)
    assert (sample.measure.name, sample.amount, sample.labels) == expected
    assert sample.measure in OF_EVENTS


def test_every_event_is_measured_and_so_is_every_measure() -> None:
    assert {type(event) for event, _ in EVENTS} == set(get_args(Event))
    assert {name for _, (name, *_) in EVENTS} == {measure.name for measure in OF_EVENTS}


def test_an_event_that_is_not_known_adds_nothing() -> None:
    assert measured(object()) is None


def test_how_things_stand_is_added_over_the_faces() -> None:
    one = Stats(memory_hits=5, redis_hits=3, misses=2, memory_entries=7, token_entries=4, memory_trusted=True)
    two = Stats(memory_hits=1, redis_may_evict=True)
    said = [(sample.measure.name, sample.amount, sample.labels) for sample in standing([one, two])]
    assert said == [
        ("requests", 6, ("memory",)),
        ("requests", 3, ("redis",)),
        ("requests", 2, ("load",)),
        ("memory.entries", 7, ()),
        ("token.entries", 4, ()),
        ("memory.trusted", 1, ()),
        ("redis.may_evict", 1, ()),
    ]
    assert {sample.measure for sample in standing([])} == set(OF_STATS)
    assert set(OF_EVENTS) & set(OF_STATS) == {REQUESTS}


OF_CALLS = {"cli", "testing", "sessions", "sockets.py", "authcache.py", "logout_form.py"}
"""What these refuse is no request with a user's token."""


def reasons(*makers: str) -> set[str]:
    """The first arguments, where they are texts, of all calls of these in the package."""
    found = set()
    for path in ROOT.rglob("*.py"):
        if not {*path.relative_to(ROOT).parts}.isdisjoint(OF_CALLS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
                found |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def test_every_reason_has_its_word() -> None:
    refusals = reasons("InvalidTokenError", "InvalidRequestError") | (set(get_args(Verdict)) - {"active"})
    outages = reasons("UnavailableError", "Failed") - {"the primary has it, too few replicas have confirmed it"}
    assert len(refusals) >= 15
    assert len(outages) >= 6
    for event in [*(Refused(401, reason) for reason in refusals), *map(Unavailable, outages)]:
        assert OTHER not in measured(event).labels, event
