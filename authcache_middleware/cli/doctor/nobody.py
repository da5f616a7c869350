"""Keys that are nobody's, to try things at."""

from __future__ import annotations

import os
from typing import Final

from authcache_middleware.cli.doctor.line import Line, RefusedError

__all__ = ["nobodys_key", "pattern_of"]

_MOST_TRIES: Final = 500
_MARK: Final = "\x00doctor:"  # no subject holds a control character
_ELSEWHERE: Final = frozenset({"MovedError", "AskError", "MOVED", "ASK"})  # as newer and older redis-py have it


def nobodys_key(line: Line, prefix: str) -> str:
    """A key with this prefix that, of a cluster, belongs to the very node that is asked: found by trying."""
    for _ in range(_MOST_TRIES):
        key = f"{prefix}{_MARK}{os.urandom(8).hex()}"
        try:
            line.ask("GET", key)
        except RefusedError as exc:
            if exc.code in _ELSEWHERE:
                continue
        break
    return key


def pattern_of(key: str) -> str:
    """The pattern of keys in a user's rights that lets him at this one."""
    prefix, mark, _ = key.partition(_MARK)
    return f"~{prefix}*" if mark else f"~{key}"
