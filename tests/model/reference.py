"""What the package promises, in the simplest form that it can be said: who may be told what, and from when on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler import Place, Scheduler

from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.policy import session_mark
from authcache_middleware.users.record import Record, is_lease, read_record

ROUNDING = 1e-9
MOST_SKEW = 3.0
"""By how much a process may be behind the server that drops what has expired, which rounds up."""


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
class _Login:
    """A session that is on record, as its user was told."""

    mark: str
    expires: float
    called_at: int
    answered_at: int
    forgotten: bool


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
    logins: list[_Login] = field(default_factory=list)
    ever_begun: dict[str, float] = field(default_factory=dict)
    """Every session that was ever on record, with its last end."""
    ended_sessions: dict[str, int] = field(default_factory=dict)
    """Those that were taken off it, and the moment of that."""
    forgotten_at: int = -1
    deleted_at: int = 0


class Reference:
    """The database's rows, and the judge of every answer. *Moments* number what happens in the order it does."""

    def __init__(self, scheduler: Scheduler, *, max_staleness: float, max_sessions: int | None = None) -> None:
        self._scheduler = scheduler
        self._max_sessions = max_sessions
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

    def sessions_changed(self, key: str, before: dict[str, int], after: dict[str, int], moment: int) -> None:
        """A command has been executed that may begin or end some; never may there be too many."""
        found = self._subjects[key.rpartition(":")[2]]
        for mark, end in after.items():
            found.ever_begun[mark] = max(found.ever_begun.get(mark, 0), end)
        for mark in before.keys() - after.keys():
            found.ended_sessions.setdefault(mark, moment)
        if self._max_sessions is not None and len(after) > self._max_sessions:
            raise ViolationError(f"S: {len(after)} sessions are on record of {key}")

    def forgotten(self, key: str) -> None:
        """Redis has lost what was revoked: the one thing that nobody can make up for."""
        found = self._subjects[key.rpartition(":")[2]]
        found.forgotten_at = self.next_moment()
        for ending in [*found.endings, *found.logins]:
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
        answered_at = self.next_moment()
        forgotten = found.forgotten_at > called[1]
        found.endings.append(_Ending(by, *called, now, answered_at, executed_at, mark, everything, forgotten))
        for session, ended_at in found.ended_sessions.items():  # whoever ended it: its DEL, or a later one, is answered
            if ended_at < executed_at and not any(each.mark == session for each in found.endings):
                is_lost = found.forgotten_at > ended_at
                found.endings.append(_Ending(by, *called, now, answered_at, executed_at, session, False, is_lost))

    def logged_in(self, subject: str, mark: str, expires: float, *, called_at: int) -> None:
        """A login has returned: from here on every process knows of it."""
        found = self._subjects[subject]
        forgotten = found.forgotten_at > called_at
        found.logins.append(_Login(mark, expires, called_at, self.next_moment(), forgotten))

    def request(self, place: Place, by: object, subject: str, token: Token) -> Request:
        return Request(place, by, subject, token, self._scheduler.now, self.next_moment())

    def required(self, request: Request, verdict: str, wall: float) -> None:
        """Where a session is required, nobody is let in without one, and nobody refused who has one."""
        found, mark = self._subjects[request.subject], session_mark(request.token.claims)
        end = 0.0 if mark is None else found.ever_begun.get(mark, 0.0)
        said = f"{request.place.name}, of {request.subject}, asked {request.began:.4f}"
        if verdict == "active" and end <= wall:
            raise ViolationError(f"S: somebody was let in without a session ({said})")
        if verdict != "session" or mark in found.ended_sessions:
            return
        for login in found.logins:
            is_known = login.mark == mark and login.answered_at <= request.moment and not login.forgotten
            if is_known and login.expires > wall + MOST_SKEW:
                raise ViolationError(f"S: a session was not known, whose login had been answered ({said})")

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
    claims = token.claims
    names = (f"t:{claims.token_id}", f"i:{claims.issued_at!r}", f"s:{claims.session_id}")
    return ending.mark is not None and ending.mark in names
