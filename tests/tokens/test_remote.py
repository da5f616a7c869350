"""What is held of a provider's keys: ends of fetches in any order, without a provider and without time."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from provider import jwk_of, trusting

from authcache_middleware import JWKS
from authcache_middleware.reporter import Reporter
from authcache_middleware.testing import ManualClock
from authcache_middleware.tokens.jwk_set import JWKSet, read_jwk_set
from authcache_middleware.tokens.remote import RemoteKeys

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("old", "new")}


class NoRuntime:
    """For fetches that are ended by hand."""

    @staticmethod
    def cell():
        return SimpleNamespace(put=lambda _: None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(clock) -> RemoteKeys:
    made = RemoteKeys(JWKS("https://id.example/jwks", ssl_context=trusting()), ["ES256"], now=clock.monotonic)
    made.begin_anew(threading.Lock(), Reporter())
    return made


def published(keys: RemoteKeys, name: str) -> JWKSet:
    return read_jwk_set(json.dumps({"keys": [jwk_of(KEYS[name], name)]}).encode(), keys.allowed)


def names(keys: RemoteKeys) -> list[str]:
    held = keys.current()
    return [name for name in KEYS if held is not None and held.names("ES256", name)]


def begun(keys: RemoteKeys):
    seat = keys.board(NoRuntime, keys.begun)
    assert seat.leads
    return seat.flight


def test_whoever_comes_joins_the_fetch_under_way(keys) -> None:
    flight = begun(keys)
    assert keys.board(NoRuntime, keys.begun) == (flight, False)
    keys.land(flight, published(keys, "new"), None)
    assert names(keys) == ["new"]


def test_what_comes_when_nobody_waits_any_more_is_good_all_the_same(keys) -> None:
    """On the blocking face a name that takes long to be resolved must not keep the keys away for ever."""
    flight = begun(keys)
    keys.land(flight, None, "it did not end")
    assert names(keys) == []
    keys.land(flight, published(keys, "new"), None)
    assert (names(keys), flight.is_good) == (["new"], True)


def test_what_comes_after_newer_keys_does_not_replace_them(keys, clock) -> None:
    lost = begun(keys)
    clock.advance(60.0)
    flight = begun(keys)
    assert lost.is_over
    keys.land(flight, published(keys, "new"), None)
    keys.land(lost, published(keys, "old"), None)
    assert names(keys) == ["new"]


def test_a_fetch_that_was_lost_is_not_waited_for(keys, clock) -> None:
    begun(keys)
    clock.advance(60.0)
    assert keys.board(NoRuntime, keys.begun).leads


def test_a_second_failure_of_one_fetch_changes_nothing(keys, clock) -> None:
    flight = begun(keys)
    keys.land(flight, published(keys, "new"), None)
    keys.land(flight, None, "it was interrupted")
    assert names(keys) == ["new"]
    assert keys.refusal() is None
    clock.advance(30.0)
    assert keys.settled() is keys.current()


def test_a_child_keeps_the_keys_and_forgets_what_was_under_way(keys, clock) -> None:
    keys.land(begun(keys), published(keys, "old"), None)
    clock.advance(400.0)
    assert keys.settled() is None
    inherited = keys.board_if_due(NoRuntime)
    assert inherited is not None
    assert keys.settled() is not None
    keys.begin_anew(threading.Lock(), Reporter())
    assert names(keys) == ["old"]
    assert keys.settled() is None
    assert keys.board_if_due(NoRuntime) is not None
