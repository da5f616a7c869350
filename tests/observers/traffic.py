"""Requests of every kind on a real server, told to whoever observes: what happened is in ``Traffic.events``."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from faces import SECRET, headers, settings, token_for
from proxies import StallingProxy

from authcache_middleware import AsyncAuthCache, AuthCache, RefusedError, UnavailableError
from authcache_middleware.events import Loaded, OutageEnded, Stats

NAME = "Ann-of-the-row"
SUBJECTS = {
    word: f"subject-{word}" for word in ("good", "unknown", "odd", "failing", "raced", "rule", "short", "later")
}
TTL = 1.0


class Traffic:
    """One face whose requests have happened, and whatever of theirs must be told to nobody."""

    def __init__(self, kind: str, proxy: StallingProxy, other: redis.Redis, prefix: str, observers: list[Any]) -> None:
        self.events: list[Any] = []
        self.secrets = {SECRET, NAME, prefix, "127.0.0.1", "id.example", "tester", *SUBJECTS.values()}
        self._proxy = proxy
        self._other = other
        self._raced = False
        self._database_down = False
        cls = AsyncAuthCache if kind == "async" else AuthCache
        options = {
            "load_user": self._load,
            "is_active": self._is_active,
            "prefix": prefix,
            "max_staleness": 5.0,
            "store_timeout": 2.0,
            "connect_timeout": 2.0,
            "deadline": 15.0,
            "ttl": TTL,
            "refresh_ahead": True,
            "on_outage": "load",
            "observers": [*observers, self.events.append],
        }
        self.face = cls(proxy.url, **settings(**options))

    def _load(self, user_id: str) -> dict[str, Any] | None:
        if self._database_down or user_id == SUBJECTS["failing"]:
            raise OSError(user_id)
        if user_id == SUBJECTS["raced"] and not self._raced:
            self._raced = True
            self._other.delete(self.face.key(user_id))
        return {
            SUBJECTS["unknown"]: None,
            SUBJECTS["odd"]: {"id": object()},
            SUBJECTS["rule"]: {"name": NAME, "breaks": True},
        }.get(user_id, {"name": NAME})

    def _is_active(self, user: Any) -> bool:
        if "breaks" in user:
            raise ValueError(NAME)
        return True

    async def __call__(self, method: str, *arguments: Any) -> Any:
        result = getattr(self.face, method)(*arguments)
        return await result if inspect.isawaitable(result) else result

    async def request(self, word: str, **claims: Any) -> None:
        """What a middleware does with a token of this subject; and whatever comes of it."""
        token = token_for(SUBJECTS[word], kid="kid-1", claims={"tester": "tester"}, **claims)
        self.secrets.update(part for part in token.split("."))
        await self.offer(headers(token))

    async def offer(self, sent: list[tuple[str, str]]) -> None:
        with suppress(RefusedError, UnavailableError):
            if self.face.recall(sent) is None:
                await self("authenticate", sent)

    async def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "the condition never came true"
            await asyncio.sleep(0.01)

    async def requests_until(self, word: str, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "the condition never came true"
            await self.request(word)
            await asyncio.sleep(0.01)

    def stats(self) -> Stats:
        return self.face.stats()

    def have_happened(self, kind: type, **fields: Any) -> list[Any]:
        return [
            event
            for event in list(self.events)
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
        ]

    async def play(self, when_trusted: Callable[[], Any], when_over: Callable[[], Any]) -> None:
        """Everything, in order. Both functions are called in a thread that has no event loop."""
        try:
            await self._ordinary_days()
            await asyncio.to_thread(when_trusted)
            await self._an_outage()
            await asyncio.to_thread(when_over)
        finally:
            await self("aclose" if isinstance(self.face, AsyncAuthCache) else "close")

    async def _ordinary_days(self) -> None:
        await self.offer([])
        await self.offer([("Authorization", "Basic dGVzdGVyOnRlc3Rlcg==")])
        await self.offer(headers("not.a.token"))
        await self.offer([*headers("one"), *headers("two")])
        await self.request("good", lifetime=-100)
        await self.request("good", audience="somebody-else")
        for word in ("unknown", "odd", "failing", "failing", "raced", "rule"):
            await self.request(word)
        await self.requests_until("short", lambda: self.have_happened(Loaded, cause="refresh"))
        await self("invalidate", SUBJECTS["good"])
        await self("logout", token_for(SUBJECTS["good"]))
        await self("revoke_user", SUBJECTS["later"])
        await self.request("later")
        await self.until(lambda: self.stats().memory_trusted)
        await self.requests_until("good", lambda: self.stats().memory_hits)

    async def _an_outage(self) -> None:
        self._proxy.refuse()
        self._proxy.cut()
        await self.requests_until("good", lambda: self.stats().links_lost and self.stats().outage_answers)
        await self.requests_until("good", lambda: self.stats().outages)
        self._database_down = True
        await self.request("later")
        self._database_down = False
        self._proxy.accept()
        await self.requests_until("good", lambda: self.have_happened(OutageEnded))
        await self.until(lambda: self.stats().memory_trusted)
