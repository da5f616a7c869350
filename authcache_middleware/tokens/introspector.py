"""Who asks about opaque tokens, when, and what is remembered of the answers.

    memory         an answer or a refusal that is fresh: done
    flight         one for each token, which all wait for who come meanwhile
    shared answer  one that another process has had
    provider       with one of few places in hand; the answer is kept, and shared

What comes out says what the token is. Whether its user may enter is judged at each request, as for any token.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, Literal, Protocol, final

from authcache_middleware.bounded import BoundedMap, Kept
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.events import Introspected as Told
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Cell, Clock, Places, Runtime
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.answers import Introspected, digest_of, read_answer, repeats
from authcache_middleware.tokens.introspection import Introspection, Post
from authcache_middleware.tokens.jwk_set import UnusableAnswerError
from authcache_middleware.tokens.sealed import Answer
from authcache_middleware.tokens.strict import MAX_TOKEN
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["Introspector", "SharedAnswers"]

_UNAVAILABLE: Final = "introspection"
_GRACE: Final = 2.0
_PAUSE: Final = 1.0
_MOST_REFUSALS: Final = 10_000

_log = logging.getLogger("authcache_middleware")


class SharedAnswers(Protocol):
    """A port: answers that processes share. Losing one costs a question, and reading a wrong one is impossible."""

    async def get(self, token: str) -> Answer | None:
        """The answer about this token, as the provider gave it; ``None`` also where that cannot be known."""
        ...

    async def put(self, token: str, answer: Answer, *, seconds: float) -> None:
        """Share the answer for so long, if that can be done."""
        ...

    async def delete(self, token: str) -> None:
        """Forget it; ``UnavailableError`` where that was not confirmed."""
        ...


class _Known(Kept):
    __slots__ = ("introspected",)

    def __init__(self, introspected: Introspected) -> None:
        self.introspected = introspected


class _Refused(Kept):
    __slots__ = ("reason", "until")

    def __init__(self, reason: str | None, until: float) -> None:
        self.reason = reason
        """``None`` where the provider gave no answer."""
        self.until = until
        """By the monotonic clock."""


_Outcome = Introspected | _Refused


class _Flight:
    __slots__ = ("cell", "until")

    def __init__(self, cell: Cell[_Outcome], until: float) -> None:
        self.cell = cell
        self.until = until


@final
class Introspector:
    """Asks about the opaque tokens of one issuer, for one event loop or for the threads of one process.

    ``entries``: how many answers are kept, of ``most_bytes`` in all.
    """

    def __init__(
        self,
        terms: Introspection,
        verifier: TokenVerifier,
        *,
        post: Post,
        shared: SharedAnswers | None,
        places: Places,
        runtime: Runtime,
        clock: Clock,
        reporter: Reporter,
        entries: int,
        most_bytes: int,
    ) -> None:
        self._terms = terms
        self._verifier = verifier
        self._post = post
        self._shared = shared
        self._places = places
        self._runtime = runtime
        self._clock = clock
        self._reporter = reporter
        self._known: BoundedMap[bytes, _Known] = BoundedMap(entries, most_bytes)
        self._refused: BoundedMap[bytes, _Refused] = BoundedMap(_MOST_REFUSALS)
        self._flights: dict[bytes, _Flight] = {}
        self._mutex = runtime.mutex()  # guards the three
        self._longest = 2 * terms.transport.timeout + _GRACE
        self._has_told = False

    async def verify(self, token: str) -> Introspected:
        """What the token is, which may be used now.

        Waits for the provider where that is not known. Raises ``InvalidTokenError`` and ``UnavailableError``.
        """
        introspected = await self.recognise(token)
        now = self._clock.wall()
        rules.refuse_late(introspected.claims.expires_at, now, self._verifier.leeway)
        rules.refuse_early(introspected.not_before, introspected.claims.issued_at, now, self._verifier.leeway)
        return introspected

    async def recognise(self, token: str) -> Introspected:
        """The same, whether or not its time has come or passed: for ending it, never for letting it in."""
        if len(token) > MAX_TOKEN:
            raise InvalidTokenError("oversized")
        if not token.isascii() or not token.isprintable() or " " in token or not token:  # RFC 6750, section 2.1
            raise InvalidTokenError("malformed")
        digest = digest_of(token)
        outcome = self._remembered(digest) or await self._flown(digest, token)
        if isinstance(outcome, Introspected):
            return outcome
        if outcome.reason is None:
            raise UnavailableError(_UNAVAILABLE)
        raise InvalidTokenError(outcome.reason)

    async def forget(self, token: str) -> None:
        """Drop what is kept of the token's answer, here and where it is shared; ``UnavailableError`` as ``delete``."""
        with self._mutex:
            self._known.pop(digest_of(token))
        if self._shared is not None:
            await self._shared.delete(token)

    def _remembered(self, digest: bytes) -> _Outcome | None:
        known = self._known.get(digest)
        if known is not None and known.introspected.is_fresh(self._clock.wall()):
            return known.introspected
        refused = self._refused.get(digest)
        return refused if refused is not None and self._clock.monotonic() < refused.until else None

    async def _flown(self, digest: bytes, token: str) -> _Outcome:
        """How the flight ends that is under way for the token, or one that begins now."""
        with self._mutex:
            now, flight = self._clock.monotonic(), self._flights.get(digest)
            leads = flight is None or now >= flight.until  # an older one hangs where nothing can interrupt it
            if flight is None or leads:
                flight = self._flights[digest] = _Flight(self._runtime.cell(), now + self._longest)
        if leads:
            lost = partial(self._land, digest, flight, _Refused(None, now))
            await self._runtime.start(self._fly(digest, flight, token), lost)
        try:
            return await flight.cell.wait(self._longest)
        except TimeoutError:
            raise UnavailableError(_UNAVAILABLE) from None

    async def _fly(self, digest: bytes, flight: _Flight, token: str) -> None:
        outcome: _Outcome = self._refusal(None, 0.0)
        try:
            outcome = await self._outcome(token)
        except Exception as exc:  # noqa: BLE001 - a fault of ours is an outage too; its text may be anything
            _log.error("an introspection failed unexpectedly: %s", type(exc).__name__)
        finally:  # also when the leader is killed: nobody may be left hanging
            self._land(digest, flight, outcome)

    def _land(self, digest: bytes, flight: _Flight, outcome: _Outcome) -> None:
        with self._mutex:
            if self._flights.get(digest) is flight:
                del self._flights[digest]
                self._known.pop(digest)  # it was too old, and would be new again by a clock that is set back
                if isinstance(outcome, _Refused):
                    self._refused.put(digest, outcome)
                elif outcome.is_fresh(self._clock.wall()):
                    self._known.put(digest, _Known(outcome), weight=outcome.size)
        flight.cell.put(outcome)

    async def _outcome(self, token: str) -> _Outcome:
        shared = None if self._shared is None else await self._shared.get(token)
        if shared is not None:
            introspected = self._read_shared(shared, token)
            if introspected is not None:
                return introspected
        try:
            await self._places.enter(self._terms.transport.timeout)
        except TimeoutError:
            return self._refusal(None, 0.0)  # it was not asked about: the next request may have more luck
        try:
            return await self._asked(token)
        finally:
            self._places.leave()

    def _read_shared(self, answer: Answer, token: str) -> Introspected | None:
        """What another process was told, if that is fresh and good by the rules of this one; else it is asked anew."""
        try:
            introspected = read_answer(answer, token, self._verifier, self._terms)
        except (InvalidTokenError, UnusableAnswerError):
            return None
        return introspected if introspected.is_fresh(self._clock.wall()) else None

    async def _asked(self, token: str) -> _Outcome:
        asked_at, began = self._clock.wall(), self._clock.monotonic()
        problem = ""
        try:
            answer = Answer(await self._terms.ask(self._post, token), asked_at)
            introspected = read_answer(answer, token, self._verifier, self._terms)
        except InvalidTokenError as refused:
            self._tell(began, "refused", "")
            return self._refusal(refused.reason, self._terms.negative_ttl)
        except UnusableAnswerError as exc:
            problem = str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody is let in or turned away; its text may be anything
            problem = type(exc).__name__
        if problem:
            self._tell(began, "failed", problem)
            return self._refusal(None, _PAUSE)
        self._tell(began, "active", "")
        seconds = introspected.until - self._clock.wall()
        # Some repeat the token, which then would stand in the store.
        if self._shared is not None and seconds > 0 and not repeats(answer, token):
            await self._shared.put(token, answer, seconds=seconds)
        return introspected

    def _refusal(self, reason: str | None, seconds: float) -> _Refused:
        return _Refused(reason, self._clock.monotonic() + seconds)

    def _tell(self, began: float, outcome: Literal["active", "refused", "failed"], problem: str) -> None:
        self._reporter.tell(Told(self._clock.monotonic() - began, outcome))
        if problem and not self._has_told:
            _log.warning("%s was asked about a token, and gave no answer: %s", self._terms.host, problem)
        self._has_told = bool(problem)
