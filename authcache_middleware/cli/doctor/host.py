"""What kind of server it is: its version, its role, what it forgets, and its clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from authcache_middleware.cli.doctor.findings import Finding, Unknown, found
from authcache_middleware.cli.doctor.line import Line, NoAnswerError, RefusedError, Server
from authcache_middleware.runtime import Clock

__all__ = ["Host", "clock", "eviction", "greeting", "kind"]

_FLOORS: Final = {"redis": (7, 0), "valkey": (7, 2)}


@dataclass(frozen=True, slots=True)
class Host:
    """What the server says of itself; ``None`` where it says nothing."""

    server: str | None = None
    version: str | None = None
    role: str | None = None
    mode: str | None = None


def greeting(server: Server, line: Line) -> tuple[Host, list[Finding]]:
    """What ``HELLO`` says, asked on a connection of its own, which a proxy may close; else what ``INFO`` says."""
    findings = []
    try:
        with server.line() as other:
            said = _pairs(other.ask("HELLO", 2))
    except (RefusedError, NoAnswerError):
        findings.append(found("hello-refused"))
        said = {}
    told = _info(line, "server")
    # Valkey names itself here, and in HELLO only where it need not pass for a Redis
    is_valkey = "valkey_version" in told or said.get("server") == "valkey"
    host = Host(
        server="valkey" if is_valkey else said.get("server") or ("redis" if told else None),
        version=told.get("valkey_version") or said.get("version") or told.get("redis_version"),
        role=said.get("role") or _info(line, "replication").get("role"),
        mode=said.get("mode") or told.get("redis_mode"),
    )
    return host, findings


def kind(host: Host, *, of_a_cluster: bool) -> Iterator[Finding | Unknown]:
    """Its version, its role and whether it is alone, or of a cluster where it should be."""
    if host.mode == "sentinel":
        yield found("sentinel")
        return
    version = None if host.version is None else re.match(r"(\d+)\.(\d+)", host.version)
    if version is None:
        yield Unknown("server-too-old", "neither HELLO nor INFO says the version")
    elif (int(version[1]), int(version[2])) < _FLOORS.get(host.server or "redis", _FLOORS["redis"]):
        names = {"redis": "Redis", "valkey": "Valkey"}
        floors = {name: ".".join(map(str, floor)) for name, floor in _FLOORS.items()}
        yield found("server-too-old", server=names.get(host.server or "", "a server"), version=version[0], **floors)
    if host.role is None:
        yield Unknown("replica", "neither HELLO nor INFO says the role")
    elif host.role not in ("master", "primary"):
        yield found("replica")
    if host.mode == "cluster" and not of_a_cluster:
        yield found("cluster-node")


def eviction(line: Line) -> Finding | Unknown | None:
    """``INFO memory``, or ``CONFIG GET``: a right for one of them is enough."""
    policy = _info(line, "memory").get("maxmemory_policy")
    if policy is None:
        try:
            policy = _pairs(line.ask("CONFIG", "GET", "maxmemory-policy")).get("maxmemory-policy")
        except RefusedError:
            policy = None
    if policy is None:
        return Unknown("evicting-policy", "needs the right +info or +config|get")
    return None if policy == "noeviction" else found("evicting-policy", policy=policy)


def clock(line: Line, ours: Clock, *, leeway: float) -> Finding | Unknown | None:
    """The server's time beside ours, in the middle between question and answer."""
    before = ours.wall()
    try:
        seconds, microseconds = line.ask("TIME")
    except RefusedError:
        return Unknown("clock-skew", "needs the right +time")
    after = ours.wall()
    theirs = int(seconds) + int(microseconds) / 1e6
    # what cannot be told from a slow answer is no skew
    skew = max(before - theirs, theirs - after, 0.0)
    return found("clock-skew", skew=skew, leeway=leeway) if skew > leeway else None


def _info(line: Line, section: str) -> Mapping[str, str]:
    try:
        text: bytes = line.ask("INFO", section)
    except RefusedError:
        return {}
    lines = (each.partition(":") for each in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _pairs(flat: list[Any]) -> dict[str, str]:
    words = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in flat]
    return dict(zip(words[::2], words[1::2], strict=False))
