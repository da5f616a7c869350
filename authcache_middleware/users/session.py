"""A session: one login of a user, and how it stands in Redis beside what is revoked of him.

In the hash of a user's revocations the field ``+s:<sid>`` (``+t:<jti>`` where the token has no ``sid``) holds::

    <created, ms> <expires, s> {"address": text, "user_agent": text, "label": text}

Times since 1970, one space between the parts, the last one JSON whose members may be missing. The scripts read the
times, and never the JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MAX_SESSIONS", "SESSION_SIGN", "Session", "ends_s", "pack_details", "pack_session", "read_session"]

MAX_SESSIONS: Final = 256
"""The most sessions of one user; the oldest are ended for those that come."""
SESSION_SIGN: Final = "+"
"""What the field of a session begins with; then comes the mark under which it is revoked."""

_MOST_CHARACTERS: Final = 256
_DETAILS: Final = ("address", "user_agent", "label")
_match_times = re.compile(rb"([0-9]{1,15}) ([0-9]{1,12}) ").match


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """One login of a user that has not ended. Times are seconds since 1970."""

    sid: str
    """Its tokens' ``sid``; the ``jti`` of its only token where that has none."""
    created_at: float
    """When it was first recorded, by the clock of Redis."""
    expires_at: float
    """When it ends by itself."""
    address: str | None = None
    user_agent: str | None = None
    label: str | None = None
    """These three as ``login`` was given them."""

    def __repr__(self) -> str:
        return "<Session>"


def pack_details(**details: str | None) -> bytes:
    """What is told of a session and decides nothing, each cut to its first 256 characters."""
    kept = {name: text[:_MOST_CHARACTERS] for name, text in details.items() if text is not None}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def pack_session(created_ms: int, expires_s: int, details: bytes) -> bytes:
    """The value of a session's field, as the scripts write it."""
    return b"%d %d %b" % (created_ms, expires_s, details)


def ends_s(value: bytes) -> int | None:
    """When the session of this value ends; ``None`` for what is none: nobody is let in by it."""
    times = _match_times(value)
    return None if times is None else int(times[2])


def read_session(mark: str, value: bytes) -> Session | None:
    """The session under its mark; ``None`` for what is none."""
    times = _match_times(value)
    if times is None:
        return None
    details = _details(value[times.end() :])
    texts = {name: text for name in _DETAILS if isinstance(text := details.get(name), str)}
    return Session(mark[2:], int(times[1]) / 1000, float(times[2]), **texts)


def _details(packed: bytes) -> dict[str, Any]:
    try:
        details = json.loads(packed)
    except (ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}
