"""A Redis that is gone, on real sockets: what is tried, and what the database bears."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faces import Driver, driven, headers, token_for

from authcache_middleware import UnavailableError
from authcache_middleware.testing import ManualClock
from authcache_middleware.testing.server import free_port

FACES = ["async", "blocking"]


def all_at_once(face: str, driver: Driver, requests: list[Any]) -> list[Any]:
    if face == "blocking":
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(driver.face.authenticate, requests))

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*map(driver.face.authenticate, requests))

    return driver._run(ask_all())


class Hangup(socketserver.ThreadingTCPServer):
    """Accepts whatever connects, counts it, and closes it at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted += 1
        self.shutdown_request(request)


@pytest.fixture
def hangup() -> Iterator[Hangup]:
    with Hangup() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("face", FACES)
def test_with_the_breaker_open_one_command_every_half_second_connects(face, hangup) -> None:
    clock = ManualClock()
    patient = {"store_timeout": 10.0, "connect_timeout": 10.0, "deadline": 30.0}
    with driven(face, hangup.url, load_user=lambda _: {}, clock=clock, **patient) as driver:

        def attempts_of(requests: int) -> int:
            before = hangup.accepted
            for _ in range(requests):
                with pytest.raises(UnavailableError):
                    driver.enter(now=clock.wall())
            return hangup.accepted - before

        until_open = [attempts_of(1) for _ in range(3)]
        assert min(until_open) > 0
        assert attempts_of(300) == 0
        for _ in range(3):
            clock.advance(0.5)
            assert 0 < attempts_of(100) <= max(until_open)
            clock.advance(0.4)
            assert attempts_of(100) == 0
            clock.advance(0.1)
        assert driver.face.stats().outages == 1


@pytest.mark.parametrize("face", FACES)
def test_five_hundred_at_once_ask_the_database_through_the_cap(face) -> None:
    at_once = [0, 0]
    mutex = threading.Lock()

    def load(user_id: str) -> dict[str, str]:
        with mutex:
            at_once[0] += 1
            at_once[1] = max(at_once)
        time.sleep(0.005)
        with mutex:
            at_once[0] -= 1
        return {"name": user_id}

    patient = {"deadline": 60.0, "loader_timeout": 20.0, "loader_concurrency": 100}
    options = {"load_user": load, "on_outage": "load", "outage_concurrency": 8, **patient}
    requests = [headers(token_for(str(number))) for number in range(500)]
    with driven(face, f"redis://127.0.0.1:{free_port()}", **options) as driver:
        answers = all_at_once(face, driver, requests)
        assert [answer.user.name for answer in answers] == [str(number) for number in range(500)]
        assert at_once == [0, 8]
        assert driver.face.stats().outage_answers == driver.face.stats().loads == 500


@pytest.mark.parametrize("face", FACES)
def test_more_at_once_than_connections_wait_for_one(face, redis_url, prefix, client) -> None:
    patient = {"deadline": 100.0, "loader_timeout": 20.0, "store_timeout": 10.0, "connect_timeout": 10.0}
    options = {"load_user": lambda user_id: {"name": user_id}, "prefix": prefix, "max_connections": 2, **patient}
    requests = [headers(token_for(str(number))) for number in range(100)]
    with driven(face, redis_url, **options) as driver:
        opened = client.info("stats")["total_connections_received"]
        assert [answer.user.name for answer in all_at_once(face, driver, requests)] == list(map(str, range(100)))
        assert driver.face.stats().outages == driver.face.stats().unavailable == 0
        assert client.info("stats")["total_connections_received"] - opened <= 2
