"""Errors to answers: status, headers and body, the same over ASGI and WSGI.

RFC 6750, section 3 (challenges); RFC 9110, sections 11.6.1 and 15 (statuses, ``Retry-After``).
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from authcache_middleware.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    RefusedError,
    UnavailableError,
)

__all__ = ["Answer", "Answers", "Refusal", "RefusalBody"]

_log = logging.getLogger("authcache_middleware")

# RFC 9110, section 5.6.4, without what would need quoting.
_REALM = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")
# Whose answers depend on nothing but their class.
_ALWAYS_THE_SAME = frozenset({MissingTokenError, InvalidRequestError, InvalidTokenError})
_CONTENT_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a body may be made of: all that the client may know, and nothing that tells the reasons apart."""

    status: int
    """400, 401, 403 or 503."""
    error: str
    """``unauthorized`` (no credentials), ``invalid_request``, ``invalid_token``, ``insufficient_scope`` or
    ``temporarily_unavailable``."""
    scopes: tuple[str, ...]
    """The scopes that are needed; empty but for 403."""
    retry_after: int | None
    """Whole seconds; ``None`` but for 503."""


RefusalBody = Callable[[Refusal], tuple[str, bytes]]
"""Shapes the body of a refusal: its content type and its bytes. Called in the request: it must not block."""


@dataclass(frozen=True)
class Answer:
    """A whole response. For HEAD the body is left out, its length is not."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @cached_property
    def encoded_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers as ASGI wants them: octets, with names in lower case."""
        return tuple((name.lower().encode("ascii"), field.encode("latin-1")) for name, field in self.headers)


class Answers:
    """Answers errors with one realm and one shape of body.

    Raises ``ConfigurationError`` for a ``realm`` that would need quoting, or a ``refusal_body`` that cannot be called.
    """

    def __init__(self, *, realm: str = "api", refusal_body: RefusalBody | None = None) -> None:
        if not isinstance(realm, str) or not _REALM.fullmatch(realm):
            raise ConfigurationError("realm", "must be printable ASCII without double quotes and backslashes")
        if refusal_body is not None and not callable(refusal_body):
            raise ConfigurationError("refusal_body", "must be a function of a Refusal")
        self._realm = realm
        self._refusal_body = refusal_body
        self._told = False
        self._plain: dict[type[RefusedError], Answer] = {}

    def of(self, error: Exception) -> Answer:
        """The answer to ``error``; what is neither refused nor unavailable is a fault of ours: 503, and logged.

        Of such a fault the type and the place are logged, not the message: it might hold a value.
        """
        kind = type(error)
        known = self._plain.get(kind)  # type: ignore[arg-type]
        if known is not None:
            return known
        answer = self._made(error)
        if self._refusal_body is None and kind in _ALWAYS_THE_SAME:
            self._plain[kind] = answer  # type: ignore[index]
        return answer

    def _made(self, error: Exception) -> Answer:
        challenge: tuple[tuple[str, str], ...]
        match error:
            case RefusedError():
                scopes = error.scopes if isinstance(error, InsufficientScopeError) else ()
                refusal = Refusal(error.status, error.error or "unauthorized", scopes, None)
                challenge = (("WWW-Authenticate", error.challenge(self._realm)),)
            case UnavailableError():
                refusal, challenge = _unavailable(error.retry_after)
            case _:
                _log.error("authentication failed unexpectedly: %s", _place(error))
                refusal, challenge = _unavailable(1)
        content_type, body = self._body(refusal)
        entity = (("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"))
        return Answer(refusal.status, challenge + entity, body)

    def _body(self, refusal: Refusal) -> tuple[str, bytes]:
        if self._refusal_body is not None:
            try:
                content_type, body = self._refusal_body(refusal)
                if _CONTENT_TYPE.fullmatch(content_type) and isinstance(body, bytes):
                    return content_type, body
                fault = "it returned no content type and bytes"
            except Exception as exc:  # noqa: BLE001  the hook's fault must not become the client's
                fault = _place(exc)
            if not self._told:
                self._told = True
                _log.error("refusal_body failed, the default body is sent: %s", fault)
        return "application/json", json.dumps({"error": refusal.error}).encode()


def _unavailable(retry_after: int) -> tuple[Refusal, tuple[tuple[str, str], ...]]:
    return Refusal(503, "temporarily_unavailable", (), retry_after), (("Retry-After", str(retry_after)),)


def _place(exc: Exception) -> str:
    """The type of ``exc`` and where it was raised: enough to find the fault, and no value of a request."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" in {frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return type(exc).__name__ + where
