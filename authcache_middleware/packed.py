"""For very many entries: plain data as bytes, and a bounded map of them, which no garbage collection walks."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar, final

from authcache_middleware.tokens.claims import read_only

__all__ = ["PackedMap", "pack", "thawed", "unpack"]

K = TypeVar("K", bound=str | bytes | int)

_ENTRIES_OF_A_SHARD: Final = 8192
_MOST_ASKED_ONCE: Final = 1024


def pack(fields: Mapping[str, Any], *others: Any) -> bytes:
    """Plain read-only data as bytes, for this process alone; in ``others`` there is no read-only mapping.

    By ``marshal``, which takes a third of the time of anything else, and reads only what was written here.
    """
    try:
        return marshal.dumps((dict(fields), others))
    except ValueError:  # it knows no read-only mapping; few hold another
        return marshal.dumps((thawed(fields), others))


def unpack(packed: bytes) -> tuple[Mapping[str, Any], tuple[Any, ...]]:
    """The fields that ``pack`` was given, and the others."""
    fields, others = marshal.loads(packed)  # noqa: S302 - written here, and never out of our hands
    return read_only(fields), others


def thawed(value: Any) -> Any:
    """A copy in plain ``dict`` and ``list``."""
    match value:
        case Mapping():
            return {name: thawed(inner) for name, inner in value.items()}
        case tuple():
            return [thawed(inner) for inner in value]
        case _:
            return value


@final
class PackedMap(Generic[K]):
    """Keeps at most so many entries, whose values together have at most so many bytes: the latest asked for.

    CPython does not track a ``dict`` that holds nothing but text, numbers and bytes, so that a million entries here
    lengthen no garbage collection; as objects they would be walked by each full one. What was put or asked for last is
    among the young; what makes room is the oldest of the old. Where there are none the young become old, turned round,
    since a ``dict`` gives away what it got last; all divided into shards, so that these are never many at once. No call
    but ``in`` is for two threads at once.
    """

    __slots__ = ("_asked_once", "_mask", "_shards")

    def __init__(self, most: int, most_weight: int | None = None) -> None:
        count = 1
        while count * _ENTRIES_OF_A_SHARD < most:
            count *= 2
        self._mask = count - 1
        weight = None if most_weight is None else most_weight // count
        self._shards: list[_Shard[K]] = [_Shard(most // count, weight) for _ in range(count)]
        self._asked_once: set[K] = set()

    def put(self, key: K, value: bytes) -> None:
        """Keep the value, in the place of others if there is no room."""
        self._shards[hash(key) & self._mask].put(key, value)

    def get(self, key: K) -> bytes | None:
        """What the key holds, which counts as new again."""
        return self._shards[hash(key) & self._mask].get(key)

    def pop(self, key: K) -> bytes | None:
        """Forget the key, and return what it held."""
        return self._shards[hash(key) & self._mask].pop(key)

    def is_asked_again(self, key: K) -> bool:
        """Whether this was asked of the key not long ago: once in a while is no reason to unpack it for good."""
        if key in self._asked_once:
            return True
        if len(self._asked_once) == _MOST_ASKED_ONCE:
            self._asked_once.clear()
        self._asked_once.add(key)
        return False

    def clear(self) -> None:
        """Forget everything."""
        self._asked_once.clear()
        for shard in self._shards:
            shard.clear()

    def __contains__(self, key: K) -> bool:
        shard = self._shards[hash(key) & self._mask]
        return key in shard.young or key in shard.old

    def __len__(self) -> int:
        return sum(map(len, self._shards))


class _Shard(Generic[K]):
    __slots__ = ("_most", "_most_weight", "_weight", "old", "young")

    def __init__(self, most: int, most_weight: int | None) -> None:
        self._most = most
        self._most_weight = most_weight
        self.young: dict[K, bytes] = {}
        self.old: dict[K, bytes] = {}
        self._weight = 0

    def put(self, key: K, value: bytes) -> None:
        self.pop(key)
        weight, most = len(value), self._most_weight
        if self._most == 0 or (most is not None and weight > most):
            return
        while len(self) >= self._most or (most is not None and self._weight + weight > most):
            self._evict()
        self.young[key] = value
        self._weight += weight

    def get(self, key: K) -> bytes | None:
        value = self.young.pop(key, None)
        if value is None:
            value = self.old.pop(key, None)
        if value is not None:
            self.young[key] = value  # the youngest again
        return value

    def pop(self, key: K) -> bytes | None:
        value = self.young.pop(key, None)
        if value is None:
            value = self.old.pop(key, None)
        if value is not None:
            self._weight -= len(value)
        return value

    def _evict(self) -> None:
        if not self.old:
            self.young, self.old = {}, dict(reversed(self.young.items()))
        _, value = self.old.popitem()
        self._weight -= len(value)

    def clear(self) -> None:
        self.young, self.old, self._weight = {}, {}, 0

    def __len__(self) -> int:
        return len(self.young) + len(self.old)
