"""One way to drive both faces, so that no test is written twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.testing import issue_token

SECRET = "a development secret of more than thirty-two bytes"
ISSUER = "https://id.example"
AUDIENCE = "orders"


def headers(token: str) -> list[tuple[str, str]]:
    return [("Host", "example"), ("Authorization", f"Bearer {token}")]


def token_for(subject: str = "1", **options: Any) -> str:
    return issue_token(SECRET, **{"subject": subject, "issuer": ISSUER, "audience": AUDIENCE, **options})


def settings(**options: Any) -> dict[str, Any]:
    """The options that nearly every test takes: nothing at random, and Redis asked at each request."""
    exact = {"ttl_jitter": 0.0, "refresh_ahead": False, "max_staleness": 0.0}
    return {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": AUDIENCE, **exact, **options}


class Driver:
    """A face and the way to call it: ``driver("authenticate", …)`` returns what the caller would get."""

    def __init__(self, face: Any, run: Callable[[Any], Any]) -> None:
        self.face = face
        self._run = run

    def __call__(self, method: str, *arguments: Any) -> Any:
        return self._run(getattr(self.face, method)(*arguments))

    def enter(self, subject: str = "1", **claims: Any) -> Any:
        """What a request with a good token of this subject gets."""
        return self("authenticate", headers(token_for(subject, **claims)))

    def close(self) -> None:
        self("aclose" if isinstance(self.face, AsyncAuthCache) else "close")


@contextmanager
def driven(kind: str, redis: Any, **options: Any) -> Iterator[Driver]:
    """A face of that kind, ``async`` or ``blocking``, closed at the end."""
    if kind == "blocking":
        driver = Driver(AuthCache(redis, **settings(**options)), lambda result: result)
        yield driver
        driver.close()
        return
    with asyncio.Runner() as runner:
        driver = Driver(AsyncAuthCache(redis, **settings(**options)), runner.run)
        yield driver
        driver.close()


def wait_until(condition: Callable[[], Any], *, guard: float = 20.0) -> Any:
    """The first true value of the condition; fails after ``guard`` seconds."""
    end = time.monotonic() + guard
    while not (value := condition()):
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)
    return value
