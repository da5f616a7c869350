"""From a provider's answer to its keys: one strict JSON object (RFC 7517, section 5), member by member.

What the operator gives must be right, or it is an error. A provider is nobody's to correct, so a member that is broken
is left out and counted, and the others serve. Only public keys are taken: a private or symmetric one in a document that
everybody can read verifies what anybody may have signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from jwt.algorithms import Algorithm

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens.keys import KeySet, NamedKey, key_name
from authcache_middleware.tokens.material import misfit, read_key
from authcache_middleware.tokens.strict import parse_object

__all__ = ["JWKSet", "UnusableAnswerError", "read_document", "read_jwk_set"]

_MOST_MEMBERS: Final = 100
# RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1; RFC 8037, section 2.
_SECRET_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class UnusableAnswerError(Exception):
    """What a provider has answered cannot be used; the message is the reason, and holds none of the answer."""


class JWKSet(NamedTuple):
    """The keys of a document that serve, and what was left out of it."""

    keys: KeySet
    skipped: int
    """How many members were broken; those that are meant for something else are not counted."""


def read_document(text: bytes) -> dict[str, Any]:
    """The JSON object that ``text`` is, or ``UnusableAnswerError``."""
    try:
        return parse_object(text, "answer")
    except InvalidTokenError:
        pass
    raise UnusableAnswerError("not a JSON object")


def read_jwk_set(text: bytes, allowed: Mapping[str, Algorithm]) -> JWKSet:
    """The public keys that serve one of the ``allowed`` algorithms.

    A document without any is an ``UnusableAnswerError``: more likely somebody's mistake than a provider that has
    stopped to sign, and who retires a key publishes another.
    """
    members = read_document(text).get("keys")
    if not isinstance(members, list):
        raise UnusableAnswerError("no list of keys")
    if len(members) > _MOST_MEMBERS:
        raise UnusableAnswerError("too many keys")
    read, skipped = [], 0
    for member in members:
        try:
            key = _read_member(member, allowed)
        except ConfigurationError:
            skipped += 1
        else:
            read += [] if key is None else [key]
    clear = _without_rivals(read)
    if not clear:
        raise UnusableAnswerError("no key for any of the algorithms")
    return JWKSet(KeySet.of(clear, allowed), skipped + len(read) - len(clear))


def _read_member(member: object, allowed: Mapping[str, Algorithm]) -> NamedKey | None:
    """The key; ``None`` for one with another purpose. Raises ``ConfigurationError`` for a broken one."""
    if not isinstance(member, Mapping):
        raise ConfigurationError("keys", "is not a JWK")
    name = key_name(member)
    if not _SECRET_MEMBERS.isdisjoint(member):
        raise ConfigurationError("keys", "is no public key")
    return None if misfit(member, allowed) is not None else NamedKey(name, *read_key(member, allowed))


def _without_rivals(read: list[NamedKey]) -> list[NamedKey]:
    """Those that a token can name: of two keys with one name for one algorithm, nobody knows which is meant.

    A key that stands there twice is one. A key without a name must be the only one for its algorithms.
    """
    distinct = [key for index, key in enumerate(read) if key not in read[:index]]
    return [key for key in distinct if not any(_are_rivals(key, other) for other in distinct if other is not key)]


def _are_rivals(key: NamedKey, other: NamedKey) -> bool:
    return (key.name is None or key.name == other.name) and not set(key.serves).isdisjoint(other.serves)
