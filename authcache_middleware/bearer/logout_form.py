"""The form in which a provider sends a logout token, and what it is answered.

OpenID Connect Back-Channel Logout 1.0, sections 2.5 and 2.8. Pure.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from authcache_middleware.bearer.answers import Answer
from authcache_middleware.errors import InvalidRequestError, RefusedError, UnavailableError, frames_of

__all__ = ["LOGOUT_DONE", "MAX_LOGOUT_FORM", "NOT_POST", "TOO_LONG", "logout_answer", "logout_token_of"]

MAX_LOGOUT_FORM: Final = 16 * 1024
"""The longest body that is read, in bytes: a token of 8 KiB, and something beside it."""
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 32

_log = logging.getLogger("authcache_middleware")


def logout_token_of(content_type: str, body: bytes) -> str:
    """The value of ``logout_token``, given once; other fields count for nothing. Raises ``InvalidRequestError``."""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequestError("content type")
    fields = None
    with suppress(ValueError):
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS
        )
    # Raised out here and not above, where the exception's context would keep the body.
    tokens = [value for name, value in fields or () if name == "logout_token"]
    if len(tokens) != 1:
        raise InvalidRequestError("form")
    return tokens[0]


def logout_answer(error: Exception) -> Answer:
    """What the provider is told: 400 where repeating it is of no use, 503 where it is. The reason is logged."""
    if isinstance(error, RefusedError):
        _log.info("a logout token was refused: %s", error.reason)
        return _answer(400, {"error": "invalid_request"})
    retry_after = 1
    if isinstance(error, UnavailableError):
        retry_after = error.retry_after
    else:
        _log.error("back-channel logout raised %s\n%s", type(error).__name__, frames_of(error))
    return _answer(503, {"error": "temporarily_unavailable"}, ("Retry-After", str(retry_after)))


def _answer(status: int, members: dict[str, str], *headers: tuple[str, str]) -> Answer:
    body = json.dumps(members).encode()
    entity = (("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"))
    return Answer(status, (*headers, *entity), body)


LOGOUT_DONE: Final = _answer(200, {})
NOT_POST: Final = _answer(405, {"error": "invalid_request"}, ("Allow", "POST"))
TOO_LONG: Final = _answer(400, {"error": "invalid_request"})
