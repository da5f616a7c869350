"""The two faces, asked alike: one request after the other by a few workers, or many at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.errors import RefusedError, UnavailableError
from authcache_middleware.testing import issue_token

__all__ = ["FACES", "Answer", "Database", "Face", "Headers", "requests_of"]

_SECRET = "only for this benchmark, Mz4kQ9vX2pL7wT5s"  # noqa: S105
_OPTIONS: dict[str, Any] = {"keys": _SECRET, "algorithms": ["HS256"], "issuer": None, "audience": None}
_WORKERS = 4
_PAUSE_S = 0.002  # between two requests of one worker: it is not the interpreter that is measured
_LOAD_S = 0.02
_GUARD_S = 120.0

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """How one request was answered."""

    began: float
    """By ``time.perf_counter``."""
    seconds: float
    status: int


class Database:
    """A loader that takes 20 ms and counts how many ask at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._mutex = threading.Lock()

    def load(self, user_id: str) -> dict[str, str]:
        """For threads."""
        self._change(1)
        time.sleep(_LOAD_S)
        self._change(-1)
        return {"id": user_id}

    async def aload(self, user_id: str) -> dict[str, str]:
        """For asyncio."""
        self._change(1)
        await asyncio.sleep(_LOAD_S)
        self._change(-1)
        return {"id": user_id}

    def _change(self, by: int) -> None:
        with self._mutex:
            self._now += by
            self.most = max(self.most, self._now)


class Face(Protocol):
    """One of the two faces and its way to be asked; a context manager, which closes it."""

    name: ClassVar[str]

    def __init__(self, url: str, database: Database, **options: Any) -> None: ...

    def ask_all(self, requests: list[Headers]) -> list[Answer]:
        """All of them at once."""
        ...

    def keep_asking(self, requests: list[Headers], answers: list[Answer]) -> None:
        """By some workers, until it is closed; returns at once."""
        ...

    def is_trusted(self) -> bool:
        """Whether memory may answer."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exc: object) -> None: ...


class Threads:
    """``AuthCache``, asked by threads."""

    name: ClassVar[str] = "threads"

    def __init__(self, url: str, database: Database, **options: Any) -> None:
        self._auth = AuthCache(url, load_user=database.load, **_OPTIONS, **options)
        self._over = threading.Event()
        self._workers: list[threading.Thread] = []

    def ask_all(self, requests: list[Headers]) -> list[Answer]:
        """See ``Face``."""
        answers: list[Answer] = []
        together = threading.Barrier(len(requests))

        def ask(headers: Headers) -> None:
            together.wait()
            answers.append(self._ask(headers))

        threads = [threading.Thread(target=ask, args=(headers,)) for headers in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def keep_asking(self, requests: list[Headers], answers: list[Answer]) -> None:
        """See ``Face``."""

        def work(first: int) -> None:
            turn = first
            while not self._over.wait(_PAUSE_S):
                answers.append(self._ask(requests[turn % len(requests)]))
                turn += 1

        self._workers = [threading.Thread(target=work, args=(first,), daemon=True) for first in range(_WORKERS)]
        for worker in self._workers:
            worker.start()

    def is_trusted(self) -> bool:
        """See ``Face``."""
        return self._auth.stats().memory_trusted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for worker in self._workers:
            worker.join()
        self._auth.close()

    def _ask(self, headers: Headers) -> Answer:
        began, status = time.perf_counter(), 200
        try:
            self._auth.authenticate(headers)
        except (RefusedError, UnavailableError) as exc:
            status = exc.status
        except Exception:  # noqa: BLE001 - which a server would answer so
            status = 500
        return Answer(began, time.perf_counter() - began, status)


class Loop:
    """``AsyncAuthCache``, asked by the tasks of an event loop in a thread of its own."""

    name: ClassVar[str] = "asyncio"

    def __init__(self, url: str, database: Database, **options: Any) -> None:
        self._auth = AsyncAuthCache(url, load_user=database.aload, **_OPTIONS, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = False
        self._workers: list[asyncio.Task[None]] = []

    def ask_all(self, requests: list[Headers]) -> list[Answer]:
        """See ``Face``."""

        async def ask() -> list[Answer]:
            return await asyncio.gather(*map(self._ask, requests))

        answers: list[Answer] = self._run(ask())
        return answers

    def keep_asking(self, requests: list[Headers], answers: list[Answer]) -> None:
        """See ``Face``."""

        async def work(first: int) -> None:
            turn = first
            while not self._over:
                await asyncio.sleep(_PAUSE_S)
                answers.append(await self._ask(requests[turn % len(requests)]))
                turn += 1

        async def begin() -> None:
            self._workers = [asyncio.create_task(work(first)) for first in range(_WORKERS)]

        self._run(begin())

    def is_trusted(self) -> bool:
        """See ``Face``."""

        async def trusted() -> bool:
            return self._auth.stats().memory_trusted

        return bool(self._run(trusted()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        async def end() -> None:
            self._over = True  # and no cancellation, which a request that is under way may swallow before Python 3.12
            await asyncio.gather(*self._workers)
            await self._auth.aclose()

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_GUARD_S)

    async def _ask(self, headers: Headers) -> Answer:
        began, status = time.perf_counter(), 200
        try:
            await self._auth.authenticate(headers)
        except (RefusedError, UnavailableError) as exc:
            status = exc.status
        except Exception:  # noqa: BLE001 - which a server would answer so
            status = 500
        return Answer(began, time.perf_counter() - began, status)


FACES: dict[str, type[Face]] = {face.name: face for face in (Loop, Threads)}


def requests_of(users: int) -> list[Headers]:
    """A request for each of so many users."""
    tokens = (issue_token(_SECRET, subject=str(number), lifetime=3600) for number in range(users))
    return [[("Authorization", f"Bearer {token}")] for token in tokens]
