"""What is in a queue, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["QueueCounts", "QueueEntry"]


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """An entry that was handed out: acknowledge it when what it asks for has been done."""

    id: str
    """Of Redis; later entries have larger ones."""
    fields: Mapping[str, bytes] = field(repr=False)
    deliveries: int = 1
    """The how-manieth time it was handed out, this one included."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How much is in a queue."""

    waiting: int
    """Not handed out yet."""
    held: int
    """Handed out and not acknowledged."""
    parked: int
    """Set aside, since it was handed out too often."""
