"""What callers saw while something went wrong: every answer against what had been confirmed before it was asked for."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from live import Live

from authcache_middleware import InvalidTokenError, UnavailableError

USERS = 24
ASKERS = 3
REVOKED_AT_ONCE = 12
PAUSE = 0.004


@dataclass
class Report:
    answers: int = 0
    stale: int = 0
    wrongly_refused: int = 0
    from_memory: int = 0
    invalidations: int = 0
    revocations: int = 0
    unconfirmed: int = 0
    unavailable: list[float] = field(default_factory=list)
    """When a caller was told 503."""
    trusted: list[float] = field(default_factory=list)
    """When memory was found to be trusted."""
    others: Counter[str] = field(default_factory=Counter)


class History:
    """Users whose rows change and are invalidated, and others that are revoked for ever, while askers ask.

    A request is stale where it is let in with an older row than one whose invalidation had returned ``max_staleness``
    before the request began, or at all so long after its user's revocation had returned.
    """

    def __init__(self, live: Live, max_staleness: float) -> None:
        self._live = live
        self._max_staleness = max_staleness
        self._rows = dict.fromkeys(map(str, range(USERS)), 1)
        self._floors: dict[str, list[tuple[float, int]]] = {user_id: [] for user_id in self._rows}
        self._revoked: dict[str, float] = {}
        self._victims = [f"r{number}" for number in range(REVOKED_AT_ONCE)]
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.report = Report()

    def load(self, user_id: str) -> dict[str, Any]:
        version = self._rows.get(user_id, 0)
        time.sleep(random.uniform(0, 0.004))
        return {"id": user_id, "version": version}

    def start(self) -> None:
        work = [self._ask] * ASKERS + [self._invalidate, self._revoke, self._look]
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Report:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self.report.from_memory = self._live.stats().memory_hits
        return self.report

    def _run(self, step: Any) -> None:
        while not self._over.is_set():
            try:
                step()
            except Exception as exc:
                self.report.others[f"{type(exc).__name__}: {exc}"[:200]] += 1
                time.sleep(0.05)

    def _ask(self) -> None:
        time.sleep(random.uniform(0, 2 * PAUSE))
        user_id = random.choice([*self._rows, *self._victims, *self._victims])
        headers = self._live.headers(user_id)
        began = time.monotonic()
        floor, is_over = self._known(user_id, began - self._max_staleness)
        never_revoked = user_id not in self._revoked
        try:
            # as the middleware does: memory first
            entered = self._live.there(lambda: self._live.face.recall(headers))
            user = (entered or self._live("authenticate", headers)).user
        except UnavailableError:
            self.report.unavailable.append(time.monotonic())
            time.sleep(0.02)
            return
        except InvalidTokenError:
            with self._lock:
                self.report.answers += 1
                self.report.wrongly_refused += never_revoked and user_id in self._rows
            return
        with self._lock:
            self.report.answers += 1
            self.report.stale += is_over or user["version"] < floor

    def _known(self, user_id: str, at: float) -> tuple[int, bool]:
        """The least version that may be seen, and whether nothing may be, given what had returned by then."""
        floors = [version for returned, version in self._floors.get(user_id, ()) if returned <= at]
        return max(floors, default=0), self._revoked.get(user_id, at + 1) <= at

    def _invalidate(self) -> None:
        time.sleep(random.uniform(0, 0.06))
        user_id = random.choice([*self._rows])
        self._rows[user_id] += 1
        version = self._rows[user_id]
        try:
            self._live("invalidate", user_id)
        except UnavailableError:
            self.report.unconfirmed += 1
        else:
            self._floors[user_id].append((time.monotonic(), version))
            self.report.invalidations += 1

    def _revoke(self) -> None:
        time.sleep(random.uniform(0, 0.2))
        at = random.randrange(REVOKED_AT_ONCE)
        victim = self._victims[at]
        self._revoked.setdefault(victim, float("inf"))  # from here on he may be refused
        try:
            self._live("revoke_user", victim)
        except UnavailableError:
            self.report.unconfirmed += 1
            return
        self._revoked[victim] = time.monotonic()
        self.report.revocations += 1
        time.sleep(2 * self._max_staleness)  # still asked for, when memory would have to know
        self._victims[at] = f"{victim.partition('.')[0]}.{self.report.revocations}"

    def _look(self) -> None:
        if self._live.is_trusted():
            self.report.trusted.append(time.monotonic())
        time.sleep(0.02)
