"""What a request costs where it costs least, counted and not timed: no busy machine changes it, only the code.

The bounds on blocks and instructions are a tenth above what was counted when they were written. Who makes it cheaper
lowers them; who raises one says why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from counted import Counted, app, batching, headers_of, known, receive, scope_of, send, together
from faces import token_for

from authcache_middleware.asgi import AuthCacheMiddleware

REQUESTS = 1000
PROGRAM = Path(__file__).with_name("counted.py")

BLOCKS_OF_A_MEMORY_HIT = 4.4  # while the application runs
BLOCKS_OF_A_BATCHED_HIT = 11.0  # while it waits
INSTRUCTIONS_OF_A_MEMORY_HIT = 1.3  # beside those of the bare application


async def test_a_memory_hit_never_gives_up_its_turn() -> None:
    middleware, headers, auth = await known()
    request = Counted(middleware(scope_of(headers), receive, send))
    await request
    assert request.suspensions == 0
    await auth.aclose()


async def test_requests_that_come_at_once_wait_once_for_one_command() -> None:
    suspensions, _, sent = await together(64)
    assert sent == ["MGET"]
    assert suspensions[0] == 2  # who comes first waits for the others, and for the answer
    assert suspensions[1:] == [1] * 63


async def test_a_lone_request_waits_a_turn_for_others_and_asks() -> None:
    auth, shelf = await batching(["1"])
    middleware, headers = AuthCacheMiddleware(app, auth=auth), headers_of(token_for("1"))
    await middleware(scope_of(headers), receive, send)
    shelf.sent.clear()
    request = Counted(middleware(scope_of(headers), receive, send))
    await request
    assert (request.suspensions, shelf.sent) == (2, ["GET"])
    await auth.aclose()


def test_hits_hold_few_blocks_of_memory_and_leave_none_behind() -> None:
    found = json.loads(run(sys.executable, str(PROGRAM), "blocks").stdout)
    print(found)
    assert found["left behind"] < 50  # one for each request would be 500
    assert found["memory hit"] <= BLOCKS_OF_A_MEMORY_HIT
    assert found["batched hit"] <= BLOCKS_OF_A_BATCHED_HIT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_memory_hit_adds_few_instructions() -> None:
    start = collected("bare", 0)
    bare, ours = ((collected(kind, REQUESTS) - start) / REQUESTS for kind in ("bare", "memory"))
    print(f"bare {bare:,.0f}, a memory hit {ours - bare:,.0f} more: {ours / bare - 1:.3f}")
    assert ours / bare - 1 <= INSTRUCTIONS_OF_A_MEMORY_HIT


def collected(kind: str, count: int) -> int:
    valgrind = "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"
    done = run(*valgrind, sys.executable, str(PROGRAM), "requests", kind, str(count))
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """In a process without coverage, which holds memory of its own and costs instructions."""
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment = {**untraced, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=True)
