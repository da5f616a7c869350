"""The links to all primaries, followed as the set of them changes; and why memory may be trusted over several.

A link hears of every change on *its* server. So an entry in memory can be old without any link's knowing only where its
key was deleted on a server to which there is no link: one that took a slot over by failover or migration, or that
Sentinels have promoted. Three rules keep that within ``max_staleness``.

1. *All links.* Memory is trusted only while the link to every primary is, and empty after any change in their set.
2. *The look is a fence too.* A look asks all primaries (or all Sentinels) who the primaries are, and counts only where
   they agree. What it proves is dated to *before* its first question, less a fifth of ``max_staleness``: the time that
   is left for the word of a change to reach one of those who are asked. Memory is trusted only while the last look
   that has found the primaries followed is no older than ``max_staleness``. Looks fail safe as heartbeats do: a server
   that does not answer, two that disagree or a look that is late leave memory untrusted.
3. *Only what came from a followed server is kept*: after a GET's reply, the client must still send that key to one,
   and nobody else may have answered for its slot lately (a server to which a slot is moving, key by key).

Say an entry is answered at T, and its key was deleted on server B before T - ``max_staleness``. If B was followed at
that moment, its link has told it (rule 1). If not, the look that memory is trusted by began after the DEL, by at least
a fifth of the bound, and found B to be no primary:

- B had been *promoted*. In a cluster it tells all nodes when it begins to serve, and those that voted for it are
  among the ones asked; the Sentinel that has promoted it is too, unless it is silent just then. One of them
  disagrees, or all name B and everything is emptied. What the old primary says is not enough, and its own link may be
  up again, by then that of a replica or of a primary that nobody else knows: its credit is worth nothing without the
  look.
- *A slot moved* to B. Key by key: the source has told of each key when it left, and what was read from B since was not
  kept (rule 3), unless B was followed. All at once: the source tells of all keys when it learns that the slot is
  gone, and until then it disagrees with B about who has it.
- B came, served and was forgotten by all between two looks: nothing here sees that; it ends with ``memory_ttl``, as
  networks do in which this process sees an old primary, and a majority of its peers, that the others do not.

Between two sets of links nothing is heard and nothing is trusted: an old link's last credit dates from before its end,
and a new link empties memory once it listens. A slot that moves between two followed primaries is pushed by both.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol, final

from authcache_middleware.cache.link import Link, Primary
from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import frames_of
from authcache_middleware.runtime import Background, Runtime, Stop

__all__ = ["Links", "PrimariesUnknownError", "Topology"]

_LOOK_EVERY: Final = 1 / 2
_LOOK_TIMEOUT: Final = 1 / 4
_WORD_TRAVELS: Final = 1 / 5
"""Shares of ``max_staleness``. From the start of one look to the end of the next there is less than what is left."""

_LOOKS: Final = "the looks at the primaries"  # no address

_log = logging.getLogger("authcache_middleware")


class PrimariesUnknownError(Exception):
    """It cannot be told which primaries there are. ``reason`` may be shown: it holds nothing secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Topology(Protocol):
    """Which primaries there are."""

    @property
    def changes(self) -> bool:
        """Whether there may be others later, so that it must be looked at again and again."""
        ...

    async def primaries(self, timeout: float) -> Sequence[Primary]:
        """The primaries, asked for. Two are equal where a link to the one is as good as a link to the other.

        Raises ``PrimariesUnknownError`` where it cannot be told within ``timeout`` seconds, or is told differently.
        """
        ...

    def is_sent_to(self, names: Collection[str], key: str) -> bool:
        """Whether the client sends commands for this key to one of these primaries now. Asks nobody."""
        ...

    async def close(self) -> None:
        """Close what looking has opened; raises nothing."""
        ...


@final
class Links:
    """One link for each primary; memory is trusted only while all of them are up."""

    def __init__(
        self,
        topology: Topology,
        *,
        runtime: Runtime,
        memory: Memory,
        make_link: Callable[[Primary], Link],
        at_start: Callable[[], Awaitable[None]],
        now: Callable[[], float],
        max_staleness: float,
    ) -> None:
        self._topology = topology
        self._runtime = runtime
        self._memory = memory
        self._make_link = make_link
        self._at_start = at_start
        self._now = now
        self._max_staleness = max_staleness
        self._links: list[tuple[Link, Background]] = []
        self._followed: frozenset[Primary] = frozenset()
        self._names: frozenset[str] = frozenset()
        self._told = False

    def start(self) -> None:
        """Follow the primaries, in the background."""
        self._runtime.background(self._follow, "authcache-links")

    def hear_of(self, key: str) -> bool:
        """Whether the client sends the key's commands to a primary that is followed."""
        return self._topology.is_sent_to(self._names, key)

    async def _follow(self, stop: Stop) -> None:
        try:
            await self._at_start()
            while not stop.is_set:
                began = self._now()
                await self._look(began)
                if self._followed and not self._topology.changes:
                    return
                if await stop.wait(max(0.0, began + self._max_staleness * _LOOK_EVERY - self._now())):
                    return
        finally:
            await self._topology.close()

    async def _look(self, began: float) -> None:
        try:
            primaries = await self._topology.primaries(self._max_staleness * _LOOK_TIMEOUT)
            self._relink(primaries)
        except PrimariesUnknownError as exc:
            self._tell(exc.reason)  # memory is trusted no longer than the last look allows
            return
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave memory off for ever
            _log.error("following the primaries failed unexpectedly: %s\n%s", type(exc).__name__, frames_of(exc))
            return
        self._told = False
        if self._topology.changes:
            self._memory.credit(_LOOKS, began - self._max_staleness * _WORD_TRAVELS)

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("memory is off, since the primaries are not known: %s", reason)

    def _relink(self, primaries: Sequence[Primary]) -> None:
        if frozenset(primaries) == self._followed:
            return
        for link, background in self._links:
            background.stop()
            link.replaced()
        self._followed = frozenset(primaries)
        self._names = frozenset(primary.name for primary in primaries)
        self._links = []
        self._memory.follow([*self._names, _LOOKS] if self._topology.changes else self._names)
        try:
            for primary in primaries:
                self._links.append(self._linked(primary))
        except BaseException:  # no thread to be had: the next look tries again
            self._followed = frozenset()
            raise

    def _linked(self, primary: Primary) -> tuple[Link, Background]:
        link = self._make_link(primary)
        return link, self._runtime.background(link.run, f"authcache-link-{primary.name}")
