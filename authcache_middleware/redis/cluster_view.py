"""What one node of a cluster knows of the owners of slots: the answer to ``CLUSTER SLOTS``, read. Pure."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Any, Final, NamedTuple

__all__ = ["Ranges", "Shard", "key_in", "shards_in", "slot_of"]

_SLOTS: Final = 16384
_PROBES: Final = 16 * _SLOTS

Ranges = tuple[tuple[int, int], ...]
"""First and last slot of each range, in ascending order: the same slots are the same ranges."""


class Shard(NamedTuple):
    """A primary, where clients reach it, and its slots."""

    node_id: str
    address: tuple[str, int]
    slots: Ranges


def shards_in(answer: list[Any], asked_host: str) -> list[Shard]:
    """The owners of slots. ``asked_host`` is where the answer came from: it may not know its own address."""
    addresses: dict[str, tuple[str, int]] = {}
    slots: dict[str, list[tuple[int, int]]] = {}
    for first, last, owner, *_replicas in answer:
        host, port, node_id = owner[:3]
        addresses[node_id.decode()] = (host.decode() if host and host != b"?" else asked_host, int(port))
        slots.setdefault(node_id.decode(), []).append((int(first), int(last)))
    return [Shard(node_id, addresses[node_id], tuple(sorted(ranges))) for node_id, ranges in slots.items()]


def slot_of(key: str) -> int:
    """The slot of a key: of what stands between its first braces, if anything does."""
    encoded = key.encode()
    opening = encoded.find(b"{")
    closing = encoded.find(b"}", opening + 1)
    if opening >= 0 and closing > opening + 1:
        encoded = encoded[opening + 1 : closing]
    return crc_hqx(encoded, 0) % _SLOTS


def key_in(ranges: Ranges, stem: str) -> str | None:
    """A key that begins with ``stem`` and lies in one of these slots, if there can be one."""
    slots = {slot for first, last in ranges for slot in range(first, last + 1)}
    if slot_of(f"{stem}0") == slot_of(f"{stem}1"):  # braces in the prefix: all keys lie in one slot
        return f"{stem}0" if slot_of(f"{stem}0") in slots else None
    return next((key for number in range(_PROBES) if slot_of(key := f"{stem}{number}") in slots), None)
