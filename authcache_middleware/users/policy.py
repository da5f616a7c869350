"""Whether a user may enter: one pure decision over the record and the token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import Record, Revocations

__all__ = [
    "ActiveRule",
    "Verdict",
    "is_active",
    "is_revoked",
    "is_settled",
    "judge",
    "session_mark",
    "text_mark",
    "token_mark",
]

ActiveRule = Callable[[Mapping[str, Any]], bool]
"""Tells from a user's fields whether he may enter. Called at every request: quick, and without side effects."""

Verdict = Literal["active", "unknown", "inactive", "revoked", "session"]

_TRUE_FIELDS: Final = ("is_active", "active", "enabled")
_ACTIVE_STATUS: Final = frozenset({"active", "connected"})


def is_active(user: Mapping[str, Any]) -> bool:
    """The default rule: every field known to it that is present must agree, and what is odd does not.

    ``is_active``, ``active`` and ``enabled`` must be true, ``disabled`` false (a boolean, or the 0 and 1 of databases
    without one); ``deleted_at`` must be empty; ``status`` must be ``active`` or ``connected`` in any case. A row with
    none of these fields is active.
    """
    for field in _TRUE_FIELDS:
        if field in user and not _is_number(user[field], 1):
            return False
    if "disabled" in user and not _is_number(user["disabled"], 0):
        return False
    if user.get("deleted_at"):
        return False
    if "status" in user:
        status = user["status"]
        return isinstance(status, str) and status.lower() in _ACTIVE_STATUS
    return True


def judge(record: Record, claims: Claims, active: ActiveRule, *, session_at: float | None = None) -> Verdict:
    """What the record says of the bearer of these claims. Revocation comes first: it needs no row.

    ``session_at`` is the moment at which the token's session must be on record; ``None`` where none is required. It
    is where it cannot be known, while Redis is gone: then the row alone decides.
    """
    if is_revoked(record.revocations, claims):
        return "revoked"
    if record.user is None:
        return "unknown"
    if active(record.user) is not True:
        return "inactive"
    if session_at is not None and not _has_session(record.revocations, claims, session_at):
        return "session"
    return "active"


def is_settled(verdict: Verdict) -> bool:
    """Whether a verdict may be given from memory. A session that it does not know may have begun a moment ago."""
    return verdict != "session"


def session_mark(claims: Claims) -> str | None:
    """The name of this token's session: its ``sid``, without one its ``jti``; ``None`` with neither."""
    if claims.session_id is not None:
        return f"s:{claims.session_id}"
    return None if claims.token_id is None else f"t:{claims.token_id}"


def token_mark(claims: Claims) -> str | None:
    """The name under which this one token is revoked: its ``jti``, without one its ``iat``; ``None`` with neither.

    Never the token's text: one token can have many (a signature or its encoding may be changed and stay valid). An
    opaque token has a name by its text as well, see ``text_mark``.
    """
    if claims.token_id is not None:
        return f"t:{claims.token_id}"
    if claims.issued_at is not None:
        issued_at = claims.issued_at
        return f"i:{int(issued_at)}" if issued_at == int(issued_at) else f"i:{issued_at!r}"
    return None


def text_mark(claims: Claims) -> str | None:
    """The name of an opaque token by a hash of its text, under which it is revoked too; ``None`` for any other.

    A provider may tell two services two things of one token, ``jti`` the one and not the other: this name they share.
    It is one for all spellings that differ in nothing but case, since his database may take them for the same.
    """
    return None if claims.opaque_id is None else f"h:{claims.opaque_id}"


def is_revoked(revocations: Revocations, claims: Claims) -> bool:
    """Whether the token, its session or all tokens of its time were revoked; the first thing that ``judge`` asks."""
    before_s = revocations.before_s
    if before_s is not None and (claims.issued_at is None or claims.issued_at <= before_s):
        return True  # a token that does not say when it was issued cannot show that it came later
    ids = revocations.ids
    if not ids:
        return False
    if token_mark(claims) in ids or (claims.session_id is not None and f"s:{claims.session_id}" in ids):
        return True
    return claims.opaque_id is not None and text_mark(claims) in ids


def _has_session(revocations: Revocations, claims: Claims, now: float) -> bool:
    sessions, mark = revocations.sessions, session_mark(claims)
    return sessions is None or (mark is not None and sessions.get(mark, 0) > now)


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, int) and value == number
