"""Which key verifies a token: the policy is applied to every key at construction, a request only looks up.

A key is chosen by the token's ``alg`` and ``kid``:

- ``kid`` names a key that has a name: that key, if it serves the algorithm;
- no ``kid``: the one key that serves the algorithm, named or not; with several there is none;
- a key without a name takes every ``kid``, since a bare PEM must do for a provider that always sends one. So it must
  be the only key for its algorithms; the signature decides as always.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import Algorithm, get_default_algorithms

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens.material import FAMILIES, PreparedKey, PublicKey, misfit, read_key

__all__ = [
    "MAX_KID",
    "ChosenKey",
    "Key",
    "KeySet",
    "KeySource",
    "Keys",
    "NamedKey",
    "NoKeys",
    "allowed_algorithms",
    "key_name",
]

MAX_KID = 256
"""The longest ``kid``, in characters."""

Key: TypeAlias = str | bytes | PublicKey | Mapping[str, Any]
"""An HMAC secret, a public key (PEM or an object of ``cryptography``) or a JWK."""
Keys: TypeAlias = Key | Sequence[Key]
"""One key; a JWK set; a mapping of ``kid`` to key; or a list of any of these."""


class ChosenKey(NamedTuple):
    """A key, bound to the algorithm that it verifies with."""

    algorithm: Algorithm
    key: PreparedKey
    """Ready for ``algorithm.verify``."""
    signature_length: int | None
    """Of each of its signatures, where OpenSSL would take another."""


class NamedKey(NamedTuple):
    """A key as it was read."""

    name: str | None
    """Its ``kid``, where it has one."""
    prepared: PreparedKey
    serves: list[str]
    """The algorithms that it may serve."""


class KeySource(Protocol):
    """Where a verifier finds the keys of the moment: a ``KeySet``, which is its own, or keys that are fetched."""

    @property
    def algorithms(self) -> frozenset[str]:
        """The allow-list, which does not change."""
        ...

    def current(self) -> KeySet | None:
        """The keys that serve now, ``None`` where there are none. Takes no lock, never waits."""
        ...


_numbers = itertools.count()


class KeySet:
    """The keys of one issuer, each bound to the algorithms that it may serve.

    ``algorithms`` is the allow-list: of one family (HMAC, RSA, EC or EdDSA), never ``none``. A JWK set may also hold
    keys for other purposes, which are left out (RFC 7517, section 5); any other key that serves none of the
    algorithms is an error. Raises ``ConfigurationError`` for ``keys`` or ``algorithms``. Immutable, for any thread.
    """

    __slots__ = ("_by_name", "_nameless", "algorithms", "number")

    algorithms: frozenset[str]
    number: int
    """That of no other set in this process."""

    def __init__(self, keys: Keys, algorithms: Iterable[str]) -> None:
        allowed = allowed_algorithms(algorithms)
        read: list[NamedKey] = []
        names: set[str] = set()
        for kid, key in _flatten(keys, allowed):
            if kid is not None and kid in names:
                raise ConfigurationError("keys", "two keys have the same kid")
            names.update([kid] if kid is not None else [])
            read.append(NamedKey(kid, *read_key(key, allowed)))
        self._hold(read, allowed)

    @classmethod
    def of(cls, read: Iterable[NamedKey], allowed: Mapping[str, Algorithm]) -> Self:
        """A set of keys that have been read already; no two of them may claim one name for one algorithm."""
        made = cls.__new__(cls)
        made._hold(read, allowed)  # noqa: SLF001 - its own
        return made

    def _hold(self, read: Iterable[NamedKey], allowed: Mapping[str, Algorithm]) -> None:
        self.algorithms = frozenset(allowed)
        self.number = next(_numbers)
        self._by_name: dict[tuple[str, str | None], ChosenKey] = {}
        self._nameless: dict[str, ChosenKey] = {}
        serving: dict[str, list[tuple[str | None, PreparedKey]]] = {name: [] for name in allowed}
        for key in read:
            for name in key.serves:
                serving[name].append((key.name, key.prepared))
        for name, rivals in serving.items():
            self._enter(name, allowed[name], rivals)
        if not self._by_name:
            raise ConfigurationError("keys", "there is no key for any of the algorithms")

    def current(self) -> Self:
        """These keys: they do not change. See ``KeySource``."""
        return self

    def choose(self, algorithm: str, kid: str | None) -> ChosenKey:
        """The key for a token with this ``alg`` and ``kid`` (``None``: it has none).

        Raises ``InvalidTokenError`` (``key``) where no key, or more than one, could be meant.
        """
        chosen = self._by_name.get((algorithm, kid)) or self._nameless.get(algorithm)
        if chosen is None:
            raise InvalidTokenError("key")
        return chosen

    def names(self, algorithm: str, kid: str | None) -> bool:
        """Whether a key has this very name, so that a token with it means no other."""
        return kid is not None and (algorithm, kid) in self._by_name

    def is_same(self, other: KeySet) -> bool:
        """Whether both would choose equal keys for every token; of sets that were made with the same ``allowed``."""
        return self._by_name == other._by_name and self._nameless == other._nameless

    def _enter(self, name: str, algorithm: Algorithm, rivals: list[tuple[str | None, PreparedKey]]) -> None:
        for kid, prepared in rivals:
            chosen = ChosenKey(algorithm, prepared, _signature_length(prepared))
            if kid is not None:
                self._by_name[name, kid] = chosen
            elif len(rivals) == 1:
                self._nameless[name] = chosen
            else:
                raise ConfigurationError("keys", "of several keys for one algorithm each needs a kid: {kid: key, ...}")
            if len(rivals) == 1:
                self._by_name[name, None] = chosen

    def __repr__(self) -> str:
        return (
            f"<KeySet: {len({id(chosen.key) for chosen in self._by_name.values()})}"
            f" for {', '.join(sorted(self.algorithms))}>"
        )


class NoKeys:
    """No key at all: a ``KeySource`` whose every token is refused."""

    __slots__ = ()

    algorithms: ClassVar[frozenset[str]] = frozenset()

    def current(self) -> None:
        """See ``KeySource``."""

    def __repr__(self) -> str:
        return "<NoKeys>"


def allowed_algorithms(algorithms: Iterable[str]) -> dict[str, Algorithm]:
    """The algorithms by their names, of one family; anything else is a ``ConfigurationError``."""
    if isinstance(algorithms, (str, bytes, Mapping)) or not isinstance(algorithms, Iterable):
        raise ConfigurationError("algorithms", 'must be a list of names, such as ["RS256"]')
    names = list(algorithms)
    if not names:
        raise ConfigurationError("algorithms", "must name at least one")
    if not all(isinstance(name, str) and name in FAMILIES for name in names):
        raise ConfigurationError("algorithms", f"may only be of {', '.join(FAMILIES)}")
    if len({FAMILIES[name] for name in names}) > 1:
        # RFC 8725, section 3.1: a public key must never be tried as an HMAC secret, nor a key in two ways at all.
        raise ConfigurationError("algorithms", "must be of one family: HS*, RS* and PS*, ES*, or EdDSA")
    known = get_default_algorithms()
    return {name: known[name] for name in names}


def _signature_length(key: PreparedKey) -> int | None:
    # RFC 8017, section 8.1.2: as long as the modulus. OpenSSL takes a PSS signature without its leading zeros.
    return (key.key_size + 7) // 8 if isinstance(key, RSAPublicKey) else None


def _flatten(keys: object, allowed: Mapping[str, Algorithm]) -> Iterator[tuple[str | None, object]]:
    """Each key with its name; the members of JWK sets that serve another purpose are left out."""
    if isinstance(keys, (list, tuple)):
        for key in keys:
            if isinstance(key, (list, tuple)):
                raise ConfigurationError("keys", "a list of keys holds another list")
            yield from _flatten(key, allowed)
    elif not isinstance(keys, Mapping):
        yield None, keys
    elif "kty" in keys:
        yield key_name(keys), keys
    elif isinstance(keys.get("keys"), (list, tuple)):
        yield from _members(keys["keys"], allowed)
    else:
        yield from _named(keys)


def _members(jwks: Iterable[object], allowed: Mapping[str, Algorithm]) -> Iterator[tuple[str | None, object]]:
    for jwk in jwks:
        if not isinstance(jwk, Mapping):
            raise ConfigurationError("keys", "a JWK set holds something that is not a JWK")
        if misfit(jwk, allowed) is None:
            yield key_name(jwk), jwk


def _named(keys: Mapping[Any, object]) -> Iterator[tuple[str | None, object]]:
    for kid, key in keys.items():
        if isinstance(key, (list, tuple)) or (isinstance(key, Mapping) and "kty" not in key):
            raise ConfigurationError("keys", "a kid must lead to one key")
        if isinstance(key, Mapping) and key.get("kid", kid) != kid:
            raise ConfigurationError("keys", "a JWK has another kid than the one that leads to it")
        yield _checked_name(kid), key


def key_name(jwk: Mapping[str, Any]) -> str | None:
    """The ``kid`` of a JWK, ``None`` without one; one that cannot be used is a ``ConfigurationError``."""
    return _checked_name(jwk["kid"]) if "kid" in jwk else None


def _checked_name(kid: object) -> str:
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise ConfigurationError("keys", f"a kid must be a string of 1 to {MAX_KID} characters")
    return kid
