"""Paths that need no token: how they are said, and which requests they match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from authcache_middleware.errors import ConfigurationError

__all__ = ["ExemptPaths", "asgi_path", "wsgi_path"]

# In a pattern: what a decoded, normal path does not hold.
_NOT_IN_PATTERN = re.compile(r"//|/\.\.?(?=/|\Z)|[*?#%\\\x00-\x1f\x7f-\x9f]")
# Below a prefix: what some server, proxy or file system reads as another path than the one seen here. No server
# normalises `..`; U+FFFD stands where bytes were no UTF-8.
_NOT_BELOW_PREFIX = re.compile(r"//|/\.|[\\%\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_ENCODED_SLASH = re.compile(rb"%2f|%5c", re.IGNORECASE)


class ExemptPaths:
    """The paths that pass without a token; empty, and then false, by default.

    ``/health`` matches that path and no other. ``/static/*`` matches what is below ``/static/``, but no path with
    an empty segment, one that begins with a dot, a backslash, a control character, or (where the server tells how
    the path was sent; ``wsgiref`` does not) an encoded slash. Paths are decoded, and relative to where the
    application is mounted (``root_path``, ``SCRIPT_NAME``).

    Raises ``ConfigurationError`` for a pattern that could match nothing, or more than it says.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        if isinstance(patterns, str | bytes) or not isinstance(patterns, Iterable):
            raise ConfigurationError("exempt", 'needs a list of paths, such as ["/health", "/static/*"]')
        checked = [_checked(pattern) for pattern in patterns]
        self._exact = frozenset(pattern for pattern in checked if not pattern.endswith("/*"))
        self._prefixes = tuple(pattern[:-1] for pattern in checked if pattern.endswith("/*"))

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def match(self, path: str, raw_path: bytes | None = None) -> bool:
        """Whether ``path`` (decoded, relative) needs no token; ``raw_path`` is the path as it was sent, if known."""
        if path in self._exact:
            return True
        for prefix in self._prefixes:
            if path.startswith(prefix):
                below = path[len(prefix) - 1 :]
                return not _NOT_BELOW_PREFIX.search(below) and not _ENCODED_SLASH.search(raw_path or b"")
        return False


def asgi_path(scope: Mapping[str, Any]) -> str:
    """The decoded path below ``root_path``, as Starlette's router sees it; ``raw_path`` is the scope's own."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    # ASGI: path includes root_path. Some servers leave it out, and then the path is relative already.
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def wsgi_path(environ: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """The decoded ``PATH_INFO``, and the path as it was sent, from the servers that tell.

    PEP 3333: the environment holds bytes as Latin-1. A path that is no UTF-8 comes back empty, which no pattern
    matches.
    """
    sent: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    raw_path = None if sent is None else sent.partition("?")[0].encode("latin-1", "replace")
    try:
        return environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8"), raw_path
    except UnicodeError:
        return "", raw_path


def _checked(pattern: str) -> str:
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise ConfigurationError("exempt", f"{pattern!r} must be a path that starts with '/'")
    if _NOT_IN_PATTERN.search(pattern.removesuffix("*") if pattern.endswith("/*") else pattern):
        raise ConfigurationError(
            "exempt",
            f"{pattern!r} must be a plain decoded path: no query, fragment, '%', backslash, '//' or dot segment, "
            "and '*' only as '/*' at its end",
        )
    return pattern
