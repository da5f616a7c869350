"""A process that forks, and one whose threads are greenlets: each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMON = """
import os, sys, threading, time
import redis
from faces import headers, settings, token_for, wait_until
from authcache_middleware import AuthCache

url, prefix = sys.argv[1:]
other = redis.Redis.from_url(url)
HEADERS = headers(token_for("1"))
loads = []
"""

FORK = (
    COMMON
    + """
auth = AuthCache(url, load_user=lambda _: {"name": "Ann"}, **settings(prefix=prefix, max_staleness=1.0))


def serves_from_memory():
    return auth.stats().memory_trusted and auth.authenticate(HEADERS) and auth.recall(HEADERS) is not None


def story():
    wait_until(serves_from_memory)
    assert auth.authenticate(HEADERS).user.name == "Ann"
    other.delete(auth.key("1"))
    wait_until(lambda: auth.recall(HEADERS) is None)
    wait_until(serves_from_memory)


auth.authenticate(HEADERS)
story()
hits = auth.stats().memory_hits
lock = auth._story._tokens._tokens._mutex
held, release = threading.Event(), threading.Event()


def hold():
    with lock:
        held.set()
        release.wait(20)


holder = threading.Thread(target=hold)
holder.start()
held.wait(20)
child = os.fork()
if child == 0:
    try:
        stats = auth.stats()
        assert (stats.memory_hits, stats.memory_entries, stats.token_entries, stats.memory_trusted) == (0, 0, 0, False)
        auth.authenticate(HEADERS)
        story()
        auth.close()
        os._exit(0)
    except BaseException as exc:
        print(repr(exc), flush=True)
        os._exit(1)
release.set()
holder.join()
end = time.monotonic() + 30
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
    assert time.monotonic() < end, "the child hangs"
    assert auth.authenticate(HEADERS).user.name == "Ann"
    time.sleep(0.001)
assert os.waitstatus_to_exitcode(ended[1]) == 0
story()
assert auth.stats().memory_hits > hits
auth.close()
print("well")
"""
)

GREENLETS = (
    """
from gevent import monkey
monkey.patch_all()
import gevent
"""
    + COMMON
    + """
ticks = []


def load(user_id):
    loads.append(user_id)
    until = len(ticks) + 10
    wait_until(lambda: len(ticks) >= until)  # while this one and all who wait for it are waiting
    return {"name": user_id}


def tick():
    while True:
        ticks.append(None)
        gevent.sleep(0.01)


patience = {"loader_timeout": 20.0, "store_timeout": 10.0, "connect_timeout": 10.0, "deadline": 60.0}
auth = AuthCache(url, load_user=load, **settings(prefix=prefix, max_staleness=1.0, **patience))
ticker = gevent.spawn(tick)
asking = [gevent.spawn(auth.authenticate, headers(token_for(str(number % 5)))) for number in range(100)]
names = {greenlet.get(timeout=50).user.name for greenlet in asking}
assert names == {"0", "1", "2", "3", "4"}
assert sorted(loads) == sorted(names)
wait_until(lambda: auth.stats().memory_trusted and auth.authenticate(HEADERS) and auth.recall(HEADERS) is not None)
other.delete(auth.key("1"))
wait_until(lambda: auth.recall(HEADERS) is None)
ticker.kill()
auth.close()
print("well")
"""
)

PATCHED_LATE = (
    COMMON
    + """
auth = AuthCache(url, load_user=lambda _: {"name": "Ann"}, **settings(prefix=prefix, max_staleness=1.0))
from gevent import monkey
monkey.patch_all()
import gevent

asking = [gevent.spawn(auth.authenticate, HEADERS) for _ in range(10)]
assert {greenlet.get(timeout=50).user.name for greenlet in asking} == {"Ann"}
wait_until(lambda: auth.stats().memory_trusted and auth.authenticate(HEADERS) and auth.recall(HEADERS) is not None)
auth.close()
print("well")
"""
)


def run(program: str, *arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout.strip().splitlines()[-1:], ended.returncode) == (["well"], 0), ended.stdout + ended.stderr


def test_a_forked_child_begins_anew_and_its_parent_goes_on(redis_url, prefix) -> None:
    """Forked while another thread holds the lock of the remembered tokens, with memory trusted and full."""
    run(FORK, redis_url, prefix)


def test_under_gevent_nothing_blocks_and_the_link_is_a_greenlet(redis_url, prefix) -> None:
    run(GREENLETS, redis_url, prefix)


def test_gevent_may_patch_after_the_constructor(redis_url, prefix) -> None:
    """As gunicorn does in workers that were forked with ``--preload``: the locks of the constructor are real ones."""
    run("import warnings; warnings.simplefilter('ignore')\n" + PATCHED_LATE, redis_url, prefix)
