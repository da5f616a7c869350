"""The conformance table's cases of paths and methods: which need no token. They make sense over a protocol only."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.cases import ENTERS, MALFORMED, MISSING, OUTAGE, REFUSED, Case, bearer
from conformance.world import CLOSED_PORT, World

# Paths: which need no token. Without one: 200 as the anonymous user, or 401.

EXEMPT = ["/health", "/static/*", "/\u00fcber", "/.well-known/*"]
OPEN_PATHS = ["/health", "/static/app.js", "/static/", "/static/a/b.c", "/%C3%BCber", "/%68ealth", "/.well-known/x"]
GUARDED_PATHS = [
    "/",
    "/orders",
    "/health/",
    "/Health",
    "/health/x",
    "/healthz",
    "//health",
    "/health%00",
    "/health%2f",
    "/x/../health",
    "/static",
    "/staticx",
    "/static/../orders",
    "/static/%2e%2e/orders",
    "/static/%2E./orders",
    "/static/..%2forders",
    "/static/..%5corders",
    "/static/a%2Fb",
    "/static/a%5Cb",
    "/static//a",
    "/static/./a",
    "/static/.git/config",
    "/static/a/.env",
    "/static/%252e%252e/orders",
    "/static/a%00.js",
    "/static/a%0a",
    "/static/%ff",
    "/static/..;/orders",
    "/%FCber",
    "/.well-known",
    "/.well-known/../orders",
]


def nobody(_world: World) -> tuple[tuple[str, str], ...]:
    return ()


def _scheme(_world: World) -> tuple[tuple[str, str], ...]:
    return (("Authorization", "Basic YWxpY2U6cHc="),)


def _forged(world: World) -> tuple[tuple[str, str], ...]:
    return bearer(world.token(key="x" * 64))


def _preflight(_world: World) -> tuple[tuple[str, str], ...]:
    return (("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"))


def path_cases() -> Iterator[Case]:
    exempt = {"exempt": EXEMPT}
    anonymous = {"status": 200, "user": ""}
    for path in OPEN_PATHS:
        yield Case(name=f"open {path}", middleware=exempt, ask={"raw_path": path}, headers=nobody, **anonymous)
    for path in GUARDED_PATHS:
        yield Case(name=f"guarded {path}", middleware=exempt, ask={"raw_path": path}, headers=nobody, **MISSING)
    mounted = {"raw_path": "/health", "root_path": "/api"}
    yield Case(name="open below the mount", middleware=exempt, ask=mounted, headers=nobody, **anonymous)
    mounted = {"raw_path": "/api/health", "root_path": "/api"}
    yield Case(name="guarded below the mount", middleware=exempt, ask=mounted, headers=nobody, **MISSING)
    at = {"raw_path": "/health"}
    yield Case(name="a token on an open path is not read", middleware=exempt, ask=at, headers=_forged, **anonymous)
    yield Case(name="nor a good one", middleware=exempt, ask=at, **anonymous)
    yield Case(name="open while redis is down", middleware=exempt, ask=at, url=CLOSED_PORT, **anonymous)
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
        yield Case(name=f"{method} is guarded", ask={"method": method}, headers=nobody, **MISSING)
        yield Case(name=f"{method} enters", ask={"method": method}, **ENTERS)
    optional = {"optional": True}
    yield Case(name="optional, nobody", middleware=optional, headers=nobody, **anonymous)
    yield Case(name="optional, somebody", middleware=optional, **ENTERS)
    yield Case(name="optional, forged", middleware=optional, headers=_forged, **REFUSED)
    yield Case(name="optional, another scheme", middleware=optional, headers=_scheme, **MISSING)
    yield Case(name="optional, twice", middleware=optional, headers=lambda w: bearer(w.token()) * 2, **MALFORMED)
    yield Case(name="optional, redis down", middleware=optional, url=CLOSED_PORT, **OUTAGE)
    options = {"method": "OPTIONS"}
    yield Case(name="preflight", ask=options, headers=_preflight, **MISSING)
    allowed = {"allow_preflight": True}
    yield Case(name="preflight allowed", ask=options, middleware=allowed, headers=_preflight, **anonymous)
    yield Case(name="no preflight", ask=options, middleware=allowed, headers=nobody, **MISSING)
    yield Case(name="a preflight is OPTIONS", ask={"method": "PUT"}, middleware=allowed, headers=_preflight, **MISSING)
