"""Where kinds of tokens say what they grant, and what the profile of RFC 9068 asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from authcache_middleware.errors import ConfigurationError

__all__ = ["RFC9068_TYP", "USUAL_SCOPE_CLAIMS", "Profile", "RolesClaim", "claim_path", "refuse_unlike_rfc9068"]

Profile: TypeAlias = Literal["jwt", "rfc9068"]
RolesClaim: TypeAlias = str | Iterable[str] | None

USUAL_SCOPE_CLAIMS: Final = ("scope", "scp")
RFC9068_TYP: Final = "at+jwt"
"""The ``typ`` of RFC 9068, section 2.1, as its media type is compared."""

_USUAL_TYPES: Final = frozenset({"jwt", RFC9068_TYP, None})


def claim_path(argument: str, path: RolesClaim) -> tuple[str, ...]:
    """The names that lead to a claim: of a text those that dots part, of a list its items; nothing for ``None``."""
    if path is None:
        return ()
    if isinstance(path, bytes | Mapping) or not isinstance(path, Iterable):
        raise ConfigurationError(argument, 'must be a name, a path such as "realm_access.roles", or a list of names')
    names = tuple(path.split(".") if isinstance(path, str) else path)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(argument, "must hold names that are not empty, at least one")
    return names


def refuse_unlike_rfc9068(types: frozenset[str | None], *, issuer: object, audience: object, require_iat: bool) -> None:
    """Refuse options beside which a token could not be asked for all that RFC 9068, sections 2.2 and 4, asks."""
    if types not in ({RFC9068_TYP}, _USUAL_TYPES):
        raise ConfigurationError("typ", 'is "at+jwt" with profile="rfc9068": leave it out')
    for argument, value in (("issuer", issuer), ("audience", audience)):
        if value is None:
            raise ConfigurationError(argument, 'must be given with profile="rfc9068"')
    if not require_iat:
        raise ConfigurationError("require_iat", 'must be True with profile="rfc9068"')
