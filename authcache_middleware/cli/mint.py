"""``authcache token``: a token for development, which is verified before it is given out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from authcache_middleware.bearer.scopes import needed_scopes
from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.testing.tokens import issue_token
from authcache_middleware.tokens.material import FAMILIES, PublicKey
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["claim", "given_by_option", "mint", "public_half", "signing_key"]

_OWN_OPTIONS = {
    "sub": "--subject",
    "iss": "--issuer",
    "aud": "--audience",
    "exp": "--lifetime",
    "iat": "--lifetime",
    "scope": "--scope",
}


def mint(
    key: str,
    *,
    algorithm: str,
    subject: str,
    issuer: str | None,
    audience: str | tuple[str, ...] | None,
    lifetime: float,
    scope: str | None,
    kid: str | None,
    typ: str,
    claims: Mapping[str, Any],
) -> str:
    """The token; raises ``click.ClickException`` for one that the middleware would refuse.

    It is verified with the key itself, or its public half, so that every rule for keys and claims applies here too.
    """
    try:
        needed_scopes(tuple(scope.split(" ")) if scope else ())
        token = issue_token(
            key,
            algorithm=algorithm,
            subject=subject,
            issuer=issuer,
            audience=audience,
            lifetime=lifetime,
            scope=scope,
            kid=kid,
            typ=typ,
            claims=claims,
        )
        verifier = TokenVerifier(
            keys=key if FAMILIES[algorithm] == "oct" else public_half(key),
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            max_token_lifetime=lifetime + 1,
        )
        verifier.verify(token, time.time())
    except ConfigurationError as exc:
        raise click.ClickException(str(exc)) from None
    except UnicodeEncodeError:  # half a surrogate pair, which is also what a byte that is no UTF-8 is read as
        raise click.ClickException("an option or a claim holds what is not UTF-8") from None
    except InvalidTokenError as exc:
        raise click.ClickException(f"the middleware would refuse this token: {exc.reason}") from None
    return token


def signing_key(key: str | None, key_file: Path | None) -> str:
    """The key's text; raises ``click.UsageError`` where there is none or more than one."""
    if key_file is not None:
        if given_by_option("key"):
            raise click.UsageError("give --key or --key-file, not both")
        try:
            key = key_file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise click.UsageError(f"--key-file cannot be read ({type(exc).__name__})") from None
    if not key:
        raise click.UsageError("a key is needed: --key-file, --key or the environment variable AUTHCACHE_KEY")
    return key


def given_by_option(name: str) -> bool:
    """Whether a parameter stands on the command line, and not only in the environment."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def claim(text: str) -> tuple[str, Any]:
    """The name and the value of ``NAME=JSON``; raises ``click.BadParameter``."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=JSON", param_hint="--claim")
    if name in _OWN_OPTIONS:
        raise click.BadParameter(f"{name} has an option of its own: {_OWN_OPTIONS[name]}", param_hint="--claim")
    try:
        read = json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        hint = f" (text needs quotes: {name}='\"...\"')" if value[:1].isalpha() else ""
        raise click.BadParameter(f"the value of {name} is not JSON{hint}", param_hint="--claim") from None
    if read is None:
        raise click.BadParameter(f"{name} is null: leave it out", param_hint="--claim")
    return name, read


def _refuse_constant(_name: str) -> None:
    raise ValueError  # NaN and Infinity, which only Python takes for JSON


def public_half(key: str) -> PublicKey:
    """The public key of a PEM that has just signed something."""
    return cast("PublicKey", load_pem_private_key(key.encode(), password=None).public_key())
