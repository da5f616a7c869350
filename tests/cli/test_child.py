"""The services as processes: they start, say where, and never outlive whoever started them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from authcache_middleware.cli.demo.child import Child, StageError
from authcache_middleware.cli.demo.database import make_database
from authcache_middleware.cli.demo.service import listener
from authcache_middleware.cli.demo.settings import Settings
from authcache_middleware.testing import issue_token

SECRET = "only-for-this-test-Mz4kQ9vX2pL7wT5s"
SERVICES = ["fastapi_service", "flask_service"]


@pytest.fixture
async def start(tmp_path) -> AsyncIterator:
    children: list[Child] = []
    make_database(tmp_path / "users.sqlite").dispose()

    async def started(module: str, **settings) -> Child:
        told = {"redis_url": "redis://127.0.0.1:1", "prefix": "user:", "secret": SECRET, "cached": False, **settings}
        settings = Settings(database=str(tmp_path / "users.sqlite"), **told)
        child = Child("The service", f"authcache_middleware.cli.demo.{module}", settings, tmp_path)
        children.append(child)
        await child.spawn()
        await child.ready()
        return child

    yield started
    for child in children:
        await child.stop()


def ask(child: Child, path: str, subject: str | None = None) -> httpx.Response:
    names = {"issuer": "authcache-demo", "audience": "authcache-demo"}
    headers = {"Authorization": f"Bearer {issue_token(SECRET, subject=subject, **names)}"} if subject else {}
    return httpx.get(child.url + path, headers=headers, trust_env=False)


@pytest.mark.parametrize("module", SERVICES)
async def test_without_the_cache_the_database_is_asked_each_time(start, module) -> None:
    service = await start(module)
    for _ in range(3):
        assert ask(service, "/me", "7").json()["name"] == "User 7"
    assert ask(service, "/me", "1001").status_code == 401
    assert ask(service, "/me").status_code == 401
    assert ask(service, "/reads").json() == 4
    assert ask(service, "/logout", "7").status_code == 404
    assert not service.is_dead
    service._process.stdin.close()  # as the system does when the demo is killed
    await asyncio.wait_for(service.ended(), 10)
    assert service.is_dead
    assert "status 0" in service.obituary()


async def test_a_port_that_is_taken_is_said(start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=f"The service: port {port} cannot be used: "):
            await start("flask_service", port=port)


async def test_a_service_that_cannot_start_shows_its_last_words(start) -> None:
    with pytest.raises(StageError, match=r"(?s)The service has ended with status 1:.*No module named .*nothing"):
        await start("nothing")


async def test_a_service_that_does_not_stop_is_killed(start, monkeypatch) -> None:
    service = await start("flask_service")
    os.kill(service._process.pid, signal.SIGSTOP)
    monkeypatch.setattr("authcache_middleware.cli.demo.child._STOP_S", 0.1)
    async with asyncio.timeout(10):
        await service.stop()
    assert "status -9" in service.obituary()


def test_a_listener_is_said_to_be_tcp() -> None:
    """asyncio turns Nagle's algorithm off for such sockets alone; without it each answer waits 40 ms."""
    with listener(0) as opened:
        assert opened.proto == socket.IPPROTO_TCP
