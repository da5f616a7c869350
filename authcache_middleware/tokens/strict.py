"""A token's text taken apart: the compact form, canonical base64url, and JSON that means one thing only.

Pure: no key, no clock, nothing that waits. Two readers of one text must come to the same claims, so whatever some
parser might read in another way is refused here. The sizes are checked before anything is decoded.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from authcache_middleware.errors import InvalidTokenError

__all__ = [
    "MAX_HEADER",
    "MAX_TOKEN",
    "MOST_HEADERS",
    "CompactToken",
    "cut_token",
    "is_opaque",
    "parse_object",
    "read_header",
    "split_token",
]

MAX_TOKEN = 8 * 1024
"""The longest token that is looked at, in characters."""
MAX_HEADER = 1024
"""The longest encoded header that is looked at, in characters."""
MOST_HEADERS: Final = 64
"""How many headers are remembered."""


class CompactToken(NamedTuple):
    """The parts of one JWS in compact form (RFC 7515, section 7.1). Nothing in here has been verified."""

    header: Mapping[str, Any]
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
    header, signed, signature, claims_json = cut_token(token)
    return CompactToken(read_header(header), signed, signature, claims_json)


def cut_token(token: str) -> tuple[bytes, bytes, bytes, bytes]:
    """The same parts, but for the header, which is left encoded: ``read_header`` decodes it.

    Raises ``InvalidTokenError``: ``oversized`` or ``malformed``.
    """
    if len(token) > MAX_TOKEN:
        raise InvalidTokenError("oversized")
    text = token.encode("ascii", "replace")  # by "?", which is none of the characters
    signed, _, signature = text.rpartition(b".")
    header, _, claims = signed.partition(b".")
    if len(header) > MAX_HEADER:
        raise InvalidTokenError("oversized")
    # That there are no more dots, and no other characters, is found by the decoder, which looks at each of them anyway.
    if (claims_json := _decoded(claims)) is None or (octets := _decoded(signature)) is None:
        raise InvalidTokenError("malformed")
    return header, signed, octets, claims_json


@lru_cache(MOST_HEADERS)
def read_header(encoded: bytes) -> Mapping[str, Any]:
    """The header that a segment is, after the others were decoded: where one is not canonical, none of them counts.

    Of most issuers every token has the same header, so it is read once. Raises ``InvalidTokenError``: ``malformed`` or
    ``header``.
    """
    text = _decoded(encoded)
    if text is None:
        raise InvalidTokenError("malformed")
    return MappingProxyType(parse_object(text, "header"))


def is_opaque(token: str) -> bool:
    """Whether ``token`` is not even in the form of a JWS or JWE: segments of base64url, the first a JSON object.

    A broken or encrypted JWT may be another issuer's secret, so it is none however badly it is encoded. One that is too
    long is not: nobody looks at it.
    """
    try:
        split_token(token)
    except InvalidTokenError as refused:
        return refused.reason != "oversized" and not _has_header(token)
    return False


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
        # Before the brackets are counted, a look whether there is any but the first: it costs a twentieth.
        if ("[" in document or document.rfind("{") > 0) and document.count("[") + document.count("{") > _MAX_DEPTH:
            members = None if _is_deep(members) else members
        # Strict UTF-8 has no surrogates, so that only an escape can bring one in.
        if "\\" in document and "\\u" in document:
            json.dumps(members, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        members = None
    # Raised out here and not above, where the exception's context would keep the text.
    if not isinstance(members, dict):
        raise InvalidTokenError(reason)
    return members


def _has_header(token: str) -> bool:
    """Whether somebody may read a header in the token's first segment, where ``split_token`` reads none."""
    header, dot, _ = token.partition(".")
    if not dot:
        return False
    try:
        return isinstance(json.loads(b64decode(header.rstrip("=") + "==", altchars=b"-_")), dict)
    except (ValueError, RecursionError):
        return False


_WHITESPACE = " \t\n\r"
_MAX_DEPTH = 64
# To the alphabet that the decoder knows. What it knows and a token may not hold becomes what it refuses.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/...")
_PADDING = (b"", b"", b"==", b"=")
# RFC 4648, section 3.5: the bits that no octet takes must be zero, or one signature would have many spellings. So the
# last character is one of these, by the length modulo 4 (of which 1 is no length at all).
_LAST_CHARACTERS = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"",
    b"AQgw",
    b"AEIMQUYcgkosw048",
)


def _decoded(segment: bytes) -> bytes | None:
    """The octets of a segment of canonical base64url without padding (RFC 4648, section 5); ``None`` for any other.

    It does not raise: garbage comes in floods, and each function that an exception passes through costs as much again.
    """
    rest = len(segment) % 4
    standard = segment.translate(_TO_STANDARD)
    if not standard or standard[-1] not in _LAST_CHARACTERS[rest]:
        return None
    try:
        return a2b_base64(standard + _PADDING[rest], strict_mode=True)
    except ValueError:
        return None


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
