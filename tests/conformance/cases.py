"""What a line of the conformance table says: a request, and what it must come to whichever way it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.drivers import Ask
from conformance.world import World

CHALLENGES = {
    (401, None): 'Bearer realm="api"',
    (401, "invalid_token"): 'Bearer realm="api", error="invalid_token"',
    (400, "invalid_request"): 'Bearer realm="api", error="invalid_request"',
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and its outcome. ``error`` is that of the challenge; ``user`` who enters (``""``: anonymous)."""

    name: str
    status: int
    error: str | None = None
    user: str | None = None
    headers: Callable[[World], tuple[tuple[str, str], ...]] = lambda world: bearer(world.token())
    before: Callable[[World], Awaitable[None]] | None = None
    ask: Mapping[str, Any] = field(default_factory=dict)
    """Method and paths, where they matter; only over a protocol."""
    middleware: Mapping[str, Any] = field(default_factory=dict)
    """The middleware's options; only over a protocol."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The face's options."""
    url: str | None = None

    @property
    def protocols_only(self) -> bool:
        return bool(self.ask or self.middleware)

    async def request(self, world: World) -> Ask:
        if self.before is not None:
            await self.before(world)
        return Ask(headers=self.headers(world), **self.ask)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)


ENTERS: Mapping[str, Any] = {"status": 200, "user": "alice"}
MISSING: Mapping[str, Any] = {"status": 401}
MALFORMED: Mapping[str, Any] = {"status": 400, "error": "invalid_request"}
REFUSED: Mapping[str, Any] = {"status": 401, "error": "invalid_token"}
OUTAGE: Mapping[str, Any] = {"status": 503}
