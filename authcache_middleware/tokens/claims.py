"""What a verified token says: the claims, typed where this package reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from types import MappingProxyType
from typing import Any

__all__ = ["Claims", "claims_of", "parts_of", "put_together", "read_only"]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Claims(Mapping[str, Any]):
    """The verified contents of one token: a read-only mapping of every claim, and the ones read here as attributes.

    Times are NumericDates (seconds since 1970, RFC 7519, section 2). A verifier makes these; whoever hands one to
    ``resolve`` vouches for it.
    """

    subject: str
    """Who the token speaks for: the claim that ``subject_claim`` names, ``sub`` by default."""
    issuer: str | None
    expires_at: float
    issued_at: float | None
    token_id: str | None
    """``jti``, where the token has one."""
    session_id: str | None
    """``sid``, where the token has one."""
    scopes: tuple[str, ...]
    """The words of the first of ``scope_claims`` that there is, ``scope`` or ``scp`` by default; empty without one."""
    members: Mapping[str, Any]
    """Every claim as it was received, all through of read-only mappings and tuples: it is shared by requests."""
    roles: tuple[str, ...] = ()
    """The roles or permissions that stand at ``roles_claim``; empty without one."""
    opaque_id: str | None = None
    """Of a token that was introspected: a hash of its text in lower case, by which it is revoked too."""

    def __getitem__(self, name: str) -> Any:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"<Claims: {', '.join(sorted(self.members))}>"


class _Unsealed(Claims):
    """Claims while they are made: the constructor of a frozen class takes five times as long."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


def claims_of(
    members: Mapping[str, Any],
    *,
    subject: str,
    issuer: str | None,
    expires_at: float,
    issued_at: float | None,
    token_id: str | None,
    session_id: str | None,
    scopes: tuple[str, ...],
    roles: tuple[str, ...],
    opaque_id: str | None = None,
) -> Claims:
    """The same as ``Claims`` makes, for every token that is verified."""
    made: Any = _Unsealed.__new__(_Unsealed)
    made.subject = subject
    made.issuer = issuer
    made.expires_at = expires_at
    made.issued_at = issued_at
    made.token_id = token_id
    made.session_id = session_id
    made.scopes = scopes
    made.members = members
    made.roles = roles
    made.opaque_id = opaque_id
    made.__class__ = Claims
    sealed: Claims = made
    return sealed


_PARTS = tuple(field.name for field in fields(Claims) if field.name != "members")
_parts = attrgetter(*_PARTS)


def parts_of(claims: Claims) -> tuple[Any, ...]:
    """All but the members: text, numbers, ``None``, and tuples of text."""
    parts: tuple[Any, ...] = _parts(claims)
    return parts


def put_together(members: Mapping[str, Any], parts: Iterable[Any]) -> Claims:
    """The claims that have these members and parts."""
    return claims_of(members, **dict(zip(_PARTS, parts, strict=True)))


_NESTED = frozenset({dict, list})


def read_only(members: dict[str, Any]) -> Mapping[str, Any]:
    """These very members, read-only all through: claims that are remembered are shared by all requests."""
    if not _NESTED.isdisjoint(map(type, members.values())):  # most have none of either
        for name, value in members.items():
            if isinstance(value, (dict, list)):
                members[name] = read_only(value) if isinstance(value, dict) else _tuple(value)
    return MappingProxyType(members)


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(
        read_only(value) if isinstance(value, dict) else _tuple(value) if isinstance(value, list) else value
        for value in values
    )
