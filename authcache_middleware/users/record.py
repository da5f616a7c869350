"""What stands under a user's key: a record or a lease. The only place that speaks msgpack.

A record is a msgpack map that any language can read::

    {"v": 1, "iss": text | nil, "sub": text,          # checked against the key it was read from
     "loaded_at_ms": int, "load_ms": int,             # when its load ended, and how long it took
     "expires_at_ms": int,                            # when Redis will drop it
     "user": map | nil,                               # nil: the loader knows no such user
     "revoked_before_s": int | nil,                   # tokens issued at or before are refused
     "revoked": {"t:<jti>" | "s:<sid>" | "i:<iat>": until_s},
     "sessions": {"s:<sid>" | "t:<jti>": until_s}}    # on record; missing where its writer knows of none

A lease is the byte 0xC1, which msgpack never uses, then ``lease:`` and a random id: whoever takes it for a record
gets a format error and not a wrong user.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgpack

from authcache_middleware.packed import pack, unpack

__all__ = [
    "LEASE_MARK",
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "MAX_ROW_BYTES",
    "NO_REVOCATIONS",
    "VERSION",
    "ForeignValueError",
    "Record",
    "Revocations",
    "UnreadableValueError",
    "UnstorableUserError",
    "is_lease",
    "is_storable",
    "new_lease",
    "pack_record",
    "read_record",
    "record_head",
    "repack_record",
    "reread_record",
]

VERSION: Final = 1
"""The ``v`` of the records that are written here."""
MAX_ROW_BYTES: Final = 64 * 1024
"""The longest record of a user of whom nothing is revoked or on record."""
MAX_RECORD_BYTES: Final = MAX_ROW_BYTES + 3 * 256 * 272
"""The longest record: with 256 sessions, as many that were ended, and as many tokens, of 255 ASCII characters each."""
MAX_DEPTH: Final = 64
"""How deeply lists and maps may be nested, the record itself being the first level."""
LEASE_MARK: Final = b"\xc1lease:"

# All bytes but those with which msgpack begins a list or a map.
_NO_HEADS: Final = bytes({*range(256)} - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})


class UnreadableValueError(Exception):
    """The bytes are no record of this user: to be treated as a miss and written over."""


class ForeignValueError(Exception):
    """Somebody else's data, or a newer version of ours, stands under the key: to be left alone."""


class UnstorableUserError(Exception):
    """The loader returned what a record cannot hold. The message names the type, never the value."""


@dataclass(frozen=True, slots=True, repr=False)
class Revocations:
    """What has been revoked of one user's tokens, and what has not; all times are whole seconds since 1970."""

    before_s: int | None = None
    """Tokens issued at or before this moment are refused."""
    ids: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Single tokens and sessions (``t:<jti>``, ``s:<sid>``, ``i:<iat>``), each with the time it may be forgotten."""
    sessions: Mapping[str, int] | None = field(default_factory=lambda: MappingProxyType({}))
    """The sessions on record (``s:<sid>``, ``t:<jti>``), each with its end; ``None`` where that is not known."""

    def __repr__(self) -> str:
        return f"<Revocations: {len(self.ids)} ids{'' if self.before_s is None else ' and all before a time'}>"


NO_REVOCATIONS: Final = Revocations()


class Record(NamedTuple):
    """What is known of one user, as one load found it.

    A tuple, as every GET makes one: a frozen dataclass takes four times as long to make.
    """

    issuer: str | None
    subject: str
    user: Mapping[str, Any] | None
    """The loader's row as plain read-only data; ``None`` where it knows no such user."""
    revocations: Revocations
    loaded_at_ms: int
    load_ms: int
    expires_at_ms: int

    def __repr__(self) -> str:
        return "<Record>"


def new_lease() -> bytes:
    """A lease that no one else holds: 128 random bits behind the mark."""
    return LEASE_MARK + os.urandom(16).hex().encode()


def is_lease(value: bytes) -> bool:
    """Whether the bytes under a key say that somebody is loading it."""
    return value.startswith(LEASE_MARK)


def pack_record(record: Record) -> bytes:
    """The record as bytes.

    ``datetime``, ``date`` and ``time`` become ISO 8601 text, ``UUID`` and ``Decimal`` their usual text, an ``Enum``
    its value, a set or any other mapping the plain list or map; that is how they come back.

    Raises ``UnstorableUserError`` for what msgpack cannot hold or ``read_record`` would refuse: field names that are no
    text, more than 64 levels of lists and maps. Whoever stores it looks at its length first.
    """
    packed, problem = b"", ""
    try:
        packed = _packed(record)
        _typed(_unpacked(packed))
    except UnstorableUserError:
        raise
    except UnreadableValueError as exc:
        problem = str(exc)
    except Exception as exc:  # noqa: BLE001 - msgpack names the value in its messages: only the type may go on
        problem = type(exc).__name__
    # Raised out here and not above, where the exception's context would keep the values.
    if problem:
        raise UnstorableUserError(problem)
    return packed


def repack_record(record: Record) -> bytes:
    """A record that was read, as bytes for this process alone: less work than ``pack_record``, and than reading."""
    said, revocations = record.revocations, None
    if said is not NO_REVOCATIONS:
        revocations = said.before_s, dict(said.ids), None if said.sessions is None else dict(said.sessions)
    times = record.loaded_at_ms, record.load_ms, record.expires_at_ms
    return pack(record.user or {}, record.user is None, record.issuer, record.subject, revocations, *times)


