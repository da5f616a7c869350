"""What was last read is kept within bounds."""

from __future__ import annotations

import threading

from authcache_middleware.cache.reads import Read, Reads
from authcache_middleware.users.record import NO_REVOCATIONS, Record


def read(packed: bytes = b"bytes") -> Read:
    return Read(packed, Record(None, "1", {}, NO_REVOCATIONS, 0, 1, 2), 2)


def test_the_last_one_is_found_until_it_is_forgotten() -> None:
    reads = Reads(threading.Lock())
    first, second = read(), read(b"others")
    assert reads.find("user:1") is None
    reads.put("user:1", first)
    reads.put("user:1", second)
    assert reads.find("user:1") is second
    reads.forget("user:1")
    reads.forget("user:1")
    assert reads.find("user:1") is None


def test_so_many_are_kept_and_those_that_are_asked_for_stay() -> None:
    reads = Reads(threading.Lock())
    for number in range(1024):
        reads.put(f"user:{number}", read())
    asked = reads.find("user:7")
    assert asked is not None
    asked.asked = True
    for number in range(1024, 2040):
        reads.put(f"user:{number}", read())
    assert len(reads) == 1024
    assert reads.find("user:7") is asked
    assert reads.find("user:8") is None


def test_so_many_bytes_are_kept() -> None:
    reads = Reads(threading.Lock())
    for number in range(8):
        reads.put(f"user:{number}", read(bytes(300_000)))
    assert len(reads) == 3
    reads.put("user:7", read(bytes(1_100_000)))
    assert reads.find("user:7") is None
