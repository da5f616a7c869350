"""Which rights the user of the connection lacks: every command is tried, at keys that are nobody's.

Where a text stands, commands for hashes, sorted sets and streams are refused for that by whoever permits them: nothing
is made that would stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from authcache_middleware.cli.doctor.findings import Finding, found
from authcache_middleware.cli.doctor.line import Line, RefusedError
from authcache_middleware.cli.doctor.nobody import nobodys_key, pattern_of
from authcache_middleware.users.keys import UserKeys

__all__ = ["FEATURES", "rights"]

FEATURES: Final = ("activity", "logout-tokens", "opaque-tokens", "queue")
"""What needs further rights where it is used."""
_SHORT_MS: Final = 1000
_MAKE_WHAT_STAYS: Final = frozenset({"HSET", "ZADD", "XADD"})
# The commands behind their keys; each needs the right of its name.
_OF_RECORDS: Final = ("GET _", "MGET _", "EVAL return(1) 1 _")
_OF_REVOCATIONS: Final = ("HGETALL _", "HGET _ x", "HSET _ x 1", "HDEL _ x", "TTL _", "EXPIRE _ 1", "TIME")
_OF_ACTIVITY: Final = ("ZADD _ GT 1 x", "ZREMRANGEBYSCORE _ 0 1", "ZSCORE _ x", "ZRANGE _ 0 1", "ZCOUNT _ 0 1")
_OF_QUEUES: Final = (
    "EVAL return(1) 1 _",
    "XADD _ * x 1",
    "XLEN _",
    "XRANGE _ - +",
    "XREAD STREAMS _ 0",
    "XREADGROUP GROUP x y STREAMS _ >",
    "XPENDING _ x",
    "XCLAIM _ x y 1 1-1",
    "XACK _ x 1-1",
    "XDEL _ 1-1",
    "XGROUP CREATE _ x 0",
    "XGROUP DELCONSUMER _ x y",
    "XINFO STREAM _",
    "XINFO CONSUMERS _ x",
)
# At the stream itself, whose name alone may be permitted: an id of zero is refused, and nothing added.
_OF_EVENTS: Final = (
    "XADD _ 0-0 x 1",
    "EVAL return(1) 1 _",
    "XRANGE _ - + COUNT 1",
    "XREVRANGE _ + - COUNT 1",
    "XREAD STREAMS _ $",
)
_HAVE_SUBCOMMANDS: Final = frozenset({"XGROUP", "XINFO"})
Command = tuple[str | int, ...]


def rights(
    line: Line,
    keys: UserKeys,
    *,
    user: str,
    is_replica: bool,
    features: Collection[str] = (),
    events: str | None = None,
) -> Iterator[Finding]:
    """What is missing, in one finding; or that the server refuses to write for another reason."""
    missing: list[str] = []
    unmade: set[str] = set()
    for right, key, command in (*_tries(line, keys, features), *_told(events)):
        if command[0] in _MAKE_WHAT_STAYS and key in unmade:
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


def _tries(line: Line, keys: UserKeys, features: Collection[str]) -> Iterator[tuple[str, str, Command]]:
    """The right to each command, the key it is tried at, and the command."""
    tried_at = {keys.record(""): _OF_RECORDS, keys.revocations(""): _OF_REVOCATIONS, keys.refresh(""): ()}
    further: dict[str, dict[str, tuple[str, ...]]] = {
        "activity": {keys.last_seen: _OF_ACTIVITY},
        "logout-tokens": {keys.logout(""): ("GET _",)},
        "opaque-tokens": {keys.answer(""): ("GET _", "DEL _")},
        "queue": {"queue:": _OF_QUEUES, "parked:": ("XLEN _",)},
    }
    for feature in features:
        tried_at |= further[feature]
    for prefix, commands in tried_at.items():
        key = nobodys_key(line, prefix)
        yield "+set", key, ("SET", key, "", "PX", _SHORT_MS)
        for command in commands:
            words = [key if word == "_" else word for word in command.split()]
            yield _right(words), key, tuple(words)
        if prefix in (keys.record(""), keys.revocations(""), keys.refresh("")):
            yield "+del", key, ("DEL", key)


def _told(events: str | None) -> Iterator[tuple[str, str, Command]]:
    if events is None:
        return
    for command in _OF_EVENTS:
        words = [events if word == "_" else word for word in command.split()]
        yield _right(words), events, tuple(words)


def _right(words: list[str]) -> str:
    name = words[0].lower()
    return f"+{name}|{words[1].lower()}" if words[0] in _HAVE_SUBCOMMANDS else f"+{name}"
