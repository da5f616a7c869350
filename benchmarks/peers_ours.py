"""Ours on every path that has a budget, the bare application, and the yardsticks beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle, islice
from typing import Any

import jwt
import redis
import redis.asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from measured import Case, DisturbedError
from peers_faces import PATIENCE_S, asgi_case, load, ours, ours_blocking, settled, token_of, wsgi_case
from peers_requests import (
    AUDIENCE,
    ISSUER,
    SECRET,
    SUBJECT,
    bare_asgi,
    bare_wsgi,
    headers_of,
    receive,
    scope_of,
    send,
)

from authcache_middleware import AsyncAuthCache, asgi, wsgi

__all__ = ["AT_ONCE", "Ours"]

AT_ONCE = 64


class Ours:
    """All cases of ours; made and closed inside the loop that runs them."""

    def __init__(self, url: str, *, tokens: int = 512, cold: int = 128) -> None:
        """``tokens``: how many come in turn, of which an eighth is remembered: each is new whenever it comes."""
        self._cold_users = cold
        remembered = tokens // 8
        self._known = ours(url)
        self._newcomers = ours(url, token_entries=remembered)
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = private.public_key()
        pem = self._public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self._rsa = ours(url, token_entries=remembered, keys=pem, algorithms=["RS256"])
        self._cold = ours(url, prefix="cold:user:")
        self._without_memory = ours(url, max_staleness=0.0)
        self._blocking = ours_blocking(url)
        self._blocking_without_memory = ours_blocking(url, max_staleness=0.0)
        self._client = redis.asyncio.Redis.from_pool(
            redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=AT_ONCE, protocol=2)
        )
        self._plain_client = redis.Redis.from_url(url, protocol=2)
        self._hs256 = [token_of() for _ in range(tokens)]
        self._rs256 = [token_of(key=private, algorithm="RS256") for _ in range(tokens)]

    def cases(self) -> list[Case]:
        """Bare and ours on plain ASGI and WSGI, and what costs are compared with."""
        token = self._hs256[0]
        known = asgi.AuthCacheMiddleware(bare_asgi, auth=self._known)
        blocking = wsgi.AuthCacheMiddleware(bare_wsgi, auth=self._blocking_without_memory)
        forged = token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
        return [
            asgi_case("bare", bare_asgi, token),
            asgi_case("memory", known, token, self._known),
            asgi_case("no token", known, None, status=401),
            asgi_case("garbage", known, "not.a-token", status=401),
            asgi_case("bad signature", known, forged, status=401),
            *self._newcomer_cases("HS256", self._newcomers, self._hs256, SECRET),
            *self._newcomer_cases("RS256", self._rsa, self._rs256, self._public),
            *self._cold_cases(),
            *self._redis_cases(),
            wsgi_case("bare WSGI", bare_wsgi, token),
            wsgi_case("redis, blocking", blocking, token),
            Case("GET, blocking", self._gets_blocking),
        ]

    def framework_cases(self) -> tuple[list[Case], list[str]]:
        """The same through frameworks, and the names of those that are not installed."""
        cases: list[Case] = []
        missing: list[str] = []
        for name, make in (
            ("starlette", self._starlette_cases),
            ("fastapi", self._fastapi_cases),
            ("flask", self._flask_cases),
        ):
            try:
                cases += make()
            except ImportError:
                missing.append(name)
        return cases, missing

    async def aclose(self) -> None:
        """Closes what was opened."""
        for auth in (self._known, self._newcomers, self._rsa, self._cold, self._without_memory):
            await auth.aclose()
        self._blocking.close()
        self._blocking_without_memory.close()
        await self._client.aclose()
        self._plain_client.close()

    def _newcomer_cases(self, name: str, auth: AsyncAuthCache[Any], tokens: list[str], key: Any) -> Iterator[Case]:
        app = asgi.AuthCacheMiddleware(bare_asgi, auth=auth)
        turns = cycle([headers_of(token) for token in tokens])
        plain_turns = cycle(tokens)

        async def before(_count: int) -> None:
            await settled(auth, headers_of(tokens[0]))

        async def run(count: int) -> None:
            hits = auth.stats().memory_hits
            for headers in islice(turns, count):
                await app(scope_of(headers), receive, send)
            if auth.stats().memory_hits - hits != count:
                raise DisturbedError

        def decode(count: int) -> None:
            for token in islice(plain_turns, count):
                jwt.decode(token, key, algorithms=[name], audience=AUDIENCE, issuer=ISSUER)

        yield Case(f"new token, {name}", run, before=before)
        yield Case(f"jwt.decode, {name}", decode)

    def _cold_cases(self) -> Iterator[Case]:
        """Each of the n users is deleted before, and asked for once; their tokens are known."""
        auth = self._cold
        app = asgi.AuthCacheMiddleware(bare_asgi, auth=auth)
        subjects = [str(100_000 + number) for number in range(self._cold_users)]
        asked = [headers_of(token_of(subject)) for subject in subjects]

        async def before(count: int) -> None:
            for headers in asked:
                await app(scope_of(headers), receive, send)
            end = time.monotonic() + PATIENCE_S
            await self._client.delete(*(auth.key(subject) for subject in subjects))
            while any(auth.recall(headers) is not None for headers in asked[:count]) or not auth.stats().memory_trusted:
                if time.monotonic() > end:
                    raise RuntimeError("the users stay warm")
                await asyncio.sleep(0.005)

        async def run(count: int) -> None:
            for headers in asked[:count]:
                await app(scope_of(headers), receive, send)

        async def loads(count: int) -> None:
            for _ in range(count):
                await load(SUBJECT)

        yield Case("cold", run, before=before, most=self._cold_users)
        yield Case("loader", loads)

    def _redis_cases(self) -> Iterator[Case]:
        auth = self._without_memory
        app = asgi.AuthCacheMiddleware(bare_asgi, auth=auth)
        subjects = [str(number) for number in range(AT_ONCE)]
        asked = [headers_of(token_of(subject)) for subject in subjects]
        keys = [auth.key(subject) for subject in subjects]

        async def warm(_count: int) -> None:
            await _at_once(lambda number: app(scope_of(asked[number]), receive, send), 1)

        def at_once(one: Callable[[int], Awaitable[Any]]) -> Callable[[int], Awaitable[None]]:
            return lambda count: _at_once(one, count)

        async def alone(count: int) -> None:
            for _ in range(count):
                await app(scope_of(asked[0]), receive, send)

        async def gets(count: int) -> None:
            for _ in range(count):
                await self._client.get(keys[0])

        yield Case("redis", alone, before=warm)
        yield Case("GET", gets)
        yield Case(
            "redis, 64 at once",
            at_once(lambda number: app(scope_of(asked[number]), receive, send)),
            each=AT_ONCE,
            before=warm,
        )
        yield Case("64 GETs at once", at_once(lambda number: self._client.get(keys[number])), each=AT_ONCE, before=warm)
        yield Case(
            "bare, 64 at once",
            at_once(lambda number: bare_asgi(scope_of(asked[number]), receive, send)),
            each=AT_ONCE,
        )

    def _gets_blocking(self, count: int) -> None:
        for _ in range(count):
            self._plain_client.get("user:1")

    def _starlette_cases(self) -> list[Case]:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        class Bare:
            """No function: Starlette takes it for an application, and adds its routing and nothing else."""

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await bare_asgi(scope, receive, send)

        async def endpoint(_request: Any) -> PlainTextResponse:
            return PlainTextResponse("ok")

        token = self._hs256[0]
        return [
            asgi_case("Starlette, routing", Starlette(routes=[Route("/x", Bare())]), token),
            asgi_case("Starlette, routing and endpoint", Starlette(routes=[Route("/x", endpoint)]), token),
        ]

    def _fastapi_cases(self) -> list[Case]:
        from fastapi import Depends, FastAPI
        from fastapi.responses import PlainTextResponse

        from authcache_middleware.fastapi import AuthCacheMiddleware, current_user

        plain, guarded = FastAPI(), FastAPI()
        guarded.add_middleware(AuthCacheMiddleware, auth=self._known)

        @plain.get("/x", response_class=PlainTextResponse)
        async def _without() -> str:
            return "ok"

        @guarded.get("/x", response_class=PlainTextResponse)
        async def _with(user: Any = Depends(current_user)) -> str:  # noqa: ARG001, B008, FAST002 - it cannot see a local name in text
            return "ok"

        token = self._hs256[0]
        return [asgi_case("FastAPI", plain, token), asgi_case("FastAPI + ours", guarded, token, self._known)]

    def _flask_cases(self) -> list[Case]:
        from flask import Flask

        from authcache_middleware.flask import AuthCacheMiddleware, current_user

        plain, guarded = Flask("plain"), Flask("guarded")
        AuthCacheMiddleware.init_app(guarded, self._blocking)

        @plain.get("/x")
        def _without() -> tuple[str, dict[str, str]]:
            return "ok", {"Content-Type": "text/plain; charset=utf-8"}

        @guarded.get("/x")
        def _with() -> tuple[str, dict[str, str]]:
            current_user()
            return "ok", {"Content-Type": "text/plain; charset=utf-8"}

        token = self._hs256[0]
        return [wsgi_case("Flask", plain, token), wsgi_case("Flask + ours", guarded, token, self._blocking)]


async def _at_once(one: Callable[[int], Awaitable[Any]], count: int) -> None:
    for _ in range(count):
        await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
