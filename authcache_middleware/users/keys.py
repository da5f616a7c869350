"""Which key in Redis belongs to which subject: injective and byte exact, nothing trimmed, folded, hashed or cut."""

from __future__ import annotations

import re
from typing import Final, final

from authcache_middleware.errors import ConfigurationError

__all__ = ["MAX_SUBJECT_LENGTH", "UserKeys", "is_subject"]

MAX_SUBJECT_LENGTH: Final = 255
"""Characters; OpenID Connect Core 1.0, section 2, has the same bound for ``sub``."""

_has_control_character = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_is_alias = re.compile(r"[a-z0-9_-]+").fullmatch
_is_prefix = re.compile(r"[\x21-\x7e]{1,100}:").fullmatch


def is_subject(subject: str) -> bool:
    """Whether a text may name a user: 1 to 255 characters, none of them a control character or half a surrogate."""
    return 0 < len(subject) <= MAX_SUBJECT_LENGTH and _has_control_character(subject) is None


@final
class UserKeys:
    """The names of one issuer's keys: ``user:<id>`` and ``revoked:<id>``, or ``user:<alias>:<id>`` with an alias.

    ``prefix`` ends with a colon. The prefixes of the other keys are made from it, ``shop:user:`` gives
    ``shop:revoked:`` and any other ``acct:`` gives ``revoked-acct:``, so that none is ever a prefix of another:
    with a suffix, the record of a user called ``5:revoked`` would be the revocations of user ``5``.
    """

    __slots__ = ("_answers", "_logouts", "_records", "_refreshes", "_revocations", "last_seen", "prefix")

    def __init__(self, prefix: str = "user:", alias: str | None = None) -> None:
        if not isinstance(prefix, str) or _is_prefix(prefix) is None:
            raise ConfigurationError("prefix", "must be printable ASCII without spaces that ends with a colon")
        if alias is not None and (not isinstance(alias, str) or _is_alias(alias) is None):
            raise ConfigurationError("alias", "must be of the characters a-z, 0-9, _ and -")
        within = "" if alias is None else f"{alias}:"
        self._records = self.prefix = prefix + within
        self._refreshes = _sibling(prefix, "refresh") + within
        self._revocations = _sibling(prefix, "revoked") + within
        self._logouts = _sibling(prefix, "logout") + within
        self._answers = _sibling(prefix, "token") + within
        self.last_seen = _sibling(prefix, "seen") + ("" if alias is None else alias)

    def record(self, subject: str) -> str:
        """The key that holds the subject's record or lease; ``DEL`` of it invalidates."""
        return self._records + subject

    def revocations(self, subject: str) -> str:
        """The key of the subject's revocations."""
        return self._revocations + subject

    def logout(self, token_id: str) -> str:
        """The key that remembers that a logout token with this ``jti`` has been obeyed."""
        return self._logouts + token_id

    def refresh(self, subject: str) -> str:
        """The key that elects who refreshes the subject's record."""
        return self._refreshes + subject

    def answer(self, name: str) -> str:
        """The key of what a provider has said of an opaque token, whose sealed name that is."""
        return self._answers + name


def _sibling(prefix: str, name: str) -> str:
    if prefix.endswith("user:"):
        return f"{prefix.removesuffix('user:')}{name}:"
    return f"{name}-{prefix}"
