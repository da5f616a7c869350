"""Fetched keys in a forked child, and among greenlets: each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORK = """
import os, threading, time, warnings
warnings.simplefilter("ignore")
from faces import headers, settings, wait_until
from provider import Provider, trusting
from authcache_middleware import JWKS, AuthCache
from authcache_middleware.testing import MemoryStore

provider = Provider().__enter__()
provider.rotate("one")
keys = JWKS(provider.url, ssl_context=trusting(), timeout=20.0)
auth = AuthCache(MemoryStore(), load_user=lambda _: {"id": 1},
                 **settings(keys=keys, algorithms=["ES256"], issuer=provider.origin))


def in_a_child(story):
    child = os.fork()
    if child == 0:
        try:
            story()
            os._exit(0)
        except BaseException as exc:
            print(repr(exc), flush=True)
            os._exit(1)
    wait_until(lambda: os.waitpid(child, os.WNOHANG) == (child, 0), guard=30)


def cold():
    auth.authenticate(headers(provider.token("one")))
    assert auth.stats().key_fetches == 1


def warm():
    auth.authenticate(headers(provider.token("one")))
    assert auth.stats().key_fetches == 0, "the parent's keys are good"
    provider.keys["two"] = two
    auth.authenticate(headers(provider.token("two")))
    assert auth.stats().key_fetches == 1


in_a_child(cold)
go = threading.Event()
provider.answer = provider.publish_once(go)
caller = threading.Thread(target=auth.authenticate, args=(headers(provider.token("one")),))
caller.start()
wait_until(lambda: provider.fetches == 2)
provider.answer = None
with auth._story._tokens._remote[0]._mutex:
    in_a_child(cold)  # with the lock held, and a fetch under way that will not end there
go.set()
caller.join(30)
provider.token("two")
provider.rotate("one", "two")
two = provider.keys["two"]
with auth._story._tokens._remote[0]._mutex:
    in_a_child(warm)
assert auth.stats().key_fetches == 1
assert auth.authenticate(headers(provider.token("two"))).user.id == 1
print("fine")
"""

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, time
from faces import headers, settings
from provider import Provider, hanging, trusting
from authcache_middleware import JWKS, AuthCache, UnavailableError
from authcache_middleware.testing import MemoryStore

ticks = []


def tick():
    while True:
        ticks.append(None)
        gevent.sleep(0.01)


gevent.spawn(tick)
with Provider(tls=False) as provider:
    provider.rotate("one")
    keys = JWKS(provider.url, timeout=0.5)
    auth = AuthCache(MemoryStore(), load_user=lambda _: {"id": 1},
                     **settings(keys=keys, algorithms=["ES256"], issuer=provider.origin))
    request = headers(provider.token("one"))
    waiting = [gevent.spawn(auth.authenticate, request) for _ in range(20)]
    assert [each.get(timeout=30).user.id for each in waiting] == [1] * 20
    assert provider.fetches == 1
    provider.answer, before = hanging(provider), len(ticks)
    try:
        auth.authenticate(headers(provider.token("two")))
        raise AssertionError("a key that nobody has published")
    except UnavailableError:
        assert len(ticks) - before >= 5, "the others went on meanwhile"
    assert auth.authenticate(request).user.id == 1
print("fine")
"""


def run(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "fine"), ran.stdout + ran.stderr


def test_a_child_has_its_parents_keys_and_locks_of_its_own() -> None:
    run(FORK)


@pytest.mark.slow
def test_greenlets_wait_together_and_let_others_go_on() -> None:
    run(GREENLETS)
