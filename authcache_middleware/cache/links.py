"""The links to all primaries: followed as the set of them changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, final

from authcache_middleware.cache.link import Link, Primary
from authcache_middleware.cache.memory import Memory
from authcache_middleware.errors import UnavailableError
from authcache_middleware.runtime import Background, Runtime, Stop

__all__ = ["Links", "Topology"]


class Topology(Protocol):
    """Which primaries there are."""

    @property
    def look_every(self) -> float | None:
        """Seconds between two looks; ``None`` where the primaries never change."""
        ...

    def names(self) -> frozenset[str] | None:
        """The primaries as the client that sends the commands sees them now, without asking anyone.

        ``None`` where it has not looked yet, or they never change.
        """
        ...

    async def primaries(self) -> Sequence[Primary]:
        """The primaries, asked for; raises ``UnavailableError``."""
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
    ) -> None:
        self._topology = topology
        self._runtime = runtime
        self._memory = memory
        self._make_link = make_link
        self._at_start = at_start
        self._links: list[Background] = []
        self._followed: frozenset[str] = frozenset()

    def start(self) -> None:
        """Follow the primaries, in the background."""
        self._runtime.background(self._follow, "authcache-links")

    def are_current(self) -> bool:
        """Whether the client still sends its commands to the primaries that are followed."""
        names = self._topology.names()
        return names is None or names == self._followed

    async def _follow(self, stop: Stop) -> None:
        every = self._topology.look_every
        await self._at_start()
        while not stop.is_set:
            try:
                self._relink(await self._topology.primaries())
            except UnavailableError:
                pass  # the links notice by themselves what they can no longer reach
            else:
                if every is None:
                    return
            if await stop.wait(every or 1.0):
                return

    def _relink(self, primaries: Sequence[Primary]) -> None:
        names = frozenset(primary.name for primary in primaries)
        if names == self._followed:
            return
        for link in self._links:
            link.stop()
        self._followed = names
        self._memory.follow(names)
        self._links = [
            self._runtime.background(self._make_link(primary).run, f"authcache-link-{primary.name}")
            for primary in primaries
        ]
