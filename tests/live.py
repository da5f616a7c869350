"""A face whose background goes on between calls, on a server or on several."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faces import headers, settings, token_for, wait_until

from authcache_middleware import AsyncAuthCache, AuthCache


class Live:
    """The async face has its event loop in a thread of its own; any thread may call."""

    def __init__(self, face: Any, run: Callable[[Any], Any] | None) -> None:
        self.face = face
        self.run = run
        self._headers: dict[str, list[tuple[str, str]]] = {}

    @property
    def is_async(self) -> bool:
        return self.run is not None

    def headers(self, subject: str) -> list[tuple[str, str]]:
        """Always the same token, as ``recall`` knows only tokens that it has seen."""
        return self._headers.setdefault(subject, headers(token_for(subject, lifetime=3600)))

    def there(self, function: Callable[[], Any]) -> Any:
        """What a plain function returns where the face lives."""
        if self.run is None:
            return function()

        async def call() -> Any:
            return function()

        return self.run(call())

    def __call__(self, method: str, *arguments: Any) -> Any:
        result = getattr(self.face, method)(*arguments)
        return result if self.run is None else self.run(result)

    def stats(self) -> Any:
        return self.there(self.face.stats)

    def recall(self, subject: str = "1") -> Any:
        return self.there(lambda: self.face.recall(self.headers(subject)))

    def is_trusted(self) -> bool:
        return self.stats().memory_trusted

    def enter(self, subject: str = "1") -> Any:
        return self("authenticate", self.headers(subject)).user

    def remember(self, subject: str = "1") -> None:
        """Wait until memory is trusted and holds the user."""
        self.enter(subject)  # the first call starts the links
        wait_until(self.is_trusted)
        wait_until(lambda: self.enter(subject) and self.recall(subject))


@contextmanager
def living(kind: str, source: Any, **options: Any) -> Iterator[Live]:
    """A face of that kind, closed at the end. ``source``: a URL, or what gives a client and its ``close``."""
    options = settings(**{"max_staleness": 1.0, **options})
    if kind == "blocking":
        target, close = (source, None) if isinstance(source, str) else source()
        with AuthCache(target, **options) as face:
            yield Live(face, None)
        if close is not None:
            close()
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-loop")
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

    async def made() -> Any:
        return source()

    target, close = (source, None) if isinstance(source, str) else run(made())
    live = Live(AsyncAuthCache(target, **options), run)
    try:
        yield live
    finally:
        live("aclose")
        if close is not None:
            run(close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
