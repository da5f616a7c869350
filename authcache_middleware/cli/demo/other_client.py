"""Another client of the same Redis, as any program in any language could be: it knows the keys and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import redis

from authcache_middleware.cli.demo.child import StageError

__all__ = ["OtherClient"]

# What connections and this client itself send.
_NOT_COUNTED = frozenset({"auth", "client", "config", "hello", "info", "ping", "select"})


class OtherClient:
    """Deletes keys, and asks the server how many commands it has served."""

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        try:
            self._client = redis.Redis.from_url(url, protocol=2, socket_timeout=5, socket_connect_timeout=5)
            self._client.ping()
        except (redis.RedisError, ValueError, OSError) as exc:  # the URL may hold a password
            raise StageError(f"no Redis answers at the URL given ({type(exc).__name__})") from None

    def delete(self, user_id: int) -> str:
        """``DEL`` of the user's key, which is returned."""
        key = f"{self._prefix}{user_id}"
        self._client.delete(key)
        return key

    def commands(self) -> Counter[str]:
        """How often each command has been called so far, those inside scripts included."""
        stats: dict[str, Any] = self._client.info("commandstats")
        counted: Counter[str] = Counter()
        for name, figures in stats.items():
            command = name.removeprefix("cmdstat_").partition("|")[0]
            if command not in _NOT_COUNTED:
                counted[command] += figures["calls"]
        return counted

    def remove_all(self) -> None:
        """Deletes every key of this demo."""
        whole = self._prefix.removesuffix("user:")
        keys = list(self._client.scan_iter(match=f"{whole}*", count=500))
        if keys:
            self._client.delete(*keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()
