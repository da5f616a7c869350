"""What stands under the prefix: a bounded sample, read and never changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from authcache_middleware.cli.doctor.findings import Finding, Unknown, found
from authcache_middleware.cli.doctor.line import Line, RefusedError
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import (
    MAX_RECORD_BYTES,
    VERSION,
    UnreadableValueError,
    is_lease,
    record_head,
)
from authcache_middleware.users.session import SESSION_SIGN, ends_s

__all__ = ["values"]

_LOOKED_AT: Final = 200
_PAGE: Final = 1000
_PAGES: Final = 20
Verdict = Literal["ours", "foreign", "version", "gone"]


def values(line: Line, keys: UserKeys) -> Iterator[Finding | Unknown]:
    """Of each kind of key a few hundred at most, of the first twenty thousand in the database."""
    try:
        seen = Counter([*_records(line, keys.prefix), *_revocations(line, keys.revocations(""))])
    except RefusedError as exc:
        if exc.lacking is None:
            raise
        yield Unknown("foreign-values", "needs the rights +scan +type +getrange +hgetall")
        return
    looked = seen.total() - seen["gone"]
    if seen["foreign"]:
        yield found("foreign-values", count=seen["foreign"], looked=looked)
    if seen["version"]:
        yield found("other-version", count=seen["version"], looked=looked)


def _sample(line: Line, prefix: str) -> list[bytes]:
    cursor, found_keys = b"0", dict[bytes, None]()
    for _ in range(_PAGES):
        cursor, page = line.ask("SCAN", cursor, "MATCH", _literal(prefix) + "*", "COUNT", _PAGE)
        nobody = prefix.encode() + b"\x00"  # a link's beacon
        found_keys.update(dict.fromkeys(key for key in page if not key.startswith(nobody)))
        if cursor == b"0" or len(found_keys) >= _LOOKED_AT:
            break
    return list(found_keys)[:_LOOKED_AT]


def _records(line: Line, prefix: str) -> Iterator[Verdict]:
    strings, odd = _typed(line, prefix, b"string")
    yield from odd
    for key, packed in zip(
        strings, line.ask_all([("GETRANGE", key, 0, MAX_RECORD_BYTES) for key in strings]), strict=True
    ):
        yield _record(key.removeprefix(prefix.encode()), packed)


def _record(owner: bytes, packed: bytes) -> Verdict:
    if is_lease(packed):
        return "ours"
    if not packed:
        return "gone"
    try:
        version, subject = record_head(packed)
    except UnreadableValueError:
        return "foreign"
    if version != VERSION:
        return "version"
    # with several issuers an alias stands before the subject
    name = owner.decode(errors="replace")
    return "ours" if isinstance(subject, str) and f":{name}".endswith(f":{subject}") else "foreign"


def _revocations(line: Line, prefix: str) -> Iterator[Verdict]:
    hashes, odd = _typed(line, prefix, b"hash")
    yield from odd
    for flat in line.ask_all([("HGETALL", key) for key in hashes]):
        fields = zip(flat[::2], flat[1::2], strict=True)
        yield "ours" if all(_is_ours(name, value) for name, value in fields) else "foreign"


def _is_ours(name: bytes, value: bytes) -> bool:
    if name.startswith(SESSION_SIGN.encode()):
        return ends_s(value) is not None
    return re.fullmatch(rb"\d{1,15}( \d{1,15})?", value) is not None


def _typed(line: Line, prefix: str, wanted: bytes) -> tuple[list[bytes], list[Verdict]]:
    """The keys of that type, and what the others are."""
    keys = _sample(line, prefix)
    types = line.ask_all([("TYPE", key) for key in keys])
    typed = [key for key, kind in zip(keys, types, strict=True) if kind == wanted]
    return typed, ["gone" if kind == b"none" else "foreign" for kind in types if kind != wanted]


def _literal(prefix: str) -> str:
    return re.sub(r"([\[\]*?\\^-])", r"\\\1", prefix)