def reread_record(packed: bytes) -> Record:
    """The record that ``repack_record`` was given."""
    user, (is_unknown, issuer, subject, said, *times) = unpack(packed)
    revocations = NO_REVOCATIONS
    if said is not None:
        before_s, ids, sessions = said
        revocations = Revocations(
            before_s, MappingProxyType(ids), None if sessions is None else MappingProxyType(sessions)
        )
    return Record(issuer, subject, None if is_unknown else user, revocations, *times)


def is_storable(record: Record, packed: bytes) -> bool:
    """Whether a record that was read from these bytes may be stored: row and marks have each a bound of their own."""
    if len(packed) <= MAX_ROW_BYTES:
        return True
    bare = record._replace(revocations=NO_REVOCATIONS)
    return len(packed) <= MAX_RECORD_BYTES and len(_packed(bare)) <= MAX_ROW_BYTES


def read_record(packed: bytes, *, issuer: str | None, subject: str, max_bytes: int = MAX_RECORD_BYTES) -> Record:
    """The record in bytes that were read from the key of this issuer and subject.

    Raises ``UnreadableValueError`` for anything odd, a record copied from another key included, and
    ``ForeignValueError`` for a version newer than this package knows.
    """
    if len(packed) > max_bytes:
        raise UnreadableValueError("size")
    shape = _unpacked(packed)
    version = shape.get("v")
    if type(version) is not int:
        raise UnreadableValueError("version")
    if version > VERSION:
        raise ForeignValueError("version")
    if version != VERSION or shape.get("sub") != subject or shape.get("iss", "") != issuer:
        raise UnreadableValueError("owner")
    return _typed(shape)


def record_head(packed: bytes) -> tuple[int, object]:
    """The version of a record, and its subject, whoever's it is; raises ``UnreadableValueError`` for what is none."""
    if len(packed) > MAX_RECORD_BYTES:
        raise UnreadableValueError("size")
    shape = _unpacked(packed)
    version = shape.get("v")
    if type(version) is not int:
        raise UnreadableValueError("version")
    return version, shape.get("sub")


def _packed(record: Record) -> bytes:
    shape = {
        "v": VERSION,
        "iss": record.issuer,
        "sub": record.subject,
        "loaded_at_ms": record.loaded_at_ms,
        "load_ms": record.load_ms,
        "expires_at_ms": record.expires_at_ms,
        "user": record.user,
        "revoked_before_s": record.revocations.before_s,
        "revoked": record.revocations.ids,
    }
    if record.revocations.sessions is not None:
        shape["sessions"] = record.revocations.sessions
    packed: bytes = msgpack.packb(shape, default=_plain)
    return packed


def _unpacked(packed: bytes) -> Mapping[str, Any]:
    """The map that the bytes are, read-only all through; ``UnreadableValueError`` where it is not plain."""
    unpacked: object
    try:
        unpacked = msgpack.unpackb(
            packed, use_list=False, object_hook=MappingProxyType, ext_hook=_refuse_ext, strict_map_key=True
        )
    except Exception:  # noqa: BLE001 - msgpack raises a dozen kinds, all of which mean the same
        unpacked = None
    if not isinstance(unpacked, MappingProxyType):
        raise UnreadableValueError("format")
    # Most records need not be looked through: without the type -1 there is no timestamp, the one extension that msgpack
    # decodes unasked, and with no more than so many lists and maps there are no more levels.
    if b"\xff" in packed or len(packed.translate(None, _NO_HEADS)) > MAX_DEPTH:
        _refuse_odd(unpacked)
    return unpacked


def _refuse_odd(shape: Mapping[str, Any]) -> None:
    """Refuse timestamps, and what is nested too deeply: level by level, since a recursion has an end of its own."""
    level: list[Any] = [shape]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            for value in container if type(container) is tuple else container.values():
                if type(value) is tuple or type(value) is MappingProxyType:
                    inner.append(value)
                elif type(value) is msgpack.Timestamp:
                    raise UnreadableValueError("extension type -1")
        if not inner:
            return
        level = inner
    raise UnreadableValueError("depth")


def _typed(shape: Mapping[str, Any]) -> Record:
    try:
        user, before_s, ids = shape["user"], shape["revoked_before_s"], shape["revoked"]
        sessions = shape.get("sessions")
        loaded_at_ms, load_ms, expires_at_ms = shape["loaded_at_ms"], shape["load_ms"], shape["expires_at_ms"]
    except KeyError:
        raise UnreadableValueError("shape") from None
    if not (
        (user is None or (type(user) is MappingProxyType and bytes not in map(type, user)))
        and (before_s is None or type(before_s) is int)
        and _are_marks(ids)
        and (sessions is None or _are_marks(sessions))
        and type(loaded_at_ms) is type(load_ms) is type(expires_at_ms) is int
    ):
        raise UnreadableValueError("shape")
    revocations = NO_REVOCATIONS
    if ids or before_s is not None or sessions or sessions is None:
        revocations = Revocations(before_s, ids, sessions)
    return Record(shape["iss"], shape["sub"], user, revocations, loaded_at_ms, load_ms, expires_at_ms)


def _are_marks(marks: object) -> bool:
    return type(marks) is MappingProxyType and (
        not marks or all(type(mark) is str and type(until_s) is int for mark, until_s in marks.items())
    )


def _plain(value: object) -> object:
    match value:
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case uuid.UUID() | decimal.Decimal():
            return str(value)
        case enum.Enum():
            return value.value
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return list(value)
        case _:
            raise UnstorableUserError(f"a value of type {type(value).__name__}")


def _refuse_ext(code: int, _data: bytes) -> object:
    raise UnreadableValueError(f"extension type {code}")
