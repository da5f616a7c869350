"""Whether a user may enter."""

from __future__ import annotations

from typing import get_args

import pytest

from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.policy import Verdict, is_active, is_settled, judge, token_mark
from authcache_middleware.users.record import NO_REVOCATIONS, Record, Revocations


def claims(*, issued_at=1000.0, token_id="one", session_id=None) -> Claims:
    return Claims("42", None, 2000.0, issued_at, token_id, session_id, (), {})


def record(user, revocations=NO_REVOCATIONS) -> Record:
    return Record(None, "42", user, revocations, 0, 0, 0)


@pytest.mark.parametrize(
    ("user", "active"),
    [
        ({}, True),
        ({"id": 42, "name": "Ann"}, True),
        ({"is_active": True}, True),
        ({"is_active": 1}, True),
        ({"is_active": False}, False),
        ({"is_active": 0}, False),
        ({"is_active": 2}, False),
        ({"is_active": None}, False),
        ({"is_active": "1"}, False),
        ({"is_active": "true"}, False),
        ({"is_active": 1.0}, False),
        ({"active": True}, True),
        ({"active": False}, False),
        ({"enabled": 1}, True),
        ({"enabled": "yes"}, False),
        ({"disabled": False}, True),
        ({"disabled": 0}, True),
        ({"disabled": True}, False),
        ({"disabled": None}, False),
        ({"disabled": ""}, False),
        ({"deleted_at": None}, True),
        ({"deleted_at": ""}, True),
        ({"deleted_at": "2026-11-23T09:00:00"}, False),
        ({"deleted_at": 1_700_000_000}, False),
        ({"status": "active"}, True),
        ({"status": "connected"}, True),
        ({"status": "Active"}, True),
        ({"status": "disconnected"}, False),
        ({"status": "inactive"}, False),
        ({"status": " active"}, False),
        ({"status": None}, False),
        ({"status": 1}, False),
        ({"status": b"active"}, False),
        ({"status": "active", "is_active": False}, False),
        ({"status": "active", "is_active": True, "deleted_at": None, "disabled": 0}, True),
        ({"status": "active", "deleted_at": "2026-01-01"}, False),
    ],
)
def test_the_default_rule(user, active) -> None:
    assert is_active(user) is active


@pytest.mark.parametrize(
    ("user", "revocations", "bearer", "verdict"),
    [
        ({}, NO_REVOCATIONS, claims(), "active"),
        (None, NO_REVOCATIONS, claims(), "unknown"),
        ({"status": "left"}, NO_REVOCATIONS, claims(), "inactive"),
        ({}, Revocations(999), claims(), "active"),
        ({}, Revocations(1000), claims(), "revoked"),
        ({}, Revocations(1000), claims(issued_at=1000.5), "active"),
        ({}, Revocations(1001), claims(), "revoked"),
        ({}, Revocations(1), claims(issued_at=None), "revoked"),
        (None, Revocations(1001), claims(), "revoked"),
        ({}, Revocations(None, {"t:one": 1}), claims(), "revoked"),
        ({}, Revocations(None, {"t:two": 1}), claims(), "active"),
        ({}, Revocations(None, {"i:1000": 1}), claims(), "active"),
        ({}, Revocations(None, {"i:1000": 1}), claims(token_id=None), "revoked"),
        ({}, Revocations(None, {"i:1000.5": 1}), claims(token_id=None, issued_at=1000.5), "revoked"),
        ({}, Revocations(None, {"i:1000": 1}), claims(token_id=None, issued_at=1001), "active"),
        ({}, Revocations(None, {"s:here": 1}), claims(session_id="here"), "revoked"),
        ({}, Revocations(None, {"s:here": 1}), claims(session_id="there"), "active"),
        ({}, Revocations(None, {"s:here": 1}), claims(), "active"),
        ({}, Revocations(None, {"t:None": 1}), claims(token_id=None, issued_at=None), "active"),
    ],
)
def test_the_verdict(user, revocations, bearer, verdict) -> None:
    assert judge(record(user, revocations), bearer, is_active) == verdict


SESSIONS = Revocations(None, {}, {"s:here": 100, "t:one": 100})


@pytest.mark.parametrize(
    ("user", "revocations", "bearer", "verdict"),
    [
        ({}, SESSIONS, claims(session_id="here"), "active"),
        ({}, SESSIONS, claims(session_id="there"), "session"),
        ({}, SESSIONS, claims(), "active"),
        ({}, SESSIONS, claims(session_id="one"), "session"),
        ({}, SESSIONS, claims(token_id="here"), "session"),
        ({}, SESSIONS, claims(token_id=None), "session"),
        ({}, NO_REVOCATIONS, claims(), "session"),
        ({}, Revocations(None, {}, {"s:here": 50}), claims(session_id="here"), "session"),
        ({}, Revocations(None, {}, {"s:here": 51}), claims(session_id="here"), "active"),
        ({}, Revocations(None, {}, None), claims(), "active"),
        ({}, Revocations(None, {"t:one": 1}, {"t:one": 100}), claims(), "revoked"),
        (None, NO_REVOCATIONS, claims(), "unknown"),
        ({"active": False}, NO_REVOCATIONS, claims(), "inactive"),
    ],
)
def test_the_verdict_where_a_session_is_required(user, revocations, bearer, verdict) -> None:
    assert judge(record(user, revocations), bearer, is_active, session_at=50.0) == verdict
    if verdict == "session":
        assert judge(record(user, revocations), bearer, is_active) == "active"


def test_only_that_a_session_is_missing_may_be_news() -> None:
    assert [verdict for verdict in get_args(Verdict) if not is_settled(verdict)] == ["session"]


@pytest.mark.parametrize("answer", [None, 1, "yes", 0, "", object()])
def test_only_true_lets_in(answer) -> None:
    assert judge(record({}), claims(), lambda _user: answer) == "inactive"


@pytest.mark.parametrize(
    ("bearer", "mark"),
    [
        (claims(), "t:one"),
        (claims(token_id=None), "i:1000"),
        (claims(token_id=None, issued_at=1000), "i:1000"),
        (claims(token_id=None, issued_at=1000.25), "i:1000.25"),
        (claims(token_id=None, issued_at=None), None),
    ],
)
def test_the_name_under_which_a_token_is_revoked(bearer, mark) -> None:
    assert token_mark(bearer) == mark
