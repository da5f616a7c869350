"""Which rights the user of the connection lacks: every command is tried, at keys that are nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authcache_middleware.cli.doctor.findings import Finding, found
from authcache_middleware.cli.doctor.line import Line, RefusedError
from authcache_middleware.cli.doctor.nobody import nobodys_key, pattern_of
from authcache_middleware.users.keys import UserKeys

__all__ = ["rights"]

_SHORT_MS: Final = 1000
Tried = tuple[str | int, ...]


def rights(line: Line, keys: UserKeys, *, user: str, is_replica: bool) -> Iterator[Finding]:
    """What is missing, in one finding; and whether the server refuses to write for another reason."""
    tried_at = (nobodys_key(line, prefix) for prefix in (keys.record(""), keys.revocations(""), keys.refresh("")))
    missing: list[str] = []
    unmade: set[str] = set()
    for right, key, command in _tries(*tried_at):
        if command[0] == "HSET" and key in unmade:  # it would make a hash, which does not end by itself
            continue
        try:
            line.ask(*command)
        except RefusedError as exc:
            if command[0] == "SET":
                unmade.add(key)
                if exc.lacking is None and not is_replica:
                    yield found("writes-refused", code=exc.code)
                    return
            if exc.lacking is not None:
                missing.append(right if exc.lacking == "command" else pattern_of(key))
    if missing:
        yield found("missing-rights", rights=" ".join(dict.fromkeys(missing)), user=user)


def _tries(record: str, revoked: str, refresh: str) -> Iterator[tuple[str, str, Tried]]:
    """The right to each command, the key it is tried at, and the command.

    Those for hashes meet a text, and are refused for that by whoever permits them: nothing is made that would stay.
    """
    for key in (record, refresh, revoked):
        yield "+set", key, ("SET", key, "", "PX", _SHORT_MS)
    yield "+get", record, ("GET", record)
    yield "+mget", record, ("MGET", record)
    yield "+eval", record, ("EVAL", "return 1", 1, record)
    yield "+hgetall", revoked, ("HGETALL", revoked)
    yield "+hget", revoked, ("HGET", revoked, "t:x")
    yield "+hset", revoked, ("HSET", revoked, "t:x", 1)
    yield "+hdel", revoked, ("HDEL", revoked, "t:x")
    yield "+ttl", revoked, ("TTL", revoked)
    yield "+expire", revoked, ("EXPIRE", revoked, 1)
    yield "+time", revoked, ("TIME",)
    for key in (record, refresh, revoked):
        yield "+del", key, ("DEL", key)
