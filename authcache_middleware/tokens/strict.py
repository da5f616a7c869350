"""A token's text taken apart: the compact form, canonical base64url, and JSON that means one thing only.

Pure: no key, no clock, nothing that waits. Two readers of one text must come to the same claims, so whatever some
parser might read in another way is refused here. The sizes are checked before anything is decoded.
"""

from __future__ import annotations

import json
import math
import re
from binascii import a2b_base64
from typing import Any, NamedTuple

from authcache_middleware.errors import InvalidTokenError

__all__ = ["MAX_HEADER", "MAX_TOKEN", "CompactToken", "parse_object", "split_token"]

MAX_TOKEN = 8 * 1024
"""The longest token that is looked at, in characters."""
MAX_HEADER = 1024
"""The longest encoded header that is looked at, in characters."""


class CompactToken(NamedTuple):
    """The parts of one JWS in compact form (RFC 7515, section 7.1). Nothing in here has been verified."""

    header: dict[str, Any]
    signed: bytes
    """The JWS signing input: what the signature is over."""
    signature: bytes
    claims_json: bytes
    """The decoded claims, for ``parse_object`` once the signature has been verified."""


def split_token(token: str) -> CompactToken:
    """The parts of ``token``, with its header read.

    Raises ``InvalidTokenError``: ``oversized``, ``malformed`` (not three segments of canonical base64url) or
    ``header`` (not one strict JSON object).
    """
    if len(token) > MAX_TOKEN:
        raise InvalidTokenError("oversized")
    match = _match_compact(token)
    if match is None:
        raise InvalidTokenError("malformed")
    first, second = match.end(1), match.end(2)
    if first > MAX_HEADER:
        raise InvalidTokenError("oversized")
    # Decoded all three before any is read: where one is not canonical, none of them counts.
    standard = token.encode("ascii").translate(_TO_STANDARD)
    header = _decode(standard[:first])
    claims = _decode(standard[first + 1 : second])
    signature = _decode(standard[second + 1 :])
    return CompactToken(parse_object(header, "header"), token[:second].encode("ascii"), signature, claims)


def parse_object(text: bytes, reason: str) -> dict[str, Any]:
    """The JSON object that ``text`` is; anything else raises ``InvalidTokenError(reason)``.

    Refused: other encodings than UTF-8 and a byte order mark (RFC 8259, section 8.1), members given twice (RFC 7515,
    section 4 and RFC 7519, section 4), ``NaN``, ``Infinity`` and numbers too large for a float, lone surrogates, and
    more than 64 levels of arrays and objects.
    """
    members: object = None
    try:
        document = str(text, "utf-8").strip(_WHITESPACE)
        members, end = _read_value(document)
        if end != len(document):
            members = None
        if text.count(b"[") + text.count(b"{") > _MAX_DEPTH and _is_deep(members):
            members = None
        # Strict UTF-8 has no surrogates, so that only an escape can bring one in.
        if b"\\u" in text:
            json.dumps(members, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        members = None
    # Raised out here and not above, where the exception's context would keep the text.
    if not isinstance(members, dict):
        raise InvalidTokenError(reason)
    return members


_match_compact = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII).fullmatch
_WHITESPACE = " \t\n\r"
_MAX_DEPTH = 64
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", b"", b"==", b"=")
# RFC 4648, section 3.5: the bits that no octet takes must be zero, or one signature would have many spellings. So the
# last character is one of these, by the length modulo 4 (of which 1 is no length at all).
_LAST_CHARACTERS = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"",
    b"AQgw",
    b"AEIMQUYcgkosw048",
)


def _decode(segment: bytes) -> bytes:
    """The octets of a segment in the standard alphabet, without padding."""
    rest = len(segment) % 4
    if segment[-1] not in _LAST_CHARACTERS[rest]:
        raise InvalidTokenError("malformed")
    return a2b_base64(segment + _PADDING[rest])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


def _is_deep(members: object) -> bool:
    """Whether there are more levels than may be: level by level, since a recursion has an end of its own."""
    level = [members]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(_: str) -> None:
    raise ValueError("not JSON")


_read_value = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
).raw_decode
