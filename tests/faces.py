"""One way to drive both faces, so that no test is written twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """The options that nearly every test takes: nothing at random, Redis asked at each request, a busy machine waited
    for."""
    exact = {"ttl_jitter": 0.0, "refresh_ahead": False, "max_staleness": 0.0}
    patient = {"store_timeout": 2.0, "connect_timeout": 2.0, "deadline": 10.0}
    ours = {"keys": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": AUDIENCE}
    return {**({} if "issuers" in options else ours), **exact, **patient, **options}


class Driver:
    """A face and the way to call it: ``driver("authenticate", …)`` returns what the caller would get."""

    def __init__(self, face: Any, run: Callable[[Any], Any]) -> None:
        self.face = face
        self._run = run

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._run(getattr(self.face, method)(*arguments, **options))

    def enter(self, subject: str = "1", **claims: Any) -> Any:
        """What a request with a good token of this subject gets."""
        return self("authenticate", headers(token_for(subject, **claims)))

    def there(self, function: Callable[[], Any]) -> Any:
        """What a plain function returns where the face lives."""
        if not isinstance(self.face, AsyncAuthCache):
            return function()

        async def call() -> Any:
            return function()

        return self._run(call())

    def at_once(self, method: str, *calls: Any) -> list[Any]:
        """What many calls return or raise that begin at the same time, one for each argument."""
        if isinstance(self.face, AsyncAuthCache):

            async def gathered() -> list[Any]:
                return await asyncio.gather(
                    *(getattr(self.face, method)(each) for each in calls), return_exceptions=True
                )

            return self._run(gathered())
        gate = threading.Barrier(len(calls))

        def call(argument: Any) -> Any:
            gate.wait(20)
            try:
                return getattr(self.face, method)(argument)
            except Exception as exc:
                return exc

        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(call, calls))

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


@contextmanager
def living(kind: str, redis: Any, **options: Any) -> Iterator[Driver]:
    """The same, and its background goes on between calls: the async one has an event loop in a thread of its own."""
    if kind == "blocking":
        with driven(kind, redis, **options) as driver:
            yield driver
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-loop")
    thread.start()
    driver = Driver(
        AsyncAuthCache(redis, **settings(**options)),
        lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60),
    )
    try:
        yield driver
    finally:
        driver.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait_until(condition: Callable[[], Any], *, guard: float = 20.0) -> Any:
    """The first true value of the condition; fails after ``guard`` seconds."""
    end = time.monotonic() + guard
    while not (value := condition()):
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)
    return value
