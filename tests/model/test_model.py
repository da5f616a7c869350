"""Everything at once, in virtual time: random processes, a random Redis, and the two promises about invalidation.

A run is all of one seed. ``AUTHCACHE_SEED=… pytest tests/model`` plays one again; ``-m slow`` plays many.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from play import play

SEED = os.environ.get("AUTHCACHE_SEED")


def played(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in [int(SEED)] if SEED else seeds:
        world = play(seed)
        counts.update(world.counts, steps=world.scheduler.steps)
        for process in world.processes:
            counts.update({f"{name} counted": count for name, count in process.reporter.counts().items()})
    return counts


def test_what_was_invalidated_is_not_seen_again() -> None:
    counts = played(range(14))
    if SEED is None:  # the check is worth something only if all of this has happened in it
        assert counts["steps"] > 50_000
        for what in (
            "memory", "redis", "active", "inactive", "revoked", "unknown", "invalidate", "logout", "revoke_user",
            "login", "logout_session", "login refused: max_sessions", "login refused: ended", "login refused: too_soon",
            "required, active", "required, session", "memory knew no session",
            "fills_refused counted", "refreshes counted", "links_lost counted", "not confirmed",
            "failover", "memory, where replicas take over",
        ):  # fmt: skip
            assert counts[what] > 0, what


@pytest.mark.slow
def test_what_was_invalidated_is_not_seen_again_however_often() -> None:
    assert SEED or played(range(1000, 1300))["steps"] > 1_000_000


def test_a_seed_plays_the_same_run_each_time() -> None:
    assert play(7, steps=500).scheduler.trace == play(7, steps=500).scheduler.trace
