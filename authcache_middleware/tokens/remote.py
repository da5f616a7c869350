"""Keys that a provider publishes: what is held of them, and who fetches them when.

Verification stays a plain function over one immutable ``KeySet``: the snapshot that ``RemoteKeys.current`` returns. It
is replaced as a whole and read without a lock, so a token whose key is known waits for nobody, whatever is being
fetched. Where the key is not in the snapshot, the verifier raises ``UnknownKeyError``; whoever lets it pass has
refused the token. ``KeyFetcher.retry``, which awaits, catches it, has the keys fetched if the ``Schedule`` allows it,
and verifies once more. Keys that are due are renewed in the background.

``RemoteKeys`` is one for a process and does not wait. A ``KeyFetcher`` belongs to an event loop, or to the threads of a
process, and does. One fetch is under way at a time, for all of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, final

from authcache_middleware.errors import ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.events import KeysFetched
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Cell, Runtime, Stop
from authcache_middleware.tokens.jwk_set import JWKSet, UnusableAnswerError, read_jwk_set
from authcache_middleware.tokens.jwks import JWKS, Get
from authcache_middleware.tokens.keys import KeySet, allowed_algorithms
from authcache_middleware.tokens.material import FAMILIES
from authcache_middleware.tokens.schedule import Schedule

__all__ = ["KeyFetcher", "RemoteKeys", "UnknownKeyError"]

_POLL: Final = 0.01
_GRACE: Final = 1.0
_MOST_TRIES: Final = 2

T = TypeVar("T")

_log = logging.getLogger("authcache_middleware")


class UnknownKeyError(InvalidTokenError):
    """The token is not refused for good: its key may be one that was published since ``seen`` was fetched."""

    def __init__(self, source: RemoteKeys, seen: KeySet | None, reason: str) -> None:
        super().__init__(reason)
        self.source = source
        self.seen = seen


class _Held(NamedTuple):
    """Keys, and until when they serve, and serve without anything to be done; never changed."""

    keys: KeySet | None
    until: float
    settled_until: float


class _Flight:
    """One fetch under way."""

    __slots__ = ("began", "cell", "is_good", "is_over", "number", "runtime", "until")

    def __init__(self, runtime: Runtime, number: int, began: float, until: float) -> None:
        self.runtime = runtime
        self.cell: Cell[None] = runtime.cell()
        self.number = number
        self.began = began
        self.until = until
        self.is_over = False
        self.is_good = False


class _Seat(NamedTuple):
    flight: _Flight
    leads: bool


@final
class RemoteKeys:
    """The last good keys of one provider, in this process. A ``KeySource``.

    ``now`` is the monotonic clock. ``begin_anew`` comes before anything else, and again in a forked child, which keeps
    the keys: they are its parent's and as good.
    """

    def __init__(self, provider: JWKS, algorithms: Iterable[str], *, now: Callable[[], float]) -> None:
        self.provider = provider
        self.allowed = allowed_algorithms(algorithms)
        if any(FAMILIES[name] == "oct" for name in self.allowed):
            raise ConfigurationError("algorithms", "a provider publishes public keys: HS256, 384 and 512 need a secret")
        self.algorithms = frozenset(self.allowed)
        self._now = now
        self._held = _Held(None, -math.inf, -math.inf)
        self._schedule = Schedule(refresh=provider.refresh, max_stale=provider.max_stale)
        self._flights_begun = 0
        self._keys_of_flight = 0
        self._has_told = False

    def begin_anew(self, mutex: AbstractContextManager[Any], reporter: Reporter) -> None:
        """With this lock, and no fetch under way: a parent's lock may be held for ever, and its fetch end nowhere."""
        self._mutex = mutex  # guards the schedule and the flight, and every change of what is held
        self._reporter = reporter
        self._flight: _Flight | None = None
        self._schedule.begin_anew()
        self._hold(self._held.keys)

    def current(self) -> KeySet | None:
        """See ``KeySource``."""
        held = self._held
        return held.keys if self._now() < held.until else None

    def settled(self) -> KeySet | None:
        """The same; ``None`` also where something is to be done for them, such as renewing them."""
        held = self._held
        return held.keys if self._now() < held.settled_until else None

    @property
    def begun(self) -> int:
        """How many fetches have begun: what a later one brings is newer than this moment."""
        return self._flights_begun

    def board(self, runtime: Runtime, since: int) -> _Seat | None:
        """A seat in the fetch under way, or in a new one if that is allowed, for a token whose key is not known.

        ``None`` where a fetch is not allowed, or would bring nothing new: the keys were asked for after ``since``.
        """
        with self._mutex:
            now = self._now()
            if self._flight is not None and now < self._flight.until:
                return _Seat(self._flight, leads=False)
            if (self._keys_of_flight > since and now < self._held.until) or not self._schedule.may_ask(now):
                return None
            return _Seat(self._begin(runtime, now, asked=True), leads=True)

    def board_if_due(self, runtime: Runtime) -> _Flight | None:
        """A new fetch where keys are held that are due, and none is under way."""
        with self._mutex:
            now = self._now()
            is_idle = self._flight is None or now >= self._flight.until
            if not is_idle or not self._schedule.renews_at <= now < self._held.until:
                return None
            return self._begin(runtime, now, asked=False)

    def land(self, flight: _Flight, fetched: JWKSet | None, problem: str | None) -> None:
        """End the fetch, with what it has brought or why it brought nothing.

        The first end counts; but keys that come after nobody waited any more are good, unless newer ones are there.
        """
        with self._mutex:
            if flight.is_over and (fetched is None or flight.number < self._keys_of_flight):
                return
            flight.is_good, flight.is_over = fetched is not None, True
            if self._flight is flight:
                self._flight = None
            now = self._now()
            changed = fetched is not None and (self._held.keys is None or not self._held.keys.is_same(fetched.keys))
            if fetched is None:
                self._schedule.failed(flight.began, now)
            else:
                self._schedule.succeeded(flight.began)
                self._keys_of_flight = flight.number
            # Keys that have not changed stay the same object: what was verified with them stays remembered.
            self._hold(fetched.keys if fetched is not None and changed else self._held.keys)
        flight.cell.put(None)
        self._tell(flight, fetched, problem, changed=changed)

    def refusal(self) -> UnavailableError | None:
        """What to say to a token whose key is not known: 503 where the provider could not be asked, else nothing."""
        with self._mutex:
            now = self._now()
            if now < self._held.until and not self._schedule.has_failed:
                return None
            return UnavailableError("keys", retry_after=max(1, math.ceil(self._schedule.pause(now))))

    def _begin(self, runtime: Runtime, now: float, *, asked: bool) -> _Flight:
        self._schedule.began(now, asked=asked)
        self._flights_begun += 1
        self._hold(self._held.keys)
        if self._flight is not None:  # it was lost: its loop is gone, or it hangs where nothing can interrupt it
            self._flight.is_over = True
        self._flight = _Flight(runtime, self._flights_begun, now, now + self.provider.longest + _GRACE)
        return self._flight

    def _hold(self, keys: KeySet | None) -> None:
        until = self._schedule.ends_at
        self._held = _Held(keys, until, min(until, self._schedule.renews_at))

    def _tell(self, flight: _Flight, fetched: JWKSet | None, problem: str | None, *, changed: bool) -> None:
        seconds = self._now() - flight.began
        if fetched is None:
            self._reporter.tell(KeysFetched(seconds, "failed", 0))
            if not self._has_told:
                _log.warning("the keys of %s could not be fetched: %s", self.provider.host, problem)
        else:
            self._reporter.tell(KeysFetched(seconds, "changed" if changed else "same", fetched.skipped))
            if changed and fetched.skipped:
                _log.warning("%s keys of %s are broken, and left out", fetched.skipped, self.provider.host)
        self._has_told = fetched is None

    def __repr__(self) -> str:
        return f"<RemoteKeys: {self.provider.host}, {self._held.keys!r}>"


