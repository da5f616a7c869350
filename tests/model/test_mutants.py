"""The check finds what it is there for: each fence of the package, taken away, is missed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mutants import MUTANTS, edited, hunt

_SOON = {
    "compare-and-set is a set",
    "a flight answers whoever joined",
    "memory answers without trust",
    "a new link does not empty memory",
    "the DEL goes before what is revoked",
    "the DEL goes before the session that begins",
    "memory refuses whom it does not know",
}
_SEEDS = 300


def test_each_fence_stands_where_it_is_taken_from() -> None:
    for mutant in MUTANTS.values():
        assert mutant.weak or compile(edited(mutant), mutant.file, "exec")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _SOON else pytest.mark.slow) for name in MUTANTS]
)
def test_a_fence_that_is_taken_away_is_missed(name: str, tmp_path: Path) -> None:
    hunted = hunt(MUTANTS[name], tmp_path, _SEEDS)
    assert hunted.returncode == 1, hunted.stdout
    assert re.search(r"^(G[12]|S): ", hunted.stdout, re.MULTILINE), hunted.stdout[-2000:] + hunted.stderr[-2000:]
    assert "found with seed" in hunted.stderr
