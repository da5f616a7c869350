"""What a provider has said of a token, as it may stand where others read and write: named and sealed with a secret.

    name   HMAC-SHA256(naming key, token)                                    in hexadecimal, the end of the key
    value  HMAC-SHA256(sealing key, name | rest) | rest
    rest   version (1 byte) | asked at, in ms since 1970 (8 bytes) | the answer, JSON as it came

Both keys come from the secret and from whom was asked, as whom, for which issuer: what belongs to another question has
another name and another seal. Since a value is sealed with its name, it is good under no other. An old value may be put
back under its own name: how old it is stands in it.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, NamedTuple, final

__all__ = ["Answer", "AnswerSeal"]

_HEAD: Final = struct.Struct(">BQ")
_VERSION: Final = 1
_SEAL: Final = 32


class Answer(NamedTuple):
    """An answer of a provider."""

    text: bytes
    """JSON, as it came."""
    asked_at: float
    """When it was asked for: wall clock."""


@final
class AnswerSeal:
    """Names and seals the answers to one question. ``context``: all that another question would have otherwise."""

    __slots__ = ("_naming", "_sealing")

    def __init__(self, secret: bytes, *context: str) -> None:
        # With its length before each part: two contexts that only join to the same text are two.
        parts = [part.encode() for part in ("authcache introspection", *context)]
        key = _hmac(secret, b"".join(len(part).to_bytes(4) + part for part in parts))
        self._naming, self._sealing = _hmac(key, b"name"), _hmac(key, b"seal")

    def name(self, token: str) -> str:
        """The token's name, which says nothing of it."""
        return _hmac(self._naming, token.encode()).hex()

    def seal(self, name: str, answer: Answer) -> bytes:
        """The answer, as it stands under the name."""
        rest = _HEAD.pack(_VERSION, int(answer.asked_at * 1000)) + answer.text
        return _hmac(self._sealing, name.encode() + rest) + rest

    def open(self, name: str, value: bytes) -> Answer | None:
        """The answer that was sealed under that name; ``None`` for anything else."""
        seal, rest = value[:_SEAL], value[_SEAL:]
        if len(rest) < _HEAD.size or not hmac.compare_digest(seal, _hmac(self._sealing, name.encode() + rest)):
            return None
        version, asked_at_ms = _HEAD.unpack_from(rest)
        return Answer(rest[_HEAD.size :], asked_at_ms / 1000) if version == _VERSION else None

    def __repr__(self) -> str:
        return "<AnswerSeal>"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
