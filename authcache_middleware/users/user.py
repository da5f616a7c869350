"""Who a request speaks for: the user, the credentials beside him, and the anonymous ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar, final

from authcache_middleware.tokens.claims import Claims

__all__ = ["ANONYMOUS", "NOBODY", "NO_CREDENTIALS", "AnonymousUser", "Credentials", "Identity", "User", "identity_of"]

UserT = TypeVar("UserT")


@final
class User(Mapping[str, Any]):
    """A known user, read-only: what the loader returned, by key (``user["email"]``) and by attribute (``user.email``).

    Values are plain data as the record holds them: text, numbers, booleans, ``None``, ``bytes``, tuples and
    read-only mappings. A key that is no identifier, or the name of a method here, is reached by ``user[...]``.

    Two are equal with the same identity and the same fields; a user is true, also without fields.
    """

    __slots__ = ("_fields", "identity")

    is_authenticated: Final = True

    def __init__(self, identity: str, fields: Mapping[str, Any]) -> None:
        object.__setattr__(self, "identity", identity)
        object.__setattr__(self, "_fields", fields)

    identity: str
    """The subject of the token, which the loader was called with; with ``issuers``, ``<alias>:`` before it."""
    _fields: Mapping[str, Any]

    @property
    def display_name(self) -> str:
        """The first of ``display_name``, ``name``, ``username`` that is text, else the identity."""
        for field in ("display_name", "name", "username"):
            value = self._fields.get(field)
            if isinstance(value, str) and value:
                return value
        return self.identity

    def __getitem__(self, field: str) -> Any:
        return self._fields[field]

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__"):  # copy and pickle ask before there are any fields
            raise AttributeError(field)
        try:
            return self._fields[field]
        except KeyError:
            raise AttributeError(f"this user has no field {field!r}") from None

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"a user is read-only: change the row and call invalidate(), {field!r} was not set")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"a user is read-only: {field!r} was not deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, User):
            return NotImplemented
        return self.identity == other.identity and self._fields == other._fields

    def __hash__(self) -> int:  # of the identity alone: a field may hold what has no hash
        return hash(self.identity)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<User with {', '.join(map(str, self._fields))}>"

    def __reduce__(self) -> tuple[type[User], tuple[str, dict[str, Any]]]:
        return User, (self.identity, dict(self._fields))


@final
class AnonymousUser:
    """Nobody: stands where a user would on exempt paths, and for requests without credentials if ``optional``.

    It is false.
    """

    __slots__ = ()

    is_authenticated: Final = False
    display_name: Final = ""
    identity: Final = ""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<AnonymousUser>"


class Credentials(NamedTuple):
    """What a request may do: the verified claims, and the scopes and roles in them (``scope["auth"]``)."""

    claims: Claims
    scopes: tuple[str, ...]
    roles: tuple[str, ...] = ()
    alias: str | None = None
    """The alias of the token's issuer, where ``issuers`` were given."""

    @property
    def identity(self) -> str:
        """Who the request speaks for: the subject, which ``<alias>:`` precedes if there is an alias."""
        return self.claims.subject if self.alias is None else f"{self.alias}:{self.claims.subject}"

    def __repr__(self) -> str:
        return f"<Credentials: {self.claims!r}>"


class Identity(NamedTuple, Generic[UserT]):
    """A request's user and credentials, as ``authenticate`` and ``resolve`` return them."""

    user: UserT
    auth: Credentials


ANONYMOUS: Final = AnonymousUser()
_tuple = tuple.__new__


def identity_of(user: UserT, claims: Claims, alias: str | None) -> Identity[UserT]:
    """A user with the bearer of these claims; the named tuples' own constructors take twice as many steps."""
    return _tuple(Identity, (user, _tuple(Credentials, (claims, claims.scopes, claims.roles, alias))))


NO_CREDENTIALS: Final = Credentials(
    Claims(
        subject="",
        issuer=None,
        expires_at=0,
        issued_at=None,
        token_id=None,
        session_id=None,
        scopes=(),
        members=MappingProxyType({}),
    ),
    (),
)
NOBODY: Final[Identity[Any]] = Identity(ANONYMOUS, NO_CREDENTIALS)
