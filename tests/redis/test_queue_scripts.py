"""What the scripts of a queue do that takes too long to be waited for from outside."""

from __future__ import annotations

from faces import wait_until

from authcache_middleware.redis.queue_scripts import JOIN


def test_consumers_of_long_ago_are_forgotten_unless_they_hold_something(client, prefix) -> None:
    key = f"queue:{prefix}"
    client.eval(JOIN, 1, key, "workers", 1000)
    client.xadd(key, {"a": "b"})
    client.xreadgroup("workers", "holds one", {key: ">"})
    client.xreadgroup("workers", "holds none", {key: ">"})
    wait_until(lambda: all(one["idle"] > 2 for one in client.xinfo_consumers(key, "workers")))
    client.eval(JOIN, 1, key, "workers", 1000)
    assert len(client.xinfo_consumers(key, "workers")) == 2
    client.eval(JOIN, 1, key, "workers", 1)
    assert [one["name"] for one in client.xinfo_consumers(key, "workers")] == [b"holds one"]
