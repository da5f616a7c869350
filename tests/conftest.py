"""What all tests share: one real server for the session, and keys of one's own for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import hypothesis
import pytest
import redis

from authcache_middleware.testing.server import EmbeddedServer

# How long an example takes says something about the machine, and nothing about the package.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The session's Valkey. Tests that stop or freeze a server start one of their own."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(server: EmbeddedServer) -> str:
    return server.url


@pytest.fixture
def prefix() -> str:
    """A prefix for keys that no other test has."""
    return f"{uuid.uuid4().hex[:12]}:user:"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Another client of the same server: the one in any language that knows nothing of this package."""
    with redis.Redis.from_url(redis_url) as other:
        yield other


@pytest.fixture(params=["valkey", "redis"], scope="session")
def every_redis_url(request: pytest.FixtureRequest) -> str:
    """The embedded Valkey and, where AUTHCACHE_TEST_REDIS_URL (or the standard port) answers, another server too."""
    if request.param == "valkey":
        url: str = request.getfixturevalue("redis_url")
        return url
    url = os.environ.get("AUTHCACHE_TEST_REDIS_URL", "redis://127.0.0.1:6379")
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1) as other:
            other.ping()
    except redis.RedisError:
        pytest.skip("AUTHCACHE_TEST_REDIS_URL: no Redis answers")
    return url
