"""What the package promises, in the simplest form that it can be said: who may be told what, and from when on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler import Place, Scheduler

from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import Record, is_lease, read_record

ROUNDING = 1e-9


class ViolationError(AssertionError):
    """A promise is broken."""


class Token(NamedTuple):
    claims: Claims
    issued: float
    """When it really was: its own ``iat`` is by a clock of its own."""


class Request(NamedTuple):
    """What is known of a request when it begins; ``by`` is whose memory it is answered from."""

    place: Place
    by: object
    subject: str
    token: Token
    began: float
    moment: int


@dataclass
class _Ending:
    """An invalidation that was confirmed, with the revocation that came before it."""

    by: object
    called: float
    called_at: int
    answered: float
    answered_at: int
    executed_at: int
    mark: str | None = None
    everything: bool = False
    forgotten: bool = False


@dataclass
class _Row:
    from_moment: int
    version: int
    row: dict[str, Any] | None


@dataclass
class Subject:
    """One user: his rows since the beginning, and what was ended of him."""

    rows: list[_Row] = field(default_factory=list)
    endings: list[_Ending] = field(default_factory=list)
    forgotten_at: int = -1
    deleted_at: int = 0


class Reference:
    """The database's rows, and the judge of every answer. *Moments* number what happens in the order it does."""

    def __init__(self, scheduler: Scheduler, *, max_staleness: float) -> None:
        self._scheduler = scheduler
        self._max_staleness = max_staleness
        self._moment = 0
        self._subjects: dict[str, Subject] = defaultdict(Subject)

    def next_moment(self) -> int:
        self._moment += 1
        return self._moment

    # -- the database

    def commit(self, subject: str, row: dict[str, Any] | None) -> None:
        rows = self._subjects[subject].rows
        rows.append(_Row(self.next_moment(), len(rows) + 1, row))

    def current(self, subject: str) -> dict[str, Any] | None:
        """The row as a loader reads it, which says of which version it is, and when it was read."""
        last = self._subjects[subject].rows[-1]
        return None if last.row is None else {**last.row, "version": last.version, "read": self.next_moment()}

    # -- what happens in Redis

    def stored(self, key: str, value: bytes) -> None:
        """Nothing loaded before a DEL is put back after it."""
        prefix, _, subject = key.rpartition(":")
        if prefix != "user" or subject not in self._subjects or is_lease(value) or value == b"garbage":
            return
        record = read_record(value, issuer=None, subject=subject)
        if not self._is_newer(record, self._subjects[subject].deleted_at):
            raise ViolationError(f"G1: a row that was read before a DEL of {key} was put back after it")

    def deleted(self, key: str, moment: int) -> None:
        self._subjects[key.rpartition(":")[2]].deleted_at = moment

    def forgotten(self, key: str) -> None:
        """Redis has lost what was revoked: the one thing that nobody can make up for."""
        found = self._subjects[key.rpartition(":")[2]]
        found.forgotten_at = self.next_moment()
        for ending in found.endings:
            ending.forgotten = True

    # -- what callers are told

    def ended(
        self,
        subject: str,
        by: object,
        *,
        called: tuple[float, int],
        executed_at: int,
        mark: str | None = None,
        everything: bool = False,
    ) -> None:
        """An invalidation has returned, or a DEL was answered."""
        found, now = self._subjects[subject], self._scheduler.now
        found.endings.append(
            _Ending(by, *called, now, self.next_moment(), executed_at, mark, everything, found.forgotten_at > called[1])
        )

    def request(self, place: Place, by: object, subject: str, token: Token) -> Request:
        return Request(place, by, subject, token, self._scheduler.now, self.next_moment())

    def answered(self, request: Request, record: Record, verdict: str, source: str) -> None:
        """An answer knows of all that had ended when its request began; one from memory, of what was not just now."""
        for ending in self._subjects[request.subject].endings:
            if ending.answered_at > request.moment:
                continue
            is_fresh = request.began <= ending.answered + self._max_staleness + ROUNDING
            if source == "memory" and is_fresh and ending.by is not request.by:
                continue
            said = f"asked {request.began:.4f}, invalidated {ending.answered:.4f}"
            if not self._is_newer(record, ending.executed_at):
                raise ViolationError(
                    f"{'G2' if source == 'memory' else 'G1'}: {request.place.name} was told of {request.subject} from "
                    f"{source} what had been loaded before an invalidation was answered ({said})"
                )
            if verdict == "active" and not ending.forgotten and _ends(ending, request.token):
                raise ViolationError(
                    f"{'G2' if source == 'memory' else 'G1'}: {request.place.name} let {request.subject} in from "
                    f"{source} with a token that was revoked ({said})"
                )

    def knows(self, record: Record) -> bool:
        """Whether the record is of the newest row: when all is quiet, it has to be."""
        newest = self._subjects[record.subject].rows[-1]
        return (record.user or {}).get("version") == (None if newest.row is None else newest.version)

    def _is_newer(self, record: Record, moment: int) -> bool:
        """Whether its row was read after that moment. That there is no row does not say when: perhaps it was."""
        if record.user is not None:
            return record.user["read"] > moment
        rows = self._subjects[record.subject].rows
        ends = [row.from_moment for row in rows[1:]] + [self._moment + 1]
        return any(row.row is None and end > moment for row, end in zip(rows, ends, strict=True))


def _ends(ending: _Ending, token: Token) -> bool:
    if ending.everything:
        return token.issued <= ending.called
    return ending.mark is not None and ending.mark in (f"t:{token.claims.token_id}", f"i:{token.claims.issued_at!r}")
