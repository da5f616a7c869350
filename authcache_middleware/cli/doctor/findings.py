"""What can be found: the names, which stay as they are, and in one line each what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["FINDINGS", "Finding", "Unknown", "found"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``name`` is one of ``FINDINGS``; nothing in it is of a user."""

    name: str
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be looked at, and why; ``name`` is that of the finding."""

    name: str
    why: str


FINDINGS: Final = MappingProxyType(
    {
        "server-too-old": (
            "The server is {server} {version}; from Redis {redis} or Valkey {valkey} on all works.",
            "Upgrade the server.",
        ),
        "replica": (
            "The server is a replica: what is revoked elsewhere comes to it late, and it takes no writes.",
            "Give the address of the primary, or a client made by Sentinel.master_for.",
        ),
        "sentinel": (
            "The server is a Sentinel, which holds no users.",
            "Give the services a client made by Sentinel.master_for, and this command the primary's URL.",
        ),
        "cluster-node": (
            "The server is a node of a cluster; by its URL only the users of its own slots are reached.",
            "Give the services a RedisCluster, and this command --cluster and each primary's URL in turn.",
        ),
        "writes-refused": (
            "The server refuses to write ({code}).",
            "Look at its memory, its disk and its replicas; until then nothing can be revoked.",
        ),
        "hello-refused": (
            "HELLO is refused: clients that speak RESP3 cannot connect this way.",
            "Give the services the URL, for which RESP2 is spoken, or a client made with protocol=2.",
        ),
        "odd-answer": (
            "The answer to {command} is none that a server gives: something in between answers itself.",
            "Connect to the server itself. What comes after this question was not looked at.",
        ),
        "client-refused": (
            "CLIENT is refused ({step}), as by a proxy: this process's memory stays off.",
            "Connect to the server itself, or set max_staleness=0.",
        ),
        "tracking-refused": (
            "Tracking is not permitted to this user ({right}): memory stays off, every request asks Redis.",
            "ACL SETUSER {user} +client|id +client|tracking +subscribe +ping &__redis__:invalidate",
        ),
        "invalidations-lost": (
            "A key was changed and nobody was told: a proxy in between, or a server that does not track.",
            "Connect to the server itself, or set max_staleness=0.",
        ),
        "evicting-policy": (
            "maxmemory-policy is {policy}: a full server forgets revocations, and logged-out tokens pass again.",
            "CONFIG SET maxmemory-policy noeviction, and in the server's configuration; or use save_revocation.",
        ),
        "clock-skew": (
            "This host's clock and the server's differ by {skew:.1f} s, more than the leeway of {leeway:g} s.",
            "Set both by NTP; a revoke_user cuts off by the server's clock.",
        ),
        "missing-rights": (
            "The user of this connection lacks {rights}.",
            "ACL SETUSER {user} {rights}",
        ),
        "foreign-values": (
            "{count} of {looked} keys looked at hold what this package did not write there.",
            "Give the services a prefix that nobody else uses.",
        ),
        "other-version": (
            "{count} of {looked} keys looked at hold records of another version of this package.",
            "Let all services run versions that write the same records; until then some users are loaded uncached.",
        ),
    }
)
"""Name to what is wrong and what to do, with places for what was seen."""


def found(name: str, **seen: object) -> Finding:
    """The finding of that name."""
    what, do = FINDINGS[name]
    return Finding(name, what.format(**seen), do.format(**seen))