@final
class KeyFetcher:
    """Fetches the keys of one provider, for one event loop or for the threads of one process."""

    def __init__(self, source: RemoteKeys, get: Get, runtime: Runtime) -> None:
        self._source = source
        self._get = get
        self._runtime = runtime

    def renew_if_due(self) -> None:
        """Begin to renew keys that are due, in the background. A plain function."""
        if self._source.settled() is not None:
            return
        flight = self._source.board_if_due(self._runtime)
        if flight is not None:
            try:
                self._runtime.background(partial(self._fly_behind, flight), "authcache-keys")
            except BaseException as exc:
                self._source.land(flight, None, type(exc).__name__)
                if not isinstance(exc, Exception):  # no thread to be had is no reason to refuse a token
                    raise

    async def retry(self, check: Callable[[], T], unknown: UnknownKeyError) -> T:
        """What ``check`` returns once the keys are there that it has missed.

        Waits for one fetch, two where the first was under way before. Raises ``UnavailableError`` where the provider
        gave no answer that can be used, and otherwise what ``check`` raises.
        """
        since = self._source.begun
        for _ in range(_MOST_TRIES):
            if self._source.current() is unknown.seen and not await self._has_fetched(since):
                break
            try:
                return check()
            except UnknownKeyError as again:
                unknown = again
        raise InvalidTokenError(unknown.reason)

    async def _has_fetched(self, since: int) -> bool:
        seat = self._source.board(self._runtime, since)
        if seat is None:
            refusal = self._source.refusal()
            if refusal is not None:
                raise refusal
            return False
        if seat.leads:
            lost = partial(self._source.land, seat.flight, None, "it was interrupted")
            await self._runtime.start(self._fly(seat.flight), lost)
        if not await self._landed(seat.flight):
            raise self._source.refusal() or UnavailableError("keys")
        return True

    async def _landed(self, flight: _Flight) -> bool:
        """Whether the fetch has brought keys."""
        longest = self._source.provider.longest + _GRACE
        if flight.runtime is self._runtime:
            try:
                await flight.cell.wait(longest)
            except TimeoutError:
                self._source.land(flight, None, "it did not end")
        else:  # another event loop's, whose cell can not be waited for here
            for _ in range(math.ceil(longest / _POLL)):
                if flight.is_over:
                    break
                await self._runtime.sleep(_POLL)
        return flight.is_good

    async def _fly_behind(self, flight: _Flight, _stop: Stop) -> None:
        await self._fly(flight)

    async def _fly(self, flight: _Flight) -> None:
        fetched, problem = None, "it was interrupted"
        try:
            text = await self._source.provider.fetch(self._get)
            fetched = read_jwk_set(text, self._source.allowed)
        except UnusableAnswerError as exc:
            problem = str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the last good keys go on; its text may be anything
            problem = type(exc).__name__
        finally:
            self._source.land(flight, fetched, problem)
