"""For very many entries: plain data as bytes, and a bounded map of them, which no garbage collection walks."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar, final

from authcache_middleware.tokens.claims import read_only

__all__ = ["PackedMap", "pack", "thawed", "unpack"]

K = TypeVar("K", bound=str | bytes)

_ENTRIES_OF_A_SHARD: Final = 8192


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
    """Keeps at most so many entries, whose keys together have at most so many characters; the newest stay longest.

    CPython does not track a ``dict`` that holds nothing but text and bytes, so that a million entries here lengthen no
    garbage collection; as objects they would be walked by each full one. Two generations take the place of an order:
    the young one is filled, and when it is full it becomes the old one, whose entries go all together. They are divided
    into shards, so that this is never many at once. No call here is for two threads at once.
    """

    __slots__ = ("_mask", "_shards")

    def __init__(self, most: int, most_weight: int | None = None) -> None:
        count = 1
        while count * _ENTRIES_OF_A_SHARD < most:
            count *= 2
        self._mask = count - 1
        weight = None if most_weight is None else most_weight // count // 2
        self._shards: list[_Shard[K]] = [_Shard(most // count // 2, weight) for _ in range(count)]

    def put(self, key: K, value: bytes) -> None:
        """Keep the value, in the place of others if there is no room."""
        self._shards[hash(key) & self._mask].put(key, value)

    def pop(self, key: K) -> bytes | None:
        """Forget the key, and return what it held."""
        return self._shards[hash(key) & self._mask].pop(key)

    def clear(self) -> None:
        """Forget everything."""
        for shard in self._shards:
            shard.clear()

    def __len__(self) -> int:
        return sum(map(len, self._shards))


class _Shard(Generic[K]):
    __slots__ = ("_most", "_most_weight", "_old", "_weight", "_young")

    def __init__(self, most: int, most_weight: int | None) -> None:
        self._most = most  # of one generation
        self._most_weight = most_weight
        self._young: dict[K, bytes] = {}
        self._old: dict[K, bytes] = {}
        self._weight = 0

    def put(self, key: K, value: bytes) -> None:
        self.pop(key)
        weight = 0 if self._most_weight is None else len(key)
        if self._most == 0 or (self._most_weight is not None and weight > self._most_weight):
            return
        if len(self._young) == self._most or (
            self._most_weight is not None and self._weight + weight > self._most_weight
        ):
            self._young, self._old, self._weight = {}, self._young, 0
        self._young[key] = value
        self._weight += weight

    def pop(self, key: K) -> bytes | None:
        value = self._young.pop(key, None)
        if value is None:
            return self._old.pop(key, None)
        if self._most_weight is not None:
            self._weight -= len(key)
        return value

    def clear(self) -> None:
        self._young, self._old, self._weight = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
