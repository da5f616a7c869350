"""What the package reads of a user's row besides the rule who may enter: the durable log-out."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["UnreadableRowError", "row_revoked_before"]


class UnreadableRowError(Exception):
    """A field that decides who may enter holds what cannot be read. The message names the field, never the value."""


def row_revoked_before(row: Mapping[str, Any] | None, field: str) -> int | None:
    """Tokens issued at or before this moment are refused: whole seconds since 1970, rounded up; ``None``: none are.

    The field may be left out or empty, a ``datetime`` (one without a time zone is UTC) or a number of seconds.
    """
    moment = None if row is None else row.get(field)
    match moment:
        case None:
            return None
        case bool():
            pass
        case int():
            return moment
        case float() | decimal.Decimal() if math.isfinite(moment):
            return math.ceil(moment)
        case dt.datetime():
            aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
            return math.ceil(aware.timestamp())
    raise UnreadableRowError(f"{field} is a {type(moment).__name__}")
