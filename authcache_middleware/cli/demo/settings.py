"""What a service is told by whoever starts it, as one line of JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Self

__all__ = ["Settings"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """The same for every service of the demo but for the port and for whether there is a cache."""

    database: str
    """Path of the SQLite file."""
    redis_url: str
    prefix: str
    secret: str
    cached: bool
    """``False``: the same application asks the database at every request."""
    port: int = 0
    """0: a free one."""
    loader_ms: int = 0

    @property
    def tokens(self) -> dict[str, Any]:
        """Which tokens are accepted, as options of both faces."""
        return {"keys": self.secret, "algorithms": ["HS256"], "issuer": "authcache-demo", "audience": "authcache-demo"}

    @property
    def cache(self) -> dict[str, Any]:
        """The remaining options: more patient than the defaults, since here everything shares one small machine.

        Memory is off, so that every request can be seen in Redis and its commands be counted.
        """
        patience = {"store_timeout": 1.0, "connect_timeout": 1.0, "deadline": 10.0}
        return {"prefix": self.prefix, "max_staleness": 0.0, "ttl_jitter": 0.0, "refresh_ahead": False, **patience}

    def to_line(self) -> str:
        """One line; it holds the secret."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """What ``to_line`` wrote."""
        return cls(**json.loads(line))
