"""What happened, on one clock, and what it must not contain. ``CLOCK_MONOTONIC`` is shared by all processes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NO_ANSWER = 0
SOMEBODY_ELSE = -1


@dataclass(slots=True)
class Request:
    """One request, from before it was sent until its answer was there."""

    service: str
    user: str
    token: int
    begun: float
    ended: float
    status: int
    error: str = ""
    """What kept the client from an answer."""


@dataclass(slots=True)
class Shut:
    """From ``returned`` on this token of the user, or every one (``None``), lets nobody in; until ``opened`` begins."""

    user: str
    token: int | None
    returned: float
    opened: float = math.inf


@dataclass(slots=True)
class Valid:
    """This token of the user lets him in, wherever he asks; until his next ending begins."""

    user: str
    token: int
    since: float
    until: float = math.inf


@dataclass
class History:
    max_staleness: float
    requests: list[Request] = field(default_factory=list)
    shut: list[Shut] = field(default_factory=list)
    valid: list[Valid] = field(default_factory=list)

    def stale(self) -> Iterator[tuple[Request, bool]]:
        """The requests begun when nobody could have been let in any more, and whether somebody was."""
        shut = _by_user(self.shut)
        for request in self.requests:
            if any(self._is_shut(request, each) for each in shut.get(request.user, ())):
                yield request, request.status == 200

    def violations(self) -> list[Request]:
        return [request for request, let_in in self.stale() if let_in]

    def wrongly_refused(self) -> list[Request]:
        """The valid users who were told that they are not."""
        valid = _by_user(self.valid)
        return [
            request
            for request in self.requests
            if request.status in (400, 401, 403)
            and any(
                each.token == request.token and each.since <= request.begun and request.ended <= each.until
                for each in valid.get(request.user, ())
            )
        ]

    def answered(self, status: int) -> list[Request]:
        return [request for request in self.requests if request.status == status]

    def write(self, path: Path) -> None:
        """One line of JSON for each fact."""
        facts = [*self.requests, *self.shut, *self.valid]
        path.write_text("".join(f"{json.dumps(_as_dict(fact))}\n" for fact in facts))

    def _is_shut(self, request: Request, shut: Shut) -> bool:
        return (
            shut.token in (None, request.token)
            and shut.returned + self.max_staleness < request.begun
            and request.ended < shut.opened
        )


def _by_user(facts: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for fact in facts:
        found.setdefault(fact.user, []).append(fact)
    return found


def _as_dict(fact: Any) -> dict[str, Any]:
    return {"fact": type(fact).__name__, **{name: getattr(fact, name) for name in fact.__slots__}}
