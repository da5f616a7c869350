"""What was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Plan:
    """The options of ``authcache demo``."""

    serve: bool = False
    """Keep the services running after the story."""
    redis_url: str | None = None
    """Somebody else's server; ``None``: one of our own."""
    port: int | None = None
    """Of the first service, the second gets the next; ``None``: free ones."""
    loader_ms: int = 0
    """How much longer each database read takes, with and without the cache."""
    requests: int = 2000
    users: int = 50
