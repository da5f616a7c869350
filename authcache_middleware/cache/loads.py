"""From a subject to a fresh record: the loader's row, and what Redis knows to be revoked."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

from authcache_middleware.cache.store import Store
from authcache_middleware.errors import UnavailableError, frames_of
from authcache_middleware.events import Loaded
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Clock, Work, WorkClosedError
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import (
    ForeignValueError,
    Record,
    Revocations,
    UnreadableValueError,
    UnstorableUserError,
    pack_record,
    read_record,
)
from authcache_middleware.users.row import UnreadableRowError, row_revoked_before

__all__ = ["LoadError", "Loads", "RecordLife", "to_ms"]

_UNKNOWN: Final = Revocations(sessions=None)

_log = logging.getLogger("authcache_middleware")


class LoadError(Exception):
    """The loader gave no answer that can be used; why has been logged."""


@dataclass(frozen=True, slots=True)
class RecordLife:
    """How long records live, in seconds."""

    ttl: float
    negative_ttl: float
    jitter: float
    """The share of the ttl by which a life is shortened at most, at random."""

    def of(self, row: object) -> float:
        """A life for this row's record; shortened so that what was stored at once does not end at once."""
        ttl = self.negative_ttl if row is None else self.ttl
        return ttl * (1 - self.jitter * random.random())  # noqa: S311 - no secret


@final
class Loads:
    """Makes records of one issuer's users."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        keys: UserKeys,
        issuer: str | None,
        life: RecordLife,
        revoked_before: str,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._issuer = issuer
        self._life = life
        self._revoked_before = revoked_before
        self._reporter = reporter

    async def load(
        self, subject: str, loader: Work, cause: Literal["miss", "refresh", "outage"]
    ) -> tuple[Record, bytes]:
        """The record, and its bytes: what every reader of them gets. A place at the loader is in hand, and given back.

        The revocations and sessions are read after the row, whose reading began after the lease stood; in an outage not
        at all: the row alone decides. Raises ``LoadError``, or ``UnavailableError`` where Redis does not answer.
        """
        started = self._clock.monotonic()
        outcome: Literal["found", "unknown", "failed"] = "failed"
        try:
            row = await self._row(subject, loader)
            outcome = "unknown" if row is None else "found"
        finally:
            seconds = self._clock.monotonic() - started
            if outcome == "failed":
                self._reporter.tell(Loaded(seconds, cause, outcome))
        try:
            revocations = _UNKNOWN if cause == "outage" else await self._revocations(subject)
            return self._made(subject, row, revocations, to_ms(seconds))
        except LoadError:
            outcome = "failed"
            raise
        finally:  # only now is it known whether what it returned can be used
            self._reporter.tell(Loaded(seconds, cause, outcome))

    def _made(
        self, subject: str, row: Mapping[str, Any] | None, revocations: Revocations, load_ms: int
    ) -> tuple[Record, bytes]:
        now_ms = to_ms(self._clock.wall())
        ends_ms = now_ms + to_ms(self._life.of(row))
        try:
            revocations = _joined(revocations, row_revoked_before(row, self._revoked_before))
            packed = pack_record(Record(self._issuer, subject, row, revocations, now_ms, load_ms, ends_ms))
            return read_record(packed, issuer=self._issuer, subject=subject, max_bytes=len(packed)), packed
        except (UnstorableUserError, UnreadableValueError, UnreadableRowError) as exc:
            _log.error("load_user returned what a record cannot hold: %s", exc)
        raise LoadError

    async def _row(self, subject: str, loader: Work) -> Mapping[str, Any] | None:
        try:
            row = await loader.call(subject)
        except WorkClosedError:
            raise UnavailableError("closed") from None
        except Exception as exc:  # noqa: BLE001 - whatever the application's function raises
            _log.error("load_user raised %s\n%s", type(exc).__name__, frames_of(exc))
        else:
            if row is None or isinstance(row, Mapping):
                return row
            _log.error("load_user returned a %s: it must return a mapping or None", type(row).__name__)
        raise LoadError

    async def _revocations(self, subject: str) -> Revocations:
        try:
            return await self._store.revocations(self._keys.revocations(subject))
        except ForeignValueError as exc:
            raise UnavailableError("the revocations are unreadable") from exc


def _joined(revocations: Revocations, row_before_s: int | None) -> Revocations:
    """Either may know of a log-out that the other has lost."""
    if row_before_s is None:
        return revocations
    return replace(revocations, before_s=max(revocations.before_s or 0, row_before_s))


def to_ms(seconds: float) -> int:
    """Whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))
